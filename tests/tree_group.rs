//! The tier `Group`: descendants are found by group, by mark and by parent, ended and confirmed. And what that does not
//! hold.

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use procession::{
    Capability, Containment, EventKind, EventMask, How, Means, Origin, Registry, Rung, Signal,
    SpawnOptions, StopPolicy, Strength,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::adversary::{
    await_abandoned, daemon, executes_from_a_thread, fork_bomb, frames_a_stranger, headless,
    is_abandoned, lingers, namespace_owner, own_locks, parent_of_a_stopped_child, thorough_daemon,
    vanishing_daemon, wrapper_of_a_deaf_server,
};
use support::tree::{Tree, has_forgotten, native, native_tree, tree};
use support::{
    LONG_ENOUGH, Lines, Pinned, Works, builder, clean, close, close_with, drain, eventually,
    exits_of, host, member, ms, pipe, registry, role, role_of, say, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_wrapper_that_obeys_while_its_server_does_not_is_escalated),
            test!(a_daemon_is_ended_with_its_session_however_it_was_started),
            test!(a_daemon_that_has_kept_nothing_but_its_limit_is_ended).needs_limit_marks(),
            test!(a_daemon_without_its_limit_and_all_else_is_not_found_and_not_claimed_as_proven)
                .needs_limit_marks(),
            test!(what_is_found_is_told_by_events_and_has_its_exit),
            test!(a_leader_that_exits_is_told_at_once_and_what_it_left_is_ended_later),
            test!(a_fork_bomb_is_dead_after_one_end),
            test!(a_fork_bomb_that_scatters_is_dead_after_one_end),
            test!(a_process_without_its_first_thread_is_alive_and_ended),
            test!(a_process_that_execs_from_a_thread_is_ended),
            test!(a_stopped_descendant_is_continued_so_that_it_can_obey),
            test!(descendants_in_a_pid_namespace_of_their_own_are_ended).needs_root(),
            test!(a_mark_that_was_put_on_a_stranger_is_a_claim_and_the_stranger_lives)
                .needs_limit_marks(),
            test!(a_descendant_that_is_spared_lives_and_is_listed),
            test!(a_predicate_that_panics_spares),
            test!(without_the_limit_mark_a_daemon_is_found_by_its_environment),
            test!(without_any_mark_nothing_is_claimed),
            test!(registries_three_deep_end_each_their_own),
            test!(a_user_without_privileges_finds_as_much)
                .needs_limit_marks()
                .needs_root(),
            test!(members_looks_now),
            test!(an_end_leaves_the_descendants_of_other_sessions_alone),
            test!(a_found_member_can_be_attached_within_its_session),
            test!(an_end_without_a_free_descriptor_is_clean_and_claims_less),
            test!(a_leader_tier_session_leaves_descendants_alone),
            test!(a_hundred_descendants_are_ended_in_one_go),
        ],
        &[
            role_of!(fork_bomb),
            role_of!(daemon),
            role_of!(thorough_daemon),
            role_of!(vanishing_daemon),
            role_of!(frames_a_stranger),
            role_of!(headless),
            role_of!(executes_from_a_thread),
            role_of!(lingers),
            role_of!(namespace_owner),
            role_of!(parent_of_a_stopped_child),
            role_of!(wrapper_of_a_deaf_server),
            role_of!(nested_host),
            role_of!(unprivileged_host),
        ],
    )
}

fn term_then_kill(grace: u64) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, ms(grace)).kill()
}

fn a_wrapper_that_obeys_while_its_server_does_not_is_escalated() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "wrapper_of_a_deaf_server", &[]);
    tree.await_ready();
    let server = tree.number();
    let report = clean(registry.end_session_with(1, &term_then_kill(50)).works());
    tree.assert_gone();
    let how = |pid| {
        let of_it = report.members().iter().find(|member| member.pid() == pid);
        of_it.map(procession::MemberReport::how)
    };
    let obeyed = Some(How::At(Rung::Signal(Signal::TERM)));
    assert_eq!(how(tree.leader.pid()), obeyed, "\n{report}");
    assert_eq!(how(server), Some(How::At(Rung::Kill)), "\n{report}");
}

fn a_daemon_is_ended_with_its_session_however_it_was_started() {
    let registry = registry();
    for stays in ["stays", "leaves"] {
        for by in [tree, native_tree] {
            let mut tree = by(&registry, 1, "daemon", &[stays]);
            tree.await_ready();
            let daemon = tree.number();
            let report = clean(registry.end_session(1).works());
            tree.assert_gone();
            assert!(report.covers_descendants());
            let found = report.leftovers().any(|member| member.pid() == daemon);
            assert!(found, "\n{report}");
        }
    }
}

fn a_daemon_that_has_kept_nothing_but_its_limit_is_ended() {
    let registry = registry();
    assert!(registry.capabilities().has(Capability::LimitMark));
    let mut tree = native_tree(&registry, 1, "thorough_daemon", &["leaves"]);
    tree.await_ready();
    let daemon = tree.number();
    tree.leader.wait().works();
    eventually("it has become another program", || has_forgotten(daemon));
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    assert_eq!(report.strength(), &Strength::Observed(Means::MarkAndGroup));
    assert_eq!(report.leftovers().count(), 1, "\n{report}");
}

/// What this tier does not hold: whoever takes all of it away, on purpose, is not found. The report never says "proven".
fn a_daemon_without_its_limit_and_all_else_is_not_found_and_not_claimed_as_proven() {
    let registry = registry();
    let mut tree = native_tree(&registry, 1, "vanishing_daemon", &["leaves"]);
    tree.await_ready();
    let daemon = tree.number();
    let pinned = Pinned::open(daemon).expect("it lives");
    tree.leader.wait().works();
    eventually("it has become another program", || has_forgotten(daemon));
    let report = clean(registry.end_session(1).works());
    assert!(matches!(report.strength(), Strength::Observed(_)));
    assert!(!pinned.is_dead(), "it is found now: say so in the docs");
    pinned.kill();
    await_abandoned(tree.output.get_mut());
}

fn what_is_found_is_told_by_events_and_has_its_exit() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let mut tree = tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let daemon = tree.number();
    close_with(&registry, 1, &StopPolicy::immediate());
    let events = drain(&events);
    let of_it: Vec<_> = events
        .iter()
        .filter(|event| event.pid() == Some(daemon))
        .collect();
    assert_eq!(of_it.len(), 2, "{of_it:?}");
    assert!(
        of_it
            .iter()
            .all(|event| event.origin() == Some(Origin::Found))
    );
    assert!(matches!(of_it[0].kind(), EventKind::Started));
    let EventKind::Exited(exit) = of_it[1].kind() else {
        panic!("{of_it:?}");
    };
    assert_eq!(exit.asked().map(|asked| asked.0), Some(Signal::KILL));
}

fn a_leader_that_exits_is_told_at_once_and_what_it_left_is_ended_later() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let mut tree = tree(&registry, 1, "daemon", &["leaves"]);
    tree.await_ready();
    let daemon = Pinned::open(tree.number()).expect("it lives");
    let told = events.receiver().recv_timeout(LONG_ENOUGH);
    assert_eq!(told.expect("at once").process(), Some(tree.leader.id()));
    assert_eq!(exits_of(&drain(&events), &tree.leader).len(), 0, "once");
    assert!(!daemon.is_dead(), "nobody has ended the session");
    let report = clean(registry.end_session(1).works());
    assert!(daemon.is_dead());
    assert_eq!((report.gone_before(), report.leftovers().count()), (1, 1));
}

fn end_bomb(scatter: &str) {
    let registry = registry();
    let mut tree = tree(&registry, 1, "fork_bomb", &["5", scatter]);
    tree.await_ready();
    // Hundreds may be dying by then, which takes its time on a busy machine.
    let policy = StopPolicy::immediate().confirm_within(LONG_ENOUGH);
    let report = clean(registry.end_session_with(1, &policy).works());
    tree.assert_gone();
    assert!(report.members().len() > 1, "\n{report}");
}

fn a_fork_bomb_is_dead_after_one_end() {
    end_bomb("together");
}

fn a_fork_bomb_that_scatters_is_dead_after_one_end() {
    end_bomb("scatter");
}

fn a_process_without_its_first_thread_is_alive_and_ended() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "headless", &[]);
    tree.await_ready();
    let pid = tree.leader.pid();
    eventually("its first thread is gone", || {
        support::state(pid) == Some('Z')
    });
    assert!(tree.leader.try_wait().works().is_none(), "it lives");
    let report = clean(registry.end_session_with(1, &term_then_kill(5_000)).works());
    tree.assert_gone();
    assert_eq!(
        member(&report, &tree.leader).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
}

fn a_process_that_execs_from_a_thread_is_ended() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let mut tree = tree(&registry, 1, "executes_from_a_thread", &[]);
    tree.await_ready();
    assert_eq!(tree.number(), tree.leader.pid(), "it has kept its number");
    assert!(tree.leader.try_wait().works().is_none(), "it lives");
    close_with(&registry, 1, &StopPolicy::immediate());
    tree.assert_gone();
    assert_eq!(exits_of(&drain(&events), &tree.leader).len(), 1);
}

fn a_stopped_descendant_is_continued_so_that_it_can_obey() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "parent_of_a_stopped_child", &[]);
    tree.await_ready();
    let stopped = tree.number();
    eventually("it has stopped", || support::state(stopped) == Some('T'));
    let policy = StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH);
    let report = clean(registry.end_session_with(1, &policy).works());
    tree.assert_gone();
    let of_it = report.leftovers().find(|member| member.pid() == stopped);
    assert_eq!(
        of_it.expect("it was there").how(),
        How::At(Rung::Signal(Signal::TERM))
    );
}

fn descendants_in_a_pid_namespace_of_their_own_are_ended() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "namespace_owner", &[]);
    tree.await_ready();
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    tree.assert_gone();
    assert_eq!(report.members().len(), 3, "\n{report}");
}

fn a_mark_that_was_put_on_a_stranger_is_a_claim_and_the_stranger_lives() {
    let registry = registry();
    let before = std::process::Command::new("/bin/sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn();
    let mut before = before.expect("a stranger");
    let mut framing = native_tree(
        &registry,
        1,
        "frames_a_stranger",
        &[&before.id().to_string()],
    );
    framing.await_ready();
    // Younger than the session, and the host's own child: nobody's orphan.
    let after = std::process::Command::new("/bin/sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn();
    let mut after = after.expect("another stranger");
    let mut framing = native_tree(
        &registry,
        1,
        "frames_a_stranger",
        &[&after.id().to_string()],
    );
    framing.await_ready();
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    framing.assert_gone();
    let mut claimed: Vec<u32> = report.claims().iter().map(|claim| claim.pid).collect();
    claimed.sort_unstable();
    let mut strangers = vec![before.id(), after.id()];
    strangers.sort_unstable();
    assert_eq!(claimed, strangers, "\n{report}");
    for stranger in [&mut before, &mut after] {
        assert_eq!(
            stranger.try_wait().expect("our child"),
            None,
            "it was signalled"
        );
        stranger.kill().expect("our child");
        stranger.wait().expect("our child");
    }
}

fn spare_and_end(registry: &Registry, spared: bool) {
    let mut tree = tree(registry, 1, "daemon", &["leaves"]);
    tree.await_ready();
    let daemon = tree.number();
    let pinned = Pinned::open(daemon).expect("it lives");
    tree.leader.wait().works();
    let report = clean(registry.end_session(1).works());
    assert_eq!(pinned.is_dead(), !spared, "\n{report}");
    let claimed: Vec<u32> = report.claims().iter().map(|claim| claim.pid).collect();
    let listed = if spared { vec![daemon] } else { vec![] };
    assert_eq!(claimed, listed, "\n{report}");
    if spared {
        pinned.kill();
    }
    await_abandoned(tree.output.get_mut());
}

fn a_descendant_that_is_spared_lives_and_is_listed() {
    for spared in [true, false] {
        let registry = builder()
            .spare(move |process| spared && process.args().iter().any(|arg| arg == "role:daemon"))
            .build()
            .works();
        spare_and_end(&registry, spared);
    }
}

fn a_predicate_that_panics_spares() {
    let registry = builder()
        .spare(|process| panic!("of {}", process.pid()))
        .build()
        .works();
    spare_and_end(&registry, true);
}

fn without_the_limit_mark_a_daemon_is_found_by_its_environment() {
    let registry = builder().limit_mark(false).build().works();
    assert!(!registry.capabilities().has(Capability::LimitMark));
    let mut tree = native_tree(&registry, 1, "daemon", &["leaves"]);
    tree.await_ready();
    let daemon = Pinned::open(tree.number()).expect("it lives");
    tree.leader.wait().works();
    let report = clean(registry.end_session(1).works());
    assert!(daemon.is_dead(), "\n{report}");
    assert_eq!(report.strength(), &Strength::Observed(Means::Group));
}

fn without_any_mark_nothing_is_claimed() {
    let registry = builder().marker(false).build().works();
    let before = own_locks();
    let mut tree = native_tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let pinned = Pinned::open(tree.number()).expect("it lives");
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert!(!report.covers_descendants(), "\n{report}");
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader));
    assert_eq!(own_locks(), before);
    pinned.kill();
    await_abandoned(tree.output.get_mut());
}

/// A host in somebody's session, with another one in a session of its own, down to the depth that is its first argument.
/// Ends its own when its input ends, and says how that went.
fn nested_host() {
    let depth: u32 = support::argument(0).parse().expect("a number");
    let registry = registry();
    if depth == 0 {
        let (_child, mut lines) = start(&registry, 1, &mut role("lingers"));
        say("ready");
        say(lines.number());
        support::await_end_of_input();
        close(&registry, 1);
        say("ended");
        return;
    }
    let mut command = role("nested_host");
    command.arg((depth - 1).to_string()).stdin(Stdio::piped());
    let (inner, mut lines) = start(&registry, 1, &mut command);
    say("ready");
    say(lines.number());
    support::await_end_of_input();
    // Its input ends with ours.
    drop(inner.take_stdin());
    say(lines.line());
    drop(clean(registry.end_session(1).works()));
}

fn registries_three_deep_end_each_their_own() {
    // From the inside: each ends its own, and no more.
    let (mut outermost, control, mut lines) = host(role("nested_host").arg("2"));
    let innermost = Pinned::open(lines.number()).expect("it lives");
    drop(control);
    lines.expect("ended");
    innermost.assert_dies();
    assert!(outermost.wait().expect("our child").success());
    // From the outside: the end of the outermost session is the end of all.
    let registry = registry();
    let mut command = role("nested_host");
    let (_host, mut lines) = start(&registry, 1, command.arg("2").stdin(Stdio::piped()));
    let innermost = Pinned::open(lines.number()).expect("it lives");
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert!(innermost.is_dead(), "\n{report}");
    assert!(report.members().len() >= 4, "\n{report}");
}

/// The same as somebody who may do nothing to others.
fn unprivileged_host() {
    let registry = registry();
    assert!(!rustix::process::geteuid().is_root());
    let mut tree = native_tree(&registry, 1, "thorough_daemon", &["leaves"]);
    tree.await_ready();
    let daemon = tree.number();
    let pinned = Pinned::open(daemon).expect("it lives");
    tree.leader.wait().works();
    let report = clean(registry.end_session(1).works());
    assert!(pinned.is_dead(), "\n{report}");
    assert_eq!(report.strength(), &Strength::Observed(Means::MarkAndGroup));
    assert_eq!(report.claims().len(), 0, "\n{report}");
    say("as it should be");
}

fn a_user_without_privileges_finds_as_much() {
    let registry = registry();
    let (output, writer) = pipe();
    let mut command = native("unprivileged_host");
    command
        .uid(65_534)
        .gid(65_534)
        .stdout(procession::Stdio::from(writer));
    let host = registry.spawn(1, &mut command).works();
    drop(command);
    Lines::new(output).expect("as it should be");
    assert!(host.wait().works().success());
    close(&registry, 1);
}

fn members_looks_now() {
    let registry = registry();
    let session = registry
        .open_session(procession::SessionOptions::new())
        .works();
    let (output, writer) = pipe();
    let mut command = role("daemon");
    let leader = session
        .spawn(command.arg("stays").stdout(Stdio::from(writer)))
        .works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let daemon = lines.number();
    let pids = || -> Vec<u32> {
        let members = session.members().works();
        members.iter().map(|member| member.pid).collect()
    };
    let first = pids();
    assert!(first.contains(&leader.pid()) && first.contains(&daemon));
    assert_eq!(pids(), first, "nobody is found twice");
    let pinned = Pinned::open(daemon).expect("it lives");
    assert!(!pinned.is_dead(), "who only looks ends nobody");
    drop(clean(session.end_with(&StopPolicy::immediate()).works()));
    assert!(pinned.is_dead());
}

fn an_end_leaves_the_descendants_of_other_sessions_alone() {
    let registry = registry();
    let mut trees: Vec<Tree> = (1..=3)
        .map(|session| {
            let mut tree = tree(&registry, session, "daemon", &["leaves"]);
            tree.await_ready();
            tree
        })
        .collect();
    let daemons: Vec<Pinned> = trees
        .iter_mut()
        .map(|tree| Pinned::open(tree.number()).expect("it lives"))
        .collect();
    for session in 1..=3_u64 {
        close_with(&registry, session, &StopPolicy::immediate());
        for (other, daemon) in (1..).zip(&daemons) {
            assert_eq!(
                daemon.is_dead(),
                other <= session,
                "{other} after {session}"
            );
        }
    }
}

fn a_found_member_can_be_attached_within_its_session() {
    let registry = registry();
    let session = registry
        .open_session(procession::SessionOptions::new())
        .works();
    let (output, writer) = pipe();
    let mut command = role("daemon");
    session
        .spawn(command.arg("leaves").stdout(Stdio::from(writer)))
        .works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let daemon = lines.number();
    let found = session.members().works();
    let found = found.iter().find(|member| member.pid == daemon);
    let found = found.expect("it is there").id;
    let attached = registry.attach(session.id(), daemon, |_| true).works();
    assert_eq!(attached.id(), found);
    assert!(registry.attach(77, daemon, |_| true).is_err());
    attached.kill().works();
    assert_eq!(
        attached.wait().works().asked().map(|asked| asked.0),
        Some(Signal::KILL)
    );
    drop(clean(session.end().works()));
}

fn an_end_without_a_free_descriptor_is_clean_and_claims_less() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "lingers", &[]);
    tree.await_ready();
    let before = getrlimit(Resource::Nofile);
    let lowest = File::open("/dev/null").expect("there is one");
    let none = std::os::fd::AsRawFd::as_raw_fd(&lowest).unsigned_abs();
    drop(lowest);
    let few = Rlimit {
        current: Some(none.into()),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, few).expect("a limit may be lowered");
    let report = registry.end_session_with(1, &StopPolicy::immediate());
    setrlimit(Resource::Nofile, before).expect("and raised again");
    let report = clean(report.works());
    tree.assert_gone();
    assert!(!report.covers_descendants(), "\n{report}");
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader));
}

fn a_leader_tier_session_leaves_descendants_alone() {
    for limit_mark in [true, false] {
        let registry = builder().limit_mark(limit_mark).build().works();
        let (output, writer) = pipe();
        let mut command = role("daemon");
        command.arg("leaves").stdout(Stdio::from(writer));
        let options = SpawnOptions::new().containment(Containment::Leader);
        registry.spawn_with(1, &mut command, &options).works();
        drop(command);
        // One of the other tier is in the session as well, so that there is a search.
        let (_other, _lines) = start(&registry, 1, &mut role("obedient"));
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).expect("a pipe");
        line.clear();
        output.read_line(&mut line).expect("a pipe");
        let daemon = Pinned::open(line.trim().parse().expect("a pid")).expect("it lives");
        let report = clean(registry.end_session(1).works());
        assert!(!daemon.is_dead(), "\n{report}");
        assert!(!report.covers_descendants(), "\n{report}");
        daemon.kill();
        assert!(is_abandoned(output.get_mut(), LONG_ENOUGH));
    }
}

fn a_hundred_descendants_are_ended_in_one_go() {
    let registry = registry();
    let mut tree = tree(&registry, 1, "fork_bomb", &["7", "together"]);
    for _ in 0..128 {
        tree.await_ready();
    }
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    tree.assert_gone();
    assert_eq!(report.members().len(), 128, "\n{report}");
    assert_eq!(report.leftovers().count(), 127);
}

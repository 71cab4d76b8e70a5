//! Members that lie: they take the mark off, put it on others, put themselves where others are. Whatever they do, nobody
//! who is not of the session is signalled, and no report says more than it knows.
//!
//! A limit mark is a number that any process may give to another one of its user. So each test below that frames somebody
//! asks the same two questions: does the stranger live, and is it listed as a claim?

mod support;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use procession::{Command, Means, Registry, SessionReport, StopPolicy, Strength};
use rustix::process::{Pid, setpgid, setsid};

use support::adversary::{await_abandoned, daemon, lingers, thorough_daemon, vanishing_daemon};
use support::strangers::{
    Bystanders, Framer, Strangers, framer, orphans_a_stranger, parent_of_a_stranger, stranger,
};
use support::tree::{contained, has_forgotten, native, native_tree, tree};
use support::{
    Lines, Pinned, Works, clean, eventually, pipe, registry, role, role_of, say, start,
    status_field, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_framed_orphan_of_pid_1_cannot_be_told_from_a_daemon).needs_limit_marks(),
            test!(a_framed_orphan_of_pid_1_that_was_there_before_lives).needs_limit_marks(),
            test!(a_framed_child_of_the_hosts_parent_lives).needs_limit_marks(),
            test!(a_framed_family_of_strangers_lives).needs_limit_marks(),
            test!(a_host_that_was_framed_keeps_its_other_children).needs_limit_marks(),
            test!(a_host_that_was_framed_can_start_another_session)
                .needs_limit_marks()
                .needs_root(),
            test!(a_framed_process_of_another_session_is_ended_with_its_own).needs_limit_marks(),
            test!(a_framed_daemon_of_another_session_is_ended_with_its_own).needs_limit_marks(),
            test!(a_framed_daemon_of_another_session_is_ended_with_its_own_under_cgroup)
                .needs_limit_marks()
                .needs_cgroups(),
            test!(a_framed_daemon_of_another_session_in_a_nested_registry_is_ended_with_its_own)
                .needs_limit_marks(),
            test!(a_member_that_takes_another_sessions_mark_is_ended_by_what_else_is_known_of_it)
                .needs_limit_marks(),
            test!(a_daemon_that_lowers_its_mark_is_found_by_its_variable_where_that_is_looked_at)
                .needs_limit_marks(),
            test!(a_worker_of_another_user_is_ended_with_the_master_that_is_found)
                .looks_at_others()
                .needs_root(),
            test!(a_worker_of_another_user_is_ended_with_the_master_under_cgroup)
                .needs_root()
                .needs_cgroups(),
            test!(a_daemon_that_lowers_its_mark_is_ended_under_cgroup)
                .needs_limit_marks()
                .needs_cgroups(),
            test!(a_stranger_that_was_started_with_a_members_variable_lives),
            test!(a_member_in_the_hosts_group_is_ended_and_the_group_is_not),
            test!(who_hides_in_the_hosts_group_and_forgets_everything_is_a_claim)
                .needs_limit_marks(),
            test!(a_member_in_the_group_of_a_stranger_is_ended_and_the_group_is_not),
            test!(three_thousand_bystanders_live),
        ],
        &[
            role_of!(daemon),
            role_of!(thorough_daemon),
            role_of!(vanishing_daemon),
            role_of!(lingers),
            role_of!(framer),
            role_of!(stranger),
            role_of!(orphans_a_stranger),
            role_of!(parent_of_a_stranger),
            role_of!(host_beside_a_stranger),
            role_of!(nested_host),
            role_of!(unprivileged_host),
            role_of!(lowers_its_mark),
            role_of!(joins_a_group),
            role_of!(starter),
            role_of!(leaves_a_master),
            role_of!(master),
            role_of!(tells_its_mark),
        ],
    )
}

#[track_caller]
fn end_now(registry: &Registry, session: u64) -> SessionReport {
    let report = registry.end_session_with(session, &StopPolicy::immediate());
    clean(report.works())
}

/// No member can be more sure of this than that nobody carries the mark.
#[track_caller]
fn assert_no_more_than_observed(report: &SessionReport) {
    let strength = report.strength();
    assert!(matches!(strength, Strength::Observed(_)), "\n{report}");
}

// ---------------------------------------------------------------- the mark on strangers

/// What no tier but a cgroup that cannot be left holds: it is younger than the session, its parent is pid 1, its user is the
/// host's. It looks like a daemon of the session that has replaced its environment, as many do, and is ended as one.
fn a_framed_orphan_of_pid_1_cannot_be_told_from_a_daemon() {
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    let strangers = orphan_of_pid_1();
    framer.frame(strangers.pids()[0]);
    let report = end_now(&registry, 1);
    let dead = strangers.pinned[0].is_dead();
    assert!(dead, "it lives now: say so in the docs:\n{report}");
    assert_no_more_than_observed(&report);
}

/// The same, older than the session.
fn a_framed_orphan_of_pid_1_that_was_there_before_lives() {
    let registry = registry();
    let strangers = orphan_of_pid_1();
    // Starts are told apart by the clock tick.
    let begun = support::now();
    eventually("a tick is over", || begun.elapsed() > support::ms(30));
    let mut framer = Framer::start(&registry, 1);
    framer.frame(strangers.pids()[0]);
    let report = end_now(&registry, 1);
    strangers.assert_claimed(&report);
    assert_no_more_than_observed(&report);
}

fn orphan_of_pid_1() -> Strangers {
    let strangers = Strangers::start(role("orphans_a_stranger"), 1);
    let pid = strangers.pids()[0];
    let own = std::process::id().to_string();
    eventually("its parent is gone", || {
        status_field(pid, "PPid").is_some_and(|parent| parent != own)
    });
    strangers
}

/// A host, whose parent is this test. Frames the pid that is its argument from a session, and says how it went.
fn host_beside_a_stranger() {
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe");
    let pid: u32 = line.trim().parse().expect("a pid");
    framer.frame(pid);
    let report = end_now(&registry, 1);
    say(report.claims().iter().any(|claim| claim.pid == pid));
}

/// What the shell does that runs the host: its other jobs are no orphans of any session, though their parent is an ancestor
/// of the host, which for all that can be seen might take orphans in.
fn a_framed_child_of_the_hosts_parent_lives() {
    let (mut host, mut control, mut lines) = support::host(&mut role("host_beside_a_stranger"));
    let strangers = Strangers::start(role("stranger"), 1);
    writeln!(control, "{}", strangers.pids()[0]).expect("a pipe");
    let claimed = lines.line();
    assert!(host.wait().expect("our child").success());
    let lives = !strangers.pinned[0].is_dead();
    assert!(lives, "a job of the host's own shell was ended");
    assert_eq!(claimed, "true");
}

/// Two that vouch for each other: the parent is marked, and so its child's parent is.
fn a_framed_family_of_strangers_lives() {
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    let strangers = Strangers::start(role("parent_of_a_stranger"), 2);
    for pid in strangers.pids() {
        framer.frame(pid);
    }
    let report = end_now(&registry, 1);
    strangers.assert_claimed(&report);
}

/// A child of the host that no registry knows inherits what was put on the host.
fn a_host_that_was_framed_keeps_its_other_children() {
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    framer.frame(std::process::id());
    let strangers = Strangers::start(role("stranger"), 1);
    let report = end_now(&registry, 1);
    strangers.assert_untouched(&report);
}

/// Without privileges: what is lowered stays lowered. The member of one session must not be able to keep the host from
/// starting others.
fn unprivileged_host() {
    assert!(!rustix::process::geteuid().is_root());
    say("ready");
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    framer.frame(std::process::id());
    let mut command = native("lingers");
    command.stdout(procession::Stdio::null());
    let started = registry.spawn(2, &mut command);
    say(match started {
        Ok(_) => String::from("started"),
        Err(error) => format!("not started: {error}"),
    });
    drop(end_now(&registry, 1));
    let lives = |it: &procession::ProcessInfo| it.session == 2.into();
    let processes = registry.processes().works();
    say(if processes.iter().any(lives) {
        "of its own"
    } else {
        "ended with the other"
    });
    drop(end_now(&registry, 2));
}

fn a_host_that_was_framed_can_start_another_session() {
    let mut command = role("unprivileged_host");
    let (mut host, control, mut lines) = support::host(command.uid(65_534).gid(65_534));
    drop(control);
    let said = (lines.next(), lines.next());
    host.wait().expect("our child");
    let expected = ("started".to_owned(), "of its own".to_owned());
    assert_eq!(said, (Some(expected.0), Some(expected.1)));
}

/// A registered process of another session, marked as if it were of this one.
fn a_framed_process_of_another_session_is_ended_with_its_own() {
    let registry = registry();
    let mut framer = Framer::start(&registry, 1);
    let (other, mut lines) = start(&registry, 2, &mut role("lingers"));
    lines.number();
    framer.frame(other.pid());
    drop(end_now(&registry, 1));
    assert!(
        other.try_wait().works().is_none(),
        "ended with another session"
    );
    drop(end_now(&registry, 2));
    assert!(other.try_wait().works().is_some());
}

/// Its orphan, which by its limit is of the one session and by all else of the other.
fn frame_a_daemon_of_another_session(registry: &Registry) {
    let mut framer = Framer::start(registry, 1);
    let (leader, mut lines) = start(registry, 2, role("daemon").arg("leaves"));
    let daemon = Pinned::open(lines.number()).expect("it lives");
    leader.wait().works();
    framer.frame(daemon.pid());
    let report = end_now(registry, 1);
    assert!(!daemon.is_dead(), "ended with another session:\n{report}");
    let report = end_now(registry, 2);
    assert!(daemon.is_dead(), "\n{report}");
}

fn a_framed_daemon_of_another_session_is_ended_with_its_own() {
    frame_a_daemon_of_another_session(&registry());
}

fn a_framed_daemon_of_another_session_is_ended_with_its_own_under_cgroup() {
    frame_a_daemon_of_another_session(&contained());
}

/// The same one level down, where the mark is the other number of the limit.
fn nested_host() {
    frame_a_daemon_of_another_session(&registry());
    say("as it should be");
}

fn a_framed_daemon_of_another_session_in_a_nested_registry_is_ended_with_its_own() {
    let registry = registry();
    let (output, writer) = pipe();
    let mut command = native("nested_host");
    command.stdout(procession::Stdio::from(writer));
    let host = registry.spawn(1, &mut command).works();
    drop(command);
    let said = Lines::new(output).next();
    // By itself, and not by the end that follows.
    assert!(host.wait().works().success());
    drop(end_now(&registry, 1));
    assert_eq!(said.as_deref(), Some("as it should be"));
}

// ---------------------------------------------------------------- the mark off members

/// Takes a number from its argument as its limit, or 7, and becomes a daemon with its environment as it was.
fn lowers_its_mark() {
    let mark = std::env::args().nth(2);
    let mark = mark.map_or(7, |text| text.parse().expect("a number"));
    support::set_locks(0, mark, mark);
    setsid().unwrap_or_else(|_| rustix::process::getpgrp());
    drop(
        role("stranger")
            .process_group(0)
            .spawn()
            .expect("a role can be started"),
    );
}

/// It stays what its group, its parent and its variable say that it is.
fn a_member_that_takes_another_sessions_mark_is_ended_by_what_else_is_known_of_it() {
    let registry = registry();
    let victim = Framer::start(&registry, 1);
    // Session 1 is older: its number is lower, and may be taken by anybody.
    let mark = mark_of(victim.leader.pid());
    let (leader, mut lines) = start(&registry, 2, role("lowers_its_mark").arg(mark.to_string()));
    let daemon = Pinned::open(lines.number()).expect("it lives");
    leader.wait().works();
    let report = end_now(&registry, 2);
    assert!(daemon.is_dead(), "\n{report}");
    assert_no_more_than_observed(&report);
    assert!(victim.leader.try_wait().works().is_none(), "\n{report}");
    drop(end_now(&registry, 1));
}

/// The hard limit of file locks of another process.
fn mark_of(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max file locks"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4));
    hard.and_then(|hard| hard.parse().ok())
        .expect("it is marked")
}

/// Where all members had the limit mark from birth, environments are not read: it would cost several times as much. So
/// `ulimit -x 7` and a double fork are enough to get away from a native launch, and not from std's. The reports claim what
/// was looked for.
fn a_daemon_that_lowers_its_mark_is_found_by_its_variable_where_that_is_looked_at() {
    for native_launch in [false, true] {
        let registry = registry();
        let by = if native_launch { native_tree } else { tree };
        let mut tree = by(&registry, 1, "lowers_its_mark", &[]);
        tree.await_ready();
        let daemon = Pinned::open(tree.number()).expect("it lives");
        tree.leader.wait().works();
        let report = end_now(&registry, 1);
        assert_no_more_than_observed(&report);
        assert_eq!(
            daemon.is_dead(),
            !native_launch,
            "this has changed: say so in the docs:\n{report}"
        );
        let means = if native_launch {
            Means::MarkAndGroup
        } else {
            Means::Group
        };
        assert_eq!(report.strength(), &Strength::Observed(means));
        daemon.kill();
        await_abandoned(tree.output.get_mut());
    }
}

fn leaves_a_master() {
    drop(role("master").spawn().expect("a role can be started"));
}

/// As nginx: a daemon of root with a worker that is nobody, and has no environment that says anything.
fn master() {
    setsid().expect("we lead no group");
    let mut worker = std::process::Command::new("/bin/sleep")
        .arg("20")
        .env_clear()
        .uid(65_534)
        .gid(65_534)
        .process_group(0)
        .spawn()
        .expect("a program");
    say("ready");
    say(std::process::id());
    say(worker.id());
    worker.wait().expect("our child");
}

/// Both are marked, and one is the other's child: a witness until the parent is killed. Nobody of the worker's user has been
/// known before.
fn a_worker_of_another_user_is_ended_with_the_master_that_is_found() {
    end_a_worker_of_another_user(&registry());
}

fn a_worker_of_another_user_is_ended_with_the_master_under_cgroup() {
    end_a_worker_of_another_user(&contained());
}

/// What takes its mark off is held there all the same, and the report may say so.
fn a_daemon_that_lowers_its_mark_is_ended_under_cgroup() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "lowers_its_mark", &[]);
    tree.await_ready();
    let daemon = Pinned::open(tree.number()).expect("it lives");
    tree.leader.wait().works();
    let report = end_now(&registry, 1);
    assert!(daemon.is_dead(), "\n{report}");
}

fn end_a_worker_of_another_user(registry: &Registry) {
    for policy in [StopPolicy::graceful(), StopPolicy::immediate()] {
        let mut tree = native_tree(registry, 1, "leaves_a_master", &[]);
        tree.await_ready();
        let [master, worker] =
            [tree.number(), tree.number()].map(|pid| Pinned::open(pid).expect("it lives"));
        tree.leader.wait().works();
        let report = registry.end_session_with(1, &policy).works();
        let dead = (master.is_dead(), worker.is_dead());
        [master, worker].iter().for_each(Pinned::kill);
        await_abandoned(tree.output.get_mut());
        assert_eq!(dead, (true, true), "master and worker, {policy}:\n{report}");
    }
}

/// A service that has been there before, and starts programs for whoever asks: with the environment that it is told.
fn starter() {
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe");
    let mut child = role("stranger")
        .env("PROCESSION_MARK", line.trim_end())
        .spawn()
        .expect("a role can be started");
    child.wait().expect("our child");
}

/// Says what its environment names it, and stays.
fn tells_its_mark() {
    say("ready");
    say(std::env::var("PROCESSION_MARK").expect("it is marked"));
    loop {
        std::thread::park();
    }
}

/// As after `systemctl --user import-environment` in a session: what the service starts is the service's, whatever is in
/// its environment. Its parent lives, and is nobody of the session.
fn a_stranger_that_was_started_with_a_members_variable_lives() {
    let registry = registry();
    let (mut service, mut control, mut lines) = support::host(&mut role("starter"));
    let (_leader, mut told) = start(&registry, 1, &mut role("tells_its_mark"));
    writeln!(control, "{}", told.line()).expect("a pipe");
    lines.expect("ready");
    let stranger = Pinned::open(lines.number()).expect("it lives");
    let report = end_now(&registry, 1);
    let lives = !stranger.is_dead();
    stranger.kill();
    service.wait().expect("our child");
    assert!(lives, "it was the service's, and was ended:\n{report}");
}

// ---------------------------------------------------------------- among others

/// Joins the group that is its argument, and stays; with a second argument it forgets everything first.
fn joins_a_group() {
    let group = support::argument(0).parse().expect("a group");
    let group = Pid::from_raw(group).expect("not 0");
    let forgets = std::env::args().nth(3).is_some();
    setpgid(None, Some(group)).expect("a group of our session");
    say("ready");
    say(std::process::id());
    if forgets {
        let mut command = std::process::Command::new("/bin/sleep");
        let error = command.arg("20").env_clear().exec();
        panic!("sleep cannot be run: {error}");
    }
    lingers();
}

fn a_member_in_the_hosts_group_is_ended_and_the_group_is_not() {
    let registry = registry();
    let group = rustix::process::getpgrp().as_raw_nonzero().to_string();
    let (member, mut lines) = start(&registry, 1, role("joins_a_group").arg(group));
    lines.number();
    // Everybody in the group would die with us of a signal to it: that this goes on is the test.
    let report = end_now(&registry, 1);
    assert!(member.try_wait().works().is_some(), "\n{report}");
}

/// What this tier does not hold: the only thing left is a mark, in a place where no orphan of the session comes by itself.
/// It might have been put on one of the host's own. So it lives, and is listed; the report does not deny it.
fn who_hides_in_the_hosts_group_and_forgets_everything_is_a_claim() {
    let registry = registry();
    let group = rustix::process::getpgrp().as_raw_nonzero().to_string();
    let (mut output, writer) = pipe();
    let script = "\"$0\" \"role:joins_a_group\" \"$1\" forgets & exit 0";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .arg(std::env::current_exe().expect("an executable has a path"))
        .arg(group)
        .stdin(procession::Stdio::null())
        .stdout(procession::Stdio::from(writer));
    let leader = registry.spawn(1, &mut command).works();
    drop(command);
    let mut lines = Lines::new(output.try_clone().expect("a descriptor"));
    lines.expect("ready");
    let hidden = Pinned::open(lines.number()).expect("it lives");
    leader.wait().works();
    eventually("it has forgotten", || has_forgotten(hidden.pid()));
    let report = end_now(&registry, 1);
    let lives = !hidden.is_dead();
    hidden.kill();
    await_abandoned(&mut output);
    assert!(lives, "it is ended now: say so in the docs:\n{report}");
    let claimed: Vec<u32> = report.claims().iter().map(|claim| claim.pid).collect();
    assert_eq!(claimed, [hidden.pid()], "\n{report}");
    assert_no_more_than_observed(&report);
}

fn a_member_in_the_group_of_a_stranger_is_ended_and_the_group_is_not() {
    let registry = registry();
    let strangers = Strangers::start(role("stranger"), 1);
    let group = strangers.pids()[0].to_string();
    let (member, mut lines) = start(&registry, 1, role("joins_a_group").arg(group));
    lines.number();
    let report = end_now(&registry, 1);
    assert!(member.try_wait().works().is_some(), "\n{report}");
    strangers.assert_untouched(&report);
}

fn three_thousand_bystanders_live() {
    let crowd = Bystanders::start(3_000);
    let registry = registry();
    // Every hundredth was framed: none of them is an orphan.
    let mut framer = Framer::start(&registry, 1);
    let framed: Vec<u32> = crowd.pids().step_by(100).collect();
    framed.iter().for_each(|&pid| framer.frame(pid));
    let mut daemons = Vec::new();
    for stays in ["stays", "leaves"] {
        // Natively, as all must be that forget their environment: of std's a few have the limit too late.
        let mut tree = native_tree(&registry, 1, "thorough_daemon", &[stays]);
        tree.await_ready();
        daemons.push(Pinned::open(tree.number()).expect("it lives"));
    }
    let report = end_now(&registry, 1);
    crowd.assert_alive_and_end();
    assert!(daemons.iter().all(Pinned::is_dead), "\n{report}");
    let mut claimed: Vec<u32> = report.claims().iter().map(|claim| claim.pid).collect();
    claimed.sort_unstable();
    let mut framed = framed;
    framed.sort_unstable();
    assert_eq!(claimed, framed);
}

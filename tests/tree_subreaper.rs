//! The tier `Subreaper`: orphans come to the host, and that it has no child left proves that nobody is left.
//!
//! Skipped by name on macOS, where orphans go to launchd and to nobody else.

mod support;

use std::process::ExitCode;

use procession::{
    Capability, Containment, ErrorKind, Means, Origin, Proof, Registry, SpawnOptions, StopPolicy,
    Strength,
};

use crate::support::adversary::{
    await_abandoned, comet, daemon, fork_bomb, lingers, thorough_daemon, unmarked_comet,
    vanishing_daemon, wrapper_of_a_deaf_server,
};
use crate::support::tree::{Tree, has_forgotten, native, native_tree, tree};
use crate::support::{
    LONG_ENOUGH, Pinned, Works, builder, children, clean, close, close_with, descent_is_kept,
    eventually, needs_orphans, role, role_of, start, taker_of_orphans, test,
};

fn main() -> ExitCode {
    // Where it is not to be had a registry says so, and takes the next: see the tests of kernels.
    use Capability::SubreaperTier;
    crate::support::main(
        &[
            test!(a_session_that_is_the_only_one_is_proven_to_be_gone).needs(SubreaperTier),
            test!(daemons_that_have_cleared_everything_are_ended_with_the_last_session)
                .needs(SubreaperTier),
            test!(comets_are_dead_with_a_proof).needs(SubreaperTier),
            test!(a_fork_bomb_is_ended_in_one_go).needs(SubreaperTier),
            test!(beside_another_session_nothing_is_proven).needs(SubreaperTier),
            test!(an_orphan_that_nothing_names_lowers_what_others_claim_and_goes_with_the_last)
                .needs(SubreaperTier),
            test!(orphans_are_reaped_while_their_session_lives).needs(SubreaperTier),
            test!(statuses_are_told_while_every_child_is_waited_for).needs(SubreaperTier),
            test!(what_a_leader_tier_process_leaves_is_nobodys_and_lives).needs(SubreaperTier),
            test!(the_tier_needs_consent),
            test!(there_is_one_subreaper_at_a_time).needs(SubreaperTier),
            test!(after_the_registry_orphans_go_where_they_went_before).needs(SubreaperTier),
            test!(spawns_that_come_and_go_lose_no_status).needs(SubreaperTier),
        ],
        &[
            role_of!(comet),
            role_of!(daemon),
            role_of!(fork_bomb),
            role_of!(lingers),
            role_of!(thorough_daemon),
            role_of!(unmarked_comet),
            role_of!(vanishing_daemon),
            role_of!(wrapper_of_a_deaf_server),
            role_of!(short_lived_orphans),
        ],
    )
}

fn subreaper() -> Registry {
    needs_orphans();
    builder()
        .subreaper(true)
        .containment(Containment::Subreaper)
        .build()
        .works()
}

fn proven() -> Strength {
    Strength::Proven(Proof::NoChildren)
}

fn a_session_that_is_the_only_one_is_proven_to_be_gone() {
    let registry = subreaper();
    assert!(registry.capabilities().has(Capability::SubreaperTier));
    for by in [tree, native_tree] {
        for name in ["daemon", "wrapper_of_a_deaf_server"] {
            let mut tree = by(&registry, 1, name, &["stays"]);
            tree.await_ready();
            let found = tree.number();
            let report = registry.end_session_with(1, &StopPolicy::immediate());
            let report = clean(report.works());
            tree.assert_gone();
            assert_eq!(report.strength(), &proven(), "\n{report}");
            assert!(report.covers_descendants());
            let member = report.members().iter().find(|member| member.pid() == found);
            let member = member.unwrap_or_else(|| panic!("\n{report}"));
            assert_eq!(member.origin(), Origin::Found);
            assert!(children().is_empty());
        }
    }
}

fn daemons_that_have_cleared_everything_are_ended_with_the_last_session() {
    let registry = subreaper();
    for name in ["thorough_daemon", "vanishing_daemon"] {
        let mut tree = native_tree(&registry, 1, name, &["leaves"]);
        tree.await_ready();
        tree.leader.wait().works();
        let report = clean(registry.end_session(1).works());
        tree.assert_gone();
        assert_eq!(report.strength(), &proven(), "\n{report}");
        assert_eq!(report.leftovers().count(), 1, "\n{report}");
    }
}

fn comets_are_dead_with_a_proof() {
    let said = std::env::var("PROCESSION_COMETS").ok();
    let comets = said.and_then(|text| text.parse().ok()).unwrap_or(20);
    let registry = subreaper();
    for round in 0..comets {
        let stays = if round % 2 == 0 { "stays" } else { "leaves" };
        let name = if round % 4 < 2 {
            "comet"
        } else {
            "unmarked_comet"
        };
        let mut tree = native_tree(&registry, 1, name, &[stays]);
        tree.await_ready();
        let report = registry.end_session_with(1, &StopPolicy::immediate());
        let report = clean(report.works());
        tree.assert_gone();
        assert_eq!(report.strength(), &proven(), "round {round}\n{report}");
    }
}

fn a_fork_bomb_is_ended_in_one_go() {
    let registry = subreaper();
    let mut tree = tree(&registry, 1, "fork_bomb", &["6", "scatter"]);
    for _ in 0..32 {
        tree.await_ready();
    }
    // Thousands may be dying by then, which takes its time on a busy machine.
    let policy = StopPolicy::immediate().confirm_within(LONG_ENOUGH);
    let report = clean(registry.end_session_with(1, &policy).works());
    tree.assert_gone();
    assert_eq!(report.strength(), &proven(), "\n{report}");
}

fn beside_another_session_nothing_is_proven() {
    let registry = subreaper();
    let (_other, _lines) = start(&registry, 2, &mut role("obedient"));
    let mut tree = native_tree(&registry, 1, "daemon", &["leaves"]);
    tree.await_ready();
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    let observed = Strength::Observed(Means::Subreaper);
    assert_eq!(report.strength(), &observed, "\n{report}");
    let report = clean(registry.end_session(2).works());
    assert_eq!(report.strength(), &proven(), "\n{report}");
}

/// On FreeBSD the kernel names it: it goes with its own session.
fn an_orphan_that_nothing_names_lowers_what_others_claim_and_goes_with_the_last() {
    let registry = subreaper();
    let mut trees: Vec<Tree> = (1..=2)
        .map(|session| {
            let mut tree = native_tree(&registry, session, "vanishing_daemon", &["leaves"]);
            tree.await_ready();
            tree.leader.wait().works();
            tree
        })
        .collect();
    let (_keeps_it_alive, _lines) = start(&registry, 2, &mut role("obedient"));
    let numbers: Vec<u32> = trees.iter_mut().map(Tree::number).collect();
    // Until then its environment names it.
    eventually("they have become other programs", || {
        numbers.iter().copied().all(has_forgotten)
    });
    let daemons: Vec<Pinned> = numbers
        .into_iter()
        .map(|pid| Pinned::open(pid).expect("it lives"))
        .collect();
    let report = clean(registry.end_session(1).works());
    let (strength, first_is_dead) = if descent_is_kept() {
        (Means::Subreaper, true)
    } else {
        (Means::Group, false)
    };
    let strength = Strength::Observed(strength);
    assert_eq!(report.strength(), &strength, "\n{report}");
    let dead: Vec<bool> = daemons.iter().map(Pinned::is_dead).collect();
    assert_eq!(dead, [first_is_dead, false], "\n{report}");
    let report = clean(registry.end_session(2).works());
    assert!(daemons.iter().all(Pinned::is_dead), "\n{report}");
    assert_eq!(report.strength(), &proven(), "\n{report}");
    trees.iter_mut().for_each(Tree::assert_gone);
}

/// Leaves a hundred orphans that end at once.
fn short_lived_orphans() {
    for _ in 0..100 {
        let mut shell = std::process::Command::new("sh");
        // Its child is an orphan when it ends.
        let status = shell.args(["-c", "(exec true) &"]).status();
        assert!(status.expect("there is a shell").success());
    }
    crate::support::say("ready");
    crate::support::await_end_of_input();
}

fn orphans_are_reaped_while_their_session_lives() {
    let registry = subreaper();
    let (leader, _lines) = start(
        &registry,
        1,
        role("short_lived_orphans").stdin(std::process::Stdio::piped()),
    );
    eventually("nobody but the leader is left", || {
        children() == [leader.pid()]
    });
    close(&registry, 1);
}

fn statuses_are_told_while_every_child_is_waited_for() {
    let registry = subreaper();
    for code in 0..50 {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("exit {code}")]);
        let child = registry.spawn(1, &mut command).works();
        assert_eq!(child.wait().works().code(), Some(code));
    }
    close(&registry, 1);
}

fn spawns_that_come_and_go_lose_no_status() {
    let registry = subreaper();
    std::thread::scope(|scope| {
        for session in 0..4_u64 {
            let registry = &registry;
            scope.spawn(move || {
                for round in 0..40 {
                    let code = round % 7;
                    let text = format!("(sleep 0) & exit {code}");
                    let mut std = std::process::Command::new("sh");
                    let mut ours = procession::Command::new("sh");
                    let child = if round % 2 == 0 {
                        registry.spawn(session, std.args(["-c", &text]))
                    } else {
                        registry.spawn(session, ours.args(["-c", &text]))
                    };
                    assert_eq!(child.works().wait().works().code(), Some(code));
                    let missing =
                        registry.spawn(session, &mut procession::Command::new("/nowhere"));
                    assert_eq!(missing.unwrap_err().kind(), ErrorKind::SpawnFailed);
                }
                close(registry, session);
            });
        }
    });
}

/// What this tier does not do: a process under `Leader` is alone, and so is what it leaves.
fn what_a_leader_tier_process_leaves_is_nobodys_and_lives() {
    let registry = subreaper();
    let (output, writer) = crate::support::pipe();
    let mut command = native("daemon");
    command
        .arg("leaves")
        .stdout(procession::Stdio::from(writer));
    let leader = SpawnOptions::new().containment(Containment::Leader);
    registry.spawn_with(1, &mut command, &leader).works();
    drop(command);
    let mut output = std::io::BufReader::new(output);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a pipe");
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a pipe");
    let daemon = Pinned::open(line.trim().parse().expect("a pid")).expect("it lives");
    let report = clean(registry.end_session(1).works());
    assert!(!report.covers_descendants(), "\n{report}");
    let (_other, _lines) = start(&registry, 2, &mut role("obedient"));
    let report = clean(registry.end_session(2).works());
    assert!(!daemon.is_dead(), "\n{report}");
    assert_ne!(report.strength(), &proven());
    daemon.kill();
    await_abandoned(output.get_mut());
    eventually("it is reaped", || children().is_empty());
}

fn the_tier_needs_consent() {
    let refused = builder().containment(Containment::Subreaper).build();
    let error = refused.expect_err("nobody has consented");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("subreaper(true)"), "{error}");
    let registry = builder()
        .containment_up_to(Containment::Subreaper)
        .build()
        .works();
    assert!(!registry.capabilities().has(Capability::SubreaperTier));
    let tier = SpawnOptions::new().containment(Containment::Subreaper);
    let error = registry.spawn_with(1, &mut native("lingers"), &tier);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    registry.spawn(1, &mut native("lingers")).works();
    assert_eq!(
        registry.processes().works()[0].containment,
        Containment::Group
    );
    close_with(&registry, 1, &StopPolicy::immediate());
}

fn there_is_one_subreaper_at_a_time() {
    let first = subreaper();
    let second = builder().subreaper(true).build();
    assert_eq!(
        second.expect_err("there is one").kind(),
        ErrorKind::InvalidInput
    );
    drop(first);
    drop(subreaper());
}

fn after_the_registry_orphans_go_where_they_went_before() {
    let before = taker_of_orphans();
    let registry = subreaper();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    assert_ne!(taker_of_orphans(), before);
    drop(registry);
    assert_eq!(taker_of_orphans(), before);
    assert!(child.wait().is_ok());
}

//! A session's number lives again: of each life only its own is ended, also after a crash.

mod support;

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use procession::{
    Containment, ErrorKind, OnDrop, RecoveryPolicy, RecoveryReport, Registry, SessionOptions,
    SpawnOptions, StopPolicy,
};

use support::adversary::{await_abandoned, daemon, lingers};
use support::tree::{Tree, native, native_tree};
use support::victim::{Host, builder, bury, clean, name, recover_as, scratch, text, victim};
use support::{Pinned, Works, await_end_of_input, pipe, role, role_of, say, test};

fn main() -> ExitCode {
    support::main(
        &[
            test!(what_two_lives_of_a_number_left_is_ended_and_told_apart),
            test!(what_two_lives_of_a_number_left_is_ended_and_told_apart).on_an_older_kernel(),
            test!(without_a_ledger_the_marks_tell_two_lives_apart),
            test!(what_was_given_up_in_the_first_life_is_left_alone_when_the_second_is_recovered),
            test!(the_last_life_of_a_number_keeps_it_when_both_are_taken_over),
            test!(what_was_under_the_tier_leader_is_taken_over_into_its_own_life),
            test!(what_is_spared_is_left_alone_by_recovery_whatever_life_it_is_of),
            test!(a_registry_that_gave_up_all_and_the_next_of_the_same_program_are_two),
            test!(the_end_of_the_second_life_leaves_alone_what_the_first_has_left),
            test!(the_end_of_the_second_life_leaves_alone_what_was_given_up_in_the_first),
            test!(a_handle_of_the_first_life_does_nothing_to_the_second),
        ],
        &[
            role_of!(victim),
            role_of!(two_registries),
            role_of!(lingers),
            role_of!(daemon),
        ],
    )
}

/// A daemon of the first life that its end has left alone, and a process of the second.
const TWO_LIVES: [&str; 5] = [
    "spares",
    "1=native:daemon",
    "then",
    "end=1",
    "1=native:lingers",
];

/// What the table says of a process: its session.
fn session_of(report: &RecoveryReport, pid: u32) -> String {
    let text = report.to_string();
    let pid = pid.to_string();
    let rows = text.lines().map(|line| line.split_whitespace());
    let mut sessions = rows.filter_map(|mut row| {
        let is_its = row.next() == Some(pid.as_str());
        row.next().filter(|_| is_its).map(str::to_owned)
    });
    sessions
        .next()
        .unwrap_or_else(|| panic!("{pid} has no row\n{text}"))
}

fn two_lives_are_told_apart(ledger: &str) {
    let mut host = Host::start(name(), ledger, &TWO_LIVES);
    host.kill();
    let (_registry, report) = recover_as(name(), ledger);
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    let told = [0, 1].map(|life: usize| session_of(&report, host.pids[life]));
    assert_eq!(told, ["1#1", "1#2"], "{report}");
    host.assert_gone();
}

fn what_two_lives_of_a_number_left_is_ended_and_told_apart() {
    two_lives_are_told_apart(text(scratch().path()));
}

fn without_a_ledger_the_marks_tell_two_lives_apart() {
    two_lives_are_told_apart("-");
}

fn what_was_given_up_in_the_first_life_is_left_alone_when_the_second_is_recovered() {
    let ledger = scratch();
    let what = [
        "1=std:lingers",
        "then",
        "detach=1",
        "end=1",
        "1=native:lingers",
    ];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    let (first, second) = (host.pinned(0), host.pinned(1));
    host.kill();
    let (registry, report) = recover_as(name(), text(ledger.path()));
    assert_eq!(report.ended(), 1, "{report}");
    assert!(second.is_dead(), "{report}");
    assert!(!first.is_dead(), "it was given up\n{report}");
    assert_eq!(session_of(&report, second.pid()), "1", "{report}");
    // Nor is it ended by who comes after that one.
    drop(registry);
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    assert_eq!(report.ended(), 0, "{report}");
    assert!(!first.is_dead(), "{report}");
    host.clear_away();
}

fn the_last_life_of_a_number_keeps_it_when_both_are_taken_over() {
    let ledger = scratch();
    let mut host = Host::start(name(), text(ledger.path()), &TWO_LIVES);
    let (first, second) = (host.pinned(0), host.pinned(1));
    host.kill();
    let registry = builder(name(), text(ledger.path()))
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover_with(RecoveryPolicy::Adopt).works();
    let adopted = report.adopted();
    let numbers: Vec<u64> = adopted.iter().map(|(number, _)| number.as_u64()).collect();
    assert_eq!(numbers, [1, 1], "{report}");
    let sessions: Vec<u64> = adopted
        .iter()
        .map(|(_, session)| session.id().as_u64())
        .collect();
    assert!(sessions[0] == 1 && sessions[1] != 1, "{report}");
    let ended = registry.end_session(1).works();
    assert!(ended.is_clean() && ended.members().len() == 1, "\n{ended}");
    assert!(second.is_dead() && !first.is_dead(), "\n{ended}");
    assert!(adopted[1].1.end().works().is_clean());
    assert!(first.is_dead());
    host.assert_gone();
}

/// Their marks name no life: the ledger does.
fn what_was_under_the_tier_leader_is_taken_over_into_its_own_life() {
    let ledger = scratch();
    let what = [
        "1=leader:lingers",
        "then",
        "end=1",
        "1=leader:lingers",
        "1=native:lingers",
    ];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let registry = builder(name(), text(ledger.path()))
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover_with(RecoveryPolicy::Adopt).works();
    assert_eq!(report.adopted().len(), 1, "{report}");
    let ended = registry.end_session(1).works();
    assert!(ended.is_clean() && ended.members().len() == 2, "\n{ended}");
    host.assert_gone();
}

fn what_is_spared_is_left_alone_by_recovery_whatever_life_it_is_of() {
    let ledger = scratch();
    // What was spawned is never spared, and the second life has one of each.
    let what = [
        "spares",
        "1=native:daemon",
        "then",
        "end=1",
        "1=native:daemon",
        "1=native:lingers",
    ];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let registry = builder(name(), text(ledger.path()))
        .stop_policy(StopPolicy::immediate())
        .spare(|process| process.args().iter().any(|arg| arg == "role:daemon"))
        .build()
        .works();
    let report = registry.recover().works();
    assert_eq!(report.ended(), 1, "{report}");
    let left: Vec<u32> = report.left_alone().iter().map(|one| one.pid()).collect();
    assert_eq!(left.len(), 2, "{report}");
    assert!(report.to_string().contains("it is spared"), "{report}");
    assert!(left.iter().all(|pid| host.pids.contains(pid)), "{report}");
    // It is known for what it is to whoever spares nobody.
    drop(registry);
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
}

/// Two registries, one after the other, each with a session 1. The first gives up what it has.
fn two_registries() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let of = |on_drop| {
        let builder = builder(&arguments[0], &arguments[1]).on_drop(on_drop);
        builder.build().works()
    };
    let first = of(OnDrop::Detach);
    first.spawn(1, &mut native("lingers")).works();
    drop(first);
    say("up");
    let second = of(OnDrop::Kill);
    second.spawn(1, &mut native("lingers")).works();
    await_end_of_input();
}

fn a_registry_that_gave_up_all_and_the_next_of_the_same_program_are_two() {
    let ledger = scratch();
    let mut host = Host::of(role("two_registries").args([name(), text(ledger.path())]));
    host.await_up(2);
    // Which of them said its pid first is not known.
    let both = [host.pinned(0), host.pinned(1)];
    host.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    assert_eq!(report.ended(), 1, "{report}");
    let alive = both.iter().filter(|one| !one.is_dead()).count();
    assert_eq!(alive, 1, "one was given up\n{report}");
    host.clear_away();
}

// ---- while the owner lives

/// Ends a tree of which a test has seen what it wanted.
fn clear_away(mut tree: Tree, left: &Pinned) {
    assert!(!left.is_dead());
    left.kill();
    await_abandoned(tree.output.get_mut());
}

/// What two ends of a number do to a daemon of the first life that the first end has left alone.
fn a_daemon_outlives_both(registry: &Registry, first: Tree, mut end: impl FnMut()) {
    let mut first = first;
    first.await_ready();
    let daemon = Pinned::open(first.number()).expect("it lives");
    end();
    assert!(!daemon.is_dead(), "the first end leaves it alone");
    let mut second = native_tree(registry, 1, "lingers", &[]);
    second.await_ready();
    let report = registry.end_session(1).works();
    assert!(report.is_clean(), "\n{report}");
    let members: Vec<u32> = report.members().iter().map(|one| one.pid()).collect();
    assert_eq!(members, [second.leader.pid()], "\n{report}");
    second.assert_gone();
    clear_away(first, &daemon);
}

fn the_end_of_the_second_life_leaves_alone_what_the_first_has_left() {
    let spares = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&spares);
    let registry = support::builder()
        .stop_policy(StopPolicy::immediate())
        .spare(move |_| asked.load(Ordering::SeqCst))
        .build()
        .works();
    let first = native_tree(&registry, 1, "daemon", &[]);
    a_daemon_outlives_both(&registry, first, || {
        let report = registry.end_session(1).works();
        assert_eq!(report.claims().len(), 1, "\n{report}");
        spares.store(false, Ordering::SeqCst);
    });
    // Under the tier `Leader` it is nobody's, and its mark names no life.
    let (output, writer) = pipe();
    let mut command = native("daemon");
    command.stdout(procession::Stdio::from(writer));
    let options = SpawnOptions::new().containment(Containment::Leader);
    let leader = registry.spawn_with(1, &mut command, &options).works();
    drop(command);
    let output = std::io::BufReader::new(output);
    a_daemon_outlives_both(&registry, Tree { leader, output }, || {
        drop(registry.end_session(1).works());
    });
}

fn the_end_of_the_second_life_leaves_alone_what_was_given_up_in_the_first() {
    let ledger = scratch();
    let registry = builder(name(), text(ledger.path()))
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let mut first = native_tree(&registry, 1, "lingers", &[]);
    first.await_ready();
    let given_up = Pinned::open(first.number()).expect("it lives");
    first.leader.detach().works();
    drop(registry.end_session(1).works());
    let mut second = native_tree(&registry, 1, "lingers", &[]);
    second.await_ready();
    let report = registry.end_session(1).works();
    assert_eq!(report.members().len(), 1, "\n{report}");
    second.assert_gone();
    // The same by a recovery of the living: nothing of its own is of an earlier run.
    let report = registry.recover().works();
    assert_eq!(report.ended(), 0, "{report}");
    let pid = given_up.pid();
    clear_away(first, &given_up);
    bury(pid);
}

fn a_handle_of_the_first_life_does_nothing_to_the_second() {
    let registry = support::registry();
    let first = registry.open_session(SessionOptions::new().id(1)).works();
    let (_process, _lines) = support::start(&registry, 1, role("obedient").stdin(Stdio::null()));
    let ended = first.end().works();
    let (second, _lines) = support::start(&registry, 1, role("obedient").stdin(Stdio::null()));
    let refused = first.end().map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::SessionEnded));
    let told = first.report().works().expect("its life is over");
    assert_eq!(told.members()[0].pid(), ended.members()[0].pid());
    assert!(second.try_wait().works().is_none(), "another life");
    let refused = first
        .spawn(&mut native("lingers"))
        .map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::SessionEnded));
    drop(support::clean(registry.end_session(1).works()));
}

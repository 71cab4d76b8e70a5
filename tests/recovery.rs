//! A host is killed, and started again: what it left is found and ended, and nobody else is touched.

mod support;

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use procession::{
    EventKind, EventMask, Launch, Origin, Reason, RecoveryPolicy, RecoveryReport, Registry,
    StopPolicy,
};

use support::adversary::{
    await_abandoned, comet, daemon, executes_again, executes_for_ever, is_abandoned, lingers,
    thorough_daemon,
};
use support::tree::{native, native_tree};
use support::victim::{Host, builder, bury, clean, name, recover_as, scratch, text, victim};
use support::{
    Lines, Pinned, Rounds, Works, await_end_of_input, drain, eventually, let_pass, ms, now, pipe,
    role, role_of, say, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(what_a_killed_host_left_is_ended),
            test!(what_a_killed_host_left_is_ended).on_an_older_kernel(),
            test!(without_a_ledger_the_marks_alone_tell),
            test!(who_executes_other_programs_all_the_time_is_ended).needs_proc(),
            test!(a_daemon_that_kept_nothing_but_its_limit_is_ended_by_the_ledger),
            test!(a_daemon_that_kept_nothing_but_its_limit_is_ended_by_its_relative),
            test!(a_limit_mark_of_which_nothing_says_whose_it_is_is_left_alone).needs_limit_marks(),
            test!(what_has_no_mark_at_all_is_ended_by_the_ledger),
            test!(what_has_no_mark_at_all_is_ended_by_the_ledger).on_an_older_kernel(),
            test!(a_host_that_lives_keeps_its_own),
            test!(a_host_that_lives_keeps_its_own).on_an_older_kernel(),
            test!(a_host_of_another_name_keeps_its_own_though_it_is_dead),
            test!(decoys_without_a_mark_are_not_touched),
            test!(the_same_session_number_of_a_host_that_lives_is_another_session),
            test!(what_was_taken_over_lives_in_its_old_session_and_is_ended_with_it),
            test!(what_was_detached_is_left_alone_by_ends_and_by_recovery),
            test!(a_recovered_exit_says_why),
            test!(a_host_inside_a_host_is_ended_with_its_own),
            test!(a_host_that_is_killed_at_any_moment_leaves_nothing_that_is_not_found),
            test!(two_hosts_at_once_recover_the_same_dead),
            test!(a_comet_of_somebody_elses_does_not_keep_a_recovery_open),
            test!(a_host_that_descends_from_the_dead_one_spares_itself_and_its_own),
            test!(ten_thousand_records_are_recovered_in_less_than_a_second),
            test!(recovery_finds_nothing_where_nothing_is),
        ],
        &[
            role_of!(victim),
            role_of!(comet),
            role_of!(restless),
            role_of!(heir_inside),
            role_of!(nested),
            role_of!(lingers),
            role_of!(daemon),
            role_of!(thorough_daemon),
            role_of!(executes_for_ever),
            role_of!(executes_again),
        ],
    )
}

/// Starts and ends without a pause, until it is killed.
///
/// What forgets everything is launched natively: std's command is marked in its limit a moment after its start, and a host
/// that is killed in that moment leaves one that can forget all that it has.
fn restless() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let registry = builder(&arguments[0], &arguments[1]).build().works();
    say("up");
    for session in 0.. {
        let session = session % 4;
        start(&registry, session, &mut role("daemon"));
        start(&registry, session, &mut native("thorough_daemon"));
        if session == 3 {
            drop(
                registry
                    .end_session_with(0, &StopPolicy::immediate())
                    .works(),
            );
        }
    }
}

/// A host in the session of one that dies: recovers once that has happened.
fn heir_inside() {
    let registry = builder(name(), "-")
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    // They have the dead one's marks outside of this one's.
    start(&registry, 1, &mut role("daemon"));
    start(&registry, 2, &mut native("lingers"));
    // Before anybody can know that it is there: the host is killed then.
    let parent = std::os::unix::process::parent_id();
    say(std::process::id());
    eventually("its host is dead", || {
        std::os::unix::process::parent_id() != parent
    });
    let report = registry.recover().works();
    say(format!("ended {}", report.ended()));
    say(format!("left {}", registry.processes().works().len()));
    drop(registry);
    say("over");
}

/// A host in whose session there is another host, with a process of its own.
fn nested() {
    let registry = builder(name(), "-").build().works();
    let mut inner = role("victim");
    inner.args([name(), "-", "native:lingers", "stays"]);
    start(&registry, 1, &mut inner);
    await_end_of_input();
}

fn start(registry: &Registry, session: u64, command: &mut impl Launch) {
    registry.spawn(session, command).works();
}

// ---- what is found

const ALL: [&str; 6] = [
    "std:lingers",
    "native:lingers",
    "std:daemon",
    "native:daemon",
    "std:lingers",
    "native:thorough_daemon",
];

fn what_a_killed_host_left_is_ended() {
    let ledger = scratch();
    let mut host = Host::start(name(), text(ledger.path()), &ALL);
    host.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), ALL.len(), "{report}");
    host.assert_gone();
}

fn without_a_ledger_the_marks_alone_tell() {
    let mut host = Host::start(name(), "-", &ALL);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    assert_eq!(report.ended(), ALL.len(), "{report}");
    host.assert_gone();
}

/// Its environment alone names it, and between two programs there is none.
fn who_executes_other_programs_all_the_time_is_ended() {
    const TIMES: usize = 20;
    const BUDGET: Duration = Duration::from_secs(10);
    let began = now();
    for _ in 0..TIMES {
        if now() - began > BUDGET {
            break;
        }
        let mut host = Host::start(name(), "-", &["unlimited", "std:executes_for_ever"]);
        host.kill();
        let (_registry, report) = recover_as(name(), "-");
        clean(&report);
        assert_eq!(report.ended(), 1, "{report}");
        host.assert_gone();
    }
}

fn a_daemon_that_kept_nothing_but_its_limit_is_ended_by_the_ledger() {
    let ledger = scratch();
    let mut host = Host::start(name(), text(ledger.path()), &["native:thorough_daemon"]);
    host.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    assert!(report.to_string().contains("limit mark"), "{report}");
    host.assert_gone();
}

fn a_daemon_that_kept_nothing_but_its_limit_is_ended_by_its_relative() {
    let mut host = Host::start(name(), "-", &["native:thorough_daemon", "std:lingers"]);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
}

fn a_limit_mark_of_which_nothing_says_whose_it_is_is_left_alone() {
    let mut host = Host::start(name(), "-", &["native:thorough_daemon"]);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    let left: Vec<u32> = report.left_alone().iter().map(|one| one.pid()).collect();
    assert!(left.contains(&host.pids[0]), "{report}");
    host.clear_away();
}

fn what_has_no_mark_at_all_is_ended_by_the_ledger() {
    let ledger = scratch();
    let what = ["unmarked", "std:lingers", "native:lingers"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    assert!(report.to_string().contains("ledger"), "{report}");
    host.assert_gone();
}

fn a_host_that_descends_from_the_dead_one_spares_itself_and_its_own() {
    let mut host = Host::of(role("victim").args([name(), "-", "std:heir_inside", "std:lingers"]));
    host.await_up(4);
    host.kill();
    // The other process of its host's session is ended. Of its own one is a daemon, whose leader has exited by itself.
    let said: Vec<String> = (0..3).map(|_| host.line()).collect();
    assert_eq!(said, ["ended 1", "left 1", "over"]);
    // It ended its own when it was over.
    await_abandoned(host.output.get_mut());
}

fn ten_thousand_records_are_recovered_in_less_than_a_second() {
    const RECORDS: u64 = 10_000;
    let ledger = scratch();
    let mut host = Host::start(name(), text(ledger.path()), &["native:lingers"]);
    host.kill();
    // As many more as if they had been started, and are gone.
    let mut written = std::fs::read_to_string(ledger.path()).expect("it is text");
    let registry = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let intent = written.lines().find(|line| line.contains(" intent "));
    let registry = intent.and_then(registry).expect("it has a process");
    for process in 2..RECORDS {
        let inode = (1_u64 << 40) | process;
        add_line(&mut written, &format!("intent {registry} {process} 1 1"));
        let pid = process % 30_000;
        add_line(
            &mut written,
            &format!("alive {registry} {process} {pid} 0 {inode}"),
        );
    }
    std::fs::write(ledger.path(), written).expect("it is ours");
    // Of processor, not of the clock: other tests run beside this one.
    let began = processor_time();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    let took = processor_time() - began;
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    assert!(took < ms(1000), "{took:?}\n{report}");
    host.assert_gone();
}

fn processor_time() -> Duration {
    let clock = rustix::time::ClockId::ProcessCPUTime;
    let spent = rustix::time::clock_gettime(clock);
    Duration::try_from(spent).expect("it is no negative time")
}

/// One record, with its checksum.
fn add_line(to: &mut String, record: &str) {
    let bit = |crc: u32| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc));
    let checksum = !record.as_bytes().iter().fold(u32::MAX, byte);
    to.push_str(&format!("{checksum:08x} {record}\n"));
}

fn recovery_finds_nothing_where_nothing_is() {
    let ledger = scratch();
    let (registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!((report.ended(), report.sessions().len()), (0, 0));
    start(&registry, 1, role("lingers").stdout(Stdio::null()));
    let report = registry.recover().works();
    assert_eq!(report.ended(), 0, "{report}");
    assert_eq!(
        registry.processes().works().len(),
        1,
        "its own are none of an earlier run"
    );
    drop(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
}

// ---- who is not touched

fn a_host_that_lives_keeps_its_own() {
    let host = Host::start(name(), "-", &ALL);
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    assert!(
        host.pids
            .iter()
            .all(|&pid| Pinned::open(pid).is_ok_and(|one| !one.is_dead()))
    );
    host.clear_away();
}

fn a_host_of_another_name_keeps_its_own_though_it_is_dead() {
    let other = format!("not-{}", name());
    let mut host = Host::start(&other, "-", &["std:lingers", "native:daemon"]);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    let (_other, report) = recover_as(&other, "-");
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
}

fn decoys_without_a_mark_are_not_touched() {
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    let mut decoy = role("lingers")
        .stdout(Stdio::null())
        .spawn()
        .expect("a role");
    let pinned = Pinned::open(decoy.id()).expect("it is our child");
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
    assert!(
        !pinned.is_dead(),
        "it has the same command line, and no mark"
    );
    pinned.kill();
    decoy.wait().expect("it is our child");
}

fn the_same_session_number_of_a_host_that_lives_is_another_session() {
    let living = Host::start(name(), "-", &["std:lingers"]);
    let mut dead = Host::start(name(), "-", &["std:lingers"]);
    dead.kill();
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 1, "{report}");
    dead.assert_gone();
    let alive = Pinned::open(living.pids[0]).is_ok_and(|one| !one.is_dead());
    assert!(alive, "both were session 1, and this one has an owner");
    living.clear_away();
}

// ---- taking over, giving up

fn what_was_taken_over_lives_in_its_old_session_and_is_ended_with_it() {
    let ledger = scratch();
    let what = ["std:lingers", "native:thorough_daemon"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let registry = builder(name(), text(ledger.path()))
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover_with(RecoveryPolicy::Adopt).works();
    assert_eq!(report.ended(), 0, "{report}");
    let numbers: Vec<u64> = report.adopted().iter().map(|(id, _)| id.as_u64()).collect();
    assert_eq!(numbers, [1, 2], "{report}");
    let held = registry.processes().works();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|one| one.origin == Origin::Recovered));
    for (number, session) in report.adopted() {
        assert_eq!(session.id(), *number);
        assert!(session.end().works().is_clean());
    }
    host.assert_gone();
}

fn what_was_detached_is_left_alone_by_ends_and_by_recovery() {
    let ledger = scratch();
    let (output, writer) = pipe();
    let mut lines = Lines::new(output.try_clone().expect("a descriptor"));
    let mut output = output;
    let mut command = role("lingers");
    command.stdout(Stdio::from(writer));
    let pid = {
        let registry = builder(name(), text(ledger.path()))
            .stop_policy(StopPolicy::immediate())
            .build()
            .works();
        let process = registry.spawn(1, &mut command).works();
        command.stdout(Stdio::null());
        lines.expect("ready");
        process.detach().works();
        assert!(registry.processes().works().is_empty());
        let report = registry.end_session(1).works();
        assert!(
            report.is_clean() && report.members().is_empty(),
            "\n{report}"
        );
        let refused = process.wait().map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(procession::ErrorKind::NoSuchProcess));
        process.pid()
    };
    assert!(!is_abandoned(&mut output, ms(0)), "nobody has ended it");
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    assert_eq!(report.ended(), 0, "{report}");
    let pinned = Pinned::open(pid).expect("it is our child");
    assert!(!pinned.is_dead());
    pinned.kill();
    await_abandoned(&mut output);
    bury(pid);
}

fn a_recovered_exit_says_why() {
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    host.kill();
    let registry = builder(name(), "-")
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let events = registry.subscribe_to(EventMask::EXITED | EventMask::STARTED);
    let report = registry.recover().works();
    clean(&report);
    let events = drain(&events);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(
        events
            .iter()
            .all(|event| event.origin() == Some(Origin::Recovered))
    );
    let asked = events.iter().find_map(|event| {
        if let EventKind::Exited(exit) = event.kind() {
            exit.asked()
        } else {
            None
        }
    });
    assert_eq!(asked.map(|(_, reason)| reason), Some(Reason::Recovery));
    host.assert_gone();
}

fn a_host_inside_a_host_is_ended_with_its_own() {
    let mut host = Host::of(&mut role("nested"));
    host.await_up(1);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
}

// ---- at any moment

fn a_host_that_is_killed_at_any_moment_leaves_nothing_that_is_not_found() {
    let ledger = scratch();
    let decoy = Host::start(name(), "-", &["std:lingers"]);
    for round in Rounds::new() {
        let mut host = Host::of(role("restless").args([name(), text(ledger.path())]));
        while host.line() != "up" {}
        // Somewhere in the first few spawns and ends.
        let_pass(ms(round * 7 % 40));
        host.kill();
        let (registry, report) = recover_as(name(), text(ledger.path()));
        clean(&report);
        assert!(
            is_abandoned(host.output.get_mut(), ms(0)),
            "round {round}:\n{report}"
        );
        let again = registry.recover().works();
        assert_eq!(again.ended(), 0, "{again}");
    }
    let alive = Pinned::open(decoy.pids[0]).is_ok_and(|one| !one.is_dead());
    assert!(alive, "its host lives");
    decoy.clear_away();
}

fn two_hosts_at_once_recover_the_same_dead() {
    let mut host = Host::start(name(), "-", &ALL);
    host.kill();
    let reports: Vec<RecoveryReport> = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| recover_as(name(), "-").1));
        both.map(|one| one.join().expect("it does not panic"))
            .into()
    });
    reports.iter().for_each(clean);
    eventually("nobody is left", || {
        is_abandoned(host.output.get_mut(), ms(0))
    });
}

/// Its dead are young orphans, of which the environment cannot be read any more. Their limit can be.
fn a_comet_of_somebody_elses_does_not_keep_a_recovery_open() {
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    host.kill();
    let other = support::registry();
    let mut comet = native_tree(&other, 1, "comet", &["leaves"]);
    comet.await_ready();
    comet.leader.wait().works();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    host.assert_gone();
    support::close_with(&other, 1, &StopPolicy::immediate());
}

//! Sweeps: what a rule takes for an orphan is ended and confirmed, and nobody else is touched.
//!
//! Every rule here asks for the token of its own test besides: other tests, and other programs, have processes that look
//! alike.

mod support;

use std::fs::File;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use procession::{
    ErrorKind, EventKind, EventMask, LeftAloneReason, Limits, OrphanFate, OrphanRule,
    ReaperOptions, Reason, Rung, Signal, StopPolicy, SurvivalCause,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::adversary::is_abandoned;
use support::orphans::{Orphan, abandoned, end, leaves, of_role, orphan, pids, reason_for};
use support::{
    LONG_ENOUGH, Lines, Rounds, Works, argument, builder, drain, host, ms, now, pipe, registry,
    role, role_of, say, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(an_orphan_is_found_ended_and_told_of),
            test!(an_orphan_is_found_ended_and_told_of).on_an_older_kernel(),
            test!(what_looks_like_an_orphan_and_has_its_parent_is_left_alone),
            test!(a_command_line_that_begins_alike_is_another),
            test!(a_stubborn_orphan_is_escalated_as_the_policy_says),
            test!(a_hundred_stubborn_orphans_take_one_grace),
            test!(only_confirmed_deaths_are_counted),
            test!(a_dry_run_says_what_would_be_ended_and_why),
            test!(a_predicate_that_panics_matches_nobody_and_is_told),
            test!(a_predicate_that_blocks_is_left_behind_and_the_sweep_goes_on),
            test!(a_predicate_can_call_back_into_the_registry),
            test!(megabytes_of_matching_command_lines_are_all_seen),
            test!(few_descriptors_make_several_batches),
            test!(limits_count_nothing_that_is_swept),
            test!(two_sweeps_at_once_end_each_orphan_once),
            test!(a_reaper_sweeps_in_each_pass),
            test!(a_reaper_leaves_a_sweep_of_the_hosts_to_itself),
            test!(a_sweeps_session_is_none_of_the_hosts),
            test!(after_a_shutdown_there_is_no_sweep),
        ],
        &[role_of!(leaves), role_of!(leaves_many)],
    )
}

/// Copies itself so many times, with its long command line, and exits.
fn leaves_many() {
    let count: u32 = argument(0).parse().expect("a number");
    for _ in 0..count {
        if support::adversary::is_copy() {
            say("copied");
            support::adversary::linger();
        }
    }
    say("ready");
}

// ---- tests

fn an_orphan_is_found_ended_and_told_of() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::ORPHANS);
    let orphan = orphan("obedient", &["--session", "7"]);
    let report = registry.sweep(&abandoned("obedient")).works();
    assert!(orphan.is_dead(), "\n{report}");
    assert_eq!((report.found(), report.ended()), (1, 1), "\n{report}");
    assert!(report.is_clean() && !report.is_dry_run() && report.left_alone().is_empty());
    let found = &report.orphans()[0];
    assert_eq!(found.process().pid(), orphan.pid);
    assert_eq!(found.why(), "reparented and obedient");
    assert_eq!(found.fate(), OrphanFate::Ended(Rung::Signal(Signal::TERM)));
    assert_eq!(found.process().is_reparented(), Some(true));
    assert!(report.to_string().contains("reparented and obedient"));
    let session = &report.sessions()[0];
    assert_eq!(session.label(), Some("sweep"));
    assert_eq!(session.reason(), Reason::Host);
    let events = drain(&events);
    assert_eq!(events.len(), 2);
    assert!(matches!(events[0].kind(), EventKind::OrphanFound(who) if who.pid() == orphan.pid));
    assert!(matches!(events[1].kind(), EventKind::OrphanEnded(who) if who.pid() == orphan.pid));
    assert_eq!((events[0].session(), events[0].process()), (None, None));
    let again = registry.sweep(&abandoned("obedient")).works();
    assert_eq!(again.found(), 0, "\n{again}");
}

fn what_looks_like_an_orphan_and_has_its_parent_is_left_alone() {
    let registry = registry();
    // A child of this host that it has started without the registry, and one of another program's.
    let (child, _input, _lines) = host(&mut role("obedient"));
    let (keeper, control, mut lines) = host(&mut role("keeps-a-child"));
    let kept = lines.number();
    for name in ["obedient", "holder"] {
        let report = registry.sweep(&abandoned(name)).works();
        assert_eq!(report.found(), 0, "\n{report}");
    }
    let report = registry.sweep(&of_role("holder").dry_run()).works();
    assert_eq!(pids(&report), [kept]);
    assert_eq!(report.orphans()[0].process().is_reparented(), Some(false));
    drop(control);
    end(keeper);
    end(child);
}

fn a_command_line_that_begins_alike_is_another() {
    let registry = registry();
    let ours = orphan("obedient", &["--session", "1"]);
    let theirs = orphan("obedient", &["--session", "10"]);
    let session_1 = OrphanRule::matching("session 1", |process| {
        let args = process.args();
        args.len() == 4 && args[2] == "--session" && args[3] == "1"
    });
    let rule = abandoned("obedient").and(session_1);
    let report = registry.sweep(&rule).works();
    assert_eq!(pids(&report), [ours.pid], "\n{report}");
    assert!(ours.is_dead());
    theirs.end();
}

fn a_stubborn_orphan_is_escalated_as_the_policy_says() {
    let registry = registry();
    let orphan = orphan("ignores-term", &[]);
    let policy = StopPolicy::new()
        .close_stdin(ms(50))
        .signal(Signal::TERM, ms(100))
        .kill();
    let rule = abandoned("ignores-term").stop_policy(policy);
    let report = registry.sweep(&rule).works();
    assert!(orphan.is_dead(), "\n{report}");
    assert_eq!(report.orphans()[0].fate(), OrphanFate::Ended(Rung::Kill));
    assert!(report.took() >= ms(150), "\n{report}");
}

fn a_hundred_stubborn_orphans_take_one_grace() {
    const COUNT: usize = 100;
    let registry = registry();
    let crowd = crowd(COUNT, "");
    let policy = StopPolicy::new().wait(ms(500)).kill();
    let report = registry
        .sweep(&abandoned("leaves_many").stop_policy(policy))
        .works();
    assert_eq!((report.found(), report.ended()), (COUNT, COUNT));
    assert_eq!(report.sessions().len(), 1);
    // One after the other they would take 50 s.
    assert!(report.took() < LONG_ENOUGH, "\n{report}");
    crowd.assert_gone();
}

/// The predecessor counted a signal that it had sent as a process that was gone.
fn only_confirmed_deaths_are_counted() {
    let registry = registry();
    let held = orphan("obedient", &[]);
    let free = orphan("obedient", &[]);
    let mut command = role("tracer");
    command.args([held.pid.to_string(), "before-exit".to_owned()]);
    let (mut tracer, control, _lines) = host(&mut command);
    let policy = StopPolicy::immediate().confirm_within(ms(300));
    let events = registry.subscribe_to(EventMask::ORPHANS);
    let report = registry
        .sweep(&abandoned("obedient").stop_policy(policy))
        .works();
    assert_eq!((report.found(), report.ended()), (2, 1), "\n{report}");
    assert_eq!(report.survivors().len(), 1, "\n{report}");
    assert_eq!(report.survivors()[0].pid, held.pid);
    let cause = SurvivalCause::Traced { by: tracer.id() };
    assert_eq!(report.survivors()[0].cause, cause);
    assert!(!report.is_clean() && report.to_string().contains("1 STILL ALIVE"));
    assert!(free.is_dead() && !held.is_dead());
    let ended = |kind: &EventKind| matches!(kind, EventKind::OrphanEnded(_));
    let told = drain(&events);
    assert_eq!(told.iter().filter(|event| ended(event.kind())).count(), 1);
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    assert!(held.pinned.dies_within(LONG_ENOUGH));
}

fn a_dry_run_says_what_would_be_ended_and_why() {
    let registry = registry();
    let events = registry.subscribe();
    let orphan = orphan("obedient", &[]);
    let rule = abandoned("obedient").and(!of_role("holder"));
    let report = registry.sweep(&rule.dry_run()).works();
    assert!(report.is_dry_run() && report.is_clean());
    assert_eq!((report.found(), report.ended()), (1, 0));
    let found = &report.orphans()[0];
    assert_eq!(found.fate(), OrphanFate::WouldBeEnded);
    assert_eq!(found.why(), "reparented and obedient and not holder");
    let text = report.to_string();
    assert!(
        text.starts_with("sweep: 1 would be ended (dry run), of "),
        "{text}"
    );
    assert!(drain(&events).is_empty() && report.sessions().is_empty());
    orphan.end();
}

fn a_predicate_that_panics_matches_nobody_and_is_told() {
    let registry = registry();
    let broken = orphan("obedient", &["--broken"]);
    let whole = orphan("obedient", &[]);
    let fine = OrphanRule::matching("fine", |process| {
        assert!(process.args().len() < 3, "on purpose");
        true
    });
    let report = registry.sweep(&abandoned("obedient").and(fine)).works();
    assert_eq!(pids(&report), [whole.pid], "\n{report}");
    assert_eq!(
        reason_for(&report, broken.pid),
        LeftAloneReason::RulePanicked
    );
    assert!(whole.is_dead());
    broken.end();
}

fn a_predicate_that_blocks_is_left_behind_and_the_sweep_goes_on() {
    let registry = registry();
    let first = orphan("obedient", &["--blocks"]);
    let second = orphan("obedient", &[]);
    let (release, released) = crossbeam();
    let quick = OrphanRule::matching("quick", move |process| {
        if process.args().len() > 2 {
            // Until the test lets go of its end.
            released.recv().ok();
        }
        true
    });
    let before = now();
    let report = registry.sweep(&abandoned("obedient").and(quick)).works();
    assert!(now() - before < LONG_ENOUGH);
    assert_eq!(pids(&report), [second.pid], "\n{report}");
    assert_eq!(reason_for(&report, first.pid), LeftAloneReason::RuleBlocked);
    assert_eq!(report.not_looked_at(), 0);
    drop(release);
    first.end();
}

fn crossbeam() -> (
    procession::channel::Sender<()>,
    procession::channel::Receiver<()>,
) {
    procession::channel::bounded(0)
}

fn a_predicate_can_call_back_into_the_registry() {
    let registry = registry();
    let orphan = orphan("obedient", &[]);
    let weak = registry.downgrade();
    let asks = OrphanRule::matching("asks", move |process| {
        let registry = weak.upgrade().expect("it lives");
        let known = registry.processes().works();
        known.iter().all(|info| info.pid != process.pid())
    });
    let report = registry.sweep(&abandoned("obedient").and(asks)).works();
    assert_eq!(pids(&report), [orphan.pid], "\n{report}");
}

/// Copies of one orphan that ignore nothing, with a long command line.
struct Copies(File);

impl Copies {
    fn assert_gone(mut self) {
        assert!(is_abandoned(&mut self.0, LONG_ENOUGH));
    }
}

fn crowd(count: usize, padding: &str) -> Copies {
    let (output, writer) = pipe();
    let mut command = role("leaves_many");
    command
        .arg(count.to_string())
        .arg(padding)
        .stdout(Stdio::from(writer));
    let mut parent = command.spawn().expect("a role can be started");
    drop(command);
    parent.wait().expect("it is our child");
    let mut lines = Lines::new(output.try_clone().expect("a descriptor"));
    for _ in 0..=count {
        lines.line();
    }
    Copies(output)
}

/// The predecessor read the output of `ps` up to a megabyte, and saw nothing of what was longer.
fn megabytes_of_matching_command_lines_are_all_seen() {
    const COUNT: usize = 600;
    let registry = registry();
    let crowd = crowd(COUNT, &"x".repeat(4096));
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let counts = OrphanRule::matching("counts", move |process| {
        counted.fetch_add(process.command_line().len(), Ordering::SeqCst);
        true
    });
    let rule = abandoned("leaves_many").and(counts);
    let report = registry
        .sweep(&rule.stop_policy(StopPolicy::immediate()))
        .works();
    assert_eq!((report.found(), report.ended()), (COUNT, COUNT));
    assert!(report.is_clean() && report.not_looked_at() == 0);
    assert!(seen.load(Ordering::SeqCst) > 2 << 20);
    crowd.assert_gone();
}

fn few_descriptors_make_several_batches() {
    const COUNT: usize = 200;
    let registry = registry();
    let crowd = crowd(COUNT, "");
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(64),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, few).expect("a limit may be lowered");
    let rule = abandoned("leaves_many").stop_policy(StopPolicy::immediate());
    let report = registry.sweep(&rule);
    setrlimit(Resource::Nofile, before).expect("and raised again");
    let report = report.works();
    assert_eq!((report.found(), report.ended()), (COUNT, COUNT));
    assert!(report.sessions().len() > 2, "\n{report}");
    crowd.assert_gone();
}

fn limits_count_nothing_that_is_swept() {
    let registry = builder()
        .limits(Limits::NONE.processes(1).processes_per_session(1))
        .build()
        .works();
    let orphans = [(); 3].map(|()| orphan("obedient", &[]));
    let report = registry.sweep(&abandoned("obedient")).works();
    assert_eq!(report.ended(), 3, "\n{report}");
    assert!(orphans.iter().all(Orphan::is_dead));
    drop(start(&registry, 1, &mut role("obedient")));
}

fn two_sweeps_at_once_end_each_orphan_once() {
    let registry = registry();
    let orphans = [(); 8].map(|()| orphan("obedient", &[]));
    let sweep = || registry.sweep(&abandoned("obedient")).works();
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(sweep);
        let other = scope.spawn(sweep);
        (
            one.join().expect("it works"),
            other.join().expect("it works"),
        )
    });
    assert!(orphans.iter().all(Orphan::is_dead), "\n{one}\n{other}");
    assert_eq!(one.ended() + other.ended(), 8, "\n{one}\n{other}");
}

fn a_reaper_sweeps_in_each_pass() {
    let registry = registry();
    let rule = abandoned("obedient");
    let policy = StopPolicy::new().signal(Signal::INT, LONG_ENOUGH).kill();
    let options = ReaperOptions::every(Duration::MAX)
        .sweep(rule)
        .stop_policy(policy);
    // Nothing is known of the sessions: that is no reason not to sweep.
    let reaper = registry.start_reaper(options, || None::<Vec<u64>>).works();
    reaper.run_now().works();
    let orphan = orphan("obedient", &[]);
    let report = reaper.run_now().works();
    assert!(report.skipped() && report.sweep_error().is_none());
    let swept = report.swept().expect("it has a rule");
    assert_eq!(swept.ended(), 1, "\n{report}");
    assert_eq!(
        swept.orphans()[0].fate(),
        OrphanFate::Ended(Rung::Signal(Signal::INT))
    );
    assert_eq!(swept.sessions()[0].reason(), Reason::Reaper);
    assert!(orphan.is_dead());
}

fn a_reaper_leaves_a_sweep_of_the_hosts_to_itself() {
    let registry = registry();
    let orphan = orphan("ignores-term", &[]);
    let strict = ReaperOptions::every(ms(5)).stop_policy(StopPolicy::immediate());
    let _reaper = registry
        .start_reaper(strict, || Some(Vec::<u64>::new()))
        .works();
    let patient = StopPolicy::new().signal(Signal::TERM, ms(300)).kill();
    let rule = abandoned("ignores-term").stop_policy(patient);
    let report = registry.sweep(&rule).works();
    assert!(report.took() >= ms(300), "\n{report}");
    assert_eq!(report.sessions()[0].reason(), Reason::Host);
    assert!(orphan.is_dead());
}

/// From its first moment: who lists sessions while one is opened for a sweep does not see it.
fn a_sweeps_session_is_none_of_the_hosts() {
    let registry = registry();
    std::thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            for _ in Rounds::new() {
                let orphan = orphan("obedient", &[]);
                let report = registry.sweep(&abandoned("obedient")).works();
                assert_eq!(report.ended(), 1, "\n{report}");
                assert_eq!(report.sessions()[0].reason(), Reason::Host);
                assert!(orphan.is_dead());
            }
        });
        while !sweeps.is_finished() {
            let ended = registry.retain_sessions(|_| false).works();
            assert!(ended.is_empty(), "{ended:?}");
        }
        sweeps.join().expect("it works");
    });
}

fn after_a_shutdown_there_is_no_sweep() {
    let registry = registry();
    registry.shutdown().works();
    let error = registry.sweep(&abandoned("obedient")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
}

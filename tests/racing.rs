//! Starts that race each other, or the end of what they belong to.

mod support;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use procession::{
    ErrorKind, EventKind, EventMask, Limits, SessionOptions, Signal, StopPolicy, Strength,
    SurvivalCause,
};

use support::{
    LONG_ENOUGH, Rounds, Works, builder, children, clean, close_with, drain, eventually, exits_of,
    hold_before_exec, ms, now, pipe, registry, role, start, survivor, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_spawn_that_races_an_end_is_refused_or_ended_with_the_rest),
            test!(spawns_that_race_a_shutdown_leave_nothing),
            test!(a_spawn_in_flight_when_its_session_ends_is_refused_and_its_child_ended),
            test!(a_spawn_still_in_flight_past_the_deadline_is_reported),
            test!(processes_are_spawned_from_many_threads_at_once),
            test!(who_hears_of_the_end_of_a_session_finds_its_report),
        ],
        &[],
    )
}

fn who_hears_of_the_end_of_a_session_finds_its_report() {
    let registry = registry();
    for _ in Rounds::new() {
        let session = registry.open_session(SessionOptions::new()).works();
        let events = session.subscribe_to(EventMask::SESSIONS);
        let ending = session.begin_end(&StopPolicy::immediate()).works();
        loop {
            let event = events.receiver().recv_timeout(LONG_ENOUGH);
            let event = event.expect("its end is told before the channel is over");
            if matches!(event.kind(), EventKind::SessionEnded(_)) {
                break;
            }
        }
        assert!(session.report().works().is_some());
        drop(clean(ending.wait().works()));
    }
}

fn processes_are_spawned_from_many_threads_at_once() {
    let registry = registry();
    let barrier = Barrier::new(8);
    let spawn = |session: u64| {
        barrier.wait();
        let spawn = |_| {
            registry
                .spawn(session, role("exits").arg("0"))
                .expect("a role can be started")
        };
        (0..10)
            .map(spawn)
            .map(|child| (child.id(), child.wait().expect("it exits").code()))
            .collect::<Vec<_>>()
    };
    let ids = thread::scope(|scope| {
        let spawn = &spawn;
        let spawners: Vec<_> = (0..8).map(|n| scope.spawn(move || spawn(n % 3))).collect();
        spawners
            .into_iter()
            .flat_map(|spawner| spawner.join().expect("no spawner panicked"))
            .collect::<HashSet<_>>()
    });
    assert_eq!(ids.len(), 80, "an id was given twice: {ids:?}");
    assert!(ids.iter().all(|(_, code)| *code == Some(0)), "{ids:?}");
}

/// Hunts for a process that is born between the closing of the gate and the end's last look, and lives on unseen.
fn a_spawn_that_races_an_end_is_refused_or_ended_with_the_rest() {
    let registry = registry();
    for _ in Rounds::new() {
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            let spawner = scope.spawn(|| {
                barrier.wait();
                (0..3)
                    .map(|_| registry.spawn(1, &mut role("ignores-term")))
                    .collect::<Vec<_>>()
            });
            barrier.wait();
            let report = registry
                .end_session_with(1, &StopPolicy::immediate())
                .works();
            let living = registry.session_processes(1).works();
            let report = clean(report);
            for spawned in spawner.join().expect("the spawner did not panic") {
                match spawned {
                    // Whoever is not in the report belongs to the next life of the number.
                    Ok(child)
                        if report
                            .members()
                            .iter()
                            .any(|member| member.process() == child.id()) =>
                    {
                        assert!(child.try_wait().works().is_some(), "reported, and alive");
                    }
                    Ok(child) => {
                        let next = registry.session_processes(1).works();
                        let gone = child.try_wait().works().is_some();
                        assert!(
                            gone || next.iter().any(|info| info.id == child.id()),
                            "nobody's: {living:?} {next:?}"
                        );
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}"),
                }
            }
        });
        close_with(&registry, 1, &StopPolicy::immediate());
        assert!(children().is_empty(), "a process is left: {:?}", children());
    }
}

fn spawns_that_race_a_shutdown_leave_nothing() {
    for _ in Rounds::new() {
        // Should the shutdown never come, the machine is not to be filled.
        let limits = Limits::NONE.processes(50);
        let registry = builder().limits(limits).build().works();
        let begun = AtomicBool::new(false);
        let spawn = |session: u64| {
            loop {
                match registry.spawn(session, &mut role("ignores-term")) {
                    Ok(_) => begun.store(true, Ordering::Relaxed),
                    Err(error) if error.kind() == ErrorKind::LimitReached => thread::yield_now(),
                    Err(error) => break error.kind(),
                }
            }
        };
        thread::scope(|scope| {
            let spawn = &spawn;
            let spawners: Vec<_> = (0..2).map(|n| scope.spawn(move || spawn(n))).collect();
            eventually("something has been spawned", || {
                begun.load(Ordering::Relaxed)
            });
            let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
            assert!(reports.iter().all(procession::SessionReport::is_clean));
            for spawner in spawners {
                let kind = spawner.join().expect("no spawner panicked");
                assert!(
                    matches!(kind, ErrorKind::ShutDown | ErrorKind::SessionEnding),
                    "{kind:?}"
                );
            }
        });
        assert!(children().is_empty(), "a process is left: {:?}", children());
    }
}

/// A spawn that hangs between fork and exec, as one from a dead network file system does, until the pipe is closed.
fn hanging_spawn() -> (Command, File) {
    let (reader, writer) = pipe();
    let mut command = role("ignores-term");
    hold_before_exec(&mut command, reader);
    (command, writer)
}

/// Lets a spawn that hangs go on. By a byte: the copy that hangs holds this end of the pipe too, so that its being
/// closed here ends nothing.
fn release(mut hold: File) {
    hold.write_all(b"x").expect("it is waited for");
}

fn a_spawn_in_flight_when_its_session_ends_is_refused_and_its_child_ended() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    let (member, _lines) = start(&registry, 1, &mut role("obedient"));
    let (mut command, hold) = hanging_spawn();
    thread::scope(|scope| {
        let spawner = scope.spawn(|| registry.spawn(1, &mut command));
        // The copy that hangs before its exec is there.
        eventually("the spawn hangs", || children().len() == 2);
        let policy = StopPolicy::new()
            .signal(Signal::TERM, LONG_ENOUGH)
            .kill()
            .confirm_within(LONG_ENOUGH);
        let ending = registry.begin_end_session(1, &policy).works();
        let begun = events
            .into_iter()
            .any(|event| matches!(event.kind(), EventKind::SessionEnding { .. }));
        assert!(begun, "the subscription ended");
        let other = registry
            .spawn(1, role("exits").arg("0"))
            .expect_err("the session is ending");
        assert_eq!(other.kind(), ErrorKind::SessionEnding);
        assert!(
            ending.try_report().works().is_none(),
            "did not wait for the spawn"
        );
        release(hold);
        let error = spawner
            .join()
            .expect("the spawner did not panic")
            .expect_err("the session was ending");
        assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}");
        let report = clean(ending.wait().works());
        assert!(
            report
                .members()
                .iter()
                .any(|one| one.process() == member.id()),
            "\n{report}"
        );
    });
    assert!(children().is_empty(), "a process is left: {:?}", children());
}

fn a_spawn_still_in_flight_past_the_deadline_is_reported() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let (mut command, hold) = hanging_spawn();
    thread::scope(|scope| {
        let spawner = scope.spawn(|| registry.spawn(1, &mut command));
        eventually("the spawn hangs", || children().len() == 1);
        let began = now();
        let policy = StopPolicy::immediate().confirm_within(ms(200));
        let report = registry
            .end_session_with(1, &policy)
            .expect("a survivor is no error");
        assert!(began.elapsed() >= ms(200) && began.elapsed() < LONG_ENOUGH);
        assert_eq!(survivor(&report), SurvivalCause::SpawnInFlight);
        assert!(
            matches!(report.strength(), Strength::Unconfirmed { .. }),
            "\n{report}"
        );
        release(hold);
        let error = spawner
            .join()
            .expect("the spawner did not panic")
            .expect_err("the session has ended");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::SessionEnding | ErrorKind::SessionEnded
            ),
            "{error}"
        );
    });
    eventually("its child is ended", || children().is_empty());
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    close_with(&registry, 1, &StopPolicy::immediate());
    let told = drain(&events);
    // Whether the survivor is told of or not: each process that was started exits once.
    let count = |is: fn(&EventKind) -> bool| told.iter().filter(|event| is(event.kind())).count();
    assert_eq!(exits_of(&told, &child).len(), 1, "{told:?}");
    assert_eq!(
        count(|kind| matches!(kind, EventKind::Started)),
        count(|kind| matches!(kind, EventKind::Exited(_))),
        "{told:?}"
    );
}

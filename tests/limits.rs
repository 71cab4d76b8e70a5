//! Limits: how many processes there may be, and who waits for a slot.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use procession::{
    Command as NativeCommand, ErrorKind, EventMask, Launch, Limits, Process, Registry, Signal,
    SpawnOptions, StopPolicy,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::{
    LONG_ENOUGH, Works, asleep, builder, children, close_with, descriptors, drain, eventually,
    host, ms, now, role, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_spawn_beyond_the_limit_starts_nothing),
            test!(a_spawn_beyond_its_sessions_limit_starts_nothing),
            test!(adopted_and_attached_processes_are_counted),
            test!(a_slot_is_free_after_the_exit_that_was_waited_for),
            test!(a_slot_is_held_until_the_death_is_confirmed),
            test!(a_spawn_waits_for_a_slot),
            test!(slots_are_given_first_come_first_served),
            test!(a_wait_for_a_slot_times_out),
            test!(a_wait_for_a_slot_ends_with_its_session),
            test!(a_wait_for_a_slot_ends_with_its_registry),
            test!(a_wait_for_a_slot_of_any_length_is_legal),
            test!(a_failed_spawn_gives_its_slot_to_the_next),
            test!(limits_hold_under_many_threads),
            test!(who_was_waited_for_is_in_nobodys_way),
        ],
        &[],
    )
}

fn limited(limits: Limits) -> Registry {
    builder().limits(limits).build().expect("a registry")
}

/// What this spawn fails with.
#[track_caller]
fn refusal(registry: &Registry, session: u64) -> ErrorKind {
    let before = (descriptors(), children());
    let error = registry
        .spawn(session, &mut role("obedient"))
        .expect_err("there is no slot");
    assert_eq!((descriptors(), children()), before, "something was started");
    assert_eq!(
        error.session().map(|session| session.as_u64()),
        Some(session)
    );
    error.kind()
}

fn a_spawn_beyond_the_limit_starts_nothing() {
    let registry = limited(Limits::NONE.processes(2));
    let events = registry.subscribe_to(EventMask::STARTED);
    let all = [1, 2].map(|session| start(&registry, session, &mut role("obedient")));
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
    assert_eq!(refusal(&registry, 3), ErrorKind::LimitReached);
    all[0].0.kill().expect("it lives");
    close_with(&registry, 1, &StopPolicy::immediate());
    let (_third, _lines) = start(&registry, 3, &mut role("obedient"));
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
    // The answer to a later question comes after the events of the earlier spawns.
    assert_eq!(registry.processes().works().len(), 2);
    assert_eq!(drain(&events).len(), 3);
    drop(all);
}

fn a_spawn_beyond_its_sessions_limit_starts_nothing() {
    let registry = limited(Limits::NONE.processes_per_session(1));
    let _all = [1, 2].map(|session| start(&registry, session, &mut role("obedient")));
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
    assert_eq!(refusal(&registry, 2), ErrorKind::LimitReached);
    close_with(&registry, 1, &StopPolicy::immediate());
    let (_again, _lines) = start(&registry, 1, &mut role("obedient"));
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
}

fn adopted_and_attached_processes_are_counted() {
    let registry = limited(Limits::NONE.processes(1));
    let (mut other, _control, _lines) = host(&mut role("obedient"));
    registry
        .attach(1, other.id(), |_| true)
        .expect("there is a slot");
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
    let (child, _child_control, _child_lines) = host(&mut role("obedient"));
    let refused = registry.adopt(2, child).expect_err("there is no slot");
    assert_eq!(refused.error().kind(), ErrorKind::LimitReached);
    let child = refused.into_parts().1;
    close_with(&registry, 1, &StopPolicy::immediate());
    other.wait().expect("our child");
    registry.adopt(2, child).expect("there is a slot");
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
}

fn a_slot_is_free_after_the_exit_that_was_waited_for() {
    let registry = limited(Limits::NONE.processes(1));
    let options = SpawnOptions::new().slot_timeout(LONG_ENOUGH);
    for code in 0..20 {
        let mut command = role("exits");
        let child = registry
            .spawn_with(1, command.arg(code.to_string()), &options)
            .expect("a slot comes free");
        assert_eq!(child.wait().works().code(), Some(code));
    }
}

fn a_slot_is_held_until_the_death_is_confirmed() {
    let registry = limited(Limits::NONE.processes(1));
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    let policy = StopPolicy::immediate().confirm_within(ms(100));
    let report = registry
        .end_session_with(1, &policy)
        .expect("a survivor is no error");
    assert!(!report.is_clean(), "\n{report}");
    // It may have been under way when the time was over.
    eventually("no pass has anything open", || {
        descriptors().iter().all(|open| !open.contains("=/proc"))
    });
    assert_eq!(refusal(&registry, 1), ErrorKind::LimitReached);
    assert_eq!(refusal(&registry, 2), ErrorKind::LimitReached);
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    child.wait().expect("nobody holds it any more");
    let options = SpawnOptions::new().slot_timeout(LONG_ENOUGH);
    registry
        .spawn_with(2, &mut role("obedient"), &options)
        .expect("the slot is free");
}

fn waiting_spawn(
    registry: &Registry,
    session: u64,
    timeout: Duration,
) -> procession::Result<Process> {
    let options = SpawnOptions::new().slot_timeout(timeout);
    registry.spawn_with(session, role("exits").arg("0"), &options)
}

fn a_spawn_waits_for_a_slot() {
    let registry = limited(Limits::NONE.processes(1));
    let (holder, _lines) = start(&registry, 1, &mut role("obedient"));
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || waiting_spawn(&registry, 2, LONG_ENOUGH));
        assert!(!waiter.is_finished(), "{:?}", waiter.join());
        holder.kill().expect("it lives");
        let child = waiter
            .join()
            .expect("the waiter did not panic")
            .expect("a slot came free");
        assert!(child.wait().works().success());
    });
}

fn slots_are_given_first_come_first_served() {
    let registry = limited(Limits::NONE.processes(1));
    let events = registry.subscribe_to(EventMask::STARTED);
    let (holder, _lines) = start(&registry, 0, &mut role("obedient"));
    thread::scope(|scope| {
        let registry = &registry;
        let waiters: Vec<_> = (1..=6)
            .map(|session| asleep(scope, move || waiting_spawn(registry, session, LONG_ENOUGH)))
            .collect();
        holder.kill().expect("it lives");
        for (waiter, _) in waiters {
            waiter
                .join()
                .expect("no waiter panicked")
                .expect("a slot came free");
        }
    });
    let order: Vec<_> = (0..7)
        .map(|_| {
            events
                .receiver()
                .recv_timeout(LONG_ENOUGH)
                .expect("all were started")
        })
        .filter_map(|event| event.session().map(|session| session.as_u64()))
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
}

fn a_wait_for_a_slot_times_out() {
    let registry = limited(Limits::NONE.processes_per_session(1));
    let (_holder, _lines) = start(&registry, 1, &mut role("obedient"));
    for timeout in [Duration::ZERO, ms(50)] {
        let began = now();
        let error = waiting_spawn(&registry, 1, timeout).expect_err("no slot came free");
        let expected = |kind| {
            matches!(kind, ErrorKind::TimedOut)
                || timeout.is_zero() && kind == ErrorKind::LimitReached
        };
        assert!(expected(error.kind()), "{error}");
        assert!(began.elapsed() >= timeout);
    }
    // Who gave up is in nobody's way.
    assert!(waiting_spawn(&registry, 2, Duration::ZERO).is_ok());
}

fn a_wait_for_a_slot_ends_with_its_session() {
    let registry = limited(Limits::NONE.processes_per_session(1));
    let (_holder, _lines) = start(&registry, 1, &mut role("ignores-term"));
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || waiting_spawn(&registry, 1, Duration::MAX));
        let policy = StopPolicy::new().signal(Signal::TERM, ms(50)).kill();
        close_with(&registry, 1, &policy);
        let error = waiter
            .join()
            .expect("the waiter did not panic")
            .expect_err("its session has ended");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::SessionEnding | ErrorKind::SessionEnded
            ),
            "{error}"
        );
    });
    assert!(children().is_empty());
}

fn a_wait_for_a_slot_ends_with_its_registry() {
    let registry = limited(Limits::NONE.processes(1));
    let (_holder, _lines) = start(&registry, 1, &mut role("obedient"));
    let for_ever = |session| waiting_spawn(&registry, session, Duration::MAX);
    thread::scope(|scope| {
        let for_ever = &for_ever;
        let waiters = [1, 2].map(|session| asleep(scope, move || for_ever(session)));
        let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
        assert!(reports.iter().all(procession::SessionReport::is_clean));
        for (waiter, _) in waiters {
            let error = waiter
                .join()
                .expect("no waiter panicked")
                .expect_err("its registry has been shut down");
            assert!(
                matches!(error.kind(), ErrorKind::ShutDown | ErrorKind::SessionEnding),
                "{error}"
            );
        }
    });
    assert!(children().is_empty());
}

fn a_wait_for_a_slot_of_any_length_is_legal() {
    let registry = limited(Limits::NONE.processes(1));
    for timeout in [Duration::from_nanos(1 << 63), ms(1 << 31), Duration::MAX] {
        let child = waiting_spawn(&registry, 1, timeout).expect("there is a slot");
        child.wait().works();
        eventually("its slot is free", || {
            registry.processes().works().is_empty()
        });
    }
    // Without a limit there is nothing to wait for.
    let unlimited = support::registry();
    waiting_spawn(&unlimited, 1, Duration::ZERO)
        .expect("there is no limit")
        .wait()
        .works();
}

fn a_failed_spawn_gives_its_slot_to_the_next() {
    let registry = limited(Limits::NONE.processes(1));
    let (holder, _lines) = start(&registry, 1, &mut role("obedient"));
    thread::scope(|scope| {
        let (hopeless, _) = asleep(scope, || {
            let options = SpawnOptions::new().slot_timeout(LONG_ENOUGH);
            registry
                .spawn_with(2, &mut Command::new("/no/such/program"), &options)
                .map(drop)
        });
        let (next, _) = asleep(scope, || waiting_spawn(&registry, 3, LONG_ENOUGH));
        holder.kill().expect("it lives");
        let error = hopeless
            .join()
            .expect("it did not panic")
            .expect_err("there is no such program");
        assert_eq!(error.kind(), ErrorKind::SpawnFailed, "{error}");
        next.join()
            .expect("it did not panic")
            .expect("the slot is free")
            .wait()
            .works();
    });
}

fn limits_hold_under_many_threads() {
    let registry = limited(Limits::NONE.processes(3).processes_per_session(2));
    let over = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for session in 0..6 {
            let (registry, over) = (&registry, &over);
            scope.spawn(move || {
                for _ in 0..10 {
                    let child = waiting_spawn(registry, session % 2, Duration::MAX)
                        .expect("a slot comes free");
                    // Zombies that the library has not yet told of are counted too: the kernel counts them as well.
                    let living = registry.processes().works();
                    let crowded = [0, 1].iter().any(|&session| {
                        living
                            .iter()
                            .filter(|info| info.session.as_u64() == session)
                            .count()
                            > 2
                    });
                    if living.len() > 3 || crowded {
                        over.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    child.wait().works();
                }
            });
        }
    });
    assert_eq!(over.into_inner(), 0, "more processes than the limits allow");
}

/// The system has room for one process at a time, and the reactor takes it away a little later than it was waited for.
fn who_was_waited_for_is_in_nobodys_way() {
    one_after_the_other(|| Command::new("true"));
    one_after_the_other(|| NativeCommand::new("true"));
}

fn one_after_the_other<C: Launch>(command: impl Fn() -> C) {
    const AT_MOST: u64 = 64;
    const TIMES: usize = 50;
    let registry = builder().build().works();
    let run = || {
        let process = registry.spawn(1, &mut command())?;
        process.wait()
    };
    assert!(run().works().success());
    // Nothing is put off any longer when the question is answered.
    assert_eq!(registry.processes().works().len(), 0);
    let before = getrlimit(Resource::Nofile);
    let lowest = File::open("/dev/null").expect("there is one").as_raw_fd();
    let room_for = |more: u64| {
        let current = Some(u64::from(lowest.unsigned_abs()) + more);
        let few = Rlimit { current, ..before };
        setrlimit(Resource::Nofile, few).expect("a limit may be lowered");
    };
    let enough = (0..AT_MOST).find(|&more| {
        room_for(more);
        let fits = run().is_ok();
        registry.processes().works();
        fits
    });
    let all = (0..TIMES).try_for_each(|_| run().map(drop));
    setrlimit(Resource::Nofile, before).expect("and raised again");
    assert!(enough.is_some_and(|more| more > 0), "{enough:?}");
    all.works();
}

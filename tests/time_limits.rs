//! Sessions and processes that may live so long and no longer, and sessions that may be idle so long.

mod support;

use std::process::{Command, ExitCode};
use std::time::Duration;

use procession::{
    ErrorKind, EventKind, EventMask, How, Reason, Rung, SessionOptions, Signal, SpawnOptions,
    StopPolicy,
};

use support::{
    LONG_ENOUGH, Rounds, Works, clean, ms, only_member, registry, role, sleeper, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_session_is_ended_by_its_time_limit_with_that_reason),
            test!(a_session_that_is_touched_is_not_idle),
            test!(a_process_is_stopped_by_its_time_limit_and_says_so),
            test!(a_session_is_not_idle_while_processes_come_into_it),
            test!(limits_of_a_process_of_any_length_are_legal),
            test!(a_host_joins_the_end_that_a_limit_began),
            test!(a_limit_and_a_host_that_meet_make_one_end),
        ],
        &[],
    )
}

fn quick() -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH)
}

fn a_session_is_ended_by_its_time_limit_with_that_reason() {
    let registry = registry();
    for limit in [Duration::ZERO, ms(50)] {
        let options = SessionOptions::new()
            .id(5)
            .stop_policy(quick())
            .time_limit(limit);
        let session = registry.open_session(options).works();
        let ended = session.subscribe_to(EventMask::SESSIONS);
        let spawned = session.spawn(&mut sleeper());
        while session.report().works().is_none()
            && ended.receiver().recv_timeout(LONG_ENOUGH).is_ok()
        {}
        let report = session.report().works().expect("it is over");
        assert_eq!(report.reason(), Reason::TimeLimit);
        if let Ok(child) = spawned {
            assert_eq!(
                child.wait().works().asked().map(|(_, reason)| reason),
                Some(Reason::TimeLimit)
            );
        }
    }
    let never = SessionOptions::new()
        .time_limit(Duration::from_nanos(1 << 63))
        .idle_limit(Duration::MAX);
    assert!(
        registry
            .open_session(never)
            .works()
            .end()
            .works()
            .is_clean()
    );
}

fn a_session_that_is_touched_is_not_idle() {
    let registry = registry();
    let options = SessionOptions::new()
        .stop_policy(quick())
        .idle_limit(ms(1500));
    let session = registry.open_session(options).works();
    let ended = session.subscribe_to(EventMask::SESSIONS);
    for _ in 0..6 {
        session.touch().works();
        assert!(
            ended.receiver().recv_timeout(ms(400)).is_err(),
            "it is in use"
        );
    }
    while session.report().works().is_none() {
        ended
            .receiver()
            .recv_timeout(LONG_ENOUGH)
            .expect("it is idle now");
    }
    assert_eq!(
        session.report().works().map(|report| report.reason()),
        Some(Reason::IdleLimit)
    );
}

fn a_process_is_stopped_by_its_time_limit_and_says_so() {
    let registry = registry();
    let options = SpawnOptions::new().time_limit(ms(30));
    let child = registry.spawn_with(1, &mut sleeper(), &options).works();
    let exit = child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("its time is over");
    assert_eq!(exit.asked(), Some((Signal::TERM, Reason::TimeLimit)));
    assert!(registry.end_session(1).works().is_clean());
}

fn a_session_is_not_idle_while_processes_come_into_it() {
    let registry = registry();
    let options = SessionOptions::new()
        .stop_policy(quick())
        .idle_limit(ms(1500));
    let session = registry.open_session(options).works();
    let ended = session.subscribe_to(EventMask::SESSIONS);
    for _ in 0..5 {
        session.spawn(&mut Command::new("true")).works();
        // Time itself is the precondition: together these are longer than the limit.
        support::let_pass(ms(500));
        assert!(session.report().works().is_none(), "it is in use");
    }
    let last = ended.receiver().iter().last().expect("events");
    let EventKind::SessionEnded(report) = last.kind() else {
        panic!("{last}");
    };
    assert_eq!(report.reason(), Reason::IdleLimit);
    assert_eq!(report.gone_before(), 5);
}

fn limits_of_a_process_of_any_length_are_legal() {
    let registry = registry();
    let options = SessionOptions::new().id(1).stop_policy(quick());
    let session = registry.open_session(options).works();
    let spawn = |limit| {
        let options = SpawnOptions::new().time_limit(limit);
        session.spawn_with(&mut sleeper(), &options).works()
    };
    let never = [Duration::from_nanos(1 << 63), Duration::MAX].map(spawn);
    let now = spawn(Duration::ZERO);
    let exit = now.wait_timeout(LONG_ENOUGH).works().expect("at once");
    assert_eq!(exit.asked(), Some((Signal::TERM, Reason::TimeLimit)));
    assert!(never.iter().all(|child| child.try_wait().works().is_none()));
    let report = clean(session.end().works());
    assert_eq!((report.members().len(), report.gone_before()), (2, 1));
}

fn a_host_joins_the_end_that_a_limit_began() {
    let registry = registry();
    let options = SessionOptions::new()
        .id(1)
        .stop_policy(StopPolicy::new().signal(Signal::TERM, Duration::MAX));
    let session = registry.open_session(options.time_limit(ms(200))).works();
    let events = session.subscribe_to(EventMask::SESSIONS);
    let (deaf, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let first = events
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("its time is over");
    assert!(matches!(
        first.kind(),
        EventKind::SessionEnding {
            reason: Reason::TimeLimit
        }
    ));
    let report = clean(session.end_with(&StopPolicy::immediate()).works());
    assert_eq!(report.reason(), Reason::TimeLimit, "who began it");
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    assert_eq!(
        deaf.wait().works().asked(),
        Some((Signal::KILL, Reason::TimeLimit))
    );
    assert_eq!(events.receiver().iter().count(), 1, "it has ended once");
}

/// Hunts for an end that is lost or told twice where the limit and the host want it in the same moment.
fn a_limit_and_a_host_that_meet_make_one_end() {
    let registry = registry();
    for round in Rounds::new() {
        let limit = Duration::from_micros(round * 37 % 3000);
        let options = SessionOptions::new().id(1).stop_policy(quick());
        let session = registry.open_session(options.time_limit(limit)).works();
        let events = session.subscribe_to(EventMask::SESSIONS);
        let spawned = session.spawn(&mut sleeper());
        match session.end() {
            Ok(report) => assert!(report.is_clean()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::SessionEnded, "round {round}"),
        }
        assert!(session.report().works().is_some());
        let ends = events
            .receiver()
            .iter()
            .filter(|event| matches!(event.kind(), EventKind::SessionEnded(_)))
            .count();
        assert!(ends <= 1, "round {round}");
        if let Ok(child) = spawned {
            assert!(child.try_wait().works().is_some(), "round {round}");
        }
    }
}

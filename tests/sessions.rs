//! Handles to sessions, limits in time, collected output, and a shutdown with progress.

mod support;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use procession::{
    ErrorKind, EventKind, EventMask, Reason, SessionId, SessionOptions, Signal, SpawnOptions,
    StopPolicy,
};

use support::{LONG_ENOUGH, Works, ms, registry, test};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_handle_is_one_life_of_its_number),
            test!(a_number_in_use_cannot_be_opened_and_one_without_number_is_high),
            test!(a_guard_ends_its_session_where_it_is_dropped_also_by_a_panic),
            test!(a_session_is_ended_by_its_time_limit_with_that_reason),
            test!(a_session_that_is_touched_is_not_idle),
            test!(a_process_is_stopped_by_its_time_limit_and_says_so),
            test!(waiting_for_an_empty_session_ends_with_the_last_exit),
            test!(output_is_collected_without_waiting_for_a_descendant_that_holds_the_pipe),
            test!(output_beyond_the_limit_is_dropped_and_said_to_be),
            test!(a_shutdown_shows_progress_and_can_be_hardened),
            test!(sessions_are_retained_by_number),
            test!(a_subscription_to_one_session_hears_nothing_else_and_ends_with_it),
        ],
        &[],
    )
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn quick() -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH)
}

fn a_handle_is_one_life_of_its_number() {
    let registry = registry();
    let options = SessionOptions::new()
        .id(7)
        .label("first \u{1}\n")
        .stop_policy(quick());
    let first = registry.open_session(options).works();
    let child = first.spawn(&mut sleeper()).works();
    assert_eq!(first.members().works().len(), 1);
    assert!(first.report().works().is_none());
    let report = first.end().works();
    assert!(report.is_clean());
    assert_eq!(report.label(), first.label());
    assert_eq!(
        child.wait().works().asked(),
        Some((Signal::TERM, Reason::Host))
    );
    let _second = registry.spawn(7, &mut sleeper()).works();
    for error in [
        first.spawn(&mut sleeper()).expect_err("it is over"),
        first.end().expect_err("it is over"),
        first.touch().expect_err("it is over"),
        first.members().expect_err("it is over"),
        first.wait_empty().expect_err("it is over"),
        first.signal(Signal::TERM).expect_err("it is over"),
    ] {
        assert_eq!(error.kind(), ErrorKind::SessionEnded, "{error}");
    }
    assert!(first.report().works().expect("it is kept").is_clean());
    let living = registry.session(7).works().expect("the number lives again");
    assert_eq!(living.members().works().len(), 1);
    assert!(registry.end_session(7).works().is_clean());
}

fn a_number_in_use_cannot_be_opened_and_one_without_number_is_high() {
    let registry = registry();
    let _child = registry.spawn(3, &mut sleeper()).works();
    let error = registry
        .open_session(SessionOptions::new().id(3))
        .expect_err("it lives");
    assert_eq!(error.kind(), ErrorKind::SessionInUse);
    let a = registry.open_session(SessionOptions::new()).works();
    let b = registry
        .open_session(SessionOptions::new().max_processes(0))
        .works();
    assert!(a.id() >= SessionId::new(1 << 63) && b.id() > a.id());
    let error = b.spawn(&mut sleeper()).expect_err("none may be in it");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
}

fn a_guard_ends_its_session_where_it_is_dropped_also_by_a_panic() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().stop_policy(quick()))
        .works();
    let child = session.spawn(&mut sleeper()).works();
    let guard = session.clone().end_on_drop();
    let panicked = std::thread::spawn(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("for a test"));
    });
    assert!(panicked.join().is_err());
    assert!(
        child.try_wait().works().is_some(),
        "confirmed where the guard was dropped"
    );
    assert!(session.report().works().expect("it is over").is_clean());
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

fn waiting_for_an_empty_session_ends_with_the_last_exit() {
    let registry = registry();
    let session = registry.open_session(SessionOptions::new()).works();
    session.wait_empty().works();
    let child = session.spawn(&mut sleeper()).works();
    assert!(!session.wait_empty_timeout(Duration::ZERO).works());
    for _ in 0..100 {
        assert!(!session.wait_empty_timeout(ms(1)).works());
    }
    child.kill().works();
    assert!(session.wait_empty_timeout(LONG_ENOUGH).works());
}

fn output_is_collected_without_waiting_for_a_descendant_that_holds_the_pipe() {
    let registry = registry();
    let mut command = shell("echo out; echo err >&2; sleep 1000 & exit 3");
    let child = registry
        .spawn(1, command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        .works();
    let output = child.collect_output(1 << 20).works().finish().works();
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert!(output.still_open && !output.truncated);
    assert_eq!(child.wait().works().code(), Some(3));
    assert!(registry.end_session(1).works().is_clean());
}

fn output_beyond_the_limit_is_dropped_and_said_to_be() {
    let registry = registry();
    let mut command = shell("head -c 1000000 /dev/zero");
    let child = registry.spawn(1, command.stdout(Stdio::piped())).works();
    let output = child.collect_output(1000).works().finish().works();
    assert_eq!(output.stdout.len(), 1000);
    assert!(output.truncated && !output.still_open);
    let again = child.collect_output(1).expect_err("they were taken");
    assert_eq!(again.kind(), ErrorKind::InvalidInput);
}

fn a_shutdown_shows_progress_and_can_be_hardened() {
    let registry = registry();
    let deaf = registry
        .spawn(
            2,
            shell("trap '' TERM; echo ready; sleep 1000").stdout(Stdio::piped()),
        )
        .works();
    let mut line = [0];
    let mut stdout = deaf.take_stdout().expect("a pipe");
    std::io::Read::read_exact(&mut stdout, &mut line).expect("it is ready");
    let _obedient = registry.spawn(1, &mut sleeper()).works();
    let patient = StopPolicy::new().signal(Signal::TERM, Duration::MAX);
    let shutdown = registry.begin_shutdown(&patient).works();
    let first = shutdown
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("the obedient one");
    assert_eq!(first.session(), SessionId::new(1));
    let remaining = shutdown.remaining().works();
    assert_eq!(
        remaining
            .iter()
            .map(|info| info.id.as_u64())
            .collect::<Vec<_>>(),
        [2]
    );
    assert!(shutdown.wait_timeout(Duration::ZERO).works().is_none());
    shutdown.harden(&StopPolicy::immediate()).works();
    let reports = shutdown.wait().works();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(procession::SessionReport::is_clean));
    assert_eq!(
        shutdown.receiver().iter().count(),
        1,
        "the rest, and then it is disconnected"
    );
    assert_eq!(
        registry.shutdown().expect_err("it is over").kind(),
        ErrorKind::ShutDown
    );
}

fn sessions_are_retained_by_number() {
    let registry = registry();
    for session in 1..=4 {
        registry.spawn(session, &mut sleeper()).works();
    }
    let ended = registry.end_sessions_except([2_u64, 4]).works();
    assert_eq!(
        ended
            .iter()
            .map(|report| report.session().as_u64())
            .collect::<Vec<_>>(),
        [1, 3]
    );
    let begun = registry.clone();
    let ended = registry
        .retain_sessions(|session| {
            // One that begins meanwhile is not among them.
            drop(begun.spawn(9, &mut sleeper()).works());
            session.as_u64() == 4
        })
        .works();
    assert_eq!(
        ended
            .iter()
            .map(|report| report.session().as_u64())
            .collect::<Vec<_>>(),
        [2]
    );
    let left = registry.sessions().works();
    assert_eq!(
        left.iter().map(|info| info.id.as_u64()).collect::<Vec<_>>(),
        [4, 9]
    );
}

fn a_subscription_to_one_session_hears_nothing_else_and_ends_with_it() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().id(1).stop_policy(quick()))
        .works();
    let events = session.subscribe_to(EventMask::all());
    registry.spawn(2, &mut sleeper()).works();
    session.spawn(&mut sleeper()).works();
    assert!(session.end().works().is_clean());
    let heard: Vec<_> = events.receiver().iter().collect();
    assert!(
        heard
            .iter()
            .all(|event| event.session() == Some(SessionId::new(1)))
    );
    assert!(matches!(heard[0].kind(), EventKind::Started));
    assert!(matches!(
        heard.last().expect("events").kind(),
        EventKind::SessionEnded(_)
    ));
}

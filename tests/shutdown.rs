//! The end of everything: by several threads, with progress, with a deadline.

mod support;

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use procession::{
    ErrorKind, Reason, Rung, SessionId, SessionOptions, SessionReport, Signal, StopPolicy,
};

use support::{
    LONG_ENOUGH, Works, asleep, eventually, ms, now, registry, role, sleeper, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_shutdown_shows_progress_and_can_be_hardened),
            test!(two_threads_that_shut_down_get_the_same_reports),
            test!(a_shutdown_that_is_joined_late_tells_what_was_before),
            test!(a_shutdown_that_is_dropped_goes_on),
            test!(a_shutdown_is_waited_for_until_a_deadline),
            test!(a_shutdown_by_another_policy_is_kept_within_its_time),
            test!(a_shutdown_that_is_over_cannot_be_hardened_and_has_nothing_left),
            test!(a_session_of_another_thread_cannot_be_opened_in_a_shutdown),
        ],
        &[],
    )
}

const HOUR: Duration = Duration::from_secs(3600);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn quick() -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH)
}

fn numbers(reports: &[SessionReport]) -> Vec<u64> {
    reports
        .iter()
        .map(|report| report.session().as_u64())
        .collect()
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

fn two_threads_that_shut_down_get_the_same_reports() {
    let registry = registry();
    for session in 1..=5 {
        let _child = registry.spawn(session, &mut sleeper()).works();
    }
    let (deaf, _lines) = start(&registry, 6, &mut role("ignores-term"));
    let patient = StopPolicy::new().signal(Signal::TERM, HOUR);
    let texts: Vec<_> = thread::scope(|scope| {
        let (first, _) = asleep(scope, || registry.shutdown_with(&patient));
        let second = scope.spawn(|| registry.shutdown_with(&StopPolicy::immediate()));
        [first, second]
            .map(|caller| caller.join().expect("no panic").works())
            .map(|reports| reports.iter().map(ToString::to_string).collect::<Vec<_>>())
            .into()
    });
    assert_eq!(texts[0].len(), 6);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(
        deaf.wait().works().asked(),
        Some((Signal::KILL, Reason::Shutdown))
    );
    let third = registry.shutdown().expect_err("it is over");
    assert_eq!(third.kind(), ErrorKind::ShutDown);
}

fn a_shutdown_that_is_joined_late_tells_what_was_before() {
    let registry = registry();
    let _obedient = registry.spawn(1, &mut sleeper()).works();
    let (_deaf, _lines) = start(&registry, 2, &mut role("ignores-term"));
    let patient = StopPolicy::new().signal(Signal::TERM, HOUR);
    let first = registry.begin_shutdown(&patient).works();
    let report = first.receiver().recv_timeout(LONG_ENOUGH).expect("one");
    assert_eq!(report.session(), SessionId::new(1));
    let second = registry.begin_shutdown(&patient).works();
    let report = second
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("the same");
    assert_eq!(report.session(), SessionId::new(1));
    second.harden(&StopPolicy::immediate()).works();
    assert_eq!(numbers(&first.wait().works()), [1, 2]);
    assert_eq!(numbers(&second.wait().works()), [1, 2]);
    assert_eq!(first.receiver().iter().count(), 1);
    assert_eq!(second.receiver().iter().count(), 1);
}

fn a_shutdown_that_is_dropped_goes_on() {
    let registry = registry();
    let child = registry.spawn(1, &mut sleeper()).works();
    drop(registry.begin_shutdown(&quick()).works());
    let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it goes on");
    assert_eq!(exit.asked(), Some((Signal::TERM, Reason::Shutdown)));
}

fn a_shutdown_is_waited_for_until_a_deadline() {
    let registry = registry();
    let (_deaf, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let patient = StopPolicy::new().signal(Signal::TERM, Duration::MAX);
    let shutdown = registry.begin_shutdown(&patient).works();
    let past = now();
    assert!(shutdown.wait_deadline(past).works().is_none());
    assert!(shutdown.wait_deadline(now() + ms(50)).works().is_none());
    assert!(shutdown.wait_timeout(Duration::ZERO).works().is_none());
    let info = shutdown.remaining().works();
    assert_eq!(info.len(), 1);
    assert_eq!(info[0].ending, Some(Rung::Signal(Signal::TERM)));
    shutdown.harden(&StopPolicy::immediate()).works();
    let reports = shutdown.wait_timeout(Duration::MAX).works();
    assert_eq!(reports.map(|reports| reports.len()), Some(1));
}

/// A daemon that has so much time left and no more.
fn a_shutdown_by_another_policy_is_kept_within_its_time() {
    let registry = registry();
    let (deaf, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let policy = StopPolicy::stdio_server()
        .confirm_within(Duration::from_secs(20))
        .within(Duration::from_millis(20_300));
    assert_eq!(policy.longest(), Duration::from_millis(20_300));
    let began = now();
    let reports = registry.shutdown_with(&policy).works();
    let took = began.elapsed();
    assert!(took >= ms(300) && took < Duration::from_secs(4), "{took:?}");
    assert!(reports[0].is_clean());
    assert_eq!(deaf.wait().works().signal(), Some(Signal::KILL));
}

fn a_shutdown_that_is_over_cannot_be_hardened_and_has_nothing_left() {
    let registry = registry();
    let shutdown = registry.begin_shutdown(&quick()).works();
    assert!(shutdown.wait().works().is_empty());
    for _ in 0..3 {
        shutdown.harden(&StopPolicy::immediate()).works();
        assert!(shutdown.remaining().works().is_empty());
        assert!(shutdown.receiver().recv().is_err());
        assert!(shutdown.wait().works().is_empty());
    }
}

fn a_session_of_another_thread_cannot_be_opened_in_a_shutdown() {
    let registry = registry();
    let (_deaf, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let patient = StopPolicy::new().signal(Signal::TERM, HOUR);
    let shutdown = registry.begin_shutdown(&patient).works();
    // It is under way once it says so.
    eventually("it has begun", || {
        let sessions = shutdown.remaining().works();
        sessions.iter().all(|info| info.ending.is_some())
    });
    for id in [None, Some(1_u64), Some(2)] {
        let options = id.map_or(SessionOptions::new(), |id| SessionOptions::new().id(id));
        let error = registry.open_session(options).expect_err("all is ending");
        assert_eq!(error.kind(), ErrorKind::ShutDown);
    }
    assert!(registry.session(1).works().is_some(), "it can be looked at");
    shutdown.harden(&StopPolicy::immediate()).works();
    drop(shutdown.wait().works());
}

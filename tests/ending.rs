//! How sessions and processes are ended: the ladder on real processes that do not want to go.

mod support;

use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use procession::{ErrorKind, EventKind, EventMask, How, Registry, Rung, Signal, StopPolicy};
use rustix::process::{Signal as RawSignal, WaitId, WaitIdOptions, waitid};

use support::{
    LONG_ENOUGH, Pinned, Works, asleep, builder, clean, drain, eventually, is_our_child, member,
    ms, now, only_member, registry, role, rungs, start, state, test,
};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_child_that_obeys_sigterm_is_not_escalated),
            test!(a_child_that_ignores_sigterm_is_escalated_once_at_the_deadline),
            test!(a_child_that_was_sent_a_sigterm_by_someone_else_is_not_taken_for_gone),
            test!(a_sigterm_handler_that_never_finishes_does_not_move_the_deadline),
            test!(a_child_that_leaves_at_eof_only_is_ended_by_the_close_stdin_rung),
            test!(a_child_that_ignores_eof_is_ended_by_the_next_rung),
            test!(a_writer_inside_a_full_pipe_is_woken_when_stdin_is_closed),
            test!(a_stdin_that_was_taken_is_not_closed_by_the_ladder),
            test!(a_stopped_child_is_continued_after_the_soft_signal),
            test!(a_child_that_was_stopped_by_sigtstp_is_continued_after_the_soft_signal),
            test!(a_child_that_the_host_stops_stays_stopped),
            test!(a_child_that_dies_by_a_signal_from_outside_is_reported_as_that_signal),
            test!(a_child_that_dies_from_outside_during_an_end_burns_no_grace),
            test!(callers_that_end_the_same_session_get_one_ladder_and_one_report),
            test!(the_stricter_policy_wins_whoever_comes_first),
            test!(
                a_session_without_processes_one_never_seen_and_one_ended_have_empty_clean_reports
            ),
            test!(deadlines_of_any_length_are_legal),
            test!(a_policy_within_no_time_kills_at_once),
            test!(stop_ends_one_process_and_leaves_its_session),
            test!(a_stop_within_an_end_shortens_the_end_of_its_process_alone),
            test!(a_registry_ends_by_its_own_policy_unless_told_otherwise),
            test!(the_last_reports_are_kept),
            test!(an_ending_that_is_dropped_goes_on),
            test!(shutdown_ends_every_session_and_refuses_new_processes),
            test!(a_report_prints_what_it_knows),
        ],
        &[],
    )
}

fn term_then_kill(grace: Duration) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, grace).kill()
}

fn end(registry: &Registry, session: u64, policy: &StopPolicy) -> procession::SessionReport {
    clean(registry.end_session_with(session, policy).works())
}

fn asked(exit: &procession::Exit) -> Option<Signal> {
    exit.asked().map(|(signal, _)| signal)
}

fn a_child_that_obeys_sigterm_is_not_escalated() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::ESCALATED);
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let report = end(&registry, 1, &term_then_kill(HOUR));
    let member = only_member(&report);
    assert_eq!(member.how(), How::At(Rung::Signal(Signal::TERM)));
    let exit = member.exit().expect("it has exited");
    assert_eq!(
        (exit.signal(), asked(exit)),
        (Some(Signal::TERM), Some(Signal::TERM))
    );
    assert_eq!(rungs(&drain(&events)), []);
    assert!(!is_our_child(child.pid()), "not reaped");
}

fn a_child_that_ignores_sigterm_is_escalated_once_at_the_deadline() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::ESCALATED);
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let began = now();
    let report = end(&registry, 1, &term_then_kill(ms(300)));
    let took = began.elapsed();
    assert!(!is_our_child(child.pid()), "not reaped");
    assert!(took >= ms(300), "killed within its grace, after {took:?}");
    assert!(took < LONG_ENOUGH, "{took:?}");
    let member = only_member(&report);
    assert_eq!(
        (member.process(), member.pid(), member.how()),
        (child.id(), child.pid(), How::At(Rung::Kill))
    );
    let exit = member.exit().expect("it has exited");
    assert_eq!(
        (exit.signal(), asked(exit)),
        (Some(Signal::KILL), Some(Signal::KILL))
    );
    assert_eq!(rungs(&drain(&events)), [Rung::Kill]);
}

fn a_child_that_was_sent_a_sigterm_by_someone_else_is_not_taken_for_gone() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    Pinned::open(child.pid())
        .and_then(|pinned| pinned.send(RawSignal::TERM))
        .expect("we may signal our child");
    let report = end(&registry, 1, &term_then_kill(ms(50)));
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    assert_eq!(
        only_member(&report)
            .exit()
            .and_then(procession::Exit::signal),
        Some(Signal::KILL)
    );
    assert!(!is_our_child(child.pid()), "not reaped");
}

fn a_sigterm_handler_that_never_finishes_does_not_move_the_deadline() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::ESCALATED);
    let (child, _lines) = start(&registry, 1, &mut role("never-finishes-handling-term"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let began = now();
    let ending = registry
        .begin_end_session(1, &term_then_kill(ms(400)))
        .works();
    // Every further SIGTERM keeps the handler busy; none of them buys time.
    let mut more = 0;
    let report = loop {
        if let Some(report) = ending.wait_timeout(ms(20)).works() {
            break report;
        }
        // It may have died since.
        more += u32::from(pinned.send(RawSignal::TERM).is_ok());
    };
    let took = began.elapsed();
    assert!(more > 0, "the end was over before it could be disturbed");
    assert!(took >= ms(400) && took < LONG_ENOUGH, "{took:?}");
    assert_eq!(only_member(&clean(report)).how(), How::At(Rung::Kill));
    assert_eq!(rungs(&drain(&events)), [Rung::Kill]);
}

fn a_child_that_leaves_at_eof_only_is_ended_by_the_close_stdin_rung() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SIGNALLED | EventMask::ESCALATED);
    let (child, _lines) = start(
        &registry,
        1,
        role("until-eof").arg("7").stdin(Stdio::piped()),
    );
    let mut stdin = child.stdin().expect("its input is a pipe");
    stdin.write_all(b"some words\n").expect("it reads");
    let report = end(
        &registry,
        1,
        &StopPolicy::new()
            .close_stdin(HOUR)
            .signal(Signal::TERM, HOUR)
            .kill(),
    );
    let member = only_member(&report);
    assert_eq!(member.how(), How::At(Rung::CloseStdin));
    assert_eq!(member.exit().and_then(procession::Exit::code), Some(7));
    assert_eq!(drain(&events).len(), 0, "a signal was sent");
    let late = stdin.write(b"too late\n").expect_err("it is closed");
    assert_eq!(late.kind(), IoErrorKind::BrokenPipe);
}

fn a_child_that_ignores_eof_is_ended_by_the_next_rung() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::ESCALATED);
    let (_child, mut lines) = start(&registry, 1, role("ignores-eof").stdin(Stdio::piped()));
    let policy = StopPolicy::new()
        .close_stdin(ms(500))
        .signal(Signal::TERM, HOUR)
        .kill();
    let report = end(&registry, 1, &policy);
    lines.expect("end of input");
    assert_eq!(
        only_member(&report).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
    assert_eq!(rungs(&drain(&events)), [Rung::Signal(Signal::TERM)]);
}

fn a_writer_inside_a_full_pipe_is_woken_when_stdin_is_closed() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, role("obedient").stdin(Stdio::piped()));
    let mut stdin = child.stdin().expect("its input is a pipe");
    let error = thread::scope(|scope| {
        // Far more than any pipe holds, and nobody reads it.
        let (writer, _) = asleep(scope, move || stdin.write_all(&vec![b'x'; 32 << 20]));
        let policy = StopPolicy::new()
            .close_stdin(ms(200))
            .signal(Signal::TERM, HOUR);
        let report = end(&registry, 1, &policy);
        assert_eq!(
            only_member(&report).how(),
            How::At(Rung::Signal(Signal::TERM))
        );
        writer
            .join()
            .expect("the writer did not panic")
            .expect_err("nobody read it")
    });
    assert_eq!(error.kind(), IoErrorKind::BrokenPipe);
}

fn a_stdin_that_was_taken_is_not_closed_by_the_ladder() {
    let registry = registry();
    let mut command = role("until-eof");
    let (child, _lines) = start(&registry, 1, command.arg("0").stdin(Stdio::piped()));
    let control = child.take_stdin().expect("its input is a pipe");
    assert!(child.take_stdin().is_none(), "taken twice");
    let report = end(&registry, 1, &StopPolicy::new().close_stdin(ms(100)).kill());
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    drop(control);
}

/// Waits until our child has stopped.
fn await_stop(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a pid");
    let stopped = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT,
    );
    assert!(
        stopped
            .expect("it is our child")
            .is_some_and(|status| status.stopped())
    );
}

fn is_continued_after_the_soft_signal(by: Signal) {
    let registry = registry();
    let (child, _lines) = start(
        &registry,
        1,
        role("stops-itself").arg(by.as_raw().to_string()),
    );
    await_stop(child.pid());
    let report = end(&registry, 1, &term_then_kill(HOUR));
    assert_eq!(
        only_member(&report).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
    assert_eq!(
        only_member(&report)
            .exit()
            .and_then(procession::Exit::signal),
        Some(Signal::TERM)
    );
}

fn a_stopped_child_is_continued_after_the_soft_signal() {
    is_continued_after_the_soft_signal(Signal::STOP);
}

fn a_child_that_was_stopped_by_sigtstp_is_continued_after_the_soft_signal() {
    is_continued_after_the_soft_signal(Signal::TSTP);
}

fn a_child_that_the_host_stops_stays_stopped() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    child.signal(Signal::STOP).expect("it lives");
    await_stop(child.pid());
    // A SIGCONT of ours would have been sent with the STOP, and before this answer.
    registry.processes().works();
    assert_eq!(state(child.pid()), Some('T'));
    child.signal(Signal::CONT).expect("it lives");
    eventually("it runs again", || state(child.pid()) != Some('T'));
    let _report = end(&registry, 1, &StopPolicy::immediate());
}

fn a_child_that_dies_by_a_signal_from_outside_is_reported_as_that_signal() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    Pinned::open(child.pid())
        .and_then(|pinned| pinned.send(RawSignal::USR1))
        .expect("we may signal our child");
    let exit = child.wait().works();
    assert_eq!(exit.signal(), Some(Signal::USR1));
    assert_eq!(exit.asked(), None);
    let told = events
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("its exit is told");
    assert!(matches!(told.kind(), EventKind::Exited(told) if told.signal() == Some(Signal::USR1)));
    let report = end(&registry, 1, &term_then_kill(HOUR));
    assert_eq!(
        (report.members().len(), report.gone_before()),
        (0, 1),
        "\n{report}"
    );
}

fn a_child_that_dies_from_outside_during_an_end_burns_no_grace() {
    let registry = registry();
    let signals = registry.subscribe_to(EventMask::SIGNALLED);
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let ending = registry.begin_end_session(1, &term_then_kill(HOUR)).works();
    assert!(registry.sessions().works()[0].ending.is_some());
    // What is asked for is not yet begun: the event says that it is.
    let sent = signals.receiver().recv_timeout(LONG_ENOUGH);
    assert!(sent.is_ok(), "SIGTERM was never sent");
    assert!(ending.try_report().works().is_none());
    Pinned::open(child.pid()).expect("it lives").kill();
    let report = ending
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("over with the child");
    // It did not die of what it had been asked for.
    let report = clean(report);
    let exit = only_member(&report).exit().expect("it has exited");
    assert_eq!(
        (exit.signal(), asked(exit)),
        (Some(Signal::KILL), Some(Signal::TERM))
    );
    assert_eq!(
        only_member(&report).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
}

fn callers_that_end_the_same_session_get_one_ladder_and_one_report() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS | EventMask::ESCALATED);
    let (_child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let first = registry.begin_end_session(1, &term_then_kill(HOUR)).works();
    let second = registry
        .begin_end_session(1, &term_then_kill(2 * HOUR))
        .works();
    assert!(first.wait_timeout(ms(50)).works().is_none());
    let third = end(&registry, 1, &StopPolicy::immediate());
    let (first, second) = (
        first.wait().expect("joined"),
        second.wait().expect("joined"),
    );
    assert_eq!(first.to_string(), third.to_string());
    assert_eq!(second.to_string(), third.to_string());
    assert_eq!(only_member(&third).how(), How::At(Rung::Kill));
    let told = drain(&events);
    assert_eq!(rungs(&told), [Rung::Kill]);
    let count = |is: fn(&EventKind) -> bool| told.iter().filter(|event| is(event.kind())).count();
    assert_eq!(
        count(|kind| matches!(kind, EventKind::SessionEnding { .. })),
        1
    );
    assert_eq!(count(|kind| matches!(kind, EventKind::SessionEnded(_))), 1);
}

fn the_stricter_policy_wins_whoever_comes_first() {
    for stricter_first in [true, false] {
        let registry = registry();
        let (_child, _lines) = start(&registry, 1, &mut role("ignores-term"));
        let policies = [term_then_kill(ms(200)), term_then_kill(HOUR)];
        let order = if stricter_first { [0, 1] } else { [1, 0] };
        let began = now();
        let endings = order.map(|n| registry.begin_end_session(1, &policies[n]).works());
        for ending in endings {
            let report = ending
                .wait_timeout(LONG_ENOUGH)
                .works()
                .expect("the stricter wins");
            assert_eq!(only_member(&clean(report)).how(), How::At(Rung::Kill));
        }
        assert!(began.elapsed() >= ms(200));
    }
}

fn a_session_without_processes_one_never_seen_and_one_ended_have_empty_clean_reports() {
    let registry = registry();
    let empty = |session: u64| {
        let report = end(&registry, session, &term_then_kill(HOUR));
        assert_eq!(
            (report.session().as_u64(), report.members().len()),
            (session, 0),
            "\n{report}"
        );
        report.gone_before()
    };
    assert_eq!(empty(1), 0);
    let (child, _lines) = start(&registry, 2, &mut role("obedient"));
    child.kill().expect("it lives");
    child.wait().works();
    assert_eq!(empty(2), 1);
    // Its life is over: the next end of this number knows nothing of it.
    assert_eq!(empty(2), 0);
    assert_eq!(empty(u64::MAX), 0);
    assert!(registry.sessions().works().is_empty());
}

fn deadlines_of_any_length_are_legal() {
    let lengths = [
        Duration::ZERO,
        Duration::from_nanos(1),
        ms(1 << 31),
        ms(1 << 32),
        Duration::from_nanos(1 << 63),
        Duration::MAX,
    ];
    let registry = registry();
    for length in lengths {
        let policies = [
            term_then_kill(length),
            StopPolicy::new()
                .signal(Signal::TERM, length)
                .signal(Signal::INT, length),
            StopPolicy::new()
                .close_stdin(length)
                .signal(Signal::TERM, HOUR)
                .within(LONG_ENOUGH),
            StopPolicy::wait_then_kill(length).within(ms(2_000)),
            StopPolicy::graceful().confirm_within(length.max(LONG_ENOUGH)),
        ];
        for policy in policies {
            let (child, _lines) = start(
                &registry,
                1,
                role("exits-after-a-line").arg("0").stdin(Stdio::piped()),
            );
            assert!(child.try_wait().works().is_none());
            let began = now();
            let report = end(&registry, 1, &policy);
            assert!(began.elapsed() < LONG_ENOUGH, "{length:?}: {policy}");
            assert_eq!(report.members().len(), 1, "\n{report}");
            assert!(child.wait_timeout(length).works().is_some());
        }
    }
}

fn a_policy_within_no_time_kills_at_once() {
    let registry = registry();
    let (_child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    // There is no time to confirm anything either: whether it was seen to be gone or not, nobody waited.
    let policy = term_then_kill(HOUR).within(Duration::ZERO);
    let first = registry.end_session_with(1, &policy).works();
    assert_eq!(first.members().len(), 1, "\n{first}");
    let second = end(&registry, 1, &StopPolicy::immediate());
    assert!(second.is_clean(), "\n{second}");
}

fn stop_ends_one_process_and_leaves_its_session() {
    let registry = registry();
    let (first, _first_lines) = start(&registry, 1, &mut role("ignores-term"));
    let (second, _second_lines) = start(&registry, 1, &mut role("obedient"));
    let report = first.stop(&term_then_kill(ms(50))).works();
    assert_eq!(
        (report.process(), report.how()),
        (first.id(), How::At(Rung::Kill))
    );
    assert!(
        report
            .exit()
            .is_some_and(|exit| exit.signal() == Some(Signal::KILL))
    );
    assert!(!is_our_child(first.pid()), "not reaped");
    assert!(second.try_wait().works().is_none());
    let again = first
        .stop(&term_then_kill(HOUR))
        .expect("what has exited needs no stopping");
    assert_eq!(again.how(), How::AlreadyGone);
    assert_eq!(registry.session_processes(1).works().len(), 1);
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert_eq!(
        (only_member(&report).process(), report.gone_before()),
        (second.id(), 1)
    );
}

fn a_stop_within_an_end_shortens_the_end_of_its_process_alone() {
    let registry = registry();
    let (first, _first_lines) = start(&registry, 1, &mut role("ignores-term"));
    let (second, _second_lines) = start(&registry, 1, &mut role("ignores-term"));
    let ending = registry.begin_end_session(1, &term_then_kill(HOUR)).works();
    let stopped = first.stop(&StopPolicy::immediate()).works();
    assert_eq!(
        (stopped.process(), stopped.how()),
        (first.id(), How::At(Rung::Kill))
    );
    assert!(second.try_wait().works().is_none(), "ended with the other");
    assert!(ending.try_report().works().is_none());
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert_eq!(member(&report, &second).how(), How::At(Rung::Kill));
    assert_eq!(member(&report, &first).how(), How::At(Rung::Kill));
}

fn a_registry_ends_by_its_own_policy_unless_told_otherwise() {
    let policy = StopPolicy::new().signal(Signal::HUP, HOUR);
    let registry = builder().stop_policy(policy.clone()).build().works();
    assert_eq!(registry.stop_policy(), &policy);
    let (_child, _lines) = start(&registry, 1, &mut role("obedient"));
    let report = clean(registry.end_session(1).works());
    assert_eq!(
        only_member(&report).how(),
        How::At(Rung::Signal(Signal::HUP))
    );
    assert_eq!(StopPolicy::default(), StopPolicy::graceful());
}

fn the_last_reports_are_kept() {
    let registry = builder().kept_reports(2).build().works();
    for session in 1..=3 {
        let (_child, _lines) = start(&registry, session, &mut role("obedient"));
        let _report = end(&registry, session, &StopPolicy::immediate());
    }
    assert!(
        registry.last_report(1).works().is_none(),
        "the oldest is kept"
    );
    for session in 2..=3 {
        let kept = registry.last_report(session).works().expect("it is kept");
        assert_eq!(
            (kept.session().as_u64(), kept.members().len()),
            (session, 1)
        );
    }
}

fn an_ending_that_is_dropped_goes_on() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    drop(
        registry
            .begin_end_session(1, &term_then_kill(ms(50)))
            .works(),
    );
    assert_eq!(child.wait().works().signal(), Some(Signal::KILL));
}

fn shutdown_ends_every_session_and_refuses_new_processes() {
    let registry = registry();
    let started: Vec<_> = (1..=3)
        .map(|session| start(&registry, session, &mut role("obedient")))
        .collect();
    let reports = registry.shutdown().works();
    assert_eq!(reports.len(), 3);
    for (child, _lines) in &started {
        assert!(!is_our_child(child.pid()), "not reaped");
        assert_eq!(
            child.wait().expect("its exit is known").signal(),
            Some(Signal::TERM)
        );
    }
    let refused = registry
        .spawn(9, &mut role("obedient"))
        .expect_err("it has been shut down");
    assert_eq!(refused.kind(), ErrorKind::ShutDown);
    drop(reports.into_iter().map(clean).collect::<Vec<_>>());
}

fn a_report_prints_what_it_knows() {
    let registry = registry();
    let (child, _lines) = start(&registry, 77, &mut role("ignores-term"));
    let report = end(&registry, 77, &term_then_kill(ms(10)));
    let text = report.to_string();
    for expected in ["77", &child.pid().to_string(), "SIGKILL", "clean"] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in\n{text}"
        );
    }
    assert_eq!(
        registry.last_report(77).works().expect("kept").to_string(),
        text
    );
    let command_line = only_member(&report).command_line();
    assert!(
        command_line.iter().any(|word| word == "role:ignores-term"),
        "{command_line:?}"
    );
}

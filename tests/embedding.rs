//! What a host builds on: one way out for everything, receivers, reports, values for its own tests.

mod support;

use std::fmt::{Debug, Display};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use procession::channel::{RecvTimeoutError, Select};
use procession::*;

use support::{
    LONG_ENOUGH, Works, asleep, clean, close, drain, eventually, now, registry, role, sleeper,
    start, state, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(the_bounds_that_hosts_rely_on_hold),
            test!(every_value_that_a_host_receives_can_be_built_by_its_tests),
            test!(a_command_reused_in_two_sessions_and_then_alone_holds_no_token_of_ours),
            test!(a_chatty_child_that_nobody_reads_stops_and_delays_nobody),
            test!(a_writer_that_is_blocked_delays_no_other_session),
            test!(clones_of_a_stdin_write_to_one_pipe_and_lose_it_together),
            test!(a_stdin_cannot_be_taken_from_under_a_write),
            test!(any_of_many_is_waited_for_by_select),
            test!(receivers_outlive_their_registry),
            test!(handles_that_outlive_their_registry_say_so),
            test!(sessions_are_retained_by_number),
            test!(sessions_are_all_asked_about_before_any_is_ended),
            test!(whom_to_keep_is_said_by_number_by_id_or_by_handle),
            test!(a_callback_may_end_what_it_is_asked_about),
            test!(a_callback_may_shut_the_registry_down),
            test!(a_report_that_is_not_clean_is_an_error_for_whoever_asks),
        ],
        &[],
    )
}

const HOUR: Duration = Duration::from_secs(3600);

fn quick() -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH)
}

fn numbers(reports: &[SessionReport]) -> Vec<u64> {
    reports
        .iter()
        .map(|report| report.session().as_u64())
        .collect()
}

fn the_bounds_that_hosts_rely_on_hold() {
    fn handle<T: Clone + Send + Sync + Debug + 'static>() {}
    fn shared<T: Send + Sync + Debug + 'static>() {}
    fn shown<T: Display + Debug>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    fn id<T: Into<SessionId>>() {}
    fn id_of_a_borrow<'a, T: 'a>()
    where
        &'a T: Into<SessionId>,
    {
    }

    handle::<Registry>();
    handle::<WeakRegistry>();
    handle::<Session>();
    handle::<Process>();
    handle::<Stdin>();
    handle::<Event>();
    handle::<EventKind>();
    handle::<SessionReport>();
    handle::<MemberReport>();
    handle::<Exit>();
    handle::<Error>();
    handle::<StopPolicy>();
    handle::<SessionOptions>();
    handle::<SpawnOptions>();
    handle::<Limits>();
    handle::<Capabilities>();
    handle::<Output>();
    handle::<ProcessInfo>();
    handle::<SessionInfo>();
    handle::<Lagged>();

    shared::<Builder>();
    shared::<Subscription>();
    shared::<Ending>();
    shared::<Shutdown>();
    shared::<AdoptError>();
    shared::<SessionGuard>();
    shared::<Collector>();
    shared::<SystemProcess>();
    shared::<Unclean>();

    shown::<SessionId>();
    shown::<ProcessId>();
    shown::<Status>();
    shown::<Exit>();
    shown::<Signal>();
    shown::<Event>();
    shown::<SessionReport>();
    shown::<Capabilities>();
    shown::<StopPolicy>();
    shown::<Reason>();

    error::<Error>();
    error::<AdoptError>();
    error::<Unclean>();

    id::<u64>();
    id::<SessionId>();
    id::<&SessionId>();
    id_of_a_borrow::<Session>();
}

fn every_value_that_a_host_receives_can_be_built_by_its_tests() {
    let process = ProcessId::new(3);
    let asked = Some((Signal::TERM, Reason::TimeLimit));
    let exit = Exit::from_parts(Status::Code(2), asked, now());
    let event = Event::from_parts(
        Some(SessionId::new(7)),
        Some((process, 4711)),
        Some(Arc::from("server")),
        EventKind::Exited(exit.clone()),
    );
    assert_eq!(
        (event.process(), event.label()),
        (Some(process), Some("server"))
    );
    let member = MemberReport::from_parts(
        process,
        4711,
        Origin::Spawned,
        How::At(Rung::Kill),
        Some(exit),
    );
    let survivor = Survivor::from_parts(
        process,
        4711,
        vec!["server".into()],
        SurvivalCause::Uninterruptible,
    );
    let strength = Strength::Unconfirmed {
        survivors: vec![survivor],
    };
    let report = SessionReport::from_parts(SessionId::new(7), strength, vec![member]);
    assert!(!report.is_clean() && !report.covers_descendants());
    let error = Error::from_parts(ErrorKind::LimitReached, "spawn");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    let lagged = EventKind::Lagged(Lagged::from_parts(12));
    assert!(
        Event::from_parts(None, None, None, lagged)
            .kind()
            .to_string()
            .contains("12")
    );
    let mut output = Output::default();
    output.stdout.extend(b"hello");
    let session = SessionInfo::from_parts(SessionId::new(7), 2);
    assert_eq!((session.processes, output.truncated), (2, false));
    let stranger = SystemProcess::from_parts(4711, vec!["a".into()]).with_env("KEY", "value");
    assert_eq!(stranger.env("KEY"), Some("value".into()));
    let nothing = Capabilities::from_parts([]);
    assert!(!nothing.has(Capability::LimitMark));
}

fn a_command_reused_in_two_sessions_and_then_alone_holds_no_token_of_ours() {
    let registry = registry();
    let mut command = Command::new("sh");
    command.args(["-c", "echo \"$PROCESSION_MARK\""]);
    command.stdout(Stdio::piped());
    let marks: Vec<_> = [1_u64, 2]
        .into_iter()
        .map(|session| {
            let child = registry.spawn(session, &mut command).works();
            child.collect_output(1000).works().finish().works().stdout
        })
        .collect();
    assert!(marks[0].len() > 1 && marks[1].len() > 1);
    assert_ne!(marks[0], marks[1], "each names its own session");
    let alone = command.output().expect("sh can be started");
    assert_eq!(alone.stdout, b"\n", "no session's");
    let left = command
        .get_envs()
        .find(|&(key, value)| key == "PROCESSION_MARK" && value.is_some());
    assert_eq!(left, None);
}

fn a_chatty_child_that_nobody_reads_stops_and_delays_nobody() {
    let registry = registry();
    let chatty = registry
        .spawn(1, role("chatty").stdout(Stdio::piped()))
        .works();
    // What an hour comes to: the pipe is full, and it sleeps in its next write.
    eventually("it is stuck in its full pipe", || {
        let path = format!("/proc/{}/wchan", chatty.pid());
        let wchan = std::fs::read_to_string(path).unwrap_or_default();
        wchan.contains("pipe_write") || (wchan.len() <= 1 && state(chatty.pid()) == Some('S'))
    });
    let (_other, _lines) = start(&registry, 2, &mut role("obedient"));
    close(&registry, 2);
    assert!(chatty.try_wait().works().is_none());
    let report = clean(registry.end_session(1).works());
    assert_eq!(
        support::only_member(&report).how(),
        How::At(Rung::Signal(Signal::TERM)),
        "a full pipe keeps nobody from leaving"
    );
}

fn a_writer_that_is_blocked_delays_no_other_session() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let (deaf, _lines) = start(&registry, 1, role("obedient").stdin(Stdio::piped()));
    let mut stdin = deaf.stdin().expect("a pipe");
    thread::scope(|scope| {
        let (writer, _) = asleep(scope, move || stdin.write_all(&vec![0; 1 << 24]));
        let other = registry.spawn(2, Command::new("true").arg("")).works();
        assert!(other.wait().works().success());
        let event = events
            .receiver()
            .recv_timeout(LONG_ENOUGH)
            .expect("an exit");
        assert_eq!(event.process(), Some(other.id()));
        deaf.stdin().expect("a pipe").close();
        let error = writer.join().expect("no panic").expect_err("it is closed");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    });
    close(&registry, 1);
}

fn clones_of_a_stdin_write_to_one_pipe_and_lose_it_together() {
    let registry = registry();
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = registry.spawn(1, &mut cat).works();
    let mut first = child.stdin().expect("a pipe");
    let mut second = first.clone();
    let collector = child.collect_output(100).works();
    first.write_all(b"one ").expect("a pipe");
    second.write_all(b"two").expect("a pipe");
    // Dropping one closes nothing.
    drop(second);
    first.write_all(b" three").expect("a pipe");
    let third = child.stdin().expect("a pipe");
    first.close();
    third.close();
    assert_eq!(collector.finish().works().stdout, b"one two three");
    let error = first.write(b"x").expect_err("it is closed");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(child.stdin().is_none() && child.take_stdin().is_none());
}

fn a_stdin_cannot_be_taken_from_under_a_write() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, role("obedient").stdin(Stdio::piped()));
    let mut stdin = child.stdin().expect("a pipe");
    thread::scope(|scope| {
        let (writer, _) = asleep(scope, move || stdin.write_all(&vec![0; 1 << 24]));
        assert!(child.take_stdin().is_none(), "a write is under way");
        child.kill().works();
        assert!(writer.join().expect("no panic").is_err());
    });
}

fn any_of_many_is_waited_for_by_select() {
    let registry = registry();
    let children: Vec<_> = (0..20)
        .map(|_| registry.spawn(1, &mut sleeper()).works())
        .collect();
    let exits: Vec<_> = children.iter().map(Process::exit_receiver).collect();
    let mut select = Select::new();
    for exit in &exits {
        select.recv(exit);
    }
    assert!(select.try_select().is_err(), "nobody has exited");
    children[13].kill().works();
    let ready = select.select_timeout(LONG_ENOUGH).expect("one has exited");
    assert_eq!(ready.index(), 13);
    let exit = ready.recv(&exits[13]).expect("its exit");
    assert_eq!(exit.asked(), Some((Signal::KILL, Reason::Host)));
    drop(select);
    close(&registry, 1);
    assert!(exits[12].recv().is_ok() && exits[13].recv().is_err());
}

fn receivers_outlive_their_registry() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().id(1).stop_policy(quick()))
        .works();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let events = registry.subscribe();
    let of_session = session.subscribe_to(EventMask::SESSIONS);
    let exit = child.exit_receiver();
    let ending = session
        .begin_end(&StopPolicy::new().signal(Signal::TERM, HOUR))
        .works();
    let shutdown = registry
        .begin_shutdown(&StopPolicy::new().signal(Signal::TERM, HOUR))
        .works();
    drop(registry);
    assert_eq!(
        exit.recv().map(|exit| exit.signal()),
        Ok(Some(Signal::KILL))
    );
    assert!(exit.recv().is_err());
    assert_eq!(ending.receiver().iter().count(), 1);
    assert_eq!(shutdown.receiver().iter().count(), 1);
    assert!(ending.wait().works().is_clean());
    assert_eq!(numbers(&shutdown.wait().works()), [1]);
    let last = events.receiver().iter().last().expect("events");
    assert!(matches!(last.kind(), EventKind::SessionEnded(_)));
    let last = of_session.receiver().iter().last().expect("events");
    assert!(matches!(last.kind(), EventKind::SessionEnded(_)));
    assert!(session.report().works().expect("it is over").is_clean());
}

fn handles_that_outlive_their_registry_say_so() {
    let registry = registry();
    let session = registry.open_session(SessionOptions::new()).works();
    let (child, _lines) = start(&registry, session.id(), &mut role("obedient"));
    let weak = registry.downgrade();
    drop(registry);
    assert!(weak.upgrade().is_none());
    assert_eq!(
        child.wait().works().asked(),
        Some((Signal::KILL, Reason::Drop))
    );
    for error in [
        session.spawn(&mut sleeper()).expect_err("it is over"),
        session.touch().expect_err("it is over"),
        session.members().expect_err("it is over"),
        session.wait_empty().expect_err("it is over"),
        session.signal(Signal::TERM).expect_err("it is over"),
        session.end().expect_err("it is over"),
    ] {
        assert_eq!(error.kind(), ErrorKind::ShutDown, "{error}");
    }
    assert_eq!(
        child.kill().expect_err("it has exited").kind(),
        ErrorKind::AlreadyExited
    );
    let nothing = session.subscribe_to(EventMask::all());
    assert_eq!(
        nothing.receiver().recv_timeout(Duration::ZERO).err(),
        Some(RecvTimeoutError::Disconnected)
    );
}

fn sessions_are_all_asked_about_before_any_is_ended() {
    let registry = registry();
    for session in 1..=3 {
        let _child = registry.spawn(session, &mut sleeper()).works();
    }
    let mut asked = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        registry.retain_sessions(|session| {
            asked.push(session.as_u64());
            if session.as_u64() == 3 {
                std::panic::resume_unwind(Box::new("for a test"));
            }
            false
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(asked, [1, 2, 3]);
    let sessions = registry.sessions().works();
    assert_eq!(sessions.len(), 3);
    assert!(sessions.iter().all(|info| info.ending.is_none()));
}

fn whom_to_keep_is_said_by_number_by_id_or_by_handle() {
    let registry = registry();
    let sessions: Vec<_> = (1..=4_u64)
        .map(|id| {
            let options = SessionOptions::new().id(id).stop_policy(quick());
            registry.open_session(options).works()
        })
        .collect();
    let ended = registry.end_sessions_except(&sessions[1..]).works();
    assert_eq!(numbers(&ended), [1]);
    let ids: Vec<SessionId> = sessions[2..].iter().map(Session::id).collect();
    assert_eq!(numbers(&registry.end_sessions_except(&ids).works()), [2]);
    assert_eq!(
        numbers(&registry.end_sessions_except([4_u64, 99]).works()),
        [3]
    );
    let nobody = std::iter::empty::<SessionId>();
    assert_eq!(numbers(&registry.end_sessions_except(nobody).works()), [4]);
    assert!(registry.sessions().works().is_empty());
}

fn a_callback_may_end_what_it_is_asked_about() {
    let registry = registry();
    for session in 1..=2 {
        let _child = registry.spawn(session, &mut sleeper()).works();
    }
    let own = registry.clone();
    let ended = registry
        .retain_sessions(|session| {
            close(&own, session.as_u64());
            false
        })
        .works();
    assert!(ended.is_empty(), "somebody else has their reports");
    assert!(registry.last_report(2).works().is_some());
}

fn a_callback_may_shut_the_registry_down() {
    let registry = registry();
    let _child = registry.spawn(1, &mut sleeper()).works();
    let own = registry.clone();
    let error = registry
        .retain_sessions(|_| {
            drop(own.shutdown_with(&quick()).works());
            false
        })
        .expect_err("nobody is left to end it");
    assert_eq!(error.kind(), ErrorKind::ShutDown);
}

fn a_report_that_is_not_clean_is_an_error_for_whoever_asks() {
    fn host(report: SessionReport) -> std::result::Result<u64, Box<dyn std::error::Error>> {
        Ok(report.into_clean()?.gone_before())
    }
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    let gone = registry.spawn(1, &mut Command::new("true")).works();
    gone.wait().works();
    let report = registry.end_session(1).works();
    assert_eq!(report.leftovers().count(), 0);
    assert!(report.covers_descendants());
    assert_eq!(host(report).expect("it is clean"), 1);
    assert!(drain(&events).len() >= 2);

    let survivor = Survivor::from_parts(
        ProcessId::new(1),
        4711,
        vec!["stuck".into()],
        SurvivalCause::Uninterruptible,
    );
    let strength = Strength::Unconfirmed {
        survivors: vec![survivor],
    };
    let report = SessionReport::from_parts(SessionId::new(9), strength, Vec::new());
    let error = host(report).expect_err("somebody is left");
    let text = error.to_string();
    assert!(text.contains("session 9") && text.contains("4711") && text.contains("stuck"));
    let unclean = error.downcast::<Unclean>().expect("that error");
    assert_eq!(unclean.into_report().survivors().len(), 1);
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

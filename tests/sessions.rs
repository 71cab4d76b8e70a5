//! Handles to sessions: each is one life of one number.

mod support;

use std::cell::Cell;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use procession::channel::RecvTimeoutError;
use procession::{
    Containment, ErrorKind, EventKind, EventMask, Reason, Registry, Session, SessionId,
    SessionOptions, Signal, SpawnOptions, StopPolicy, Subscription,
};

use support::{
    LONG_ENOUGH, Works, asleep, builder, clean, close, descriptors, eventually, host, ms, now,
    only_member, registry, role, run_in_fork, sleeper, start, status_field, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_handle_is_one_life_of_its_number),
            test!(a_number_in_use_cannot_be_opened_and_one_without_number_is_high),
            test!(a_guard_ends_its_session_where_it_is_dropped_also_by_a_panic),
            test!(waiting_for_an_empty_session_ends_with_the_last_exit),
            test!(a_look_whether_a_session_is_empty_says_what_the_wait_says),
            test!(a_subscription_to_one_session_hears_nothing_else_and_ends_with_it),
            test!(a_subscription_to_a_session_that_is_over_is_disconnected),
            test!(a_session_that_left_survivors_is_over_and_tells_their_exits),
            test!(survivors_that_a_later_end_takes_over_are_told_by_that_one),
            test!(a_label_may_be_any_string),
            test!(a_session_is_ended_by_its_own_policy_and_a_shutdown_by_its),
            test!(a_tier_of_a_session_holds_for_its_processes_unless_a_spawn_says_otherwise),
            test!(a_number_that_is_being_ended_cannot_be_opened),
            test!(a_number_can_be_had_as_a_handle_while_it_lives),
            test!(a_guard_that_is_turned_back_ends_nothing),
            test!(a_copy_of_a_guard_in_a_forked_child_ends_nothing),
            test!(a_guard_dropped_after_the_end_does_nothing),
            test!(a_child_that_a_session_cannot_adopt_comes_back),
            test!(a_handle_kept_for_long_has_its_report_when_the_registry_has_forgotten_it),
            test!(who_waits_for_an_empty_session_hears_how_its_end_went),
            test!(a_session_as_large_as_it_may_be_takes_the_next_when_one_has_gone),
            test!(a_session_that_lives_long_keeps_nothing_of_what_has_gone),
        ],
        &[],
    )
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

fn a_look_whether_a_session_is_empty_says_what_the_wait_says() {
    let registry = registry();
    let session = registry.open_session(SessionOptions::new()).works();
    let mut command = role("leaves-a-child");
    command.arg("0");
    let (child, _lines) = start(&registry, session.id(), &mut command);
    child.wait().works();
    // What it left in its group is found by whoever looks for it, and these do not.
    session.wait_empty().works();
    let look = |when| session.wait_empty_deadline(when).works();
    assert!(look(now()) && look(now() + LONG_ENOUGH) && look(now()));
    drop(clean(session.end().works()));
    let error = session
        .wait_empty_timeout(Duration::ZERO)
        .expect_err("it is over");
    assert_eq!(
        (error.kind(), error.operation()),
        (ErrorKind::SessionEnded, "wait for empty session")
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

/// The processes whose exits these events tell, to the end of the channel.
fn exits_to_the_end(events: &Subscription) -> usize {
    let exited = |event: &procession::Event| matches!(event.kind(), EventKind::Exited(_));
    events.receiver().iter().filter(exited).count()
}

fn a_subscription_to_a_session_that_is_over_is_disconnected() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().id(1).stop_policy(quick()))
        .works();
    session.spawn(&mut sleeper()).works();
    drop(session.end().works());
    registry.spawn(1, &mut sleeper()).works();
    let events = session.subscribe_to(EventMask::all());
    assert_eq!(
        events.receiver().recv_timeout(LONG_ENOUGH).err(),
        Some(RecvTimeoutError::Disconnected),
        "another life of its number is none of its business"
    );
}

/// A session whose only member is held by a tracer, and so outlives every end until the tracer is let go.
struct Stuck {
    child: procession::Process,
    tracer: std::process::Child,
    control: std::process::ChildStdin,
}

impl Stuck {
    fn start(registry: &Registry, session: u64) -> Self {
        let (child, _lines) = start(registry, session, &mut role("obedient"));
        let pid = child.pid().to_string();
        let (tracer, control, _) = host(role("tracer").args([&pid, "before-exit"]));
        Self {
            child,
            tracer,
            control,
        }
    }

    fn let_go(mut self) {
        drop(self.control);
        assert!(self.tracer.wait().expect("our child").success());
        assert!(self.child.wait_timeout(LONG_ENOUGH).works().is_some());
    }
}

fn hasty() -> StopPolicy {
    StopPolicy::immediate().confirm_within(ms(100))
}

fn a_session_that_left_survivors_is_over_and_tells_their_exits() {
    let registry = registry();
    let stuck = Stuck::start(&registry, 1);
    let session = registry.session(1).works().expect("it lives");
    let before = session.subscribe_to(EventMask::all());
    let report = session.end_with(&hasty()).works();
    assert_eq!(report.survivors().len(), 1);
    for error in [
        session.members().expect_err("it is over"),
        session.touch().expect_err("it is over"),
        session.end().expect_err("it is over"),
        session.wait_empty().expect_err("it is over"),
        session
            .wait_empty_timeout(Duration::ZERO)
            .expect_err("it is over"),
    ] {
        assert_eq!(error.kind(), ErrorKind::SessionEnded, "{error}");
    }
    assert!(!session.report().works().expect("its report").is_clean());
    assert!(registry.session(1).works().is_none(), "the number is free");
    let after = session.subscribe_to(EventMask::EXITED);
    stuck.let_go();
    for events in [before, after] {
        assert_eq!(exits_to_the_end(&events), 1, "its late exit, and the end");
    }
}

fn survivors_that_a_later_end_takes_over_are_told_by_that_one() {
    let registry = registry();
    let stuck = Stuck::start(&registry, 1);
    let session = registry.session(1).works().expect("it lives");
    drop(session.end_with(&hasty()).works());
    let events = session.subscribe_to(EventMask::all());
    let again = registry
        .begin_end_session(1, &StopPolicy::immediate().confirm_within(Duration::MAX))
        .works();
    assert_eq!(exits_to_the_end(&events), 0, "nothing is left of that life");
    stuck.let_go();
    assert_eq!(clean(again.wait().works()).members().len(), 1);
}

fn a_label_may_be_any_string() {
    let registry = registry();
    let long = "x".repeat(1 << 16);
    for label in [
        "",
        "\0",
        "a\nb\r\u{1b}[2J",
        "\u{202e}\u{feff}\u{10ffff}",
        &long,
    ] {
        let events = registry.subscribe();
        let options = SessionOptions::new()
            .id(1)
            .label(label)
            .stop_policy(quick());
        let session = registry.open_session(options).works();
        let child = session
            .spawn_with(&mut sleeper(), &SpawnOptions::new().label(label))
            .works();
        assert_eq!((session.label(), child.label()), (Some(label), Some(label)));
        let report = clean(session.end().works());
        assert_eq!(report.label(), Some(label));
        assert_eq!(only_member(&report).label(), Some(label));
        let text = report.to_string();
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        for event in support::drain(&events) {
            assert_eq!(event.label(), Some(label), "{event}");
            assert!(!event.to_string().contains(char::is_control), "{event}");
        }
    }
}

fn a_session_is_ended_by_its_own_policy_and_a_shutdown_by_its() {
    let registry = registry();
    let by = |signal| StopPolicy::new().signal(signal, LONG_ENOUGH);
    let mut children = Vec::new();
    for session in 1..=3_u64 {
        let options = SessionOptions::new()
            .id(session)
            .stop_policy(by(Signal::HUP));
        let session = registry.open_session(options).works();
        children.push(session.spawn(&mut sleeper()).works());
    }
    close(&registry, 1);
    drop(registry.end_session_with(2, &by(Signal::INT)).works());
    drop(registry.shutdown_with(&by(Signal::USR1)).works());
    let signals: Vec<_> = children
        .iter()
        .map(|child| child.wait().works().signal())
        .collect();
    assert_eq!(
        signals,
        [Some(Signal::HUP), Some(Signal::INT), Some(Signal::USR1)]
    );
}

fn a_tier_of_a_session_holds_for_its_processes_unless_a_spawn_says_otherwise() {
    let registry = registry();
    let options = SessionOptions::new().containment(Containment::Leader);
    let session = registry.open_session(options).works();
    let own = status_field("self", "NSpgid").expect("the kernel has this field");
    let group = |pid| status_field(pid, "NSpgid").expect("it lives");
    let editor = session.spawn(&mut sleeper()).works();
    assert_eq!(
        group(editor.pid()),
        own,
        "in the host's group, at its terminal"
    );
    let options = SpawnOptions::new().containment(Containment::Group);
    let worker = session.spawn_with(&mut sleeper(), &options).works();
    assert_eq!(group(worker.pid()), worker.pid().to_string());
    let tiers: Vec<_> = session
        .members()
        .works()
        .into_iter()
        .map(|info| info.containment)
        .collect();
    assert_eq!(tiers, [Containment::Leader, Containment::Group]);
    let tier = Containment::Subreaper;
    let options = SpawnOptions::new().containment(tier);
    let error = session
        .spawn_with(&mut sleeper(), &options)
        .expect_err("the host has not consented");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = registry
        .open_session(SessionOptions::new().id(77).containment(tier))
        .expect_err("the host has not consented");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(registry.session(77).works().is_none(), "nothing was opened");
    assert!(session.end_with(&quick()).works().is_clean());
}

fn a_number_that_is_being_ended_cannot_be_opened() {
    let registry = registry();
    let (_deaf, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let session = registry.session(1).works().expect("it lives");
    let ending = session
        .begin_end(&StopPolicy::new().signal(Signal::TERM, Duration::MAX))
        .works();
    eventually("its end has begun", || {
        let sessions = registry.sessions().works();
        sessions[0].ending.is_some()
    });
    for error in [
        registry
            .open_session(SessionOptions::new().id(1))
            .expect_err("it is ending"),
        session.spawn(&mut sleeper()).expect_err("it is ending"),
        session.touch().expect_err("it is ending"),
    ] {
        assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}");
        assert_eq!(error.session(), Some(SessionId::new(1)));
    }
    assert_eq!(
        session.members().works().len(),
        1,
        "who is left can be seen"
    );
    assert!(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works()
            .is_clean()
    );
    assert!(ending.wait().works().is_clean());
    assert!(registry.open_session(SessionOptions::new().id(1)).is_ok());
}

fn a_number_can_be_had_as_a_handle_while_it_lives() {
    let registry = registry();
    assert!(registry.session(1).works().is_none());
    let child = registry.spawn(1, &mut sleeper()).works();
    let session = registry.session(1).works().expect("it lives");
    assert_eq!(session.members().works()[0].id, child.id());
    assert!(session.label().is_none());
    let other = registry.session(&session).works().expect("the same");
    assert!(other.end_with(&quick()).works().is_clean());
    assert!(session.report().works().is_some(), "they are one session");
    assert!(registry.session(1).works().is_none());
}

fn a_guard_that_is_turned_back_ends_nothing() {
    let registry = registry();
    let guard = registry
        .open_session(SessionOptions::new().stop_policy(quick()))
        .works()
        .end_on_drop();
    let child = guard.spawn(&mut sleeper()).works();
    let session = guard.into_session();
    assert!(child.try_wait().works().is_none());
    assert_eq!(session.members().works().len(), 1);
}

fn a_copy_of_a_guard_in_a_forked_child_ends_nothing() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().stop_policy(quick()))
        .works();
    let child = session.spawn(&mut sleeper()).works();
    let guard = Cell::new(Some(session.clone().end_on_drop()));
    let forked = run_in_fork(|| drop(guard.take()));
    assert_eq!(forked, support::Forked::Exited(0));
    assert_eq!(child.wait_timeout(ms(50)).works(), None, "ended by a copy");
    drop(guard);
    assert!(child.try_wait().works().is_some(), "ended by the original");
}

fn a_guard_dropped_after_the_end_does_nothing() {
    let registry = registry();
    let options = || SessionOptions::new().id(1).stop_policy(quick());
    let guard = registry.open_session(options()).works().end_on_drop();
    assert!(guard.end().works().is_clean());
    let next = registry.open_session(options()).works();
    let child = next.spawn(&mut sleeper()).works();
    drop(guard);
    assert!(
        child.try_wait().works().is_none(),
        "another life of its number"
    );
    let last = next.end_on_drop();
    drop(registry);
    // Nobody is left to end it, and nothing to end.
    drop(last);
}

fn a_child_that_a_session_cannot_adopt_comes_back() {
    let registry = registry();
    let session = registry
        .open_session(SessionOptions::new().stop_policy(quick()))
        .works();
    let adopted = session
        .adopt(sleeper().spawn().expect("sleep"))
        .expect("it is ours");
    assert_eq!(session.members().works()[0].id, adopted.id());
    assert!(session.end().works().is_clean());
    let error = session
        .adopt(sleeper().spawn().expect("sleep"))
        .expect_err("it is over");
    assert_eq!(error.error().kind(), ErrorKind::SessionEnded);
    let (_, mut child) = error.into_parts();
    assert!(
        matches!(child.try_wait(), Ok(None)),
        "it lives, and is ours"
    );
    child.kill().expect("our child");
    child.wait().expect("our child");
}

fn a_handle_kept_for_long_has_its_report_when_the_registry_has_forgotten_it() {
    let registry = builder().kept_reports(2).build().works();
    let options = || SessionOptions::new().id(1).stop_policy(quick());
    let kept = registry.open_session(options().label("the first")).works();
    kept.spawn(&mut sleeper()).works();
    drop(kept.end().works());
    for _ in 0..100 {
        drop(registry.open_session(options()).works().end().works());
    }
    let latest = registry.last_report(1).works().expect("two are kept");
    assert_eq!((latest.label(), latest.members().len()), (None, 0));
    for gone in [Some(registry), None] {
        let report = kept.report().works().expect("it stays with the handle");
        assert_eq!(
            (report.label(), report.members().len()),
            (Some("the first"), 1)
        );
        drop(gone);
    }
}

fn who_waits_for_an_empty_session_hears_how_its_end_went() {
    fn waits(session: &Session) -> procession::Result<()> {
        session.wait_empty()
    }
    let registry = registry();
    let _child = registry.spawn(1, &mut sleeper()).works();
    let session = registry.session(1).works().expect("it lives");
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || waits(&session));
        drop(session.end_with(&quick()).works());
        waiter
            .join()
            .expect("no panic")
            .expect("its end emptied it");
    });
    let stuck = Stuck::start(&registry, 2);
    let session = registry.session(2).works().expect("it lives");
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || waits(&session));
        drop(session.end_with(&hasty()).works());
        let error = waiter
            .join()
            .expect("no panic")
            .expect_err("it is not empty");
        assert_eq!(error.kind(), ErrorKind::SessionEnded);
    });
    stuck.let_go();
}

fn a_session_as_large_as_it_may_be_takes_the_next_when_one_has_gone() {
    let registry = registry();
    let options = SessionOptions::new().max_processes(2).stop_policy(quick());
    let session = registry.open_session(options).works();
    let first = session.spawn(&mut sleeper()).works();
    let _second = session.spawn(&mut sleeper()).works();
    let error = session.spawn(&mut sleeper()).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    let _elsewhere = registry.spawn(1, &mut sleeper()).works();
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || {
            let options = SpawnOptions::new().slot_timeout(LONG_ENOUGH);
            session.spawn_with(&mut sleeper(), &options).map(drop)
        });
        first.kill().works();
        waiter.join().expect("no panic").works();
    });
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || {
            let options = SpawnOptions::new().slot_timeout(Duration::MAX);
            session.spawn_with(&mut sleeper(), &options).map(drop)
        });
        drop(session.end().works());
        let error = waiter.join().expect("no panic").expect_err("it has ended");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::SessionEnding | ErrorKind::SessionEnded
            ),
            "{error}"
        );
    });
}

fn a_session_that_lives_long_keeps_nothing_of_what_has_gone() {
    let registry = registry();
    let options = SessionOptions::new()
        .stop_policy(quick())
        .idle_limit(Duration::from_secs(3600));
    let session = registry.open_session(options).works();
    session.wait_empty().works();
    let before = descriptors().len();
    let limit = SpawnOptions::new().time_limit(Duration::from_secs(3600));
    for _ in 0..200 {
        let child = session
            .spawn_with(&mut Command::new("true"), &limit)
            .works();
        assert!(child.wait().works().success());
    }
    session.wait_empty().works();
    eventually("nothing is held", || descriptors().len() == before);
    let report = clean(session.end().works());
    assert_eq!((report.members().len(), report.gone_before()), (0, 200));
}

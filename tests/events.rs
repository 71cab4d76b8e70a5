//! What subscribers are told, in which order, and what happens to those that do not listen.

mod support;

use std::process::{ExitCode, Stdio};
use std::thread;

use procession::{
    Event, EventKind, EventMask, Origin, Process, Reason, Registry, Signal, SpawnOptions,
    StopPolicy,
};

use support::{
    Crowd, LONG_ENOUGH, Pinned, Rounds, Works, builder, clean, close, close_with, controlled,
    drain, exits_of, is_exit, ms, next_event, now, registry, role, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_subscription_is_in_force_when_subscribe_returns),
            test!(started_comes_first_and_one_exited_last_for_each_process),
            test!(an_event_says_what_it_is_about),
            test!(the_events_of_a_session_frame_its_life),
            test!(a_session_that_is_empty_has_not_ended),
            test!(an_ended_session_is_told_after_the_exits_of_its_members),
            test!(a_report_is_handed_out_only_after_its_events),
            test!(a_mask_lets_through_what_it_names),
            test!(each_subscriber_has_its_own_gapless_numbers),
            test!(a_subscriber_that_lags_is_told_how_much_it_missed),
            test!(the_lagged_marker_stands_under_every_mask),
            test!(a_subscriber_that_never_reads_delays_nobody),
            test!(a_subscriber_that_was_dropped_is_forgotten),
            test!(a_thousand_subscriptions_that_were_dropped_are_forgotten),
            test!(a_subscriber_may_end_sessions_while_a_hundred_events_wait),
            test!(a_subscription_ends_with_its_registry),
            test!(an_exit_comes_at_once_although_a_grandchild_holds_stdout),
            test!(a_child_that_leaves_a_background_process_has_exited_at_once),
            test!(a_child_that_leaves_a_background_process_has_exited_at_once).on_an_older_kernel(),
            test!(signals_of_a_ladder_are_told_with_their_reason),
        ],
        &[],
    )
}

fn spawn_exits(registry: &Registry, session: u64) -> Process {
    registry
        .spawn(session, role("exits").arg("0").stdout(Stdio::null()))
        .expect("a role can be started")
}

/// What has been told once this process's exit has been.
#[track_caller]
fn until_exit_of(events: &procession::Subscription, process: &Process) -> Vec<Event> {
    let mut all = Vec::new();
    while exits_of(&all, process).is_empty() {
        all.push(next_event(events));
    }
    all
}

fn a_subscription_is_in_force_when_subscribe_returns() {
    let registry = registry();
    for _ in Rounds::at_most(200) {
        let events = registry.subscribe_to(EventMask::STARTED);
        let child = spawn_exits(&registry, 1);
        assert_eq!(
            next_event(&events).process(),
            Some(child.id()),
            "not the first thing that happened"
        );
        child.wait().works();
    }
}

fn started_comes_first_and_one_exited_last_for_each_process() {
    let registry = registry();
    let events = registry.subscribe();
    let children: Vec<_> = (0..20).map(|n| spawn_exits(&registry, n % 3)).collect();
    let stubborn: Vec<_> = (0..3)
        .map(|n| start(&registry, n, &mut role("ignores-term")))
        .collect();
    for session in 0..3 {
        let policy = StopPolicy::new().signal(Signal::TERM, ms(30)).kill();
        close_with(&registry, session, &policy);
    }
    let all = drain(&events);
    for child in children
        .iter()
        .chain(stubborn.iter().map(|(child, _)| child))
    {
        let own: Vec<_> = all
            .iter()
            .filter(|event| event.process() == Some(child.id()))
            .collect();
        assert!(
            matches!(
                own.first().map(|event| event.kind()),
                Some(EventKind::Started)
            ),
            "{own:?}"
        );
        assert!(own.last().is_some_and(|event| is_exit(event)), "{own:?}");
        assert_eq!(
            own.iter().filter(|event| is_exit(event)).count(),
            1,
            "{own:?}"
        );
        assert_eq!(
            own.iter()
                .filter(|event| matches!(event.kind(), EventKind::Started))
                .count(),
            1,
            "{own:?}"
        );
    }
    assert!(
        all.is_sorted_by_key(Event::at),
        "time runs backwards: {all:?}"
    );
}

fn an_event_says_what_it_is_about() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let options = SpawnOptions::new().label("the one");
    let before = now();
    let child = registry
        .spawn_with(5, role("exits").arg("9"), &options)
        .expect("a role can be started");
    child.wait().works();
    for event in until_exit_of(&events, &child) {
        assert_eq!(event.session().map(|session| session.as_u64()), Some(5));
        assert_eq!(
            (event.process(), event.pid()),
            (Some(child.id()), Some(child.pid()))
        );
        assert_eq!(
            (event.label(), event.origin()),
            (Some("the one"), Some(Origin::Spawned))
        );
        assert!(event.at() >= before && event.at() <= now());
        if let EventKind::Exited(exit) = event.kind() {
            assert_eq!(exit.code(), Some(9));
        }
        assert!(!event.to_string().is_empty());
    }
}

fn the_events_of_a_session_frame_its_life() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    let (_child, _lines) = start(&registry, 1, &mut role("obedient"));
    let report = clean(registry.end_session(1).works());
    let told = drain(&events);
    let ending = told.iter().position(|event| {
        matches!(
            event.kind(),
            EventKind::SessionEnding {
                reason: Reason::Host
            }
        )
    });
    let ended = told
        .iter()
        .position(|event| matches!(event.kind(), EventKind::SessionEnded(_)));
    assert!(ending.is_some() && ending < ended, "{told:?}");
    assert!(
        told.iter()
            .all(|event| event.session().is_some_and(|session| session.as_u64() == 1)),
        "{told:?}"
    );
    let Some(EventKind::SessionEnded(same)) = ended.map(|n| told[n].kind()) else {
        panic!("{told:?}")
    };
    assert_eq!(same.to_string(), report.to_string());
}

fn a_session_that_is_empty_has_not_ended() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    for _ in 0..2 {
        spawn_exits(&registry, 1).wait().works();
        let told = next_event(&events);
        assert!(matches!(told.kind(), EventKind::SessionEmpty), "{told:?}");
        assert_eq!(told.session().map(|session| session.as_u64()), Some(1));
        assert_eq!(registry.sessions().works().len(), 1);
    }
    assert!(drain(&events).is_empty());
    close(&registry, 1);
}

fn an_ended_session_is_told_after_the_exits_of_its_members() {
    let registry = registry();
    for round in Rounds::at_most(50) {
        let events = registry.subscribe_to(EventMask::SESSIONS | EventMask::EXITED);
        let mut crowd = Crowd::new();
        let spawn = || registry.spawn(round, role("obedient").stdout(crowd.output()));
        let children: Vec<_> = (0..5)
            .map(|_| spawn().expect("a role can be started"))
            .collect();
        crowd.await_ready(children.len());
        close_with(&registry, round, &StopPolicy::immediate());
        let told = drain(&events);
        let ended = told
            .iter()
            .position(|event| matches!(event.kind(), EventKind::SessionEnded(_)));
        let ended = ended.unwrap_or_else(|| panic!("the end is not told: {told:?}"));
        assert_eq!(
            told[..ended].iter().filter(|event| is_exit(event)).count(),
            children.len(),
            "{told:?}"
        );
        assert_eq!(
            told[ended..].iter().filter(|event| is_exit(event)).count(),
            0,
            "{told:?}"
        );
    }
}

fn a_report_is_handed_out_only_after_its_events() {
    let registry = registry();
    for session in Rounds::at_most(100) {
        let events = registry.subscribe();
        let child = spawn_exits(&registry, session);
        let ending = registry
            .begin_end_session(session, &StopPolicy::immediate())
            .works();
        let report = clean(
            ending
                .receiver()
                .recv_timeout(LONG_ENOUGH)
                .expect("a report"),
        );
        let told = drain(&events);
        assert_eq!(exits_of(&told, &child).len(), 1, "{told:?}\n{report}");
        assert!(
            matches!(
                told.last().map(Event::kind),
                Some(EventKind::SessionEnded(_))
            ),
            "{told:?}"
        );
    }
}

fn a_mask_lets_through_what_it_names() {
    let registry = registry();
    let (started, exited) = (
        registry.subscribe_to(EventMask::STARTED),
        registry.subscribe_to(EventMask::EXITED),
    );
    let nothing = registry.subscribe_to(EventMask::empty());
    for session in 0..5 {
        spawn_exits(&registry, session);
    }
    let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
    let (started, exited) = (drain(&started), drain(&exited));
    assert_eq!(
        (started.len(), exited.len()),
        (5, 5),
        "{started:?} {exited:?}"
    );
    assert!(
        started
            .iter()
            .all(|event| matches!(event.kind(), EventKind::Started))
    );
    assert!(exited.iter().all(is_exit));
    assert!(drain(&nothing).is_empty());
}

fn each_subscriber_has_its_own_gapless_numbers() {
    let registry = registry();
    let all = registry.subscribe();
    let _first = spawn_exits(&registry, 1);
    let exits = registry.subscribe_to(EventMask::EXITED);
    for session in 2..10 {
        spawn_exits(&registry, session);
    }
    let reports = registry
        .shutdown_with(&StopPolicy::wait_then_kill(LONG_ENOUGH))
        .works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
    let firsts: Vec<_> = [drain(&all), drain(&exits)]
        .iter()
        .map(|told| {
            assert!(told.len() >= 8, "{told:?}");
            assert!(told.is_sorted_by(|a, b| a.seq() + 1 == b.seq()), "{told:?}");
            told[0].seq()
        })
        .collect();
    assert_eq!(firsts[0], firsts[1], "each counts from the same start");
}

/// How many events the markers say were lost, after a check that the numbers say the same.
#[track_caller]
fn missed(told: &[Event]) -> u64 {
    let mut missed = 0;
    let mut last: Option<u64> = None;
    let mut lost_here = 0;
    for event in told {
        if let EventKind::Lagged(lagged) = event.kind() {
            lost_here += lagged.missed();
            continue;
        }
        if let Some(last) = last {
            assert_eq!(
                event.seq(),
                last + 1 + lost_here,
                "{lost_here} said to be lost here: {told:?}"
            );
        }
        missed += lost_here;
        lost_here = 0;
        last = Some(event.seq());
    }
    missed + lost_here
}

fn a_subscriber_that_lags_is_told_how_much_it_missed() {
    let registry = builder().event_capacity(4).build().expect("a registry");
    let events = registry.subscribe_to(EventMask::EXITED);
    let mut told = Vec::new();
    for burst in [20, 1, 3, 30] {
        let children: Vec<_> = (0..burst).map(|_| spawn_exits(&registry, 1)).collect();
        // The report comes only after the events, those that are lost included.
        close_with(&registry, 1, &StopPolicy::wait_then_kill(LONG_ENOUGH));
        let waiting = events.receiver().len();
        assert!(waiting <= 5, "{waiting} in a channel for 4 and a marker");
        // What was lost are the newest: the first of the burst is there.
        let now_told = drain(&events);
        assert_eq!(
            now_told[0].process(),
            Some(children[0].id())
                .filter(|_| burst == 1)
                .or(now_told[0].process())
        );
        told.extend(now_told);
    }
    let received = told.iter().filter(|event| is_exit(event)).count() as u64;
    assert_eq!(received + missed(&told), 54, "{told:?}");
    assert!(missed(&told) > 0);
}

fn the_lagged_marker_stands_under_every_mask() {
    let registry = builder().event_capacity(1).build().expect("a registry");
    let events = registry.subscribe_to(EventMask::STARTED);
    for session in 0..10 {
        spawn_exits(&registry, session);
    }
    let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
    let told = drain(&events);
    assert!(
        told.iter()
            .any(|event| matches!(event.kind(), EventKind::Lagged(_))),
        "{told:?}"
    );
    let received = told
        .iter()
        .filter(|event| matches!(event.kind(), EventKind::Started))
        .count() as u64;
    assert_eq!(received + missed(&told), 10, "{told:?}");
}

fn a_subscriber_that_never_reads_delays_nobody() {
    let registry = builder().event_capacity(2).build().expect("a registry");
    let silent: Vec<_> = (0..20).map(|_| registry.subscribe()).collect();
    for _ in 0..30 {
        assert!(spawn_exits(&registry, 1).wait().works().success());
    }
    let (_child, _lines) = start(&registry, 1, &mut role("obedient"));
    let began = now();
    close(&registry, 1);
    assert!(began.elapsed() < LONG_ENOUGH);
    for events in &silent {
        assert!(
            events.receiver().len() <= 3,
            "{} in a channel for 2 and a marker",
            events.receiver().len()
        );
    }
}

fn a_subscriber_that_was_dropped_is_forgotten() {
    let registry = registry();
    for session in 0..20 {
        let events = registry.subscribe();
        let (_child, _lines) = start(&registry, session, &mut role("obedient"));
        drop(events);
        close_with(&registry, session, &StopPolicy::immediate());
    }
}

/// What a mask seldom lets through is no reason to keep those who have gone.
fn a_thousand_subscriptions_that_were_dropped_are_forgotten() {
    let registry = registry();
    let memory = || {
        let size = support::status_field("self", "VmSize").expect("there is one");
        let kib = size.split_whitespace().next().expect("a number");
        kib.parse::<u64>().expect("a number")
    };
    let subscribe = || {
        for _ in 0..1_000 {
            drop(registry.subscribe_to(EventMask::SURVIVED));
        }
    };
    subscribe();
    let before = memory();
    subscribe();
    let more = memory() - before;
    assert!(more < 512, "{more} KiB more");
    let exits = registry.subscribe_to(EventMask::EXITED);
    let (clone, stands) = (
        exits.receiver().clone(),
        registry.subscribe_to(EventMask::EXITED).into_receiver(),
    );
    drop(exits);
    spawn_exits(&registry, 1).wait().works();
    assert!(stands.recv_timeout(LONG_ENOUGH).is_ok());
    assert!(clone.recv_timeout(LONG_ENOUGH).is_err(), "unsubscribed");
}

fn a_subscriber_may_end_sessions_while_a_hundred_events_wait() {
    let registry = registry();
    let events = registry.subscribe();
    let (_child, _lines) = start(&registry, 1_000, &mut role("ignores-term"));
    let ender = registry.clone();
    let listener = thread::spawn(move || {
        let mut count = 0;
        for event in &events {
            count += 1;
            if matches!(event.kind(), EventKind::Started) && count == 1 {
                // A hundred events are produced while this thread is inside the call.
                let policy = StopPolicy::new().signal(Signal::TERM, ms(300)).kill();
                close_with(&ender, 1_000, &policy);
            }
            if count >= 100 {
                break;
            }
        }
        count
    });
    for session in 0..50 {
        spawn_exits(&registry, session).wait().works();
    }
    assert_eq!(listener.join().expect("the listener did not panic"), 100);
}

fn a_subscription_ends_with_its_registry() {
    let registry = registry();
    let events = registry.subscribe();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let listener = thread::spawn(move || events.collect::<Vec<_>>());
    drop(registry);
    let told = listener.join().expect("the listener did not panic");
    assert_eq!(exits_of(&told, &child).len(), 1, "{told:?}");
}

fn an_exit_comes_at_once_although_a_grandchild_holds_stdout() {
    let registry = registry();
    let events = registry.subscribe();
    let (child, control, mut lines) = controlled(&registry, 1, role("leaves-a-child").arg("3"));
    let holder = Pinned::open(lines.number()).expect("it lives");
    let told = until_exit_of(&events, &child);
    assert_eq!(exits_of(&told, &child)[0].code(), Some(3));
    assert!(!holder.is_dead(), "the precondition does not hold");
    // Its end of the pipe is still open: there is nothing to read, and no end of it.
    drop(control);
    holder.assert_dies();
    assert_eq!(
        lines.next(),
        None,
        "the end of the output is there when its holder is dead"
    );
    close(&registry, 1);
}

fn a_child_that_leaves_a_background_process_has_exited_at_once() {
    let registry = registry();
    let (child, control, mut lines) = controlled(&registry, 1, role("leaves-a-child").arg("0"));
    let left = Pinned::open(lines.number()).expect("it lives");
    let exit = child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("it has exited");
    assert!(exit.success());
    assert!(!left.is_dead(), "ended before anybody asked");
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert_eq!(report.gone_before(), 1);
    drop(control);
    left.assert_dies();
}

fn signals_of_a_ladder_are_told_with_their_reason() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SIGNALLED);
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    close_with(
        &registry,
        1,
        &StopPolicy::new().signal(Signal::TERM, ms(50)).kill(),
    );
    let told = drain(&events);
    let signals: Vec<_> = told
        .iter()
        .filter_map(|event| {
            let EventKind::Signalled { signal, .. } = event.kind() else {
                return None;
            };
            Some(*signal)
        })
        .collect();
    assert_eq!(signals, [Signal::TERM, Signal::KILL], "{told:?}");
    assert!(
        told.iter().all(|event| event.process() == Some(child.id())),
        "{told:?}"
    );
}

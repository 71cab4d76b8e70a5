//! The reaper: sessions that nobody names any more are ended, and nothing else is.

mod support;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use procession::{
    ErrorKind, Event, EventKind, EventMask, How, Reaper, ReaperOptions, ReaperReport, Reason,
    Registry, Rung, SessionId, SessionOptions, Signal, SkipReason, StopPolicy, Subscription,
};

use support::{
    Crowd, Forked, LONG_ENOUGH, Pinned, Works, clean, drain, eventually, let_pass, ms, now,
    only_member, registry, role, run_in_fork, start, switches, test, thread_named, threads,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(the_first_pass_comes_at_once_and_ends_what_is_not_named),
            test!(a_number_that_begins_like_another_is_another),
            test!(a_session_that_begins_after_the_list_was_made_is_not_stale),
            test!(a_number_that_lives_again_since_the_list_is_another_life),
            test!(what_is_not_known_ends_nothing),
            test!(a_callback_that_panics_ends_nothing_and_is_asked_again),
            test!(an_iterator_that_panics_is_a_callback_that_does),
            test!(a_callback_that_blocks_skips_passes_and_its_answer_counts_in_the_end),
            test!(stopping_does_not_wait_for_a_callback_that_blocks),
            test!(an_answer_that_comes_after_the_stop_ends_nothing),
            test!(a_callback_can_stop_its_reaper),
            test!(a_callback_cannot_wait_for_a_pass),
            test!(a_callback_can_call_back_into_the_registry),
            test!(a_dropped_reaper_passes_no_more),
            test!(stopping_waits_for_the_ends_under_way),
            test!(passes_keep_to_their_grid),
            test!(passes_do_not_overlap_and_what_they_overran_is_left_out),
            test!(a_reaper_of_an_hour_sleeps_between_two_passes),
            test!(sessions_are_ended_by_a_policy_and_not_by_a_bare_kill),
            test!(a_hundred_and_fifty_five_stubborn_sessions_take_one_grace),
            test!(a_pass_and_a_time_limit_end_a_session_once),
            test!(an_end_of_the_hosts_is_joined_and_not_hurried),
            test!(a_pass_is_published_before_its_report_is_handed_out),
            test!(a_reaper_ends_with_its_registry),
            test!(a_reaper_does_not_keep_its_registry_alive),
            test!(an_interval_of_zero_is_refused_and_one_without_end_is_not),
            test!(a_reaper_in_a_forked_copy_does_nothing),
        ],
        &[],
    )
}

const HOUR: Duration = Duration::from_secs(3600);

/// Passes when it is told to, and once at its start.
fn hourly(
    registry: &Registry,
    active: impl FnMut() -> Option<Vec<u64>> + Send + 'static,
) -> Reaper {
    registry.start_reaper(HOUR, active).works()
}

fn passes(registry: &Registry) -> Subscription {
    registry.subscribe_to(EventMask::REAPER)
}

/// The next pass, which has to come.
#[track_caller]
fn next_pass(events: &Subscription) -> ReaperReport {
    let event = events.receiver().recv_timeout(LONG_ENOUGH);
    pass(&event.expect("a pass"))
}

/// The pass that an event is about.
#[track_caller]
fn pass(event: &Event) -> ReaperReport {
    let EventKind::ReaperPassed(report) = event.kind() else {
        panic!("about no pass: {event}");
    };
    report.clone()
}

fn lives(registry: &Registry) -> Vec<u64> {
    let sessions = registry.sessions().works();
    sessions.iter().map(|info| info.id.as_u64()).collect()
}

fn numbers(report: &ReaperReport) -> Vec<u64> {
    let sessions = report.sessions().iter();
    sessions.map(|report| report.session().as_u64()).collect()
}

fn the_first_pass_comes_at_once_and_ends_what_is_not_named() {
    let registry = registry();
    let events = passes(&registry);
    for session in [3, 1, 2] {
        drop(start(&registry, session, &mut role("obedient")));
    }
    let reaper = hourly(&registry, || Some(vec![2]));
    let report = next_pass(&events);
    assert_eq!((report.pass(), report.ended()), (1, 2), "\n{report}");
    assert_eq!(numbers(&report), [1, 3]);
    assert!(!report.skipped() && report.swept().is_none());
    for session in report.sessions() {
        assert_eq!(session.reason(), Reason::Reaper, "\n{session}");
        drop(clean(session.clone()));
    }
    assert_eq!(lives(&registry), [2]);
    assert_eq!(reaper.run_now().works().ended(), 0);
}

/// The predecessor looked for a session's number in command lines, and took session 10 for session 1.
fn a_number_that_begins_like_another_is_another() {
    let registry = registry();
    for session in [1, 10, 100] {
        drop(start(&registry, session, &mut role("obedient")));
    }
    let reaper = hourly(&registry, || Some(vec![10]));
    let report = reaper.run_now().works();
    assert_eq!(lives(&registry), [10], "\n{report}");
}

fn a_session_that_begins_after_the_list_was_made_is_not_stale() {
    let registry = registry();
    let events = passes(&registry);
    drop(start(&registry, 1, &mut role("obedient")));
    let weak = registry.downgrade();
    let reaper = hourly(&registry, move || {
        let registry = weak.upgrade()?;
        if lives(&registry) == [1] {
            registry.open_session(SessionOptions::new().id(2)).works();
            drop(start(&registry, 3, &mut role("obedient")));
        }
        Some(Vec::new())
    });
    assert_eq!(numbers(&next_pass(&events)), [1]);
    assert_eq!(lives(&registry), [2, 3]);
    let report = reaper.run_now().works();
    assert_eq!(numbers(&report), [2, 3], "named by nobody since");
}

fn a_number_that_lives_again_since_the_list_is_another_life() {
    let registry = registry();
    let events = passes(&registry);
    drop(start(&registry, 1, &mut role("obedient")));
    let weak = registry.downgrade();
    let mut again = true;
    let _reaper = hourly(&registry, move || {
        let registry = weak.upgrade()?;
        if std::mem::take(&mut again) {
            drop(clean(registry.end_session(1).works()));
            drop(start(&registry, 1, &mut role("obedient")));
        }
        Some(Vec::new())
    });
    let report = next_pass(&events);
    assert!(report.sessions().is_empty(), "\n{report}");
    assert_eq!(lives(&registry), [1]);
}

fn what_is_not_known_ends_nothing() {
    let registry = registry();
    drop(start(&registry, 1, &mut role("obedient")));
    let known = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&known);
    let reaper = hourly(&registry, move || {
        asked.load(Ordering::SeqCst).then(Vec::new)
    });
    let report = reaper.run_now().works();
    assert_eq!(report.skip_reason(), Some(SkipReason::NotKnown));
    assert_eq!(lives(&registry), [1]);
    known.store(true, Ordering::SeqCst);
    assert_eq!(reaper.run_now().works().ended(), 1);
}

fn a_callback_that_panics_ends_nothing_and_is_asked_again() {
    let registry = registry();
    drop(start(&registry, 1, &mut role("obedient")));
    let mut asked = 0;
    let reaper = registry
        .start_reaper(HOUR, move || {
            asked += 1;
            assert!(asked > 2, "on purpose");
            Some(Vec::<SessionId>::new())
        })
        .works();
    let report = reaper.run_now().works();
    assert_eq!(report.skip_reason(), Some(SkipReason::Panicked));
    assert_eq!(lives(&registry), [1]);
    assert_eq!(reaper.run_now().works().ended(), 1);
}

fn an_iterator_that_panics_is_a_callback_that_does() {
    let registry = registry();
    drop(start(&registry, 1, &mut role("obedient")));
    let named = || (0..3_u64).map(|number| [5_u64, 6][usize::try_from(number).unwrap()]);
    let reaper = registry.start_reaper(HOUR, move || Some(named())).works();
    let report = reaper.run_now().works();
    assert_eq!(report.skip_reason(), Some(SkipReason::Panicked));
    assert_eq!(lives(&registry), [1]);
}

fn a_callback_that_blocks_skips_passes_and_its_answer_counts_in_the_end() {
    let registry = registry();
    let events = passes(&registry);
    drop(start(&registry, 1, &mut role("obedient")));
    let (answer, answers) = mpsc::channel::<Option<Vec<u64>>>();
    let callback = move || answers.recv().unwrap_or(None);
    let reaper = registry.start_reaper(ms(30), callback).works();
    for _ in 0..3 {
        let report = next_pass(&events);
        assert_eq!(
            report.skip_reason(),
            Some(SkipReason::Blocked),
            "\n{report}"
        );
    }
    // Begun after the list of the pass that still asks.
    drop(start(&registry, 2, &mut role("obedient")));
    answer.send(Some(Vec::new())).expect("it waits");
    let report = loop {
        let report = next_pass(&events);
        if !report.skipped() {
            break report;
        }
    };
    assert_eq!(
        (report.pass(), numbers(&report)),
        (1, vec![1]),
        "\n{report}"
    );
    assert_eq!(lives(&registry), [2]);
    drop(answer);
    reaper.stop();
}

fn stopping_does_not_wait_for_a_callback_that_blocks() {
    let registry = registry();
    let (called, calls) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let reaper = hourly(&registry, move || {
        called.send(()).expect("the test listens");
        // Until the test lets go of its end.
        released.recv().ok();
        Some(Vec::new())
    });
    calls.recv_timeout(LONG_ENOUGH).expect("it is called");
    let before = now();
    reaper.stop();
    assert!(now() - before < LONG_ENOUGH);
    drop(release);
}

fn an_answer_that_comes_after_the_stop_ends_nothing() {
    let registry = registry();
    drop(start(&registry, 1, &mut role("obedient")));
    let (called, calls) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let reaper = hourly(&registry, move || {
        called.send(()).expect("the test listens");
        released.recv().ok();
        Some(Vec::new())
    });
    let running = threads().len();
    calls.recv_timeout(LONG_ENOUGH).expect("it is called");
    drop(reaper);
    drop(release);
    eventually("its threads are gone", || threads().len() <= running - 2);
    assert_eq!(lives(&registry), [1]);
}

fn a_callback_can_stop_its_reaper() {
    let registry = registry();
    let events = passes(&registry);
    let own: Arc<Mutex<Option<Reaper>>> = Arc::default();
    let (stopped, stops) = mpsc::channel();
    let mut guard = own.lock().expect("nobody panicked");
    let inside = Arc::clone(&own);
    *guard = Some(hourly(&registry, move || {
        // Waits until the reaper has been put there.
        if let Some(reaper) = inside.lock().expect("nobody panicked").take() {
            reaper.stop();
        }
        stopped.send(()).expect("the test listens");
        Some(Vec::new())
    }));
    drop(start(&registry, 1, &mut role("obedient")));
    drop(guard);
    stops.recv_timeout(LONG_ENOUGH).expect("it returned");
    // The callback is dropped with its thread, and the sender with it.
    assert!(stops.recv_timeout(LONG_ENOUGH).is_err());
    assert_eq!(lives(&registry), [1]);
    assert!(drain(&events).is_empty(), "cancelled");
}

fn a_callback_cannot_wait_for_a_pass() {
    let registry = registry();
    let own: Arc<Mutex<Option<Reaper>>> = Arc::default();
    let inside = Arc::clone(&own);
    let (tell, told) = mpsc::channel();
    let mut guard = own.lock().expect("nobody panicked");
    *guard = Some(hourly(&registry, move || {
        let reaper = inside.lock().expect("nobody panicked");
        let refused = reaper.as_ref().map(|reaper| reaper.run_now().unwrap_err());
        tell.send(refused.map(|error| error.kind())).ok();
        Some(Vec::new())
    }));
    drop(guard);
    let refused = told.recv_timeout(LONG_ENOUGH).expect("it came back");
    assert_eq!(refused, Some(ErrorKind::InvalidInput));
    let reaper = own.lock().expect("nobody panicked").take();
    drop(reaper);
}

fn a_callback_can_call_back_into_the_registry() {
    let registry = registry();
    let events = passes(&registry);
    drop(start(&registry, 1, &mut role("obedient")));
    drop(start(&registry, 2, &mut role("obedient")));
    let weak = registry.downgrade();
    let _reaper = hourly(&registry, move || {
        let registry = weak.upgrade()?;
        // Ended by the host itself, within the callback.
        drop(clean(registry.end_session(2).works()));
        Some(lives(&registry))
    });
    let report = next_pass(&events);
    assert!(report.sessions().is_empty(), "\n{report}");
    assert_eq!(lives(&registry), [1]);
}

fn a_dropped_reaper_passes_no_more() {
    let registry = registry();
    let events = passes(&registry);
    let before = threads().len();
    let reaper = registry
        .start_reaper(ms(5), || Some(Vec::<u64>::new()))
        .works();
    next_pass(&events);
    next_pass(&events);
    drop(reaper);
    assert!(threads().len() <= before, "its threads were waited for");
    drain(&events);
    drop(start(&registry, 1, &mut role("obedient")));
    let_pass(ms(50));
    assert!(drain(&events).is_empty());
    assert_eq!(lives(&registry), [1]);
}

fn stopping_waits_for_the_ends_under_way() {
    let registry = registry();
    let ending = registry.subscribe_to(EventMask::SESSIONS);
    let (process, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let policy = StopPolicy::new().signal(Signal::TERM, ms(300)).kill();
    let options = ReaperOptions::every(HOUR).stop_policy(policy);
    let reaper = registry
        .start_reaper(options, || Some(Vec::<u64>::new()))
        .works();
    let begun = ending.receiver().recv_timeout(LONG_ENOUGH).expect("an end");
    assert!(matches!(begun.kind(), EventKind::SessionEnding { .. }));
    reaper.stop();
    assert!(process.try_wait().works().is_some(), "it is over");
}

fn passes_keep_to_their_grid() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let registry = registry();
    let events = passes(&registry);
    let began = now();
    let _reaper = registry
        .start_reaper(INTERVAL, || {
            // What each pass takes would add up.
            let_pass(ms(40));
            Some(Vec::<u64>::new())
        })
        .works();
    let mut on_time = 0;
    for _ in 0..8 {
        let event = events.receiver().recv_timeout(LONG_ENOUGH).expect("a pass");
        let after = (event.at() - began).saturating_sub(pass(&event).took());
        on_time += usize::from(after.as_millis() % INTERVAL.as_millis() < 40);
    }
    // A machine that is busy is late now and then. One that drifts by 40 ms with each pass is on time twice.
    assert!(on_time >= 4, "{on_time} of 8");
}

fn passes_do_not_overlap_and_what_they_overran_is_left_out() {
    let registry = registry();
    let events = passes(&registry);
    drop(start(&registry, 1, &mut role("ignores-term")));
    let inside = Arc::new(AtomicUsize::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    let (nested, counted) = (Arc::clone(&inside), Arc::clone(&calls));
    let policy = StopPolicy::new().signal(Signal::TERM, ms(200)).kill();
    let options = ReaperOptions::every(ms(20)).stop_policy(policy);
    let before = now();
    let reaper = registry
        .start_reaper(options, move || {
            assert_eq!(nested.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            counted.fetch_add(1, Ordering::SeqCst);
            nested.fetch_sub(1, Ordering::SeqCst);
            Some(Vec::<u64>::new())
        })
        .works();
    let first = next_pass(&events);
    assert_eq!((first.pass(), first.ended()), (1, 1), "\n{first}");
    assert!(first.took() >= ms(200));
    let second = next_pass(&events);
    assert_eq!(second.pass(), 2, "nothing was made up for");
    reaper.stop();
    let most = (now() - before).as_millis() / 20 + 1;
    assert!(calls.load(Ordering::SeqCst) as u128 <= most);
    assert_eq!(inside.load(Ordering::SeqCst), 0);
}

fn a_reaper_of_an_hour_sleeps_between_two_passes() {
    let registry = registry();
    let events = passes(&registry);
    let _reaper = hourly(&registry, || Some(Vec::new()));
    next_pass(&events);
    // A thread's name is cut at 15 bytes.
    let watched = ["procession-reap", "procession-acti", "procession"].map(thread_named);
    let switches = || watched.map(switches);
    // It may be on its way to sleep.
    let (mut before, mut in_a_row) = (switches(), 0);
    eventually("they sleep", || {
        let again = switches();
        in_a_row = if again == before { in_a_row + 1 } else { 0 };
        before = again;
        in_a_row > 20
    });
    let before = switches();
    let_pass(ms(500));
    assert_eq!(switches(), before);
}

fn sessions_are_ended_by_a_policy_and_not_by_a_bare_kill() {
    let own = StopPolicy::new().signal(Signal::INT, LONG_ENOUGH).kill();
    let said = StopPolicy::new().signal(Signal::HUP, LONG_ENOUGH).kill();
    let registry = Registry::builder()
        .stop_policy(StopPolicy::new().signal(Signal::QUIT, LONG_ENOUGH).kill())
        .build()
        .works();
    let begin = || {
        let options = SessionOptions::new().id(1).stop_policy(own.clone());
        let session = registry.open_session(options).works();
        drop(start(&registry, session.id(), &mut role("obedient")));
        drop(start(&registry, 2, &mut role("obedient")));
    };
    let by = |options: ReaperOptions| {
        begin();
        let reaper = registry
            .start_reaper(options, || Some(HashSet::<u64>::new()))
            .works();
        eventually("both are gone", || lives(&registry).is_empty());
        reaper.stop();
        [1, 2].map(|session| {
            let report = registry.last_report(session).works().expect("it was ended");
            let exit = only_member(&report).exit().expect("it is dead").clone();
            exit.asked().expect("it was asked")
        })
    };
    let of_their_own = by(ReaperOptions::every(HOUR));
    assert_eq!(
        of_their_own.map(|(signal, _)| signal),
        [Signal::INT, Signal::QUIT]
    );
    let of_the_reapers = by(ReaperOptions::every(HOUR).stop_policy(said));
    assert_eq!(
        of_the_reapers,
        [(Signal::HUP, Reason::Reaper), (Signal::HUP, Reason::Reaper)]
    );
}

/// The predecessor took 46.7 s for these, with a grace of 0.1 s.
fn a_hundred_and_fifty_five_stubborn_sessions_take_one_grace() {
    let registry = registry();
    let mut crowd = Crowd::new();
    for session in 0..155 {
        let mut command = role("ignores-term");
        registry
            .spawn(session, command.stdout(crowd.output()))
            .works();
    }
    crowd.await_ready(155);
    let policy = StopPolicy::new().signal(Signal::TERM, ms(500)).kill();
    let options = ReaperOptions::every(HOUR).stop_policy(policy);
    let reaper = registry
        .start_reaper(options, || Some(Vec::<u64>::new()))
        .works();
    eventually("all are gone", || lives(&registry).is_empty());
    drop(reaper);
    // Kept are the last 64.
    let report = registry.last_report(154).works().expect("it was ended");
    let member = only_member(&report);
    assert_eq!(member.how(), How::At(Rung::Kill));
    // One after the other they would take 77 s.
    assert!(report.took() < LONG_ENOUGH, "\n{report}");
}

fn a_pass_and_a_time_limit_end_a_session_once() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    let options = SessionOptions::new()
        .id(1)
        .time_limit(Duration::from_secs(1))
        .stop_policy(StopPolicy::new().signal(Signal::TERM, ms(500)).kill());
    let session = registry.open_session(options).works();
    drop(start(&registry, 1, &mut role("ignores-term")));
    let begun = events.receiver().recv_timeout(LONG_ENOUGH).expect("an end");
    assert!(matches!(
        begun.kind(),
        EventKind::SessionEnding {
            reason: Reason::TimeLimit
        }
    ));
    let options = ReaperOptions::every(HOUR).stop_policy(StopPolicy::immediate());
    let passed = passes(&registry);
    let _reaper = registry
        .start_reaper(options, || Some(Vec::<u64>::new()))
        .works();
    let pass = next_pass(&passed);
    assert_eq!(pass.sessions().len(), 1, "\n{pass}");
    let report = session.report().works().expect("it is over");
    assert_eq!(report.reason(), Reason::TimeLimit);
    assert_eq!(pass.sessions()[0].reason(), Reason::TimeLimit);
    let ends = drain(&events);
    let ended = ends
        .iter()
        .filter(|event| matches!(event.kind(), EventKind::SessionEnded(_)));
    assert_eq!(ended.count(), 1);
}

/// A host that takes its time with an end has taken the session out of its table already.
fn an_end_of_the_hosts_is_joined_and_not_hurried() {
    let registry = registry();
    let (input, control) = support::pipe();
    let (process, _lines) = start(&registry, 1, role("until-eof").arg("7").stdin(input));
    let patient = StopPolicy::new().signal(Signal::TERM, HOUR).kill();
    let ending = registry.begin_end_session(1, &patient).works();
    let options = ReaperOptions::every(HOUR).stop_policy(StopPolicy::immediate());
    let passed = passes(&registry);
    let reaper = registry
        .start_reaper(options, || Some(Vec::<u64>::new()))
        .works();
    assert!(process.wait_timeout(ms(300)).works().is_none());
    drop(control);
    let report = clean(ending.wait().works());
    assert_eq!(report.reason(), Reason::Host);
    assert_eq!(process.wait().works().code(), Some(7));
    assert_eq!(next_pass(&passed).sessions().len(), 1);
    drop(reaper);
}

fn a_pass_is_published_before_its_report_is_handed_out() {
    let registry = registry();
    let reaper = hourly(&registry, || Some(Vec::new()));
    reaper.run_now().works();
    let events = registry.subscribe();
    drop(start(&registry, 1, &mut role("obedient")));
    let report = reaper.run_now().works();
    let events = drain(&events);
    let last = events.last().expect("there are some");
    assert_eq!(pass(last).pass(), report.pass());
    assert_eq!((last.session(), last.process()), (None, None));
    assert!(
        last.to_string()
            .starts_with("pass 3 of the reaper: 1 session ended, of 1"),
        "{last}"
    );
}

fn a_reaper_ends_with_its_registry() {
    let registry = registry();
    let events = passes(&registry);
    let before = threads().len();
    let reaper = hourly(&registry, || Some(Vec::new()));
    next_pass(&events);
    registry.shutdown().works();
    // The reactor's is gone too.
    eventually("its threads are gone", || threads().len() < before);
    let error = reaper.run_now().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
    let refused = registry.start_reaper(HOUR, || Some(Vec::<u64>::new()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ShutDown);
}

fn a_reaper_does_not_keep_its_registry_alive() {
    let registry = registry();
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    let pinned = Pinned::open(process.pid()).expect("it lives");
    let reaper = hourly(&registry, || Some(vec![1]));
    reaper.run_now().works();
    drop(registry);
    assert!(pinned.is_dead());
    assert_eq!(reaper.run_now().unwrap_err().kind(), ErrorKind::ShutDown);
}

fn an_interval_of_zero_is_refused_and_one_without_end_is_not() {
    let registry = registry();
    let refused = registry.start_reaper(Duration::ZERO, || Some(Vec::<u64>::new()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    let reaper = registry
        .start_reaper(Duration::MAX, || Some(Vec::<u64>::new()))
        .works();
    assert!(reaper.run_now().works().pass() >= 1);
}

fn a_reaper_in_a_forked_copy_does_nothing() {
    let registry = registry();
    drop(start(&registry, 1, &mut role("obedient")));
    let mut reaper = Some(hourly(&registry, || Some(vec![1])));
    if let Some(reaper) = &reaper {
        reaper.run_now().works();
    }
    let ended = run_in_fork(|| {
        let reaper = reaper.take().expect("the copy has one");
        assert!(reaper.run_now().is_err());
        drop(reaper);
    });
    assert_eq!(ended, Forked::Exited(0));
    let reaper = reaper.take().expect("the copy took its own");
    assert_eq!(reaper.run_now().works().ended(), 0);
    assert_eq!(lives(&registry), [1]);
}

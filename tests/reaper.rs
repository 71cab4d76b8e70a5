//! The reaper: sessions that nobody names any more are ended, and nothing else is.

mod support;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use procession::{
    ErrorKind, EventKind, EventMask, How, ReaperOptions, Reason, Rung, SessionOptions, Signal,
    StopPolicy,
};

use support::reaping::{HOUR, hourly, lives, next_pass, numbers, pass, passes};
use support::{
    Crowd, Forked, LONG_ENOUGH, Pinned, Works, builder, clean, drain, eventually, let_pass, ms,
    now, only_member, registry, role, run_in_fork, start, switches, test, thread_named, threads,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(the_first_pass_comes_at_once_and_ends_what_is_not_named),
            test!(a_number_that_begins_like_another_is_another),
            test!(a_session_that_begins_after_the_list_was_made_is_not_stale),
            test!(a_number_that_lives_again_since_the_list_is_another_life),
            test!(a_dropped_reaper_passes_no_more),
            test!(what_active_holds_is_dropped_with_the_reaper),
            test!(stopping_waits_for_the_ends_under_way),
            test!(passes_keep_to_their_grid),
            test!(passes_do_not_overlap_and_what_they_overran_is_left_out),
            test!(a_reaper_of_an_hour_sleeps_between_two_passes),
            test!(sessions_are_ended_by_a_policy_and_not_by_a_bare_kill),
            test!(a_hundred_and_fifty_five_stubborn_sessions_take_one_grace),
            test!(a_pass_and_a_time_limit_end_a_session_once),
            test!(a_pass_and_an_idle_limit_end_a_session_once),
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
    // One that is being asked at that moment is not waited for, and one that was is still listed for a moment.
    eventually("its threads are gone", || threads().len() <= before);
    drain(&events);
    drop(start(&registry, 1, &mut role("obedient")));
    let_pass(ms(50));
    assert!(drain(&events).is_empty());
    assert_eq!(lives(&registry), [1]);
}

fn what_active_holds_is_dropped_with_the_reaper() {
    let registry = registry();
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let reaper = hourly(&registry, move || {
        let _holds = &holds;
        Some(Vec::new())
    });
    // It is asked by the first pass or by this one, and has answered.
    drop(reaper.run_now().works());
    reaper.stop();
    assert_eq!(Arc::strong_count(&held), 1, "its threads were waited for");
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
    let registry = builder()
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
    let options = SessionOptions::new().time_limit(Duration::from_secs(1));
    end_by_a_pass_and_a_limit(options, Reason::TimeLimit);
}

fn a_pass_and_an_idle_limit_end_a_session_once() {
    let options = SessionOptions::new().idle_limit(Duration::from_secs(1));
    end_by_a_pass_and_a_limit(options, Reason::IdleLimit);
}

fn end_by_a_pass_and_a_limit(options: SessionOptions, reason: Reason) {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SESSIONS);
    let policy = StopPolicy::new().signal(Signal::TERM, ms(500)).kill();
    let session = registry
        .open_session(options.id(1).stop_policy(policy))
        .works();
    drop(start(&registry, 1, &mut role("ignores-term")));
    let begun = events.receiver().recv_timeout(LONG_ENOUGH).expect("an end");
    let EventKind::SessionEnding { reason: of_it } = begun.kind() else {
        panic!("{begun:?}");
    };
    assert_eq!(*of_it, reason);
    let options = ReaperOptions::every(HOUR).stop_policy(StopPolicy::immediate());
    let passed = passes(&registry);
    let _reaper = registry
        .start_reaper(options, || Some(Vec::<u64>::new()))
        .works();
    let pass = next_pass(&passed);
    assert_eq!(pass.sessions().len(), 1, "\n{pass}");
    let report = session.report().works().expect("it is over");
    assert_eq!(report.reason(), reason);
    assert_eq!(pass.sessions()[0].reason(), reason);
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

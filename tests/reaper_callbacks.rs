//! The reaper's callback: what it does not know, panics about or blocks on ends nothing.

mod support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use procession::{ErrorKind, Reaper, SessionId, SkipReason};

use support::reaping::{HOUR, hourly, lives, next_pass, numbers, passes};
use support::{
    LONG_ENOUGH, Works, clean, drain, eventually, ms, now, registry, role, start, test, threads,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(what_is_not_known_ends_nothing),
            test!(a_callback_that_panics_ends_nothing_and_is_asked_again),
            test!(an_iterator_that_panics_is_a_callback_that_does),
            test!(a_callback_that_blocks_skips_passes_and_its_answer_counts_in_the_end),
            test!(stopping_does_not_wait_for_a_callback_that_blocks),
            test!(an_answer_that_comes_after_the_stop_ends_nothing),
            test!(a_callback_can_stop_its_reaper),
            test!(a_callback_cannot_wait_for_a_pass),
            test!(a_callback_can_call_back_into_the_registry),
        ],
        &[],
    )
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

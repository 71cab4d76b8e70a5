//! Many at once.

mod support;

use std::process::{ExitCode, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use procession::{
    Event, EventKind, EventMask, How, Process, Reason, Registry, Rung, Signal, StopPolicy,
};

use support::adversary::parent_of_a_markless_child;
use support::tree::has_forgotten;
use support::{
    Crowd, LONG_ENOUGH, Pinned, Rounds, Works, builder, clean, close_with, drain, eventually,
    is_exit, is_our_child, member, next_event, now, only_member, pipe, registry, role, role_of,
    test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(stubborn_children_of_one_session_share_one_grace_time),
            test!(stubborn_children_of_one_session_share_one_grace_time).on_an_older_kernel(),
            test!(stubborn_children_of_many_sessions_share_one_grace_time),
            test!(stubborn_children_that_are_stopped_from_many_threads_share_one_grace_time),
            test!(children_that_die_before_they_are_registered_are_started_once_and_exited_once),
            test!(a_thousand_exits_at_once_are_all_told),
            test!(children_that_their_parents_alone_know_are_found_however_many_they_are),
        ],
        &[role_of!(parent_of_a_markless_child)],
    )
}

fn term_then_kill(grace: Duration) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, grace).kill()
}

fn end(registry: &Registry, session: u64, policy: &StopPolicy) -> procession::SessionReport {
    clean(registry.end_session_with(session, policy).works())
}

/// As many as the predecessor of this crate needed 46.7 seconds for.
const STUBBORN: usize = 155;
const GRACE: Duration = Duration::from_millis(500);

fn stubborn(registry: &Registry, session_of: impl Fn(usize) -> u64) -> Vec<Process> {
    let mut crowd = Crowd::new();
    let spawn = |n| registry.spawn(session_of(n), role("ignores-term").stdout(crowd.output()));
    let all: Vec<_> = (0..STUBBORN)
        .map(|n| spawn(n).expect("a role can be started"))
        .collect();
    crowd.await_ready(all.len());
    all
}

/// One grace time and what a loaded machine needs to bury so many; two grace times for each five would be more.
fn assert_one_grace(took: Duration) {
    assert!(took >= GRACE, "killed within its grace, after {took:?}");
    assert!(
        took < GRACE * 40,
        "{took:?} for one grace time of {GRACE:?}"
    );
}

fn stubborn_children_of_one_session_share_one_grace_time() {
    let registry = registry();
    let children = stubborn(&registry, |_| 1);
    let began = now();
    let report = end(&registry, 1, &term_then_kill(GRACE));
    assert_one_grace(began.elapsed());
    for child in &children {
        assert_eq!(member(&report, child).how(), How::At(Rung::Kill));
        assert!(!is_our_child(child.pid()), "not reaped");
    }
}

fn stubborn_children_of_many_sessions_share_one_grace_time() {
    let registry = registry();
    let children = stubborn(&registry, |n| n as u64);
    let began = now();
    let reports = registry.shutdown_with(&term_then_kill(GRACE)).works();
    assert_one_grace(began.elapsed());
    assert_eq!(reports.len(), children.len());
    for report in reports {
        assert_eq!(report.reason(), Reason::Shutdown);
        assert_eq!(only_member(&clean(report)).how(), How::At(Rung::Kill));
    }
}

fn stubborn_children_that_are_stopped_from_many_threads_share_one_grace_time() {
    let registry = registry();
    let children = stubborn(&registry, |n| n as u64 % 7);
    let barrier = Barrier::new(children.len() + 1);
    let took = thread::scope(|scope| {
        for child in &children {
            scope.spawn(|| {
                barrier.wait();
                let report = child.stop(&term_then_kill(GRACE)).works();
                assert_eq!(
                    (report.process(), report.how()),
                    (child.id(), How::At(Rung::Kill))
                );
            });
        }
        barrier.wait();
        now()
    })
    .elapsed();
    assert_one_grace(took);
    assert!(registry.processes().works().is_empty());
}

fn children_that_die_before_they_are_registered_are_started_once_and_exited_once() {
    let registry = builder()
        .event_capacity(1 << 20)
        .build()
        .expect("a registry");
    let events = registry.subscribe();
    let mut children = Vec::new();
    // `true` is over within the microseconds that it takes to look at it.
    for round in Rounds::at_most(10_000) {
        let child = registry
            .spawn(round % 16, &mut std::process::Command::new("true"))
            .expect("there is `true`");
        children.push(child.id());
    }
    for session in 0..16 {
        let policy = StopPolicy::wait_then_kill(LONG_ENOUGH);
        close_with(&registry, session, &policy);
    }
    let told = drain(&events);
    let of = |is: fn(&Event) -> bool| {
        let mut ids: Vec<_> = told
            .iter()
            .filter(|&event| is(event))
            .filter_map(Event::process)
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(
        of(|event| matches!(event.kind(), EventKind::Started)),
        children
    );
    assert_eq!(of(is_exit), children);
    assert!(
        told.iter()
            .all(|event| !matches!(event.kind(), EventKind::Exited(exit) if !exit.success()))
    );
}

/// Enough to fill every buffer on the way. More by an environment variable: ten thousand take some gigabytes.
fn crowd_size() -> usize {
    std::env::var("PROCESSION_CROWD")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000)
}

fn a_thousand_exits_at_once_are_all_told() {
    let registry = builder()
        .event_capacity(1 << 20)
        .build()
        .expect("a registry");
    let exits = registry.subscribe_to(EventMask::EXITED);
    let (reader, writer) = pipe();
    let spawn = |session: usize| {
        let input = reader.try_clone().expect("a descriptor can be duplicated");
        let mut command = std::process::Command::new("cat");
        registry
            .spawn(
                session as u64 % 10,
                command.stdin(input).stdout(Stdio::null()),
            )
            .expect("there is `cat`")
    };
    let children: Vec<_> = (0..crowd_size()).map(spawn).collect();
    assert!(drain(&exits).is_empty());
    // All of them read the same pipe, and see its end at the same time.
    drop((reader, writer));
    for child in &children {
        let exit = child
            .wait_timeout(LONG_ENOUGH)
            .works()
            .expect("it sees the end");
        assert!(exit.success(), "{exit}");
    }
    let mut told: Vec<_> = (0..children.len())
        .filter_map(|_| next_event(&exits).process())
        .collect();
    told.sort_unstable();
    assert_eq!(told, children.iter().map(Process::id).collect::<Vec<_>>());
    eventually("all are forgotten", || {
        registry.processes().works().is_empty()
    });
    assert!(drain(&exits).is_empty(), "told twice");
}

/// Where there are as many as this it costs less to ask everybody for its parent than every parent for its children.
fn children_that_their_parents_alone_know_are_found_however_many_they_are() {
    let registry = registry();
    let mut crowd = Crowd::new();
    for _ in 0..STUBBORN {
        let mut parent = role("parent_of_a_markless_child");
        let parent = parent.stdout(crowd.output());
        registry.spawn(1, parent).works();
    }
    let numbers = crowd.numbers(STUBBORN);
    eventually("they have become other programs", || {
        numbers.iter().copied().all(has_forgotten)
    });
    let pinned = |&pid| Pinned::open(pid).expect("it lives");
    let children: Vec<_> = numbers.iter().map(pinned).collect();
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert!(children.iter().all(Pinned::is_dead), "\n{report}");
    assert_eq!(report.leftovers().count(), STUBBORN, "\n{report}");
}

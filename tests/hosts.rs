//! What happens to the host: it is stopped, forks, execs, or goes away.

mod support;

use std::cell::Cell;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use procession::{
    ErrorKind, EventKind, EventMask, How, OnDrop, Process, Registry, Rung, Signal, StopPolicy,
};
use rustix::process::{Pid, Signal as RawSignal, WaitId, WaitIdOptions, waitid};

use support::{
    Crowd, LONG_ENOUGH, Lines, Pinned, Works, argument, await_end_of_input, builder, clean, close,
    close_with, controlled, descriptors, drain, eventually, host, is_our_child, let_pass, member,
    move_wall_clock, ms, now, own_session, own_signals, registry, role, role_of, run_in_fork,
    rungs, say, start, status_field, switches, test, thread_named, threads,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_host_that_was_stopped_escalates_only_what_outlived_its_grace),
            test!(a_wall_clock_that_jumps_moves_no_deadline).needs_consent(
                "PROCESSION_MOVE_CLOCK",
                "moves the machine's clock: PROCESSION_MOVE_CLOCK=1",
            ),
            test!(dropping_the_last_registry_ends_what_lives),
            test!(dropping_one_of_two_registries_ends_nothing),
            test!(dropping_the_registry_wakes_those_who_wait),
            test!(dropping_the_registry_on_a_thread_that_panics_ends_what_lives),
            test!(dropping_handles_does_nothing),
            test!(a_weak_registry_keeps_nothing_alive),
            test!(handles_may_be_sent_and_shared),
            test!(dropping_a_registry_that_detaches_leaves_its_children_alive),
            test!(detaching_processes_that_carry_the_mark_is_refused),
            test!(a_drop_does_not_wait_longer_than_its_confirmation),
            test!(a_fork_without_exec_that_drops_its_copy_ends_nothing),
            test!(a_fork_without_exec_that_uses_its_copy_reaches_nobody),
            test!(a_host_that_execs_itself_keeps_nothing_of_the_library),
            test!(an_idle_registry_has_one_thread_and_does_not_wake_up),
            test!(nothing_of_the_hosts_process_is_changed),
            test!(many_registries_do_not_know_of_each_other),
            test!(a_host_whose_own_group_has_no_number_here_ends_what_it_adopted).needs_root(),
        ],
        &[
            role_of!(stopped_host),
            role_of!(execing_host),
            role_of!(after_exec),
            role_of!(entered_host),
        ],
    )
}

fn term_then_kill(grace: Duration) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, grace).kill()
}

/// How long the members of the host that is stopped have. Long enough for the host to be stopped within it.
const GRACE: Duration = Duration::from_secs(3);

/// Ends two children: one leaves when the host's own input ends, the other does not leave.
fn stopped_host() {
    let registry = registry();
    let escalated = registry.subscribe_to(EventMask::ESCALATED);
    let signals = registry.subscribe_to(EventMask::SIGNALLED);
    let (leaves, _leaves_lines) = start(
        &registry,
        1,
        role("until-eof").arg("7").stdin(Stdio::inherit()),
    );
    let (stays, _stays_lines) = start(&registry, 1, &mut role("ignores-term"));
    let ending = registry
        .begin_end_session(1, &term_then_kill(GRACE))
        .works();
    // What is asked for is not yet begun: the host must not be stopped between the two.
    let sent = signals.into_iter();
    let sent = sent.filter(|event| matches!(event.kind(), EventKind::Signalled { .. }));
    assert_eq!(sent.take(2).count(), 2, "one for each of them");
    say("ready");
    say(leaves.pid());
    let report = clean(ending.wait().works());
    let how = |process: &Process| member(&report, process).how();
    assert_eq!(
        how(&leaves),
        How::At(Rung::Signal(Signal::TERM)),
        "\n{report}"
    );
    assert_eq!(leaves.wait().expect("it is known").code(), Some(7));
    assert_eq!(how(&stays), How::At(Rung::Kill), "\n{report}");
    let escalated = drain(&escalated);
    assert_eq!(rungs(&escalated), [Rung::Kill]);
    assert!(
        escalated
            .iter()
            .all(|event| event.process().is_none_or(|id| id == stays.id())),
        "{escalated:?}"
    );
    say("as it should be");
}

fn a_host_that_was_stopped_escalates_only_what_outlived_its_grace() {
    let (mut child, control, mut lines) = host(&mut role("stopped_host"));
    let began = now();
    let pinned = Pinned::open(child.id()).expect("it lives");
    let leaver = Pinned::open(lines.number()).expect("it lives");
    pinned.send(RawSignal::STOP).expect("it lives");
    let pid = Pid::from_child(&child);
    let stopped = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT,
    )
    .expect("our child");
    assert!(stopped.is_some_and(|status| status.stopped()));
    assert!(
        began.elapsed() < GRACE,
        "the machine is too slow for this test"
    );
    drop(control);
    leaver.assert_dies();
    // The time itself is the precondition: on return the deadline must be over.
    let_pass((GRACE + ms(100)).saturating_sub(began.elapsed()));
    pinned.send(RawSignal::CONT).expect("it lives");
    assert_eq!(lines.next().as_deref(), Some("as it should be"));
    assert!(child.wait().expect("our child").success());
}

fn a_wall_clock_that_jumps_moves_no_deadline() {
    for jump in [3_600, -3_600] {
        let registry = registry();
        let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
        let began = now();
        let ending = registry
            .begin_end_session(1, &term_then_kill(ms(500)))
            .works();
        move_wall_clock(jump);
        let early = ending.wait_timeout(ms(250)).works();
        move_wall_clock(-jump);
        assert!(early.is_none(), "ended by the wall clock");
        let report = clean(ending.wait().works());
        assert!(began.elapsed() >= ms(500) && began.elapsed() < LONG_ENOUGH);
        assert_eq!(member(&report, &child).how(), How::At(Rung::Kill));
    }
}

fn dropping_the_last_registry_ends_what_lives() {
    let registry = registry();
    let children: Vec<_> = ["obedient", "ignores-term", "never-finishes-handling-term"]
        .into_iter()
        .map(|name| start(&registry, 1, &mut role(name)))
        .collect();
    drop(registry);
    for (child, _lines) in children {
        assert!(!is_our_child(child.pid()), "it outlived its registry");
        assert_eq!(
            child.wait().expect("its exit is known").signal(),
            Some(Signal::KILL)
        );
        let kind = child.signal(Signal::TERM).expect_err("it is gone").kind();
        assert!(
            matches!(kind, ErrorKind::AlreadyExited | ErrorKind::ShutDown),
            "{kind:?}"
        );
    }
}

fn dropping_one_of_two_registries_ends_nothing() {
    let registry = registry();
    let (child, _lines) = start(&registry.clone(), 1, &mut role("obedient"));
    drop(registry.clone());
    assert!(child.try_wait().works().is_none());
    close(&registry, 1);
}

fn dropping_the_registry_wakes_those_who_wait() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let ending = registry
        .begin_end_session(1, &term_then_kill(LONG_ENOUGH * 100))
        .works();
    let events = registry.subscribe_to(EventMask::EXITED);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| child.wait());
        let ender = scope.spawn(|| ending.wait());
        let listener = scope.spawn(|| events.into_iter().count());
        drop(registry);
        assert_eq!(
            waiter
                .join()
                .expect("no panic")
                .expect("it was ended")
                .signal(),
            Some(Signal::KILL)
        );
        match ender.join().expect("no panic") {
            Ok(report) => assert!(report.is_clean(), "\n{report}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ShutDown),
        }
        assert_eq!(listener.join().expect("no panic"), 1);
    });
}

fn dropping_the_registry_on_a_thread_that_panics_ends_what_lives() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let thread = thread::spawn(move || {
        let _dropped_by_the_panic = registry;
        panic!("as the test wants it");
    });
    assert!(thread.join().is_err());
    assert_eq!(
        child.wait().expect("its exit is known").signal(),
        Some(Signal::KILL)
    );
    assert!(!is_our_child(child.pid()), "it outlived its registry");
}

fn dropping_handles_does_nothing() {
    let registry = registry();
    let (child, lines) = start(&registry, 1, role("obedient").stdin(Stdio::piped()));
    let (id, pid) = (child.id(), child.pid());
    drop((child.clone(), child.stdin(), child.exit_receiver(), lines));
    drop(child);
    let found = registry.process(id).works().expect("it lives");
    assert_eq!((found.pid(), found.try_wait().works()), (pid, None));
    close(&registry, 1);
}

fn a_weak_registry_keeps_nothing_alive() {
    let registry = registry();
    let weak = registry.downgrade();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    assert!(
        weak.upgrade()
            .is_some_and(|same| same.processes().works().len() == 1)
    );
    assert!(
        child.try_wait().works().is_none(),
        "ended by what was upgraded"
    );
    drop(registry);
    assert!(weak.upgrade().is_none());
    assert_eq!(child.wait().works().signal(), Some(Signal::KILL));
}

fn handles_may_be_sent_and_shared() {
    fn all<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn shared<T: Send + Sync>() {}
    all::<Registry>();
    all::<Process>();
    all::<procession::Event>();
    all::<procession::SessionReport>();
    all::<procession::Exit>();
    all::<procession::Error>();
    shared::<procession::Subscription>();
    shared::<procession::Ending>();
    shared::<procession::AdoptError>();
}

fn dropping_a_registry_that_detaches_leaves_its_children_alive() {
    let registry = builder()
        .on_drop(OnDrop::Detach)
        .marker(false)
        .build()
        .expect("a registry");
    let (child, control, _lines) = controlled(&registry, 1, role("until-eof").arg("0"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    drop(registry);
    assert!(!pinned.is_dead(), "it was to be detached");
    assert_eq!(
        child.wait().expect_err("nobody tracks it").kind(),
        ErrorKind::ShutDown
    );
    drop(control);
    pinned.assert_dies();
    // It is ours to bury again.
    let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
}

fn detaching_processes_that_carry_the_mark_is_refused() {
    let built = builder().on_drop(OnDrop::Detach).build().map(drop);
    assert_eq!(
        built.expect_err("a later recovery would end them").kind(),
        ErrorKind::InvalidInput
    );
}

fn a_drop_does_not_wait_longer_than_its_confirmation() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    let began = now();
    drop(registry);
    assert!(began.elapsed() < LONG_ENOUGH, "{:?}", began.elapsed());
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    pinned.assert_dies();
    let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
}

fn a_fork_without_exec_that_drops_its_copy_ends_nothing() {
    let registry = registry();
    let events = registry.subscribe();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let (registry, events) = (Cell::new(Some(registry)), Cell::new(Some(events)));
    let forked = run_in_fork(|| {
        drop(events.take());
        drop(registry.take());
    });
    assert_eq!(forked, support::Forked::Exited(0));
    let (registry, events) = (
        registry.into_inner().expect("ours"),
        events.into_inner().expect("ours"),
    );
    assert_eq!(child.wait_timeout(ms(50)).works(), None, "ended by a copy");
    assert_eq!(registry.processes().works().len(), 1);
    assert_eq!(drain(&events).len(), 1, "only the start was told");
    close(&registry, 1);
}

fn a_fork_without_exec_that_uses_its_copy_reaches_nobody() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let forked = run_in_fork(|| {
        // Whatever they answer, they do not hang, and nobody is signalled.
        drop(child.kill());
        drop(child.signal(Signal::TERM));
        drop(child.try_wait());
        drop(child.stop(&StopPolicy::immediate()));
        drop(registry.end_session_with(1, &StopPolicy::immediate()));
        drop(registry.processes());
        assert!(
            registry.spawn(1, role("exits").arg("0")).is_err(),
            "nobody would look after it"
        );
        drop(registry.shutdown_with(&StopPolicy::immediate()));
    });
    assert_eq!(forked, support::Forked::Exited(0));
    assert_eq!(child.wait_timeout(ms(50)).works(), None, "ended by a copy");
    assert_eq!(registry.processes().works().len(), 1);
    close(&registry, 1);
}

/// Starts children and becomes another program, without a word to the registry.
fn execing_host() {
    let registry = registry();
    let _events = registry.subscribe();
    let mut crowd = Crowd::new();
    let mut command = role("obedient");
    let children: Vec<_> = (0..3)
        .map(|session| {
            registry
                .spawn(
                    session,
                    command.stdin(Stdio::piped()).stdout(crowd.output()),
                )
                .expect("a role")
        })
        .collect();
    crowd.await_ready(children.len());
    let pids = children.iter().map(|child| child.pid().to_string());
    let error = role("after_exec").args(pids).stdin(Stdio::inherit()).exec();
    panic!("{error}");
}

/// What the host has become: the children are still its own, and nothing else is left of the library.
fn after_exec() {
    let open = descriptors();
    assert_eq!(open.len(), 3, "beside the standard streams: {open:?}");
    assert_eq!(own_signals("SigBlk"), 0, "its signals are blocked");
    for n in 0..3 {
        let child = Pinned::open(argument(n).parse().expect("a pid")).expect("it lives");
        assert!(!child.is_dead());
        child.kill();
        child.assert_dies();
        rustix::process::wait(rustix::process::WaitOptions::empty()).expect("our child");
    }
    say("ready");
    await_end_of_input();
}

fn a_host_that_execs_itself_keeps_nothing_of_the_library() {
    let (mut child, control, _lines) = host(&mut role("execing_host"));
    drop(control);
    assert!(child.wait().expect("our child").success());
}

fn an_idle_registry_has_one_thread_and_does_not_wake_up() {
    let registry = builder()
        .thread_name("under-test")
        .build()
        .expect("a registry");
    let events = registry.subscribe();
    let mut crowd = Crowd::new();
    let mut command = role("obedient");
    for session in 0..50 {
        registry
            .spawn(session, command.stdout(crowd.output()))
            .expect("a role can be started");
    }
    crowd.await_ready(50);
    // Something has been ended and told, so that every kind of helper has been at work.
    close(&registry, 0);
    eventually("one thread beside this one", || threads().len() == 2);
    let reactor = thread_named("under-test");
    // It may still be on its way to sleep.
    let mut last = 0;
    eventually("the reactor sleeps", || {
        let_pass(ms(100));
        let before = std::mem::replace(&mut last, switches(reactor));
        before == last
    });
    let before = switches(reactor);
    // The time itself is the precondition: a while in which nothing happens.
    let_pass(ms(3_000));
    assert_eq!(switches(reactor), before, "the reactor woke up");
    assert_eq!(threads().len(), 2, "{:?}", threads());
    assert!(drain(&events).len() > 50);
    let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
}

fn nothing_of_the_hosts_process_is_changed() {
    let look = || {
        let sets = ["SigBlk", "SigIgn", "SigCgt"].map(own_signals);
        let mut all = vec![format!("{sets:?}")];
        for field in ["NoNewPrivs", "CapEff", "CapBnd"] {
            all.push(status_field("self", field).expect("the kernel has this field"));
        }
        all.push(std::fs::read_to_string("/proc/self/limits").expect("our own limits"));
        all.push(support::taker_of_orphans());
        all.push(format!(
            "{:?} {:?}",
            rustix::process::getpgrp(),
            std::env::current_dir()
        ));
        all.push(format!("{:?}", std::env::vars_os().collect::<Vec<_>>()));
        all
    };
    let before = look();
    let registry = registry();
    let (_child, _lines) = start(&registry, 1, &mut role("obedient"));
    assert_eq!(look(), before);
    close(&registry, 1);
    drop(registry);
    assert_eq!(look(), before);
}

fn many_registries_do_not_know_of_each_other() {
    let all: Vec<_> = (0..5).map(|_| registry()).collect();
    let children: Vec<_> = all
        .iter()
        .map(|registry| start(registry, 1, &mut role("obedient")))
        .collect();
    for (n, registry) in all.iter().enumerate() {
        close_with(registry, 1, &StopPolicy::immediate());
        for (other, (child, _lines)) in children.iter().enumerate() {
            let gone = child.try_wait().expect("its registry works").is_some();
            assert_eq!(gone, other <= n, "child {other} after the end of {n}");
        }
    }
}

/// Pid 1 of a namespace, in the group and the session of whoever entered it: neither has a number in there.
fn entered_host() {
    assert_eq!(std::process::id(), 1, "the only one of its namespace");
    assert_eq!(own_session(), 0, "of the one who entered");
    let registry = registry();
    let in_our_group = role("obedient").stdout(Stdio::piped()).spawn();
    let mut in_our_group = in_our_group.expect("a role can be started");
    let mut lines = Lines::new(in_our_group.stdout.take().expect("its output is a pipe"));
    lines.expect("ready");
    let adopted = registry.adopt(1, in_our_group).expect("it is our child");
    let (spawned, _lines) = start(&registry, 1, &mut role("obedient"));
    let policy = StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH);
    let report = clean(registry.end_session_with(1, &policy).works());
    for child in [adopted, spawned] {
        let how = member(&report, &child).how();
        assert_eq!(how, How::At(Rung::Signal(Signal::TERM)), "\n{report}");
    }
}

fn a_host_whose_own_group_has_no_number_here_ends_what_it_adopted() {
    let host = role("entered_host");
    let entered = std::process::Command::new("unshare")
        .args(["--pid", "--mount-proc", "--fork"])
        .arg(host.get_program())
        .args(host.get_args())
        .status()
        .expect("unshare is in util-linux");
    assert!(entered.success(), "{entered}");
}

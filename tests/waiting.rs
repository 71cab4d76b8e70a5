//! Waiting for exits: from everywhere at once, against whoever else takes the status away.

mod support;

use std::io::Write as _;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use procession::{
    ErrorKind, EventMask, How, ProcessState, Registry, Signal, Status, StatusSource, StopPolicy,
    Strength, SurvivalCause,
};
use rustix::process::WaitOptions;

use support::{
    Interrupting, LONG_ENOUGH, Pinned, Rounds, Works, asleep, builder, clean, close, controlled,
    drain, eventually, exits_of, host, ignore_children, ignore_signal, is_our_child, member, ms,
    now, registry, role, start, survivor, switches, test, thread_named,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(every_waiter_gets_the_same_exit),
            test!(an_exit_can_be_waited_for_after_it_has_been),
            test!(a_wait_that_times_out_says_nothing),
            test!(waiters_and_the_death_race_without_a_loser),
            test!(sleepers_that_come_and_go_lose_no_exit),
            test!(waiting_leaves_stdin_open),
            test!(an_exit_receiver_is_filled_once_and_at_once_if_it_has_exited),
            test!(codes_and_signals_are_told_apart),
            test!(an_exit_says_when_and_at_what_cost),
            test!(a_status_that_someone_else_took_is_told_once),
            test!(a_status_that_someone_else_took_is_told_once).on_an_older_kernel(),
            test!(children_that_are_waited_for_by_someone_else_are_each_told_once),
            test!(exits_are_told_while_sigchld_is_ignored),
            test!(exits_are_told_while_sigchld_is_ignored).on_an_older_kernel(),
            test!(exits_are_told_under_sa_nocldwait),
            test!(exits_are_told_when_sigchld_is_ignored_after_the_start),
            test!(exits_are_told_when_sigchld_is_ignored_after_the_start).on_an_older_kernel(),
            test!(a_zombie_that_a_tracer_holds_hangs_nobody_and_names_the_tracer),
            test!(a_zombie_that_a_tracer_holds_hangs_nobody_and_names_the_tracer)
                .on_an_older_kernel(),
            test!(a_zombie_that_a_tracer_holds_costs_no_processor_time),
            test!(waiters_for_a_survivor_are_told_of_the_shutdown),
            test!(a_wait_goes_on_after_a_signal_handler_has_run),
            test!(a_process_is_found_by_its_id_while_it_lives),
            test!(a_signal_to_what_has_exited_is_refused),
        ],
        &[],
    )
}

fn exits(registry: &Registry, code: i32) -> procession::Process {
    registry
        .spawn(1, role("exits").arg(code.to_string()))
        .expect("a role can be started")
}

fn every_waiter_gets_the_same_exit() {
    let registry = registry();
    let (child, control, _lines) = controlled(&registry, 1, role("until-eof").arg("5"));
    let barrier = Barrier::new(17);
    let wait = |n: usize| {
        barrier.wait();
        match n % 4 {
            0 => child.wait(),
            1 => child
                .wait_timeout(Duration::MAX)
                .map(|exit| exit.expect("no end of time")),
            2 => child
                .wait_deadline(now() + LONG_ENOUGH)
                .map(|exit| exit.expect("in time")),
            _ => Ok(child
                .exit_receiver()
                .recv_timeout(LONG_ENOUGH)
                .expect("in time")),
        }
    };
    let all: Vec<_> = thread::scope(|scope| {
        let wait = &wait;
        let waiters: Vec<_> = (0..16)
            .map(|n| scope.spawn(move || wait(n).works()))
            .collect();
        barrier.wait();
        drop(control);
        waiters
            .into_iter()
            .map(|waiter| waiter.join().expect("no waiter panicked"))
            .collect()
    });
    assert_eq!(all[0].code(), Some(5));
    assert!(all.iter().all(|exit| exit == &all[0]), "{all:?}");
    assert_eq!(child.wait().works(), all[0]);
}

fn an_exit_can_be_waited_for_after_it_has_been() {
    let registry = registry();
    let child = exits(&registry, 4);
    let first = child.wait().works();
    eventually("it is reaped", || !is_our_child(child.pid()));
    assert_eq!(child.wait().works(), first);
    assert_eq!(child.try_wait().works().as_ref(), Some(&first));
    assert_eq!(
        child.wait_timeout(Duration::ZERO).works().as_ref(),
        Some(&first)
    );
    assert_eq!(child.clone().wait_deadline(first.at()).works(), Some(first));
}

fn a_wait_that_times_out_says_nothing() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    assert_eq!(child.try_wait().works(), None);
    for time in [Duration::ZERO, Duration::from_nanos(1), ms(30)] {
        let began = now();
        assert_eq!(child.wait_timeout(time).works(), None);
        assert!(began.elapsed() >= time);
        // A deadline in the past is a look.
        assert_eq!(child.wait_deadline(began).works(), None);
    }
    close(&registry, 1);
}

/// The waiter peeks on its own, the reactor fills the cell and reaps: whoever is first, the waiter must not miss it.
fn waiters_and_the_death_race_without_a_loser() {
    let registry = registry();
    for round in Rounds::new() {
        let child = exits(&registry, 1);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| child.wait().works());
            if round % 2 == 0 {
                // What has exited already needs no kill: both answers are right here.
                let _ = child.kill();
            }
            let here = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
            assert_eq!(waiter.join().expect("the waiter did not panic"), here);
            assert!(
                here.code() == Some(1) || here.signal() == Some(Signal::KILL),
                "{here}"
            );
        });
    }
}

/// They fall asleep, wake up by their time-outs and by the exit, and are disturbed by requests: all of them hear the same, and
/// the reactor of it too, which takes the zombie away.
fn sleepers_that_come_and_go_lose_no_exit() {
    let registry = registry();
    for round in Rounds::new() {
        let child = exits(&registry, 3);
        let over = AtomicBool::new(false);
        let sleeps = |nanos: u64| {
            let patience = Duration::from_nanos(nanos);
            loop {
                if let Some(exit) = child.wait_timeout(patience).works() {
                    over.store(true, Ordering::SeqCst);
                    return exit;
                }
            }
        };
        thread::scope(|scope| {
            let short = scope.spawn(|| sleeps(20_000 + 1_000 * (round % 100)));
            let long = scope.spawn(|| sleeps(30_000_000));
            if round % 3 == 0 {
                while !over.load(Ordering::SeqCst) {
                    assert!(registry.processes().works().len() <= 1);
                }
            }
            let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
            assert_eq!(exit.code(), Some(3));
            for sleeper in [short, long] {
                let heard = sleeper.join().expect("the sleeper did not panic");
                assert_eq!(heard, exit);
            }
        });
        // No request is sent that would have the reactor look.
        eventually("it is taken away", || !is_our_child(child.pid()));
    }
}

fn waiting_leaves_stdin_open() {
    let registry = registry();
    let (child, _lines) = start(
        &registry,
        1,
        role("exits-after-a-line").arg("6").stdin(Stdio::piped()),
    );
    assert_eq!(child.wait_timeout(ms(50)).works(), None);
    let mut stdin = child.stdin().expect("its input is a pipe");
    stdin.write_all(b"go\n").expect("it is open");
    assert_eq!(child.wait().works().code(), Some(6));
}

fn an_exit_receiver_is_filled_once_and_at_once_if_it_has_exited() {
    let registry = registry();
    let (child, control, _lines) = controlled(&registry, 1, role("until-eof").arg("8"));
    let early = child.exit_receiver();
    assert!(early.try_recv().is_err());
    drop(control);
    let exit = early.recv_timeout(LONG_ENOUGH).expect("it exits");
    assert_eq!(exit.code(), Some(8));
    assert!(early.recv_timeout(ms(20)).is_err(), "told twice");
    assert_eq!(
        child.exit_receiver().try_recv().expect("it has exited"),
        exit
    );
}

fn codes_and_signals_are_told_apart() {
    let registry = registry();
    for code in [0, 1, 127, 137, 255] {
        let exit = exits(&registry, code).wait().works();
        assert_eq!(
            (exit.code(), exit.signal(), exit.success()),
            (Some(code), None, code == 0)
        );
        assert_eq!(
            (exit.status(), exit.source()),
            (Status::Code(code), StatusSource::Waited)
        );
        assert_eq!(
            ExitStatus::try_from(exit.status())
                .expect("it is known")
                .code(),
            Some(code)
        );
    }
    for signal in [Signal::KILL, Signal::TERM, Signal::HUP, Signal::USR1] {
        let (child, _lines) = start(&registry, 1, &mut role("obedient"));
        child.signal(signal).expect("it lives");
        let exit = child.wait().works();
        assert_eq!(
            (exit.code(), exit.signal(), exit.success()),
            (None, Some(signal), false)
        );
        assert_eq!(exit.asked().map(|(asked, _)| asked), Some(signal));
    }
}

fn an_exit_says_when_and_at_what_cost() {
    let registry = registry();
    let (before, wall_before) = (now(), SystemTime::UNIX_EPOCH);
    let (child, control, _lines) = controlled(&registry, 1, role("until-eof").arg("0"));
    drop(control);
    let exit = child.wait().works();
    assert!(exit.at() >= before && exit.at() <= now());
    assert!(exit.wall_clock() > wall_before);
    let lifetime = exit.lifetime().expect("we saw it begin");
    assert!(lifetime <= before.elapsed(), "{lifetime:?}");
    let usage = exit.usage().expect("we waited for it ourselves");
    assert!(
        usage.user + usage.system < LONG_ENOUGH
            && usage.max_rss_bytes.is_some_and(|bytes| bytes > 0),
        "{usage:?}"
    );
}

fn a_status_that_someone_else_took_is_told_once() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    for round in Rounds::new() {
        let child = exits(&registry, 11);
        // It races the reactor for the status of any child, as a careless host or its signal handler does.
        while let Ok(Some(_)) | Err(rustix::io::Errno::INTR) =
            rustix::process::wait(WaitOptions::empty())
        {}
        let exit = child
            .wait_timeout(LONG_ENOUGH)
            .works()
            .expect("it has exited");
        assert!(
            exit.code() == Some(11) || exit.status() == Status::Unknown,
            "round {round}: {exit}"
        );
        let told = events
            .receiver()
            .recv_timeout(LONG_ENOUGH)
            .expect("its exit is told");
        assert_eq!(exits_of(&[told], &child), [exit]);
    }
    close(&registry, 1);
    assert!(drain(&events).is_empty(), "told twice");
}

fn children_that_are_waited_for_by_someone_else_are_each_told_once() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Without a child there is nothing to wait for: look again.
                let _ = rustix::process::wait(WaitOptions::empty());
                thread::yield_now();
            }
        });
        let children: Vec<_> = (0..50).map(|_| exits(&registry, 3)).collect();
        for child in &children {
            let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
            assert!(
                exit.code() == Some(3) || exit.status() == Status::Unknown,
                "{exit}"
            );
        }
        close(&registry, 1);
        over.store(true, Ordering::Relaxed);
        let told = drain(&events);
        assert!(
            children
                .iter()
                .all(|child| exits_of(&told, child).len() == 1),
            "{told:?}"
        );
    });
}

/// Spawns, waits and ends where the kernel reaps for us: each exit is told once, and no status is invented.
fn live_without_zombies(registry: &Registry) {
    let events = registry.subscribe_to(EventMask::EXITED);
    for code in [0, 1, 2].repeat(10) {
        let child = exits(registry, code);
        let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
        match exit.source() {
            StatusSource::Unavailable => assert_eq!(exit.status(), Status::Unknown),
            StatusSource::Waited | StatusSource::PidfdInfo | _ => {
                assert_eq!(exit.code(), Some(code), "{exit:?}")
            }
        }
        let told = events
            .receiver()
            .recv_timeout(LONG_ENOUGH)
            .expect("its exit is told");
        assert_eq!(exits_of(&[told], &child), [exit]);
    }
    let (child, _lines) = start(registry, 2, &mut role("ignores-term"));
    let policy = StopPolicy::new().signal(Signal::TERM, ms(50)).kill();
    let report = clean(registry.end_session_with(2, &policy).works());
    assert_ne!(member(&report, &child).how(), How::AlreadyGone);
    let exit = child.wait().works();
    assert!(
        exit.signal() == Some(Signal::KILL) || exit.status() == Status::Unknown,
        "{exit}"
    );
    assert_eq!(exits_of(&drain(&events), &child).len(), 1);
}

fn exits_are_told_while_sigchld_is_ignored() {
    ignore_signal(libc::SIGCHLD);
    live_without_zombies(&registry());
}

fn exits_are_told_under_sa_nocldwait() {
    ignore_children();
    live_without_zombies(&registry());
}

fn exits_are_told_when_sigchld_is_ignored_after_the_start() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    ignore_signal(libc::SIGCHLD);
    child.kill().expect("it lives");
    let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
    assert!(
        exit.signal() == Some(Signal::KILL) || exit.status() == Status::Unknown,
        "{exit}"
    );
    live_without_zombies(&registry);
}

/// A child that is dead and whose tracer does not wait for it: its pidfd says so, and waitid finds nothing.
fn a_zombie_that_a_tracer_holds_hangs_nobody_and_names_the_tracer() {
    let registry = registry();
    let events = registry.subscribe();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "as-a-zombie".to_owned()]));
    let policy = StopPolicy::new()
        .signal(Signal::TERM, ms(50))
        .kill()
        .confirm_within(ms(200));
    let report = registry
        .end_session_with(1, &policy)
        .expect("a survivor is no error");
    assert_eq!(survivor(&report), SurvivalCause::Traced { by: tracer.id() });
    assert!(
        matches!(report.strength(), Strength::Unconfirmed { .. }),
        "\n{report}"
    );
    assert_eq!(child.wait_timeout(ms(50)).works(), None);
    let tracked = registry.processes().works();
    assert!(
        matches!(
            tracked[0].state,
            ProcessState::Survived(SurvivalCause::Traced { .. })
        ),
        "{tracked:?}"
    );
    let before = drain(&events);
    assert!(exits_of(&before, &child).is_empty(), "{before:?}");
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    let exit = child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("nobody holds it any more");
    assert!(
        matches!(exit.signal(), Some(Signal::TERM | Signal::KILL)),
        "{exit}"
    );
    close(&registry, 1);
    assert_eq!(exits_of(&drain(&events), &child), [exit]);
}

fn a_zombie_that_a_tracer_holds_costs_no_processor_time() {
    let registry = builder()
        .thread_name("under-test")
        .build()
        .expect("a registry");
    let reactor = thread_named("under-test");
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "as-a-zombie".to_owned()]));
    thread::scope(|scope| {
        let (waiter, waiter_thread) = asleep(scope, || child.wait().works());
        pinned.kill();
        pinned.assert_dies();
        let before = [reactor, waiter_thread].map(switches);
        support::let_pass(ms(1_000));
        let after = [reactor, waiter_thread].map(switches);
        // Looking again now and then is all there is to do: a spin would be tens of thousands.
        for (before, after) in before.into_iter().zip(after) {
            assert!(
                after - before < 300,
                "{} wake-ups within a second",
                after - before
            );
        }
        drop(control);
        assert!(tracer.wait().expect("our child").success());
        assert_eq!(
            waiter.join().expect("the waiter did not panic").signal(),
            Some(Signal::KILL)
        );
    });
}

fn waiters_for_a_survivor_are_told_of_the_shutdown() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || child.wait());
        let policy = StopPolicy::immediate().confirm_within(ms(200));
        let reports = registry
            .shutdown_with(&policy)
            .expect("a survivor is no error");
        assert_eq!(reports.len(), 1);
        assert_eq!(
            survivor(&reports[0]),
            SurvivalCause::Traced { by: tracer.id() }
        );
        let error = waiter
            .join()
            .expect("the waiter did not panic")
            .expect_err("nobody is left to track it");
        assert_eq!(error.kind(), ErrorKind::ShutDown);
    });
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    pinned.assert_dies();
    // Whoever shuts down with survivors has its zombie to bury: nobody else may.
    let _ = rustix::process::wait(WaitOptions::empty());
}

fn a_wait_goes_on_after_a_signal_handler_has_run() {
    let registry = registry();
    let (child, control, _lines) = controlled(&registry, 1, role("until-eof").arg("4"));
    let interrupting = Interrupting::by(libc::SIGUSR1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (waiter, _) = asleep(scope, || child.wait());
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::USR1)
                    .expect("ourselves");
                support::let_pass(ms(1));
            }
        });
        let began = now();
        assert_eq!(child.wait_timeout(ms(200)).works(), None);
        assert!(began.elapsed() >= ms(200), "{:?}", began.elapsed());
        drop(control);
        assert_eq!(
            child
                .wait_timeout(LONG_ENOUGH)
                .works()
                .and_then(|exit| exit.code()),
            Some(4)
        );
        assert_eq!(
            waiter
                .join()
                .expect("the waiter did not panic")
                .works()
                .code(),
            Some(4)
        );
        over.store(true, Ordering::Relaxed);
    });
    drop(interrupting);
}

fn a_process_is_found_by_its_id_while_it_lives() {
    let registry = registry();
    let (child, control, _lines) = controlled(&registry, 3, role("until-eof").arg("0"));
    let found = registry.process(child.id()).works().expect("it lives");
    assert_eq!(found, child);
    assert_eq!(
        (found.pid(), found.session(), found.origin()),
        (child.pid(), child.session(), child.origin())
    );
    let all = registry.session_processes(3).works();
    assert_eq!(
        (all.len(), all[0].id, all[0].state),
        (1, child.id(), ProcessState::Running)
    );
    assert!(
        all[0]
            .command_line
            .iter()
            .any(|word| word == "role:until-eof"),
        "{all:?}"
    );
    let sessions = registry.sessions().works();
    assert_eq!(
        (
            sessions.len(),
            sessions[0].id.as_u64(),
            sessions[0].processes
        ),
        (1, 3, 1)
    );
    assert!(sessions[0].ending.is_none());
    drop(control);
    child.wait().works();
    eventually("it is forgotten", || {
        registry.process(child.id()).works().is_none()
    });
}

fn a_signal_to_what_has_exited_is_refused() {
    let registry = registry();
    let child = exits(&registry, 0);
    child.wait().works();
    assert_eq!(
        child
            .signal(Signal::TERM)
            .expect_err("it has exited")
            .kind(),
        ErrorKind::AlreadyExited
    );
    assert_eq!(
        child.kill().expect_err("it has exited").kind(),
        ErrorKind::AlreadyExited
    );
}

//! Native launches that hang, are stopped, are overtaken by an end, or are many: none is left behind.

mod support;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession::{Command, ErrorKind, Signal, Stdio, StopPolicy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::adversary::{assert_abandoned, daemon};
use support::tree::native;
use support::{
    Forked, LONG_ENOUGH, Pinned, Rounds, Scratch, Works, children, clean, close, close_with,
    closes_ranges, descriptors, end_lease, eventually, ignore_signal, lease, let_pass, pipe,
    registry, role_of, run_in_fork, state, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_launch_that_hangs_before_exec_is_ended_with_its_session)
                .needs_launches_by_clone(),
            test!(a_launch_that_hangs_is_ended_by_a_shutdown_and_keeps_no_other_from_its_thread)
                .needs_launches_by_clone(),
            test!(a_child_that_is_stopped_before_exec_is_ended_with_its_session)
                .needs_launches_by_clone(),
            test!(a_child_that_is_stopped_before_exec_goes_on).needs_launches_by_clone(),
            test!(launches_that_race_an_end_are_refused_or_ended_with_the_rest),
            test!(what_a_launch_that_an_end_overtakes_has_started_is_ended),
            test!(sixty_four_threads_launch_while_others_fork_and_change_the_environment),
            test!(ten_thousand_descriptors_and_a_deaf_host_change_nothing),
        ],
        &[role_of!(daemon)],
    )
}

fn program() -> Command {
    let mut command = Command::new("/usr/bin/true");
    command.stdin(Stdio::null());
    command
}

// ---- a launch that hangs

/// A program whose exec hangs, as it does on a file server that is gone: somebody has a lease on the file, which is
/// broken after 45 seconds at the latest.
struct Hanging {
    lease: File,
    program: Scratch,
}

impl Hanging {
    fn new() -> Self {
        let text = fs::read("/usr/bin/true").expect("it can be read");
        let program = Scratch::new("hanging", &text, 0o755);
        let file = File::open(program.path()).expect("it is there");
        lease(&file);
        Self {
            lease: file,
            program,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program.path());
        command.stdin(Stdio::piped());
        command
    }
}

/// The child that hangs: on its way into the program, in an open.
#[track_caller]
fn hanging_child() -> Pinned {
    let mut found = None;
    eventually("a child hangs in exec", || {
        found = children().into_iter().find(|&pid| {
            let wchan = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            state(pid) == Some('S') && wchan.contains("lease")
        });
        found.is_some()
    });
    Pinned::open(found.expect("it has been found")).expect("it lives")
}

fn a_launch_that_hangs_before_exec_is_ended_with_its_session() {
    let registry = registry();
    let hanging = Hanging::new();
    for death_signal in [false, true] {
        let mut command = hanging.command();
        if death_signal {
            command.parent_death_signal(Signal::TERM).new_session(true);
        }
        let before = descriptors();
        thread::scope(|scope| {
            let launcher = scope.spawn(|| registry.spawn(1, &mut command));
            let child = hanging_child();
            let started = support::now();
            // However patient: what is not a program yet has nothing to put in order.
            let patient = StopPolicy::wait_then_kill(LONG_ENOUGH * 100);
            let report = clean(registry.end_session_with(1, &patient).works());
            assert!(started.elapsed() < LONG_ENOUGH);
            // Nobody knows how far it has come: it is told as one that was killed.
            assert_eq!(report.members().len(), 1, "\n{report}");
            let error = launcher
                .join()
                .expect("no panic")
                .expect_err("it was ended");
            assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}");
            assert!(child.is_dead());
        });
        assert!(children().is_empty(), "a zombie is left");
        assert_eq!(descriptors(), before);
    }
}

fn a_launch_that_hangs_is_ended_by_a_shutdown_and_keeps_no_other_from_its_thread() {
    let registry = registry();
    let hanging = Hanging::new();
    thread::scope(|scope| {
        let launch = || {
            let mut command = hanging.command();
            registry.spawn(1, command.parent_death_signal(Signal::KILL))
        };
        let launchers = [scope.spawn(launch), scope.spawn(launch)];
        eventually("both hang", || children().len() == 2);
        drop(hanging_child());
        let other = registry.spawn(2, program().parent_death_signal(Signal::KILL));
        assert!(other.works().wait().works().success());
        for report in registry.shutdown().works() {
            drop(clean(report));
        }
        for launcher in launchers {
            let error = launcher
                .join()
                .expect("no panic")
                .expect_err("it was ended");
            assert!(
                matches!(error.kind(), ErrorKind::SessionEnding | ErrorKind::ShutDown),
                "{error}"
            );
        }
    });
    assert!(children().is_empty(), "a zombie is left");
}

/// The signals that a terminal stops with find a child between clone and exec, where its mask is empty already.
fn a_child_that_is_stopped_before_exec_is_ended_with_its_session() {
    let registry = registry();
    let hanging = Hanging::new();
    let mut command = hanging.command();
    thread::scope(|scope| {
        let launcher = scope.spawn(|| registry.spawn(1, &mut command));
        let child = hanging_child();
        child.send(rustix::process::Signal::TSTP).expect("it lives");
        eventually("it is stopped", || state(child.pid()) == Some('T'));
        close(&registry, 1);
        let error = launcher
            .join()
            .expect("no panic")
            .expect_err("it was ended");
        assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}");
        assert!(child.is_dead());
    });
    assert!(children().is_empty(), "a zombie is left");
}

fn a_child_that_is_stopped_before_exec_goes_on() {
    let registry = registry();
    let hanging = Hanging::new();
    let mut command = hanging.command();
    thread::scope(|scope| {
        let launcher = scope.spawn(|| registry.spawn(1, &mut command));
        let child = hanging_child();
        child.send(rustix::process::Signal::TSTP).expect("it lives");
        eventually("it is stopped", || state(child.pid()) == Some('T'));
        end_lease(&hanging.lease);
        child.send(rustix::process::Signal::CONT).expect("it lives");
        let launched = launcher.join().expect("no panic").works();
        assert!(launched.wait().works().success());
    });
    close(&registry, 1);
}

// ---- races

/// Hunts for a launch that an end finds in the middle, and that lives on, or whose end ends somebody else.
fn launches_that_race_an_end_are_refused_or_ended_with_the_rest() {
    let registry = registry();
    let bystander = registry.spawn(2, Command::new("sleep").arg("1000")).works();
    let (mut refused, mut launched) = (0, 0);
    for round in Rounds::new() {
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            let (registry, barrier) = (&registry, &barrier);
            let launch = move |death_signal: bool| {
                let mut command = Command::new("/bin/sleep");
                command.arg("1000").new_session(true);
                if death_signal {
                    command.parent_death_signal(Signal::KILL);
                }
                barrier.wait();
                (0..3)
                    .map(|_| registry.spawn(1, &mut command))
                    .collect::<Vec<_>>()
            };
            let launchers = [false, true].map(|kind| scope.spawn(move || launch(kind)));
            barrier.wait();
            for _ in 0..round % 40 {
                thread::yield_now();
            }
            close_with(registry, 1, &StopPolicy::immediate());
            for spawned in launchers
                .into_iter()
                .flat_map(|one| one.join().expect("no panic"))
            {
                match spawned {
                    Ok(_) => launched += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::SessionEnding, "{error}");
                        refused += 1;
                    }
                }
            }
        });
        close_with(&registry, 1, &StopPolicy::immediate());
        assert_eq!(children().len(), 1, "a process is left: {:?}", children());
    }
    assert!(
        refused > 0 && launched > 0,
        "{refused} refused, {launched} launched"
    );
    assert!(
        bystander.try_wait().works().is_none(),
        "somebody else was ended"
    );
    close_with(&registry, 2, &StopPolicy::immediate());
}

/// An end can come when a launch has made its program and does not know of it yet. On a busy machine that is long enough
/// for the program to start a daemon.
fn what_a_launch_that_an_end_overtakes_has_started_is_ended() {
    const LAUNCHERS: usize = 6;
    let registry = registry();
    let rounds = thread::spawn(move || {
        for round in Rounds::new() {
            let (mut output, writer) = pipe();
            let barrier = Barrier::new(LAUNCHERS + 1);
            thread::scope(|scope| {
                for _ in 0..LAUNCHERS {
                    let own = writer.try_clone().expect("a descriptor");
                    let (registry, barrier) = (&registry, &barrier);
                    scope.spawn(move || {
                        let mut command = native("daemon");
                        command.arg("leaves").stdout(Stdio::from(own));
                        barrier.wait();
                        drop(registry.spawn(1, &mut command));
                    });
                }
                barrier.wait();
                let_pass(Duration::from_micros(round * 173 % 8_000));
                close_with(&registry, 1, &StopPolicy::immediate());
            });
            close_with(&registry, 1, &StopPolicy::immediate());
            drop(writer);
            assert_abandoned(&mut output);
        }
    });
    let is_over = || rounds.is_finished();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over() {
                    std::hint::spin_loop();
                }
            });
        }
    });
    rounds.join().expect("all were ended");
}

fn sixty_four_threads_launch_while_others_fork_and_change_the_environment() {
    let registry = registry();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (registry, over) = (&registry, &over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(run_in_fork(|| ()), Forked::Exited(0));
                    let mut command = std::process::Command::new("/usr/bin/true");
                    assert!(command.status().expect("it can be started").success());
                }
            });
        }
        scope.spawn(|| {
            let mut n = 0_usize;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                support::set_variable(&format!("T_{}", n % 50), &"x".repeat(n % 500));
                thread::yield_now();
            }
        });
        let launch = move |index: u64| {
            for round in 0..5 {
                let code = (index + round) % 100;
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exit {code}")]);
                if index % 3 == 0 {
                    command.parent_death_signal(Signal::KILL).new_session(true);
                }
                let child = registry.spawn(index % 7, &mut command).works();
                let exit = child.wait().works();
                assert_eq!(exit.code(), i32::try_from(code).ok(), "{exit}");
            }
        };
        let launchers: Vec<_> = (0..64)
            .map(|index| scope.spawn(move || launch(index)))
            .collect();
        let joined: Vec<_> = launchers.into_iter().map(|one| one.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(joined.iter().all(Result::is_ok));
    });
    for report in registry.shutdown().works() {
        drop(clean(report));
    }
}

fn ten_thousand_descriptors_and_a_deaf_host_change_nothing() {
    let registry = registry();
    let before = getrlimit(Resource::Nofile);
    let enough = before.maximum.unwrap_or(10_100).min(10_100);
    let raised = Rlimit {
        current: Some(enough),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised");
    let null = File::open("/dev/null").expect("there is one");
    let many: Vec<_> = (0..enough - 100)
        .map(|_| null.as_fd().try_clone_to_owned().expect("below the limit"))
        .collect();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGUSR1] {
        ignore_signal(signal);
        support::block_signal(signal);
    }
    let (reader, writer) = pipe();
    let mut sleeper = Command::new("/bin/sh");
    sleeper
        .args(["-c", "echo ready; exec sleep 1000"])
        .stdout(writer)
        .close_other_descriptors(closes_ranges());
    let child = registry.spawn(1, &mut sleeper).works();
    support::Lines::new(reader).expect("ready");
    // It hears what the host does not.
    child.signal(Signal::TERM).works();
    assert_eq!(child.wait().works().signal(), Some(Signal::TERM));
    assert_eq!(state(std::process::id()), Some('R'));
    drop(many);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGUSR1] {
        support::unblock_signal(signal);
    }
    close(&registry, 1);
}

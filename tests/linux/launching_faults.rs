//! Native launches that fail: each says at which step, and leaves nothing.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use libc::{c_int, c_long};
use procession::{
    Command, Containment, ErrorKind, Process, Registry, Resource, Signal, Status, StatusSource,
    Stdio,
};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::support::{
    builder, Forked, LONG_ENOUGH, Refusal, Scratch, Works, children, clean, close, closes_ranges, descriptors, drain,
    eventually, ignore_children, ignore_signal, refuse, registry, run_in_fork, test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(a_step_that_fails_is_named_and_nothing_is_left),
            test!(what_the_kernel_does_not_let_this_user_do_is_named).needs_root(),
            test!(what_cannot_be_is_refused_before_anything_is_started),
            test!(arguments_of_any_kind_and_length_arrive_or_are_an_error),
            test!(no_descriptor_at_any_step_leaves_nothing),
            test!(no_fork_and_no_memory_leave_nothing),
            test!(a_step_that_is_refused_by_a_sandbox_is_named),
            test!(every_call_of_a_launch_that_is_refused_leaves_nothing),
            test!(a_child_is_held_from_its_birth).on_an_older_kernel(),
            test!(a_child_is_held_from_its_birth),
        ],
        &[],
    )
}

fn program() -> Command {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null());
    command
}

/// Launches something that fails, and looks that nothing is left of it.
#[track_caller]
fn failure(registry: &Registry, command: &mut Command) -> procession::Error {
    // Whoever waited for an earlier child may have heard of its exit before the reactor has let go of it.
    eventually("no earlier child is held", || {
        !descriptors().iter().any(|open| open.contains("pidfd"))
    });
    let before = descriptors();
    let error = registry
        .spawn(1, with_pipes(command))
        .expect_err("it cannot be");
    assert!(children().is_empty(), "a zombie is left: {error}");
    assert_eq!(descriptors(), before, "{error}");
    assert_eq!(error.program(), Some(command.get_program()), "{error}");
    assert!(registry.processes().works().is_empty());
    error
}

#[track_caller]
fn fails_at(registry: &Registry, command: &mut Command, step: &str, errno: c_int) {
    let error = failure(registry, command);
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (ErrorKind::SpawnFailed, Some(errno)),
        "{error}"
    );
    assert!(error.to_string().contains(&format!(": {step}")), "{error}");
}

fn a_step_that_fails_is_named_and_nothing_is_left() {
    let registry = registry();
    let events = registry.subscribe();
    let script = Scratch::new("script", b"echo no interpreter is named\n", 0o755);
    let denied = Scratch::new("denied", b"#!/bin/sh\n", 0o644);
    let lost = Scratch::new("lost", b"#!/no/such/interpreter\n", 0o755);
    for death_signal in [false, true] {
        let command = |path: &Path| {
            let mut command = Command::new(path);
            if death_signal {
                command.parent_death_signal(Signal::KILL);
            }
            command
        };
        let exec = [
            (Path::new("/no/such/program"), libc::ENOENT),
            (Path::new("no-such-program-in-the-path"), libc::ENOENT),
            (Path::new("/tmp"), libc::EACCES),
            (Path::new("/bin/true/under-a-file"), libc::ENOTDIR),
            (denied.path(), libc::EACCES),
            (script.path(), libc::ENOEXEC),
            (lost.path(), libc::ENOENT),
        ];
        for (path, errno) in exec {
            fails_at(&registry, &mut command(path), "exec", errno);
        }
        let gone = std::env::temp_dir().join(format!("procession-{}-gone", std::process::id()));
        let mut chdir = command(Path::new("/bin/true"));
        fails_at(&registry, chdir.current_dir(&gone), "chdir", libc::ENOENT);
        let mut join = command(Path::new("/bin/true"));
        join.process_group(1).containment(Containment::Leader);
        fails_at(&registry, &mut join, "setpgid", libc::EPERM);
        let mut few = command(Path::new("/bin/true"));
        few.descriptor(File::open("/dev/null").expect("there is one"), 50);
        few.rlimit(Resource::Descriptors, Some(50), Some(50));
        fails_at(&registry, &mut few, "dup", libc::EBADF);
    }
    drop(clean(registry.end_session(1).works()));
    assert!(drain(&events).iter().all(|event| event.process().is_none()));
}

/// A user that nothing else on the machine runs as.
const NOBODY_AT_ALL: u32 = 61_236;

fn what_the_kernel_does_not_let_this_user_do_is_named() {
    let registry = registry();
    let (user, group) = (
        rustix::process::Uid::from_raw(NOBODY_AT_ALL),
        rustix::process::Gid::from_raw(NOBODY_AT_ALL),
    );
    rustix::thread::set_thread_groups(&[]).expect("root may have none");
    set_thread_res_gid(group, group, group).expect("root may change its group");
    set_thread_res_uid(user, user, user).expect("root may change its user");
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .expect("we may");
    fails_at(&registry, program().uid(0), "setuid", libc::EPERM);
    fails_at(&registry, program().gid(0), "setgid", libc::EPERM);
    fails_at(&registry, program().groups([0]), "setgroups", libc::EPERM);
    fails_at(&registry, program().nice(-20), "setpriority", libc::EACCES);
    let more = program().rlimit(Resource::CoreSize, None, None).take();
    let hard = getrlimit(Limited::Core).maximum;
    if hard.is_some() {
        fails_at(&registry, &mut { more }, "setrlimit", libc::EPERM);
    }
    // What it is already, it may become.
    let same = registry.spawn(1, program().uid(NOBODY_AT_ALL).gid(NOBODY_AT_ALL));
    assert!(same.works().wait().works().success());
    close(&registry, 1);
}

trait Take {
    fn take(&mut self) -> Command;
}

impl Take for Command {
    fn take(&mut self) -> Command {
        std::mem::replace(self, Self::new("taken"))
    }
}

fn what_cannot_be_is_refused_before_anything_is_started() {
    let registry = registry();
    let refused = |command: &mut Command| {
        let error = failure(&registry, command);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(error.raw_os_error(), None, "{error}");
    };
    // Nothing is started where it is refused: not even this would hold it up.
    refuse(&[Refusal::always(libc::SYS_clone, libc::EUCLEAN)], false);
    refused(&mut Command::new(""));
    refused(&mut Command::new("a\0b"));
    refused(program().arg("a\0b"));
    refused(program().arg0("a\0b"));
    refused(program().env("A", "a\0b"));
    refused(program().env("A\0", "b"));
    refused(program().env("", "b"));
    refused(program().env("A=B", "c"));
    refused(program().current_dir("/a\0b"));
    let error = failure(&registry, &mut program());
    assert_eq!(error.raw_os_error(), Some(libc::EUCLEAN));
    close(&registry, 1);
}

fn arguments_of_any_kind_and_length_arrive_or_are_an_error() {
    let registry = registry();
    let strange = ["", " ", "\n", "-", "ä€", "'\"", ""];
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "test \"$#\" = 7 && test -z \"$1$7\" && test \"$5\" = ä€",
        "sh",
    ]);
    let child = registry.spawn(1, command.args(strange)).works();
    assert!(child.wait().works().success());
    // More than one argument may have, and more than all together.
    let long = "x".repeat(2 << 20);
    fails_at(&registry, program().arg(&long), "exec", libc::E2BIG);
    let many = std::iter::repeat_n("x".repeat(100_000), 100);
    fails_at(&registry, program().args(many), "exec", libc::E2BIG);
    let nearly = std::iter::repeat_n("x".repeat(100_000), 15);
    let child = registry.spawn(1, program().args(nearly)).works();
    assert!(child.wait().works().success());
    close(&registry, 1);
}

// ---- what is refused at the worst moment

fn with_pipes(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

#[track_caller]
fn looked_after(
    registry: &Registry,
    launched: procession::Result<Process>,
    before: &[String],
) -> Option<procession::Error> {
    let error = match launched {
        Ok(child) => {
            // By itself; what it inherits of a filter may well keep it from doing that in peace.
            let exited = child.wait_timeout(LONG_ENOUGH).works();
            assert!(exited.is_some(), "it hangs");
            None
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::SpawnFailed, "{error}");
            assert!(error.raw_os_error().is_some(), "{error}");
            Some(error)
        }
    };
    close(registry, 1);
    eventually("no process is left", || children().is_empty());
    eventually("no descriptor is left", || descriptors() == before);
    error
}

fn no_descriptor_at_any_step_leaves_nothing() {
    let registry = registry();
    let launch = |command: &mut Command| {
        let launch = || registry.spawn(1, with_pipes(command));
        thread::scope(|scope| scope.spawn(launch).join().expect("no panic"))
    };
    // The launch thread first: it keeps what it has for itself.
    let mut with_thread = program();
    with_thread.parent_death_signal(Signal::KILL);
    let before = descriptors();
    let launched = launch(&mut with_thread);
    assert!(looked_after(&registry, launched, &before).is_none());
    let (mut failed, mut worked) = (0, 0);
    for free in 0..12 {
        let lowest = File::open("/dev/null").expect("there is one").as_raw_fd();
        let before = getrlimit(Limited::Nofile);
        let current = Some(u64::try_from(lowest).expect("it is positive") + free);
        for command in [&mut program(), &mut with_thread] {
            let few = Rlimit {
                current,
                maximum: before.maximum,
            };
            // Of the child's own there are enough.
            command.rlimit(Resource::Descriptors, Some(100), Some(100));
            setrlimit(Limited::Nofile, few).expect("it is lower");
            let error = launch(command);
            setrlimit(Limited::Nofile, before).expect("it is what it was");
            match error {
                Ok(child) => {
                    worked += 1;
                    assert!(child.wait().works().success());
                }
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    assert!(children().is_empty(), "there was a child: {error}");
                }
            }
            close(&registry, 1);
        }
    }
    assert!(failed >= 12 && worked > 0, "{failed} {worked}");
}

/// Launches on a thread for which this system call fails.
fn without(registry: &Registry, call: c_long, errno: c_int) -> Option<procession::Error> {
    let closes_others = closes_ranges();
    let launch = || {
        refuse(&[Refusal::always(call, errno)], false);
        let mut command = program();
        command
            .new_session(true)
            .current_dir("/")
            .nice(1)
            .rlimit(Resource::CoreSize, Some(0), Some(0))
            .close_other_descriptors(closes_others);
        registry.spawn(1, with_pipes(&mut command))
    };
    let before = descriptors();
    let launched = thread::scope(|scope| scope.spawn(launch).join().expect("it did not panic"));
    looked_after(registry, launched, &before)
}

fn no_fork_and_no_memory_leave_nothing() {
    let registry = registry();
    for (call, errno, step) in [
        (libc::SYS_clone, libc::EAGAIN, "clone"),
        (libc::SYS_clone, libc::ENOMEM, "clone"),
        (libc::SYS_clone, libc::EPERM, "clone"),
        (libc::SYS_pipe2, libc::ENFILE, "the standard streams"),
    ] {
        let error = without(&registry, call, errno).expect("it is refused");
        assert_eq!(error.raw_os_error(), Some(errno), "{error}");
        assert!(error.to_string().ends_with(step), "{error}");
    }
    for (call, errno) in [
        (libc::SYS_epoll_ctl, libc::ENOMEM),
        (libc::SYS_epoll_ctl, libc::ENOSPC),
        (libc::SYS_mprotect, libc::ENOMEM),
        (libc::SYS_fstat, libc::EACCES),
        (libc::SYS_pidfd_open, libc::EMFILE),
    ] {
        drop(without(&registry, call, errno));
    }
    assert!(without(&registry, libc::SYS_acct, libc::EPERM).is_none());
}

fn a_step_that_is_refused_by_a_sandbox_is_named() {
    let registry = registry();
    for (call, step) in [
        (libc::SYS_rt_sigaction, "sigaction"),
        (libc::SYS_setsid, "setsid"),
        (libc::SYS_prlimit64, "setrlimit"),
        (libc::SYS_setpriority, "setpriority"),
        (libc::SYS_chdir, "chdir"),
        (libc::SYS_dup3, "dup"),
        (libc::SYS_close_range, "close_range"),
        (libc::SYS_execve, "exec"),
    ] {
        if call == libc::SYS_close_range && !closes_ranges() {
            // It is not asked for where there is none.
            continue;
        }
        let error = without(&registry, call, libc::ENOSYS).expect("it is refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSYS), "{error}");
        assert!(error.to_string().contains(&format!(": {step}")), "{error}");
    }
}

/// Every call between the request and the program, by whichever errno. The launch thread inherits the filter.
fn every_call_of_a_launch_that_is_refused_leaves_nothing() {
    let calls = [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_pipe2,
        libc::SYS_openat,
        libc::SYS_mprotect,
        libc::SYS_munmap,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_setsid,
        libc::SYS_prlimit64,
        libc::SYS_setpriority,
        libc::SYS_umask,
        libc::SYS_setgroups,
        libc::SYS_chdir,
        libc::SYS_prctl,
        libc::SYS_getppid,
        libc::SYS_fcntl,
        libc::SYS_dup3,
        libc::SYS_close_range,
        libc::SYS_execve,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_epoll_ctl,
    ];
    let (mut failed, mut worked) = (0, 0);
    for call in calls {
        for errno in [libc::EMFILE, libc::EAGAIN, libc::ENOMEM] {
            let registry = registry();
            let launch = || {
                let mut command = program();
                command
                    .new_session(true)
                    .current_dir("/")
                    .nice(1)
                    .umask(0)
                    .rlimit(Resource::CoreSize, Some(0), Some(0))
                    .close_other_descriptors(closes_ranges())
                    .parent_death_signal(Signal::KILL);
                if rustix::process::geteuid().is_root() {
                    command.groups([]);
                }
                refuse(&[Refusal::always(call, errno)], false);
                registry.spawn(1, with_pipes(&mut command))
            };
            let before = descriptors();
            let launched = thread::scope(|scope| scope.spawn(launch).join());
            let launched = launched.unwrap_or_else(|_| panic!("call {call}, errno {errno}"));
            match looked_after(&registry, launched, &before) {
                Some(_) => failed += 1,
                None => worked += 1,
            }
        }
    }
    assert!(
        failed > 40 && worked > 5,
        "{failed} failed, {worked} worked"
    );
}

// ---- held from birth

/// With SIGCHLD ignored a child's number is free as soon as it has exited, before std's spawn has returned: what is found
/// under it then is nobody, or somebody else.
fn a_child_is_held_from_its_birth() {
    let tells = builder().build()
        .works()
        .capabilities()
        .to_string();
    for way in [|| ignore_signal(libc::SIGCHLD), ignore_children as fn()] {
        let launched = run_in_fork(|| {
            way();
            let registry = registry();
            for code in 0..50 {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &format!("exit {code}")]);
                let child = registry.spawn(1, &mut command).works();
                let exit = child.wait_timeout(LONG_ENOUGH).works().expect("it exits");
                if exit.source() == StatusSource::PidfdInfo {
                    assert_eq!(exit.status(), Status::Code(code));
                } else {
                    assert_eq!(exit.source(), StatusSource::Unavailable, "{tells}");
                    assert_eq!(exit.status(), Status::Unknown);
                }
            }
            // Failures have nothing to be waited for.
            let error = registry.spawn(1, &mut Command::new("/no/such/program"));
            assert_eq!(
                error.expect_err("there is none").raw_os_error(),
                Some(libc::ENOENT)
            );
            close(&registry, 1);
        });
        assert_eq!(launched, Forked::Exited(0));
    }
}

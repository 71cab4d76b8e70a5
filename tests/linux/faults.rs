//! What is refused by the kernel at the worst moment: descriptors, forks, epoll, the reactor's own poll.

use std::fs::File;
use std::io::Read as _;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use libc::{c_int, c_long};
use procession::{
    ErrorKind, EventKind, EventMask, How, Process, Registry, Rung, Signal, StopPolicy,
};
use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::support::adversary::{assert_abandoned, is_copy, linger};
use crate::support::{
    builder, LONG_ENOUGH, Lines, Pinned, Refusal, Works, children, clean, close, close_inherited, descriptors, drain, eventually,
    exits_of, inherit_everything, is_our_child, member, ms, pipe, refuse, registry, role, role_of, say, start, test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(a_spawn_that_runs_out_of_descriptors_at_any_step_leaves_nothing),
            test!(a_registry_that_cannot_have_its_descriptors_is_an_error),
            test!(sessions_are_ended_without_a_free_descriptor),
            test!(sessions_are_ended_while_nothing_can_be_forked).needs_root(),
            test!(a_spawn_that_cannot_fork_leaves_nothing),
            test!(a_spawn_that_cannot_be_watched_leaves_nothing),
            test!(what_a_program_has_started_whose_spawn_fails_is_ended_with_its_session),
            test!(a_kernel_without_pidfds_is_declared),
            test!(a_kernel_that_forbids_pidfds_is_declared),
            test!(when_the_reactor_breaks_every_caller_is_told),
            test!(a_registry_whose_reactor_broke_ends_its_children_when_dropped),
            test!(a_spawn_after_the_reactor_broke_starts_nothing),
        ],
        &[role_of!(outruns_its_spawn)],
    )
}

/// Lowers the number of descriptors that may be open, and raises it again when dropped.
struct FewDescriptors(Rlimit);

impl FewDescriptors {
    /// Numbers from this one on are not to be had.
    fn below(most: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                maximum: before.maximum,
            },
        )
        .expect("it is lower");
        Self(before)
    }
}

impl Drop for FewDescriptors {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("it is what it was");
    }
}

/// Takes every descriptor that is to be had.
fn take_all_descriptors() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

/// A spawn that may fail: whichever it was, nothing of it is left, and no event is wrong.
#[track_caller]
fn spawn_or_nothing(
    registry: &Registry,
    spawn: impl FnOnce() -> procession::Result<Process>,
) -> bool {
    let events = registry.subscribe();
    let before = descriptors();
    let spawned = spawn();
    let failed = spawned.is_err();
    match spawned {
        Ok(child) => {
            child
                .wait_timeout(LONG_ENOUGH)
                .works()
                .expect("it exits by itself");
            close(registry, 1);
            let told = drain(&events);
            assert!(
                matches!(
                    told.first().map(procession::Event::kind),
                    Some(EventKind::Started)
                ),
                "{told:?}"
            );
            assert_eq!(exits_of(&told, &child).len(), 1, "{told:?}");
        }
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::SpawnFailed | ErrorKind::System),
                "{error}"
            );
            assert!(error.raw_os_error().is_some(), "{error}");
            assert!(registry.processes().works().is_empty(), "{error}");
            close(registry, 1);
            let told = drain(&events);
            let started = told
                .iter()
                .any(|event| matches!(event.kind(), EventKind::Started));
            assert!(
                !started,
                "told of a spawn that failed with {error}: {told:?}"
            );
        }
    }
    eventually("no process is left", || children().is_empty());
    eventually("no descriptor is left", || descriptors() == before);
    failed
}

fn a_spawn_that_runs_out_of_descriptors_at_any_step_leaves_nothing() {
    let registry = registry();
    let executable = std::env::current_exe().expect("an executable has a path");
    let (mut failed, mut succeeded) = (0, 0);
    // From none to more than enough: the standard streams, std's own, the pidfd, the watch on it.
    for free in 0..24 {
        let failed_now = spawn_or_nothing(&registry, || {
            let lowest = File::open("/dev/null").expect("there is one");
            let lowest = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&lowest))
                .expect("descriptors are positive");
            let mut command = std::process::Command::new(&executable);
            command.args(["role:exits", "0"]);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let _few = FewDescriptors::below(lowest + free);
            registry.spawn(1, &mut command)
        });
        if failed_now {
            failed += 1
        } else {
            succeeded += 1
        }
    }
    assert!(
        failed > 0 && succeeded > 0,
        "{failed} failed, {succeeded} succeeded"
    );
}

fn a_registry_that_cannot_have_its_descriptors_is_an_error() {
    let before = descriptors();
    let mut failed = 0;
    for free in 0..16 {
        let few = FewDescriptors::below(before.len() as u64 + free);
        let built = builder().build();
        drop(few);
        match built {
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::System | ErrorKind::Unsupported),
                    "{error}"
                );
                failed += 1;
            }
            Ok(registry) => drop(registry),
        }
        eventually("no descriptor is left", || {
            descriptors().len() == before.len()
        });
        eventually("no thread is left", || crate::support::threads().len() == 1);
    }
    assert!(failed > 0);
}

fn sessions_are_ended_without_a_free_descriptor() {
    let registry = registry();
    let events = registry.subscribe();
    let (stubborn, _stubborn_lines) =
        start(&registry, 1, role("ignores-term").stdin(Stdio::piped()));
    let (obedient, _obedient_lines) = start(&registry, 1, &mut role("obedient"));
    let (leaver, _leaver_lines) = start(
        &registry,
        2,
        role("until-eof").arg("1").stdin(Stdio::piped()),
    );
    let few = FewDescriptors::below(200);
    let taken = take_all_descriptors();
    assert!(!taken.is_empty());
    let policy = StopPolicy::new().signal(Signal::TERM, ms(100)).kill();
    let first = clean(registry.end_session_with(1, &policy).works());
    let second = clean(
        registry
            .end_session_with(2, &StopPolicy::stdio_server())
            .works(),
    );
    assert_eq!(leaver.wait().expect("it is known").code(), Some(1));
    drop((taken, few));
    assert_eq!(member(&first, &stubborn).how(), How::At(Rung::Kill));
    assert_eq!(
        member(&first, &obedient).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
    assert_eq!(member(&second, &leaver).how(), How::At(Rung::CloseStdin));
    for child in [&stubborn, &obedient, &leaver] {
        assert!(!is_our_child(child.pid()), "not reaped");
    }
    let told = drain(&events);
    assert!(
        [&stubborn, &obedient, &leaver]
            .iter()
            .all(|child| exits_of(&told, child).len() == 1),
        "{told:?}"
    );
}

/// A user that nothing else on the machine runs as.
const NOBODY_AT_ALL: u32 = 61_235;

fn sessions_are_ended_while_nothing_can_be_forked() {
    // The super-user is not held to the limit: this process becomes somebody else, for good.
    let (user, group) = (
        rustix::process::Uid::from_raw(NOBODY_AT_ALL),
        rustix::process::Gid::from_raw(NOBODY_AT_ALL),
    );
    set_thread_res_gid(group, group, group).expect("root may change its group");
    set_thread_res_uid(user, user, user).expect("root may change its user");
    // Or nobody could look into /proc/self any more.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .expect("we may");
    let registry = registry();
    let (stubborn, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let events = registry.subscribe_to(EventMask::EXITED);
    let before = getrlimit(Resource::Nproc);
    setrlimit(
        Resource::Nproc,
        Rlimit {
            current: Some(0),
            maximum: before.maximum,
        },
    )
    .expect("it is lower");
    let error = registry
        .spawn(1, role("exits").arg("0"))
        .expect_err("nothing can be forked");
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (ErrorKind::SpawnFailed, Some(libc::EAGAIN)),
        "{error}"
    );
    // No helper thread can be started either.
    let policy = StopPolicy::new().signal(Signal::TERM, ms(100)).kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    assert_eq!(member(&report, &stubborn).how(), How::At(Rung::Kill));
    assert_eq!(exits_of(&drain(&events), &stubborn).len(), 1);
    assert!(!is_our_child(stubborn.pid()), "not reaped");
    drop(registry);
    setrlimit(Resource::Nproc, before).expect("it is what it was");
}

/// Spawns on a thread for which this system call fails.
fn spawn_without(registry: &Registry, call: c_long, errno: c_int) -> bool {
    let spawn = || {
        refuse(&[Refusal::always(call, errno)], false);
        let mut command = role("exits");
        command.arg("0").stdin(Stdio::piped()).stdout(Stdio::null());
        registry.spawn(1, &mut command)
    };
    spawn_or_nothing(registry, || {
        thread::scope(|scope| scope.spawn(spawn).join().expect("it did not panic"))
    })
}

fn a_spawn_that_cannot_fork_leaves_nothing() {
    let registry = registry();
    let mut failed = 0;
    for call in [libc::SYS_clone, libc::SYS_clone3] {
        for errno in [libc::EAGAIN, libc::ENOMEM] {
            failed += u32::from(spawn_without(&registry, call, errno));
        }
    }
    assert!(failed > 0, "std forks by none of these calls");
    assert!(!spawn_or_nothing(&registry, || registry.spawn(1, role("exits").arg("0"))));
}

fn a_spawn_that_cannot_be_watched_leaves_nothing() {
    let registry = registry();
    let refusals = [
        (libc::SYS_pidfd_open, libc::EMFILE),
        (libc::SYS_pidfd_open, libc::EPERM),
        (libc::SYS_pidfd_open, libc::ENOMEM),
        (libc::SYS_epoll_ctl, libc::ENOMEM),
        (libc::SYS_epoll_ctl, libc::ENOSPC),
        (libc::SYS_eventfd2, libc::EMFILE),
        (libc::SYS_fstat, libc::EACCES),
        (libc::SYS_fcntl, libc::EINVAL),
        (libc::SYS_pipe2, libc::ENFILE),
    ];
    let failed = refusals.map(|(call, errno)| spawn_without(&registry, call, errno));
    assert!(failed.contains(&true), "nothing was refused");
    assert!(!spawn_or_nothing(&registry, || registry.spawn(1, role("exits").arg("0"))));
}

/// Has a child that leaves its group, and takes the descriptors of its parent away, before that one's spawn returns.
fn outruns_its_spawn() {
    let (mut reader, writer) = pipe();
    if is_copy() {
        rustix::process::setsid().expect("it leads no group");
        say(std::process::id());
        close_inherited();
        linger();
    }
    drop(writer);
    // Its end is all that comes.
    let mut nothing = Vec::new();
    reader.read_to_end(&mut nothing).expect("a pipe");
    let parent = rustix::process::getppid().expect("it lives");
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    rustix::process::prlimit(Some(parent), Resource::Nofile, none).expect("it is of the same user");
    close_inherited();
    linger();
}

/// Without a pidfd what std has started is killed, and what it had started by then was in nobody's hand: the torture found
/// it.
fn what_a_program_has_started_whose_spawn_fails_is_ended_with_its_session() {
    let registry = registry();
    let (mut output, writer) = pipe();
    let mut command = role("outruns_its_spawn");
    command.stdout(writer);
    inherit_everything(&mut command);
    let before = getrlimit(Resource::Nofile);
    let spawned = registry.spawn(1, &mut command);
    setrlimit(Resource::Nofile, before).expect("it is what it was");
    drop(command);
    let error = spawned.expect_err("there is no descriptor");
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (ErrorKind::SpawnFailed, Some(libc::EMFILE)),
        "{error}"
    );
    let copy = output.try_clone().expect("a descriptor");
    let left = Pinned::open(Lines::new(copy).number()).expect("it lives");
    assert!(!left.is_dead() && registry.processes().works().is_empty());
    let report = clean(registry.end_session(1).works());
    assert!(report.covers_descendants(), "\n{report}");
    assert_eq!(report.leftovers().count(), 1, "\n{report}");
    assert_abandoned(&mut output);
}

fn new_without_pidfds(errno: c_int) {
    // On a thread of its own: the rest of the test has its pidfds.
    let new = move || {
        refuse(&[Refusal::always(libc::SYS_pidfd_open, errno)], false);
        builder().build().map(drop)
    };
    let error = thread::spawn(new)
        .join()
        .expect("it did not panic")
        .expect_err("there are no pidfds");
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (ErrorKind::Unsupported, Some(errno)),
        "{error}"
    );
    assert!(
        error.to_string().contains("pidfd_open"),
        "does not say what is missing: {error}"
    );
}

fn a_kernel_without_pidfds_is_declared() {
    new_without_pidfds(libc::ENOSYS);
}

fn a_kernel_that_forbids_pidfds_is_declared() {
    new_without_pidfds(libc::EPERM);
}

/// Makes the reactor's poll fail for good, as nothing short of a bug or a hostile sandbox does.
fn break_the_reactor(registry: &Registry) {
    let refusals = [
        #[cfg(target_arch = "x86_64")]
        Refusal::always(libc::SYS_epoll_wait, libc::EINVAL),
        Refusal::always(libc::SYS_epoll_pwait, libc::EINVAL),
    ];
    refuse(&refusals, true);
    // It sleeps inside the call: whatever wakes it breaks it.
    eventually("the reactor is gone", || registry.processes().is_err());
}

/// Ends and reaps a child that the library cannot look after any more.
fn bury(child: &Pinned) {
    child.kill();
    child.assert_dies();
    while let Ok(Some(_)) | Err(rustix::io::Errno::INTR) =
        rustix::process::wait(WaitOptions::empty())
    {}
}

fn when_the_reactor_breaks_every_caller_is_told() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let events = registry.subscribe();
    let ending = registry
        .begin_end_session(1, &StopPolicy::wait_then_kill(LONG_ENOUGH * 100))
        .works();
    let began = AtomicU32::new(0);
    let gone = |result: Option<procession::Error>| {
        assert_eq!(result.expect("it is broken").kind(), ErrorKind::ReactorGone);
    };
    let begin = || began.fetch_add(1, Ordering::Relaxed);
    thread::scope(|scope| {
        let (gone, begin) = (&gone, &begin);
        let (child, ending, registry) = (&child, &ending, &registry);
        scope.spawn(move || (begin(), gone(child.wait().err())));
        scope.spawn(move || (begin(), gone(child.wait_timeout(LONG_ENOUGH).err())));
        scope.spawn(move || {
            (
                begin(),
                gone(child.stop(&StopPolicy::wait_then_kill(LONG_ENOUGH)).err()),
            )
        });
        scope.spawn(move || (begin(), gone(ending.wait().err())));
        scope.spawn(move || {
            (
                begin(),
                gone(registry.end_session_with(1, &StopPolicy::graceful()).err()),
            )
        });
        eventually("all have begun", || began.load(Ordering::Relaxed) == 5);
        break_the_reactor(registry);
        gone(registry.sessions().err());
        gone(registry.end_session(2).err());
        gone(child.signal(Signal::TERM).err());
        gone(child.try_wait().err());
        gone(registry.shutdown().err());
    });
    // The channel ends; what was told before may still be in it.
    assert!(events.into_iter().count() < 10);
    bury(&pinned);
}

fn a_registry_whose_reactor_broke_ends_its_children_when_dropped() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let pinned = Pinned::open(child.pid()).expect("it lives");
    break_the_reactor(&registry);
    drop(registry);
    assert!(!is_our_child(pinned.pid()), "it outlived its registry");
}

fn a_spawn_after_the_reactor_broke_starts_nothing() {
    let registry = registry();
    break_the_reactor(&registry);
    let error = registry
        .spawn(1, &mut role("obedient"))
        .expect_err("nobody would look after it");
    assert_eq!(error.kind(), ErrorKind::ReactorGone);
    eventually("nothing was started", || children().is_empty());
    close_is_refused(&registry);
}

fn close_is_refused(registry: &Registry) {
    let refused = registry.end_session(1).expect_err("it is broken");
    assert_eq!(refused.kind(), ErrorKind::ReactorGone);
}

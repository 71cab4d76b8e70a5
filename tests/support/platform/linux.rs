//! What the tests need of Linux.

#![allow(
    unsafe_code,
    reason = "no safe crate has these calls, which exist to misbehave"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_long, c_void};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{
    CapabilitySet, capabilities, set_capabilities, set_thread_res_gid, set_thread_res_uid,
};

use super::world::state;
use crate::support::wait::{LONG_ENOUGH, now, poll_for};

/// A file that has no name.
pub(crate) fn anonymous_file() -> File {
    File::from(memfd_create("output of a test", MemfdFlags::CLOEXEC).expect("memfd_create"))
}

/// A pipe that nobody inherits.
pub(crate) fn new_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// The number of the calling thread.
pub(crate) fn own_thread() -> u32 {
    let thread = rustix::thread::gettid();
    thread.as_raw_nonzero().get().unsigned_abs()
}

/// Whether a thread of this process sleeps.
pub(crate) fn sleeps(thread: u32) -> bool {
    state(thread) == Some('S')
}

/// Becomes another user: the calling thread alone.
pub(crate) fn become_user(id: u32) {
    let (user, group) = (
        rustix::process::Uid::from_raw(id),
        rustix::process::Gid::from_raw(id),
    );
    set_thread_res_gid(group, group, group).expect("root may change its group");
    set_thread_res_uid(user, user, user).expect("root may change its user");
}

/// From here on this thread, and whatever it starts that does not gain it by an exec, may not signal other users.
pub(crate) fn give_up_the_right_to_kill() {
    let mut sets = capabilities(None).expect("capabilities can be read");
    sets.effective.remove(CapabilitySet::KILL);
    set_capabilities(None, sets).expect("capabilities can be given up");
}

/// Makes a pipe hold a page.
pub(crate) fn shrink_pipe(pipe: &File) {
    rustix::pipe::fcntl_setpipe_size(pipe, 4096).expect("a page");
}

/// There is a resource limit that holds a mark.
pub(crate) const HAS_LIMIT_MARKS: bool = true;
/// What a launch can be asked for is not only what `posix_spawn` can do.
pub(crate) const LAUNCHES_BY_CLONE: bool = true;

/// Orphans can come to this process.
pub(crate) fn needs_orphans() {}

/// Whether the kernel keeps whose orphan it is that comes to this process.
pub(crate) fn descent_is_kept() -> bool {
    false
}

/// What tells whether orphans come to this process.
pub(crate) fn taker_of_orphans() -> String {
    format!("{:?}", rustix::process::child_subreaper())
}

/// Has the orphans of all descendants come to this process.
pub(crate) fn take_in_orphans() {
    rustix::process::set_child_subreaper(Pid::from_raw(1)).expect("one may take in orphans");
}

/// Whether this process may be dumped and traced.
pub(crate) fn is_dumpable() -> bool {
    rustix::process::dumpable_behavior() == Ok(rustix::process::DumpableBehavior::Dumpable)
}

/// Ends the calling thread, and nothing else.
pub(crate) fn end_this_thread() {
    // SAFETY: it ends this thread alone, whose stack nobody else refers to.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// What is forked from here on is in a pid namespace of its own.
pub(crate) fn new_pid_namespace() {
    // SAFETY: the call takes flags and touches no memory.
    let result = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Lets nothing that this process has inherited, the standard streams aside, go on to what it starts.
pub(crate) fn keep_inherited_descriptors() {
    // SAFETY: the call marks descriptors, and closes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Whether `/proc` shows the processes of other users to this one (hidepid).
pub(crate) fn shows_others() -> bool {
    std::path::Path::new("/proc/1").exists()
}

/// Whether ranges of descriptors can be closed (5.9).
pub(crate) fn closes_ranges() -> bool {
    // SAFETY: the call closes nothing: no descriptor has such a number.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_uint::MAX,
            libc::c_uint::MAX,
            0,
        ) == 0
    }
}

/// Takes a lease on a file of our own that nobody has open: until it is given up, and for 45 seconds at most, whoever
/// opens it hangs. A child that hangs in it has inherited it: closing it here is not enough.
pub(crate) fn lease(file: &File) {
    /// `F_SETSIG`, which the libc crate lacks.
    const SET_SIGNAL: c_int = 10;
    // The holder is told by a signal, which is to be one that does nothing.
    control(file, SET_SIGNAL, libc::SIGURG);
    control(file, libc::F_SETLEASE, libc::F_WRLCK);
}

/// Gives it up.
pub(crate) fn end_lease(file: &File) {
    control(file, libc::F_SETLEASE, libc::F_UNLCK);
}

fn control(file: &File, call: c_int, argument: c_int) {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), call, argument) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Traces a process without ever waiting for it: what it dies of, its parent does not hear while we live. With
/// `before_exit` it does not even finish dying.
pub(crate) fn seize(pid: i32, before_exit: bool) {
    let options: c_long = if before_exit {
        c_long::from(libc::PTRACE_O_TRACEEXIT)
    } else {
        0
    };
    // SAFETY: PTRACE_SEIZE takes no address, and its options by value.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            pid,
            std::ptr::null_mut::<c_void>(),
            options,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Starts a child that shares our memory, as vfork does, and returns when it has let go of it: when its standard input
/// has ended. Until then the calling thread is in state D.
pub(crate) fn be_a_vfork_parent() {
    extern "C" fn until_end_of_input(_: *mut c_void) -> c_int {
        let mut byte = 0_u8;
        loop {
            // SAFETY: one byte is there to be written to.
            let read = unsafe { libc::read(0, (&raw mut byte).cast::<c_void>(), 1) };
            if read <= 0 {
                return 0;
            }
        }
    }
    const STACK: usize = 64 * 1024;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack outlives the child's use of our memory, since CLONE_VFORK holds us here until that is over; it
    // is aligned to 16 bytes, and the child's function needs a few hundred.
    let pid = unsafe { libc::clone(until_end_of_input, top, flags, std::ptr::null_mut()) };
    assert!(pid > 0, "{}", io::Error::last_os_error());
    // SAFETY: a null status pointer is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

/// Moves the machine's wall clock by so many seconds.
pub(crate) fn move_wall_clock(seconds: i64) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid for the call.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    assert_eq!(read, 0, "{}", io::Error::last_os_error());
    time.tv_sec += seconds;
    // SAFETY: the pointer is valid for the call.
    let set = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Sets the limit that can hold a mark: soft and hard.
pub(crate) fn set_locks(pid: i32, soft: u64, hard: u64) {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the limit is valid for reading, and the old one is not asked for.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            10,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// The limit that can hold a mark: soft and hard.
pub(crate) fn own_locks() -> (u64, u64) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Locks);
    (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    )
}

/// A process whose identity is held, so that it is this one that is looked at and ended, whatever became of its pid.
#[derive(Debug)]
pub(crate) struct Pinned {
    pid: u32,
    pidfd: OwnedFd,
}

impl Pinned {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            pid,
            pidfd: pidfd_open(raw, PidfdFlags::empty())?,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Dead, though maybe not reaped.
    pub(crate) fn is_dead(&self) -> bool {
        self.dies_within(Duration::ZERO)
    }

    pub(crate) fn dies_within(&self, limit: Duration) -> bool {
        let deadline = now() + limit;
        loop {
            let left = deadline.saturating_duration_since(now());
            let dead = poll_for(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], left)
                .expect("a pidfd can be polled");
            if dead || left.is_zero() {
                return dead;
            }
        }
    }

    #[track_caller]
    pub(crate) fn assert_dies(&self) {
        assert!(
            self.dies_within(LONG_ENOUGH),
            "process {} does not die",
            self.pid
        );
    }

    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Ends it, whether or not it is there any more.
    pub(crate) fn kill(&self) {
        match self.send(Signal::KILL) {
            Ok(()) => {}
            // It has been reaped: the only refusal that a process of this test's own user can bring about.
            Err(error) => assert_eq!(
                error.raw_os_error(),
                Some(rustix::io::Errno::SRCH.raw_os_error())
            ),
        }
    }
}

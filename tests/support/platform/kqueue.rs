//! What the tests need of macOS and FreeBSD, and what they do without there. Not run yet: see the README.

#![allow(unsafe_code, reason = "no safe crate has these calls")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libc::{c_int, c_long};
use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::SKIPPED;
use crate::support::scratch::Scratch;
use crate::support::wait::{LONG_ENOUGH, now, poll_for};

/// Ends the test that comes to need what is not here: it is skipped, and this is said of it.
pub(crate) fn not_here(what: &str) -> ! {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "skipped: {what} cannot be had here");
    std::process::exit(SKIPPED.into())
}

/// A file that has no name any more.
pub(crate) fn anonymous_file() -> File {
    let scratch = Scratch::unique("output");
    File::options()
        .read(true)
        .write(true)
        .open(scratch.path())
        .expect("it is ours")
}

/// A pipe that nobody inherits.
pub(crate) fn new_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe()?;
    fcntl_setfd(&reader, FdFlags::CLOEXEC)?;
    fcntl_setfd(&writer, FdFlags::CLOEXEC)?;
    Ok((reader, writer))
}

/// Lets nothing that this process has inherited, the standard streams aside, go on to what it starts.
pub(crate) fn keep_inherited_descriptors() {
    for number in 3..1024 {
        // EBADF: there is none of this number.
        // SAFETY: the call marks a descriptor, and closes none.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// The number of the calling thread: not told.
pub(crate) fn own_thread() -> u32 {
    0
}

/// Whether a thread of this process sleeps is not told. Whoever asks looks several times, and time goes by.
pub(crate) fn sleeps(_thread: u32) -> bool {
    true
}

/// Becomes another user.
pub(crate) fn become_user(id: u32) {
    // SAFETY: the call takes a number.
    let group = unsafe { libc::setgid(id) };
    // SAFETY: as above.
    let user = unsafe { libc::setuid(id) };
    assert_eq!((group, user), (0, 0), "{}", io::Error::last_os_error());
}

pub(crate) fn give_up_the_right_to_kill() {
    not_here("capabilities")
}

pub(crate) fn shrink_pipe(_pipe: &File) {
    not_here("a pipe of a chosen size")
}

/// There is no resource limit to hold a mark.
pub(crate) const HAS_LIMIT_MARKS: bool = false;
/// It is `posix_spawn` that launches.
pub(crate) const LAUNCHES_BY_CLONE: bool = false;

/// Orphans can come to this process on FreeBSD. On macOS they are launchd's.
pub(crate) fn needs_orphans() {
    #[cfg(target_os = "macos")]
    not_here("the orphans of descendants")
}

/// Whether the kernel keeps whose orphan it is that comes to this process.
pub(crate) fn descent_is_kept() -> bool {
    true
}

/// What tells whether orphans come to this process.
#[cfg(target_os = "macos")]
pub(crate) fn taker_of_orphans() -> String {
    String::new()
}

/// What tells whether orphans come to this process.
#[cfg(target_os = "freebsd")]
pub(crate) fn taker_of_orphans() -> String {
    let status = rustix::process::get_reaper_status(None);
    format!("{:?}", status.map(|status| (status.flags, status.reaper)))
}

/// Has the orphans of all descendants come to this process.
pub(crate) fn take_in_orphans() {
    needs_orphans();
    #[cfg(target_os = "freebsd")]
    rustix::process::set_reaper_status(true).expect("one may take in orphans");
}

pub(crate) fn is_dumpable() -> bool {
    true
}

pub(crate) fn end_this_thread() {
    not_here("the end of a process's first thread alone")
}

pub(crate) fn new_pid_namespace() {
    not_here("a pid namespace")
}

pub(crate) fn lease(_file: &File) {
    not_here("a lease on a file")
}

pub(crate) fn end_lease(_file: &File) {
    not_here("a lease on a file")
}

pub(crate) fn seize(_pid: i32, _before_exit: bool) {
    not_here("PTRACE_SEIZE")
}

pub(crate) fn be_a_vfork_parent() {
    not_here("a thread that cannot be interrupted")
}

pub(crate) fn move_wall_clock(_seconds: i64) {
    not_here("another time")
}

pub(crate) fn set_locks(_pid: i32, _soft: u64, _hard: u64) {
    not_here("RLIMIT_LOCKS")
}

pub(crate) fn own_locks() -> (u64, u64) {
    not_here("RLIMIT_LOCKS")
}

/// One system call that fails, elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal;

impl Refusal {
    pub(crate) const fn always(_call: c_long, _errno: c_int) -> Self {
        Self
    }

    pub(crate) const fn of_groups(_errno: c_int) -> Self {
        Self
    }
}

pub(crate) fn refuse(_refusals: &[Refusal], _all_threads: bool) {
    not_here("a filter of system calls")
}

pub(crate) fn be_on(_system: &str) {
    not_here("an older Linux")
}

pub(crate) fn closes_ranges() -> bool {
    true
}

pub(crate) fn shows_others() -> bool {
    true
}

pub(crate) fn have_no_proc() {
    not_here("a /proc to be without")
}

pub(crate) fn masked_on(_system: &str) -> &'static [&'static str] {
    &[]
}

/// A process whose end is announced to this kqueue.
#[derive(Debug)]
pub(crate) struct Pinned {
    pid: u32,
    number: Pid,
    queue: OwnedFd,
    /// It was a zombie already: nothing will be announced.
    dead: bool,
}

impl Pinned {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = raw.ok_or(io::ErrorKind::InvalidInput)?;
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let filter = EventFilter::Proc {
            pid: number,
            flags: ProcessEvents::EXIT,
        };
        let event = Event::new(filter, EventFlags::ADD, std::ptr::null_mut());
        let mut nothing: [Event; 0] = [];
        // SAFETY: the event names no descriptor.
        let dead = match unsafe { kevent(&queue, &[event], &mut nothing[..], None) } {
            Ok(_) => false,
            Err(Errno::SRCH) if test_kill_process(number) != Err(Errno::SRCH) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            pid,
            number,
            queue,
            dead,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Dead, though maybe not reaped.
    pub(crate) fn is_dead(&self) -> bool {
        self.dies_within(Duration::ZERO)
    }

    pub(crate) fn dies_within(&self, limit: Duration) -> bool {
        let deadline = now() + limit;
        loop {
            if self.dead {
                return true;
            }
            let left = deadline.saturating_duration_since(now());
            let dead = poll_for(&mut [PollFd::new(&self.queue, PollFlags::IN)], left)
                .expect("a kqueue can be polled");
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
        if self.is_dead() {
            return Err(Errno::SRCH.into());
        }
        Ok(kill_process(self.number, signal)?)
    }

    /// Ends it, whether or not it is there any more.
    pub(crate) fn kill(&self) {
        match self.send(Signal::KILL) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::SRCH.raw_os_error())),
        }
    }
}

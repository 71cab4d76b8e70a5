//! Facts about this process and its children, and settings of its threads and descriptors.

#![expect(
    unsafe_code,
    reason = "rustix has no call for a thread's signal mask, nor groups of other namespaces"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::sys::vocabulary::ChildState;

/// Signals that a thread raises by what it does itself. Blocked, they would end the host without its handler being asked;
/// a stack overflow would lose its message.
const SYNCHRONOUS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Whether there was no descriptor, or no memory, for a file.
pub(crate) fn is_starved(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// The number of this process. Asked each time: it is another one in a child that was forked without exec.
pub(crate) fn current_pid() -> u32 {
    std::process::id()
}

/// The process group of this process; 0 if its leader is outside of our pid namespace, as in a container that was
/// entered by a command. Asked each time: a shell, or the host, may change it at any moment.
pub(crate) fn own_group() -> u32 {
    // By libc, as below: rustix takes every group for one that has a number here.
    // SAFETY: the call takes no argument and touches no memory.
    unsafe { libc::getpgrp() }.unsigned_abs()
}

/// The user whose rights this process has.
pub(crate) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user that a child starts as if nothing else is said, and its groups; 0 as well for whoever can become the super-user
/// again.
pub(crate) fn own_rights() -> (u32, Vec<u32>) {
    use rustix::process::{getegid, geteuid, getgroups, getuid};
    let user = if getuid().is_root() {
        0
    } else {
        geteuid().as_raw()
    };
    let mut groups: Vec<u32> = getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect();
    groups.push(getegid().as_raw());
    (user, groups)
}

/// How many descriptors this process may have: the soft limit.
pub(crate) fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let soft = limit.current.and_then(|soft| usize::try_from(soft).ok());
    soft.unwrap_or(usize::MAX)
}

/// Whether a process leads the group of its own number. Ask only about a pinned one.
///
/// # Errors
///
/// `ESRCH` if it was reaped.
pub(crate) fn leads_group(pid: u32) -> io::Result<bool> {
    let pid = to_pid(pid)?.as_raw_pid();
    // SAFETY: the call takes a number and touches no memory.
    let group = unsafe { libc::getpgid(pid) };
    if group < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(group == pid)
}

/// Looks at a child by its number, without reaping it and without blocking.
///
/// While the answer is `Alive` or `Waitable`, and nobody else in the host reaps it, the number stays the child's.
///
/// # Errors
///
/// None is known for a number that a process can have.
pub(crate) fn peek_child(pid: u32) -> io::Result<ChildState> {
    let Ok(pid) = to_pid(pid) else {
        return Ok(ChildState::NotOurChild);
    };
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), peek) {
            Ok(None) => return Ok(ChildState::Alive),
            Ok(Some(_)) => return Ok(ChildState::Waitable),
            Err(Errno::CHILD) => return Ok(ChildState::NotOurChild),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes writes and reads through this descriptor return at once, or block again.
///
/// The setting belongs to the open file, not to the descriptor: whoever holds a duplicate has it too. The other end of a
/// pipe is another open file.
///
/// # Errors
///
/// `EBADF`, and `ENOTTY` for what is not a file at all.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, on)?)
}

/// Keeps the host's signal handlers off the calling thread, for good: for threads of this crate alone.
///
/// A child that is started from such a thread inherits the mask, so none is.
pub(crate) fn block_all_signals() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for writing a `sigset_t`, which the call initialises.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    for signal in SYNCHRONOUS {
        // SAFETY: the set was initialised above, and the signal is a standard one.
        unsafe { libc::sigdelset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: the set is initialised, and the old mask is not asked for. With a valid `how` the call cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
}

/// The number in the kernel's type; `ESRCH` for a number that no process can have.
pub(in crate::sys) fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Errno::SRCH.into())
}

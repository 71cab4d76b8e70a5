//! Finds out what this kernel offers, by trying each thing on ourselves.
//!
//! A version number would lie in both directions: distributions port features back, and filters take them away.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstatfs;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::thread::gettid;

use super::facilities::Facilities;
use super::wait::{Collected, peek};
use super::{info, signal};
use crate::sys::unix::{block_all_signals, current_pid, timespec, to_pid};
use crate::sys::vocabulary::{Mask, Unavailable};

/// The file system type of pidfs, `PID_FS_MAGIC`.
const PIDFS_MAGIC: u64 = 0x5049_4446;

/// `PIDFD_THREAD` (6.9): a pidfd for one thread.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.unsigned_abs());

/// How long the probe's own thread may take to disappear after it ended. Microseconds are usual; a tracer of this
/// process can hold it.
const THREAD_IS_GONE: Duration = Duration::from_secs(1);

/// Tries everything once. What `mask` names is treated as missing.
///
/// # Errors
///
/// [`Unavailable`] names the first call of the floor that does not work.
pub(crate) fn probe(mask: Mask) -> Result<Facilities, Unavailable> {
    if mask.pidfd {
        return Err(refused("pidfd_open", Errno::NOSYS));
    }
    let own = floor()?;
    let pidfd_info = !mask.pidfd_info && info::is_supported(own.as_fd());
    Ok(Facilities {
        group_signal: !mask.group_signal && signal::reaches_groups(own.as_fd()),
        pidfs: !mask.pidfs && is_pidfs(own.as_fd()),
        pidfd_info,
        exit_info: pidfd_info && !mask.exit_info && tells_exits(own.as_fd(), mask),
    })
}

/// The calls without which nothing works, and our own pidfd that they were tried on.
fn floor() -> Result<OwnedFd, Unavailable> {
    let pid = to_pid(current_pid()).map_err(|_no_pid| refused("getpid", Errno::SRCH))?;
    let own = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| refused("pidfd_open", errno))?;

    // Nobody is their own child: ECHILD is the answer of a kernel that knows P_PIDFD, EINVAL of one that does not.
    match peek(own.as_fd()) {
        Ok(Collected::NotOurs) => {}
        Ok(Collected::Nothing | Collected::Exit { .. }) => {
            return Err(refused("waitid", Errno::INVAL));
        }
        Err(error) => return Err(refused_with("waitid", &error)),
    }
    signal::accepts_signals(own.as_fd())
        .map_err(|error| refused_with("pidfd_send_signal", &error))?;
    Ok(own)
}

/// Whether inodes of pidfds are unique. Before pidfs they share one inode; on 32 bits an inode is too small for the id.
fn is_pidfs(pidfd: BorrowedFd<'_>) -> bool {
    size_of::<usize>() >= 8
        && fstatfs(pidfd).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|t| t == PIDFS_MAGIC))
}

/// Whether the status of what was reaped can be had.
///
/// The kernel lists what it supports since 6.19. Before that something has to end for us to ask about. It is a thread of
/// our own: a child would raise SIGCHLD in the host and could be reaped by it. A thread that cannot be pinned (before
/// 6.9) says no, which is right: the one is older than the other.
fn tells_exits(own: BorrowedFd<'_>, mask: Mask) -> bool {
    let listed = if mask.info_list {
        None
    } else {
        info::supported(own)
    };
    if let Some(supported) = listed {
        return supported & info::EXIT != 0;
    }
    let Ok(probe) = thread::Builder::new()
        .name("procession-probe".into())
        .spawn(pin_this_thread)
    else {
        return false;
    };
    let Ok(Ok(thread)) = probe.join() else {
        return false;
    };
    // The join returns a moment before the kernel has let go of the thread.
    let mut fds = [PollFd::new(&thread, PollFlags::empty())];
    let _gone_or_late = poll(&mut fds, Some(&timespec(THREAD_IS_GONE)));
    info::exit_status(thread.as_fd()).is_some()
}

/// A pidfd of the calling thread, which receives no signal while it lives.
fn pin_this_thread() -> io::Result<OwnedFd> {
    block_all_signals();
    Ok(pidfd_open(gettid(), PIDFD_THREAD)?)
}

fn refused(call: &'static str, errno: Errno) -> Unavailable {
    Unavailable {
        call,
        errno: errno.raw_os_error(),
    }
}

fn refused_with(call: &'static str, error: &io::Error) -> Unavailable {
    refused(call, Errno::from_io_error(error).unwrap_or(Errno::INVAL))
}

//! A process whose identity is held by a pidfd.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::facilities::Facilities;
use super::info;
use super::wait::{Collected, collect};
use crate::sys::unix::{poll_now, sleep_until, to_pid};

/// What names a process: its number, and where the kernel has one, an id that is never given twice in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The number in our pid namespace.
    pub(crate) pid: u32,
    /// The inode of its pidfd; `None` before pidfs (6.9).
    pub(crate) inode: Option<u64>,
}

/// A process whose identity is held: signals and looks through it can never meet another process with the same number.
#[derive(Debug)]
pub(crate) struct Pin {
    pidfd: OwnedFd,
    // Not an `Identity`, which is half as large again: there is one of these for each process.
    pid: u32,
    inode: Option<NonZeroU64>,
}

impl Pin {
    /// Takes hold of whatever process has this number now.
    ///
    /// For a child that nobody has reaped that is the child, alive or a zombie. For any other number the holder has to
    /// read, *after* this call, whether it is the process that was meant.
    ///
    /// # Errors
    ///
    /// [`is_gone`] errors if there is no such process. `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn open(pid: u32, facilities: &Facilities) -> io::Result<Self> {
        let pidfd = pidfd_open(to_pid(pid)?, PidfdFlags::empty())?;
        let inode = if facilities.pidfs {
            Some(fstat(&pidfd)?.st_ino)
        } else {
            None
        };
        Ok(Self::of(pidfd, pid, inode))
    }

    /// Takes over the pidfd that was born with a child of ours.
    pub(super) fn born(pidfd: OwnedFd, pid: u32, facilities: &Facilities) -> Self {
        // No error is known for a pidfd. Without its inode it names the process no worse than on an older kernel.
        let inode = fstat(&pidfd)
            .ok()
            .filter(|_| facilities.pidfs)
            .map(|stat| stat.st_ino);
        Self::of(pidfd, pid, inode)
    }

    fn of(pidfd: OwnedFd, pid: u32, inode: Option<u64>) -> Self {
        // The kernel gives out no inode 0.
        let inode = inode.and_then(NonZeroU64::new);
        Self { pidfd, pid, inode }
    }

    /// The number, which stays the process's own until it is reaped.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What names the process.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            inode: self.inode.map(NonZeroU64::get),
        }
    }

    /// Takes our zombie away, if it is one: from here on its number may be anybody's. `false` if there was nothing to
    /// reap: it lives, a tracer holds it, or it is not ours (any more).
    ///
    /// # Errors
    ///
    /// None is known on a kernel that passed the probe.
    pub(crate) fn reap(&self) -> io::Result<bool> {
        match collect(self.fd())? {
            Collected::Exit { .. } => Ok(true),
            Collected::Nothing | Collected::NotOurs => Ok(false),
        }
    }

    /// Whether the process has ended, reaped or not. For a process that is not our child this is the proof of death;
    /// signal 0 would not be, a zombie accepts it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn is_dead(&self) -> io::Result<bool> {
        Ok(!self.poll()?.is_empty())
    }

    /// Its parent, 0 if that lies outside of our pid namespace, and the user that it runs as, without `/proc`. `None`
    /// before Linux 6.13, and once it was reaped.
    pub(crate) fn parent_and_user(&self) -> Option<(u32, u32)> {
        info::parent_and_user(self.fd()).ok()
    }

    /// The number that names its cgroup. `None` before Linux 6.13, and where there are no cgroups of version 2.
    pub(crate) fn cgroup(&self) -> Option<u64> {
        info::cgroup(self.fd())
    }

    /// `IN` once it has ended, `HUP` as well once it was reaped (by then the number may be anybody's).
    pub(super) fn poll(&self) -> io::Result<PollFlags> {
        poll_now(&mut [PollFd::new(&self.pidfd, PollFlags::IN)])
    }

    /// The pidfd, readable once the process has ended.
    pub(in crate::sys) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Whether this error of [`Pin::open`] says that there is no such process.
///
/// `ESRCH`: none at all; `EINVAL`, and since 6.15 `ENOENT`: the number is that of a thread, not of a process.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::SRCH | Errno::INVAL | Errno::NOENT)
    )
}

/// Sleeps until the process has ended or the deadline has passed, with no reactor to think of. `true`: it has ended.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn sleep_on_alone(pin: &Pin, deadline: Option<Instant>) -> io::Result<bool> {
    sleep_until(
        &mut [PollFd::from_borrowed_fd(pin.fd(), PollFlags::IN)],
        deadline,
    )
}

//! `ioctl(PIDFD_GET_INFO)`: what a pidfd tells about its process, also after that was reaped.

#![expect(unsafe_code, reason = "rustix has no call for this ioctl")]

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::exit::Status;
use crate::sys::unix::status_of_word;

/// `PIDFD_INFO_PID`: the numbers of the process and its parent. Always told of a process that was not reaped.
const PID: u64 = 1 << 0;
/// `PIDFD_INFO_CREDS`: its users and groups.
const CREDS: u64 = 1 << 1;
/// `PIDFD_INFO_CGROUPID`: its cgroup of version 2.
const CGROUP: u64 = 1 << 2;
/// `PIDFD_INFO_EXIT`: the wait status, once the process was reaped.
pub(super) const EXIT: u64 = 1 << 3;
/// `PIDFD_INFO_SUPPORTED_MASK` (6.19): what this kernel can tell.
const SUPPORTED_MASK: u64 = 1 << 5;

/// `struct pidfd_info`. The kernel copies as much as it knows and clears the rest, and says in `mask` what it filled in;
/// it takes every size from the first version's 64 bytes up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PidfdInfo {
    pub(super) mask: u64,
    pub(super) cgroup_id: u64,
    pub(super) pid: u32,
    pub(super) thread_group: u32,
    pub(super) parent: u32,
    /// Real user and group, then the effective ones, the saved ones, and those of the file system.
    pub(super) credentials: [u32; 8],
    pub(super) exit_code: i32,
    pub(super) coredump_mask: u32,
    pub(super) coredump_signal: u32,
    pub(super) supported_mask: u64,
}

/// What the kernel has told; what the mask does not name it has not.
impl PidfdInfo {
    fn tells(&self, bits: u64) -> bool {
        self.mask & bits == bits
    }

    fn supported(&self) -> Option<u64> {
        self.tells(SUPPORTED_MASK).then_some(self.supported_mask)
    }

    pub(super) fn exit_status(&self) -> Option<Status> {
        self.tells(EXIT).then(|| status_of_word(self.exit_code))
    }

    pub(super) fn parent(&self) -> Option<u32> {
        self.tells(PID).then_some(self.parent)
    }

    pub(super) fn parent_and_user(&self) -> Option<(u32, u32)> {
        let [_, _, effective, ..] = self.credentials;
        self.tells(PID | CREDS).then_some((self.parent, effective))
    }

    pub(super) fn real_user(&self) -> Option<u32> {
        let [real, ..] = self.credentials;
        self.tells(CREDS).then_some(real)
    }

    pub(super) fn cgroup(&self) -> Option<u64> {
        self.tells(CGROUP).then_some(self.cgroup_id)
    }
}

/// `PIDFS_IOCTL_MAGIC` 0xFF, number 11. The size in the number is how the kernel learns which version it talks to.
const GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);

/// Whether the kernel has this ioctl. `pidfd` is of a process that lives.
pub(super) fn is_supported(pidfd: BorrowedFd<'_>) -> bool {
    ask(pidfd, PID).is_ok()
}

/// What can be asked for, where the kernel lists it.
pub(super) fn supported(pidfd: BorrowedFd<'_>) -> Option<u64> {
    ask(pidfd, SUPPORTED_MASK).ok()?.supported()
}

/// How the process ended, if it was reaped.
///
/// An error is no answer: the process is out of reach for this call (`ESRCH` before 6.15, and from outside of its pid
/// namespace), and its status unknown.
pub(super) fn exit_status(pidfd: BorrowedFd<'_>) -> Option<Status> {
    ask(pidfd, EXIT).ok()?.exit_status()
}

/// The parent of a process that was not reaped; 0 if that lies outside of our pid namespace.
///
/// # Errors
///
/// `ESRCH` once it was reaped, `ENOTTY` where the kernel has no such call.
pub(super) fn parent(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    told(ask(pidfd, PID)?.parent())
}

/// The parent, 0 if that lies outside of our pid namespace, and the effective user of a process that was not reaped.
///
/// # Errors
///
/// Those of [`parent`].
pub(super) fn parent_and_user(pidfd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    told(ask(pidfd, PID | CREDS)?.parent_and_user())
}

/// The real user of a process that was not reaped.
///
/// # Errors
///
/// Those of [`parent`].
pub(super) fn real_user(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    told(ask(pidfd, CREDS)?.real_user())
}

/// The number that names the cgroup of version 2 of a process, if there is one.
pub(super) fn cgroup(pidfd: BorrowedFd<'_>) -> Option<u64> {
    ask(pidfd, CGROUP).ok()?.cgroup()
}

/// What is not told of a process: it was reaped.
fn told<T>(answer: Option<T>) -> io::Result<T> {
    answer.ok_or_else(|| Errno::SRCH.into())
}

fn ask(pidfd: BorrowedFd<'_>, mask: u64) -> io::Result<PidfdInfo> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    // SAFETY: the number carries the size of `PidfdInfo`, which the kernel reads and writes and no more; every bit
    // pattern is a valid `PidfdInfo`. On a descriptor of another kind the number is unknown (ENOTTY).
    let get = unsafe { Updater::<GET_INFO, PidfdInfo>::new(&mut info) };
    // SAFETY: as above: `get` describes this ioctl truly.
    unsafe { ioctl(pidfd, get) }?;
    Ok(info)
}

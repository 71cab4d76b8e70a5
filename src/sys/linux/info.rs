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
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    credentials: [u32; 8],
    exit_code: i32,
    coredump_mask: u32,
    coredump_signal: u32,
    supported_mask: u64,
}

/// `PIDFS_IOCTL_MAGIC` 0xFF, number 11. The size in the number is how the kernel learns which version it talks to.
const GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);

/// Whether the kernel has this ioctl. `pidfd` is of a process that lives.
pub(super) fn is_supported(pidfd: BorrowedFd<'_>) -> bool {
    ask(pidfd, PID).is_ok()
}

/// What can be asked for, where the kernel lists it.
pub(super) fn supported(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let info = ask(pidfd, SUPPORTED_MASK).ok()?;
    (info.mask & SUPPORTED_MASK != 0).then_some(info.supported_mask)
}

/// How the process ended, if it was reaped.
///
/// An error is no answer: the process is out of reach for this call (`ESRCH` before 6.15, and from outside of its pid
/// namespace), and its status unknown.
pub(super) fn exit_status(pidfd: BorrowedFd<'_>) -> Option<Status> {
    let info = ask(pidfd, EXIT).ok()?;
    (info.mask & EXIT != 0).then(|| status_of_word(info.exit_code))
}

/// The parent of a process that was not reaped; 0 if that lies outside of our pid namespace.
///
/// # Errors
///
/// `ESRCH` once it was reaped, `ENOTTY` where the kernel has no such call.
pub(super) fn parent(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    let info = ask(pidfd, PID)?;
    if info.mask & PID == 0 {
        return Err(Errno::SRCH.into());
    }
    Ok(info.parent)
}

/// The parent, 0 if that lies outside of our pid namespace, and the effective user of a process that was not reaped.
///
/// # Errors
///
/// Those of [`parent`].
pub(super) fn parent_and_user(pidfd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let info = ask(pidfd, PID | CREDS)?;
    if info.mask & (PID | CREDS) != PID | CREDS {
        return Err(Errno::SRCH.into());
    }
    // Real user and group, then the effective user.
    let [_, _, user, ..] = info.credentials;
    Ok((info.parent, user))
}

/// The real user of a process that was not reaped.
///
/// # Errors
///
/// Those of [`parent`].
pub(super) fn real_user(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    let info = ask(pidfd, CREDS)?;
    if info.mask & CREDS == 0 {
        return Err(Errno::SRCH.into());
    }
    let [user, ..] = info.credentials;
    Ok(user)
}

/// The number that names the cgroup of version 2 of a process, if there is one.
pub(super) fn cgroup(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let info = ask(pidfd, CGROUP).ok()?;
    (info.mask & CGROUP != 0).then_some(info.cgroup_id)
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

//! Who has a number.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

use super::process::{KernelInfo, boot_time, kernel_info};
use crate::sys::kqueue::{Presence, sysctl};
use crate::sys::unix::usage::in_ticks;

/// More often than any clock is set within a few microseconds.
const SETTINGS: usize = 16;

/// Who has this number.
pub(in crate::sys) fn presence(pid: Pid) -> Presence {
    let Ok((found, id)) = started_process(pid) else {
        return Presence::Nobody;
    };
    if is_dead(&found) {
        Presence::Dead(id)
    } else {
        Presence::Alive(id)
    }
}

/// A zombie, or what is on its way to be one.
pub(super) fn is_dead(found: &KernelInfo) -> bool {
    let exits = std::ffi::c_long::from(libc::P_WEXIT);
    found.ki_stat == libc::SZOMB || found.ki_flag & exits != 0
}

/// A process, and when it was started.
///
/// The boot is read before and after it: where the clock was set in between, what is told would be another's start.
///
/// # Errors
///
/// `ESRCH` if there is no such process, or a jail hides it.
pub(super) fn started_process(pid: Pid) -> io::Result<(KernelInfo, u64)> {
    let (found, boot) = under_one_clock(|| kernel_info(pid))?;
    let start = started(&found, boot);
    Ok((found, start))
}

/// What is read, and the time of the boot by which its starts are told.
///
/// # Errors
///
/// Those of the reading.
pub(super) fn under_one_clock<T>(
    mut read: impl FnMut() -> io::Result<T>,
) -> io::Result<(T, libc::timeval)> {
    let mut before = boot_time()?;
    for _ in 0..SETTINGS {
        let found = read()?;
        let after = boot_time()?;
        if (before.tv_sec, before.tv_usec) == (after.tv_sec, after.tv_usec) {
            return Ok((found, after));
        }
        before = after;
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// When it was started, in microseconds since the machine was.
///
/// The kernel keeps that, and adds the time of the boot by the calendar to tell it. What is taken off again moves with every
/// setting of the clock, as what was added does.
pub(super) fn started(found: &KernelInfo, boot: libc::timeval) -> u64 {
    let micros = |time: libc::timeval| {
        let seconds = i128::from(time.tv_sec);
        seconds * 1_000_000 + i128::from(time.tv_usec)
    };
    u64::try_from(micros(found.ki_start) - micros(boot)).unwrap_or(0)
}

/// Now, on the clock of the starts.
pub(in crate::sys) fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let micros = u64::try_from(now.tv_nsec / 1_000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(micros)
}

/// So long in ticks of that clock, which are microseconds.
pub(in crate::sys) fn ticks_in(time: Duration) -> u64 {
    in_ticks(time, 1_000, 1)
}

/// By what a process's children name it: its number.
pub(in crate::sys) fn parent_key(pid: Pid) -> Option<u64> {
    Some(pid.as_raw_nonzero().get().unsigned_abs().into())
}

/// What tells this boot from others: its random id, which FreeBSD has since version 14. Before that, when it was, to the
/// second: then a clock that is set makes one boot look like two, and what was written down before is not recovered.
///
/// # Errors
///
/// What a jail says.
pub(in crate::sys) fn boot_id() -> io::Result<u128> {
    match random_boot_id()? {
        Some(id) => Ok(id),
        None => Ok(u128::try_from(boot_time()?.tv_sec).unwrap_or(0)),
    }
}

/// `kern.boot_id`; `None` where there is none.
fn random_boot_id() -> io::Result<Option<u128>> {
    let mut id = [0_u8; 16];
    match sysctl::named(c"kern.boot_id", &mut id) {
        Ok(length) => Ok((length == id.len()).then_some(u128::from_be_bytes(id))),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The jail that it is in; 0 for none.
pub(in crate::sys) fn namespace(pid: Pid) -> u64 {
    kernel_info(pid).map_or(0, |found| u64::try_from(found.ki_jid).unwrap_or(0))
}

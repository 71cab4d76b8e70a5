//! `waitid(P_PIDFD)`, and what a wait status says.

#![expect(
    unsafe_code,
    reason = "the C library's waitid, and rustix's, keep the usage that the kernel tells to themselves"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::exit::{Status, Usage};
use crate::signal::Signal;
use crate::sys::unix::usage::{bytes, duration};

/// What a wait found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collected {
    /// It is our child, or a tracee, and there is nothing to collect.
    Nothing,
    /// It is neither our child nor a tracee, or not any more.
    NotOurs,
    /// It has ended.
    Exit { status: Status, usage: Usage },
}

/// Looks for the status and leaves it where it is.
///
/// # Errors
///
/// `EINVAL` on a kernel before 5.4.
pub(super) fn peek(pidfd: BorrowedFd<'_>) -> io::Result<Collected> {
    wait(pidfd, libc::WNOWAIT)
}

/// Collects the status: the zombie is gone, and its number free.
pub(super) fn collect(pidfd: BorrowedFd<'_>) -> io::Result<Collected> {
    wait(pidfd, 0)
}

/// `__WALL` finds children too that announce their end by another signal than SIGCHLD, or by none.
fn wait(pidfd: BorrowedFd<'_>, more: libc::c_int) -> io::Result<Collected> {
    // The kernel clears the fields of `siginfo_t` that matter if it finds nothing, and writes none if it fails.
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = KernelUsage::default();
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL | more;
    loop {
        // SAFETY: both pointers are valid for writing what the kernel writes there, `struct siginfo` and `struct rusage`.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                info.as_mut_ptr(),
                options,
                &raw mut usage,
            )
        };
        if answer == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            Some(Errno::CHILD) => return Ok(Collected::NotOurs),
            Some(_) | None => return Err(error),
        }
    }
    // SAFETY: it was zeroed, which is a valid `siginfo_t`, and what the kernel wrote since is one.
    let info = unsafe { info.assume_init() };
    if info.si_signo == 0 {
        return Ok(Collected::Nothing);
    }
    // SAFETY: the kernel has filled in the fields of SIGCHLD, of which this is one.
    let value = unsafe { info.si_status() };
    Ok(Collected::Exit {
        status: status_of_code(info.si_code, value),
        usage: usage.into_usage(),
    })
}

/// The kernel's `struct rusage`, of longs on every architecture; the C library's differs where its `time_t` is wider.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct KernelUsage {
    user: [libc::c_long; 2],
    system: [libc::c_long; 2],
    max_rss_kib: libc::c_long,
    others: [libc::c_long; 13],
}

impl KernelUsage {
    fn into_usage(self) -> Usage {
        Usage {
            user: time(self.user),
            system: time(self.system),
            max_rss_bytes: bytes(self.max_rss_kib),
        }
    }
}

fn time([seconds, micros]: [libc::c_long; 2]) -> Duration {
    duration(seconds, micros)
}

/// The status in `si_code` and `si_status`.
pub(super) fn status_of_code(code: libc::c_int, value: libc::c_int) -> Status {
    match code {
        libc::CLD_EXITED => Status::Code(value),
        libc::CLD_KILLED | libc::CLD_DUMPED => Status::Signal {
            signal: Signal(value),
            core_dumped: code == libc::CLD_DUMPED,
        },
        // Stops and traps were not asked for; whatever it is, it is not to be made up.
        _ => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(signal: i32, core_dumped: bool) -> Status {
        Status::Signal {
            signal: Signal(signal),
            core_dumped,
        }
    }

    #[test]
    fn a_siginfo_is_a_code_or_a_signal_with_or_without_a_core() {
        assert_eq!(status_of_code(libc::CLD_EXITED, 3), Status::Code(3));
        assert_eq!(status_of_code(libc::CLD_KILLED, 15), killed(15, false));
        assert_eq!(status_of_code(libc::CLD_DUMPED, 6), killed(6, true));
        assert_eq!(status_of_code(libc::CLD_STOPPED, 19), Status::Unknown);
    }

    #[test]
    fn usage_is_in_bytes_and_durations() {
        let usage = KernelUsage {
            user: [1, 500_000],
            system: [0, 20],
            max_rss_kib: 2048,
            others: [0; 13],
        };
        assert_eq!(usage.into_usage().user, Duration::from_millis(1500));
        assert_eq!(usage.into_usage().system, Duration::from_micros(20));
        assert_eq!(usage.into_usage().max_rss_bytes, Some(2 << 20));
    }
}

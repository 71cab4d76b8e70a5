//! The one door through which signals leave.

#![expect(unsafe_code, reason = "rustix has no pidfd_send_signal with flags")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::facilities::Facilities;
use super::pin::Pin;
use crate::sys::unix::{Target, kill, to_pid};

/// `PIDFD_SIGNAL_PROCESS_GROUP` (6.9).
const TO_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal (0 to 64; 0 only asks). All signals of this crate leave here.
///
/// The success of a group signal proves nothing about each member: it hides an `EPERM`. Its `ESRCH` says that the group
/// is empty, or that the process leads none; a zombie that nobody reaped is still a member.
///
/// # Errors
///
/// * `InvalidInput`: refused, nothing was sent. The target is pid 0 or 1, this process, or the group that this process
///   is in at this moment.
/// * `Unsupported`: the leader was reaped, and this kernel reaches a group by its number alone.
/// * `ESRCH`: the process was reaped, or the group is empty. `EPERM`: it lives, and is not ours to signal.
pub(crate) fn send_signal(
    target: Target<'_>,
    signal: i32,
    facilities: &Facilities,
) -> io::Result<()> {
    target.refuse_own()?;
    match target {
        Target::Process(pin) => pidfd_send_signal(pin.fd(), signal, 0),
        Target::Group { leader, reaped } => {
            if facilities.group_signal {
                pidfd_send_signal(leader.fd(), signal, TO_GROUP)
            } else {
                send_by_number(leader, reaped, signal)
            }
        }
    }
}

impl Pin {
    /// Whether the process, alive or a zombie, still has its number: nobody else can have it then.
    pub(crate) fn holds_its_number(&self) -> bool {
        match pidfd_send_signal(self.fd(), 0, 0) {
            Ok(()) => true,
            Err(error) => Errno::from_io_error(&error) == Some(Errno::PERM),
        }
    }
}

/// Kills a child of ours that is not yet a program, and has no pin of its own yet. It can be neither this process nor pid 1.
pub(super) fn kill_unborn(pidfd: BorrowedFd<'_>) {
    // ESRCH: it is gone. EPERM: it has changed its user, and only its own end or exec ends the launch.
    drop(pidfd_send_signal(pidfd, libc::SIGKILL, 0));
}

/// Signals the group by its number, which is the leader's as long as the leader was not reaped.
///
/// The caller knows whether *we* reaped it. That nobody else did is asked first, since a zombie accepts signal 0 and
/// nobody else does; between the two calls another thread of the host would have to steal our child.
fn send_by_number(leader: &Pin, reaped: bool, signal: i32) -> io::Result<()> {
    let unreachable = || {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the group's leader was reaped, and this kernel reaches a group only by its number",
        )
    };
    if reaped {
        return Err(unreachable());
    }
    match pidfd_send_signal(leader.fd(), 0, 0) {
        Ok(()) => {}
        // EPERM: it exists, and is another user's. Other members of its group may be ours to signal.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {
            return Err(unreachable());
        }
        Err(error) => return Err(error),
    }
    let group = to_pid(leader.pid())?.as_raw_nonzero().get();
    kill(-group, signal)
}

/// Whether a signal can be sent through a pidfd at all: asks, with signal 0, whether we may signal ourselves.
pub(super) fn accepts_signals(own: BorrowedFd<'_>) -> io::Result<()> {
    pidfd_send_signal(own, 0, 0)
}

/// Whether the kernel knows the flag for groups. `ESRCH` is a yes: we lead no group. `EINVAL` is what it says to flags
/// that it does not know.
pub(super) fn reaches_groups(own: BorrowedFd<'_>) -> bool {
    match pidfd_send_signal(own, 0, TO_GROUP) {
        Ok(()) => true,
        Err(error) => Errno::from_io_error(&error) == Some(Errno::SRCH),
    }
}

fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open for the time of the call. The null pointer makes the kernel fill in the siginfo.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

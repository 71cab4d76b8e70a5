//! One timerfd, armed to an absolute instant.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::sys::unix::timespec;

/// No timer is set further ahead. One that was asked for beyond this fires early, and is armed again: a wake-up a year.
const FURTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An `it_value` of zero would disarm, so what is due now is due in a nanosecond.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// The timer and what it is armed to. It is never read: each setting clears the expiry of the one before it, and an
/// edge-triggered poll reports each expiry once.
#[derive(Debug)]
pub(super) struct Timer {
    fd: OwnedFd,
    armed: Option<Instant>,
}

impl Timer {
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        // CLOCK_MONOTONIC is the clock of `Instant`: neither notices a change of the wall clock or a suspended machine.
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        Ok(Self { fd, armed: None })
    }

    /// The descriptor to register.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Arms it to `deadline`, or disarms it. No system call if that is how it stands.
    pub(super) fn arm(&mut self, deadline: Option<Instant>, now: Instant) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        let ahead = deadline.map_or(Duration::ZERO, |at| ahead(at, now));
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(ahead),
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        self.armed = deadline;
        Ok(())
    }

    /// It was seen to fire, so it stands at nothing, and the same deadline must be armed again.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }
}

/// How far ahead the timer is set for a deadline.
fn ahead(deadline: Instant, now: Instant) -> Duration {
    deadline
        .saturating_duration_since(now)
        .clamp(AT_ONCE, FURTHEST)
}

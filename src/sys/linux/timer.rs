//! Timerfds: one that is armed to an absolute instant, and one that is set by whoever wants something done later.

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
        Ok(Self {
            fd: create()?,
            armed: None,
        })
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
        set(&self.fd, ahead)?;
        self.armed = deadline;
        Ok(())
    }

    /// It was seen to fire, so it stands at nothing, and the same deadline must be armed again.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }
}

/// A timer that any thread sets, to a moment ahead. Nobody knows how it stands, and it is never read either.
#[derive(Debug)]
pub(super) struct Alarm {
    fd: OwnedFd,
}

impl Alarm {
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { fd: create()? })
    }

    /// The descriptor to register.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// It goes off once, so far ahead, and not at the time that it was set to before.
    pub(super) fn set(&self, ahead: Duration) -> io::Result<()> {
        set(&self.fd, ahead.clamp(AT_ONCE, FURTHEST))
    }

    /// It does not go off.
    pub(super) fn disarm(&self) -> io::Result<()> {
        set(&self.fd, Duration::ZERO)
    }
}

fn create() -> io::Result<OwnedFd> {
    // CLOCK_MONOTONIC is the clock of `Instant`: neither notices a change of the wall clock or a suspended machine.
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Zero disarms it.
fn set(fd: &OwnedFd, ahead: Duration) -> io::Result<()> {
    let once = Itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(ahead),
    };
    timerfd_settime(fd, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// How far ahead the timer is set for a deadline.
fn ahead(deadline: Instant, now: Instant) -> Duration {
    deadline
        .saturating_duration_since(now)
        .clamp(AT_ONCE, FURTHEST)
}

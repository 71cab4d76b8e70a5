//! How the reactor is woken, from any thread.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::timer::Alarm;
use crate::sys::unix::MAILBOX;

/// Wakes the reactor to look into its mailbox.
#[derive(Debug)]
pub(crate) struct Waker {
    now: mio::Waker,
    later: Alarm,
}

impl Waker {
    /// Two descriptors.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC` (the user's limit of epoll watches).
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let now = mio::Waker::new(registry, MAILBOX)?;
        let later = Alarm::new()?;
        registry.register(&mut SourceFd(&later.raw_fd()), MAILBOX, Interest::READABLE)?;
        Ok(Self { now, later })
    }

    /// At once.
    ///
    /// # Errors
    ///
    /// None is known that lasts.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.now.wake()
    }

    /// So much later. What asks for it before that puts it off.
    ///
    /// # Errors
    ///
    /// None is known.
    pub(crate) fn wake_within(&self, time: Duration) -> io::Result<()> {
        self.later.set(time)
    }

    /// It is awake: what was asked to be done later is done now.
    pub(crate) fn cancel_later(&self) {
        // No error is known, and one wake-up more changes nothing.
        drop(self.later.disarm());
    }
}

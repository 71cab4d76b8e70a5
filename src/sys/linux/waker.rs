//! How the reactor is woken, from any thread.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::timer::Alarm;
use crate::sys::unix::MAILBOX;

/// What need not be done at once is done so much later. A short program has come and gone by then, and the reactor has done
/// it together with the exit.
const SOON: Duration = Duration::from_millis(1);

/// Wakes the reactor to look into its mailbox.
#[derive(Debug)]
pub(crate) struct Waker {
    now: mio::Waker,
    soon: Alarm,
}

impl Waker {
    /// Two descriptors.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC` (the user's limit of epoll watches).
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let now = mio::Waker::new(registry, MAILBOX)?;
        let soon = Alarm::new()?;
        registry.register(&mut SourceFd(&soon.raw_fd()), MAILBOX, Interest::READABLE)?;
        Ok(Self { now, soon })
    }

    /// At once.
    ///
    /// # Errors
    ///
    /// None is known that lasts.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.now.wake()
    }

    /// In a millisecond. What asks for it before that puts it off.
    ///
    /// # Errors
    ///
    /// None is known.
    pub(crate) fn wake_soon(&self) -> io::Result<()> {
        self.soon.set(SOON)
    }

    /// It is awake: what was asked to be done soon is done now.
    pub(crate) fn cancel_soon(&self) {
        // No error is known, and one wake-up more changes nothing.
        drop(self.soon.disarm());
    }
}

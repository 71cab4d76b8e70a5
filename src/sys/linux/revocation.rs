//! A switch that wakes everybody who waits for a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that is readable once it was called, and stays so.
#[derive(Debug)]
pub(crate) struct Revocation {
    switch: OwnedFd,
}

impl Revocation {
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        let switch = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { switch })
    }

    /// Wakes every writer that waits now and refuses every one that comes later. Never blocks; calling it again changes
    /// nothing.
    pub(crate) fn revoke(&self) {
        let one = 1_u64.to_ne_bytes();
        // An eventfd takes eight bytes whole. EAGAIN is its only refusal, when the counter is full: revoked long ago.
        let _written_or_full = rustix::io::write(&self.switch, &one);
    }

    /// Readable once it was called.
    pub(in crate::sys) fn switch(&self) -> BorrowedFd<'_> {
        self.switch.as_fd()
    }
}

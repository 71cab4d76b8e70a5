//! A switch that wakes everybody who waits for a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::platform;
use crate::sys::unix::set_nonblocking;

/// A pipe that is readable once the switch was called, and stays so: its byte is never read.
#[derive(Debug)]
pub(crate) struct Revocation {
    switch: OwnedFd,
    caller: OwnedFd,
}

impl Revocation {
    /// Two descriptors.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        let (switch, caller) = platform::new_pipe()?;
        set_nonblocking(caller.as_fd(), true)?;
        Ok(Self { switch, caller })
    }

    /// Wakes every writer that waits now and refuses every one that comes later. Never blocks; calling it again changes
    /// nothing.
    pub(crate) fn revoke(&self) {
        // EAGAIN is its only refusal, when the pipe is full: revoked long ago.
        let _written_or_full = rustix::io::write(&self.caller, &[1]);
    }

    /// Readable once it was called.
    pub(in crate::sys) fn switch(&self) -> BorrowedFd<'_> {
        self.switch.as_fd()
    }
}

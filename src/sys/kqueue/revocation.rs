//! A switch that wakes everybody who waits for a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::sys::platform;
use crate::sys::unix::{set_nonblocking, sleep_until};
use crate::sys::vocabulary::Writable;

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
}

/// Sleeps until one of `fds` has bytes or has come to its end, or the readers are revoked; says which of them have, and
/// whether the switch was called.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn wait_readable(
    fds: &[BorrowedFd<'_>],
    revocation: &Revocation,
) -> io::Result<(Vec<bool>, bool)> {
    let mut polled = vec![PollFd::from_borrowed_fd(
        revocation.switch.as_fd(),
        PollFlags::IN,
    )];
    polled.extend(
        fds.iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)),
    );
    sleep_until(&mut polled, None)?;
    let mut spoke = polled.iter().map(|polled| !polled.revents().is_empty());
    let revoked = spoke.next().unwrap_or(false);
    Ok((spoke.collect(), revoked))
}

/// Sleeps until `fd` takes bytes again (or fails at once, as with nobody left to read), or the writer is revoked.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn wait_writable(fd: BorrowedFd<'_>, revocation: &Revocation) -> io::Result<Writable> {
    let mut fds = [
        PollFd::from_borrowed_fd(revocation.switch.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(fd, PollFlags::OUT),
    ];
    sleep_until(&mut fds, None)?;
    if fds[0].revents().is_empty() {
        Ok(Writable::Ready)
    } else {
        Ok(Writable::Revoked)
    }
}

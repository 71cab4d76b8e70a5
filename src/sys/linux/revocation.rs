//! A switch that wakes everybody who waits for a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::sys::unix::sleep_until;
use crate::sys::vocabulary::Writable;

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

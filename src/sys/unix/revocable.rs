//! Waits for pipes that a switch ends.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};

use super::sleep::sleep_until;
use crate::sys::platform::Revocation;
use crate::sys::vocabulary::Writable;

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
    let mut polled = vec![PollFd::from_borrowed_fd(revocation.switch(), PollFlags::IN)];
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
        PollFd::from_borrowed_fd(revocation.switch(), PollFlags::IN),
        PollFd::from_borrowed_fd(fd, PollFlags::OUT),
    ];
    sleep_until(&mut fds, None)?;
    if fds[0].revents().is_empty() {
        Ok(Writable::Ready)
    } else {
        Ok(Writable::Revoked)
    }
}

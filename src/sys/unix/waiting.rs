//! What a waiting caller sleeps on.

use std::io;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::lifeline::Lifeline;
use super::sleep::sleep_until;
use crate::sys::platform::Pin;
use crate::sys::vocabulary::Woken;

/// Puts the calling thread to sleep until the process has ended, the reactor has, or the deadline has passed.
///
/// If several are true the process wins, then the reactor. `None` sleeps for ever, a deadline that has passed makes it a
/// look. Whether the status can be had then is for [`Pin::look`] to say: a tracer may hold it. So do not call this again
/// in a loop, it would not sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn sleep_on(pin: &Pin, line: &Lifeline, deadline: Option<Instant>) -> io::Result<Woken> {
    let line = line.fd();
    let mut fds = [
        PollFd::from_borrowed_fd(pin.fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(line, PollFlags::IN),
    ];
    if !sleep_until(&mut fds, deadline)? {
        return Ok(Woken::TimedOut);
    }
    if fds[0].revents().is_empty() {
        return Ok(Woken::ReactorGone);
    }
    Ok(Woken::Process)
}

//! For children that cannot be held as they should be.

#![expect(
    unsafe_code,
    reason = "rustix has no kill for a group that is given by its number alone"
)]

use std::io;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::pin::Pin;
use crate::sys::unix::sleep_until;
use crate::sys::unix::{current_pid, own_group, peek_child, to_pid};
use crate::sys::vocabulary::ChildState;

/// Kills a child of ours that could not be pinned, and its group if it was started as the leader of one.
///
/// Only for the thread that has just started it and has not waited for it: the zombie keeps the number from being
/// anybody else's.
pub(crate) fn kill_unpinned(child: u32, own_group_too: bool) {
    if child <= 1 || child == current_pid() {
        return;
    }
    // A host that reaps all its children may have reaped this one, and its number may be a stranger's by now.
    if !matches!(
        peek_child(child),
        Ok(ChildState::Alive | ChildState::Waitable)
    ) {
        return;
    }
    let Ok(pid) = to_pid(child) else { return };
    let number = pid.as_raw_nonzero().get();
    if own_group_too && child != own_group() {
        // SAFETY: no memory is involved. The number is above 1, so that its negative is neither 0 nor -1.
        let _esrch_or_sent = unsafe { libc::kill(-number, libc::SIGKILL) };
    }
    // ESRCH: the host reaps all its children, and has reaped this one.
    // SAFETY: no memory is involved. The number is above 1.
    let _esrch_or_sent = unsafe { libc::kill(number, libc::SIGKILL) };
}

/// Sleeps until the process has ended or the deadline has passed, with no reactor to think of. `true`: it has ended.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn sleep_on_alone(pin: &Pin, deadline: Option<Instant>) -> io::Result<bool> {
    sleep_until(
        &mut [PollFd::from_borrowed_fd(pin.fd(), PollFlags::IN)],
        deadline,
    )
}

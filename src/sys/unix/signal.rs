//! Whom a signal may go to, and signals by a bare number.

#![expect(
    unsafe_code,
    reason = "rustix has no kill for numbers that are not its signals, nor for a group by its number alone"
)]

use std::io;

use super::own::{current_pid, own_group, peek_child, to_pid};
use crate::sys::platform::Pin;
use crate::sys::vocabulary::ChildState;

/// Whom a signal is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// This process alone.
    Process(&'a Pin),
    /// The group that has the number of this process, whether or not it is still in it.
    Group {
        /// The process whose number the group has.
        leader: &'a Pin,
        /// Whether the leader was reaped. Its number may be anybody's then.
        reaped: bool,
    },
}

impl Target<'_> {
    /// Refuses what no signal of ours may ever reach, whatever the caller believes: pid 0 and 1, this process, and the group
    /// that it is in at this moment. A group is held against the first three too: one that is numbered like pid 1 is as bad as
    /// pid 1. The leader of our group alone may well be signalled: in `a | host` that is `a`.
    ///
    /// # Errors
    ///
    /// `InvalidInput`.
    pub(in crate::sys) fn refuse_own(self) -> io::Result<()> {
        let (pid, is_group) = match self {
            Self::Process(pin) => (pin.pid(), false),
            Self::Group { leader, reaped: _ } => (leader.pid(), true),
        };
        match pid {
            0 => refused("refused to signal pid 0"),
            1 => refused("refused to signal pid 1"),
            own if own == current_pid() => refused("refused to signal this process"),
            group if is_group && group == own_group() => {
                refused("refused to signal the process group of this process")
            }
            _ => Ok(()),
        }
    }
}

fn refused(why: &'static str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

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
        // ESRCH, EPERM: nobody is in it, or zombies alone.
        drop(kill(-number, libc::SIGKILL));
    }
    // ESRCH: the host reaps all its children, and has reaped this one.
    drop(kill(number, libc::SIGKILL));
}

/// `whom` is above 1, or below -1: a process, or a group.
pub(in crate::sys) fn kill(whom: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let answer = unsafe { libc::kill(whom, signal) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

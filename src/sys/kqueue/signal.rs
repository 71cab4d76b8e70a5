//! The one door through which signals leave.

#![expect(
    unsafe_code,
    reason = "rustix has no kill for numbers that are not its signals, nor for a group by its number alone"
)]

use std::io;

use rustix::io::Errno;
use rustix::process::Pid;

use super::facilities::Facilities;
use super::meaning::is_refused_by_the_dead_alone;
use super::pin::Pin;
use crate::sys::system;
use crate::sys::unix::{current_pid, own_group, peek_child, to_pid};
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

/// Sends a signal (0 to 64; 0 only asks). All signals of this crate leave here.
///
/// That the number is still the process's is asked just before. For a child that nobody else reaps that is enough: its
/// zombie keeps the number. For any other process a window of microseconds is left, see [`Pin`].
///
/// The success of a group signal proves nothing about each member: it hides an `EPERM`. Its `ESRCH` says that the group
/// is empty, or that the process leads none; a zombie that nobody reaped is still a member.
///
/// # Errors
///
/// * `InvalidInput`: refused, nothing was sent. The target is pid 0 or 1, this process, or the group that this process
///   is in at this moment.
/// * `Unsupported`: the leader was reaped, and a group is reached by its number alone. Where orphans come to this process on
///   FreeBSD it is found out whether the number is still that group's; the caller says only of one after whom no other child of
///   this process has had the number and is gone that it was reaped.
/// * `ESRCH`: the process was reaped, or the group is empty. `EPERM`: it lives, and is not ours to signal.
pub(crate) fn send_signal(
    target: Target<'_>,
    signal: i32,
    facilities: &Facilities,
) -> io::Result<()> {
    match target {
        Target::Process(pin) => {
            refuse_own(pin.pid())?;
            if !pin.holds_its_number() {
                return Err(Errno::SRCH.into());
            }
            kill(pin.number().as_raw_nonzero().get(), signal)
        }
        Target::Group { leader, reaped } => {
            refuse_own(leader.pid())?;
            refuse_own_group(leader.pid())?;
            if reaped || !leader.holds_its_number() {
                find_orphaned_group(leader.number(), facilities)?;
            }
            signal_group(leader.number(), signal)
        }
    }
}

/// The leader was reaped: is it still its group that has the number?
fn find_orphaned_group(leader: Pid, facilities: &Facilities) -> io::Result<()> {
    if !facilities.group_signal {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            Facilities::NO_GROUP_SIGNAL,
        ));
    }
    if system::has_orphaned_group(leader)? {
        Ok(())
    } else {
        Err(Errno::SRCH.into())
    }
}

fn signal_group(group: Pid, signal: i32) -> io::Result<()> {
    let Err(error) = kill(-group.as_raw_nonzero().get(), signal) else {
        return Ok(());
    };
    if Errno::from_io_error(&error) != Some(Errno::PERM) {
        return Err(error);
    }
    let Ok(members) = system::group_members(group) else {
        return Err(error);
    };
    let members = members
        .into_iter()
        .filter_map(|pid| to_pid(pid).ok())
        .map(system::presence);
    if is_refused_by_the_dead_alone(members) {
        Ok(())
    } else {
        Err(error)
    }
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
fn kill(whom: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let answer = unsafe { libc::kill(whom, signal) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether anybody has this number, a zombie included. Nothing is sent.
pub(super) fn is_taken(pid: Pid) -> bool {
    match kill(pid.as_raw_nonzero().get(), 0) {
        Ok(()) => true,
        Err(error) => Errno::from_io_error(&error) == Some(Errno::PERM),
    }
}

/// Refuses what no signal of ours may ever reach. A group is held against it too: one that is numbered like pid 1 is as
/// bad as pid 1.
fn refuse_own(pid: u32) -> io::Result<()> {
    match pid {
        0 => refused("refused to signal pid 0"),
        1 => refused("refused to signal pid 1"),
        own if own == current_pid() => refused("refused to signal this process"),
        _ => Ok(()),
    }
}

/// Refuses the group that we are in. Its leader alone may well be signalled: in `a | host` that is `a`.
fn refuse_own_group(group: u32) -> io::Result<()> {
    if group == own_group() {
        return refused("refused to signal the process group of this process");
    }
    Ok(())
}

fn refused(why: &'static str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

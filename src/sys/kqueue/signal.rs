//! The one door through which signals leave.

use std::io;

use rustix::io::Errno;
use rustix::process::Pid;

use super::facilities::Facilities;
use super::meaning::is_refused_by_the_dead_alone;
use crate::sys::system;
use crate::sys::unix::{Target, kill, to_pid};

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
    target.refuse_own()?;
    match target {
        Target::Process(pin) => {
            if !pin.holds_its_number() {
                return Err(Errno::SRCH.into());
            }
            kill(pin.number().as_raw_nonzero().get(), signal)
        }
        Target::Group { leader, reaped } => {
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

/// Whether anybody has this number, a zombie included. Nothing is sent.
pub(super) fn is_taken(pid: Pid) -> bool {
    match kill(pid.as_raw_nonzero().get(), 0) {
        Ok(()) => true,
        Err(error) => Errno::from_io_error(&error) == Some(Errno::PERM),
    }
}

//! `procctl(PROC_REAP_*)` (FreeBSD 10.2): orphans come to this process, and the kernel knows who descends from which child.

#![expect(
    unsafe_code,
    reason = "rustix makes room for every number that there can be, each time that it lists"
)]

use std::io;

use rustix::process::{
    IdType, Pid, ProcSelector, ReaperStatus, ReaperStatusFlags, Signal, get_reaper_status, getpid,
    reaper_kill, set_reaper_status,
};

use super::lineage::{
    Descendant, RawDescendant, RawList, below, is_group_there, is_nobody_left, is_tree_there, read,
    room,
};
use super::list::group_members;
use crate::sys::unix::{current_pid, to_pid};
use crate::sys::vocabulary::{Ancestry, Offspring};

/// A list that never fits is none.
const TRIES: usize = 16;

/// Why there may be no orphans to be had: they always are.
pub(in crate::sys) const NO_ORPHANS: Option<&str> = None;
/// Why a group is not reached after its leader was reaped.
pub(in crate::sys) const NO_GROUP_SIGNAL: &str =
    "on FreeBSD it comes with the subreaper tier, Builder::subreaper(true)";
/// How it is told who descends from whom. The numbers are those of this process's children.
pub(in crate::sys) const ANCESTRY: Ancestry = Ancestry::OfOurChildren;

/// Whether orphans come to this process, because it has asked for them.
pub(in crate::sys) fn is_reaper() -> bool {
    status().is_ok_and(|status| status.flags.contains(ReaperStatusFlags::OWNED))
}

/// Who takes in the orphans of this process: the nearest ancestor that has asked for them, or the first process.
///
/// # Errors
///
/// None is known.
pub(in crate::sys) fn adopter_of_orphans() -> io::Result<u32> {
    let reaper = status()?.reaper;
    Ok(reaper.as_raw_nonzero().get().unsigned_abs())
}

fn status() -> io::Result<ReaperStatus> {
    Ok(get_reaper_status(ourselves())?)
}

/// By its number, which means the same before FreeBSD 13, where 0 does not mean this process.
fn ourselves() -> ProcSelector {
    Some((IdType::Pid, getpid()))
}

/// Orphans come to this process from now on, until it ends. What it has started before is not counted among those who
/// descend from it.
///
/// # Errors
///
/// `EBUSY` if it is so already; `EPERM` before FreeBSD 13.
pub(in crate::sys) fn become_reaper() -> io::Result<()> {
    Ok(set_reaper_status(true)?)
}

/// They go to where they went before.
///
/// # Errors
///
/// `EINVAL` if it is not so.
pub(in crate::sys) fn stop_being_reaper() -> io::Result<()> {
    Ok(set_reaper_status(false)?)
}

/// Whether nobody descends from this process, as far as a wait and the kernel's list say. `no_child`: what the wait says.
pub(in crate::sys) fn is_childless(no_child: bool) -> bool {
    let owned = |status: &ReaperStatus| status.flags.contains(ReaperStatusFlags::OWNED);
    let listed = status().ok().filter(owned).map(|status| status.descendants);
    is_nobody_left(no_child, listed)
}

/// Everybody who descends from this process, under the number of the child that they descend from. Nobody where this process
/// is no reaper.
///
/// # Errors
///
/// `ENOMEM`.
pub(in crate::sys) fn kindred(into: &mut Vec<Offspring>) -> io::Result<()> {
    into.extend(descendants()?.into_iter().map(|one| Offspring {
        pid: one.pid,
        id: one.pid.into(),
        parent: one.of.into(),
        incarnation: None,
        born_of: None,
    }));
    Ok(())
}

/// It is told of all at once, by [`kindred`], and of nobody alone.
pub(in crate::sys) fn origin(_pid: u32) -> Option<Offspring> {
    None
}

/// Signals the group of a child that was reaped, if it is there still. Between the look and the signal there are
/// microseconds in which its last member would have to be reaped, and its number to be given out again.
///
/// # Errors
///
/// `ENOMEM`; what a jail says.
pub(in crate::sys) fn has_orphaned_group(leader: Pid) -> io::Result<bool> {
    let members = group_members(leader)?;
    let leader = leader.as_raw_nonzero().get().unsigned_abs();
    Ok(is_group_there(&descendants()?, &members, leader))
}

/// Kills all that descends from a child, in one call that no fork gets ahead of. `registered`: the child is there still.
///
/// # Errors
///
/// `ESRCH` if nobody is left to be killed, or the number is another's by now; `EPERM` if one of them is not ours to signal.
pub(in crate::sys) fn kill_tree(child: u32, registered: bool) -> io::Result<()> {
    let number = to_pid(child)?;
    if !is_tree_there(&descendants()?, child, registered) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    reaper_kill(ourselves(), Signal::KILL, false, Some(number))?;
    Ok(())
}

fn descendants() -> io::Result<Vec<Descendant>> {
    if !is_reaper() {
        return Ok(Vec::new());
    }
    let mut all = listed(current_pid())?;
    let mut at = 0;
    // Each comes once: one that has moved up meanwhile, because the reaper below is gone, is not worth a second place.
    while let Some(&one) = all.get(at) {
        at += 1;
        if one.is_reaper {
            // It may be gone by now: then its own have come to us, and are seen the next time.
            let its = listed(one.pid).unwrap_or_default();
            let known: Vec<u32> = all.iter().map(|one| one.pid).collect();
            all.extend(below(one, its).filter(|one| !known.contains(&one.pid)));
        }
    }
    Ok(all)
}

/// The list of one reaper.
fn listed(reaper: u32) -> io::Result<Vec<Descendant>> {
    let number = to_pid(reaper)?.as_raw_nonzero().get();
    let mut space = room(0);
    for _ in 0..TRIES {
        let mut list = vec![RawDescendant::default(); space];
        let mut raw = RawList {
            count: u32::try_from(space).unwrap_or(u32::MAX),
            reserved: [0; 15],
            descendants: list.as_mut_ptr(),
        };
        // SAFETY: the structure is the one that the call reads, and as many elements are there to be written to as it says.
        let answer = unsafe {
            libc::procctl(
                libc::P_PID,
                number.into(),
                libc::PROC_REAP_GETPIDS,
                (&raw mut raw).cast(),
            )
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        match read(&list) {
            Some(all) => return Ok(all),
            None => space = room(space * 2),
        }
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

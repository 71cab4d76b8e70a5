//! `procctl(PROC_REAP_*)`: the mechanism of a tier of which only the orphans are connected, and only where a group can be
//! signalled after its leader was reaped: not here yet.
//!
//! Whoever has asked for it is the reaper of all its descendants: what loses its parent comes to it, and not to pid 1, with
//! its children and theirs. The kernel knows who belongs to which child, so that it can kill a child with all that it has
//! started in one call, whatever that did to its group, its session and its environment; and it says when nobody is left.
//!
//! What `Containment::Subreaper` has to do with it: [`become_reaper`] once, under the host's consent (from then on every orphan is
//! the host's to reap); [`kill`] for each leader of a session that is ended, before the leader is reaped, and again until it
//! says `ESRCH`; and reap what comes. Where the ending sessions hold all children, [`count`] of zero is the proof.

use std::io;

use rustix::process::{
    Pid, ReaperStatusFlags, Signal, get_reaper_status, reaper_kill, set_reaper_status,
};

/// Whether orphans come to this process, because it has asked for them.
pub(in crate::sys) fn is_reaper() -> bool {
    get_reaper_status(None).is_ok_and(|status| status.flags.contains(ReaperStatusFlags::OWNED))
}

/// Who takes in the orphans of this process: the nearest ancestor that has asked for them, or the first process.
///
/// # Errors
///
/// None is known.
pub(in crate::sys) fn adopter_of_orphans() -> io::Result<u32> {
    let reaper = get_reaper_status(None)?.reaper;
    Ok(reaper.as_raw_nonzero().get().unsigned_abs())
}

/// How many processes descend from this reaper, zombies included.
///
/// # Errors
///
/// None is known for a reaper.
#[expect(dead_code, reason = "the tier that it is for is not connected yet")]
pub(super) fn count() -> io::Result<usize> {
    Ok(get_reaper_status(None)?.descendants)
}

/// Orphans come to this process from now on, until it ends.
///
/// # Errors
///
/// `EBUSY` if it is so already.
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

/// Kills a child of this reaper and all that descends from it, in one call that no fork gets ahead of; says how many were
/// signalled.
///
/// # Errors
///
/// `ESRCH` if nobody is left to be signalled; `EPERM` if one of them is not ours to signal.
#[expect(dead_code, reason = "the tier that it is for is not connected yet")]
pub(super) fn kill(child: Pid) -> io::Result<usize> {
    Ok(reaper_kill(None, Signal::KILL, false, Some(child))?.killed)
}

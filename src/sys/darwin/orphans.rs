//! Where orphans go, and by what the descendants of a process are known all the same.

use std::io;

use rustix::process::Pid;

use super::list::offspring;
use crate::sys::vocabulary::{Ancestry, Offspring};

/// Why there are no orphans to be had.
pub(in crate::sys) const NO_ORPHANS: Option<&str> =
    Some("on macOS orphans go to launchd, and to nobody else");
/// Why a group is not reached after its leader was reaped.
pub(in crate::sys) const NO_GROUP_SIGNAL: &str =
    "on macOS a group is reached by its number alone, which only a zombie keeps";
/// How it is told who descends from whom.
pub(in crate::sys) const ANCESTRY: Ancestry = Ancestry::ByUniqueId;

/// Everybody, with whom they come from.
///
/// # Errors
///
/// `ENOMEM`; `EPERM` from a sandbox.
pub(in crate::sys) fn kindred(into: &mut Vec<Offspring>) -> io::Result<()> {
    offspring(into)
}

/// A wait says it all.
pub(in crate::sys) fn is_childless(no_child: bool) -> bool {
    no_child
}

/// It cannot be told.
///
/// # Errors
///
/// `Unsupported`.
pub(in crate::sys) fn has_orphaned_group(_leader: Pid) -> io::Result<bool> {
    Err(io::Error::new(io::ErrorKind::Unsupported, NO_GROUP_SIGNAL))
}

/// They are killed one by one.
///
/// # Errors
///
/// `Unsupported`.
pub(in crate::sys) fn kill_tree(_child: u32, _registered: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Who takes in the orphans of this process: launchd, always.
///
/// # Errors
///
/// None.
pub(in crate::sys) fn adopter_of_orphans() -> io::Result<u32> {
    Ok(1)
}

/// Nobody but launchd can be given orphans.
pub(in crate::sys) fn is_reaper() -> bool {
    false
}

/// # Errors
///
/// `Unsupported`.
pub(in crate::sys) fn become_reaper() -> io::Result<()> {
    let text = "on macOS orphans go to launchd, and to nobody else";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// # Errors
///
/// `Unsupported`.
pub(in crate::sys) fn stop_being_reaper() -> io::Result<()> {
    become_reaper()
}

//! Who descends from whom, as far as the kernel keeps that.

use std::io;

use super::table::ProcessTable;
use crate::sys::system;
use crate::sys::vocabulary::{Ancestry, Offspring};

/// How it is told.
pub(crate) const ANCESTRY: Ancestry = system::ANCESTRY;

impl ProcessTable {
    /// Everybody of whom it is told whom they come from, as they are at one moment. What could not be read is missing:
    /// there are other ways to be found.
    pub(crate) fn kindred(&self) -> Vec<Offspring> {
        let mut all = Vec::new();
        match system::kindred(&mut all) {
            Ok(()) => all,
            Err(_) => Vec::new(),
        }
    }

    /// Whom a process comes from, asked anew, where it is told of one process. Hold a pin before, and see that it lives
    /// afterwards.
    pub(crate) fn origin(&self, pid: u32) -> Option<Offspring> {
        system::origin(pid)
    }
}

/// Kills a child of this process, where orphans come to it, and all that descends from it, in one call. `registered`: the
/// child is there still, alive or a zombie. Of all that had its number since the caller has to know, as far as they are gone.
///
/// # Errors
///
/// `Unsupported` where there is no such call; `ESRCH` if nobody is left; `EPERM`.
pub(crate) fn kill_tree(child: u32, registered: bool) -> io::Result<()> {
    system::kill_tree(child, registered)
}

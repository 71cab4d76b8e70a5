//! Who descends from whom: not kept here.

use std::io;

use super::table::ProcessTable;
use crate::sys::vocabulary::{Ancestry, Offspring};

/// How it is told.
pub(crate) const ANCESTRY: Ancestry = Ancestry::Untold;

impl ProcessTable {
    /// Nobody: see [`ANCESTRY`].
    #[expect(
        clippy::unused_self,
        reason = "what is told elsewhere is read from the table"
    )]
    pub(crate) fn kindred(&self) -> Vec<Offspring> {
        Vec::new()
    }

    /// `None`: see [`ANCESTRY`].
    #[expect(
        clippy::unused_self,
        reason = "what is told elsewhere is read from the table"
    )]
    pub(crate) fn origin(&self, _pid: u32) -> Option<Offspring> {
        None
    }
}

/// A child and all that descends from it cannot be killed in one call.
///
/// # Errors
///
/// `Unsupported`.
pub(crate) fn kill_tree(_child: u32, _registered: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

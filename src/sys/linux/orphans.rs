//! `PR_SET_CHILD_SUBREAPER` (Linux 3.4).

use std::io;

use rustix::process::{child_subreaper, getpid, set_child_subreaper};

use super::facilities::Facilities;
use crate::sys::unix::{Subreaper, has_no_child};

/// For a wait that finds children too that announce their end by another signal than SIGCHLD, or by none.
pub(in crate::sys) const EVERY_CHILD: libc::c_int = libc::__WALL;

impl Subreaper {
    /// What can be done where orphans come to this process: what could be done before.
    #[expect(
        clippy::unused_self,
        reason = "it is what elsewhere makes a difference"
    )]
    pub(crate) fn enables(&self, facilities: Facilities) -> Facilities {
        facilities
    }
}

/// Whether orphans come to this process because it has asked for them.
pub(in crate::sys) fn adopts_orphans_by_wish() -> bool {
    child_subreaper().is_ok_and(|asked| asked.is_some())
}

/// # Errors
///
/// None is known.
pub(in crate::sys) fn ask_for_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// # Errors
///
/// None is known.
pub(in crate::sys) fn give_up_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(None)?)
}

/// Whether this process has no child, alive or not, whatever signal it would announce its end by. Where orphans come to it
/// nobody descends from it then.
pub(crate) fn is_childless() -> bool {
    has_no_child()
}

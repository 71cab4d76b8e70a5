//! Who takes in orphans, and whether any are left. The two systems say so themselves.

use std::io;

use super::facilities::Facilities;
use crate::sys::system;
use crate::sys::unix::{Subreaper, has_no_child};

pub(in crate::sys) use crate::sys::system::{
    become_reaper as ask_for_orphans, is_reaper as adopts_orphans_by_wish,
    stop_being_reaper as give_up_orphans,
};

/// A wait finds every child.
pub(in crate::sys) const EVERY_CHILD: libc::c_int = 0;

impl Subreaper {
    /// What can be done where orphans come to this process.
    #[expect(clippy::unused_self, reason = "it is what makes the difference")]
    pub(crate) fn enables(&self, facilities: Facilities) -> Facilities {
        Facilities {
            group_signal: facilities.orphans().is_ok(),
            ..facilities
        }
    }
}

/// Who takes in the orphans of this process. The kernel says so: no trial is made.
///
/// # Errors
///
/// None is known.
pub(crate) fn adopter_of_orphans(_facilities: &Facilities) -> io::Result<u32> {
    system::adopter_of_orphans()
}

/// Whether this process has no child, alive or not, and where the kernel lists them, nobody else who descends from it.
pub(crate) fn is_childless() -> bool {
    system::is_childless(has_no_child())
}

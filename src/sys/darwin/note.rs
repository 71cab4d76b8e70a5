//! What a note of an exit holds.

use crate::exit::Status;
use crate::sys::unix::status_of_word;

/// Which notes tell the exit and the status. The status is for the parent, and for who may signal the process.
pub(in crate::sys) const EXIT_WITH_STATUS: u32 = libc::NOTE_EXIT | libc::NOTE_EXITSTATUS;

/// The status in an event.
pub(in crate::sys) fn status_of_note(notes: u32, data: i64) -> Option<Status> {
    if notes & libc::NOTE_EXITSTATUS == 0 {
        return None;
    }
    i32::try_from(data & 0xffff).ok().map(status_of_word)
}

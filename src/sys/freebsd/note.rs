//! What a note of an exit holds.

use crate::exit::Status;
use crate::sys::unix::status_of_word;

/// The exit comes with its status always.
pub(in crate::sys) const EXIT_WITH_STATUS: u32 = libc::NOTE_EXIT;

/// The status in an event.
pub(in crate::sys) fn status_of_note(notes: u32, data: i64) -> Option<Status> {
    if notes & libc::NOTE_EXIT == 0 {
        return None;
    }
    i32::try_from(data).ok().map(status_of_word)
}

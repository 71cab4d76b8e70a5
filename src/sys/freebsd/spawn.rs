//! What `posix_spawn` has here beyond the standard.

#![expect(unsafe_code, reason = "rustix has no posix_spawn")]

use std::ffi::{c_int, c_short};

use crate::sys::kqueue::{Extensions, Wanted};

/// A session of its own cannot be asked for.
pub(in crate::sys) const SET_SESSION: Option<c_short> = None;

/// What there is beyond the standard.
pub(in crate::sys) const EXTENSIONS: Extensions = Extensions {
    session: false,
    close_others: false,
};

/// What a launch cannot do, for people.
pub(in crate::sys) const NO_FULL_LAUNCH: &str = "posix_spawn has no session, user, groups, limits, niceness, umask and parent-death signal, closes no other descriptors, and no launch that hangs is ended";

/// That all other descriptors are closed cannot be asked for.
///
/// # Errors
///
/// `ENOTSUP`.
///
/// # Safety
///
/// The actions are initialised.
pub(in crate::sys) unsafe fn close_others(
    _actions: &mut libc::posix_spawn_file_actions_t,
    _wanted: &Wanted,
) -> Result<c_short, c_int> {
    Err(libc::ENOTSUP)
}

//! What `posix_spawn` has here beyond the standard.

#![expect(unsafe_code, reason = "rustix has no posix_spawn")]

use std::ffi::{c_int, c_short};

use crate::sys::kqueue::Wanted;

/// A session of its own cannot be asked for.
pub(in crate::sys) const SET_SESSION: Option<c_short> = None;

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

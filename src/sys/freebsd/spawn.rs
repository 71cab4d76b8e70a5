//! What `posix_spawn` has here beyond the standard.

#![expect(unsafe_code, reason = "rustix has no posix_spawn")]

use std::ffi::{CStr, c_char, c_int, c_short};

use crate::sys::kqueue::Wanted;

/// A session of its own cannot be asked for.
pub(in crate::sys) const SET_SESSION: Option<c_short> = None;

unsafe extern "C" {
    /// FreeBSD 13.1.
    fn posix_spawn_file_actions_addchdir_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        directory: *const c_char,
    ) -> c_int;
}

/// Adds a change of the directory.
///
/// # Safety
///
/// The actions are initialised.
pub(in crate::sys) unsafe fn add_directory(
    actions: &mut libc::posix_spawn_file_actions_t,
    directory: &CStr,
) -> c_int {
    // SAFETY: the actions are initialised, as the caller says, and the path ends with a NUL; it is copied.
    unsafe { posix_spawn_file_actions_addchdir_np(actions, directory.as_ptr()) }
}

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

//! What `posix_spawn` has here beyond the standard.

#![expect(unsafe_code, reason = "rustix has no posix_spawn")]

use std::ffi::{c_int, c_short};

use crate::sys::kqueue::{Extensions, Wanted};

/// `POSIX_SPAWN_SETSID`: in a session of its own.
pub(in crate::sys) const SET_SESSION: Option<c_short> = Some(0x0400);

/// What there is beyond the standard.
pub(in crate::sys) const EXTENSIONS: Extensions = Extensions {
    session: true,
    close_others: true,
};

/// What a launch cannot do, for people.
pub(in crate::sys) const NO_FULL_LAUNCH: &str = "posix_spawn has no user, groups, limits, niceness, umask and parent-death signal, and no way to end a launch that hangs";

unsafe extern "C" {
    /// Keeps a descriptor where all others are closed.
    fn posix_spawn_file_actions_addinherit_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        descriptor: c_int,
    ) -> c_int;
}

/// Asks for all descriptors to be closed, but for the standard ones and those that actions bring about. Returns the flag
/// that does it.
///
/// # Errors
///
/// An errno.
///
/// # Safety
///
/// The actions are initialised.
pub(in crate::sys) unsafe fn close_others(
    actions: &mut libc::posix_spawn_file_actions_t,
    wanted: &Wanted,
) -> Result<c_short, c_int> {
    for standard in (0..3).filter(|number| !wanted.numbers.contains(number)) {
        // One that is not open cannot be kept, and need not be.
        // SAFETY: no memory is involved.
        if unsafe { libc::fcntl(standard, libc::F_GETFD) } < 0 {
            continue;
        }
        // SAFETY: the actions are initialised, as the caller says.
        let answer = unsafe { posix_spawn_file_actions_addinherit_np(actions, standard) };
        if answer != 0 {
            return Err(answer);
        }
    }
    c_short::try_from(libc::POSIX_SPAWN_CLOEXEC_DEFAULT).map_err(|_| libc::EINVAL)
}

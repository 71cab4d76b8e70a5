//! `sysctl(3)`.

#![expect(unsafe_code, reason = "rustix has no sysctl")]

use std::ffi::{CStr, c_int, c_void};
use std::io;

/// Reads a value by its number, and returns its length. Without a buffer it only says how many bytes there are.
///
/// # Errors
///
/// `ENOMEM` for a buffer that is too small; `ESRCH`, `EINVAL`, `EPERM` as the value has it.
///
/// # Safety
///
/// `into` is valid for writing `length` bytes, or null.
pub(in crate::sys) unsafe fn value(
    name: &mut [c_int],
    into: *mut c_void,
    mut length: usize,
) -> io::Result<usize> {
    let parts = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: the name has so many parts, and the buffer is as the caller says; there is no new value.
    let answer = unsafe {
        libc::sysctl(
            name.as_mut_ptr(),
            parts,
            into,
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    done(answer, length)
}

/// Reads a value by its name, and returns its length.
///
/// # Errors
///
/// `ENOENT` if there is no such value; `ENOMEM` for a buffer that is too small; what a jail or a sandbox says.
pub(in crate::sys) fn named(name: &CStr, into: &mut [u8]) -> io::Result<usize> {
    let mut length = into.len();
    // SAFETY: the name ends with a NUL, the buffer is valid for writing `length` bytes, and there is no new value.
    let answer = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            into.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    done(answer, length)
}

fn done(answer: c_int, length: usize) -> io::Result<usize> {
    if answer == 0 {
        Ok(length)
    } else {
        Err(io::Error::last_os_error())
    }
}

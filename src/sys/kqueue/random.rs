//! Random numbers for names that must not collide.

#![expect(unsafe_code, reason = "the libc crate does not have this call")]

use std::ffi::c_void;

unsafe extern "C" {
    /// In the C library of both systems; it cannot fail.
    fn arc4random_buf(buffer: *mut c_void, length: usize);
}

/// A number that differs from everyone else's.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for writing its length.
    unsafe { arc4random_buf(bytes.as_mut_ptr().cast(), bytes.len()) };
    u64::from_ne_bytes(bytes)
}

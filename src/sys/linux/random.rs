//! Random numbers for names that must not collide.

#![expect(unsafe_code, reason = "rustix's getrandom is a feature of its own")]

use std::hash::{BuildHasher, RandomState};

use crate::sys::unix::current_pid;

/// A number that differs from everyone else's: from the kernel, or, where it has none yet (the first seconds of a boot)
/// or a filter refuses, from the seed of the standard library's hash maps and our pid. Good for names, not for secrets.
pub(crate) fn random_u64() -> u64 {
    from_kernel().unwrap_or_else(from_hasher)
}

fn from_kernel() -> Option<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for writing its length.
    let filled =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    // Up to 256 bytes come whole or not at all.
    (filled == 8).then(|| u64::from_ne_bytes(bytes))
}

/// The standard library seeds its hash maps once for each thread, from the kernel if it can, and counts up from there.
fn from_hasher() -> u64 {
    RandomState::new().hash_one(current_pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_from_each_other_from_either_source() {
        assert_ne!(random_u64(), random_u64());
        assert_ne!(from_hasher(), from_hasher());
        assert_ne!(from_kernel(), from_kernel());
    }
}

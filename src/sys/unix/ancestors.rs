//! This process and those above it.

use std::io;

use super::current_pid;

/// Longer than any chain of ancestors; one that seems longer has changed under our eyes.
const LONGEST_CHAIN: usize = 4096;

/// Whether a process is this one, or its parent, or the parent's parent, and so on up to the first; `parent_of` says 0 for
/// that one's.
///
/// # Errors
///
/// That of `parent_of`, for an ancestor that cannot be asked: then the answer is not known.
pub(in crate::sys) fn is_ancestor(
    pid: u32,
    parent_of: impl Fn(u32) -> io::Result<u32>,
) -> io::Result<bool> {
    let mut ancestor = current_pid();
    for _ in 0..LONGEST_CHAIN {
        if ancestor == pid {
            return Ok(true);
        }
        ancestor = parent_of(ancestor)?;
        if ancestor == 0 {
            return Ok(false);
        }
    }
    Ok(false)
}

/// This process, its parent, the parent's parent, and so on up to the first, as far as each can be asked for its own.
pub(in crate::sys) fn ancestors(parent_of: impl Fn(u32) -> io::Result<u32>) -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = current_pid();
    while next != 0 && all.len() < LONGEST_CHAIN {
        all.push(next);
        // What cannot be asked is gone, or hidden.
        next = parent_of(next).unwrap_or(0);
    }
    all
}

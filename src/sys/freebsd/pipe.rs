//! `pipe2`.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

/// A pipe, neither of whose ends is inherited by an exec; the end that is read comes first.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`.
pub(in crate::sys) fn new_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

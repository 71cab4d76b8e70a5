//! `pipe`.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd};

/// A pipe, neither of whose ends is inherited by an exec; the end that is read comes first.
///
/// There is no `pipe2` here: a thread that forks and executes something else at this very moment hands both ends on. So it
/// is with std's pipes.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`.
pub(in crate::sys) fn new_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe()?;
    fcntl_setfd(&reader, FdFlags::CLOEXEC)?;
    fcntl_setfd(&writer, FdFlags::CLOEXEC)?;
    Ok((reader, writer))
}

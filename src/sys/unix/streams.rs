//! What a child can have for its standard streams.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use crate::sys::platform;

/// A pipe: the end that is read, and the end that is written. Neither is inherited by an exec elsewhere in this process.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    platform::new_pipe()
}

/// Has nothing to read, and takes all that is written.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`; `ENOENT` where there is no `/dev`.
pub(crate) fn null_device() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    Ok(file.into())
}

//! [`Stdio`]: what a standard stream of a child is.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;

/// What a standard stream of a [`Command`](crate::Command) is.
///
/// It stands for [`std::process::Stdio`], which cannot be read by anybody but std. Files, descriptors and the pipes of other
/// children convert into both.
///
/// # Examples
///
/// ```no_run
/// use procession::{Command, Stdio};
/// use std::fs::File;
///
/// # fn main() -> std::io::Result<()> {
/// let mut command = Command::new("server");
/// command.stdin(Stdio::piped()).stderr(File::create("server.log")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stdio(pub(super) Stream);

#[derive(Clone, Debug)]
pub(super) enum Stream {
    Inherit,
    Null,
    Piped,
    Descriptor(Arc<OwnedFd>),
}

impl Stdio {
    /// This program's own.
    pub fn inherit() -> Self {
        Self(Stream::Inherit)
    }

    /// Nothing to read, and nobody who listens: `/dev/null`.
    pub fn null() -> Self {
        Self(Stream::Null)
    }

    /// A pipe, whose other end the [`Process`](crate::Process) has.
    pub fn piped() -> Self {
        Self(Stream::Piped)
    }
}

impl From<OwnedFd> for Stdio {
    /// The same open file for every process that is started from the command.
    fn from(descriptor: OwnedFd) -> Self {
        Self(Stream::Descriptor(Arc::new(descriptor)))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<ChildStderr> for Stdio {
    fn from(pipe: ChildStderr) -> Self {
        OwnedFd::from(pipe).into()
    }
}

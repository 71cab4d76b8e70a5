//! [`MemberReport`]: how one member of a session ended.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::SurvivalCause;
use crate::event::Origin;
use crate::exit::Exit;
use crate::session::ProcessId;
use crate::stop::Rung;

/// How one member of a session ended.
#[derive(Clone, Debug)]
pub struct MemberReport {
    pub(crate) process: ProcessId,
    pub(crate) pid: u32,
    pub(crate) origin: Origin,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) command_line: Arc<[OsString]>,
    pub(crate) how: How,
    pub(crate) exit: Option<Exit>,
    pub(crate) took: Duration,
}

impl MemberReport {
    /// Builds a member's report, for a host's tests: without label and command line, and in no
    /// time.
    pub fn from_parts(
        process: ProcessId,
        pid: u32,
        origin: Origin,
        how: How,
        exit: Option<Exit>,
    ) -> Self {
        Self {
            process,
            pid,
            origin,
            label: None,
            command_line: Arc::new([]),
            how,
            exit,
            took: Duration::ZERO,
        }
    }

    /// The registry's name for the process.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// The pid it had. By now it may be another process's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it came to the registry. [`Origin::Found`] is a descendant that nobody registered.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its label.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Program and arguments, as far as they are known; empty if they are not.
    pub fn command_line(&self) -> &[OsString] {
        &self.command_line
    }

    /// How it ended.
    pub fn how(&self) -> How {
        self.how
    }

    /// Its exit. `None` for a survivor.
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// How long it took, from the start of the end to when its exit was seen. For a survivor, how
    /// long was waited.
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// How a member ended.
///
/// `Display` prints `already gone`, the rung (`SIGTERM`), or
/// `survived: not permitted to signal it`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// It was dead before anything was done to it.
    AlreadyGone,
    /// It ended while this rung was in force. [`Rung::Kill`] is one that had to be killed.
    At(Rung),
    /// It outlived SIGKILL and its confirmation.
    Survived(SurvivalCause),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyGone => f.pad("already gone"),
            Self::At(rung) => rung.fmt(f),
            Self::Survived(cause) => f.pad(&format!("survived: {cause}")),
        }
    }
}

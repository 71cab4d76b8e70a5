//! What a registry says about its processes and sessions at one moment.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::containment::Containment;
use crate::event::Origin;
use crate::report::SurvivalCause;
use crate::session::{ProcessId, SessionId};
use crate::stop::Rung;

/// A registered process, as it was when the registry was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The registry's name for it.
    pub id: ProcessId,
    /// Its pid.
    pub pid: u32,
    /// The session that it is a member of.
    pub session: SessionId,
    /// Its label.
    pub label: Option<Arc<str>>,
    /// How it came to the registry.
    pub origin: Origin,
    /// How long it has been registered.
    pub age: Duration,
    /// What is being done with it.
    pub state: ProcessState,
    /// The tier that is in force for it, which may be a weaker one than was asked for.
    pub containment: Containment,
    /// Program and arguments, as far as they are known; empty if they are not.
    pub command_line: Vec<OsString>,
}

impl ProcessInfo {
    /// Builds one, for a host's tests, who may then set the other fields: no label, no age, no
    /// command line, and [`Containment::Group`].
    pub fn from_parts(
        id: ProcessId,
        pid: u32,
        session: SessionId,
        origin: Origin,
        state: ProcessState,
    ) -> Self {
        Self {
            id,
            pid,
            session,
            label: None,
            origin,
            age: Duration::ZERO,
            state,
            containment: Containment::Group,
            command_line: Vec::new(),
        }
    }
}

/// What is being done with a registered process.
///
/// `Display` prints `running`, `ending (SIGTERM)` or `survived: not permitted to signal it`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// Nothing.
    Running,
    /// It is being ended.
    Ending {
        /// The rung that is in force.
        rung: Rung,
    },
    /// It outlived SIGKILL and its confirmation, and is still watched.
    Survived(SurvivalCause),
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.pad("running"),
            Self::Ending { rung } => f.pad(&format!("ending ({rung})")),
            Self::Survived(cause) => f.pad(&format!("survived: {cause}")),
        }
    }
}

/// A living session, as it was when the registry was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its number.
    pub id: SessionId,
    /// Its label.
    pub label: Option<Arc<str>>,
    /// How long this life of its number has lasted.
    pub age: Duration,
    /// How many registered processes of it live. Zero is not the end: empty is not ended.
    pub processes: usize,
    /// The rung that is in force, if it is being ended.
    pub ending: Option<Rung>,
}

impl SessionInfo {
    /// Builds one, for a host's tests, who may then set the other fields: no label, no age, not
    /// ending.
    pub fn from_parts(id: SessionId, processes: usize) -> Self {
        Self {
            id,
            label: None,
            age: Duration::ZERO,
            processes,
            ending: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn a_state_prints_as_a_person_says_it() {
        let rung = Rung::Signal(Signal::TERM);
        assert_eq!(ProcessState::Running.to_string(), "running");
        assert_eq!(
            ProcessState::Ending { rung }.to_string(),
            "ending (SIGTERM)"
        );
        assert_eq!(
            ProcessState::Survived(SurvivalCause::Unknown).to_string(),
            "survived: cause unknown"
        );
    }
}

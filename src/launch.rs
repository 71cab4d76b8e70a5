//! [`Launch`]: what can be started.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::Arc;

use crate::containment::Containment;
use crate::cradles::Cradles;
use crate::launch_threads::LaunchThreads;
use crate::limit_mark::Pair;
use crate::mark;
use crate::reactor::Spawning;
use crate::sys::{Facilities, Leaf, Pin};

/// What a [`Registry`](crate::Registry) can start: [`std::process::Command`] and [`Command`](crate::Command), whose docs
/// say which is better when. Sealed.
pub trait Launch: sealed::Sealed {}

impl Launch for Command {}

/// How something is to be started.
#[derive(Debug)]
#[expect(unnameable_types, reason = "an argument of the sealed trait")]
pub struct Setup<'a> {
    /// As the leader of a group of its own.
    pub(crate) own_group: bool,
    /// What is added to the mark that this process carries itself.
    pub(crate) token: Option<mark::Token>,
    /// The mark in its limits. A native launch sets it before exec; std's is marked afterwards, by the caller.
    pub(crate) limit_mark: Option<Pair>,
    /// The cgroup that it is to be in. A native launch enters before exec; std's is moved afterwards, by the caller.
    pub(crate) leaf: Option<&'a Leaf>,
    /// Whoever ends the session meanwhile finds the launch by it.
    pub(crate) spawning: &'a Spawning,
    /// For launches that are bound to the thread that does them.
    pub(crate) threads: &'a LaunchThreads,
    pub(crate) cradles: &'a Cradles,
    pub(crate) facilities: Facilities,
}

/// What was started.
#[derive(Debug)]
#[expect(unnameable_types, reason = "an answer of the sealed trait")]
pub enum Launched {
    /// By std, which does not tell more than its number.
    Std(Child),
    /// Natively: held from its birth.
    Native {
        /// What holds it.
        #[expect(private_interfaces, reason = "the trait is sealed")]
        pin: Pin,
        /// Our ends of its pipes.
        pipes: Outlets,
    },
}

/// Our ends of a child's pipes.
#[derive(Debug, Default)]
#[expect(unnameable_types, reason = "an answer of the sealed trait")]
pub struct Outlets {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

/// Why nothing was started.
#[derive(Debug)]
#[expect(unnameable_types, reason = "an answer of the sealed trait")]
pub enum Failure {
    /// It cannot be, and was not tried.
    Refused(&'static str),
    /// The system refused.
    System {
        /// Which step it was, if that is known.
        step: Option<Cow<'static, str>>,
        /// What it said.
        error: io::Error,
    },
    /// The session's end began before the start.
    Doomed,
}

impl Failure {
    pub(crate) fn refused(why: &'static str) -> Self {
        Self::Refused(why)
    }

    pub(crate) fn at(step: impl Into<Cow<'static, str>>, error: io::Error) -> Self {
        let step = Some(step.into());
        Self::System { step, error }
    }

    pub(crate) fn streams(error: io::Error) -> Self {
        Self::at("the standard streams", error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System { step: None, error }
    }
}

pub(crate) mod sealed {
    use super::{Arc, Containment, Failure, Launched, OsStr, OsString, Setup};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {
        /// The program, as it was given.
        fn program(&self) -> &OsStr;
        /// The program and its arguments.
        fn command_line(&self) -> Arc<[OsString]>;
        /// How it wants to be contained, if it says.
        fn containment(&self) -> Option<Containment>;
        /// The user that it will run as, and its groups, as far as it says.
        fn rights(&self) -> (u32, Vec<u32>);
        /// Starts it, and is afterwards what it was before.
        fn launch(&mut self, setup: &Setup<'_>) -> Result<Launched, Failure>;
    }
}

impl sealed::Sealed for Command {
    fn program(&self) -> &OsStr {
        self.get_program()
    }

    fn command_line(&self) -> Arc<[OsString]> {
        std::iter::once(self.get_program())
            .chain(self.get_args())
            .map(OsStr::to_owned)
            .collect()
    }

    fn containment(&self) -> Option<Containment> {
        None
    }

    /// What it has been told does not come out of it again. What it starts is never said to be unable to leave anything.
    fn rights(&self) -> (u32, Vec<u32>) {
        (0, Vec::new())
    }

    /// A group and a variable leave std on its `posix_spawn` path, whose cost does not grow with the host.
    fn launch(&mut self, setup: &Setup<'_>) -> Result<Launched, Failure> {
        if setup.own_group {
            self.process_group(0);
        }
        let Some(token) = &setup.token else {
            return Ok(Launched::Std(self.spawn()?));
        };
        let explicit = self
            .get_envs()
            .find(|(key, _)| *key == mark::VARIABLE)
            .map(|(_, value)| value.map(OsStr::to_owned));
        let inherited = std::env::var_os(mark::VARIABLE);
        // What the child would have had without us.
        let own = match explicit {
            Some(value) => value,
            None => inherited,
        };
        self.env(mark::VARIABLE, mark::nest(own.as_deref(), token));
        let spawned = self.spawn();
        // "Inherit" cannot be said of a variable that was set once: its value, or its absence, is said instead.
        match own {
            Some(value) => self.env(mark::VARIABLE, value),
            None => self.env_remove(mark::VARIABLE),
        };
        Ok(Launched::Std(spawned?))
    }
}

//! [`Launch`]: what can be started.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;

use crate::mark;

/// What a [`Registry`](crate::Registry) can start: [`std::process::Command`]. Sealed.
pub trait Launch: sealed::Sealed {}

impl Launch for Command {}

/// How something is to be started.
#[derive(Debug)]
#[expect(unnameable_types, reason = "an argument of the sealed trait")]
pub struct Setup {
    /// As the leader of a group of its own.
    pub(crate) own_group: bool,
    /// What is added to the mark that this process carries itself.
    pub(crate) token: Option<mark::Token>,
}

pub(crate) mod sealed {
    use super::{Arc, Child, OsStr, OsString, Setup, io};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {
        /// The program, as it was given.
        fn program(&self) -> &OsStr;
        /// The program and its arguments.
        fn command_line(&self) -> Arc<[OsString]>;
        /// Starts it, and is afterwards what it was before.
        fn launch(&mut self, setup: &Setup) -> io::Result<Child>;
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

    /// A group and a variable leave std on its `posix_spawn` path, whose cost does not grow with the host.
    fn launch(&mut self, setup: &Setup) -> io::Result<Child> {
        if setup.own_group {
            self.process_group(0);
        }
        let Some(token) = &setup.token else {
            return self.spawn();
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
        spawned
    }
}

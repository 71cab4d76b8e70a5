//! [`SystemProcess`]: a process of the system, read after its identity was pinned.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::ProcessFacts;

/// A process of the system, read after its identity was pinned.
///
/// A predicate gets it, to say whether this is the process that was meant. What it shows was read
/// from `/proc` after a pidfd was opened, and the pidfd was then seen to be still alive: it is this
/// process's, not that of one that had the same pid before or after.
///
/// `Debug` shows which variables the environment has, not their values, which are often secrets.
///
/// # Examples
///
/// ```
/// use procession::SystemProcess;
///
/// fn is_our_server(process: &SystemProcess) -> bool {
///     process.args().first().is_some_and(|arg| arg == "server")
///         && process.env("PORT").is_some_and(|port| port == "8080")
/// }
///
/// let server = SystemProcess::from_parts(4711, vec!["server".into()]).with_env("PORT", "8080");
/// assert!(is_our_server(&server));
/// assert!(!is_our_server(&SystemProcess::from_parts(4711, vec!["server".into()])));
/// ```
///
/// # Caveats
///
/// A program can overwrite its own arguments and environment (servers that set their title do), and
/// what another user's process has in its environment is not to be read.
#[derive(Clone)]
pub struct SystemProcess {
    pub(crate) pid: u32,
    pub(crate) parent: Option<u32>,
    pub(crate) args: Vec<OsString>,
    pub(crate) exe: Option<PathBuf>,
    pub(crate) user: u32,
    pub(crate) age: Duration,
    pub(crate) environ: Vec<(OsString, OsString)>,
}

impl SystemProcess {
    /// What was read about a process that is pinned.
    pub(crate) fn new(pid: u32, read: ProcessFacts) -> Self {
        Self {
            pid,
            parent: read.parent,
            args: read.args,
            exe: read.exe,
            user: read.user,
            age: read.age,
            environ: read.environ,
        }
    }

    /// Builds one, for a host's tests: user 0, just started, without parent, executable and
    /// environment.
    pub fn from_parts(pid: u32, args: Vec<OsString>) -> Self {
        Self {
            pid,
            parent: None,
            args,
            exe: None,
            user: 0,
            age: Duration::ZERO,
            environ: Vec::new(),
        }
    }

    /// Sets the parent's pid, for a host's tests.
    #[must_use]
    pub fn with_parent(mut self, parent: u32) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets the executable, for a host's tests.
    #[must_use]
    pub fn with_exe(mut self, exe: impl Into<PathBuf>) -> Self {
        self.exe = Some(exe.into());
        self
    }

    /// Sets the user, for a host's tests.
    #[must_use]
    pub fn with_user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    /// Sets the age, for a host's tests.
    #[must_use]
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Adds a variable to the environment, for a host's tests.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environ.push((key.into(), value.into()));
        self
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its parent's pid. `None` where it has none in this pid namespace, or the system does not
    /// say.
    pub fn parent(&self) -> Option<u32> {
        self.parent
    }

    /// Program and arguments, as the process shows them. Empty for a kernel thread and for a
    /// zombie.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Program and arguments in one string, a space between two, for a search or for a person.
    ///
    /// What is not Unicode is replaced by U+FFFD. Where one argument ends and the next begins is
    /// not to be seen: [`args`](Self::args) tells `a b` from `'a b'`.
    pub fn command_line(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    /// The file that it executes. `None` where the system does not say, as for another user's
    /// process.
    pub fn exe(&self) -> Option<&Path> {
        self.exe.as_deref()
    }

    /// The id of the user that it runs as: the real one.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// How long ago it started, to the clock tick (10 ms, mostly).
    pub fn age(&self) -> Duration {
        self.age
    }

    /// A variable of the environment that it was started with; the first, if there are several of
    /// the name.
    pub fn env(&self, key: &str) -> Option<OsString> {
        let mut environ = self.environ.iter();
        let (_, value) = environ.find(|(name, _)| name == key)?;
        Some(value.clone())
    }
}

impl fmt::Debug for SystemProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            parent,
            args,
            exe,
            user,
            age,
            environ,
        } = self;
        let variables: Vec<_> = environ.iter().map(|(name, _)| name).collect();
        f.debug_struct("SystemProcess")
            .field("pid", pid)
            .field("parent", parent)
            .field("args", args)
            .field("exe", exe)
            .field("user", user)
            .field("age", age)
            .field("environ", &variables)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn the_first_of_two_variables_of_a_name_counts() {
        let process = SystemProcess::from_parts(1, vec![])
            .with_env("A", "1")
            .with_env("A", "2");
        assert_eq!(process.env("A"), Some("1".into()));
        assert_eq!(process.env("B"), None);
    }

    #[test]
    fn a_command_line_is_text_whatever_the_arguments_are() {
        let bytes = OsString::from_vec(vec![b'a', 0xff]);
        let process = SystemProcess::from_parts(1, vec!["say".into(), bytes]);
        assert_eq!(process.command_line(), "say a\u{fffd}");
        assert_eq!(
            SystemProcess::from_parts(1, vec![]).command_line(),
            String::new()
        );
    }

    #[test]
    fn secrets_of_the_environment_are_not_printed() {
        let process = SystemProcess::from_parts(1, vec![]).with_env("TOKEN", "hunter2");
        let shown = format!("{process:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"));
    }
}

//! [`SystemProcess`]: a process of the system, read after its identity was pinned.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::{Environ, ProcessFacts};

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
    pub(crate) environ: Environ,
    pub(crate) reparented: Option<bool>,
}

impl SystemProcess {
    /// What was read about a process that is pinned, and what is known of its parent.
    pub(crate) fn new(pid: u32, read: ProcessFacts, reparented: Option<bool>) -> Self {
        Self {
            pid,
            parent: read.parent,
            args: read.args,
            exe: read.exe,
            user: read.user,
            age: read.age,
            environ: read.environ,
            reparented,
        }
    }

    /// Builds one, for a host's tests: user 0, just started, without parent, executable and
    /// environment, and nothing known of whether it was reparented.
    pub fn from_parts(pid: u32, args: Vec<OsString>) -> Self {
        Self {
            pid,
            parent: None,
            args,
            exe: None,
            user: 0,
            age: Duration::ZERO,
            environ: Environ::default(),
            reparented: None,
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
        self.environ.push(&key.into(), &value.into());
        self
    }

    /// Sets whether it was reparented, for a host's tests.
    #[must_use]
    pub fn with_reparented(mut self, reparented: bool) -> Self {
        self.reparented = Some(reparented);
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

    /// Whether its parent is one that has taken it in, since the one that started it is gone.
    ///
    /// On macOS the kernel keeps who started a process, and says so. It is `None` while the process
    /// is traced, since its tracer is its parent for as long, and where it cannot be read; and of a
    /// child of launchd on versions that do not tell who started it once it has executed another
    /// program: it may have come from there, or have lost its parent before that.
    ///
    /// Linux and FreeBSD do not keep that. So this is put together from what can be seen:
    ///
    /// * `Some(true)`: its parent was started after it, or is younger than the session that it was
    ///   born into, and so cannot have started it. Or its parent is one that orphans come to: the
    ///   first process, the nearest ancestor of this program that has asked for orphans (a
    ///   *subreaper*; which that is, a sweep finds out on
    ///   Linux by making an orphan), or a program that is
    ///   known for it (`systemd --user`, `tini` and the like). What *those* have started themselves,
    ///   an init its services, cannot be told from that, and is `Some(true)` as well: a rule needs a
    ///   second part that tells who is meant.
    /// * `Some(false)`: its parent is this program, or nothing of the above.
    /// * `None`: it cannot be told. So it is where the parent is this program and orphans come to
    ///   it: as the first process of a container it has children of its own whose parent is pid 1.
    ///   And so it is where the parent lies outside of this pid namespace, or cannot be read.
    ///
    /// An orphan under a subreaper that is none of these looks like a child, and is missed.
    pub fn is_reparented(&self) -> Option<bool> {
        self.reparented
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
        let mut environ = self.environ.variables();
        let (_, value) = environ.find(|(name, _)| *name == key)?;
        Some(value.to_owned())
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
            reparented,
        } = self;
        let variables: Vec<_> = environ.variables().map(|(name, _)| name).collect();
        f.debug_struct("SystemProcess")
            .field("pid", pid)
            .field("parent", parent)
            .field("args", args)
            .field("exe", exe)
            .field("user", user)
            .field("age", age)
            .field("environ", &variables)
            .field("reparented", reparented)
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

//! [`Command`], the builder.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::Changes;
use super::resource::Resource;
use super::stdio::{Stdio, Stream};
use crate::containment::Containment;
use crate::signal::Signal;

/// A program to be launched natively, with the methods and semantics of [`std::process::Command`] and more.
///
/// # Which of the two
///
/// A registry takes both. They cost the same as long as nothing beyond a process group is asked for.
///
/// * std's leaves its fast path as soon as a user, a session or a `pre_exec` closure is asked for, and then forks: 11 ms in
///   a host that uses 256 MiB, 271 ms at 8 GiB. This one stays at what a small host pays, with everything but another user.
/// * This one's child is held from its birth: with SIGCHLD ignored, or another thread that reaps whatever it finds, its
///   status is still told where the kernel can (Linux 6.15).
/// * A launch of this one that hangs, in an exec from a file server that is gone, is ended with its session. One of std's
///   has to be waited for.
/// * std's takes a `pre_exec` closure, and a [`std::process::Stdio`]. This one takes neither.
///
/// # What the child starts with
///
/// An empty signal mask, and the default disposition of every signal, SIGPIPE included, whatever this program ignores or
/// blocks: see [`reset_ignored_signals`](Self::reset_ignored_signals) and [`reset_signal_mask`](Self::reset_signal_mask).
/// Its standard streams are this program's, unless something else is said. The program is searched for in the `PATH` that
/// the child gets; one with a slash in its name is taken as it is, relative to the child's own directory. A script
/// without `#!` is an error (`ENOEXEC`), as it is with std.
///
/// # Errors
///
/// What cannot be is refused by the spawn with [`InvalidInput`](crate::ErrorKind::InvalidInput), before anything is started.
/// What the kernel refuses is [`SpawnFailed`](crate::ErrorKind::SpawnFailed), whose message names the step: `chdir`,
/// `setgid`, `exec`.
///
/// # Portability
///
/// [`close_other_descriptors`](Self::close_other_descriptors) needs Linux 5.9; the rest works from 5.4 on.
///
/// On macOS and FreeBSD it is `posix_spawn` that launches. What that has no attribute for is refused with
/// [`Unsupported`](crate::ErrorKind::Unsupported) before anything is started: user and groups, limits, niceness, umask, the
/// parent-death signal; on FreeBSD also a session of its own and the closing of other descriptors. A launch that hangs, as
/// on a file system whose server is gone, is not ended by the end of its session there.
/// [`Capability::FullLaunch`](crate::Capability::FullLaunch) says all that. A program that is named by a relative
/// path and starts in [another directory](Self::current_dir) is looked for from there, as on Linux, and started by its absolute
/// path.
///
/// # Examples
///
/// ```no_run
/// use procession::{Command, Registry, Signal, Stdio};
///
/// # fn main() -> procession::Result<()> {
/// let registry = Registry::new()?;
/// let mut command = Command::new("server");
/// command
///     .arg("--stdio")
///     .stdin(Stdio::piped())
///     .new_session(true)
///     .parent_death_signal(Signal::KILL);
/// let server = registry.spawn(7, &mut command)?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Command {
    pub(super) program: OsString,
    pub(super) arg0: Option<OsString>,
    pub(super) args: Vec<OsString>,
    pub(super) environment: Changes,
    pub(super) directory: Option<PathBuf>,
    /// Standard input, output, error.
    pub(super) streams: [Stream; 3],
    pub(super) descriptors: Vec<(Arc<OwnedFd>, i32)>,
    pub(super) close_others: bool,
    pub(super) containment: Option<Containment>,
    pub(super) process_group: Option<i32>,
    pub(super) new_session: bool,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) parent_death_signal: Option<Signal>,
    pub(super) reset_mask: bool,
    pub(super) reset_ignored: bool,
    pub(super) nice: Option<i32>,
    pub(super) umask: Option<u32>,
    pub(super) limits: Vec<(Resource, Option<u64>, Option<u64>)>,
}

impl Command {
    /// A program without arguments, with this program's environment, directory and standard streams.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arg0: None,
            args: Vec::new(),
            environment: Changes::default(),
            directory: None,
            streams: [Stream::Inherit, Stream::Inherit, Stream::Inherit],
            descriptors: Vec::new(),
            close_others: false,
            containment: None,
            process_group: None,
            new_session: false,
            uid: None,
            gid: None,
            groups: None,
            parent_death_signal: None,
            reset_mask: true,
            reset_ignored: true,
            nice: None,
            umask: None,
            limits: Vec::new(),
        }
    }

    // ---- what std's has

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What the program sees as its own name; the program itself if nothing is said.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.arg0 = Some(arg.as_ref().to_owned());
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment.set(name.as_ref(), value.as_ref());
        self
    }

    /// Sets variables of the environment.
    pub fn envs<I, K, V>(&mut self, variables: I) -> &mut Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (name, value) in variables {
            self.environment.set(name.as_ref(), value.as_ref());
        }
        self
    }

    /// Removes a variable from the environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.environment.remove(name.as_ref());
        self
    }

    /// Inherits no variable, and forgets those that were set. The mark of the registry is there all the same.
    pub fn env_clear(&mut self) -> &mut Self {
        self.environment.clear();
        self
    }

    /// The directory that the program starts in.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Its standard input; this program's if nothing is said.
    pub fn stdin(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(0, stream.into())
    }

    /// Its standard output; this program's if nothing is said.
    pub fn stdout(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(1, stream.into())
    }

    /// Its standard error; this program's if nothing is said.
    pub fn stderr(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(2, stream.into())
    }

    fn stream(&mut self, which: usize, Stdio(stream): Stdio) -> &mut Self {
        self.streams[which] = stream;
        self
    }

    /// The program.
    pub fn get_program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments, without the program.
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.args.iter().map(OsString::as_os_str)
    }

    /// What is set and, as `None`, removed in the environment, by name.
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> {
        self.environment.iter()
    }

    /// The directory that the program starts in, if one was said.
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The user that it runs as: real, effective and saved.
    ///
    /// Where no [`groups`](Self::groups) were said, the child has no supplementary group, as with std; it keeps this
    /// program's if they may not be given up (without `CAP_SETGID`).
    ///
    /// # Caveats
    ///
    /// A launch that changes user or groups cannot borrow this program's memory and copies its page tables, as every fork
    /// does: about 10 ms for each 256 MiB in use. To avoid that in a large host, launch a small program that changes its
    /// user itself, `setpriv` or `runuser`.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.uid = Some(id);
        self
    }

    /// The group that it runs as: real, effective and saved. Costs what [`uid`](Self::uid) costs.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.gid = Some(id);
        self
    }

    /// Its supplementary groups. Costs what [`uid`](Self::uid) costs.
    pub fn groups(&mut self, groups: impl Into<Vec<u32>>) -> &mut Self {
        self.groups = Some(groups.into());
        self
    }

    /// The process group that it joins; 0 for one of its own.
    ///
    /// [`Containment::Group`], the default, means one of its own, and refuses to have it in another.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.process_group = Some(group);
        self
    }

    // ---- what std's has not

    /// How it is contained, instead of what its session or the registry says. What
    /// [`SpawnOptions::containment`](crate::SpawnOptions::containment) says goes before this.
    pub fn containment(&mut self, tier: Containment) -> &mut Self {
        self.containment = Some(tier);
        self
    }

    /// Whether it leads a new session (`setsid`), and with it a group of its own: without a terminal, so that neither Ctrl-C
    /// nor a hang-up reaches it.
    pub fn new_session(&mut self, yes: bool) -> &mut Self {
        self.new_session = yes;
        self
    }

    /// The signal that the kernel sends it when this program dies, however it dies.
    ///
    /// # Caveats
    ///
    /// The kernel sends it at the end of the *thread* that launched. So launches from any other than the program's first
    /// thread are done by threads of the registry, which live as long as it does, and the child has inherited what is a
    /// thread's own (processors, scheduling, capabilities, `nice`) from one of those. With
    /// [`OnDrop::Detach`](crate::OnDrop::Detach) the threads stay behind. A program whose first thread leaves before the
    /// others (`pthread_exit` in a C program's `main`) launches from another one.
    ///
    /// It is not inherited by what the child starts, and a set-uid program loses it.
    pub fn parent_death_signal(&mut self, signal: Signal) -> &mut Self {
        self.parent_death_signal = Some(signal);
        self
    }

    /// Whether it starts with an empty signal mask; otherwise with that of the calling thread. On unless said otherwise.
    pub fn reset_signal_mask(&mut self, yes: bool) -> &mut Self {
        self.reset_mask = yes;
        self
    }

    /// Whether signals that this program ignores, SIGPIPE included, are back at their default; otherwise it ignores them
    /// too. On unless said otherwise.
    pub fn reset_ignored_signals(&mut self, yes: bool) -> &mut Self {
        self.reset_ignored = yes;
        self
    }

    /// Its niceness, from -20 to 19: as such, not on top of this program's.
    pub fn nice(&mut self, niceness: i32) -> &mut Self {
        self.nice = Some(niceness);
        self
    }

    /// Its `umask`, the permission bits that files it makes do not get.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = Some(mask);
        self
    }

    /// A resource limit, soft and hard; `None` is unlimited. It is set before the user changes.
    pub fn rlimit(
        &mut self,
        resource: Resource,
        soft: Option<u64>,
        hard: Option<u64>,
    ) -> &mut Self {
        self.limits.retain(|(known, ..)| *known != resource);
        self.limits.push((resource, soft, hard));
        self
    }

    /// Passes a descriptor, which has this number in the child. Two with the same number are refused, as is a standard
    /// stream that was asked for both ways.
    ///
    /// It stays open here as long as the command is there.
    pub fn descriptor(&mut self, descriptor: impl Into<OwnedFd>, number: i32) -> &mut Self {
        self.descriptors.push((Arc::new(descriptor.into()), number));
        self
    }

    /// Whether every descriptor is closed that is neither a standard stream nor [passed](Self::descriptor); also those that
    /// this program has open for its children to inherit. Off unless said otherwise.
    pub fn close_other_descriptors(&mut self, yes: bool) -> &mut Self {
        self.close_others = yes;
        self
    }
}

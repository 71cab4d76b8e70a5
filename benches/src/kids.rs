//! The children that the ways start: how they are launched, told to go, and looked at.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Outcome;

/// Where the child's program lies is told by the environment: only the bench target knows it at compile time.
pub const CHILD: &str = "PROCESSION_BENCH_CHILD";

/// How many a child that is a tree has below it.
pub const DESCENDANTS: usize = 100;

/// A child to be started, for whichever kind of command a way needs: async-process forgets what was set on a command
/// that it is made from.
#[derive(Debug)]
pub struct Kid {
    program: PathBuf,
    mode: &'static str,
    /// `None` is `/dev/null`.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
}

impl Kid {
    /// A child that leaves at once.
    pub fn quitter() -> Outcome<Self> {
        Self::new("quit", None, None)
    }

    fn new(mode: &'static str, stdin: Option<OwnedFd>, stdout: Option<OwnedFd>) -> Outcome<Self> {
        let program =
            std::env::var_os(CHILD).ok_or("the child's path is not in the environment")?;
        Ok(Self::of(program, mode, stdin, stdout))
    }

    fn of(
        program: impl Into<PathBuf>,
        mode: &'static str,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
    ) -> Self {
        Self {
            program: program.into(),
            mode,
            stdin,
            stdout,
        }
    }

    pub fn command(self) -> Command {
        let mut command = Command::new(self.program);
        command.arg(self.mode);
        command
            .stdin(std_io(self.stdin))
            .stdout(std_io(self.stdout));
        command
    }

    /// The same started by a shell that runs this script, in which `$0` is its first argument and `$@` the child.
    pub fn command_by(self, script: &str, first: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(first).arg(self.program);
        command.arg(self.mode);
        command
            .stdin(std_io(self.stdin))
            .stdout(std_io(self.stdout));
        command
    }

    pub fn native_command(self) -> procession::Command {
        let stdio = |end: Option<OwnedFd>| end.map_or_else(procession::Stdio::null, Into::into);
        let mut command = procession::Command::new(self.program);
        command.arg(self.mode);
        command.stdin(stdio(self.stdin)).stdout(stdio(self.stdout));
        command
    }

    pub fn subprocess(self) -> subprocess::Exec {
        let exec = subprocess::Exec::cmd(self.program).arg(self.mode);
        let exec = match self.stdin {
            Some(stdin) => exec.stdin(File::from(stdin)),
            None => exec.stdin(subprocess::Redirection::Null),
        };
        match self.stdout {
            Some(stdout) => exec.stdout(File::from(stdout)),
            None => exec.stdout(subprocess::Redirection::Null),
        }
    }

    pub fn async_command(self) -> async_process::Command {
        let mut command = async_process::Command::new(self.program);
        command.arg(self.mode);
        command
            .stdin(std_io(self.stdin))
            .stdout(std_io(self.stdout));
        command
    }
}

fn std_io(end: Option<OwnedFd>) -> Stdio {
    end.map_or_else(Stdio::null, Stdio::from)
}

/// The two ends that make a stamping child go, and tell when it went.
#[derive(Debug)]
pub struct Stamp {
    go: PipeWriter,
    went: PipeReader,
}

impl Stamp {
    /// A child that leaves two milliseconds after it was told to. The pipes are ours and not the way's: an async
    /// runtime would wrap them.
    pub fn child() -> Outcome<(Kid, Self)> {
        let (stdin, go) = pipe()?;
        let (went, stdout) = pipe()?;
        Ok((
            Kid::new("stamp", Some(stdin.into()), Some(stdout.into()))?,
            Self { go, went },
        ))
    }

    pub fn go(&mut self) -> std::io::Result<()> {
        self.go.write_all(b".")
    }

    /// The child's clock just before it left. The command must be dropped by now, or its end of the pipe stays open.
    pub fn at(mut self) -> Outcome<u64> {
        let mut bytes = [0; 8];
        self.went.read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// Makes children that live until they are killed or until this is dropped.
#[derive(Debug)]
pub struct Idlers {
    stdin: PipeReader,
    _open: PipeWriter,
}

impl Idlers {
    pub fn new() -> Outcome<Self> {
        let (stdin, open) = pipe()?;
        Ok(Self { stdin, _open: open })
    }

    pub fn child(&self) -> Outcome<Kid> {
        Kid::new("idle", Some(self.stdin.try_clone()?.into()), None)
    }

    /// What its children have for their standard input.
    pub fn input(&self) -> std::io::Result<PipeReader> {
        self.stdin.try_clone()
    }

    /// A child with [`DESCENDANTS`] children of its own, and the pipe on which all of them say their pids. With `half`
    /// every other one has a session of its own.
    pub fn tree(&self, half: bool) -> Outcome<(Kid, PipeReader)> {
        let (said, stdout) = pipe()?;
        let mode = if half { "tree-half" } else { "tree" };
        Ok((
            Kid::new(
                mode,
                Some(self.stdin.try_clone()?.into()),
                Some(stdout.into()),
            )?,
            said,
        ))
    }

    /// The same for the bench itself, where the environment does not say which program it is.
    pub fn child_of(&self, program: &str) -> Outcome<Kid> {
        let stdin = self.stdin.try_clone()?;
        Ok(Kid::of(program, "idle", Some(stdin.into()), None))
    }

    /// The same, and the pipe on which it says that it is up.
    pub fn child_that_says_so(&self) -> Outcome<(Kid, PipeReader)> {
        let (up, stdout) = pipe()?;
        Ok((
            Kid::new(
                "ready",
                Some(self.stdin.try_clone()?.into()),
                Some(stdout.into()),
            )?,
            up,
        ))
    }
}

/// Holds the identity of children, to say later who of them lives.
#[derive(Debug, Default)]
pub struct Roll(Vec<OwnedFd>);

impl Roll {
    /// Call it before anybody could have reaped the child.
    pub fn add(&mut self, pid: u32) -> Outcome<()> {
        self.0.push(pidfd_open(pid_of(pid)?, PidfdFlags::empty())?);
        Ok(())
    }

    /// The same identities, held once more.
    pub fn held_again(&self) -> Outcome<Self> {
        let all = self.0.iter().map(OwnedFd::try_clone);
        Ok(Self(all.collect::<std::io::Result<_>>()?))
    }

    /// Whoever is dead already is.
    pub fn kill(&self) -> std::io::Result<()> {
        for pidfd in &self.0 {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Returns when all of them are dead.
    pub fn await_dead(&self) -> std::io::Result<()> {
        for pidfd in &self.0 {
            poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None)?;
        }
        Ok(())
    }

    /// A pidfd is readable when its process is dead, reaped or not.
    pub fn alive(&self) -> Outcome<u64> {
        let mut fds: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now))?;
        let alive = fds.iter().filter(|fd| fd.revents().is_empty()).count();
        Ok(alive as u64)
    }
}

pub fn pid_of(pid: u32) -> Outcome<Pid> {
    Ok(Pid::from_raw(i32::try_from(pid)?).ok_or("pid 0")?)
}

//! What is started, and what it may do.

#![allow(
    unsafe_code,
    reason = "no safe crate forks without exec, or waits for every child"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use procession::{
    Command, Launch, Process, Registry, Result, Session, Signal, SpawnOptions, Status,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::chance::Chance;
use crate::support::adversary::{is_copy, linger};
use crate::support::{LONG_ENOUGH, Lines, Pinned, ignore_signal, now, say};

/// A program, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Exits at once with this code.
    Exits(u8),
    /// Does what signals say.
    Obedient,
    /// Is deaf to SIGTERM.
    Deaf,
    /// Exits with 0 at the end of its input, which is a pipe.
    Reader,
    /// Stays, and has made a daemon by two forks.
    Daemon,
    /// Stays, and has two children that have left its group.
    Scatterer,
    /// Stays, and has a child that forks, leaves and exits, for ever.
    Comet,
    /// Was there already, and is nobody's child; deaf or not.
    Attached(bool),
}

impl Kind {
    /// How many lines it says, and whether the first is only that it is ready; the others are pids of its descendants.
    fn says(self) -> (usize, usize) {
        match self {
            Self::Exits(_) | Self::Obedient | Self::Reader | Self::Attached(_) => (0, 0),
            Self::Deaf | Self::Comet => (1, 0),
            Self::Daemon => (1, 1),
            Self::Scatterer => (0, 2),
        }
    }

    pub(super) fn has_descendants(self) -> bool {
        matches!(self, Self::Daemon | Self::Scatterer | Self::Comet)
    }

    /// Whether it may exit by itself.
    pub(super) fn may_leave(self) -> bool {
        matches!(self, Self::Exits(_) | Self::Reader)
    }

    /// Whether this may be how it ended, after these signals may have been sent to it.
    pub(super) fn may_end_by(self, status: Status, sent: u64) -> bool {
        match status {
            Status::Code(code) => match self {
                Self::Exits(with) => code == i32::from(with),
                Self::Reader => code == 0,
                Self::Obedient
                | Self::Deaf
                | Self::Daemon
                | Self::Scatterer
                | Self::Comet
                | Self::Attached(_) => false,
            },
            Status::Signal { signal, .. } => sent & bit(signal) != 0,
            Status::Unknown => false,
        }
    }

    /// Once it has said that it is ready.
    pub(super) fn ignores(self, signal: Signal) -> bool {
        matches!(self, Self::Deaf | Self::Attached(true)) && signal == Signal::TERM
    }

    fn arguments(self) -> Vec<String> {
        let own = || {
            let own = std::env::current_exe().expect("an executable has a path");
            own.to_string_lossy().into_owned()
        };
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match self {
            Self::Exits(code) => words(&["/bin/sh", "-c", &format!("exit {code}")]),
            Self::Deaf => words(&["/bin/sh", "-c", "trap '' TERM; echo ready; exec sleep 300"]),
            Self::Obedient | Self::Attached(_) => words(&["/bin/sleep", "300"]),
            Self::Reader => words(&["/bin/cat"]),
            Self::Daemon => words(&[&own(), "role:daemon", "stays"]),
            Self::Scatterer => words(&[&own(), "role:scatterer"]),
            Self::Comet => words(&[&own(), "role:comet", "stays"]),
        }
    }

    fn has_output(self) -> bool {
        self.says() != (0, 0)
    }
}

/// The bit of a signal in a set of those that were sent.
pub(super) fn bit(signal: Signal) -> u64 {
    1 << signal.as_raw()
}

/// Where something is started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Where<'a> {
    Number(&'a Registry, u64),
    Handle(&'a Session),
}

impl Where<'_> {
    fn spawn(self, command: &mut impl Launch, options: &SpawnOptions) -> Result<Process> {
        match self {
            Self::Number(registry, number) => registry.spawn_with(number, command, options),
            Self::Handle(session) => session.spawn_with(command, options),
        }
    }
}

/// What holds on to somebody, beside the registry.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) pinned: Option<Pinned>,
    pub(super) descendants: Vec<Pinned>,
    /// Held by it and by all that it started.
    pub(super) output: Option<File>,
    /// It is what it is to be.
    pub(super) ready: bool,
}

/// Starts it, and looks at it. `None`: there was no descriptor for the test itself.
pub(super) fn start(
    kind: Kind,
    native: bool,
    place: Where<'_>,
    options: &SpawnOptions,
) -> Option<Result<(Process, Held)>> {
    let (spawned, mut held) = start_unseen(kind, native, place, options)?;
    Some(spawned.map(|process| {
        look_at(&process, kind, &mut held);
        (process, held)
    }))
}

/// The same without a look at it. What was refused may have started others before: they hold its output as well.
pub(super) fn start_unseen(
    kind: Kind,
    native: bool,
    place: Where<'_>,
    options: &SpawnOptions,
) -> Option<(Result<Process>, Held)> {
    let mut held = Held::default();
    let mut writer = None;
    if kind.has_output() {
        let (reader, end) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        held.output = Some(File::from(reader));
        writer = Some(end);
    }
    let arguments = kind.arguments();
    let reads = kind == Kind::Reader;
    let spawned = if native {
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]);
        command.stdin(if reads {
            procession::Stdio::piped()
        } else {
            procession::Stdio::null()
        });
        command.stdout(writer.map_or_else(procession::Stdio::null, procession::Stdio::from));
        place.spawn(&mut command, options)
    } else {
        let mut command = foreign(kind, writer.map_or_else(Stdio::null, Stdio::from));
        place.spawn(&mut command, options)
    };
    Some((spawned, held))
}

/// The same without the registry, which is given the child afterwards.
pub(super) fn start_alone(kind: Kind) -> std::io::Result<Child> {
    foreign(kind, Stdio::null()).spawn()
}

fn foreign(kind: Kind, output: Stdio) -> std::process::Command {
    let arguments = kind.arguments();
    let mut command = std::process::Command::new(&arguments[0]);
    command.args(&arguments[1..]).stdout(output);
    command.stdin(if kind == Kind::Reader {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command
}

/// Pins it and hears from it. Whoever is gone by now may have had its number taken by somebody else.
pub(super) fn look_at(process: &Process, kind: Kind, held: &mut Held) {
    // Numbers come round after tens of thousands of forks, and there are none in between.
    let pinned = Pinned::open(process.pid()).ok();
    let lives = |process: &Process| matches!(process.try_wait(), Ok(None));
    held.pinned = pinned.filter(|_| lives(process));
    let (words, pids) = kind.says();
    let Some(output) = &held.output else {
        held.ready = true;
        return;
    };
    let mut said = Said::new(output);
    for _ in 0..words {
        if said.line().is_none() {
            return;
        }
    }
    for _ in 0..pids {
        let Some(line) = said.line() else {
            return;
        };
        let pid = line.parse().expect("a pid");
        // It holds the pipe for as long as it lives; and it stays until it is ended, with its session.
        let pinned = Pinned::open(pid).ok();
        held.descendants.extend(pinned);
    }
    held.ready = true;
}

/// Reads lines without a buffer, and not for ever: whoever writes them may be killed, or stopped.
struct Said<'a>(&'a File);

impl<'a> Said<'a> {
    fn new(output: &'a File) -> Self {
        Self(output)
    }

    fn line(&mut self) -> Option<String> {
        let deadline = now() + LONG_ENOUGH;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(now());
            let left = Timespec::try_from(left).expect("it fits");
            let ready = poll(&mut [PollFd::new(self.0, PollFlags::IN)], Some(&left));
            let mut byte = [0];
            match ready {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) | Err(_) => panic!("a program says nothing and does not end"),
                Ok(_) => {}
            }
            match rustix::io::read(self.0, &mut byte) {
                Ok(0) => return None,
                Ok(_) if byte == *b"\n" => return String::from_utf8(line).ok(),
                Ok(_) => line.push(byte[0]),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("a pipe can be read: {error}"),
            }
        }
    }
}

/// Stays, and has two children that have left its group.
pub(super) fn scatterer() {
    for _ in 0..2 {
        if is_copy() {
            rustix::process::setsid().expect("it leads no group");
            say(std::process::id());
            linger();
        }
    }
    linger();
}

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Has children that are not the host's, and that nobody has to wait for. They go with it, and it goes with the host: its
/// input and output is a socket whose other end is the host's alone.
pub(super) fn nursery() {
    ignore_signal(libc::SIGCHLD);
    let own = rustix::process::getpid();
    for line in std::io::stdin().lines() {
        let deaf = line.expect("a socket") == "deaf";
        if is_copy() {
            die_with_parent();
            if rustix::process::getppid() != Some(own) {
                return;
            }
            rustix::process::setpgid(None, None).expect("our own");
            if deaf {
                ignore_signal(libc::SIGTERM);
            }
            say(std::process::id());
            for_ever();
        }
    }
}

/// However it comes to its end: nobody is left then who has nobody to end it.
pub(super) fn die_with_parent() {
    let kill = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(kill).expect("it is a signal");
}

/// The host's end of it, which is its standard input.
pub(super) struct Nursery(Mutex<(File, Lines)>);

impl Nursery {
    pub(super) fn at_standard_input() -> Self {
        let socket = || {
            let own = std::io::stdin().as_fd().try_clone_to_owned();
            File::from(own.expect("a descriptor"))
        };
        Self(Mutex::new((socket(), Lines::new(socket()))))
    }

    /// A new process, which is not our child.
    pub(super) fn bear(&self, deaf: bool) -> u32 {
        let mut talk = self.0.lock().expect("nobody panicked");
        let word = if deaf { "deaf" } else { "plain" };
        writeln!(talk.0, "{word}").expect("a socket");
        talk.1.number()
    }
}

/// Waits for whoever has exited, as a careless part of a host may. Says how many it was.
pub(super) fn wait_for_anybody(chance: &mut Chance) -> u64 {
    let mut taken = 0;
    for _ in 0..=chance.below(4) {
        // SAFETY: a null status pointer is allowed.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if pid <= 0 {
            break;
        }
        taken += 1;
    }
    taken
}

/// Waits for a child that nobody else waits for.
pub(super) fn bury(pid: u32) {
    let pid = i32::try_from(pid).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    // Somebody who waits for everybody may have been faster.
    let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
}

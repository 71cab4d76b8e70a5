//! Starting roles, and hearing from them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};

use procession::{Process, Registry, SessionId};

use super::platform;

/// A command that runs this executable in a role, with nothing to read.
pub(crate) fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("an executable has a path"));
    command.arg(format!("role:{name}")).stdin(Stdio::null());
    command
}

/// Starts a role in a session, and returns when it says that it is ready, with what it says next.
#[track_caller]
pub(crate) fn start(
    registry: &Registry,
    session: impl Into<SessionId>,
    command: &mut Command,
) -> (Process, Lines) {
    let process = registry
        .spawn(session, command.stdout(Stdio::piped()))
        .expect("a role can be started");
    let mut lines = Lines::new(process.take_stdout().expect("its output is a pipe"));
    lines.expect("ready");
    (process, lines)
}

/// Starts a role in a session with a standard input that the library does not hold: the role leaves when the returned
/// end is dropped, or whatever it does at the end of its input.
#[track_caller]
pub(crate) fn controlled(
    registry: &Registry,
    session: impl Into<SessionId>,
    command: &mut Command,
) -> (Process, File, Lines) {
    let (input, control) = pipe();
    let (process, lines) = start(registry, session, command.stdin(input));
    (process, control, lines)
}

/// Starts a role without the library, and returns when it says that it is ready. The test has to wait for it.
#[track_caller]
pub(crate) fn host(command: &mut Command) -> (Child, ChildStdin, Lines) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a role can be started");
    let mut lines = Lines::new(child.stdout.take().expect("its output is a pipe"));
    lines.expect("ready");
    let control = child.stdin.take().expect("its input is a pipe");
    (child, control, lines)
}

/// What a role says, line by line.
pub(crate) struct Lines(BufReader<Box<dyn Read + Send>>);

impl Lines {
    pub(crate) fn new(from: impl Read + Send + 'static) -> Self {
        Self(BufReader::new(Box::new(from)))
    }

    /// The next line; `None` once nobody is left who could write one.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a pipe can be read");
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The next line, which has to be there.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.next()
            .expect("the role ended without saying what it had to")
    }

    /// The number on the next line.
    #[track_caller]
    pub(crate) fn number(&mut self) -> u32 {
        self.line().parse().expect("the role says a number")
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, word: &str) {
        assert_eq!(self.line(), word);
    }
}

/// A pipe that nobody inherits: the end to read from, and the end to write to.
pub(crate) fn pipe() -> (File, File) {
    let (reader, writer) = platform::new_pipe().expect("a pipe");
    (File::from(reader), File::from(writer))
}

/// A program that lives until it is ended.
pub(crate) fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

/// One output that many roles share, to wait for all of them.
pub(crate) struct Crowd {
    output: File,
    lines: Lines,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let (reader, output) = pipe();
        Self {
            output,
            lines: Lines::new(reader),
        }
    }

    /// The standard output for one more.
    pub(crate) fn output(&self) -> Stdio {
        Stdio::from(
            self.output
                .try_clone()
                .expect("a descriptor can be duplicated"),
        )
    }

    /// The numbers that so many have said.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.lines.number()).collect()
    }

    /// Waits until so many have said that they are ready.
    pub(crate) fn await_ready(&mut self, count: usize) {
        for _ in 0..count {
            self.lines.expect("ready");
        }
    }
}

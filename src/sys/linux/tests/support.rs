//! What the tests start, and how they wait for it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::sys::unix::timespec;
use crate::sys::*;

/// Longer than anything here takes on a machine that is very busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The variable that tells a test to play its part in another process.
const PART: &str = "PROCESSION_TEST_PART";

pub(super) fn facilities() -> Facilities {
    masked(Mask::default())
}

pub(super) fn masked(mask: Mask) -> Facilities {
    probe(mask).expect("the tests need a kernel with pidfds")
}

#[expect(clippy::disallowed_methods, reason = "tests measure")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Tries again until there is an answer; for what cannot be waited for. Gives way to other threads in between.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = now() + PATIENCE;
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(now() < give_up, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// Waits until the process behind a pin has ended.
pub(super) fn until_dead(pin: &Pin) {
    let mut fds = [PollFd::from_borrowed_fd(pin.fd(), PollFlags::IN)];
    let seen = poll(&mut fds, Some(&timespec(PATIENCE))).unwrap();
    assert_eq!(seen, 1, "process {} is still there", pin.pid());
}

/// A child that talks to the test over its stdin and stdout. Dropping it ends and reaps it.
pub(super) struct Actor {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Set if it leads a group, which ends with it.
    group: Option<Pin>,
}

impl Actor {
    /// A shell that runs a script.
    pub(super) fn shell(script: &str) -> Self {
        Self::start(Command::new("sh").args(["-c", script]))
    }

    /// The same as the leader of a group of its own.
    pub(super) fn leader(script: &str) -> Self {
        let mut leader = Self::start(Command::new("sh").args(["-c", script]).process_group(0));
        leader.group = Some(leader.pin());
        leader
    }

    /// A process that does nothing until its stdin is closed, and then exits with code 0.
    pub(super) fn idle() -> Self {
        Self::start(&mut Command::new("cat"))
    }

    /// Another process of this test program, which runs nothing but the ignored test of this name beside the caller. It
    /// has what a test program with its threads cannot share out: signal dispositions, a process group, a count of its
    /// descriptors.
    pub(super) fn part(module: &str, name: &str) -> Self {
        Self::start(&mut part_command(module, name))
    }

    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests need sh, cat and sleep");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout,
            group: None,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn pin(&self) -> Pin {
        Pin::open(self.pid(), &facilities()).unwrap()
    }

    /// The next line that it says, without its end.
    pub(super) fn line(&mut self) -> String {
        self.next_line().unwrap_or_default()
    }

    /// What follows these words in the next line that has them: a test program says other things too.
    pub(super) fn answer(&mut self, words: &str) -> String {
        loop {
            let line = self.next_line();
            let line = line.unwrap_or_else(|| panic!("it ended without saying {words:?}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Everything that it still says, until nobody holds its stdout any more.
    pub(super) fn rest(&mut self) -> String {
        std::iter::from_fn(|| self.next_line()).collect()
    }

    /// The next line, or `None` at the end of the file. Does not wait for ever.
    fn next_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if self.stdout.buffer().is_empty() {
                let mut fds = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
                let said = poll(&mut fds, Some(&timespec(PATIENCE))).unwrap();
                assert_eq!(said, 1, "it says nothing, and does not end");
            }
            let bytes = self.stdout.fill_buf().unwrap();
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            self.stdout.consume(taken);
        }
        let text = String::from_utf8(line).unwrap();
        (!text.is_empty()).then(|| text.trim_end().to_owned())
    }

    /// Says something to it.
    pub(super) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes its stdin.
    pub(super) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Reaps it behind the back of whoever watches it, once it has ended.
    pub(super) fn steal_status(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits for the end of a part, and fails as it failed.
    pub(super) fn passed(mut self) {
        self.hang_up();
        let said = self.rest();
        assert!(self.steal_status().success(), "the part failed: {said}");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // An error is ECHILD: the test has reaped it, and its number may be anybody's.
        let reaped = self
            .child
            .try_wait()
            .map_or(true, |status| status.is_some());
        if let Some(leader) = &self.group {
            let group = Target::Group { leader, reaped };
            // ESRCH: nobody is left. Where an old kernel cannot reach them any more, the test has ended them itself.
            let _ended = send_signal(group, 9, &facilities());
        }
        if !reaped {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// The command that plays a part.
pub(super) fn part_command(module: &str, name: &str) -> Command {
    let module = module.split_once("::").unwrap().1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("--exact")
        .arg(format!("{module}::{name}"))
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(PART, name);
    command
}

/// Whether this process was started to play the part. Where someone runs all ignored tests it was not.
pub(super) fn plays(name: &str) -> bool {
    std::env::var(PART).is_ok_and(|part| part == name)
}

/// Says a line to the test that started this part.
#[expect(
    clippy::print_stdout,
    reason = "a part talks to its test over its stdout"
)]
pub(super) fn say(line: &str) {
    println!("{line}");
}

/// Waits for a line from the test that started this part; `false` at the end of the file.
pub(super) fn hear() -> bool {
    std::io::stdin().read_line(&mut String::new()).unwrap() > 0
}

/// Whether the tests may do what root may.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How long a test hunts a race: a second, or as many as the variable says.
pub(super) fn race_budget() -> Duration {
    let seconds = std::env::var("PROCESSION_RACE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(1))
}

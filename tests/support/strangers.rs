//! A member that puts its mark on others, and those others: strangers of all kinds.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Stdio};

use procession::{MemberReport, Process, Registry, SessionReport};
use rustix::process::{setpgid, setsid};

use super::adversary::{await_abandoned, lingers};
use super::pipes::{Lines, pipe, role};
use super::platform::{Pinned, own_locks, set_locks};
use super::reports::Works as _;
use super::roles::say;
use super::tree::native;

/// Puts its own mark on each process whose pid it reads, until its input ends.
pub(crate) fn framer() {
    let (soft, hard) = own_locks();
    say("ready");
    for line in std::io::stdin().lines() {
        let pid = line.expect("a pipe").parse().expect("a pid");
        set_locks(pid, soft, hard);
        say("framed");
    }
}

/// A member that does what is told to a [`framer`].
pub(crate) struct Framer {
    pub(crate) leader: Process,
    control: File,
    lines: Lines,
}

impl Framer {
    pub(crate) fn start(registry: &Registry, session: u64) -> Self {
        let (input, control) = pipe();
        let (output, writer) = pipe();
        let mut command = native("framer");
        command
            .stdin(procession::Stdio::from(input))
            .stdout(procession::Stdio::from(writer));
        let leader = registry.spawn(session, &mut command).works();
        drop(command);
        let mut lines = Lines::new(output);
        lines.expect("ready");
        Self {
            leader,
            control,
            lines,
        }
    }

    pub(crate) fn frame(&mut self, pid: u32) {
        writeln!(self.control, "{pid}").expect("a pipe");
        self.lines.expect("framed");
    }
}

/// Children of the test that have nothing to do with any session.
pub(crate) struct Bystanders(Vec<Child>);

impl Bystanders {
    /// So many, or as many as `PROCESSION_BYSTANDERS` says.
    pub(crate) fn start(count: usize) -> Self {
        let said = std::env::var("PROCESSION_BYSTANDERS").ok();
        let count = said.and_then(|text| text.parse().ok()).unwrap_or(count);
        let sleeper = |_| {
            let mut sleeper = std::process::Command::new("/bin/sleep");
            sleeper.arg("60").stdin(Stdio::null());
            sleeper.spawn().expect("a bystander")
        };
        Self((0..count).map(sleeper).collect())
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(Child::id)
    }

    /// Ends them. None may have ended before.
    #[track_caller]
    pub(crate) fn assert_alive_and_end(mut self) {
        let ended = self
            .0
            .iter_mut()
            .filter_map(|child| child.try_wait().expect("our child"))
            .count();
        for bystander in &mut self.0 {
            bystander.kill().expect("our child");
            bystander.wait().expect("our child");
        }
        assert_eq!(ended, 0, "bystanders were ended");
    }
}

/// Somebody who is nobody's business, in a group of its own.
pub(crate) fn stranger() {
    // It may lead a session, and so a group, already.
    setpgid(None, None).unwrap_or_default();
    lingers();
}

/// Leaves a stranger to pid 1, in a session that is not ours.
pub(crate) fn orphans_a_stranger() {
    setsid().expect("we lead no group");
    drop(role("stranger").spawn().expect("a role can be started"));
}

/// Is one, and has one for a child.
pub(crate) fn parent_of_a_stranger() {
    setpgid(None, None).expect("our own");
    say("ready");
    say(std::process::id());
    let mut child = role("stranger").spawn().expect("a role can be started");
    child.wait().expect("our child");
}

/// What was started besides the registry: it is ended by the test, by its pidfd, and must have lived until then.
pub(crate) struct Strangers {
    pub(crate) pinned: Vec<Pinned>,
    child: Child,
    lines: Lines,
    output: File,
}

impl Strangers {
    /// Runs a role that says of so many strangers that they are there.
    pub(crate) fn start(mut command: std::process::Command, count: usize) -> Self {
        let (output, writer) = pipe();
        let said = output.try_clone().expect("a descriptor");
        let child = command
            .stdout(Stdio::from(writer))
            .spawn()
            .expect("a role can be started");
        drop(command);
        let mut all = Self {
            pinned: Vec::new(),
            child,
            lines: Lines::new(said),
            output,
        };
        for _ in 0..count {
            all.lines.expect("ready");
            let pid = all.lines.number();
            all.pinned.push(Pinned::open(pid).expect("it lives"));
        }
        all
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.pinned.iter().map(Pinned::pid).collect()
    }

    /// They live; and were they not listed, nobody would hear of them.
    #[track_caller]
    pub(crate) fn assert_untouched(&self, report: &SessionReport) {
        for pinned in &self.pinned {
            assert!(
                !pinned.is_dead(),
                "{} is a stranger, and was ended:\n{report}",
                pinned.pid()
            );
            let ended = |member: &MemberReport| member.pid() == pinned.pid();
            assert!(!report.members().iter().any(ended), "\n{report}");
        }
    }

    #[track_caller]
    pub(crate) fn assert_claimed(&self, report: &SessionReport) {
        self.assert_untouched(report);
        let mut claimed: Vec<u32> = report.claims().iter().map(|claim| claim.pid).collect();
        claimed.sort_unstable();
        let mut expected = self.pids();
        expected.sort_unstable();
        assert_eq!(claimed, expected, "\n{report}");
    }
}

/// Also of a test that fails, so that its message is about what it found.
impl Drop for Strangers {
    fn drop(&mut self) {
        self.pinned.iter().for_each(Pinned::kill);
        self.child.wait().expect("our child");
        await_abandoned(&mut self.output);
    }
}

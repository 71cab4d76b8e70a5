//! Orphans, and the rules that find them: those of the own test alone.

use std::process::{Child, ChildStdin, Stdio};

use procession::{LeftAloneReason, OrphanRule, SweepReport, SystemProcess};

use super::harness::TOKEN;
use super::pipes::{Lines, host, role};
use super::platform::Pinned;
use super::roles::{argument, say};
use super::wait::LONG_ENOUGH;

/// Starts another role, says its pid when that is ready, and exits: it is an orphan then.
#[expect(
    clippy::zombie_processes,
    reason = "it outlives the role that starts it, on purpose"
)]
pub(crate) fn leaves() {
    let mut command = role(&argument(0));
    command.args(std::env::args().skip(3));
    command.stdin(Stdio::inherit()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a role can be started");
    Lines::new(child.stdout.take().expect("its output is a pipe")).expect("ready");
    say("ready");
    say(child.id());
}

/// Whether a process is of this test, in this role.
pub(crate) fn is_in_role(process: &SystemProcess, name: &str) -> bool {
    let token = std::env::var_os(TOKEN).expect("a test has a token");
    let role = format!("role:{name}");
    process.args().get(1).is_some_and(|arg| *arg == *role) && process.env(TOKEN) == Some(token)
}

pub(crate) fn of_role(name: &'static str) -> OrphanRule {
    OrphanRule::matching(name, move |process| is_in_role(process, name))
}

pub(crate) fn abandoned(name: &'static str) -> OrphanRule {
    OrphanRule::reparented().and(of_role(name))
}

/// A process whose parent has gone.
pub(crate) struct Orphan {
    pub(crate) pinned: Pinned,
    pub(crate) pid: u32,
    /// What its input is connected to.
    _control: ChildStdin,
}

pub(crate) fn orphan(name: &str, args: &[&str]) -> Orphan {
    let (mut child, control, mut lines) = host(role("leaves").arg(name).args(args));
    let pid = lines.number();
    child.wait().expect("it is our child");
    let pinned = Pinned::open(pid).expect("it lives");
    Orphan {
        pinned,
        pid,
        _control: control,
    }
}

impl Orphan {
    pub(crate) fn is_dead(&self) -> bool {
        self.pinned.is_dead()
    }

    /// Ends it, for a test that was to leave it alone.
    #[track_caller]
    pub(crate) fn end(self) {
        assert!(!self.is_dead(), "it was to be left alone");
        self.pinned.kill();
        assert!(self.pinned.dies_within(LONG_ENOUGH));
    }
}

pub(crate) fn pids(report: &SweepReport) -> Vec<u32> {
    let orphans = report.orphans().iter();
    orphans.map(|orphan| orphan.process().pid()).collect()
}

#[track_caller]
pub(crate) fn reason_for(report: &SweepReport, pid: u32) -> LeftAloneReason {
    let left = report.left_alone().iter().find(|left| left.pid == pid);
    left.unwrap_or_else(|| panic!("{pid} is not listed:\n{report}"))
        .reason
}

pub(crate) fn end(mut child: Child) {
    // It may have ended by itself.
    child.kill().ok();
    child.wait().expect("it is our child");
}

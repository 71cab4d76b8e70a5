//! A process with descendants, and the pipe that all of them hold.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use procession::{Command, Containment, Launch, Process, Registry};

use super::adversary::{assert_abandoned, cgroup_of};
use super::harness::builder;
use super::pipes::{pipe, role};
use super::reports::Works as _;
use super::roles::{await_end_of_input, say};

/// A role that is launched natively: marked, and where its tier says, from its birth.
pub(crate) fn native(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("an executable has a path"));
    command
        .arg(format!("role:{name}"))
        .stdin(procession::Stdio::null());
    command
}

/// A role, and its output, held by all that it starts.
pub(crate) struct Tree {
    pub(crate) leader: Process,
    pub(crate) output: BufReader<File>,
}

impl Tree {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("a pipe can be read");
        line.trim_end().to_owned()
    }

    pub(crate) fn number(&mut self) -> u32 {
        self.line().parse().expect("the role says a number")
    }

    pub(crate) fn await_ready(&mut self) {
        assert_eq!(self.line(), "ready");
    }

    #[track_caller]
    pub(crate) fn assert_gone(&mut self) {
        assert_abandoned(self.output.get_mut());
    }
}

/// Starts a role by std's command, with a pipe that all of its descendants hold.
pub(crate) fn tree(registry: &Registry, session: u64, name: &str, args: &[&str]) -> Tree {
    let (output, writer) = pipe();
    let mut command = role(name);
    command.args(args).stdout(Stdio::from(writer));
    grown(registry, session, &mut command, output)
}

/// The same by ours.
pub(crate) fn native_tree(registry: &Registry, session: u64, name: &str, args: &[&str]) -> Tree {
    let mut command = native(name);
    command.args(args);
    native_tree_of(registry, session, command)
}

/// The same by a command that says more.
pub(crate) fn native_tree_of(registry: &Registry, session: u64, mut command: Command) -> Tree {
    let (output, writer) = pipe();
    command.stdout(procession::Stdio::from(writer));
    grown(registry, session, &mut command, output)
}

fn grown(registry: &Registry, session: u64, command: &mut impl Launch, output: File) -> Tree {
    let leader = registry
        .spawn(session, command)
        .expect("a role can be started");
    let output = BufReader::new(output);
    Tree { leader, output }
}

/// Whether it has become the program without environment.
pub(crate) fn has_forgotten(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| environment.is_empty())
}

/// A registry whose sessions have cgroups.
pub(crate) fn contained() -> Registry {
    builder().containment(Containment::Cgroup).build().works()
}

/// A host that has a session in a cgroup, and says where, until its input ends.
pub(crate) fn cgroup_host() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "lingers", &[]);
    tree.await_ready();
    let child = tree.number();
    say("ready");
    say(child);
    say(cgroup_of(&tree.leader.pid().to_string()).display());
    await_end_of_input();
}

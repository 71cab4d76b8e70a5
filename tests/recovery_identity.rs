//! Who is meant by what was written down: a number that is somebody else's by now, and numbers of another pid namespace.

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitCode, Stdio};

use procession::{Launch, Registry, StopPolicy};

use support::adversary::{await_abandoned, daemon, lingers};
use support::victim::{Host, builder, clean, name, recover_as, scratch, text, victim};
use support::{
    Lines, Pinned, Works, await_end_of_input, let_pass, ms, pipe, role, role_of, say, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_reused_number_is_not_the_owner).needs_root(),
            test!(a_reused_number_is_not_the_process_that_was_written_down).needs_root(),
            test!(a_reused_number_is_not_the_process_that_was_given_up).needs_root(),
            test!(a_host_that_is_the_first_of_its_pid_namespace_recovers_within_it).needs_root(),
            test!(from_inside_a_pid_namespace_nothing_outside_is_recovered).needs_root(),
        ],
        &[
            role_of!(victim),
            role_of!(heir),
            role_of!(first_of_its_namespace),
            role_of!(lingers),
            role_of!(daemon),
        ],
    )
}

fn start(registry: &Registry, session: u64, command: &mut impl Launch) {
    registry.spawn(session, command).works();
}

// ---- numbers

fn a_reused_number_is_not_the_owner() {
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    let owner = host.child.id();
    host.kill();
    // Without pidfs an owner is known by its number and the clock tick of its start.
    let_pass(ms(20));
    // Whoever has the owner's number now is not the owner.
    let stranger = with_pid(owner);
    let (_registry, report) = recover_as(name(), "-");
    if let Some((mut stranger, pinned)) = stranger {
        assert!(
            !pinned.is_dead(),
            "it has the owner's number, and nothing else of it"
        );
        pinned.kill();
        stranger.wait().expect("it is our child");
    }
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
}

/// A process with this number, if nobody was faster.
fn with_pid(pid: u32) -> Option<(Child, Pinned)> {
    for _ in 0..50 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().ok()?;
        let pinned = Pinned::open(child.id()).expect("it is our child");
        if child.id() == pid {
            return Some((child, pinned));
        }
        pinned.kill();
        child.wait().expect("it is our child");
    }
    None
}

/// What is known of it is in the ledger alone.
fn a_reused_number_is_not_the_process_that_was_written_down() {
    let ledger = scratch();
    let what = ["unmarked", "std:lingers", "then", "std:lingers"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let first = host.pinned(0);
    first.kill();
    first.assert_dies();
    await_reaped(first.pid());
    let stranger = with_pid(first.pid());
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    if let Some((mut stranger, pinned)) = stranger {
        assert!(
            !pinned.is_dead(),
            "it has the number, and nothing else\n{report}"
        );
        pinned.kill();
        stranger.wait().expect("it is our child");
    }
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
}

/// Nor is it left alone, for all that it descends from a dead owner.
fn a_reused_number_is_not_the_process_that_was_given_up() {
    let ledger = scratch();
    let what = ["1=std:lingers", "then", "detach=1"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let given_up = host.pinned(0);
    given_up.kill();
    given_up.assert_dies();
    await_reaped(given_up.pid());
    let Some(mut other) = host_with(given_up.pid()) else {
        return;
    };
    other.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    other.assert_gone();
}

/// Another host of our name, with a process of this number, if nobody was faster.
fn host_with(pid: u32) -> Option<Host> {
    for _ in 0..50 {
        let mut host = Host::of(role("victim").args([name(), "-", "then", "std:lingers"]));
        assert_eq!(host.line(), "up");
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        host.proceed();
        host.await_up(1);
        if host.pids == [pid] {
            return Some(host);
        }
        host.clear_away();
    }
    None
}

/// Its new parent has taken it away: its number is free.
fn await_reaped(pid: u32) {
    support::eventually("it is reaped", || support::state(pid).is_none());
}

// ---- roles

/// Recovers, and says what came of it.
fn heir() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let registry = builder(&arguments[0], &arguments[1])
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover().works();
    say(report.ended());
    say(report.left_alone().len());
    say(report.is_clean());
    await_end_of_input();
}

/// A host that is the first of its pid namespace: recovers what another one in there has left, and keeps its own.
fn first_of_its_namespace() {
    assert_eq!(std::process::id(), 1);
    let registry = builder(name(), "-")
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    start(&registry, 1, role("lingers").stdout(Stdio::null()));
    let mut inner = Host::start(name(), "-", &["std:lingers", "native:daemon"]);
    inner.kill();
    let report = registry.recover().works();
    inner.assert_gone();
    say(report.ended());
    say(report.is_clean());
    say(registry.processes().works().len());
}

// ---- pid namespaces

/// Runs a role as the first of a pid namespace of its own, with a `/proc` of its own.
fn in_a_namespace(role_name: &str, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--fork", "--pid", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().expect("an executable has a path"))
        .arg(format!("role:{role_name}"))
        .args(args)
        .process_group(0);
    command
}

fn a_host_that_is_the_first_of_its_pid_namespace_recovers_within_it() {
    let mut host = Host::of(&mut in_a_namespace("first_of_its_namespace", &[]));
    let said = [host.line(), host.line(), host.line()];
    assert_eq!(said, ["2", "true", "1"]);
    host.child.wait().expect("it is our child");
    await_abandoned(host.output.get_mut());
}

fn from_inside_a_pid_namespace_nothing_outside_is_recovered() {
    // Outside, and dead: its processes are not to be seen in there, and its owner is not either.
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    host.kill();
    // The ancestor in there carries a mark of which the owner is outside.
    let registry = builder(name(), "-").build().works();
    let (output, writer) = pipe();
    let mut command = in_a_namespace("heir", &[name(), "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::from(writer));
    registry.spawn(1, &mut command).works();
    command.stdout(Stdio::null());
    let mut lines = Lines::new(output);
    assert_eq!(lines.line(), "0", "nothing is ended from in there");
    drop(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    let report = registry.recover().works();
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
}

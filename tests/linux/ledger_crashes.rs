//! A host is killed before and after each call to the kernel by which its ledger comes to be what it is.
//!
//! `strace` holds the host at each such call, before or after the kernel has done it, and says so in its log. The test
//! reads the log, and kills the host while it is held at the call that it is after. Not by a signal of strace's own:
//! its counts are one for each thread and each kind of call, and only the first thread to come so far would be killed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use procession::{Builder, Launch, Registry, StopPolicy};

use crate::support::adversary::{await_abandoned, daemon, is_abandoned, thorough_daemon};
use crate::support::{Pinned, Scratch, TOKEN, Works, eventually, ms, pipe, role, role_of, say, test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(a_host_killed_before_any_write_of_its_ledger_leaves_nothing)
                .needs_program("strace"),
            test!(a_host_killed_after_any_write_of_its_ledger_leaves_nothing)
                .needs_program("strace"),
        ],
        &[
            role_of!(host),
            role_of!(stays),
            role_of!(daemon),
            role_of!(thorough_daemon),
        ],
    )
}

/// What changes the file or its name. Those with a question mark are not there on every machine.
const CALLS: &str = "write,pwrite64,writev,ftruncate,?rename,?renameat,renameat2";

/// More than the host's script has.
const MOST_CALLS: usize = 60;

/// How long the host is held at each call at first, and how often that is doubled where the test was too slow for it.
const HELD: Duration = Duration::from_millis(15);
const DOUBLED: u32 = 6;

/// On which side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

fn builder(ledger: &str) -> Builder {
    // Other tests have hosts, too.
    let name = std::env::var(TOKEN).expect("the test's own");
    crate::support::builder()
        .owner_name(name)
        .stop_policy(StopPolicy::immediate())
        .ledger(ledger)
}

// ---- the host

/// Everything that is written down, once. Its output is what all hold that are to end with it, its standard error what
/// the one holds that it gives up.
fn host() {
    say(std::process::id());
    let ledger = std::env::args().nth(2).expect("a ledger");
    let registry = builder(&ledger).build().works();
    start(&registry, 1, &mut native("stays"));
    start(&registry, 1, role("daemon").stderr(Stdio::null()));
    // By std's command it could forget all that it has before it is marked in its limit.
    start(&registry, 2, &mut native("thorough_daemon"));
    let exits = registry.spawn(2, native("exits").arg("0")).works();
    exits.wait().works();
    let mut command = role("stays");
    command
        .stdout(std::io::stderr())
        .stderr(std::process::Stdio::null());
    let given_up = registry.spawn(3, &mut command).works();
    say(format!("stays {}", given_up.pid()));
    given_up.detach().works();
    say("detached");
    drop(registry.end_session(1).works());
    drop(registry);
    // What was given up is still to be known: only one that gave up nothing can say that all is settled.
    let registry = builder(&ledger).build().works();
    start(&registry, 1, &mut native("stays"));
    drop(registry);
}

/// Stays until it is killed.
fn stays() {
    loop {
        std::thread::park();
    }
}

fn start(registry: &Registry, session: u64, command: &mut impl Launch) {
    registry.spawn(session, command).works();
}

fn native(name: &str) -> procession::Command {
    let own = std::env::current_exe().expect("an executable has a path");
    let mut command = procession::Command::new(own);
    command
        .arg(format!("role:{name}"))
        .stdin(procession::Stdio::null())
        .stderr(procession::Stdio::null());
    command
}

// ---- the host, traced

struct Traced {
    strace: Child,
    host: Pinned,
    output: BufReader<File>,
    given_up: File,
    log: Scratch,
}

impl Traced {
    fn start(ledger: &Scratch, side: Side, held: Duration) -> Self {
        let log = Scratch::unique("strace");
        let new = format!("{}.new", text(ledger));
        let delay = match side {
            Side::Before => "delay_enter",
            Side::After => "delay_exit",
        };
        let (output, writer) = pipe();
        let (given_up, error_writer) = pipe();
        let mut command = Command::new("strace");
        // With a log strace gives up its copies of the host's pipes.
        command
            .args(["-f", "-qqq", "-s", "0", "-e", "signal=none"])
            .args(["-o", text(&log), "-P", text(ledger), "-P", &new])
            .args(["-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:{delay}={}", held.as_micros())])
            .arg(std::env::current_exe().expect("an executable has a path"))
            .args(["role:host", text(ledger)]);
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(error_writer);
        let strace = command.spawn().expect("it is installed");
        // The command holds the pipes too.
        drop(command);
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).expect("a pipe can be read");
        let pid = line.trim_end().parse().expect("it says its pid");
        Self {
            strace,
            host: Pinned::open(pid).expect("it is held at its first call, or before"),
            output,
            given_up,
            log,
        }
    }

    /// How many calls have begun, and how many of them the kernel has done.
    fn calls(&self) -> (usize, usize) {
        let log = fs::read_to_string(self.log.path()).expect("it is text");
        let done = log.lines().filter(|line| {
            let result = line.rsplit_once(" = ").map(|(_, result)| result);
            result.is_some_and(|result| result.starts_with(|c: char| c.is_ascii_digit()))
        });
        (log.matches('(').count() - log.matches("(DELAYED)").count(), done.count())
    }

    /// Kills it at a call, and says where it was then; `None` if it came to its end before.
    fn kill_at(&self, call: usize, side: Side) -> Option<(usize, usize)> {
        let mut over = false;
        eventually("the host comes to the call or to its end", || {
            // In this order: what has died has come to all its calls.
            over = self.host.is_dead();
            let (begun, done) = self.calls();
            let there = match side {
                Side::Before => begun,
                Side::After => done,
            };
            there >= call || over
        });
        self.host.kill();
        eventually("it is dead", || self.host.is_dead());
        (!over).then(|| self.calls())
    }

    /// What it has said, of which nobody that could say more is left.
    fn said(&mut self, context: &str) -> String {
        rustix::io::ioctl_fionbio(self.output.get_ref(), true).expect("a pipe");
        let mut said = String::new();
        if let Err(error) = self.output.read_to_string(&mut said) {
            panic!("{context}: somebody lives, and holds the pipe: {error}");
        }
        said
    }
}

fn text(scratch: &Scratch) -> &str {
    scratch.path().to_str().expect("it is ours")
}

// ---- the tests

/// One host, killed at one call. Says whether it was killed there and nowhere else; `None` if it came to its end.
fn round(call: usize, side: Side, held: Duration) -> Option<bool> {
    let ledger = Scratch::unique("ledger");
    let mut traced = Traced::start(&ledger, side, held);
    let killed_at = traced.kill_at(call, side);
    let written = fs::read_to_string(ledger.path()).expect("it is text");

    let registry = builder(text(&ledger)).build().works();
    let report = registry.recover().works();
    let context = format!("{side:?} call {call}, {killed_at:?}\n{written}\n{report}");
    assert!(report.is_clean(), "{context}");
    let said = traced.said(&context);
    if said.contains("detached\n") || written.contains(" detached ") {
        let pid = said.lines().find_map(|line| line.strip_prefix("stays "));
        let pid = pid.and_then(|pid| pid.parse().ok()).expect("it says so");
        let given_up = Pinned::open(pid);
        assert!(
            given_up.as_ref().is_ok_and(|one| !one.is_dead()),
            "it was given up: {context}"
        );
        drop(given_up.map(|one| one.kill()));
        await_abandoned(&mut traced.given_up);
    } else {
        assert!(is_abandoned(&mut traced.given_up, ms(0)), "{context}");
    }
    let again = registry.recover().works();
    assert_eq!(again.ended(), 0, "{context}\n{again}");
    // It goes when all that it traces has gone.
    traced.strace.wait().expect("it is our child");
    killed_at.map(|(begun, done)| match side {
        Side::Before => begun == call && done == call - 1,
        Side::After => begun == call && done == call,
    })
}

fn kill_at_every_call(side: Side) {
    // Three of the host's have the same command line.
    let mut decoy = role("stays").spawn().expect("a role");
    let mut calls = 0;
    while every_attempt(calls + 1, side) {
        calls += 1;
        assert!(calls < MOST_CALLS, "the host's script has an end");
    }
    // A new file has three, a spawn two, and what each registry ends or gives up one at least.
    assert!(calls > 2 * 3 + 6 * 2 + 6, "{calls}");
    let exited = decoy.try_wait().expect("it is our child");
    assert!(exited.is_none(), "it has no mark");
    decoy.kill().expect("it is our child");
    decoy.wait().expect("it is our child");
}

/// Until the host is killed where it is to be: whether there is such a call.
fn every_attempt(call: usize, side: Side) -> bool {
    for doubled in 0..=DOUBLED {
        match round(call, side, HELD * 2_u32.pow(doubled)) {
            Some(true) => return true,
            Some(false) => {}
            None => return false,
        }
    }
    panic!("{side:?} call {call}: the host is never killed while it is held there");
}

fn a_host_killed_before_any_write_of_its_ledger_leaves_nothing() {
    kill_at_every_call(Side::Before);
}

fn a_host_killed_after_any_write_of_its_ledger_leaves_nothing() {
    kill_at_every_call(Side::After);
}

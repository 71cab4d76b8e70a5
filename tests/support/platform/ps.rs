//! What `ps` and the C library say, where there is no `/proc`. Not run yet: see the README.

#![allow(unsafe_code, reason = "no safe crate tells what is open and blocked")]

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use super::WITH_ENVIRONMENT;
use super::kqueue::not_here;
use crate::support::harness::TOKEN;

/// No descriptor of a test is above this.
const DESCRIPTORS: i32 = 4096;
/// The signals that every system has.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

/// The lines of `ps`, and its own number, which is among them.
fn ps(arguments: &[&str]) -> (Vec<String>, u32) {
    let mut command = Command::new("/bin/ps");
    // Without the token, which it would be found by.
    let child = command
        .args(arguments)
        .env_remove(TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a ps");
    let own = child.id();
    let output = child.wait_with_output().expect("it is our child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text.lines().map(str::to_owned).collect(), own)
}

fn first_number(line: &str) -> Option<u32> {
    line.split_whitespace().next()?.parse().ok()
}

/// The children of this process, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let (lines, itself) = ps(&["-axo", "pid=,ppid="]);
    let is_child = |line: &&String| line.split_whitespace().nth(1) == Some(own.as_str());
    let children = lines.iter().filter(is_child);
    children
        .filter_map(|line| first_number(line))
        .filter(|&pid| pid != itself)
        .collect()
}

/// Whether this pid is a child of ours, if only a zombie.
pub(crate) fn is_our_child(pid: u32) -> bool {
    children().contains(&pid)
}

/// The threads of this process: not told.
pub(crate) fn threads() -> Vec<u32> {
    Vec::new()
}

pub(crate) fn thread_named(_name: &str) -> u32 {
    not_here("numbers of threads")
}

/// What this process has open.
pub(crate) fn descriptors() -> Vec<String> {
    // SAFETY: the call asks about a number, and touches no memory.
    let is_open = |number: &i32| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0;
    (0..DESCRIPTORS)
        .filter(is_open)
        .map(|number| number.to_string())
        .collect()
}

/// The state letter of a process; `None` if it is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let (lines, _) = ps(&["-o", "stat=", "-p", &pid.to_string()]);
    lines.first()?.trim().chars().next()
}

/// A field of what Linux has in `/proc/PID/status`, by its name there.
pub(crate) fn status_field(pid: impl std::fmt::Display, field: &str) -> Option<String> {
    if field != "PPid" {
        not_here("the fields of /proc/PID/status")
    }
    let (lines, _) = ps(&["-o", "ppid=", "-p", &pid.to_string()]);
    lines.first().map(|line| line.trim().to_owned())
}

/// A set of signals of this process, by the names that Linux gives to them.
pub(crate) fn own_signals(field: &str) -> u64 {
    SIGNALS
        .filter(|&signal| match field {
            "SigBlk" => is_blocked(signal),
            "SigIgn" => handler(signal) == libc::SIG_IGN,
            _ => !matches!(handler(signal), libc::SIG_IGN | libc::SIG_DFL),
        })
        .fold(0, |set, signal| set | (1 << (signal - 1)))
}

fn is_blocked(signal: i32) -> bool {
    // SAFETY: all zeros is a valid set, and the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: there is no new mask, and the old one is written to where there is room.
    let asked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut set) };
    assert_eq!(asked, 0);
    // SAFETY: the set is valid for the call.
    unsafe { libc::sigismember(&raw const set, signal) == 1 }
}

fn handler(signal: i32) -> libc::sighandler_t {
    // SAFETY: all zeros is a valid sigaction.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: there is no new disposition, and the old one is written to where there is room.
    unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    now.sa_sigaction
}

pub(crate) fn switches(_thread: u32) -> u64 {
    not_here("how often a thread has run")
}

/// The processes, this one aside, that carry a test's token.
pub(crate) fn carriers(token: &str) -> Vec<u32> {
    carrying(&format!("{TOKEN}={token}"))
        .iter()
        .filter_map(|line| first_number(line))
        .collect()
}

fn carrying(variable: &str) -> Vec<String> {
    let own = std::process::id();
    let (lines, itself) = ps(&["-axww", WITH_ENVIRONMENT, "-o", "pid=,command="]);
    let carries = |line: &String| {
        line.split_whitespace().any(|word| word == variable)
            && first_number(line).is_some_and(|pid| pid != own && pid != itself)
    };
    lines.into_iter().filter(carries).collect()
}

pub(crate) fn carries_token(pid: u32, token: &str) -> bool {
    carries_environment(pid, &format!("{TOKEN}={token}"))
}

/// Whether a process was started with this variable, given as `NAME=VALUE`.
pub(crate) fn carries_environment(pid: u32, variable: &str) -> bool {
    let pid = pid.to_string();
    let (lines, _) = ps(&["-ww", WITH_ENVIRONMENT, "-o", "command=", "-p", &pid]);
    lines
        .iter()
        .any(|line| line.split_whitespace().any(|word| word == variable))
}

/// Who carries a token, for the message of a test that fails.
pub(crate) fn describe(token: &str) -> String {
    let mut text = String::new();
    for line in carrying(&format!("{TOKEN}={token}")) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

pub(crate) fn numbers_in(_directory: &str) -> Vec<u32> {
    not_here("/proc")
}

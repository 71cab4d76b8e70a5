//! What `/proc` says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::harness::TOKEN;
use crate::support::wait::eventually;

/// The children of this process, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let mut all = Vec::new();
    for thread in threads() {
        // A thread that has just ended has handed its children to another.
        let list =
            fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
        all.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    all
}

/// Whether this pid is a child of ours, if only a zombie.
pub(crate) fn is_our_child(pid: u32) -> bool {
    status_field(pid, "PPid").is_some_and(|parent| parent == std::process::id().to_string())
}

/// The threads of this process.
pub(crate) fn threads() -> Vec<u32> {
    numbers_in("/proc/self/task")
}

/// The thread of this process that has, or is about to give itself, this name.
#[track_caller]
pub(crate) fn thread_named(name: &str) -> u32 {
    let is_it = |thread: &u32| {
        fs::read_to_string(format!("/proc/self/task/{thread}/comm"))
            .is_ok_and(|comm| comm.trim_end() == name)
    };
    let mut found = None;
    eventually("a thread has this name", || {
        found = threads().into_iter().find(is_it);
        found.is_some()
    });
    found.expect("it has been found")
}

/// What this process has open, beside what it takes to look.
pub(crate) fn descriptors() -> Vec<String> {
    let own = format!("/proc/{}/fd", std::process::id());
    let entries = fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd can be listed")
        .flatten();
    let mut open = Vec::new();
    for entry in entries {
        match fs::read_link(entry.path()) {
            Ok(target) if target == Path::new(&own) => {}
            Ok(target) => open.push(format!(
                "{}={}",
                entry.file_name().to_string_lossy(),
                target.display()
            )),
            // It was closed between the listing and the look.
            Err(_) => {}
        }
    }
    open
}

/// The state letter of a process or thread of this process; `None` if it is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    status_field(pid, "State")?.chars().next()
}

/// One field of `/proc/PID/status`.
pub(crate) fn status_field(pid: impl std::fmt::Display, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// A set of signals of this process, as `/proc/self/status` names and shows it, without the two that the C library keeps
/// for itself and takes when it likes.
pub(crate) fn own_signals(field: &str) -> u64 {
    const OF_THE_C_LIBRARY: u64 = 0b11 << 31;
    let set = status_field("self", field).expect("the kernel has this field");
    u64::from_str_radix(&set, 16).expect("a set of signals") & !OF_THE_C_LIBRARY
}

/// How often a thread of this process has been on a processor and left it.
pub(crate) fn switches(thread: u32) -> u64 {
    let pid = format!("self/task/{thread}");
    let count = |field| status_field(&pid, field).and_then(|text| text.parse::<u64>().ok());
    let all = [
        count("voluntary_ctxt_switches"),
        count("nonvoluntary_ctxt_switches"),
    ];
    all.into_iter()
        .map(|one| one.expect("a living thread has its counts"))
        .sum()
}

/// The processes, this one aside, that carry a test's token.
pub(crate) fn carriers(token: &str) -> Vec<u32> {
    let own = std::process::id();
    numbers_in("/proc")
        .into_iter()
        .filter(|&pid| pid != own && carries_token(pid, token))
        .collect()
}

pub(crate) fn carries_token(pid: u32, token: &str) -> bool {
    carries_environment(pid, &format!("{TOKEN}={token}"))
}

/// Whether a process was started with this variable, given as `NAME=VALUE`. Zombies carry nothing any more.
pub(crate) fn carries_environment(pid: u32, variable: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    environment
        .split(|&byte| byte == 0)
        .any(|one| one == variable.as_bytes())
}

/// Who carries a token and what their threads are doing, for the message of a test that fails.
pub(crate) fn describe(token: &str) -> String {
    let mut text = String::new();
    for pid in carriers(token) {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .replace('\0', " ");
        let state = state(pid).unwrap_or('?');
        let _ = writeln!(text, "  {pid} {state} {command}");
        for thread in numbers_in(&format!("/proc/{pid}/task")) {
            let read = |file| {
                fs::read_to_string(format!("/proc/{pid}/task/{thread}/{file}")).unwrap_or_default()
            };
            let (comm, wchan) = (read("comm"), read("wchan"));
            let _ = writeln!(text, "    thread {thread} {} in {wchan}", comm.trim_end());
        }
    }
    text
}

/// The entries of a directory that are numbers.
pub(crate) fn numbers_in(directory: &str) -> Vec<u32> {
    // A process that is gone has no directory any more.
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

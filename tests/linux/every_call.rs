//! Every system call of a host's life, failed at its first occurrences, in the middle, and for good: what may come of it stands
//! in the tables below `tests/faults`, one row for each call and errno.
//!
//! Whatever it is, afterwards no process, descriptor or thread is left, nothing hangs, and an error says which errno it was. A
//! host is a process of its own, whose calls the test decides about. With `PROCESSION_WRITE_FAULTS` the tables are written
//! anew, to be read before they are kept.
//!
//! An error that does not name its errno is one that the C library has changed on its way (a thread's ENOMEM), or whose
//! subject is not the call (a reactor that is gone).
//!
//! Calls that the C library, or Rust's, cannot do without are not failed: memory, locks, the end of a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use libc::{c_int, c_long};
use procession::{
    Error, ErrorKind, Means, OrphanRule, SessionReport, StopPolicy, Strength,
};

use crate::support::platform::interpose::{Fault, be_watched, next_part, watch};
use crate::support::platform::world;
use crate::support::{
    LONG_ENOUGH, Lines, Pinned, Scratch, TOKEN, argument, builder, children, descriptors, holds_within, ms, role,
    role_of, say, test, threads,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(calls_for_processes_fail),
            test!(calls_that_wait_fail),
            test!(calls_for_descriptors_fail),
            test!(calls_for_files_fail),
            test!(every_row_is_of_a_call_that_is_failed),
        ],
        &[role_of!(scene)],
    )
}

/// A call, and how it may fail.
type Row = (&'static str, c_long, &'static [(&'static str, c_int)]);

macro_rules! call {
    ($number:ident: $($errno:ident)*) => {
        (stringify!($number), libc::$number, &[$((stringify!($errno), libc::$errno)),*])
    };
}

const PROCESSES: &[Row] = &[
    call!(SYS_clone: EAGAIN ENOMEM),
    call!(SYS_clone3: EAGAIN ENOMEM),
    call!(SYS_pidfd_open: EMFILE ENOMEM),
    call!(SYS_pidfd_send_signal: EPERM ESRCH),
    call!(SYS_prlimit64: EPERM ESRCH),
    call!(SYS_getpgid: ESRCH),
    call!(SYS_ioctl: ENOTTY ESRCH),
];

const WAITING: &[Row] = &[
    call!(SYS_waitid: EINTR),
    call!(SYS_wait4: EINTR),
    // A few descriptors are polled without any memory.
    call!(SYS_poll: EINTR),
    call!(SYS_ppoll: EINTR),
    call!(SYS_epoll_create1: EMFILE ENOMEM),
    call!(SYS_epoll_ctl: ENOMEM ENOSPC),
    call!(SYS_epoll_wait: EINTR ENOMEM),
    call!(SYS_timerfd_create: EMFILE),
    call!(SYS_timerfd_settime: EINVAL),
];

const DESCRIPTORS: &[Row] = &[
    call!(SYS_eventfd2: EMFILE ENOMEM),
    call!(SYS_pipe2: EMFILE ENFILE),
    call!(SYS_fcntl: EMFILE EINVAL),
    call!(SYS_fstat: ENOMEM),
    call!(SYS_fstatfs: ENOSYS),
    call!(SYS_dup3: EMFILE),
    call!(SYS_socketpair: EMFILE),
];

const FILES: &[Row] = &[
    call!(SYS_openat: EMFILE ENOENT EACCES),
    call!(SYS_read: EIO EINTR),
    call!(SYS_pread64: EIO),
    call!(SYS_write: ENOSPC EIO),
    call!(SYS_getdents64: ENOMEM),
    call!(SYS_readlinkat: EACCES),
    call!(SYS_readlink: EACCES),
    call!(SYS_newfstatat: EACCES),
    call!(SYS_statx: EACCES),
    call!(SYS_flock: EWOULDBLOCK ENOLCK),
    call!(SYS_ftruncate: EIO),
    call!(SYS_rename: ENOSPC),
    call!(SYS_unlink: EACCES),
];

const ALL: [&[Row]; 4] = [PROCESSES, WAITING, DESCRIPTORS, FILES];

// ---------------------------------------------------------------- the scene

/// A host's life, under observation. Each step says what came of it.
fn scene() {
    let errno: c_int = argument(0).parse().expect("a number");
    let calls: Vec<c_long> = argument(1)
        .split(',')
        .map(|call| call.parse().expect("a number"))
        .collect();
    let ledger = argument(2);
    let before = (descriptors().len(), threads().len());
    let mut own = Command::new("/bin/sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child of our own");
    be_watched(&calls, say);
    next_part();
    live(errno, &ledger, own.id());
    next_part();
    own.kill().expect("our child");
    own.wait().expect("our child");
    let clean = || {
        children().is_empty() && (descriptors().len(), threads().len()) == before
    };
    if holds_within(LONG_ENOUGH / 10, clean) {
        say("left nothing");
    } else {
        for thread in threads() {
            let of = |file: &str| {
                let path = format!("/proc/self/task/{thread}/{file}");
                std::fs::read_to_string(path).unwrap_or_default()
            };
            say(format!("thread {thread} is in {} {}", of("syscall").trim(), of("wchan")));
        }
        say(format!(
            "left children {:?}, threads {:?}, descriptors {:?}",
            children(),
            threads(),
            descriptors()
        ));
    }
}

fn live(errno: c_int, ledger: &str, own: u32) {
    let Some(registry) = step(errno, "build", builder().ledger(ledger).build()) else {
        return;
    };
    let mut by_std = Command::new("/bin/sh");
    by_std.args(["-c", "sleep 1000 & exec sleep 1000"]);
    by_std.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    step(errno, "spawn by std", registry.spawn(1, &mut by_std));
    let mut native = procession::Command::new("/bin/sh");
    native.args(["-c", "setsid sleep 1000 & exec sleep 1000"]);
    native.stdin(procession::Stdio::null()).stdout(procession::Stdio::null()).stderr(procession::Stdio::null());
    step(errno, "spawn", registry.spawn(1, &mut native));
    let short = registry.spawn(1, &mut procession::Command::new("/bin/true"));
    if let Some(short) = step(errno, "spawn a short one", short) {
        if let Some(None) = step(errno, "wait", short.wait_timeout(LONG_ENOUGH / 3)) {
            say("wait: hangs");
        }
    }
    step(errno, "attach", registry.attach(2, own, |_| true));
    let nobody = OrphanRule::matching("nobody", |_| false).dry_run();
    step(errno, "sweep", registry.sweep(&nobody).map(drop));
    step(errno, "recover", registry.recover().map(drop));
    let policy = StopPolicy::immediate().confirm_within(ms(1500));
    for session in [1, 2] {
        if let Some(report) = step(errno, "end", registry.end_session_with(session, &policy)) {
            // Of what was attached no descendants are ever claimed.
            if session == 1 || !report.is_clean() {
                say(format!("report: {} {report}", strength(&report)));
            }
        }
    }
}

fn step<T>(errno: c_int, what: &str, result: procession::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            say(format!("{what}: {} ({error})", class(errno, &error)));
            None
        }
    }
}

/// The kinds of what may come of a fault.
fn class(errno: c_int, error: &Error) -> &'static str {
    let kind = error.kind();
    let means_it = match errno {
        libc::ESRCH => matches!(kind, ErrorKind::NoSuchProcess | ErrorKind::AlreadyExited),
        libc::EPERM => kind == ErrorKind::NotPermitted,
        _ => false,
    };
    if matches!(kind, ErrorKind::ReactorGone | ErrorKind::ShutDown) {
        "reactor gone"
    } else if means_it || error.raw_os_error() == Some(errno) {
        "error"
    } else {
        "error that does not name it"
    }
}

fn strength(report: &SessionReport) -> &'static str {
    if !report.is_clean() {
        "unconfirmed"
    } else if report.strength() == &Strength::Observed(Means::Leader) {
        "no descendants claimed"
    } else {
        "clean"
    }
}

// ---------------------------------------------------------------- the tables

/// What came of one run: the kinds of outcome, and all that the host has said.
fn run(calls: &[c_long], fault: Option<Fault>) -> (BTreeMap<c_long, u32>, BTreeSet<&'static str>) {
    let ledger = Scratch::unique("ledger");
    std::fs::remove_file(ledger.path()).expect("it is ours");
    let list: Vec<String> = calls.iter().map(c_long::to_string).collect();
    let mut command = role("scene");
    command.arg(fault.map_or(0, |fault| fault.errno).to_string());
    command.arg(list.join(",")).arg(ledger.path());
    let mut host = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a role can be started");
    let mut lines = Lines::new(host.stdout.take().expect("a pipe"));
    let listener = lines.line().parse().expect("a number");
    let counts = watch(host.id(), listener, fault, LONG_ENOUGH);
    if counts.is_none() {
        host.kill().expect("our child");
    }
    let mut said = Vec::new();
    while let Some(line) = lines.next() {
        said.push(line);
    }
    let mut cried = String::new();
    let mut stderr = host.stderr.take().expect("a pipe");
    std::io::Read::read_to_string(&mut stderr, &mut cried).expect("a pipe can be read");
    let status = host.wait().expect("our child");
    if !ledger.path().exists() {
        std::fs::write(ledger.path(), b"").expect("it can be written");
    }
    let all = format!("{fault:?}: {status}\n{}\n{cried}", said.join("\n"));
    let counts = counts.unwrap_or_else(|| panic!("it hangs\n{all}"));
    assert!(status.success(), "{all}");
    assert_eq!(said.last().map(String::as_str), Some("left nothing"), "{all}");
    let kinds = [
        "reactor gone",
        "error that does not name it",
        "error",
        "unconfirmed",
        "no descendants claimed",
    ];
    let mut outcomes = BTreeSet::new();
    for line in &said {
        assert!(!line.contains("hangs"), "{all}");
        let outcome = line.split_once(": ").map_or("", |(_, outcome)| outcome);
        outcomes.extend(kinds.into_iter().find(|kind| outcome.starts_with(kind)));
    }
    if outcomes.is_empty() {
        outcomes.insert("survived");
    }
    // What left its group is not ended where nobody could be looked for, and nobody has said that it was.
    let said = ["unconfirmed", "no descendants claimed", "reactor gone"];
    let said_so = said.iter().any(|outcome| outcomes.contains(outcome));
    assert!(end_what_is_left() || said_so, "left a process behind\n{all}");
    if std::env::var_os("PROCESSION_SHOW_FAULTS").is_some() {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "{all}\n{counts:?}").expect("it listens");
    }
    (counts, outcomes)
}

/// Ends what a host has left behind. Says whether that was nobody.
fn end_what_is_left() -> bool {
    let token = std::env::var(TOKEN).expect("each test has one");
    let left = || world::carriers(&token);
    // What was killed may be on its way out.
    if holds_within(ms(1000), || left().is_empty()) {
        return true;
    }
    for pid in left() {
        let pinned = Pinned::open(pid);
        if let Some(pinned) = pinned.ok().filter(|_| world::carries_token(pid, &token)) {
            pinned.kill();
            pinned.assert_dies();
        }
    }
    false
}

/// What no kernel says again and again: interrupted, gone though it is there, not permitted though it is ours. Who is told so
/// for good can end nothing.
const ONCE: [c_int; 3] = [libc::EINTR, libc::ESRCH, libc::EPERM];

/// At which occurrences a call is failed that is made so often, and how many times from there.
fn occurrences(made: u32, errno: c_int) -> Vec<(u32, u32)> {
    let said = std::env::var("PROCESSION_FAULT_OCCURRENCES").ok();
    let first = said.and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    let mut at: BTreeSet<u32> = (1..=first.min(made)).collect();
    at.extend([made / 2, made].into_iter().filter(|&at| at > 0));
    let once = at.into_iter().map(|at| (at, 1));
    let always = (!ONCE.contains(&errno)).then_some((1, u32::MAX));
    once.chain(always).collect()
}

fn table_of(name: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    tests.join(format!("{name}.md"))
}

fn fails_as_the_table_says(name: &str, rows: &[Row]) {
    let calls: Vec<c_long> = rows.iter().map(|&(_, number, _)| number).collect();
    let (made, outcomes) = run(&calls, None);
    assert_eq!(outcomes, BTreeSet::from(["survived"]), "without any fault");
    let mut found = BTreeMap::new();
    for &(call, number, errnos) in rows {
        let Some(&count) = made.get(&number) else {
            continue;
        };
        for &(errno, value) in errnos {
            let key = format!("{} | {errno}", call.trim_start_matches("SYS_"));
            let outcomes: &mut BTreeSet<&str> = found.entry(key).or_default();
            for (first, times) in occurrences(count, value) {
                let fault = Fault { call: number, errno: value, first, times };
                outcomes.extend(run(&[number], Some(fault)).1);
            }
        }
    }
    let allowed = read_table(name);
    if std::env::var_os("PROCESSION_WRITE_FAULTS").is_some() {
        write_table(name, &found, &allowed);
        return;
    }
    let mut wrong = String::new();
    for (key, outcomes) in &found {
        let row = allowed.get(key);
        for outcome in outcomes {
            if !row.is_some_and(|row| row.contains(*outcome)) {
                let _ = writeln!(wrong, "| {key} | {outcome} |");
            }
        }
    }
    assert!(wrong.is_empty(), "not in tests/faults/{name}.md:\n{wrong}");
}

fn read_table(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(table_of(name)).unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (call, errno, outcomes) = (cells.next()?, cells.next()?, cells.next()?);
        let outcomes = outcomes.split(", ").map(str::to_owned).collect();
        Some((format!("{call} | {errno}"), outcomes))
    });
    rows.collect()
}

/// What was allowed before stays: not everything comes of every run.
fn write_table(
    name: &str,
    found: &BTreeMap<String, BTreeSet<&str>>,
    before: &BTreeMap<String, BTreeSet<String>>,
) {
    let mut text = "| call | errno | what may come of it |\n| --- | --- | --- |\n".to_owned();
    for (key, outcomes) in found {
        let mut all: BTreeSet<&str> = outcomes.clone();
        let kept = before.get(key).into_iter().flatten();
        all.extend(kept.map(String::as_str));
        let all: Vec<&str> = all.into_iter().collect();
        let _ = writeln!(text, "| {key} | {} |", all.join(", "));
    }
    std::fs::write(table_of(name), text).expect("it can be written");
}

fn calls_for_processes_fail() {
    fails_as_the_table_says("processes", PROCESSES);
}

fn calls_that_wait_fail() {
    fails_as_the_table_says("waiting", WAITING);
}

fn calls_for_descriptors_fail() {
    fails_as_the_table_says("descriptors", DESCRIPTORS);
}

fn calls_for_files_fail() {
    fails_as_the_table_says("files", FILES);
}

/// What the tables say of other calls would never be looked at.
fn every_row_is_of_a_call_that_is_failed() {
    for (name, rows) in ["processes", "waiting", "descriptors", "files"]
        .into_iter()
        .zip(ALL)
    {
        for key in read_table(name).into_keys().filter(|key| key != "call | errno" && key != "--- | ---") {
            let known = rows.iter().any(|(call, _, errnos)| {
                let call = call.trim_start_matches("SYS_");
                errnos.iter().any(|(errno, _)| key == format!("{call} | {errno}"))
            });
            assert!(known, "{key} is not failed");
        }
    }
}

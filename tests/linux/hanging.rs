//! What `/proc` shows of a process hangs: nobody else waits for that, and it is told.
//!
//! Whoever reads the `cmdline` or the `environ` of a process takes the lock of its memory. Here one program holds that lock:
//! it reads, through `/proc/PID/mem`, a page of a file whose server never answers (`fuse(4)`). The process itself waits
//! for the lock to change its memory, and everybody who comes after it waits behind it, in the kernel, until it dies or the
//! server does.
//!
//! Every program of the machine that goes over `/proc` waits there, so it is made for as short a time as will do.

#![allow(
    unsafe_code,
    reason = "no safe crate mounts a file system and hands out memory of it"
)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, ChildStdin, ExitCode};
use std::time::Duration;

use procession::{
    Command, How, LeftAloneReason, MemberReport, OrphanRule, RecoveryReport, Rung, Signal,
    StopPolicy,
};

use crate::support::adversary::{is_copy, leave, linger, lower_own_mark};
use crate::support::tree::native;
use crate::support::victim::{Host, name, recover_as, scratch, text, victim};
use crate::support::{
    LONG_ENOUGH, Lines, Pinned, Scratch, Works, argument, await_end_of_input, close_with,
    eventually, host, ms, now, role, role_of, say, start, test, threads,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(a_member_that_cannot_be_read_delays_nobody_and_is_ended).needs_root(),
            test!(a_younger_stranger_that_cannot_be_read_delays_an_end_once).needs_root(),
            test!(who_can_be_read_again_is_asked_again).needs_root(),
            test!(a_stranger_that_cannot_be_read_is_listed_and_passed_over).needs_root(),
            test!(what_a_dead_host_left_and_cannot_be_read_is_ended_by_the_ledger_alone)
                .needs_root(),
        ],
        &[
            role_of!(server),
            role_of!(reader),
            role_of!(unreadable),
            role_of!(unreadable_daemon),
            role_of!(unmarked_daemon),
            role_of!(victim),
        ],
    )
}

// ---- how it is made

const PAGE: usize = 4096;
/// After this it goes away by itself.
const LIFETIME: Duration = Duration::from_secs(30);

/// Serves a file of which no byte can ever be read, until its input ends. The file is the root of its file system.
fn server() {
    let file = CString::new(argument(0)).expect("a path");
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/fuse")
        .expect("the super-user may");
    let options = format!(
        "fd={},rootmode=100600,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let options = CString::new(options).expect("there is no NUL");
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all of them are strings that end.
    let answer = unsafe {
        libc::mount(
            c"procession-test".as_ptr(),
            file.as_ptr(),
            c"fuse".as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    drop(std::thread::spawn(move || serve(&device)));
    say("ready");
    await_end_of_input();
    // SAFETY: it is a string that ends.
    unsafe { libc::umount2(file.as_ptr(), libc::MNT_DETACH) };
}

/// Answers as `linux/fuse.h` says, all but the reads.
fn serve(mut device: &File) {
    /// The operations that have an answer of their own.
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const INIT: u32 = 26;
    let mut request = vec![0; 1 << 20];
    // ENODEV: it is not mounted any more.
    while let Ok(length) = device.read(&mut request) {
        let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four"));
        assert!(length >= 40);
        let answer: Vec<u32> = match number(4) {
            READ => continue,
            // Version 7.31, how much is read ahead and written at once; 16 numbers in all.
            INIT => [&[7, 31, 65536, 0, 0, 4096, 1][..], &[0; 9]].concat(),
            // For a second: file 1, of a megabyte; regular, and its owner's.
            GETATTR => {
                let attributes = [1, 0, 1 << 20, 0, 2048, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                [&[1, 0, 0, 0][..], &attributes, &[0o100_600, 1, 0, 0, 0, 4096, 0]].concat()
            }
            OPEN => vec![1, 0, 0, 0],
            // There is no such thing here.
            _ => vec![],
        };
        let length = u32::try_from(16 + 4 * answer.len()).expect("it is short");
        let error = if answer.is_empty() { -libc::ENOSYS } else { 0 };
        let head = [length, u32::from_ne_bytes(error.to_ne_bytes()), number(8), number(12)];
        let bytes: Vec<u8> = head.iter().chain(&answer).flat_map(|n| n.to_ne_bytes()).collect();
        // ENOENT: whoever asked has gone.
        device.write_all(&bytes).ok();
    }
}

/// Has a page of that file, and changes its memory all the time.
fn unreadable() {
    let file = File::open(argument(0)).expect("it is mounted");
    assert_eq!(file.metadata().expect("it is answered").len(), 1 << 20);
    let map = |fd, flags| {
        // SAFETY: it is new memory, at a place of the kernel's choosing.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, flags, fd, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        page
    };
    let page = map(file.as_raw_fd(), libc::MAP_PRIVATE);
    say("ready");
    say(std::process::id());
    say(page.addr());
    let until = now() + LIFETIME;
    while now() < until {
        let more = map(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: nobody knows of it.
        unsafe { libc::munmap(more, PAGE) };
    }
}

/// The same in a session of its own, while its parent stays.
fn unreadable_daemon() {
    if !is_copy() {
        linger();
    }
    rustix::process::setsid().expect("a copy leads no group");
    unreadable();
}

/// The same without a mark in its limits, and without a parent: its environment alone says whose it is.
fn unmarked_daemon() {
    if !is_copy() {
        leave(0);
    }
    rustix::process::setsid().expect("a copy leads no group");
    lower_own_mark();
    unreadable();
}

/// Reads a page of another process's memory, and holds its lock meanwhile.
fn reader() {
    let memory = File::open(format!("/proc/{}/mem", argument(0))).expect("the super-user may");
    let at = argument(1).parse().expect("an address");
    say("ready");
    // EIO, once the server is gone.
    memory.read_at(&mut [0], at).expect_err("nobody answers");
}

/// The file that cannot be read, and who serves it.
struct Unanswered {
    file: Scratch,
    server: Child,
    control: Option<ChildStdin>,
}

/// Somebody who holds the lock of a process.
struct Locked {
    reader: Child,
    pinned: Pinned,
}

impl Unanswered {
    fn start() -> Self {
        let file = Scratch::unique("unanswered");
        File::create(file.path()).expect("it is ours");
        let (server, control, _lines) = host(role("server").arg(file.path()));
        let control = Some(control);
        Self { file, server, control }
    }

    fn path(&self) -> &str {
        text(self.file.path())
    }

    /// From here on nobody can read this process, which has the page at this address.
    fn lock(&self, pid: u32, address: &str) -> Locked {
        let (reader, _control, _lines) = host(role("reader").args([&pid.to_string(), address]));
        eventually("reading about it hangs", || hangs(pid));
        let pinned = Pinned::open(pid).expect("it lives");
        Locked { reader, pinned }
    }

    /// Everybody goes on.
    fn give_up(self, mut locked: Locked) {
        drop(self);
        assert!(locked.reader.wait().expect("our child").success());
    }
}

/// Also of a test that fails: nobody on this machine could go on.
impl Drop for Unanswered {
    fn drop(&mut self) {
        drop(self.control.take());
        self.server.wait().expect("our child");
    }
}

/// One of these tests at a time: each would meet what the others have made.
fn alone() -> File {
    let own = std::env::current_exe().expect("an executable has a path");
    let own = File::open(own).expect("it is running");
    rustix::fs::flock(&own, rustix::fs::FlockOperation::LockExclusive).expect("a file");
    own
}

/// Whether reading about it does not come back at once.
fn hangs(pid: u32) -> bool {
    let (done, came_back) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(std::fs::read(format!("/proc/{pid}/cmdline")));
        done.send(()).ok();
    });
    came_back.recv_timeout(ms(200)).is_err()
}

// ---- what it does to others

/// Longer than a pass or a sweep waits for what hangs, and what else there is to do.
const BOUND: Duration = Duration::from_secs(8);

fn a_member_that_cannot_be_read_delays_nobody_and_is_ended() {
    let _alone = alone();
    let file = Unanswered::start();
    let registry = crate::support::registry();
    let others: Vec<_> = (2..8)
        .map(|session| start(&registry, session, &mut role("obedient")))
        .collect();
    let (output, writer) = crate::support::pipe();
    let mut command: Command = native("unreadable_daemon");
    let output_of_both = procession::Stdio::from(writer);
    command.arg(file.path()).stdout(output_of_both);
    registry.spawn(1, &mut command).works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let locked = file.lock(lines.number(), &lines.line());
    // It ends nobody yet, and meets everybody.
    let policy = StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH).kill();
    let began = now();
    let ending = registry.begin_end_session(1, &policy).works();
    for (process, _lines) in &others[1..] {
        process.kill().works();
        process.wait().works();
    }
    let exits = now() - began;
    // Their ends go over the same processes, and wait for the one pass that hangs.
    for session in 2..8 {
        close_with(&registry, session, &StopPolicy::immediate());
    }
    let ends = now() - began;
    let report = crate::support::clean(ending.wait().works());
    let took = now() - began;
    assert!(exits < ms(1500), "{exits:?}");
    assert!(ends < BOUND && took < BOUND, "{ends:?}, {took:?}\n{report}");
    // Of what it was started with nothing can be said. The kernel's own name for it can be read.
    let of_it = |member: &&MemberReport| member.pid() == locked.pinned.pid();
    let member = report.members().iter().find(of_it);
    let member = member.unwrap_or_else(|| panic!("\n{report}"));
    assert_eq!(member.command_line().len(), 1, "\n{report}");
    assert_eq!(member.how(), How::At(Rung::Signal(Signal::TERM)), "\n{report}");
    assert!(locked.pinned.is_dead());
    file.give_up(locked);
}

/// Its environment could name the session of a process that was marked a moment after its start: nobody else is asked who is
/// younger than that.
fn a_younger_stranger_that_cannot_be_read_delays_an_end_once() {
    let _alone = alone();
    let file = Unanswered::start();
    let registry = crate::support::registry();
    let all: Vec<_> = (1..4)
        .map(|session| start(&registry, session, &mut role("obedient")))
        .collect();
    let (mut stranger, _control, mut lines) = host(role("unreadable").arg(file.path()));
    let locked = file.lock(lines.number(), &lines.line());
    let began = now();
    for session in 1..=all.len() as u64 {
        close_with(&registry, session, &StopPolicy::immediate());
    }
    let took = now() - began;
    assert!(took < BOUND, "{took:?}");
    assert!(!locked.pinned.is_dead());
    locked.pinned.kill();
    stranger.wait().expect("our child");
    file.give_up(locked);
}

/// What had hung once was never asked again: a host that was stopped in the middle of such a look had the same effect.
fn who_can_be_read_again_is_asked_again() {
    let _alone = alone();
    let file = Unanswered::start();
    let registry = crate::support::registry();
    // Before the other: nobody older than a session is looked at for it.
    let (_obedient, _its_lines) = start(&registry, 2, &mut role("obedient"));
    let (output, writer) = crate::support::pipe();
    let mut command = role("unmarked_daemon");
    command.arg(file.path()).stdout(writer);
    registry.spawn(1, &mut command).works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let pid = lines.number();
    let daemon = Pinned::open(pid).expect("it lives");
    let before = threads().len();
    let locked = file.lock(pid, &lines.line());
    let at_once = StopPolicy::immediate();
    drop(registry.end_session_with(2, &at_once).works());
    assert!(!daemon.is_dead());
    file.give_up(locked);
    eventually("the pass that hung is over", || threads().len() == before);
    drop(registry.end_session_with(1, &at_once).works());
    assert!(daemon.is_dead());
}

fn a_stranger_that_cannot_be_read_is_listed_and_passed_over() {
    let _alone = alone();
    let file = Unanswered::start();
    let (mut child, _control, mut lines) = host(role("unreadable").arg(file.path()));
    let locked = file.lock(lines.number(), &lines.line());
    let (mut other, _its_control, _its_lines) = host(&mut role("obedient"));
    let registry = crate::support::registry();
    let (pid, wanted) = (locked.pinned.pid(), other.id());
    let rule = OrphanRule::matching("this one", move |process| process.pid() == wanted);
    let began = now();
    let report = registry.sweep(&rule).works();
    let swept = now() - began;
    let left = report.left_alone().iter().filter(|left| left.pid == pid);
    let reasons: Vec<LeftAloneReason> = left.map(|left| left.reason).collect();
    assert_eq!(reasons, [LeftAloneReason::Hangs], "\n{report}");
    assert_eq!(report.ended(), 1, "\n{report}");
    other.wait().expect("our child");
    let began = now();
    let report = registry.recover().works();
    let recovered = now() - began;
    assert_listed(&report, pid);
    assert!(swept < BOUND && recovered < BOUND, "{swept:?}, {recovered:?}");
    assert!(!locked.pinned.is_dead());
    locked.pinned.kill();
    child.wait().expect("our child");
    file.give_up(locked);
}

#[track_caller]
fn assert_listed(report: &RecoveryReport, pid: u32) {
    assert!(report.left_alone().iter().any(|one| one.pid() == pid), "{report}");
    assert!(report.to_string().contains("reading about it hangs"), "{report}");
}

/// Its variable may name somebody who lives: only the ledger knows better.
fn what_a_dead_host_left_and_cannot_be_read_is_ended_by_the_ledger_alone() {
    let _alone = alone();
    let file = Unanswered::start();
    let ledger = scratch();
    let what = format!("native:unreadable,{}", file.path());
    let mut dead = Host::of(role("victim").args([name(), text(ledger.path()), &what]));
    let mut said: Vec<String> = (0..4).map(|_| dead.line()).collect();
    said.retain(|line| line != "up");
    let pid = said[1].parse().expect("a pid");
    let locked = file.lock(pid, &said[2]);
    dead.kill();
    let began = now();
    let (registry, report) = recover_as(name(), "-");
    assert_listed(&report, pid);
    assert!(!locked.pinned.is_dead(), "{report}");
    drop(registry);
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    assert!(report.is_clean() && report.ended() == 1, "{report}");
    assert!(locked.pinned.is_dead());
    let took = now() - began;
    assert!(took < BOUND * 2, "{took:?}\n{report}");
    file.give_up(locked);
}

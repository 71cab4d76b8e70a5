//! Programs that try to get away. Each is bounded in count and in time: it ends by itself after [`LIFETIME`].
//!
//! They hold the write end of a pipe, most of them their standard output: once that reads as ended, nobody of them is
//! left, whatever they have done to their group, their environment and their limits.

#![allow(
    unsafe_code,
    reason = "no safe crate forks without exec, which is how one gets away"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::pipes::{pipe, role};
use super::platform::{self, set_locks};
use super::roles::{argument, say};
use super::wait::{LONG_ENOUGH, eventually, holds_within, let_pass, ms, now};

pub(crate) use super::platform::own_locks;

/// After this a program of this file ends by itself.
const LIFETIME: Duration = Duration::from_secs(20);

/// How many generations of a comet there are, and how long each lives. They stay zombies until pid 1 sees to them: there
/// must not be too many.
const GENERATIONS: u32 = 20_000;
const GENERATION: Duration = Duration::from_micros(200);
/// On a busy machine that many generations take longer than a test waits.
const COMETS_LIFETIME: Duration = Duration::from_secs(10);

/// What a fork is in each of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Child,
    Parent,
}

/// Forks without exec. The roles are programs of one thread.
fn fork() -> Side {
    // SAFETY: there is no other thread whose locks the copy could find held.
    match unsafe { libc::fork() } {
        0 => Side::Child,
        -1 => leave(9),
        _ => Side::Parent,
    }
}

/// Ends without running anything.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: it ends this process and touches no memory.
    unsafe { libc::_exit(code) }
}

fn new_session() {
    // SAFETY: the call takes no argument.
    unsafe { libc::setsid() };
}

/// Forks, and says whether this is the copy.
pub(crate) fn is_copy() -> bool {
    fork() == Side::Child
}

/// Stays until its lifetime is over.
pub(crate) fn linger() -> ! {
    let until = now() + LIFETIME;
    while now() < until {
        let_pass(ms(100));
    }
    leave(0);
}

/// Forks, lets the child go on in a session of its own, and exits; the child does the same, and so on. The first stays,
/// if it is told to.
pub(crate) fn comet() {
    let stays = argument(0) == "stays";
    say("ready");
    if stays && fork() == Side::Parent {
        linger();
    }
    let until = now() + COMETS_LIFETIME;
    for _ in 0..GENERATIONS {
        if now() >= until {
            break;
        }
        if fork() == Side::Parent {
            leave(0);
        }
        new_session();
        let_pass(GENERATION);
    }
    leave(0);
}

/// Two of a kind for each one, down to so many generations: 2^n in all.
pub(crate) fn fork_bomb() {
    let generations: u32 = argument(0).parse().expect("a number");
    assert!(generations <= 8, "it is to be survived");
    for _ in 0..generations {
        fork();
        if argument(1) == "scatter" && fork() == Side::Parent {
            new_session();
        }
    }
    say("ready");
    linger();
}

/// As in the books: two forks, a session of its own.
fn daemonise() {
    if fork() == Side::Parent {
        // Its zombie is for whoever waits for us.
        linger_or_leave();
    }
    new_session();
    if fork() == Side::Parent {
        leave(0);
    }
}

/// A daemon. Says its pid, and that the way to it is gone.
pub(crate) fn daemon() {
    daemonise();
    say("ready");
    say(std::process::id());
    linger();
}

/// The same, and of all that could tell where it comes from only the limit is left.
pub(crate) fn thorough_daemon() {
    daemonise();
    say("ready");
    say(std::process::id());
    forget_everything();
}

/// So much memory takes the kernel a while to take away, in which its owner has none any more and is not dead yet.
const LARGE: usize = 512 << 20;

/// A daemon that takes its time to exit. It says when it has what that takes.
pub(crate) fn large_daemon() {
    daemonise();
    grow_large();
    say("ready");
    say(std::process::id());
    linger();
}

/// The same with a child of its own, which has not much.
pub(crate) fn large_parent() {
    daemonise();
    grow_large();
    let parent = std::process::id();
    if fork() == Side::Child {
        new_session();
        say("ready");
        say(std::process::id());
        say(parent);
    }
    linger();
}

/// The first of a group of its own has another in it that has not kept its mark, and much memory.
pub(crate) fn large_markless_companion() {
    if fork() == Side::Parent {
        linger();
    }
    new_session();
    if fork() == Side::Child {
        lower_own_mark();
        grow_large();
        say("ready");
        say(std::process::id());
    }
    linger();
}

/// The same, but whose group it is in is younger than itself.
pub(crate) fn large_older_companion() {
    let (mut told, mut tell) = pipe();
    if fork() == Side::Parent {
        if fork() == Side::Child {
            join_group(0);
            writeln!(tell, "{}", std::process::id()).expect("it is read");
        }
        linger();
    }
    if fork() == Side::Parent {
        leave(0);
    }
    drop(tell);
    let mut first = String::new();
    BufReader::new(&mut told)
        .read_line(&mut first)
        .expect("it is told");
    join_group(first.trim().parse().expect("a pid"));
    lower_own_mark();
    grow_large();
    say("ready");
    say(std::process::id());
    linger();
}

/// 0: one of its own.
fn join_group(first: libc::pid_t) {
    // SAFETY: the call takes numbers.
    let joined = unsafe { libc::setpgid(0, first) };
    assert_eq!(joined, 0, "both are in one session");
}

/// How much a program of [`executes_for_ever`] carries along: what it takes the kernel to hand it on, in which there is neither
/// the old environment nor the new one.
const LUGGAGE: usize = 100 << 10;
const PIECES: usize = 12;
const EXECUTIONS: u32 = 20_000;

/// A daemon that executes itself over and over. It says when it has begun, and when it has done so once.
pub(crate) fn executes_for_ever() {
    daemonise();
    say("ready");
    say(std::process::id());
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    execute_again(0, since.as_secs());
}

pub(crate) fn executes_again() {
    execute_again(
        argument(0).parse().expect("a number"),
        argument(1).parse().expect("a time"),
    );
}

fn execute_again(times: u32, since: u64) -> ! {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    if times > EXECUTIONS || now.as_secs() > since + LIFETIME.as_secs() {
        leave(0);
    }
    let mut next = role("executes_again");
    next.args([(times + 1).to_string(), since.to_string()]);
    next.args((0..PIECES).map(|_| "x".repeat(LUGGAGE)));
    let error = next.exec();
    panic!("it can be executed again: {error}");
}

/// Its parent, which has not kept its mark, has nothing to do with the session, for all that is to be seen, and leaves when the
/// one that was launched is dead.
pub(crate) fn is_orphaned_by_the_end() {
    let (mut launched, until_death) = pipe();
    if fork() == Side::Parent {
        linger();
    }
    if fork() == Side::Parent {
        leave(0);
    }
    new_session();
    drop(until_death);
    let (mut unmarked, until_unmarked) = pipe();
    let mut nothing = Vec::new();
    if fork() == Side::Parent {
        lower_own_mark();
        drop(until_unmarked);
        drop(launched.read_to_end(&mut nothing));
        leave(0);
    }
    new_session();
    drop(until_unmarked);
    drop(unmarked.read_to_end(&mut nothing));
    say("ready");
    say(std::process::id());
    linger();
}

fn grow_large() {
    let (flags, protection) = (
        libc::MAP_PRIVATE | libc::MAP_ANON,
        libc::PROT_READ | libc::PROT_WRITE,
    );
    // SAFETY: a new mapping, which is nobody else's memory.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), LARGE, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "there is memory");
    // In small pages, of which there are many, and for no child.
    #[cfg(target_os = "linux")]
    for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_DONTFORK] {
        // SAFETY: all of it is mapped, and it is this process's alone.
        unsafe { libc::madvise(memory, LARGE, advice) };
    }
    // SAFETY: all of it is mapped, and not read by anybody.
    unsafe { memory.cast::<u8>().write_bytes(1, LARGE) };
}

/// A daemon whose first thread ends before the other.
pub(crate) fn headless_daemon() {
    daemonise();
    let pid = std::process::id();
    std::thread::spawn(move || {
        say("ready");
        say(pid);
        linger();
    });
    platform::end_this_thread();
}

/// A comet that has taken its mark away, and whose generations know nothing of each other.
pub(crate) fn unmarked_comet() {
    lower_own_mark();
    comet();
}

/// Makes a cgroup in its own, and moves a child of its into that.
pub(crate) fn nests_a_cgroup() {
    let own = own_cgroup();
    let nested = own.join("nested").join("deeper");
    std::fs::create_dir_all(&nested).expect("a cgroup can be made");
    if fork() == Side::Child {
        std::fs::write(nested.join("cgroup.procs"), "0").expect("it may be entered");
        new_session();
        say("ready");
        say(std::process::id());
        linger();
    }
    linger();
}

/// Starts a child, which moves itself to the cgroup that is its argument.
pub(crate) fn leaves_its_cgroup() {
    if fork() == Side::Child {
        let to = std::path::PathBuf::from(argument(0));
        std::fs::write(to.join("cgroup.procs"), "0").expect("it may be entered");
        new_session();
        say("ready");
        say(std::process::id());
        linger();
    }
    linger();
}

/// The cgroup of version 2 that this process is in.
pub(crate) fn own_cgroup() -> std::path::PathBuf {
    cgroup_of("self")
}

/// How many cgroups of this test's sessions there are in that one.
pub(crate) fn leaves_below(parent: &std::path::Path) -> usize {
    leaves_of(std::process::id(), parent).len()
}

/// The cgroups of a host's sessions there.
fn leaves_of(host: u32, parent: &std::path::Path) -> Vec<std::path::PathBuf> {
    let prefix = format!("procession-{host}-");
    let entries = std::fs::read_dir(parent).expect("it can be read").flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Ends what is in the cgroups of the sessions of a host that has died, and removes them.
pub(crate) fn clear_leaves_of(host: u32) {
    let parent = own_cgroup();
    for leaf in leaves_of(host, &parent) {
        std::fs::write(leaf.join("cgroup.kill"), "1").expect("it may be killed");
        // EBUSY: somebody in it is dying.
        eventually("a cgroup is removed", || std::fs::remove_dir(&leaf).is_ok());
    }
}

/// The one that a process is in.
pub(crate) fn cgroup_of(pid: &str) -> std::path::PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("it can be read");
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then_some(point)
    });
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it can be read");
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mount = std::path::Path::new(mount.expect("there is a hierarchy of version 2"));
    mount.join(own.expect("every process is in one"))
}

/// Becomes a program with an empty environment that holds its output alone.
fn forget_everything() -> ! {
    let error = Command::new("/bin/sleep")
        .arg(LIFETIME.as_secs().to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .exec();
    panic!("sleep cannot be run: {error}");
}

/// The same once more, and without the limit's mark: nothing is left that could be seen from outside.
pub(crate) fn vanishing_daemon() {
    lower_own_mark();
    thorough_daemon();
}

/// The same without leaving its parent: that one alone says whose it is. Says its pid.
pub(crate) fn parent_of_a_markless_child() {
    if is_copy() {
        lower_own_mark();
        new_session();
        say(std::process::id());
        forget_everything();
    }
    linger();
}

/// As `ulimit -x 7` does.
pub(crate) fn lower_own_mark() {
    set_locks(0, 7, 7);
}

/// Puts its own mark on the process that is its first argument.
pub(crate) fn frames_a_stranger() {
    let (soft, hard) = own_locks();
    let stranger = argument(0).parse().expect("a pid");
    set_locks(stranger, soft, hard);
    say("ready");
    linger();
}

fn linger_or_leave() -> ! {
    if std::env::args().nth(2).is_some_and(|word| word == "stays") {
        linger();
    }
    leave(0);
}

/// Its first thread ends while another lives on: state Z to whoever reads it in /proc, and alive.
pub(crate) fn headless() {
    std::thread::spawn(|| {
        say("ready");
        linger();
    });
    platform::end_this_thread();
}

/// Becomes another program from a thread that is not the first: its number goes on, its threads are gone.
pub(crate) fn executes_from_a_thread() {
    let become_another = || {
        let error = role("lingers").exec();
        panic!("a role can be started: {error}");
    };
    drop(std::thread::spawn(become_another).join());
    leave(9);
}

/// Says that it is ready, with its pid, and stays.
pub(crate) fn lingers() {
    say("ready");
    say(std::process::id());
    linger();
}

/// Starts a child in a pid namespace of its own, and stays.
pub(crate) fn namespace_owner() {
    platform::new_pid_namespace();
    if fork() == Side::Child {
        // The first of its namespace.
        if fork() == Side::Child {
            new_session();
            say("ready");
        }
        linger();
    }
    linger();
}

/// Obeys SIGTERM, and has a child that does not.
pub(crate) fn wrapper_of_a_deaf_server() {
    if fork() == Side::Child {
        super::ignore_signal(libc::SIGTERM);
        new_session();
        say("ready");
        say(std::process::id());
        linger();
    }
    linger();
}

/// A child stops itself; its parent stays.
pub(crate) fn parent_of_a_stopped_child() {
    if fork() == Side::Child {
        new_session();
        say("ready");
        say(std::process::id());
        // SAFETY: the call takes a signal's number.
        unsafe { libc::raise(libc::SIGSTOP) };
        linger();
    }
    linger();
}

/// Whether everybody who held the other end is gone, within `limit`.
pub(crate) fn is_abandoned(output: &mut File, limit: Duration) -> bool {
    rustix::io::ioctl_fionbio(&*output, true).expect("a pipe");
    let mut byte = [0; 256];
    holds_within(limit, || {
        loop {
            match output.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => panic!("pipe {}: {error}", output.as_raw_fd()),
            }
        }
    })
}

/// The same of those that a clean report says are gone: now.
#[track_caller]
pub(crate) fn assert_abandoned(output: &mut File) {
    assert!(
        is_abandoned(output, Duration::ZERO),
        "somebody lives, and holds the pipe"
    );
}

/// What was not promised to end has to go as well.
#[track_caller]
pub(crate) fn await_abandoned(output: &mut File) {
    assert!(is_abandoned(output, LONG_ENOUGH), "somebody lives for ever");
}

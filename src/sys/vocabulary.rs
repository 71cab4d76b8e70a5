//! The answers that every back end gives: plain values, without a descriptor among them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::{Status, StatusSource, Usage};
use crate::limit_mark::Pair;
use crate::session::{Life, SessionId};

/// What an operation that needs the [`ProcessTable`](super::ProcessTable) says when it cannot be opened.
pub(crate) const UNLISTED: &str = "the list of all processes cannot be read";

/// Why a registry cannot run here: a call of the floor that the kernel, or a filter in front of it, refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// The call, as its manual page is named.
    pub(crate) call: &'static str,
    /// What it answered. `ENOSYS` is an old kernel, `EPERM` is most often a seccomp filter.
    pub(crate) errno: i32,
}

impl Unavailable {
    /// The answer of the call as an error.
    pub(crate) fn cause(self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is refused: {}", self.call, self.cause())
    }
}

/// Facilities to be treated as missing, so that the ways without them can be tested on a kernel that has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    /// The floor itself: the probe fails as it does on a kernel without pidfds or kqueue.
    pub(crate) pidfd: bool,
    /// A group can be signalled after its leader was reaped.
    pub(crate) group_signal: bool,
    /// Linux: the inodes of pidfds.
    pub(crate) pidfs: bool,
    /// Linux: `PIDFD_GET_INFO`; hides `exit_info` as well, which is a part of it.
    pub(crate) pidfd_info: bool,
    /// The status of who is not our child, or was reaped by somebody else.
    pub(crate) exit_info: bool,
    /// Linux: the kernel's own list of what the ioctl tells (6.19); what it hides is found by trying.
    pub(crate) info_list: bool,
}

/// What a process is to us, which decides who will collect its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Relation {
    /// Our own child, which nobody but us should reap.
    Child,
    /// Anybody else's; also a child of the host that the host reaps itself.
    Stranger,
}

/// What a look at a process found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Look {
    /// It lives: running, stopped, or its leader thread ended while others run.
    Alive,
    /// It has ended, and its status cannot be collected *yet*, but will be: a tracer holds it, or a reap is under way.
    /// There may be no further readiness event, so look again after a while.
    Held,
    /// It has ended, and its status can be told only after its own parent reaped it: a stranger's zombie. The reap
    /// makes the pin ready once more.
    #[allow(
        dead_code,
        reason = "kqueue announces an exit with its status, or never tells it"
    )]
    Dead,
    /// It has ended, and this is all that will ever be known about how.
    Exited {
        /// How it ended; `Unknown` where nobody can tell.
        status: Status,
        /// Who told.
        source: StatusSource,
        /// What it used; only a wait tells that. `max_rss_bytes` is the kernel's high-water mark of the *address
        /// spaces* that the process had, and a child that was made by `vfork` had its parent's at first: a small program
        /// is reported with the size of the program that started it.
        usage: Option<Usage>,
    },
}

/// What a look at a child by its bare number found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildState {
    /// Our child, and it runs.
    Alive,
    /// Our child, a zombie: its number is held until it is reaped.
    Waitable,
    /// Not our child, or not any more: the number may be anybody's.
    NotOurChild,
}

/// What the poll reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ready {
    /// Something happened to the process that was added under this key: look at it.
    Process(u64),
    /// The timer fired, perhaps earlier than asked for.
    Timer,
    /// Somebody called the waker.
    Mailbox,
}

/// Why [`sleep_on`](super::sleep_on) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Woken {
    /// The process has ended; also if the reactor ended as well.
    Process,
    /// The reactor has ended, so nobody will fill a cell or reap any more.
    ReactorGone,
    /// The deadline has passed.
    TimedOut,
}

/// Why [`wait_writable`](super::wait_writable) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Writable {
    /// A write will make progress or fail at once.
    Ready,
    /// The writer has been revoked; also if a write would be possible.
    Revoked,
}

/// Who this process is, in terms that outlive it: what a mark says about its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerIdentity {
    /// The number in its own pid namespace.
    pub(crate) pid: u32,
    /// The start time in clock ticks since boot. Not unique alone: a pid can return within one tick.
    pub(crate) start_ticks: u64,
    /// The inode of its pidfd, unique for one boot; 0 where the kernel has none.
    pub(crate) inode: u64,
    /// The random id of this boot.
    pub(crate) boot: u128,
    /// The inode of the pid namespace in which `pid` counts.
    pub(crate) pid_namespace: u64,
}

/// Whose cgroup this is, as the name of its directory tells. See `linux/cgroup/names.rs` for the spelling.
///
/// The boot is not in it: no cgroup outlives that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "only Linux has cgroups")]
pub(crate) struct LeafName {
    /// Who made it, in the pid namespace that is named next.
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// The inode of its pidfd; 0 where there was none.
    pub(crate) inode: u64,
    pub(crate) pid_namespace: u64,
    pub(crate) registry: u64,
    pub(crate) life: Life,
    pub(crate) session: SessionId,
    /// What the owner is called; `None` where that is too long for a directory's name.
    pub(crate) owner_name: Option<String>,
}

/// A cgroup of somebody's, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedLeaf {
    pub(crate) name: LeafName,
    pub(crate) path: PathBuf,
}

/// What can be read about a process from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    /// Its parent; `None` if that lies outside of our pid namespace, or for the first process.
    pub(crate) parent: Option<u32>,
    /// Its arguments as they are now; empty for a zombie and a kernel thread.
    pub(crate) args: Vec<OsString>,
    /// Its program; `None` where that is not ours to know.
    pub(crate) exe: Option<PathBuf>,
    /// Its real user: who started it, also for a set-uid program.
    pub(crate) user: u32,
    /// How long ago it was born, in clock ticks of usually 10 ms.
    pub(crate) age: Duration,
    /// Its environment as it was at exec, unless it wrote over it; empty where that is not ours to read.
    pub(crate) environ: Environ,
    /// The state letter of the kernel: R, S, D, T, t, Z, X, I.
    pub(crate) state: char,
}

/// An environment as the kernel shows it: most of them are read and never looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environ(Vec<u8>);

impl Environ {
    /// Of variables that each end with a NUL.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds a variable behind the others.
    pub(crate) fn push(&mut self, name: &OsStr, value: &OsStr) {
        let parts = [name.as_bytes(), b"=", value.as_bytes(), b"\0"];
        self.0.extend(parts.concat());
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values. What has no name, because a program wrote over it, is left out; a name may begin with an equals
    /// sign.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.split(|byte| *byte == 0).filter_map(|variable| {
            let equals = variable.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            let (name, value) = variable.split_at(equals);
            Some((OsStr::from_bytes(name), OsStr::from_bytes(&value[1..])))
        })
    }
}

/// What could be learned of a process's limit of file locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    Read(Pair),
    /// It is another user's, or hidden.
    #[allow(dead_code, reason = "only Linux has a limit that could be refused")]
    Refused,
    /// There is no such process (any more).
    Gone,
}

/// An entry in the list of all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) pid: u32,
    /// Tells the process from every other one that has had, or will have, its number: the same as before is the same
    /// process. That of one process may change. `None` where the system does not say.
    pub(crate) instance: Option<u64>,
}

/// How many of the youngest are told.
#[allow(dead_code, reason = "only macOS tells them")]
pub(crate) const YOUNGEST: usize = 16;

/// What the kernel tells of who is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each kernel does one of these")]
pub(crate) enum Newest {
    /// The number that was given last. The next is a higher one, or a low one again.
    Given(u32),
    /// The youngest that live, the youngest of them first, and among them who has executed another program since; 0 fills up.
    Youngest([u32; YOUNGEST]),
}

/// What the kernel tells of how a process came to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "only the kernel of macOS tells it")]
pub(crate) enum Parentage {
    /// Nothing, of nobody: there are only signs to go by.
    Untold,
    /// The parent has forked it.
    Born,
    /// Somebody else has.
    TakenIn,
    /// It tells it, but not now of this one.
    Hidden,
}

/// What the kernel keeps of a process's forebears, whoever is its parent by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each kernel does one of these")]
pub(crate) enum Ancestry {
    /// Nothing.
    Untold,
    /// Who has forked it, by an id that is never given twice; or the parent that it had when it executed another program.
    ByUniqueId,
    /// Where orphans come to this process, which child of it that process descends from, by its number: that of the last one
    /// that had it.
    OfOurChildren,
}

/// Somebody, and whom it comes from, in the terms of an [`Ancestry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offspring {
    pub(crate) pid: u32,
    /// By what those who come from it name it.
    pub(crate) id: u64,
    pub(crate) parent: u64,
    /// Another one with each program that it executes; `None` where that is not told.
    pub(crate) incarnation: Option<u64>,
    /// That of whoever has forked it, when it did: whatever it tells of its parent by now. `None` where that is not told.
    pub(crate) born_of: Option<u64>,
}

/// Where a process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// 0 if it lies outside of our pid namespace.
    pub(crate) parent: u32,
    /// 0 if it lies outside of our pid namespace.
    pub(crate) group: u32,
    /// The number of its first process; 0 if that lies outside of our pid namespace, or is not told.
    pub(crate) session: u32,
    pub(crate) parentage: Parentage,
    pub(crate) is_kernel_thread: bool,
    /// Its first thread runs nothing any more. If that was the last one it may hold what it had open, and have no memory.
    pub(crate) is_exiting: bool,
    pub(crate) start_ticks: u64,
    /// All of its threads have ended.
    pub(crate) is_zombie: bool,
    /// Its effective user; that of the super-user also for one whose files are not for others.
    pub(crate) user: u32,
    /// What the kernel calls the program, cut at 15 bytes.
    pub(crate) name: OsString,
}

/// Why a process may still be there after SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The state letter of the kernel: D is uninterruptible, Z a zombie, t stopped by a tracer.
    pub(crate) state: char,
    /// The process that traces it, or 0.
    pub(crate) tracer: u32,
}

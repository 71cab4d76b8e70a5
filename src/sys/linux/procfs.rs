//! Reading about processes in `/proc`.
//!
//! Nothing here belongs on the reactor: `cmdline` and `environ` take the target's mmap lock, and
//! hang as long as someone else holds it.

#![expect(unsafe_code, reason = "rustix has sysconf behind a feature of its own")]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use super::info;
use super::parse::{
    ProcStatus, Stat, invalid, parse_boot_id, parse_list, parse_stat, parse_status,
};
use crate::sys::unix::{self, current_pid, to_pid};
use crate::sys::vocabulary::{Condition, Environ, ProcessFacts};

/// Above what the kernel allows for arguments and environment together (6 MiB), so that a list is
/// read whole.
const WHOLE_LIST: u64 = 8 << 20;
/// What of a command line is kept for a report.
const REPORTED_LIST: u64 = 64 << 10;
/// Above the size of a `stat` or `status`, of which some lines grow with the machine.
const WHOLE_RECORD: u64 = 64 << 10;

/// Reads what can be read about a process. It may hang: never on the reactor.
///
/// All of it is about one and the same process, but the number alone does not say which: hold a
/// [`Pin`](super::Pin) before this call, and see that it still lives after it.
///
/// # Errors
///
/// `ENOENT` or `ESRCH` if there is no such process, or `/proc` hides it (hidepid); `Unsupported`
/// if `/proc` is not that of our pid namespace. What is merely not ours to read is left empty.
pub(crate) fn read_process(pid: u32) -> io::Result<ProcessFacts> {
    let process = ProcDir::open(pid)?;
    let file = |name: &str, limit| process.read(name, limit);
    read_facts(file, || process.link("exe"), None)
}

/// The same by whoever knows how to open the files, and may have been told of the user already.
pub(super) fn read_facts(
    file: impl Fn(&str, u64) -> io::Result<Vec<u8>>,
    exe: impl FnOnce() -> io::Result<CString>,
    user: Option<u32>,
) -> io::Result<ProcessFacts> {
    let args = unless_hidden(file("cmdline", WHOLE_LIST))?;
    let exe = unless_hidden(exe().map(|path| Some(OsString::from_vec(path.into_bytes()).into())))?;
    let environ = unless_hidden(file("environ", WHOLE_LIST))?;
    // Last, because a zombie has nothing of the above, and says so in the same words as a process
    // that is gone. What is gone has none of these either.
    let user = match user {
        Some(user) => user,
        None => {
            let status = parse_status(&file("status", WHOLE_RECORD)?);
            status.ok_or_else(|| invalid("status"))?.user
        }
    };
    let stat = parse_stat(&file("stat", WHOLE_RECORD)?).ok_or_else(|| invalid("stat"))?;
    Ok(ProcessFacts {
        parent: (stat.parent != 0).then_some(stat.parent),
        args: parse_list(&args),
        exe,
        user,
        age: age(stat),
        environ: Environ::new(environ),
        state: stat.state,
    })
}

/// Reads the arguments of a process for a report, up to 64 KiB of them; empty for a zombie. It may
/// hang: never on the reactor.
///
/// # Errors
///
/// As [`read_process`].
pub(crate) fn command_line(pid: u32) -> io::Result<Vec<OsString>> {
    let line = ProcDir::open(pid)?.read("cmdline", REPORTED_LIST)?;
    Ok(parse_list(&line))
}

/// Reads what keeps a process that was killed. It takes no lock of the process.
///
/// # Errors
///
/// As [`read_process`].
pub(crate) fn why_alive(pid: u32) -> io::Result<Condition> {
    let found = ProcDir::open(pid)?.status()?;
    // The kernel names the thread that traces. A tracer that is gone by now is named as it was.
    let tracer = match found.tracer {
        0 => 0,
        thread => process_of(thread).unwrap_or(thread),
    };
    Ok(Condition {
        state: found.state,
        tracer,
    })
}

/// The process of a thread.
fn process_of(thread: u32) -> io::Result<u32> {
    Ok(ProcDir::open(thread)?.status()?.process)
}

/// Whether a process is this one, or its parent, or the parent's parent, and so on up to the first
/// of our pid namespace.
///
/// # Errors
///
/// As [`read_process`], for an ancestor that cannot be asked for its parent: then the answer is not
/// known.
pub(crate) fn is_ancestor(pid: u32) -> io::Result<bool> {
    unix::is_ancestor(pid, parent_of)
}

/// This process, its parent, the parent's parent, and so on up to the first of our pid namespace, as far as each can be asked
/// for its own.
pub(crate) fn ancestors() -> Vec<u32> {
    unix::ancestors(parent_of)
}

/// The parent of a process, 0 for none. Where `/proc` hides other users' processes the pidfd tells
/// (6.13).
fn parent_of(pid: u32) -> io::Result<u32> {
    let hidden = match ProcDir::open(pid).and_then(|process| process.stat()) {
        Ok(stat) => return Ok(stat.parent),
        Err(error) => error,
    };
    let pidfd = pidfd_open(to_pid(pid)?, PidfdFlags::empty())?;
    info::parent(pidfd.as_fd()).map_err(|_not_told_either| hidden)
}

/// The random id of this boot.
pub(super) fn boot_id() -> io::Result<u128> {
    let id = read(
        openat(CWD, "/proc/sys/kernel/random/boot_id", READ, Mode::empty())?,
        WHOLE_RECORD,
    )?;
    parse_boot_id(&id).ok_or_else(|| invalid("boot_id"))
}

/// The directory of one process. Held open it stays that process's: what is read through it after
/// the process is gone says so, also when the number was given to another one.
#[derive(Debug)]
pub(super) struct ProcDir(OwnedFd);

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

impl ProcDir {
    /// Opens it, in a `/proc` that counts processes as we do.
    ///
    /// In a container `/proc` may be the one of the outer pid namespace. Every number would name a
    /// stranger there.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let ours = readlinkat(CWD, "/proc/self", Vec::new())?;
        if ours.as_bytes() != current_pid().to_string().as_bytes() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "/proc belongs to another pid namespace",
            ));
        }
        let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(
            CWD,
            format!("/proc/{pid}"),
            dir,
            Mode::empty(),
        )?))
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        parse_stat(&self.read("stat", WHOLE_RECORD)?).ok_or_else(|| invalid("stat"))
    }

    /// The inode that names its pid namespace.
    pub(super) fn pid_namespace(&self) -> io::Result<u64> {
        Ok(statat(&self.0, "ns/pid", AtFlags::empty())?.st_ino)
    }

    fn status(&self) -> io::Result<ProcStatus> {
        parse_status(&self.read("status", WHOLE_RECORD)?).ok_or_else(|| invalid("status"))
    }

    fn read(&self, file: &str, limit: u64) -> io::Result<Vec<u8>> {
        read(openat(&self.0, file, READ, Mode::empty())?, limit)
    }

    fn link(&self, file: &str) -> io::Result<CString> {
        Ok(readlinkat(&self.0, file, Vec::new())?)
    }
}

fn read(file: OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    read_file(&file, limit)
}

/// Room for most of what stands in a file of `/proc`.
const MOSTLY_ENOUGH: usize = 4096;

/// Reads a file of `/proc` up to a size. They do not tell theirs.
///
/// They give all that they have, as far as there is room: where room is left there is no more. So most take one call, and
/// each further one would take the target's lock again.
pub(super) fn read_file(file: &OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(MOSTLY_ENOUGH.min(limit));
    loop {
        let room = bytes.capacity() - bytes.len();
        let read = match rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if read < room || bytes.len() >= limit {
            bytes.truncate(limit);
            return Ok(bytes);
        }
        bytes.reserve(bytes.len());
    }
}

/// Turns "not yours to read" into nothing, and "no such thing" too: a kernel thread has no program
/// (`ENOENT`), a zombie no memory to read from (`ESRCH`).
fn unless_hidden<T: Default>(read: io::Result<T>) -> io::Result<T> {
    let error = match read {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::SRCH) => Ok(T::default()),
        Some(_) | None => Err(error),
    }
}

/// How long ago a process was born. Its start is counted on the clock that goes on while the
/// machine is suspended.
fn age(stat: Stat) -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    );
    since_boot.saturating_sub(since_boot_of(stat.start_ticks, ticks_per_second()))
}

pub(super) fn since_boot_of(ticks: u64, per_second: u64) -> Duration {
    let rest = (ticks % per_second) * 1_000_000_000 / per_second;
    Duration::from_secs(ticks / per_second).saturating_add(Duration::from_nanos(rest))
}

/// `USER_HZ`, which is 100 nearly everywhere; never 0.
pub(super) fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes any number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let ticks = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0);
    ticks.unwrap_or(100)
}

//! What can be read about a process.

#![expect(unsafe_code, reason = "rustix has no proc_pidinfo and no proc_pidpath")]

use std::ffi::{OsString, c_int};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::Pid;

use super::identity::{Among, pid_info, unique_identifiers};
use super::procargs::parse_procargs;
use super::told::{self, Incarnation};
use super::usage::start;
use crate::sys::kqueue::{Person, Strings, parse_name, sysctl};
use crate::sys::unix::to_pid;
use crate::sys::vocabulary::{Condition, Described, Parentage};

/// `SSTOP` and `SZOMB` of `sys/proc.h`.
const STOPPED: u32 = 4;
const ZOMBIE: u32 = 5;
/// The first process.
const LAUNCHD: u32 = 1;
/// `PROC_FLAG_TRACED` and `PROC_FLAG_INEXIT`.
const TRACED: u32 = 2;
const EXITING: u32 = 4;

/// `kern.argmax`, which is a constant of the kernel: no process has more.
const ALL_STRINGS: usize = 1 << 20;
/// `PROC_PIDPATHINFO_MAXSIZE`.
const LONGEST_PATH: usize = 4 * 1024;
/// More than a `struct kinfo_proc`.
const KINFO: usize = 2048;

/// Where a process comes from.
///
/// When another user's process was started is not told: it counts as started just now, so that it is never taken for too
/// old to descend from anybody.
///
/// # Errors
///
/// `ESRCH` if there is no such process; `EPERM` from a sandbox.
pub(in crate::sys) fn describe(pid: Pid) -> io::Result<Described> {
    let found = short_info(pid)?;
    Ok(Described {
        parent: found.pbsi_ppid,
        group: found.pbsi_pgid,
        session: session(pid),
        parentage: parentage(pid, &found),
        // The kernel's own threads are those of process 0, which is never listed.
        is_kernel_thread: false,
        is_exiting: found.pbsi_flags & EXITING != 0,
        start_ticks: start(pid).unwrap_or(u64::MAX),
        is_zombie: found.pbsi_status == ZOMBIE,
        user: found.pbsi_uid,
        name: parse_name(&found.pbsi_comm.map(|byte| byte.to_ne_bytes()[0])),
    })
}

/// The number of its session's first process; 0 for a zombie, of which it is not told.
fn session(pid: Pid) -> u32 {
    let number = pid.as_raw_nonzero().get();
    // SAFETY: the call takes a number and touches no memory.
    let session = unsafe { libc::getsid(number) };
    u32::try_from(session).unwrap_or(0)
}

/// Who has forked it, compared with its parent. A tracer is its parent for as long as it traces: then it is not known whether
/// its own parent lives.
fn parentage(pid: Pid, found: &libc::proc_bsdshortinfo) -> Parentage {
    if found.pbsi_flags & TRACED != 0 {
        return Parentage::Hidden;
    }
    let born = unique_identifiers(pid, Among::Zombies);
    let parent =
        to_pid(found.pbsi_ppid).and_then(|parent| unique_identifiers(parent, Among::Zombies));
    let (Ok(born), Ok(parent)) = (born, parent) else {
        return Parentage::Hidden;
    };
    let parent = Incarnation {
        unique_id: parent.unique_id,
        version: parent.version,
    };
    let is_launchd = found.pbsi_ppid == LAUNCHD;
    told::parentage(
        born.parent_unique_id,
        born.parent_version,
        parent,
        is_launchd,
    )
}

/// The process group, of a zombie too.
///
/// # Errors
///
/// As [`describe`].
pub(in crate::sys) fn group(pid: Pid) -> io::Result<u32> {
    Ok(short_info(pid)?.pbsi_pgid)
}

/// Who runs it, for how long, and what it does.
///
/// # Errors
///
/// As [`describe`].
pub(in crate::sys) fn person(pid: Pid) -> io::Result<Person> {
    let found = short_info(pid)?;
    let traced = found.pbsi_flags & TRACED != 0;
    Ok(Person {
        parent: found.pbsi_ppid,
        real_user: found.pbsi_ruid,
        age: age(pid).unwrap_or(Duration::ZERO),
        condition: Condition {
            state: match (found.pbsi_status, traced) {
                (ZOMBIE, _) => 'Z',
                (STOPPED, true) => 't',
                (STOPPED, false) => 'T',
                // Whether a thread of it sleeps uninterruptibly is not told.
                _ => 'S',
            },
            // Who traces is the parent for as long.
            tracer: if traced { found.pbsi_ppid } else { 0 },
        },
    })
}

fn short_info(pid: Pid) -> io::Result<libc::proc_bsdshortinfo> {
    // SAFETY: all zeros is a valid value of this structure of numbers.
    let mut found: libc::proc_bsdshortinfo = unsafe { std::mem::zeroed() };
    let flavor = libc::PROC_PIDT_SHORTBSDINFO;
    // SAFETY: this flavor's structure is made of numbers alone.
    unsafe { pid_info(pid, flavor, Among::Zombies, &mut found) }?;
    Ok(found)
}

/// How long ago it was started, by the calendar.
fn age(pid: Pid) -> Option<Duration> {
    let number = pid.as_raw_nonzero().get();
    let mut found = [0_u8; KINFO];
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, number];
    let length = read(&mut name, &mut found).ok()?;
    // A `struct kinfo_proc` begins with the time of the start: seconds in eight bytes, microseconds in four.
    let found = found.get(..length)?;
    let (seconds, rest) = found.split_first_chunk::<8>()?;
    let (micros, _) = rest.split_first_chunk::<4>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let micros = u64::try_from(i32::from_ne_bytes(*micros)).ok()?;
    let since = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
    wall_clock().checked_sub(since)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells a start by the calendar, and an age is asked for"
)]
fn wall_clock() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// The file that it executes.
pub(in crate::sys) fn executable(pid: Pid) -> Option<PathBuf> {
    let mut path = vec![0_u8; LONGEST_PATH];
    let room = u32::try_from(path.len()).unwrap_or(0);
    let number = pid.as_raw_nonzero().get();
    // SAFETY: the buffer is valid for writing that many bytes.
    let length = unsafe { libc::proc_pidpath(number, path.as_mut_ptr().cast(), room) };
    let length = usize::try_from(length).ok().filter(|length| *length > 0)?;
    path.truncate(length);
    Some(OsString::from_vec(path).into())
}

/// The arguments and the environment that it was started with; only of our own user's processes, unless we may do anything. Of the
/// system's own programs (`CS_RESTRICT`) the environment is left out, for the super-user too.
///
/// # Errors
///
/// `EINVAL` for what is not ours to read, for a zombie, and for a process that is gone.
pub(in crate::sys) fn strings(pid: Pid) -> io::Result<Strings> {
    let mut answer = vec![0_u8; ALL_STRINGS];
    let number = pid.as_raw_nonzero().get();
    let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, number];
    let length = read(&mut name, &mut answer)?;
    let answer = answer.get(..length).unwrap_or_default();
    parse_procargs(answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads a value, and returns its length.
fn read(name: &mut [c_int], into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writing that many bytes.
    unsafe { sysctl::value(name, into.as_mut_ptr().cast(), into.len()) }
}

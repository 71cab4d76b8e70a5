//! What can be read about a process.

#![expect(
    unsafe_code,
    reason = "the kernel writes structures into what sysctl is given"
)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::identity::{is_dead, started_process, ticks};
use super::lists::parse_list;
use crate::sys::kqueue::{Person, Strings, parse_name, sysctl};
use crate::sys::vocabulary::{Condition, Described, Environ, Parentage};

/// What `sysctl` tells about a process.
pub(super) use libc::kinfo_proc as KernelInfo;

/// `ARG_MAX` of every version: no process has more.
const ALL_STRINGS: usize = 2 << 20;
/// `PATH_MAX`.
const LONGEST_PATH: usize = 1024;
/// Room for those that are born while the list is made.
const MARGIN: usize = 64;
/// A list that never fits is none.
const TRIES: usize = 16;

/// `SSTOP` and `SSLEEP` of `sys/proc.h`, and `P_TRACED`.
const STOPPED: std::ffi::c_char = libc::SSTOP;
const SLEEPS: std::ffi::c_char = libc::SSLEEP;

/// `P_KPROC` and `P_SYSTEM`: it has no program.
const OF_THE_KERNEL: std::ffi::c_long = (libc::P_KPROC | libc::P_SYSTEM) as std::ffi::c_long;

const EXITING: std::ffi::c_long = libc::P_WEXIT as std::ffi::c_long;

/// Where a process comes from.
///
/// # Errors
///
/// `ESRCH` if there is no such process, or a jail hides it.
pub(in crate::sys) fn describe(pid: Pid) -> io::Result<Described> {
    let (found, start_ticks) = started_process(pid)?;
    Ok(Described {
        parent: u32::try_from(found.ki_ppid).unwrap_or(0),
        group: u32::try_from(found.ki_pgid).unwrap_or(0),
        session: u32::try_from(found.ki_sid).unwrap_or(0),
        // Who traces it is not its parent here; and who has forked it is not kept.
        parentage: Parentage::Untold,
        is_kernel_thread: found.ki_flag & OF_THE_KERNEL != 0,
        is_exiting: found.ki_flag & EXITING != 0,
        start_ticks,
        is_zombie: is_dead(&found),
        user: found.ki_uid,
        name: parse_name(&found.ki_comm.map(|byte| byte.to_ne_bytes()[0])),
    })
}

/// The process group, of a zombie too.
///
/// # Errors
///
/// As [`describe`].
pub(in crate::sys) fn group(pid: Pid) -> io::Result<u32> {
    Ok(u32::try_from(kernel_info(pid)?.ki_pgid).unwrap_or(0))
}

/// Who runs it, for how long, and what it does.
///
/// # Errors
///
/// As [`describe`].
pub(in crate::sys) fn person(pid: Pid) -> io::Result<Person> {
    let (found, start) = started_process(pid)?;
    let tracer = u32::try_from(found.ki_tracer).unwrap_or(0);
    let interruptible = found.ki_tdflags & std::ffi::c_long::from(libc::TDF_SINTR) != 0;
    let age = ticks().saturating_sub(start);
    Ok(Person {
        parent: u32::try_from(found.ki_ppid).unwrap_or(0),
        real_user: found.ki_ruid,
        age: Duration::from_micros(age),
        condition: Condition {
            state: match found.ki_stat {
                libc::SZOMB => 'Z',
                STOPPED if tracer != 0 => 't',
                STOPPED => 'T',
                SLEEPS if !interruptible => 'D',
                _ => 'S',
            },
            tracer,
        },
    })
}

/// # Errors
///
/// `ESRCH` if there is no such process, or a jail hides it.
pub(super) fn kernel_info(pid: Pid) -> io::Result<KernelInfo> {
    let mut found = MaybeUninit::<KernelInfo>::zeroed();
    let number = pid.as_raw_nonzero().get();
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, number];
    // SAFETY: so many bytes are there to be written to.
    let length = unsafe {
        sysctl::value(
            &mut name,
            found.as_mut_ptr().cast(),
            size_of::<KernelInfo>(),
        )
    }?;
    if length != size_of::<KernelInfo>() {
        return Err(Errno::SRCH.into());
    }
    // SAFETY: it was zeroed, and filled in by the kernel; its fields are numbers and pointers, which nobody follows.
    Ok(unsafe { found.assume_init() })
}

/// All processes of a kind.
pub(super) fn kernel_infos(which: c_int, of: c_int) -> io::Result<Vec<KernelInfo>> {
    const SIZE: usize = size_of::<KernelInfo>();
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, which, of];
    let parts = if which == libc::KERN_PROC_PROC { 3 } else { 4 };
    let name = &mut name[..parts];
    // SAFETY: without a buffer the call only says how many bytes it would need.
    let needed = unsafe { sysctl::value(name, std::ptr::null_mut(), 0) }?;
    let mut room = needed / SIZE + MARGIN;
    for _ in 0..TRIES {
        let mut found: Vec<KernelInfo> = Vec::with_capacity(room);
        // SAFETY: so many bytes are there to be written to.
        match unsafe { sysctl::value(name, found.as_mut_ptr().cast(), room * SIZE) } {
            Ok(length) => {
                // SAFETY: the kernel has written so many of them, whose fields are numbers and pointers.
                unsafe { found.set_len((length / SIZE).min(room)) };
                return Ok(found);
            }
            // More of them than a moment ago.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOMEM) => room *= 2,
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

/// When the machine was started, by the calendar as it is set now.
pub(super) fn boot_time() -> io::Result<libc::timeval> {
    let mut boot = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut name = [libc::CTL_KERN, libc::KERN_BOOTTIME];
    let into = (&raw mut boot).cast::<c_void>();
    // SAFETY: so many bytes are there to be written to.
    unsafe { sysctl::value(&mut name, into, size_of::<libc::timeval>()) }?;
    Ok(boot)
}

/// The file that it executes.
pub(in crate::sys) fn executable(pid: Pid) -> Option<PathBuf> {
    let path = bytes(libc::KERN_PROC_PATHNAME, pid, LONGEST_PATH).ok()?;
    let name = parse_name(&path);
    (!name.is_empty()).then(|| name.into())
}

/// The arguments as they are now, and the environment as it was at the start; only of our own user's processes, unless we
/// may do anything.
///
/// # Errors
///
/// `ESRCH` if there is no such process; `EPERM` for what is not ours to read.
pub(in crate::sys) fn strings(pid: Pid) -> io::Result<Strings> {
    let args = bytes(libc::KERN_PROC_ARGS, pid, ALL_STRINGS)?;
    // The arguments are for all, as a rule, and the environment is not.
    let environ = bytes(libc::KERN_PROC_ENV, pid, ALL_STRINGS).unwrap_or_default();
    Ok(Strings {
        args: parse_list(&args),
        environ: Environ::new(environ),
    })
}

fn bytes(what: c_int, pid: Pid, room: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; room];
    let number = pid.as_raw_nonzero().get();
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, what, number];
    // SAFETY: so many bytes are there to be written to.
    let length = unsafe { sysctl::value(&mut name, bytes.as_mut_ptr().cast(), room) }?;
    bytes.truncate(length);
    Ok(bytes)
}

//! The child, from its first instruction to exec.
//!
//! Nothing in this file allocates, locks, panics or calls code of the host; see the parent module. Each function is one
//! step, and each failure is an errno.

#![expect(
    unsafe_code,
    reason = "between clone and exec there are raw system calls alone: the C library's wrappers for signals and users \
              act on threads that the child does not have"
)]

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use libc::{c_int, c_void, syscall};

use super::script::{Move, Script};
use crate::sys::orders::{Grouping, Limit, Orders, Step};

/// Bytes in the kernel's set of 64 signals.
const SIGSET: usize = size_of::<u64>();
/// The highest signal.
const LAST_SIGNAL: c_int = 64;

/// The calls that have had 32 bits for a user from the start have another name where the first ones had 16.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod user {
    pub(super) use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod user {
    pub(super) use libc::{
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
}

/// An errno.
type Errno = i32;

/// The child's `main`. Its argument is a [`Script`].
pub(super) extern "C" fn child(script: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a script that it keeps, unchanged, until we are done: it sleeps until then, or we have a
    // copy of all its memory.
    let script = unsafe { &*script.cast::<Script<'_>>() };
    let report = script.report;
    report.begun.store(true, Ordering::SeqCst);
    let (step, errno) = if report.doomed.load(Ordering::SeqCst) {
        (Step::Clone, libc::ECANCELED)
    } else {
        follow(script)
    };
    report.errno.store(errno, Ordering::SeqCst);
    report.step.store(code(step), Ordering::SeqCst);
    // SAFETY: ends this process, and with it all use of the memory. Unlike `exit` it runs nothing of the host's.
    unsafe { syscall(libc::SYS_exit_group, 127) };
    127
}

/// How a step stands in the report.
pub(super) fn code(step: Step) -> u32 {
    let mut code = 1;
    for known in Step::ALL {
        if known as u8 == step as u8 {
            break;
        }
        code += 1;
    }
    code
}

/// Does all that was ordered, and comes back only if something failed.
fn follow(script: &Script<'_>) -> (Step, Errno) {
    match prepare(script) {
        Err(failed) => failed,
        Ok(()) => (Step::Exec, exec(script)),
    }
}

fn prepare(script: &Script<'_>) -> Result<(), (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    let orders = script.orders;
    reset_signals(orders.reset_ignored).map_err(at(Step::Signals))?;
    join_group(orders.grouping)?;
    for limit in &orders.limits {
        set_limit(*limit).map_err(at(Step::Limits))?;
    }
    if let Some(nice) = orders.nice {
        // SAFETY: no memory is involved.
        let answer = unsafe { syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) };
        done(answer).map_err(at(Step::Nice))?;
    }
    if let Some(umask) = orders.umask {
        // It cannot fail, and the old one is not asked for.
        // SAFETY: no memory is involved.
        unsafe { syscall(libc::SYS_umask, umask) };
    }
    enter_cgroup(orders).map_err(at(Step::Cgroup))?;
    change_user(orders)?;
    if let Some(directory) = &orders.directory {
        // SAFETY: the pointer is to a string that ends with a NUL.
        let answer = unsafe { syscall(libc::SYS_chdir, directory.as_ptr()) };
        done(answer).map_err(at(Step::Directory))?;
    }
    if let Some(signal) = orders.parent_death_signal {
        die_with_parent(signal, script.parent)?;
    }
    move_descriptors(&script.moves, script.clear).map_err(at(Step::Descriptors))?;
    for &(first, last) in &script.closed {
        // SAFETY: no memory is involved; the descriptors are the child's own copies.
        let answer = unsafe { syscall(libc::SYS_close_range, first, last, 0) };
        done(answer).map_err(at(Step::CloseOthers))?;
    }
    // SAFETY: the new mask is eight bytes to be read, and the old one is not asked for.
    let answer = unsafe {
        syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const script.mask,
            std::ptr::null_mut::<u64>(),
            SIGSET,
        )
    };
    done(answer).map_err(at(Step::Mask))
}

/// Leaves no handler: it would run in the memory of the host. The two signals that the C library keeps for itself have
/// handlers too.
fn reset_signals(ignored_too: bool) -> Result<(), Errno> {
    // The kernel's `struct sigaction`, whatever its order is here, and then some: all zeros is the default disposition.
    const DEFAULT: [usize; 8] = [0; 8];
    for signal in 1..=LAST_SIGNAL {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        if !ignored_too && is_ignored(signal)? {
            continue;
        }
        // SAFETY: the new disposition is more than the kernel reads, and the old one is not asked for.
        let answer = unsafe {
            syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<usize>(),
                SIGSET,
            )
        };
        done(answer)?;
    }
    Ok(())
}

fn is_ignored(signal: c_int) -> Result<bool, Errno> {
    let mut now = [0_usize; 8];
    // SAFETY: there is more room for the old disposition than the kernel writes, and there is no new one.
    let answer = unsafe {
        syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<usize>(),
            now.as_mut_ptr(),
            SIGSET,
        )
    };
    done(answer)?;
    let [handler, ..] = now;
    Ok(handler == libc::SIG_IGN)
}

fn join_group(grouping: Grouping) -> Result<(), (Step, Errno)> {
    let group = match grouping {
        Grouping::Inherit => return Ok(()),
        Grouping::OwnSession => {
            // SAFETY: no memory is involved.
            let answer = unsafe { syscall(libc::SYS_setsid) };
            return done(answer).map_err(|errno| (Step::Session, errno));
        }
        Grouping::Own => 0,
        Grouping::Join(group) => group,
    };
    // SAFETY: no memory is involved.
    let answer = unsafe { syscall(libc::SYS_setpgid, 0, group) };
    done(answer).map_err(|errno| (Step::Group, errno))
}

fn set_limit(limit: Limit) -> Result<(), Errno> {
    let both = [limit.soft, limit.hard];
    // SAFETY: `both` is the kernel's `struct rlimit64`, and the old limits are not asked for.
    let answer = unsafe {
        syscall(
            libc::SYS_prlimit64,
            0,
            limit.resource,
            both.as_ptr(),
            std::ptr::null_mut::<u64>(),
        )
    };
    done(answer)
}

/// The process that writes 0 moves itself.
fn enter_cgroup(orders: &Orders) -> Result<(), Errno> {
    let Some(procs) = &orders.cgroup else {
        return Ok(());
    };
    // SAFETY: one byte is there to be read.
    let answer = unsafe { syscall(libc::SYS_write, procs.as_raw_fd(), b"0".as_ptr(), 1_usize) };
    done(answer)
}

/// Groups before the user, who may not change them; raw, since the C library's calls are for all threads.
fn change_user(orders: &Orders) -> Result<(), (Step, Errno)> {
    if let Some(groups) = &orders.groups {
        // SAFETY: so many numbers of 32 bits are there to be read.
        let answer = unsafe { syscall(user::SETGROUPS, groups.len(), groups.as_ptr()) };
        done(answer).map_err(|errno| (Step::Groups, errno))?;
    } else if orders.drop_groups {
        // SAFETY: there are no groups to be read.
        let answer = unsafe { syscall(user::SETGROUPS, 0_usize, std::ptr::null::<u32>()) };
        match done(answer) {
            // EPERM: it may change its user and not its groups, and keeps them.
            Ok(()) | Err(libc::EPERM) => {}
            Err(errno) => return Err((Step::Groups, errno)),
        }
    }
    if let Some(gid) = orders.gid {
        // SAFETY: no memory is involved.
        let answer = unsafe { syscall(user::SETRESGID, gid, gid, gid) };
        done(answer).map_err(|errno| (Step::Gid, errno))?;
    }
    if let Some(uid) = orders.uid {
        // SAFETY: no memory is involved.
        let answer = unsafe { syscall(user::SETRESUID, uid, uid, uid) };
        done(answer).map_err(|errno| (Step::Uid, errno))?;
    }
    Ok(())
}

/// A parent that was gone before the signal was asked for will not be heard of: that is looked at afterwards.
fn die_with_parent(signal: c_int, parent: i32) -> Result<(), (Step, Errno)> {
    // SAFETY: no memory is involved.
    let answer = unsafe { syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
    done(answer).map_err(|errno| (Step::DeathSignal, errno))?;
    // SAFETY: no memory is involved.
    let now = unsafe { syscall(libc::SYS_getppid) };
    if now == c_long::from(parent) {
        Ok(())
    } else {
        Err((Step::Parent, libc::ESRCH))
    }
}

/// Puts aside what is in another's place, and then everything in its own.
fn move_descriptors(moves: &[Move], clear: c_int) -> Result<(), Errno> {
    for one in moves.iter().filter(|one| one.in_the_way) {
        let from = one.from.load(Ordering::Relaxed);
        // SAFETY: no memory is involved.
        let aside = unsafe { syscall(libc::SYS_fcntl, from, libc::F_DUPFD_CLOEXEC, clear) };
        done(aside)?;
        // A descriptor fits.
        one.from
            .store(c_int::try_from(aside).unwrap_or(-1), Ordering::Relaxed);
    }
    for one in moves {
        let from = one.from.load(Ordering::Relaxed);
        let answer = if from == one.to {
            // It is where it belongs, and only has to survive exec.
            // SAFETY: no memory is involved.
            unsafe { syscall(libc::SYS_fcntl, from, libc::F_SETFD, 0) }
        } else {
            // SAFETY: no memory is involved; what is closed thereby is the child's own copy.
            unsafe { syscall(libc::SYS_dup3, from, one.to, 0) }
        };
        done(answer)?;
    }
    Ok(())
}

/// Tries each path, as `execvp` does: on to the next where there is no such program; and "permission denied" is the
/// answer only if nothing better is found.
fn exec(script: &Script<'_>) -> Errno {
    let mut denied = false;
    let mut last = libc::ENOENT;
    for program in &script.orders.programs {
        last = become_program(program, script);
        match last {
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
    }
    if denied { libc::EACCES } else { last }
}

fn become_program(program: &CString, script: &Script<'_>) -> Errno {
    // SAFETY: the path and all strings end with a NUL, the two lists with a null pointer.
    let answer = unsafe {
        syscall(
            libc::SYS_execve,
            program.as_ptr(),
            script.argv.as_ptr(),
            script.environment.as_ptr(),
        )
    };
    done(answer).err().unwrap_or(0)
}

/// The errno of a call that failed. `errno` itself is the launching thread's where memory is shared; that thread sleeps.
fn done(answer: c_long) -> Result<(), Errno> {
    if answer >= 0 {
        return Ok(());
    }
    // Reads `errno`, and makes nothing of it.
    Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

//! `proc_listpids`: one snapshot, zombies included. The C library's wrapper of it never says -1: what failed is an empty list.

#![expect(unsafe_code, reason = "rustix has no proc_listpids")]

use std::ffi::c_int;
use std::io;

use rustix::process::Pid;

use super::identity::{Among, unique_identifiers};
use super::told::{incarnation, is_whole};
use crate::sys::unix::to_pid;
use crate::sys::vocabulary::{Listed, Newest, Offspring, YOUNGEST};

const SIZE: usize = size_of::<c_int>();

/// `PROC_ALL_PIDS`.
const ALL: u32 = 1;
/// `PROC_PGRP_ONLY`.
const OF_GROUP: u32 = 2;

/// Room for those that are born while the list is made.
const MARGIN: usize = 64;
/// A list that never fits is none.
const TRIES: usize = 16;

/// All processes, in no order. One is told from another by its unique id.
///
/// # Errors
///
/// `ENOMEM`; `EPERM` from a sandbox.
pub(in crate::sys) fn list(into: &mut Vec<Listed>) -> io::Result<()> {
    let mut pids = Vec::new();
    numbers(ALL, 0, &mut pids)?;
    into.extend(pids.into_iter().map(|pid| {
        // An error: it is gone since it was listed, and is listed without what tells it from another with its number.
        let number = to_pid(pid).ok();
        let found = number.and_then(|number| unique_identifiers(number, Among::Zombies).ok());
        let instance = found.map(|found| found.unique_id);
        Listed { pid, instance }
    }));
    Ok(())
}

/// The members of a group.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn group_members(group: Pid) -> io::Result<Vec<u32>> {
    let mut members = Vec::new();
    let group = group.as_raw_nonzero().get().unsigned_abs();
    numbers(OF_GROUP, group, &mut members)?;
    Ok(members)
}

/// Whether anybody has this number, also one that exits, whom only the list shows.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn is_listed(pid: Pid) -> io::Result<bool> {
    let mut pids = Vec::new();
    numbers(ALL, 0, &mut pids)?;
    Ok(pids.contains(&pid.as_raw_nonzero().get().unsigned_abs()))
}

/// Everybody, with whom they come from.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn offspring(into: &mut Vec<Offspring>) -> io::Result<()> {
    let mut pids = Vec::new();
    numbers(ALL, 0, &mut pids)?;
    into.extend(pids.into_iter().filter_map(origin));
    Ok(())
}

/// Whom a process comes from: who has forked it, or its parent when it executed another program.
pub(in crate::sys) fn origin(pid: u32) -> Option<Offspring> {
    let found = unique_identifiers(to_pid(pid).ok()?, Among::Zombies).ok()?;
    Some(Offspring {
        pid,
        id: found.unique_id,
        parent: found.parent_unique_id,
        incarnation: incarnation(found.version),
        born_of: incarnation(found.parent_version),
    })
}

fn numbers(which: u32, of: u32, into: &mut Vec<u32>) -> io::Result<()> {
    let mut before = room(which, of)?;
    let mut space = before + MARGIN;
    for _ in 0..TRIES {
        let mut pids: Vec<c_int> = vec![0; space];
        let count = read(which, of, &mut pids)?;
        let after = room(which, of)?;
        if is_whole(count, space, before, after) {
            let pids = pids.into_iter().take(count);
            into.extend(pids.filter_map(number));
            return Ok(());
        }
        before = after;
        space = space.max(after) * 2;
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

/// The youngest that live, the youngest of them first; and among them who has executed another program since.
pub(in crate::sys) fn newest() -> Option<Newest> {
    let mut pids = [0; YOUNGEST];
    let count = read(ALL, 0, &mut pids).ok()?;
    // The kernel puts a new one in front of its list.
    let mut youngest = [0; YOUNGEST];
    let pids = pids.into_iter().take(count);
    for (slot, pid) in youngest.iter_mut().zip(pids.filter_map(number)) {
        *slot = pid;
    }
    Some(Newest::Youngest(youngest))
}

fn number(pid: c_int) -> Option<u32> {
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}

/// How many the kernel would make room for.
fn room(which: u32, of: u32) -> io::Result<usize> {
    // SAFETY: without a buffer the call only says how many bytes it would need.
    let needed = unsafe { libc::proc_listpids(which, of, std::ptr::null_mut(), 0) };
    match usize::try_from(needed) {
        // It counts 20 more than there are.
        Ok(0) | Err(_) => Err(io::Error::last_os_error()),
        Ok(needed) => Ok(needed / SIZE),
    }
}

/// Reads as many as there is room for, and says how many.
fn read(which: u32, of: u32, into: &mut [c_int]) -> io::Result<usize> {
    let bytes = c_int::try_from(into.len() * SIZE).unwrap_or(c_int::MAX);
    // Its failure is told as a list without anybody, which that of a group can be.
    // SAFETY: the call touches no memory.
    let errno = unsafe { libc::__error() };
    // SAFETY: it points to this thread's errno for as long as the thread lives.
    unsafe { *errno = 0 };
    // SAFETY: the buffer is valid for writing that many bytes.
    let written = unsafe { libc::proc_listpids(which, of, into.as_mut_ptr().cast(), bytes) };
    match usize::try_from(written) {
        Ok(written) if written > 0 => Ok(written / SIZE),
        _ => {
            let error = io::Error::last_os_error();
            if which != ALL && error.raw_os_error() == Some(0) {
                Ok(0)
            } else {
                Err(error)
            }
        }
    }
}

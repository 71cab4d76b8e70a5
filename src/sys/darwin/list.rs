//! `proc_listpids`: one snapshot, zombies included.

#![expect(unsafe_code, reason = "rustix has no proc_listpids")]

use std::ffi::c_int;
use std::io;

use rustix::process::Pid;

use super::identity::{Among, unique_identifiers};
use crate::sys::unix::to_pid;
use crate::sys::vocabulary::{Listed, Offspring};

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

/// Everybody, with whoever has forked them.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn offspring(into: &mut Vec<Offspring>) -> io::Result<()> {
    let mut pids = Vec::new();
    numbers(ALL, 0, &mut pids)?;
    into.extend(pids.into_iter().filter_map(|pid| {
        let found = unique_identifiers(to_pid(pid).ok()?, Among::Zombies).ok()?;
        Some(Offspring {
            pid,
            id: found.unique_id,
            parent: found.parent_unique_id,
        })
    }));
    Ok(())
}

fn numbers(which: u32, of: u32, into: &mut Vec<u32>) -> io::Result<()> {
    const SIZE: usize = size_of::<c_int>();
    // SAFETY: without a buffer the call only says how many bytes it would need.
    let needed = unsafe { libc::proc_listpids(which, of, std::ptr::null_mut(), 0) };
    let mut room = usize::try_from(needed).unwrap_or(0) / SIZE + MARGIN;
    for _ in 0..TRIES {
        let mut pids: Vec<c_int> = vec![0; room];
        let bytes = c_int::try_from(room * SIZE).unwrap_or(c_int::MAX);
        // SAFETY: the buffer is valid for writing that many bytes.
        let written = unsafe { libc::proc_listpids(which, of, pids.as_mut_ptr().cast(), bytes) };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
        let count = usize::try_from(written).unwrap_or(0) / SIZE;
        if count < room {
            let pids = pids.into_iter().take(count);
            into.extend(pids.filter_map(|pid| u32::try_from(pid).ok().filter(|pid| *pid > 0)));
            return Ok(());
        }
        room *= 2;
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

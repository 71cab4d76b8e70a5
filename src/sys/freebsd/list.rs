//! `sysctl(KERN_PROC_PROC)`: one snapshot, zombies included.

use std::io;

use rustix::process::Pid;

use super::identity::{started, under_one_clock};
use super::process::{KernelInfo, kernel_infos};
use crate::sys::vocabulary::{Listed, Offspring};

/// All processes, in no order. One is told from another by when it was started.
///
/// # Errors
///
/// `ENOMEM`; what a jail says.
pub(in crate::sys) fn list(into: &mut Vec<Listed>) -> io::Result<()> {
    let (found, boot) = under_one_clock(|| kernel_infos(libc::KERN_PROC_PROC, 0))?;
    into.extend(found.iter().filter_map(|one| {
        Some(Listed {
            pid: number(one)?,
            instance: Some(started(one, boot)),
        })
    }));
    Ok(())
}

/// The members of a group.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn group_members(group: Pid) -> io::Result<Vec<u32>> {
    let group = group.as_raw_nonzero().get();
    let found = kernel_infos(libc::KERN_PROC_PGRP, group)?;
    Ok(found.iter().filter_map(number).collect())
}

/// Whether anybody has this number, also one that exits.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn is_listed(pid: Pid) -> io::Result<bool> {
    let found = kernel_infos(libc::KERN_PROC_PROC, 0)?;
    Ok(found
        .iter()
        .any(|one| one.ki_pid == pid.as_raw_nonzero().get()))
}

/// Everybody, with their parents.
///
/// # Errors
///
/// As [`list`].
pub(in crate::sys) fn offspring(into: &mut Vec<Offspring>) -> io::Result<()> {
    let found = kernel_infos(libc::KERN_PROC_PROC, 0)?;
    into.extend(found.iter().filter_map(|one| {
        let pid = number(one)?;
        Some(Offspring {
            pid,
            id: pid.into(),
            parent: u64::try_from(one.ki_ppid).ok()?,
            incarnation: None,
            born_of: None,
        })
    }));
    Ok(())
}

fn number(found: &KernelInfo) -> Option<u32> {
    u32::try_from(found.ki_pid).ok().filter(|pid| *pid > 0)
}

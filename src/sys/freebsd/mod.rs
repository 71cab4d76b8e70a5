//! What is FreeBSD's own: who has a number, and what can be read about a process.
//!
//! | file | call |
//! | --- | --- |
//! | `identity` | the start of a process, `kern.boottime`, `kern.boot_id` |
//! | `newest` | `kern.lastpid`, `kern.randompid` |
//! | `process` | `sysctl(KERN_PROC_PID)`, `KERN_PROC_ARGS`, `KERN_PROC_ENV`, `KERN_PROC_PATHNAME` |
//! | `usage` | `wait6` |
//! | `list` | `sysctl(KERN_PROC_PROC)`, `KERN_PROC_PGRP` |
//! | `note` | what a note of an exit holds |
//! | `reaper` | `procctl(PROC_REAP_ACQUIRE)` and its family |
//! | `lineage` | none: what `procctl` tells of the descendants, and what it means. Tested on every platform |
//! | `lists` | none: what `sysctl` hands out, as values. Tested on every platform |
//! | `pipe`, `spawn` | `pipe2`, `posix_spawn`'s extensions |
//!
//! `darwin` has the same functions; `kqueue` is written against them.
//!
//! There is no unique id. A process is told from another with its number by when it was started, in microseconds since the
//! machine was: in one microsecond no number comes round again.

mod identity;
mod lineage;
mod list;
mod lists;
mod newest;
mod note;
mod pipe;
mod process;
mod reaper;
mod spawn;
mod usage;

pub(in crate::sys) use identity::{boot_id, namespace, parent_key, presence, ticks, ticks_in};
pub(in crate::sys) use list::{group_members, is_listed, list, offspring};
pub(in crate::sys) use newest::newest;
pub(in crate::sys) use note::{EXIT_WITH_STATUS, status_of_note};
pub(in crate::sys) use pipe::new_pipe;
pub(in crate::sys) use process::{describe, executable, group, person, strings};
pub(in crate::sys) use reaper::{
    ANCESTRY, NO_GROUP_SIGNAL, NO_ORPHANS, adopter_of_orphans, become_reaper, has_orphaned_group,
    is_childless, is_reaper, kill_tree, kindred, origin, stop_being_reaper,
};
pub(in crate::sys) use spawn::{EXTENSIONS, NO_FULL_LAUNCH, SET_SESSION, close_others};
pub(in crate::sys) use usage::usage;

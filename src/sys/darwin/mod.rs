//! What is macOS's own: who has a number, and what can be read about a process.
//!
//! | file | call |
//! | --- | --- |
//! | `identity` | `proc_pidinfo(PROC_PIDUNIQIDENTIFIERINFO)`, `kern.bootsessionuuid` |
//! | `process` | `proc_pidinfo`, `proc_pidpath`, `sysctl(KERN_PROCARGS2)`, `sysctl(KERN_PROC_PID)` |
//! | `usage` | `proc_pid_rusage` |
//! | `list` | `proc_listpids` |
//! | `note` | what a note of an exit holds |
//! | `orphans` | the same as `list` and `identity`: who descends from whom |
//! | `procargs` | none: what `sysctl` hands out, as values. Tested on every platform |
//! | `told` | none: what the answers of `proc_info` mean. Tested on every platform |
//! | `pipe`, `spawn` | `pipe`, `posix_spawn`'s extensions |
//!
//! `freebsd` has the same functions; `kqueue` is written against them.
//!
//! The unique id is a counter of the kernel's: it is never given twice in one boot, and stays with a process over exec.
//! Each process also tells the unique id of the one that has forked it, which a later parent does not change. An exec does,
//! in newer kernels (those of about macOS 12 did not): it makes the process anew, which tells the parent that it had at that
//! moment from then on. So who is orphaned first and executes another program afterwards tells that it comes from launchd. The
//! newest tell besides which *version* of a process has forked it, and that stays: each program of a process has another. It says
//! who that was if that one was met under this version.

mod identity;
mod list;
mod note;
mod orphans;
mod pipe;
mod procargs;
mod process;
mod spawn;
mod told;
mod usage;

pub(in crate::sys) use identity::{boot_id, namespace, parent_key, presence};
pub(in crate::sys) use list::{group_members, is_listed, list, newest, offspring, origin};
pub(in crate::sys) use note::{EXIT_WITH_STATUS, status_of_note};
pub(in crate::sys) use orphans::{
    ANCESTRY, NO_GROUP_SIGNAL, NO_ORPHANS, adopter_of_orphans, become_reaper, has_orphaned_group,
    is_childless, is_reaper, kill_tree, kindred, stop_being_reaper,
};
pub(in crate::sys) use pipe::new_pipe;
pub(in crate::sys) use process::{describe, executable, group, person, strings};
pub(in crate::sys) use spawn::{EXTENSIONS, NO_FULL_LAUNCH, SET_SESSION, close_others};
pub(in crate::sys) use usage::{ticks, ticks_in, usage};

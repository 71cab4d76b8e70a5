//! The back end for macOS and FreeBSD: a kqueue for each process, and `sysctl` for what is only to be read.
//!
//! # A kqueue for each process
//!
//! Each [`Pin`] owns a kqueue with a single note in it: of the exit of its process. That makes it what a pidfd is on Linux.
//! The note hangs on the process and not on its number, so that it can be asked whether *this* process has exited, however
//! often the number was given out since; a descriptor can be polled, so that a waiter can sleep on it, and the reactor's
//! own kqueue can report it; and two pins of one process do not get into each other's way, as two notes about one number in
//! one queue would. It costs a descriptor, as a pidfd does.
//!
//! A note is read once. Only a pin whose status nobody else tells reads it; then, and where a note can never come, a
//! trigger of its own takes its place, which stays.
//!
//! # What it can
//!
//! | | |
//! | --- | --- |
//! | pins a process that is not our child | no: it is checked just before each use. What is left is documented at [`Pin`] |
//! | the group after its leader was reaped | FreeBSD: yes, where orphans come to this process. Else no: the machine keeps the zombie instead |
//! | status without a reap | yes, of children by a wait, of others by the note (macOS: of whom we may signal) |
//! | usage without a reap | yes, of children; macOS: without the memory |
//! | a waiter sleeps on the process | yes |
//! | whether a parent has forked its child | macOS: yes, unless it is traced. FreeBSD: no, by signs as on Linux |
//! | who descends from whom | macOS: by the unique id of who has forked it, but for who executes something after it was orphaned. FreeBSD: where orphans come to this process, by which child of it |
//! | what forks for ever is chased | macOS: among the youngest of the list. FreeBSD: by the number that was given last, if none is random; under the subreaper tier it is killed as a tree |
//! | an exit that is never announced | macOS: of who was traced, and whose parent is gone when its tracer waits for it. It is asked for once it is sought |
//! | the mark in a limit | no: there is no limit to spare |
//! | a launch that hangs can be ended | no: `posix_spawn` tells the number when it is over |
//!
//! # What is not used
//!
//! `NOTE_FORK` says that a process has forked, and not whom: descendants are looked for when a session ends, and a wake-up for
//! each fork until then would find nobody that a pass does not. (`NOTE_TRACK`, which would, xnu has not.) FreeBSD's process
//! descriptors, and with them `EVFILT_PROCDESC`, come from `pdfork` alone, which knows neither std's children nor
//! `posix_spawn`.
//!
//! # Files
//!
//! | file | call |
//! | --- | --- |
//! | `meaning` | none: what all answers mean together. Compiled and tested on every platform |
//! | `parse`, `paths` | none: lists of strings, and where a program is. Tested on every platform too |
//! | `pin`, `queue` | `kqueue`, `kevent` |
//! | `wait` | `waitid` |
//! | `signal` | `kill` |
//! | `poller` | mio's kqueue |
//! | `revocation` | `pipe` |
//! | `launch`, `attributes` | `posix_spawn` |
//! | `refusals` | none: what `posix_spawn` cannot do. Tested on every platform too |
//! | `table` | the functions that `darwin` and `freebsd` both have |
//! | `orphans`, `ancestry` | what `darwin` and `freebsd` know of descendants |
//! | `cgroup` | none: there are no cgroups |
//! | `sysctl` | `sysctl`, `sysctlbyname` |
//! | `random` | `arc4random_buf` |

mod ancestry;
mod attributes;
mod cgroup;
mod facilities;
mod launch;
mod meaning;
mod orphans;
mod parse;
mod paths;
mod person;
mod pin;
mod poller;
mod queue;
mod random;
mod refusals;
mod revocation;
mod signal;
pub(super) mod sysctl;
mod table;
mod wait;

#[cfg(test)]
mod meaning_tests;
#[cfg(test)]
pub(crate) mod simulated;

pub(crate) use ancestry::{ANCESTRY, kill_tree};
pub(crate) use cgroup::{Cgroups, Leaf};
pub(crate) use facilities::{Facilities, probe};
pub(crate) use launch::{Unborn, is_first_thread, launch, signal_mask};
pub(super) use orphans::{EVERY_CHILD, adopts_orphans_by_wish, ask_for_orphans, give_up_orphans};
pub(crate) use orphans::{adopter_of_orphans, is_childless};
pub(crate) use pin::{Pin, is_gone, sleep_on_alone};
pub(crate) use poller::{Poller, Waker, Watch};
pub(crate) use random::random_u64;
pub(crate) use revocation::Revocation;
pub(crate) use signal::send_signal;
pub(crate) use table::{
    LIMIT_OF_MARK, ProcessTable, adopts_orphans, ancestors, command_line, is_ancestor, mark_limit,
    own_identity, own_limit, read_process, start_of, ticks_in, ticks_since_boot, why_alive,
};

pub(super) use super::system::new_pipe;
pub(super) use launch::Wanted;
pub(super) use meaning::Presence;
pub(super) use parse::{Strings, owned, parse_name, split};
pub(super) use person::Person;
pub(super) use refusals::Extensions;

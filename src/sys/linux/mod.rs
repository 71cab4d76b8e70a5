//! The back end for Linux 5.4 and later: pidfds, a timerfd, and `/proc` for what is only to be read.
//!
//! | file | system call |
//! | --- | --- |
//! | `probe` | each of the following, tried once on ourselves |
//! | `pin` | `pidfd_open`, `fstat` |
//! | `look` | decides what the answers of `wait`, `info` and `poll` mean together |
//! | `wait` | `waitid(P_PIDFD)`, raw, because the C library's hides the usage |
//! | `info` | `ioctl(PIDFD_GET_INFO)` |
//! | `signal` | `pidfd_send_signal`, `kill` |
//! | `poller`, `timer`, `waker` | `epoll` and `eventfd` by way of mio, `timerfd` |
//! | `revocation` | `eventfd` |
//! | `launch` | `clone`, and what the child does until `execve` |
//! | `procfs`, `parse` | `/proc` |
//! | `foster` | `clone`, twice: where orphans go |
//! | `table` | `/proc` as a whole, `prlimit`, `getpgid`: the search for descendants |
//! | `cgroup` | the files of a cgroup of version 2 |
//! | `ancestry` | none: it is not kept who descends from whom |
//! | `orphans` | `prctl(PR_SET_CHILD_SUBREAPER)` |
//! | `pipe` | `pipe2` |
//! | `owner`, `random` | who we are, `getrandom` |

mod ancestry;
mod cgroup;
mod facilities;
mod foster;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod info;
mod launch;
mod look;
mod orphans;
mod owner;
mod parse;
mod pin;
mod pipe;
mod poller;
mod probe;
mod procfs;
mod random;
mod revocation;
mod signal;
mod table;
mod timer;
mod wait;
mod waker;

#[cfg(test)]
mod tests;

pub(crate) use ancestry::{ANCESTRY, kill_tree};
pub(crate) use cgroup::{Cgroups, Leaf};
pub(crate) use facilities::Facilities;
pub(crate) use foster::adopter_of_orphans;
pub(crate) use launch::{Unborn, is_first_thread, launch, signal_mask};
pub(crate) use orphans::is_childless;
pub(super) use orphans::{EVERY_CHILD, adopts_orphans_by_wish, ask_for_orphans, give_up_orphans};
pub(crate) use owner::own_identity;
pub(crate) use pin::{Pin, is_gone, sleep_on_alone};
pub(super) use pipe::new_pipe;
pub(crate) use poller::{Poller, Watch};
pub(crate) use probe::probe;
pub(crate) use procfs::{ancestors, command_line, is_ancestor, read_process, why_alive};
pub(crate) use random::random_u64;
pub(crate) use revocation::Revocation;
pub(crate) use signal::send_signal;
pub(crate) use table::{
    LIMIT_OF_MARK, ProcessTable, adopts_orphans, mark_limit, own_limit, start_of, ticks_in,
    ticks_since_boot,
};
pub(crate) use waker::Waker;

//! What the crate needs from a kernel, and the only place that asks which kernel it is.
//!
//! A back end is mechanism: it does one thing when it is told to, says what happened, and decides nothing. It holds no
//! policy, no table of processes and no thread, and apart from [`sleep_on`] and [`wait_writable`] nothing in it measures
//! time: the time is an argument. The `libc` crate and `unsafe` code occur below this module and nowhere else.
//!
//! # What a back end provides
//!
//! **A pin.** [`Pin`] is a held identity: for as long as it exists, the number of its process means that process and no
//! other, or the pin can tell that it does not. On Linux it owns a pidfd. A back end without such a thing (kqueue) pins
//! a child by not reaping it, and checks a stranger by a unique id just before each use; the window that this leaves
//! must be documented where the user reads it.
//!
//! **A look.** [`Pin::look`] says whether the process lives, and if not, how it ended. It never blocks, never reaps and
//! never guesses: a status that nobody can tell is `Unknown`, not 0. "Readable" and "waitable" are two things on every
//! kernel (a tracer on Linux, the gap before the zombie on xnu), so there is an answer between alive and exited. What it
//! used is told by a back end that can do so without reaping.
//! [`Pin::reap`] is the other half: it takes the zombie away, after all that needs its number is done.
//!
//! **One door for signals.** Every signal of the crate leaves through [`send_signal`], which refuses pid 0, pid 1, this
//! process and its process group, whatever the caller believes. A group is signalled by the number of a pinned process,
//! never by a number that was read somewhere.
//!
//! **A launcher.** [`launch`] starts what [`Orders`] describe, and returns a pin that was there from the child's birth, or
//! the step that failed. It blocks until the child is a program, which may take for ever: [`Unborn::doom`] ends that, from
//! any thread, without blocking. A back end that does not know the child before that (`posix_spawn`) heeds it before it begins and
//! when it is over; what it has no way to do it refuses with [`Unsupported`](std::io::ErrorKind::Unsupported), having done nothing.
//!
//! **A poll.** [`Poller`] waits for the exit of any watched pin, one timer and one mailbox. [`Watch`] adds and removes
//! pins from any thread. One registration for each process, which may be edge-triggered: the reader keeps the state.
//! What somebody else will tell may be muted meanwhile, where the back end can.
//! The timer is armed to an absolute instant; it may fire early (never late by design), and whoever arms it looks at
//! the clock and arms it again.
//!
//! **A sleep.** [`sleep_on`] lets the thread of a waiting caller sleep on the process itself and on the reactor's end, a
//! [`Lifeline`]. A back end that cannot sleep on a process there sleeps on a cell that the reactor fills.
//!
//! **A revocable wait for pipes.** [`wait_writable`] waits until a pipe takes more bytes, [`wait_readable`] until one has
//! some, or a [`Revocation`] is called.
//!
//! **Looking around.** [`read_process`], [`command_line`], [`why_alive`], [`is_ancestor`], [`ancestors`], [`own_identity`]: reports
//! and checks. They may block on a process that is stuck in the kernel, so they are never called from the reactor.
//!
//! **All processes.** [`ProcessTable`] lists them, and says of each what a search for descendants goes by: the limit that
//! holds the mark, the group, parent, user and start. Where [`births`](ProcessTable::births) are counted, a list during which there was
//! none is a picture of one moment. It is for helper threads. [`mark_limit`] sets the mark; a back end without
//! such a limit says why in [`own_limit`], and shows everybody without a mark.
//!
//! **Cgroups.** [`Cgroups`] makes a [`Leaf`] for a life of a session, which holds its processes whatever they do, kills them at once
//! and says when it is empty; its [name](LeafName) tells a later run whose it is, and [`ProcessTable::leaves`] who is in one.
//! A back end that has none says why, and no leaf is ever made. They may take their time, all but the
//! readiness of a leaf that a [`Watch`] was told of.
//!
//! **Orphans.** A [`Subreaper`] has the orphans of all descendants come to this process, and says what that [enables](Subreaper::enables);
//! [`await_child`] waits for any of its children to end, [`is_childless`] says whether nobody descends from it any more,
//! [`bury`] takes one away that nobody holds.
//!
//! **Ancestry.** Two of the kernels keep of a process whom it comes from, whoever its parent is by now: in which terms, [`ANCESTRY`]
//! says; [`ProcessTable::kindred`] tells it of everybody, and [`ProcessTable::origin`] of one, where that costs less. [`kill_tree`] kills by it.
//!
//! **Where orphans go.** [`adopter_of_orphans`] says who takes in the orphans of this process. A back end whose kernel keeps who
//! has forked a process tells it as its [`Parentage`]; with the others it is found out by signs.
//!
//! **What it can.** [`probe`] finds the [`Facilities`] once, by trying and not by comparing versions. What is missing has a
//! declared consequence: no `group_signal`, and a group cannot be reached after its leader was reaped; no `exit_info`,
//! and a status that somebody else collected is unknown; no `pidfs`, and an identity that is written down is only as
//! good as a pid with its start time.
//!
//! # Files
//!
//! `vocabulary` holds the answers that all back ends share, `orders` what a launch is told, `unix` what POSIX has. `linux` is
//! the back end for Linux, `kqueue` the one for macOS and FreeBSD, for which `darwin` and `freebsd` have the same functions.
//! What `kqueue` decides is without system calls in files of its own, whose tests run on Linux too.
//!
//! # Fork
//!
//! A host may fork without exec. The copy in the child shares the descriptors of this module with the parent, so nothing
//! here acts on drop in a way that the parent could notice; see [`LifelineHolder`].

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
compile_error!(
    "procession supports Linux, macOS and FreeBSD. This platform has no way known to it to wait for, and to hold, a process."
);

mod orders;
mod unix;
mod vocabulary;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod kqueue;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use kqueue as platform;

#[cfg(target_os = "macos")]
mod darwin;
#[cfg(target_os = "macos")]
use darwin as system;

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "freebsd")]
use freebsd as system;

// What kqueue's back end decides without a system call is tested wherever the tests run, and the fuzzer.
#[cfg(all(any(test, fuzzing), target_os = "linux"))]
#[path = "kqueue/portable.rs"]
mod kqueue;
#[cfg(all(test, target_os = "linux"))]
#[path = "freebsd/lineage.rs"]
mod lineage;
#[cfg(all(any(test, fuzzing), target_os = "linux"))]
#[path = "freebsd/lists.rs"]
mod lists;
#[cfg(all(any(test, fuzzing), target_os = "linux"))]
#[path = "darwin/procargs.rs"]
mod procargs;
#[cfg(all(test, target_os = "linux"))]
#[path = "darwin/told.rs"]
mod told;

#[cfg(test)]
pub(crate) use vocabulary::YOUNGEST;
// Linux's has all that the others have as well.
#[cfg(all(fuzzing, target_os = "linux"))]
pub(crate) use linux::fuzz;

// For the machine's simulated world.
#[cfg(test)]
pub(crate) use kqueue::simulated;

pub(crate) use orders::{ChildMask, Fault, Grouping, Limit, Orders, Passed, Step};
pub(crate) use platform::{
    ANCESTRY, Cgroups, Facilities, LIMIT_OF_MARK, Leaf, Pin, Poller, ProcessTable, Revocation,
    Unborn, Waker, Watch, adopter_of_orphans, adopts_orphans, ancestors, command_line, is_ancestor,
    is_childless, is_first_thread, is_gone, kill_tree, launch, mark_limit, own_identity, own_limit,
    probe, random_u64, read_process, send_signal, signal_mask, sleep_on_alone, start_of, ticks_in,
    ticks_since_boot, why_alive,
};
pub(crate) use unix::{
    Lifeline, LifelineHolder, Subreaper, Target, await_child, block_all_signals, bury, current_pid,
    descriptor_limit, is_starved, kill_unpinned, leads_group, lifeline, nap, null_device,
    own_group, own_rights, own_user, peek_child, pipe, set_nonblocking, sleep_on, wait_readable,
    wait_writable,
};
pub(crate) use vocabulary::{
    Ancestry, ChildState, Described, Environ, LeafName, Limits, Listed, Look, Mask, NamedLeaf,
    Newest, Offspring, OwnerIdentity, Parentage, ProcessFacts, Ready, Relation, UNLISTED, Woken,
    Writable,
};

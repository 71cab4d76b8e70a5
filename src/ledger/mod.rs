//! The durable memory: which processes may still live, written down so that a later run of the program finds them.
//!
//! The marks say of a living process whose it is. The ledger says it the other way round, of a registry which processes
//! it had, and so ties together what the marks alone cannot: a limit mark with its owner, a process that has no mark with
//! the registry that started it, and a process that was given up with the fact that it is to be left alone.
//!
//! It is a file of lines. `record` says what one of them is, `replay` what all of them together mean, both without touching
//! anything; `store` keeps the file: one lock, one write for each record, and a new file in its place when it has grown.
//!
//! # Order
//!
//! 1. An *intent* before a spawn: from here on something may run of which only its marks tell.
//! 2. The *identity* after it; or a *cancellation*, when nothing runs.
//! 3. That it is *gone*, by the kernel's word; or that it was *detached*, before the registry lets go of it.
//!
//! # Identity
//!
//! A process is written down by its number and the inode of its pidfd, which is never given twice in one boot (Linux 6.9 on
//! a machine of 64 bits); where there is none by its number and its start, which can meet a stranger whose number came back
//! within the same clock tick. It is opened by its number, and then compared: what is held cannot become another one.
//!
//! No file handle of pidfs is written down (`name_to_handle_at(2)` on a pidfd, Linux 6.14; 6.17 to open it without a
//! pidfd at hand). It would say nothing more: on a machine of 64 bits the handle *is* the inode, eight bytes of it, and it opens the same
//! process and refuses (`ESTALE`) the same strangers; a test sees to it that this is so. The two differ in one thing: a handle
//! opens a process of a child pid namespace too, where the number is another. Whether the owner of such a one is dead
//! cannot be told from here, and so it is left alone, however it is opened.
//!
//! # What is not promised
//!
//! Nothing is synced. The ledger matters within one boot, and what was written is in the kernel's memory, which outlives
//! the host however it ends. After a boot every record is stale.

mod record;
mod replay;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use self::record::{Host, Identity, Record};
pub(crate) use self::replay::Run;
pub(crate) use self::store::{Clock, Ledger, Written};

#[cfg(fuzzing)]
pub(crate) use self::replay::fuzz;

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

//! What POSIX has and every back end uses.

mod ancestors;
mod lifeline;
mod orphans;
mod own;
mod poll;
mod revocable;
mod signal;
mod sleep;
mod status;
mod streams;
pub(super) mod usage;
mod waiting;

pub(super) use ancestors::{ancestors, is_ancestor};
pub(crate) use lifeline::{Lifeline, LifelineHolder, lifeline};
pub(super) use orphans::has_no_child;
pub(crate) use orphans::{Subreaper, await_child, bury};
pub(super) use own::to_pid;
pub(crate) use own::{
    block_all_signals, current_pid, descriptor_limit, is_starved, leads_group, own_group,
    own_rights, own_user, peek_child, set_nonblocking,
};
pub(super) use poll::{BATCH, MAILBOX, TIMER, take_events};
pub(crate) use revocable::{wait_readable, wait_writable};
pub(super) use signal::kill;
pub(crate) use signal::{Target, kill_unpinned};
pub(crate) use sleep::nap;
pub(super) use sleep::{poll_now, sleep_until, timespec};
pub(super) use status::status_of_word;
pub(crate) use streams::{null_device, pipe};
pub(crate) use waiting::sleep_on;

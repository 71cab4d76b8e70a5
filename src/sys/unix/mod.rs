//! What POSIX has and every back end uses.

mod lifeline;
mod own;
mod sleep;

pub(crate) use lifeline::{Lifeline, LifelineHolder, lifeline};
pub(super) use own::to_pid;
pub(crate) use own::{
    block_all_signals, current_pid, leads_group, own_group, peek_child, set_nonblocking,
};
pub(super) use sleep::{poll_now, sleep_until, timespec};

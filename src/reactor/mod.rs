//! Does what the [machine](crate::machine) decides.
//!
//! One thread sleeps in the poll and wakes for exits, for requests and for one timer. It is the only place with a
//! poll and side effects, and it never blocks on anything but that poll: what can block (the host's logger, another
//! process's entries below `/proc`) runs on [helper threads](helpers) that start when there is something to do and
//! end when there is not.
//!
//! # One wake-up
//!
//! 1. Drain the mailbox.
//! 2. Look at the poll once more without waiting: an exit that happened before one of those requests was sent is
//!    seen before that request is handled.
//! 3. Hand in exits, then requests, then the timer.
//!
//! Of a single exit everybody is told first; then, if anybody was, it rests, at most 1 ms, and takes the zombie away after
//! that. While many
//! are signalled it looks for exits now and then.
//!
//! A thread of the host that sleeps on a process is woken by the kernel, beside the reactor. If nobody else waits for that
//! exit, the reactor sleeps on and hears of it from that [sleeper](sleepers).
//!
//! # When it is gone
//!
//! Its end of a pipe closes with it, and with that every waiter wakes; its end of the mailbox closes, and with that
//! every request fails. A panic is caught, and ends it in the same way: callers get
//! [`ErrorKind::ReactorGone`](crate::ErrorKind::ReactorGone), none hangs.

mod apply;
mod asked;
mod cell;
mod clock;
mod forebears;
mod gate;
mod helpers;
mod index;
mod journal;
mod mailbox;
mod notes;
mod orphans;
mod pass;
mod publish;
mod requests;
mod run;
mod shared;
mod sleepers;
mod watchlist;

#[cfg(test)]
mod tests;

pub(crate) use self::cell::{Cell, Waited};
pub(crate) use self::clock::now;
pub(crate) use self::gate::{NoToken, Place, Spawning};
pub(crate) use self::mailbox::{AllEnded, Ended, EndingCell, LifeCell, Message, Newborn, Question};
pub(crate) use self::pass::{Memory, look_for};
pub(crate) use self::publish::Listener;
pub(crate) use self::run::{Config, start};
pub(crate) use self::shared::{Core, ExitLook, Outputs, Parts, Shared};
pub(crate) use self::watchlist::Watchlist;

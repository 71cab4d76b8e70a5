//! Decides everything, and touches nothing.
//!
//! The machine knows every process of every session and what is to happen to it. It has no clock, no thread and no
//! descriptor: [`Machine::handle`] takes what happened and the time at which it is handled, [`Machine::poll_effect`]
//! says what has to be done about it, [`Machine::next_deadline`] when it wants to be asked again.
//!
//! # How to drive it
//!
//! 1. Call `handle` with one input.
//! 2. Call `poll_effect` until it says `None`. An effect with an outcome ([`Action::Look`], [`Action::Signal`], ...)
//!    that is done on the spot has its outcome handed back by [`Input::Done`] before the next `poll_effect`; one that
//!    takes time ([`Action::Inspect`]) whenever it is there. An outcome that comes late, twice, or for an effect that
//!    nobody asked for is ignored.
//!    What a rung wants of all members comes last of all, and while it [lasts](Machine::is_at_a_crowd) exits may be handed in.
//! 3. Arm a timer to `next_deadline`, and hand in [`Input::Timer`] when it is due.
//!
//! Exits are handed in before requests, and requests before the timer: what has exited within its grace is never
//! escalated, however late we look.
//!
//! # Words
//!
//! A *life* is one life of a session number: from its first process to its end. A *member* is a process of a life.
//! A life whose end left survivors *lingers*: its number may live again, its survivors are still tracked. A *remnant*
//! is the process group of a leader that has exited. A *token* is a spawn under way.
//! A *crowd* is what is wanted of all members of a session at once.
//! A *pass* looks for descendants among all processes; a *hunt* is what it looks for on behalf of one life.

mod action;
mod births;
#[cfg(any(test, fuzzing, debug_assertions))]
mod check;
mod closing;
mod deadlines;
mod detaching;
mod ending;
mod engine;
mod exits;
mod gate;
mod hunt;
mod ids;
mod input;
mod ladder;
mod life;
mod limits;
mod lists;
mod member;
mod members;
mod requests;
mod search;
mod shutdown;
mod stopping;
mod usage;
mod witness;

#[cfg(any(test, fuzzing))]
mod tests;

pub(crate) use self::action::{Action, Answer, Effect, Notice, Target};
pub(crate) use self::engine::{Machine, Settings};
pub(crate) use self::gate::{Closed, Gate, OpenTerms, Refused, Reservation, TicketId};
pub(crate) use self::hunt::{AT_ONE_MOMENT, Enclosure, Fate, Hunt, Passed, Seen};
pub(crate) use self::ids::{IdMap, IdSet, OpId, ReplyId};
pub(crate) use self::input::{Begun, Born, Errno, Input, Looked, Opened, Outcome, Request, Whom};
pub(crate) use self::member::{Facts, Reach, Relation};
pub(crate) use self::witness::{Says, Sighting, Verdict};

#[cfg(fuzzing)]
pub(crate) use self::tests::drive;

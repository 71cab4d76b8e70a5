//! How a process becomes a member: started, adopted, attached.
//!
//! On the caller's thread, and none of it waits for the reactor, except where the answer depends on what is registered
//! already. The steps, in their order:
//!
//! 1. Take a token at the gate, and with it a slot.
//! 2. Bring the process about, or find it.
//! 3. Pin it: from here on its number cannot become another's unnoticed.
//! 4. Put it into the poll. What exits before the reactor has heard of it is looked at when it has.
//! 5. Hand it over. If its session was closed in the meantime, no handle to it is given out.
//!
//! Whatever fails on the way gives back what the steps before it took.

mod adopt;
mod attach;
mod embryo;
mod entry;
mod handover;
mod spawn;
mod unwatched;

pub(crate) use self::adopt::adopt;
pub(crate) use self::attach::{attach, take_in};
pub(crate) use self::spawn::spawn;
pub(crate) use self::unwatched::{bury, kill};

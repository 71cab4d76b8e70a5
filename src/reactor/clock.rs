//! Where the clocks are read. Only the back end's sleeps read one besides, to know what is left of them.

use std::time::{Instant, SystemTime};

/// CLOCK_MONOTONIC: it stands still while the machine sleeps, and nobody can set it.
#[expect(
    clippy::disallowed_methods,
    reason = "time is an argument everywhere else; it has to come from somewhere"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for what people read. Nothing is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "told with an exit, never compared"
)]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

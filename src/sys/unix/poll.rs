//! What the reactor's poll reports.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::sys::vocabulary::Ready;

/// Events taken from the kernel in one call. What does not fit comes with the next.
pub(in crate::sys) const BATCH: usize = 1024;

pub(in crate::sys) const MAILBOX: Token = Token(usize::MAX);
pub(in crate::sys) const TIMER: Token = Token(usize::MAX - 1);

/// Waits until there is something to report, as long as `patience` and for ever without one, and appends it to `ready`. Says
/// whether there may be more than fitted. `fired` is called if the timer has.
///
/// # Errors
///
/// None is known; an interrupted wait is repeated.
pub(in crate::sys) fn take_events(
    (poll, events): (&mut Poll, &mut Events),
    patience: Option<Duration>,
    ready: &mut Vec<Ready>,
    mut fired: impl FnMut(),
) -> io::Result<bool> {
    while let Err(error) = poll.poll(events, patience) {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let mut taken = 0;
    for event in &*events {
        taken += 1;
        ready.push(match event.token() {
            MAILBOX => Ready::Mailbox,
            TIMER => {
                fired();
                Ready::Timer
            }
            Token(key) => Ready::Process(key as u64),
        });
    }
    Ok(taken == events.capacity())
}

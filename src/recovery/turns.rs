//! [`Turns`]: one recovery of a registry at a time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Who recovers. A second one waits, and then sees what the first has left: what that was still ending is nothing that it
/// could call gone.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken_by: Mutex<Option<ThreadId>>,
    over: Condvar,
}

/// A turn, over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for one. `None`: this very thread has it, and calls from within.
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        let own = thread::current().id();
        let mut taken_by = self.lock();
        loop {
            match *taken_by {
                None => {
                    *taken_by = Some(own);
                    return Some(Turn(self));
                }
                Some(thread) if thread == own => return None,
                Some(_) => {
                    let waited = self.over.wait(taken_by);
                    taken_by = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ThreadId>> {
        // Nothing in a critical section panics.
        self.taken_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
        self.0.over.notify_one();
    }
}

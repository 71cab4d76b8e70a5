//! A value that is written once and waited for by any number of threads.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::clock;

/// A cell that the first writer fills, or that is closed empty: then nobody will ever fill it.
#[derive(Debug)]
pub(crate) struct Cell<T> {
    value: OnceLock<T>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Threads that sleep. Waking nobody would be a system call all the same.
    waiting: usize,
}

/// What waiting for a cell came to.
#[derive(Debug)]
pub(crate) enum Waited<'a, T> {
    Filled(&'a T),
    /// Nobody is left to fill it.
    Closed,
    TimedOut,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self {
            value: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl<T> Cell<T> {
    /// The value, if it is there.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.value.get()
    }

    /// Fills the cell unless somebody was earlier, and returns what it holds. Waiters wake at [`close`](Self::close).
    pub(crate) fn fill(&self, value: T) -> &T {
        self.value.get_or_init(|| value)
    }

    /// Says that nothing will change any more, and wakes everybody.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.waiting;
        drop(state);
        if waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until the cell is filled or closed. `None` is for ever; the past is just a look.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Waited<'_, T> {
        let mut state = self.lock();
        loop {
            // Looked at under the lock: a cell that is filled and closed after this look has to take the lock to say
            // so, and finds us waiting.
            if let Some(value) = self.value.get() {
                return Waited::Filled(value);
            }
            if state.closed {
                return Waited::Closed;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Waited::TimedOut;
            }
            state.waiting += 1;
            state = match left {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its two fields have no state in between that a panic could leave behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_writer_wins() {
        let cell = Cell::default();
        assert_eq!(*cell.fill(1), 1);
        assert_eq!(*cell.fill(2), 1);
        assert_eq!(cell.peek(), Some(&1));
    }

    #[test]
    fn a_waiter_is_woken_by_a_value_and_by_an_empty_close() {
        for fill in [true, false] {
            let cell: Arc<Cell<u32>> = Arc::default();
            let waiter = std::thread::spawn({
                let cell = Arc::clone(&cell);
                move || matches!(cell.wait(None), Waited::Filled(7))
            });
            if fill {
                cell.fill(7);
            }
            cell.close();
            assert_eq!(waiter.join().unwrap(), fill);
        }
    }

    #[test]
    fn the_past_is_just_a_look() {
        let cell: Cell<u32> = Cell::default();
        let past = clock::now().checked_sub(Duration::from_millis(1));
        assert!(matches!(cell.wait(past), Waited::TimedOut));
        cell.fill(3);
        assert!(matches!(cell.wait(past), Waited::Filled(3)));
    }
}

//! Threads for what can block, alive only while there is something to do, or may be in a moment.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys;

/// A bounded queue whose items one thread works off. The thread starts with the first item and ends after the last, at once or
/// when nothing came for a while.
#[derive(Debug)]
pub(crate) struct Errands<T>(Arc<Queue<T>>);

#[derive(Debug)]
struct Queue<T> {
    name: String,
    capacity: usize,
    work: fn(T),
    /// So long the thread waits for another item.
    linger: Duration,
    state: Mutex<State<T>>,
    /// There is an item, or there will be none.
    news: Condvar,
    /// The thread has nothing left to do.
    idle: Condvar,
    refused: AtomicU64,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    running: bool,
    /// The thread sleeps until there is another item.
    lingers: bool,
    /// Nothing more is waited for.
    parted: bool,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Errands<T> {
    /// `name` is the thread's; `work` does one item, and may block.
    pub(crate) fn new(name: String, capacity: usize, work: fn(T)) -> Self {
        Self::lingering(name, capacity, work, Duration::ZERO)
    }

    /// The same with a thread that waits for so long whether there is more to do: another one is not started in no time.
    pub(crate) fn lingering(name: String, capacity: usize, work: fn(T), linger: Duration) -> Self {
        let state = Mutex::new(State {
            items: VecDeque::new(),
            running: false,
            lingers: false,
            parted: false,
            thread: None,
        });
        Self(Arc::new(Queue {
            name,
            capacity,
            work,
            linger,
            state,
            news: Condvar::new(),
            idle: Condvar::new(),
            refused: AtomicU64::new(0),
        }))
    }

    /// Leaves an item to the thread. It comes back if the queue is full or there is no thread to be had.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.items.len() >= self.0.capacity {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return Err(item);
        }
        state.items.push_back(item);
        if state.running {
            if state.lingers {
                self.0.news.notify_one();
            }
            return Ok(());
        }
        let queue = Arc::clone(&self.0);
        match std::thread::Builder::new()
            .name(self.0.name.clone())
            .spawn(move || queue.work_off())
        {
            Ok(thread) => {
                state.running = true;
                // The one before it is at its end.
                state.thread = Some(thread);
                Ok(())
            }
            Err(_eagain) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                // It was pushed a few lines above.
                state.items.pop_back().map_or(Ok(()), Err)
            }
        }
    }

    /// Waits until the thread is gone, and what it held with it, unless what it is doing takes longer than this.
    pub(super) fn part(&self, patience: Duration) {
        let mut state = self.0.lock();
        state.parted = true;
        self.0.news.notify_one();
        let waited = self
            .0
            .idle
            .wait_timeout_while(state, patience, |state| state.running);
        let (mut state, _late) = waited.unwrap_or_else(PoisonError::into_inner);
        let thread = state.thread.take().filter(|_| !state.running);
        drop(state);
        // It catches what its items throw.
        drop(thread.map(JoinHandle::join));
    }

    /// Counts items as refused that were none of ours to begin with.
    pub(crate) fn refuse(&self, items: u64) {
        self.0.refused.fetch_add(items, Ordering::Relaxed);
    }

    /// How many items were refused since this was asked last.
    pub(crate) fn take_refused(&self) -> u64 {
        self.0.refused.swap(0, Ordering::Relaxed)
    }
}

impl<T> Queue<T> {
    fn work_off(&self) {
        sys::block_all_signals();
        while let Some(item) = self.next() {
            // The host's code (its logger) may panic; the next item is none of its business.
            let work = std::panic::AssertUnwindSafe(|| (self.work)(item));
            if std::panic::catch_unwind(work).is_err() {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The next item. `None`: the thread is to end.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        if state.items.is_empty() && !self.linger.is_zero() {
            state.lingers = true;
            let nothing = |state: &mut State<T>| state.items.is_empty() && !state.parted;
            let waited = self.news.wait_timeout_while(state, self.linger, nothing);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.lingers = false;
        }
        let item = state.items.pop_front();
        if item.is_none() {
            // Under the lock: whoever pushes next sees that a new thread is needed.
            state.running = false;
            self.idle.notify_all();
        }
        item
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in a critical section panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

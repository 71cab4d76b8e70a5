//! Waits for any child of this process, where orphans come to it.
//!
//! A thread sleeps in the kernel until a child has ended, tells the reactor, and waits until that has done something about
//! it: takes it away, if nobody holds it, or hears of its exit in the usual way. It lives while there are children.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::mailbox::{Mail, Message};
use crate::sys;

/// The thread, and what it is told.
#[derive(Debug)]
pub(super) struct OrphanWatch {
    name: String,
    mail: Mail,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// A child was started since the thread looked last whether there are any.
    renewed: bool,
    /// The child that it has told of is dealt with.
    go_on: bool,
    over: bool,
}

impl OrphanWatch {
    pub(super) fn new(name: &str, mail: Mail) -> Self {
        Self {
            name: format!("{name}-orphans"),
            mail,
            state: Arc::default(),
        }
    }

    /// There is a child: it is waited for.
    pub(super) fn wake(&self) {
        let mut state = lock(&self.state);
        state.renewed = true;
        if state.running || state.over {
            return;
        }
        let shared = Arc::clone(&self.state);
        let mail = self.mail.clone();
        let started = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || watch(&shared, &mail));
        // EAGAIN: the next child tries again. Until then orphans stay zombies.
        state.running = started.is_ok();
    }

    /// The child that was told of last is dealt with.
    pub(super) fn go_on(&self) {
        lock(&self.state).go_on = true;
        self.state.1.notify_all();
    }

    /// Nobody listens any more. The thread ends when its child has ended, or when there is none.
    pub(super) fn part(&self, patience: Duration) {
        let mut state = lock(&self.state);
        state.over = true;
        self.state.1.notify_all();
        let ended = self
            .state
            .1
            .wait_timeout_while(state, patience, |state| state.running);
        drop(ended);
    }
}

fn watch(shared: &(Mutex<State>, Condvar), mail: &Mail) {
    sys::block_all_signals();
    loop {
        lock(shared).renewed = false;
        let ended = sys::await_child();
        let mut state = lock(shared);
        match ended {
            Ok(Some(pid)) if !state.over => {
                state.go_on = false;
                drop(state);
                if mail.send(Message::ChildEnded { pid }).is_err() {
                    lock(shared).running = false;
                    return;
                }
                state = lock(shared);
                while !state.go_on && !state.over {
                    state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if !state.over {
                    continue;
                }
            }
            // No child; and none has been started since that was looked at.
            Ok(None) if state.renewed && !state.over => continue,
            Ok(_) | Err(_) => {}
        }
        state.running = false;
        drop(state);
        shared.1.notify_all();
        return;
    }
}

fn lock(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    // Nothing in a critical section panics.
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The thread on which the host is asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::{Named, State};
use crate::contain::contain;
use crate::session::SessionId;
use crate::sys;

/// What the thread has.
pub(super) struct Asking {
    pub(super) asked: Receiver<()>,
    pub(super) answer: Sender<Named>,
    pub(super) state: Arc<State>,
}

impl Asking {
    /// Asks whenever the reaper wants to know, until that is gone.
    pub(super) fn serve(self, mut active: impl FnMut() -> Option<HashSet<SessionId>>) {
        // The host's signals are for the host's threads.
        sys::block_all_signals();
        while self.asked.recv().is_ok() {
            // In this order: whoever stops the reaper stores first and looks then.
            self.state.in_callback.store(true, Ordering::SeqCst);
            if self.state.stopped.load(Ordering::SeqCst) {
                self.state.in_callback.store(false, Ordering::SeqCst);
                break;
            }
            let named = match contain(&mut active) {
                Some(Some(named)) => Named::These(named),
                Some(None) => Named::NotKnown,
                None => Named::Panicked,
            };
            self.state.in_callback.store(false, Ordering::SeqCst);
            if self.answer.send(named).is_err() {
                // The reaper was stopped meanwhile.
                break;
            }
        }
    }
}

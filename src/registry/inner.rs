//! What all handles of a registry share, and what is done when the last one is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::OnDrop;
use crate::birth;
use crate::event::Reason;
use crate::reactor::{self, Message, Shared};
use crate::shutdown::Shutdown;
use crate::stop::StopPolicy;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_name: String,
}

impl Inner {
    pub(crate) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        let thread_name = thread.thread().name().unwrap_or_default().to_owned();
        Self {
            shared,
            thread: Mutex::new(Some(thread)),
            thread_name,
        }
    }

    /// What the threads of the registry are named after.
    pub(crate) fn thread_name(&self) -> &str {
        &self.thread_name
    }

    /// Waits until the thread, which has nothing left to do, is gone.
    pub(super) fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                debug_assert!(false, "the reactor catches its own panics");
            }
        }
    }

    /// The reactor panicked, and left these behind. Whoever is still there is killed here: nobody else will.
    fn clear_wreck(&self) {
        let wreck = std::mem::take(
            &mut *self
                .shared
                .wreck
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let deadline = reactor::now().checked_add(Duration::from_secs(5));
        for core in &wreck {
            birth::kill(core);
        }
        for core in &wreck {
            birth::bury(core, deadline);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.shared.is_forked_copy() {
            // The thread is in another process: there is nothing to join, and nothing of ours to end.
            let thread = self
                .thread
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            std::mem::forget(thread);
            return;
        }
        match self.shared.plan.on_drop {
            OnDrop::Kill => {
                // An error says that there is nobody left to end anything: shut down before, or gone (see below).
                let begun = Shutdown::begin(&self.shared, &StopPolicy::immediate(), Reason::Drop);
                drop(begun.and_then(|shutdown| shutdown.wait()));
            }
            OnDrop::Detach => drop(self.shared.send(Message::Halt, "detach")),
        }
        self.join();
        // Whose parent-death signal depends on them dies with them: not what was left as it is.
        self.shared
            .launch_threads
            .end(self.shared.plan.on_drop == OnDrop::Detach);
        if self.shared.plan.on_drop == OnDrop::Kill {
            self.clear_wreck();
            self.shared.leaves.clear();
        }
        let subreaper = &self.shared.subreaper;
        drop(
            subreaper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

//! Which life a pid is held for, for those who have to know at once and from any thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shared::Core;
use crate::machine::IdMap;
use crate::session::{Life, ProcessId};

/// The processes that are held, by their pids.
#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<IdMap<u32, (ProcessId, Life)>>);

impl Index {
    pub(super) fn insert(&self, core: &Core) {
        self.lock()
            .insert(core.facts.pid, (core.process, core.life));
    }

    /// The number may be another's by now.
    pub(super) fn remove(&self, core: &Core) {
        let mut held = self.lock();
        if held
            .get(&core.facts.pid)
            .is_some_and(|(process, _)| *process == core.process)
        {
            held.remove(&core.facts.pid);
        }
    }

    pub(crate) fn life_of(&self, pid: u32) -> Option<Life> {
        self.lock().get(&pid).map(|&(_, life)| life)
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<u32, (ProcessId, Life)>> {
        // Its entries are independent of each other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

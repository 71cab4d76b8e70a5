//! The processes that the reactor holds.

use std::sync::Arc;

use super::shared::Core;
use crate::machine::IdMap;
use crate::session::ProcessId;

/// The cores by their ids, from birth until the machine lets go of them.
#[derive(Debug, Default)]
pub(crate) struct Watchlist {
    cores: IdMap<ProcessId, Arc<Core>>,
}

impl Watchlist {
    pub(super) fn insert(&mut self, core: Arc<Core>) {
        self.cores.insert(core.process, core);
    }

    pub(crate) fn get(&self, process: ProcessId) -> Option<&Arc<Core>> {
        self.cores.get(&process)
    }

    /// Lets go of it: its pin is closed, and nobody hears more about it.
    pub(super) fn remove(&mut self, process: ProcessId) -> Option<Arc<Core>> {
        let core = self.cores.remove(&process)?;
        core.unpin();
        core.close();
        Some(core)
    }

    /// Takes all of them out as they are.
    pub(super) fn take(&mut self) -> Vec<Arc<Core>> {
        std::mem::take(&mut self.cores).into_values().collect()
    }
}

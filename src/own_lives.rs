//! [`OwnLives`]: the sessions that the library opens for itself.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::Life;

/// The lives of the sessions that sweeps and recoveries have opened and are not done with: who goes over the host's
/// sessions leaves them out.
#[derive(Debug, Default)]
pub(crate) struct OwnLives(Mutex<HashSet<Life>>);

impl OwnLives {
    pub(crate) fn contains(&self, life: Life) -> bool {
        self.lock().contains(&life)
    }

    pub(crate) fn insert(&self, life: Life) {
        self.lock().insert(life);
    }

    pub(crate) fn remove(&self, life: Life) {
        self.lock().remove(&life);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Life>> {
        // Nothing in a critical section panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! [`Leaves`]: the cgroups of the lives that have one.
//!
//! A leaf is made by the thread that starts the first process of a life for which it is wanted, and removed by the pass
//! that finds it empty at the end of that life. A spawn that fails removes the leaf that it has made for itself: nothing is
//! left of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::Life;
use crate::sys::{Cgroups, Leaf};

#[derive(Debug, Default)]
pub(crate) struct Leaves(Mutex<HashMap<Life, Entry>>);

#[derive(Debug)]
struct Entry {
    leaf: Arc<Leaf>,
    /// Spawns that are about to enter it.
    comers: usize,
    /// A process of the session has been in it.
    lived_in: bool,
}

/// A spawn into a leaf. Dropped before the process was [handed over](Self::moved_in), it takes away what nobody else uses.
#[derive(Debug)]
#[must_use]
pub(crate) struct Tenancy<'a> {
    leaves: &'a Leaves,
    life: Life,
    leaf: Arc<Leaf>,
}

impl Leaves {
    /// The leaf of a life, for one who is about to enter it.
    ///
    /// # Errors
    ///
    /// Those of [`Cgroups::leaf`].
    pub(crate) fn enter(&self, life: Life, cgroups: &Cgroups) -> io::Result<Tenancy<'_>> {
        // Under the lock: two leaves for one life would be one too many.
        let mut leaves = self.lock();
        let entry = match leaves.entry(life) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(Entry {
                leaf: Arc::new(cgroups.leaf(life)?),
                comers: 0,
                lived_in: false,
            }),
        };
        entry.comers += 1;
        Ok(Tenancy {
            leaves: self,
            life,
            leaf: Arc::clone(&entry.leaf),
        })
    }

    /// The leaf of a life, if it has one.
    pub(crate) fn of(&self, life: Life) -> Option<Arc<Leaf>> {
        let leaves = self.lock();
        leaves.get(&life).map(|entry| Arc::clone(&entry.leaf))
    }

    /// Whose leaf this cgroup is.
    pub(crate) fn life_of(&self, cgroup: u64) -> Option<Life> {
        let leaves = self.lock();
        leaves
            .iter()
            .find_map(|(&life, entry)| (entry.leaf.id() == cgroup).then_some(life))
    }

    /// Forgets the leaf of a life that is over, and returns it if it is still to be removed.
    pub(crate) fn forget(&self, life: Life) -> Option<Arc<Leaf>> {
        let entry = self.lock().remove(&life)?;
        Some(entry.leaf).filter(|leaf| !leaf.is_removed())
    }

    /// Removes those that are left when everything is over.
    pub(crate) fn clear(&self) {
        for (_, entry) in self.lock().drain() {
            // EBUSY: somebody has survived. A later run removes what is left empty.
            drop(entry.leaf.remove());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Life, Entry>> {
        // Its entries are independent of each other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenancy<'_> {
    pub(crate) fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The process is the session's from now on: the leaf stays until the end of the life.
    pub(crate) fn moved_in(&self) {
        if let Some(entry) = self.leaves.lock().get_mut(&self.life) {
            entry.lived_in = true;
        }
    }
}

impl Drop for Tenancy<'_> {
    fn drop(&mut self) {
        let mut leaves = self.leaves.lock();
        let Some(entry) = leaves.get_mut(&self.life) else {
            return;
        };
        entry.comers = entry.comers.saturating_sub(1);
        // EBUSY: somebody is in it whom nobody has handed over; it is removed with its life.
        if entry.comers == 0 && !entry.lived_in && entry.leaf.remove().is_ok() {
            leaves.remove(&self.life);
        }
    }
}

//! [`Leaves`]: the cgroups of the lives that have one.
//!
//! A leaf is made by the thread that starts the first process of a life for which it is wanted, and removed by the pass
//! that finds it empty at the end of that life. A spawn that fails removes the leaf that it has made for itself: nothing is
//! left of it.
//!
//! The leaves of an earlier run come to the life that its processes are taken into.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::{Life, SessionId};
use crate::sys::{Cgroups, Leaf, LeafName};

#[derive(Debug, Default)]
pub(crate) struct Leaves(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    made: HashMap<Life, Entry>,
    /// Those of an earlier run, whose processes are of this life now.
    inherited: HashMap<Life, Vec<Arc<Leaf>>>,
}

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
    pub(crate) fn enter(
        &self,
        (session, life): (SessionId, Life),
        cgroups: &Cgroups,
    ) -> io::Result<Tenancy<'_>> {
        // Under the lock: two leaves for one life would be one too many.
        let mut kept = self.lock();
        let entry = match kept.made.entry(life) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(Entry {
                leaf: Arc::new(cgroups.leaf(life, session)?),
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

    /// Gives a life the leaves of an earlier run. They are ended and removed with it.
    pub(crate) fn inherit(&self, life: Life, leaves: Vec<Arc<Leaf>>) {
        if !leaves.is_empty() {
            self.lock().inherited.insert(life, leaves);
        }
    }

    /// The leaves of a life: its own, and those that it has inherited.
    pub(crate) fn of(&self, life: Life) -> Vec<Arc<Leaf>> {
        let kept = self.lock();
        let made = kept.made.get(&life).map(|entry| &entry.leaf);
        let inherited = kept.inherited.get(&life).into_iter().flatten();
        made.into_iter().chain(inherited).cloned().collect()
    }

    /// The life here that one of an earlier run belongs to.
    pub(crate) fn heir_of(&self, name: &LeafName) -> Option<Life> {
        let kept = self.lock();
        let mut inherited = kept.inherited.iter();
        inherited.find_map(|(&life, leaves)| {
            let named = leaves.iter().any(|leaf| leaf.is_named(name));
            named.then_some(life)
        })
    }

    /// Whose leaf this cgroup is.
    pub(crate) fn life_of(&self, cgroup: u64) -> Option<Life> {
        let kept = self.lock();
        let made = kept.made.iter().map(|(&life, entry)| (life, &entry.leaf));
        let inherited = kept.inherited.iter();
        let inherited =
            inherited.flat_map(|(&life, leaves)| leaves.iter().map(move |leaf| (life, leaf)));
        let mut all = made.chain(inherited);
        all.find_map(|(life, leaf)| (leaf.id() == cgroup).then_some(life))
    }

    /// Forgets the leaves of a life that is over, and returns those that are still to be removed.
    pub(crate) fn forget(&self, life: Life) -> Vec<Arc<Leaf>> {
        let mut kept = self.lock();
        let made = kept.made.remove(&life).map(|entry| entry.leaf);
        let inherited = kept.inherited.remove(&life).unwrap_or_default();
        let mut all: Vec<_> = made.into_iter().chain(inherited).collect();
        all.retain(|leaf| !leaf.is_removed());
        all
    }

    /// Removes those that are left when everything is over.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.lock());
        let made = kept.made.into_values().map(|entry| entry.leaf);
        for leaf in made.chain(kept.inherited.into_values().flatten()) {
            // EBUSY: somebody has survived. A later run removes what is left empty.
            drop(leaf.remove());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
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
        if let Some(entry) = self.leaves.lock().made.get_mut(&self.life) {
            entry.lived_in = true;
        }
    }
}

impl Drop for Tenancy<'_> {
    fn drop(&mut self) {
        let mut kept = self.leaves.lock();
        let Some(entry) = kept.made.get_mut(&self.life) else {
            return;
        };
        entry.comers = entry.comers.saturating_sub(1);
        // EBUSY: somebody is in it whom nobody has handed over; it is removed with its life.
        if entry.comers == 0 && !entry.lived_in && entry.leaf.remove().is_ok() {
            kept.made.remove(&self.life);
        }
    }
}

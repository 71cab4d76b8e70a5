//! By what those are known who descend from the processes of a session, where the kernel keeps whom a process comes from.
//!
//! Every process that is held gets an entry, under the name that the kernel gives it as a forebear; the entry stays when the
//! process is gone, since what it has started is found by it. It goes with its life, or, where a long life has had many
//! processes, after many others: what those have left has other marks too.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shared::Core;
use crate::machine::IdMap;
use crate::session::{Life, ProcessId};
use crate::sys::{ANCESTRY, Ancestry};

/// So many that are gone are remembered.
const GONE: usize = 1 << 14;

/// Whose the descendants of a process are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descends {
    From(Life),
    /// From one that is held alone, or that was given up.
    FromNobody,
}

/// The forebears that are known.
#[derive(Debug, Default)]
pub(crate) struct Forebears(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The last that had the name: where names return, nobody is left then who descends from the one before.
    all: IdMap<u64, (ProcessId, Descends)>,
    /// Of processes that are not held any more, the oldest first.
    gone: VecDeque<(u64, ProcessId)>,
}

impl Forebears {
    pub(super) fn insert(&self, core: &Core) {
        let Some(name) = name(core) else { return };
        let descends = if core.facts.is_searched() {
            Descends::From(core.life)
        } else {
            Descends::FromNobody
        };
        self.lock().all.insert(name, (core.process, descends));
    }

    /// It is not held any more.
    pub(super) fn leave(&self, core: &Core) {
        if let Some(name) = name(core) {
            self.lock().leave(name, core.process);
        }
    }

    /// It was given up, and all that descends from it.
    pub(super) fn give_up(&self, core: &Core) {
        if let Some(name) = name(core) {
            let known = (core.process, Descends::FromNobody);
            self.lock().all.insert(name, known);
        }
    }

    /// These lives are over.
    pub(super) fn forget(&self, lives: &[Life]) {
        self.lock().forget(lives);
    }

    pub(crate) fn whose(&self, name: u64) -> Option<Descends> {
        self.lock().all.get(&name).map(|&(_, descends)| descends)
    }

    /// All of these lives, with the processes that they were.
    pub(crate) fn of(&self, lives: &[Life]) -> Vec<(u64, ProcessId)> {
        self.lock().of(lives)
    }

    /// Whether no other has had its name since: if one has, all who descended from this one are gone.
    pub(crate) fn is_last(&self, core: &Core) -> bool {
        name(core).is_none_or(|name| self.lock().is_last(name, core.process))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Its entries are independent of each other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn leave(&mut self, name: u64, process: ProcessId) {
        self.gone.push_back((name, process));
        if self.gone.len() <= GONE {
            return;
        }
        if let Some((oldest, process)) = self.gone.pop_front() {
            // Else the name has returned, and is that of another.
            if self.is_last(oldest, process) {
                self.all.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, lives: &[Life]) {
        let over = |descends: &Descends| match descends {
            Descends::From(life) => lives.contains(life),
            Descends::FromNobody => false,
        };
        self.all.retain(|_, (_, descends)| !over(descends));
        let all = &self.all;
        self.gone.retain(|(name, _)| all.contains_key(name));
    }

    fn of(&self, lives: &[Life]) -> Vec<(u64, ProcessId)> {
        let all = self.all.iter();
        all.filter(|(_, (_, descends))| match descends {
            Descends::From(life) => lives.contains(life),
            Descends::FromNobody => false,
        })
        .map(|(&name, &(process, _))| (name, process))
        .collect()
    }

    fn is_last(&self, name: u64, process: ProcessId) -> bool {
        self.all.get(&name).is_none_or(|&(last, _)| last == process)
    }
}

/// By what the kernel names it as a forebear.
fn name(core: &Core) -> Option<u64> {
    match ANCESTRY {
        Ancestry::Untold => None,
        Ancestry::ByUniqueId => core.facts.inode,
        Ancestry::OfOurChildren => Some(core.facts.pid.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life(1);
    const OTHER: Life = Life(2);

    fn known(all: &[(u64, u64, Descends)]) -> Known {
        let mut known = Known::default();
        for &(name, process, descends) in all {
            known.all.insert(name, (ProcessId(process), descends));
        }
        known
    }

    #[test]
    fn a_life_that_is_over_takes_its_own_along() {
        let mut known = known(&[
            (7, 1, Descends::From(LIFE)),
            (8, 2, Descends::From(OTHER)),
            (9, 3, Descends::FromNobody),
        ]);
        known.leave(7, ProcessId(1));
        known.forget(&[LIFE]);
        assert!(known.gone.is_empty());
        assert_eq!(known.of(&[LIFE]), []);
        assert_eq!(known.of(&[OTHER]), [(8, ProcessId(2))]);
        assert_eq!(known.all.len(), 2);
    }

    #[test]
    fn one_whose_name_another_has_had_since_is_not_the_last() {
        let known = known(&[(7, 1, Descends::From(LIFE)), (7, 2, Descends::From(OTHER))]);
        assert!(known.is_last(7, ProcessId(2)));
        assert!(!known.is_last(7, ProcessId(1)));
        // Of whom nothing is known any more, nobody has had the name since.
        assert!(known.is_last(8, ProcessId(1)));
    }

    #[test]
    fn of_those_that_are_gone_the_oldest_are_forgotten_and_no_other_with_their_name() {
        let mut known = known(&[(7, 1, Descends::From(LIFE)), (8, 2, Descends::From(LIFE))]);
        known.leave(7, ProcessId(1));
        known.leave(8, ProcessId(2));
        known.all.insert(8, (ProcessId(3), Descends::From(OTHER)));
        for more in 0..GONE as u64 {
            known.leave(more + 100, ProcessId(more + 100));
        }
        assert!(!known.all.contains_key(&7));
        assert_eq!(known.of(&[OTHER]), [(8, ProcessId(3))]);
        assert!(known.gone.len() <= GONE);
    }
}

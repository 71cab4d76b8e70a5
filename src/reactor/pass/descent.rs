//! Who descends from whom, by what the kernel keeps of it whoever is the parent by now.

use std::collections::{HashMap, HashSet};

use super::Prey;
use super::round::Round;
use crate::machine::Reach;
use crate::reactor::forebears::Descends;
use crate::sys::{self, ANCESTRY, Ancestry, Offspring};

/// More generations than there are between any two processes.
const DEEPEST: usize = 4096;

/// Whom everybody comes from, as it was at one moment.
#[derive(Debug, Default)]
pub(super) struct Descent {
    by_pid: HashMap<u32, u64>,
    by_id: HashMap<u64, u64>,
}

impl Descent {
    fn new(all: &[Offspring]) -> Self {
        Self {
            by_pid: all.iter().map(|one| (one.pid, one.parent)).collect(),
            by_id: all.iter().map(|one| (one.id, one.parent)).collect(),
        }
    }

    /// The nearest forebear of whom anything is known, from the parent on. It goes on over those of whom nothing is: the dead
    /// too, as long as nobody has reaped them.
    fn nearest<T>(&self, parent: u64, known: impl Fn(u64) -> Option<T>) -> Option<T> {
        let mut at = parent;
        for _ in 0..DEEPEST {
            if let Some(found) = known(at) {
                return Some(found);
            }
            at = *self.by_id.get(&at).filter(|next| **next != at)?;
        }
        None
    }
}

impl Round<'_> {
    /// Reads it, where it is kept.
    pub(super) fn read_descent(&self) -> Option<Descent> {
        match ANCESTRY {
            Ancestry::Untold => return None,
            Ancestry::ByUniqueId => {}
            Ancestry::OfOurChildren if self.scene.orphanage.is_some() => {}
            Ancestry::OfOurChildren => return None,
        }
        Some(Descent::new(&self.table.kindred())).filter(|_| self.names_are_known())
    }

    /// Whether what is known of the forebears is about those that the kernel means: where they are named by numbers, a child
    /// that is being started this moment may have one that another has had before.
    fn names_are_known(&self) -> bool {
        ANCESTRY != Ancestry::OfOurChildren || self.is_free_of_births()
    }

    /// Whose it was when the list was begun. Reason enough for a closer look.
    pub(super) fn descendant(&self, pid: u32) -> Option<Descends> {
        let descent = self.descent.as_ref()?;
        self.whose(descent, *descent.by_pid.get(&pid)?)
    }

    /// Whether it descends from this life: asked anew, of a process that a pin holds.
    pub(super) fn descends(&self, pid: u32, prey: usize) -> bool {
        let Some(descent) = &self.descent else {
            return false;
        };
        let forebear = self.table.forebear(pid);
        let whose = forebear.and_then(|parent| self.whose(descent, parent));
        whose.is_some_and(|whose| self.prey_of(whose) == Some(prey)) && self.names_are_known()
    }

    fn whose(&self, descent: &Descent, parent: u64) -> Option<Descends> {
        descent.nearest(parent, |name| self.shared.forebears.whose(name))
    }

    /// Who of those that are hunted for it is.
    pub(super) fn prey_of(&self, whose: Descends) -> Option<usize> {
        let Descends::From(life) = whose else {
            return None;
        };
        let marks = |prey: &Prey| prey.hunt.marks.contains(&life);
        self.scene.prey.iter().position(marks)
    }

    /// Kills, each in one call, what descends from the children of this process that were of those who are hunted for: no fork
    /// gets ahead of that. Not where somebody may be among them who is to be left alone.
    pub(super) fn fell(&self) {
        let spares = self.shared.plan.spare.is_some()
            || !self.scene.detached.is_empty()
            || !self.scene.taken_in.is_empty();
        let Some(descent) = &self.descent else { return };
        if ANCESTRY != Ancestry::OfOurChildren || spares {
            return;
        }
        let left: HashSet<u64> = descent.by_pid.values().copied().collect();
        let killed = |prey: &&Prey| {
            prey.hunt.kill.is_some() && prey.hunt.ending && prey.hunt.reach >= Reach::Subreaper
        };
        for prey in self.scene.prey.iter().filter(killed) {
            let all = self.shared.forebears.of(&prey.hunt.marks).into_iter();
            for (name, process) in all.filter(|(name, _)| left.contains(name)) {
                let mut held = prey.leaders.iter().chain(&prey.members);
                let core = held.find(|core| core.process == process);
                let pin = core.and_then(|core| core.pin());
                let registered = pin.is_some_and(|pin| pin.holds_its_number());
                let Ok(child) = u32::try_from(name) else {
                    continue;
                };
                if self.names_are_known() {
                    // ESRCH: nobody is left. EPERM: one of them is another user's. All are looked for one by one as well.
                    drop(sys::kill_tree(child, registered));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn born(pid: u32, parent: u64) -> Offspring {
        Offspring {
            pid,
            id: u64::from(pid) + 1000,
            parent,
        }
    }

    /// 1000 to 1003 are parent and child in a row; what has forked 1005 is gone.
    fn family() -> Descent {
        Descent::new(&[born(1, 1000), born(2, 1001), born(3, 1002), born(5, 1004)])
    }

    fn whose(pid: u32, known: &[(u64, char)]) -> Option<char> {
        let family = family();
        let known = |name| {
            let mut all = known.iter();
            all.find(|(id, _)| *id == name).map(|&(_, whose)| whose)
        };
        family.nearest(*family.by_pid.get(&pid)?, known)
    }

    #[test]
    fn a_grandchild_is_found_over_a_parent_of_whom_nothing_is_known() {
        assert_eq!(whose(3, &[(1000, 'a')]), Some('a'));
        assert_eq!(whose(1, &[(1000, 'a')]), Some('a'));
    }

    #[test]
    fn of_two_that_are_known_the_nearer_counts() {
        assert_eq!(whose(3, &[(1000, 'a'), (1002, 'b')]), Some('b'));
        // It itself is no forebear of its own.
        assert_eq!(whose(3, &[(1000, 'a'), (1003, 'b')]), Some('a'));
    }

    #[test]
    fn a_chain_with_a_gap_ends_there() {
        assert_eq!(whose(5, &[(1000, 'a')]), None);
        assert_eq!(whose(5, &[(1004, 'a')]), Some('a'));
        assert_eq!(whose(9, &[(1000, 'a')]), None);
    }

    /// A child of a reaper descends from itself.
    #[test]
    fn who_comes_from_itself_ends_the_chain() {
        let itself = Descent::new(&[Offspring {
            pid: 7,
            id: 7,
            parent: 7,
        }]);
        assert_eq!(itself.nearest(7, |_| None::<char>), None);
        assert_eq!(itself.nearest(7, Some), Some(7));
    }
}

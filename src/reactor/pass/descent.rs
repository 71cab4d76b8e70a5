//! Who descends from whom, by what the kernel keeps of it whoever is the parent by now.

use super::Prey;
use super::round::Round;
use crate::machine::{IdMap, IdSet, Reach};
use crate::reactor::forebears::Descends;
use crate::sys::{self, ANCESTRY, Ancestry, Offspring};

/// More generations than there are between any two processes.
const DEEPEST: usize = 4096;

/// So many are remembered of whom most are gone.
const REMEMBERED: usize = 1 << 16;

/// Whom everybody comes from, as it was when it was read.
#[derive(Debug, Default)]
pub(super) struct Descent {
    by_pid: IdMap<u32, u64>,
    /// As it was told first: a later answer can be about a parent that has only taken it in.
    by_id: IdMap<u64, u64>,
    /// Who was who, under each program of those that were met.
    incarnations: IdMap<u64, u64>,
    /// On the clock of the starts: who was there at that moment is among them.
    read_at: u64,
}

impl Descent {
    /// Takes in a new list, which was begun at that moment. `ids_last`: an id is never given again, so that what was told before
    /// remains true.
    fn renew(&mut self, all: &[Offspring], read_at: u64, ids_last: bool) {
        self.by_pid.clear();
        let there = || all.iter().map(|one| one.id).collect::<IdSet<u64>>();
        if !ids_last {
            self.by_id.clear();
        } else if self.by_id.len() > REMEMBERED {
            let there = there();
            self.by_id.retain(|id, _| there.contains(id));
        }
        if self.incarnations.len() > REMEMBERED {
            let there = there();
            self.incarnations.retain(|_, id| there.contains(id));
        }
        // All of them first: who has forked one may come after it.
        for one in all {
            self.meet(one);
        }
        for &one in all {
            self.learn(one);
        }
        self.read_at = read_at;
    }

    fn meet(&mut self, one: &Offspring) {
        if let Some(incarnation) = one.incarnation {
            self.incarnations.insert(incarnation, one.id);
        }
    }

    /// Says whom it comes from, as far as was ever told.
    fn learn(&mut self, one: Offspring) -> u64 {
        self.meet(&one);
        let forebear = one
            .born_of
            .and_then(|born_of| self.incarnations.get(&born_of));
        let parent = match forebear {
            // Nothing changes that, and it is known who it was.
            Some(&forebear) => {
                self.by_id.insert(one.id, forebear);
                forebear
            }
            None => *self.by_id.entry(one.id).or_insert(one.parent),
        };
        self.by_pid.insert(one.pid, parent);
        parent
    }

    /// Whether a process that was started then, and holds its number now, is the one of that number in the list.
    fn is_of(&self, start_ticks: u64) -> bool {
        start_ticks < self.read_at
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
    pub(super) fn read_descent(&mut self) {
        let is_kept = match ANCESTRY {
            Ancestry::Untold => false,
            Ancestry::ByUniqueId => true,
            Ancestry::OfOurChildren => self.scene.orphanage.is_some(),
        };
        if !is_kept {
            self.remembered.descent = None;
            return;
        }
        let read_at = sys::ticks_since_boot();
        let all = self.table.kindred();
        if self.names_are_known() {
            let ids_last = ANCESTRY == Ancestry::ByUniqueId;
            let descent = self.remembered.descent.get_or_insert_default();
            descent.renew(&all, read_at, ids_last);
        } else {
            self.remembered.descent = None;
        }
    }

    /// Whom one comes from that is new, dead or alive, where the kernel tells it of one alone.
    pub(super) fn learn_origin(&mut self, pid: u32) {
        if ANCESTRY != Ancestry::ByUniqueId {
            return;
        }
        if let Some(one) = self.table.origin(pid) {
            let _parent = self.remembered.descent.get_or_insert_default().learn(one);
        }
    }

    /// Whether what is known of the forebears is about those that the kernel means: where they are named by numbers, a child
    /// that is being started this moment may have one that another has had before.
    fn names_are_known(&self) -> bool {
        ANCESTRY != Ancestry::OfOurChildren || self.is_free_of_births()
    }

    /// Whose it was when the list was begun. Reason enough for a closer look.
    pub(super) fn descendant(&self, pid: u32) -> Option<Descends> {
        let descent = self.remembered.descent.as_ref()?;
        self.whose(descent, *descent.by_pid.get(&pid)?)
    }

    /// Whether it descends from this life: of a process that a pin holds, and that was started then.
    pub(super) fn descends(&mut self, pid: u32, start_ticks: u64, prey: usize) -> bool {
        let parent = match ANCESTRY {
            Ancestry::Untold => None,
            // Asked anew, it costs nothing.
            Ancestry::ByUniqueId => {
                let origin = self.table.origin(pid);
                let descent = self.remembered.descent.as_mut();
                descent.and_then(|descent| Some(descent.learn(origin?)))
            }
            // All are told at once: it is not asked for each of them.
            Ancestry::OfOurChildren => {
                let known = self.remembered.descent.as_ref();
                if known.is_some_and(|descent| !descent.is_of(start_ticks)) {
                    self.read_descent();
                }
                let descent = self.remembered.descent.as_ref();
                descent.and_then(|descent| descent.by_pid.get(&pid).copied())
            }
        };
        let (Some(descent), Some(parent)) = (&self.remembered.descent, parent) else {
            return false;
        };
        let whose = self.whose(descent, parent);
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
        let Some(descent) = &self.remembered.descent else {
            return;
        };
        if ANCESTRY != Ancestry::OfOurChildren || spares {
            return;
        }
        let left: IdSet<u64> = descent.by_pid.values().copied().collect();
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
            incarnation: None,
            born_of: None,
        }
    }

    fn read(all: &[Offspring]) -> Descent {
        let mut descent = Descent::default();
        descent.renew(all, 100, true);
        descent
    }

    /// 1000 to 1003 are parent and child in a row; what has forked 1005 is gone.
    fn family() -> Descent {
        read(&[born(1, 1000), born(2, 1001), born(3, 1002), born(5, 1004)])
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
        let itself = read(&[Offspring {
            id: 7,
            ..born(7, 7)
        }]);
        assert_eq!(itself.nearest(7, |_| None::<char>), None);
        assert_eq!(itself.nearest(7, Some), Some(7));
    }

    /// A comet: each has forked the next, left it and is gone before the next list.
    #[test]
    fn a_chain_of_which_each_was_met_once_leads_to_the_first() {
        let mut descent = read(&[born(1, 1000)]);
        for pid in 2..50 {
            assert_eq!(
                descent.learn(born(pid, u64::from(pid) + 999)),
                u64::from(pid) + 999
            );
        }
        descent.renew(&[born(50, 1049)], 200, true);
        let first = |id| (id == 1000).then_some('a');
        assert_eq!(descent.nearest(descent.by_pid[&50], first), Some('a'));
        // Nobody of them has the number that it had then.
        assert!(!descent.by_pid.contains_key(&7));
        // One that nobody has met breaks it.
        let parent = descent.learn(born(52, 1051));
        assert_eq!(descent.nearest(parent, first), None);
    }

    /// As by an exec of an orphan, in newer kernels of macOS: what it tells then is launchd.
    #[test]
    fn whom_one_comes_from_is_what_it_told_first() {
        let mut descent = family();
        assert_eq!(descent.learn(born(3, 1)), 1002);
        descent.renew(&[born(3, 1), born(4, 1)], 200, true);
        assert_eq!(descent.by_pid[&3], 1002);
        assert_eq!(descent.by_pid[&4], 1);
    }

    /// Orphaned, it has executed another program before anybody looked; whoever has forked it is there, if only as a zombie.
    #[test]
    fn an_orphan_that_names_launchd_is_the_child_of_whoever_has_forked_it() {
        let orphan = Offspring {
            incarnation: Some(31),
            born_of: Some(20),
            ..born(3, 1)
        };
        let forebear = Offspring {
            incarnation: Some(20),
            ..born(2, 1001)
        };
        assert_eq!(read(&[orphan]).by_pid[&3], 1);
        assert_eq!(read(&[orphan, forebear]).by_pid[&3], 1002);
        // It executes something itself, and is still who it was; and then it is gone.
        let mut descent = read(&[forebear]);
        let later = Offspring {
            incarnation: Some(40),
            ..forebear
        };
        descent.renew(&[later], 200, true);
        descent.renew(&[orphan], 300, true);
        assert_eq!(descent.by_pid[&3], 1002);
        // What was told before it was known who that was does not count.
        let mut descent = read(&[orphan]);
        descent.renew(&[forebear, orphan], 200, true);
        assert_eq!(descent.by_pid[&3], 1002);
    }

    #[test]
    fn names_that_return_are_forgotten_with_their_list() {
        let mut descent = Descent::default();
        let of = |of| Offspring {
            id: 9,
            ..born(9, of)
        };
        descent.renew(&[of(7)], 100, false);
        descent.renew(&[of(8)], 200, false);
        assert_eq!(descent.by_pid[&9], 8);
        descent.renew(&[], 300, false);
        assert!(descent.by_pid.is_empty() && descent.by_id.is_empty());
    }

    /// Who is younger may have the number of one that the list is about.
    #[test]
    fn a_list_is_about_those_that_were_started_before_it() {
        let descent = family();
        assert!(descent.is_of(99));
        assert!(!descent.is_of(100) && !descent.is_of(101));
    }

    #[test]
    fn of_very_many_those_that_are_gone_are_forgotten() {
        let mut descent = family();
        for id in 0..=REMEMBERED as u64 {
            descent.by_id.insert(id + 10_000, 1);
        }
        descent.renew(&[born(3, 1)], 200, true);
        assert_eq!(descent.by_id, [(1003, 1002)].into_iter().collect());
    }
}

//! Orphans that have come to this process, and that nothing names.
//!
//! Where this process is a subreaper, the orphans of all its descendants become its children. Most carry a mark, or are in a
//! group that is known. One that does not can belong to any session: as long as there are others than those that are
//! ending it is left alone, and lowers what they can claim. It is ended with the last of them.

use super::Orphanage;
use super::round::{Hint, Round};
use crate::machine::{IdSet, Reach};
use crate::sys::Pin;

impl Round<'_> {
    /// Those of our children that nobody holds. Empty where orphans do not come to us.
    pub(super) fn strays(&self) -> IdSet<u32> {
        let Some(orphanage) = &self.scene.orphanage else {
            return IdSet::default();
        };
        let mut children = Vec::new();
        self.table.children(self.own, &mut children);
        let stray = |pid: &u32| !orphanage.held.contains(pid) && !self.is_known(*pid);
        children.into_iter().filter(stray).collect()
    }

    /// A child of ours that nobody holds, and that nothing names. Says whether somebody new was met.
    pub(super) fn meet_stray(&mut self, pid: u32) -> bool {
        if let Some(prey) = self.heir_of_strays() {
            return self.meet(pid, Hint { prey, ours: true });
        }
        let pin = Pin::open(pid, &self.shared.facilities);
        if pin.is_ok_and(|pin| !matches!(pin.is_dead(), Ok(false))) {
            return false;
        }
        for seen in self.passed.seen.values_mut() {
            seen.unattributed = true;
        }
        false
    }

    /// To whom an orphan belongs that nothing names: to nobody, as long as that is a question.
    pub(super) fn heir_of_strays(&self) -> Option<usize> {
        // A child that is being started by another thread has no mark for a moment.
        let quiet = self.is_free_of_births();
        let heir = |prey: &super::Prey| prey.hunt.alone && prey.hunt.reach >= Reach::Subreaper;
        self.scene.prey.iter().position(heir).filter(|_| quiet)
    }

    /// Whether nothing was started, or is being started, since it was told to this pass who is held. Only asked where orphans
    /// come to this process.
    pub(super) fn is_free_of_births(&self) -> bool {
        let Some(Orphanage { census, .. }) = &self.scene.orphanage else {
            return false;
        };
        census.is_some() && *census == self.shared.gate.census()
    }
}

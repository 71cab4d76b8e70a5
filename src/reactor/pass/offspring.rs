//! The children of members: who has neither mark nor group is one of the session as long as its parent lives.
//!
//! There are two ways to find them. Each parent can be asked for its children, which takes several files of `/proc`; or each
//! process for its parent, which takes one pidfd, and is the quicker way where there are many parents.

use std::sync::Arc;

use super::kin::is_alive;
use super::round::Round;
use crate::machine::IdMap;
use crate::reactor::shared::Core;
use crate::sys::Listed;

/// So many parents are asked for their children in any case.
const FEW: usize = 32;

/// What it costs to ask a parent for its children, in units of asking a process for its parent.
const COSTS: usize = 6;

/// Whose child somebody is.
#[derive(Debug, Default)]
pub(super) struct Offspring<'a> {
    /// Who was named as a child of a member that has outlived the answer.
    children: IdMap<u32, usize>,
    /// Members, dead ones among them, if each process is asked for its parent.
    parents: IdMap<u32, (usize, &'a Arc<Core>)>,
}

impl Round<'_> {
    /// Asks the parents, if they are few.
    pub(super) fn ask_parents(&mut self) {
        self.offspring = Offspring::default();
        if self.passed.seen.values().all(|seen| seen.inhabited == 0) {
            // The dead have no children.
            return;
        }
        let mut parents = self.all_parents();
        if parents.len() <= FEW || !self.shared.facilities.tells_parents() {
            parents.retain(|_, (_, parent)| is_alive(parent));
            self.ask(parents);
        } else {
            // Whether one lives is looked at when a child of it is met.
            self.offspring.parents = parents;
        }
    }

    /// Asks them as well if they are many, and few beside all others.
    pub(super) fn ask_many_parents(&mut self, listed: &[Listed]) {
        let parents = &self.offspring.parents;
        if parents.len() * COSTS < listed.len().saturating_sub(parents.len()) {
            let mut parents = std::mem::take(&mut self.offspring.parents);
            parents.retain(|_, (_, parent)| is_alive(parent));
            self.ask(parents);
        }
    }

    /// Whose child it is, if a member that lives has it for one.
    pub(super) fn child_of(&self, pid: u32) -> Option<usize> {
        let Offspring { children, parents } = &self.offspring;
        if parents.is_empty() {
            return children.get(&pid).copied();
        }
        let &(prey, parent) = parents.get(&self.table.parent(pid)?)?;
        // The answer was about this one if it lives on.
        is_alive(parent).then_some(prey)
    }
}

impl<'a> Round<'a> {
    fn all_parents(&self) -> IdMap<u32, (usize, &'a Arc<Core>)> {
        let mut all = IdMap::default();
        for (index, prey) in self.scene.prey.iter().enumerate() {
            for parent in &prey.parents {
                let one = (index, parent);
                let known = all.entry(parent.facts.pid).or_insert(one);
                // A number can have been that of one who is dead by now.
                if !Arc::ptr_eq(known.1, parent) && !is_alive(known.1) {
                    *known = one;
                }
            }
        }
        all
    }

    fn ask(&mut self, parents: IdMap<u32, (usize, &'a Arc<Core>)>) {
        let mut children = Vec::new();
        for (pid, (index, parent)) in parents {
            children.clear();
            self.table.children(pid, &mut children);
            // The answer was about this one if it lives on.
            if is_alive(parent) {
                let of_it = children.iter().map(|&child| (child, index));
                self.offspring.children.extend(of_it);
            }
        }
    }
}

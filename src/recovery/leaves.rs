//! The cgroups that an earlier run has left.
//!
//! One that has nobody in it but what is to be ended goes to the session in which that is ended: it is killed as a whole
//! there, and removed when it is empty. Of any other one the members are ended one by one.

use std::path::PathBuf;
use std::sync::Arc;

use super::owner::OwnerFate;
use super::scan::{Origin, Scan};
use crate::sys::{Leaf, LeafName, NamedLeaf};

impl Scan<'_> {
    /// Where somebody is.
    pub(super) fn note_housed(&mut self, pid: u32, leaves: &[NamedLeaf]) {
        if !leaves.is_empty() {
            self.housed.insert(pid);
        }
        let leaves = leaves.iter().cloned();
        self.leaves
            .extend(leaves.map(|NamedLeaf { name, path }| (path, name)));
    }

    /// Takes over those that nobody else is in.
    pub(super) fn claim_leaves(&mut self) {
        let mut claimed: Vec<PathBuf> = Vec::new();
        // One that is in another comes behind it, and is ended with it.
        for (path, name) in std::mem::take(&mut self.leaves) {
            let within = claimed.iter().any(|outer| path.starts_with(outer));
            let known = self.shared.leaves.heir_of(&name).is_some();
            if within || known || !self.is_left(&name) {
                continue;
            }
            let named = NamedLeaf { name, path };
            // EACCES, EMFILE: its members are ended all the same. ENOENT: it has gone.
            let Ok(leaf) = Leaf::reopen(&named) else {
                continue;
            };
            let members = leaf.members();
            if members.into_iter().any(|pid| self.is_out_of_place(pid)) {
                continue;
            }
            let found = (origin(&named.name), Arc::new(leaf));
            self.scanned.leaves.push(found);
            claimed.push(named.path);
        }
    }

    /// Those beside ours. In one there may be somebody who comes and goes, and is never met; into an empty one somebody may be
    /// on his way whose host died when it started him.
    pub(super) fn list_others(&mut self) {
        let others = match self.shared.plan.cgroups.get() {
            Ok(cgroups) => cgroups.others().unwrap_or_default(),
            Err(_why) => Vec::new(),
        };
        for (NamedLeaf { name, path }, lived_in) in others {
            let dead = self.owners.of_leaf(&name) == OwnerFate::Dead;
            if dead && self.is_our_leaf(&name) && !self.is_released(name.registry) {
                self.estate_of(origin(&name));
            }
            if lived_in {
                self.leaves.insert(path, name);
            }
        }
    }

    /// Whether it was left by an earlier run of ours.
    fn is_left(&mut self, name: &LeafName) -> bool {
        self.scanned.estates.contains_key(&name.registry)
            && self.owners.of_leaf(name) == OwnerFate::Dead
    }

    /// Whether somebody is in a cgroup who is not to be ended. Who has not been met was forked since.
    fn is_out_of_place(&mut self, pid: u32) -> bool {
        let met =
            self.is_ours(pid) || self.housed.contains(&pid) || self.held.detached.contains(&pid);
        met && self.of_pid(pid).is_none()
    }
}

fn origin(name: &LeafName) -> Origin {
    Origin {
        since: name.start_ticks,
        registry: name.registry,
        life: name.life,
        session: name.session,
    }
}

//! The processes that the reactor holds.

use std::sync::Arc;

use super::pass::{Orphanage, Prey, Scene};
use super::shared::{Core, Shared};
use crate::event::Origin;
use crate::leaves::Leaves;
use crate::machine::{Hunt, IdMap, IdSet};
use crate::session::ProcessId;
use crate::sys::Pin;

/// The cores by their ids, from birth until the machine lets go of them.
#[derive(Debug, Default)]
pub(crate) struct Watchlist {
    cores: IdMap<ProcessId, Arc<Core>>,
    /// Those that were not started here: they may carry the mark of a session that they are not in.
    taken_in: IdSet<ProcessId>,
    /// Those that were given up. They are held until they are seen to be dead.
    detached: Vec<Arc<Pin>>,
    /// With so many it is looked for the dead among them.
    many_detached: usize,
}

/// Of those that were given up so many may be dead without anybody looking.
const FEW: usize = 8;

impl Watchlist {
    pub(super) fn insert(&mut self, core: Arc<Core>) {
        if matches!(core.facts.origin, Origin::Attached | Origin::Adopted) {
            self.taken_in.insert(core.process);
        }
        core.shared.index.insert(&core);
        core.shared.forebears.insert(&core);
        self.cores.insert(core.process, core);
    }

    pub(crate) fn get(&self, process: ProcessId) -> Option<&Arc<Core>> {
        self.cores.get(&process)
    }

    /// Lets go of it: its pin is closed, and nobody hears more about it.
    pub(super) fn remove(&mut self, process: ProcessId) -> Option<Arc<Core>> {
        let core = self.cores.remove(&process)?;
        self.taken_in.remove(&process);
        core.shared.index.remove(&core);
        core.shared.forebears.leave(&core);
        core.unpin();
        core.close();
        Some(core)
    }

    /// The pids of all that are held.
    pub(crate) fn pids(&self) -> IdSet<u32> {
        self.cores.values().map(|core| core.facts.pid).collect()
    }

    /// What a pass has to have in hand.
    fn prey(&self, hunt: Hunt, leaves: &Leaves) -> Prey {
        let cores = |list: &[ProcessId]| {
            let held = list.iter().filter_map(|process| self.get(*process));
            held.cloned().collect()
        };
        Prey {
            leaders: cores(&hunt.leaders),
            parents: cores(&hunt.parents),
            members: cores(&hunt.members),
            leaves: hunt
                .marks
                .iter()
                .flat_map(|&life| leaves.of(life))
                .collect(),
            hunt,
        }
    }

    /// These were given up.
    pub(super) fn leave_alone(&mut self, pins: impl IntoIterator<Item = Arc<Pin>>) {
        for pin in pins {
            // Where there are no passes nobody else lets go of the dead: there are never more of them than of the living,
            // and a few.
            if self.detached.len() >= self.many_detached {
                self.forget_detached();
                self.many_detached = (2 * self.detached.len()).max(FEW);
            }
            let known = |held: &Arc<Pin>| held.identity() == pin.identity();
            if !self.detached.iter().any(known) {
                self.detached.push(pin);
            }
        }
    }

    /// The pids of those that were given up. As of now: one that is dead is nobody's any more.
    pub(crate) fn detached(&self) -> IdSet<u32> {
        let alive = |pin: &&Arc<Pin>| matches!(pin.is_dead(), Ok(false));
        let alive = self.detached.iter().filter(alive);
        alive.map(|pin| pin.pid()).collect()
    }

    /// Lets go of those that are dead.
    pub(super) fn forget_detached(&mut self) {
        self.detached
            .retain(|pin| !matches!(pin.is_dead(), Ok(true)));
    }

    /// The pids of those that were not started here.
    fn taken_in(&self) -> IdSet<u32> {
        let held = self
            .taken_in
            .iter()
            .filter_map(|process| self.get(*process));
        held.map(|core| core.facts.pid).collect()
    }

    /// What a pass is about.
    pub(crate) fn scene(&self, hunts: Vec<Hunt>, shared: &Shared) -> Scene {
        let prey = hunts
            .into_iter()
            .map(|hunt| self.prey(hunt, &shared.leaves));
        Scene {
            prey: prey.collect(),
            taken_in: self.taken_in(),
            detached: self.detached(),
            orphanage: shared.plan.subreaper.is_ok().then(|| Orphanage {
                held: self.pids(),
                census: shared.gate.census(),
            }),
        }
    }

    /// The process that has this pid, if it is held.
    pub(super) fn by_pid(&self, pid: u32) -> Option<&Arc<Core>> {
        self.cores.values().find(|core| core.facts.pid == pid)
    }

    /// Takes all of them out as they are.
    pub(super) fn take(&mut self) -> Vec<Arc<Core>> {
        std::mem::take(&mut self.cores).into_values().collect()
    }
}

//! The cgroups of those that are hunted for.

use rustix::io::Errno;

use super::Prey;
use super::round::Round;
use crate::exit::SessionUsage;
use crate::machine::{Enclosure, IdSet, Passed, Seen};
use crate::sys::{Leaf, Pin};

/// Kills what is in the cgroups of a life, or lets it go on so that it can hear the signals before that.
pub(in crate::reactor) fn strike(prey: &Prey) {
    for leaf in prey.leaves.iter().filter(|leaf| !leaf.is_removed()) {
        let done = if prey.hunt.kill.is_some() {
            leaf.kill()
        } else if prey.hunt.ending {
            leaf.thaw()
        } else {
            Ok(())
        };
        // ENODEV: it is gone. Whatever else it is, the cgroup stays populated, and its processes are signalled one by one.
        drop(done);
    }
}

/// Sees whether the cgroups of a life are empty, and removes those that are if the life is at its end.
pub(super) fn settle(prey: &Prey, seen: &mut Seen) {
    if !prey.hunt.scope.enclosed || prey.leaves.is_empty() {
        return;
    }
    let mut worst = Enclosure::Removed;
    for leaf in &prey.leaves {
        let state = settle_one(leaf, prey.hunt.ending, &mut seen.usage);
        worst = match (worst, state) {
            (Enclosure::Populated, _) | (_, Enclosure::Populated) => Enclosure::Populated,
            (Enclosure::Empty, _) | (_, Enclosure::Empty) => Enclosure::Empty,
            (Enclosure::Removed, Enclosure::Removed) => Enclosure::Removed,
        };
    }
    seen.living |= worst == Enclosure::Populated;
    seen.enclosure = Some(worst);
}

fn settle_one(leaf: &Leaf, ending: bool, usage: &mut Option<SessionUsage>) -> Enclosure {
    if leaf.is_removed() {
        return Enclosure::Removed;
    }
    match leaf.is_populated() {
        Ok(false) => {}
        // It was removed by another program that recovers the same dead, and so it was empty.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => {}
        // What cannot be read is not called empty.
        Ok(true) | Err(_) => return Enclosure::Populated,
    }
    if !ending {
        return Enclosure::Empty;
    }
    let used = leaf.usage();
    match leaf.remove() {
        Ok(()) => {}
        // Somebody has entered it since, which can only have been from outside.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            return Enclosure::Populated;
        }
        Err(_) => return Enclosure::Empty,
    }
    let before = usage.unwrap_or_default();
    *usage = Some(SessionUsage {
        cpu: before.cpu.saturating_add(used.cpu),
        peak_memory_bytes: before.peak_memory_bytes.max(used.peak_memory_bytes),
        oom_kills: match (before.oom_kills, used.oom_kills) {
            (Some(before), Some(used)) => Some(before + used),
            (before, used) => before.or(used),
        },
        complete: false,
    });
    Enclosure::Removed
}

impl Round<'_> {
    /// Takes in those who live in the cgroups and are not known yet.
    pub(super) fn enclosed(&mut self) -> Passed {
        self.begin();
        for index in 0..self.scene.prey.len() {
            let prey = &self.scene.prey[index];
            for leaf in prey.leaves.iter().filter(|leaf| !leaf.is_removed()) {
                self.look_into(leaf, index);
            }
        }
        self.finish()
    }

    fn look_into(&mut self, leaf: &Leaf, prey: usize) {
        let mut held: Vec<Pin> = Vec::new();
        for pid in leaf.members() {
            if self.is_known(pid) {
                continue;
            }
            // EMFILE: it is killed with the cgroup, and not named.
            held.extend(Pin::open(pid, &self.shared.facilities).ok());
        }
        if held.is_empty() {
            return;
        }
        // Once more, now that pins hold them: who is in this list as well was in it as the one that is held.
        let still: IdSet<u32> = leaf.members().into_iter().collect();
        for pin in held.into_iter().filter(|pin| still.contains(&pin.pid())) {
            self.meet_inside(pin, leaf, prey);
        }
    }

    fn meet_inside(&mut self, pin: Pin, leaf: &Leaf, prey: usize) {
        let pid = pin.pid();
        let group = self.table.group(pid).unwrap_or(0);
        if !matches!(pin.is_dead(), Ok(false)) || self.is_known(pid) {
            return;
        }
        if self.is_spared(pid, &pin) {
            // Out of reach of what kills the cgroup. If that is refused it is ended with the rest.
            if leaf.release(pid).is_ok() {
                self.claim(&pin, prey);
                return;
            }
        }
        let in_group = self.is_in_members_group(group, prey);
        self.take_in(pin, prey, group, in_group);
    }
}

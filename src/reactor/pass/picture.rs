//! What a round has seen, for as long as it stays true.
//!
//! A round during which nobody was born is a picture of one moment: whoever lived then was listed, and was looked at. Until
//! the next birth, anywhere on the machine, whoever lives is in it. So there is nothing to be looked for once those of it
//! who are of the session have died: whoever else is there was judged, and nobody gets a mark later. While those die who were
//! killed there is nothing new to be seen either.

use std::time::{Duration, Instant};

use super::kin::is_alive;
use super::round::Round;
use super::{Prey, Sought, nobody};
use crate::machine::{AT_ONE_MOMENT, Fate, IdMap, IdSet, Passed};
use crate::reactor::clock;
use crate::reactor::forebears::Descends;
use crate::session::{Life, ProcessId};

/// How long whom a round has killed may take to die before the others are looked at again: who lives on, and may not be killed
/// by us, may be somebody's parent, and was not known as that before.
const TO_DIE: Duration = Duration::from_millis(20);

/// A round that left no question open.
#[derive(Debug)]
pub(super) struct Picture {
    /// How many were ever born, before it and after it.
    births: u64,
    /// For whom it was made, and by what they were recognised.
    sought: IdMap<Life, Sought>,
    /// Whom they had, those included whom it has found.
    members: IdSet<ProcessId>,
    /// When all of them had been killed, for all that is known.
    killed_at: Option<Instant>,
}

impl Picture {
    pub(super) fn is_of(&self, life: Life) -> bool {
        self.sought.contains_key(&life)
    }

    /// Whether all that is known of this life by now was known then.
    fn shows(&self, prey: &Prey) -> bool {
        let known = prey.leaders.iter().chain(&prey.members);
        self.sought.get(&prey.hunt.life) == Some(&Sought::of(prey))
            && known
                .chain(&prey.parents)
                .all(|core| self.members.contains(&core.process))
    }
}

impl Round<'_> {
    /// What this round would come to if nobody was born since an earlier one, and all whom that has shown are dead or dying.
    pub(super) fn as_pictured(&mut self, births: Option<u64>) -> Option<Passed> {
        let mut picture = self.remembered.picture.take()?;
        if births != Some(picture.births) {
            return None;
        }
        let passed = self.compare(&mut picture)?;
        self.remembered.picture = Some(picture);
        Some(passed)
    }

    fn compare(&self, picture: &mut Picture) -> Option<Passed> {
        let prey = &self.scene.prey;
        if !self.is_plain() || !prey.iter().all(|prey| picture.shows(prey)) {
            return None;
        }
        let may_be_dying = prey.iter().all(|prey| prey.hunt.kill.is_some()) && {
            let now = clock::now();
            let killed_at = *picture.killed_at.get_or_insert(now);
            now.saturating_duration_since(killed_at) < TO_DIE
        };
        let mut passed = nobody(self.scene);
        passed.rounds = AT_ONE_MOMENT;
        for core in self.known.values() {
            // Somebody may have been met in a cgroup since.
            let is_shown = picture.members.contains(&core.process);
            let lives = is_alive(core);
            if !is_shown || (lives && !may_be_dying) {
                return None;
            }
            if lives {
                let whose = self.prey_of(Descends::From(core.life))?;
                let life = prey[whose].hunt.life;
                passed.seen.entry(life).or_default().living = true;
            }
        }
        Some(passed)
    }

    /// Keeps what this round has seen, during which nobody was born, if it may say something of later ones.
    pub(super) fn keep_picture(&mut self, births: Option<u64>) {
        let is_whole = self.passed.calm && self.passed.fate == Fate::Complete;
        let says_all = is_whole && !self.leaves_questions && self.is_plain();
        self.remembered.picture = births.filter(|_| says_all).map(|births| {
            let prey = self.scene.prey.iter();
            let held = prey.flat_map(|prey| prey.leaders.iter().chain(&prey.members));
            let all = held.chain(self.known.values());
            Picture {
                births,
                members: all.map(|core| core.process).collect(),
                sought: self.scene.prey.iter().map(sought).collect(),
                killed_at: None,
            }
        });
    }

    /// Whether what makes somebody a member is read of that one alone, and stays as it is. It does not where orphans come to
    /// this process, or what an earlier run has left is looked for.
    fn is_plain(&self) -> bool {
        self.scene.orphanage.is_none() && self.testimony.is_none()
    }
}

fn sought(prey: &Prey) -> (Life, Sought) {
    (prey.hunt.life, Sought::of(prey))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;

    use super::super::{Memory, Scene, lock, look_for};
    use super::*;
    use crate::reactor::mailbox::Message;
    use crate::sys::ProcessTable;
    use crate::{Process, Registry};

    /// So often somebody else on the machine may fork at the wrong moment.
    const TRIES: usize = 10_000;

    fn sleeper(registry: &Registry) -> Process {
        let mut command = Command::new("sleep");
        let process = registry.spawn(1, command.arg("1000"));
        process.expect("a process")
    }

    /// What a pass for the session of this process is about.
    fn scene(registry: &Registry, process: &Process) -> Scene {
        let shared = &registry.0.shared;
        let id = process.id();
        let (reply, answer) = crossbeam_channel::bounded(1);
        let asked = Arc::clone(shared);
        let question = Box::new(
            move |machine: &crate::machine::Machine, watchlist: &crate::reactor::Watchlist, _| {
                let life = watchlist.get(id).expect("it is held").life;
                let hunt = machine.look_around(life).expect("it lives");
                drop(reply.send(watchlist.scene(vec![hunt], &asked)));
            },
        );
        shared.mail.send(Message::Ask(question)).expect("it runs");
        answer.recv().expect("it answers")
    }

    /// Looks until nobody was born meanwhile. `None`: births are not counted here.
    fn take(registry: &Registry, scene: &Scene, memory: &Memory) -> Option<u64> {
        ProcessTable::open().ok()?.births()?;
        for _ in 0..TRIES {
            look_for(&registry.0.shared, scene, memory, None);
            if let Some(picture) = &lock(&memory.seen).picture {
                return Some(picture.births);
            }
        }
        panic!("somebody was born during each of {TRIES} rounds");
    }

    /// What a round that follows comes to without looking at anybody else, if so many have been born until then.
    fn compared(
        registry: &Registry,
        scene: &Scene,
        memory: &Memory,
        births: u64,
    ) -> Option<Passed> {
        let table = ProcessTable::open().expect("it was opened before");
        let mut seen = lock(&memory.seen);
        let mut round = Round::new(
            (&registry.0.shared, scene),
            (memory, &mut seen),
            &table,
            None,
        );
        round.as_pictured(Some(births))
    }

    #[test]
    fn until_the_next_birth_there_is_nothing_new_once_the_members_are_dead() {
        let registry = Registry::new().expect("a registry");
        let process = sleeper(&registry);
        let before = scene(&registry, &process);
        let memory = Memory::default();
        let Some(births) = take(&registry, &before, &memory) else {
            return;
        };
        assert!(
            compared(&registry, &before, &memory, births).is_none(),
            "it lives"
        );
        take(&registry, &before, &memory);
        process.kill().expect("it is ours");
        process.wait().expect("it is killed");
        let births = lock(&memory.seen)
            .picture
            .as_ref()
            .expect("just taken")
            .births;
        let passed = compared(&registry, &before, &memory, births).expect("all are dead");
        assert!(passed.calm && passed.rounds == AT_ONE_MOMENT);
        assert!(passed.seen.values().all(|seen| !seen.living));
        assert!(
            compared(&registry, &before, &memory, births + 1).is_none(),
            "a birth"
        );
    }

    #[test]
    fn a_picture_says_nothing_about_who_came_later() {
        let registry = Registry::new().expect("a registry");
        let first = sleeper(&registry);
        let before = scene(&registry, &first);
        let memory = Memory::default();
        let Some(births) = take(&registry, &before, &memory) else {
            return;
        };
        let second = sleeper(&registry);
        let after = scene(&registry, &second);
        for process in [first, second] {
            process.kill().expect("it is ours");
            process.wait().expect("it is killed");
        }
        assert!(compared(&registry, &after, &memory, births).is_none());
    }

    #[test]
    fn who_is_being_killed_is_given_a_moment() {
        let registry = Registry::new().expect("a registry");
        let process = sleeper(&registry);
        let mut killed = scene(&registry, &process);
        for prey in &mut killed.prey {
            prey.hunt.kill = Some(crate::Reason::Host);
        }
        let memory = Memory::default();
        // Nobody is killed by looking at whom the reactor holds.
        let Some(births) = take(&registry, &killed, &memory) else {
            return;
        };
        let passed = compared(&registry, &killed, &memory, births).expect("a moment");
        assert!(passed.seen.values().all(|seen| seen.living));
        let began = clock::now();
        while compared(&registry, &killed, &memory, births).is_some() {
            assert!(clock::now() - began < 100 * TO_DIE, "for ever");
        }
        assert!(clock::now() - began >= TO_DIE / 2);
    }
}

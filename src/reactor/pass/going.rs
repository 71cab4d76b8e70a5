//! How a round goes, and what may be concluded from it.
//!
//! A list is not a picture of one moment: what forks and exits all the time can be behind it or ahead of it at every step.
//! It is one if nobody was born from its beginning to its end, anywhere on the machine: whoever lives at the end was there
//! all the time, was listed, and was looked at. Then it does not matter who died meanwhile, known or not. And it remains one
//! until somebody is born.

use std::sync::Arc;

use super::kin::is_alive;
use super::refused;
use super::round::{Hint, Round, is_chased};
use crate::machine::{AT_ONE_MOMENT, Passed};
use crate::reactor::forebears::Descends;
use crate::sys::Listed;

impl Round<'_> {
    pub(super) fn go(&mut self) -> Passed {
        self.begin();
        let mut births = self.table.births();
        if let Some(passed) = self.as_pictured(births) {
            return passed;
        }
        let killing = self.scene.prey.iter().any(|prey| prey.hunt.kill.is_some());
        let newest = self.table.newest();
        let mut met = false;
        let chases = self.scene.prey.iter().any(is_chased);
        if let (true, true, Some(newest)) = (self.remembered.restless, chases, newest) {
            // Before the list, which is long where something has left thousands of zombies.
            met |= self.chase(newest);
            births = self.table.births();
        }
        self.note_inhabited();
        self.ask_parents();
        self.strays = self.strays();
        self.read_descent();
        if killing {
            self.fell();
        }
        let newest = self.table.newest();
        let mut listed = std::mem::take(&mut self.listed);
        if self.table.list(&mut listed).is_err() {
            return refused();
        }
        self.ask_many_parents(&listed);
        self.lasting = self.shared.lasting();
        self.lasting.retain(&listed);
        self.remembered.make_room(listed.len());
        let mut acquainted = Vec::new();
        for &entry in &listed {
            // On a busy machine there would be more and more of them, each in the way of all others.
            if self.memory.is_abandoned() {
                break;
            }
            self.step();
            if self.known.contains_key(&entry.pid) {
                acquainted.push(entry);
            } else {
                met |= self.visit(entry);
            }
        }
        met |= self.visit_new_groups(&listed);
        // Last of all: by now they may have died.
        met |= self.visit_acquainted(&acquainted);
        self.shared.keep_lasting(std::mem::take(&mut self.lasting));
        self.listed = listed;
        // What forks all the time has taken numbers meanwhile.
        let restless = (met || self.is_stirred()) && self.table.newest() != newest;
        self.remembered.picture = None;
        if self.was_nobody_born_since(births) {
            self.conclude_from_one_moment();
            self.keep_picture(births);
        } else if let (true, true, Some(newest)) = (restless, chases, newest) {
            self.chase(newest);
        }
        self.remembered.restless = restless;
        self.finish()
    }

    /// Whoever lives now can start another one behind this round's back.
    fn note_inhabited(&mut self) {
        for index in 0..self.scene.prey.len() {
            let members = &self.scene.prey[index].members;
            let inhabited = members.iter().any(|member| is_alive(member));
            self.seen(index).inhabited = u8::from(inhabited);
        }
    }

    /// Whether somebody has forked a moment ago, as far as can be told: what does it all the time leaves its dead, and is
    /// hardly ever met alive by going through a list.
    fn is_stirred(&self) -> bool {
        !self.passed.calm || self.passed.seen.values().any(|seen| seen.freshly_dead)
    }

    /// Looks for those who are named by nothing but the group of somebody who was met after them. Says whether there are any.
    fn visit_new_groups(&mut self, listed: &[Listed]) -> bool {
        /// Who is in a group leads none; only with its parent one may be met that does.
        const MOST: usize = 8;
        let mut met = false;
        for _ in 0..MOST {
            if !std::mem::take(&mut self.has_new_groups) {
                return met;
            }
            for &Listed { pid, .. } in listed {
                self.step();
                if pid == self.own || pid == 1 || self.known.contains_key(&pid) {
                    continue;
                }
                if let Some(prey) = self.grouped(pid) {
                    met |= self.meet(pid, Hint { prey, ours: false });
                }
            }
        }
        self.leaves_questions |= self.has_new_groups;
        met
    }

    /// Looks at those whose numbers are those of somebody who is held. Says whether somebody new was met.
    fn visit_acquainted(&mut self, listed: &[Listed]) -> bool {
        let mut met = false;
        for &entry in listed {
            self.step();
            let Some(core) = self.known.get(&entry.pid).map(Arc::clone) else {
                continue;
            };
            let prey = self.prey_of(Descends::From(core.life));
            if !prey.is_some_and(|prey| self.greet(&core, prey)) {
                // It was reaped: the number may be another's.
                met |= self.visit(entry);
            }
        }
        met
    }

    /// Whether nobody was started, in this process's pid namespace or any other, since this number was read.
    fn was_nobody_born_since(&self, births: Option<u64>) -> bool {
        births.is_some() && births == self.table.births()
    }

    /// Nobody was born during this round. Of an earlier run somebody may still be on the way to the exec that gives it its
    /// variable, which takes its time and not a birth.
    fn conclude_from_one_moment(&mut self) {
        if self.testimony.is_some() {
            return;
        }
        self.passed.calm = !self.undecided;
        self.passed.rounds = AT_ONE_MOMENT;
        for seen in self.passed.seen.values_mut() {
            seen.freshly_dead = false;
            seen.inhabited = 0;
        }
    }
}

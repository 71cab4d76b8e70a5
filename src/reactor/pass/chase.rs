//! What forks faster than it can be listed.

use std::ffi::OsString;
use std::time::Duration;

use super::round::{Hint, Round};
use crate::machine::{Sighting, Verdict};
use crate::reactor::clock;
use crate::sys::{self, Described, Limits, Listed, Newest, Parentage, Pin};

/// How long what forks and exits all the time is chased through the newest numbers, ...
const CHASE: Duration = Duration::from_millis(20);
/// ... and how long after it was met last.
const LOST_TRACK: Duration = Duration::from_millis(2);
/// More new numbers than this at once are left to the next pass.
const NEW_NUMBERS: u32 = 4096;

/// Those that are new since the last look, the newest first: the others have most likely gone on.
fn fresh(last: Newest, now: Newest) -> Vec<u32> {
    match (last, now) {
        (Newest::Given(last), Newest::Given(now)) => {
            let follows = now > last && now - last < NEW_NUMBERS;
            let from = if follows { last + 1 } else { now };
            (from..=now).rev().collect()
        }
        (Newest::Youngest(last), Newest::Youngest(now)) => {
            let is_new = |pid: &u32| *pid > 0 && !last.contains(pid);
            now.into_iter().filter(is_new).collect()
        }
        (Newest::Given(_), Newest::Youngest(now)) => now.into_iter().collect(),
        (Newest::Youngest(_), Newest::Given(now)) => vec![now],
    }
}

/// Numbers that were given since the last look, to some who may be dead: whom these come from is told as long as nobody has
/// taken them away, and links those who come after them to those before.
fn given_since(last: Newest, now: Newest) -> std::ops::Range<u32> {
    let highest = |newest| match newest {
        Newest::Given(pid) => pid,
        Newest::Youngest(pids) => pids.into_iter().max().unwrap_or(0),
    };
    let (last, now) = (highest(last), highest(now));
    if now > last && now - last < NEW_NUMBERS {
        last + 1..now + 1
    } else {
        now..now
    }
}

impl Round<'_> {
    /// What forks, lets its child leave and exits, for ever, is a step ahead of every list. Its next number is one of
    /// the newest. Says whether anybody was met.
    pub(super) fn chase(&mut self, since: Newest) -> bool {
        let mut last = since;
        let mut met = false;
        let began = clock::now();
        let mut met_at = began;
        loop {
            let now = clock::now();
            let over = now.saturating_duration_since(began) > CHASE
                || now.saturating_duration_since(met_at) > LOST_TRACK;
            let Some(newest) = self.table.newest().filter(|_| !over) else {
                return met;
            };
            if newest == last {
                // Without giving up the processor, which on a busy machine is to come back too late. It is not for long.
                std::hint::spin_loop();
                continue;
            }
            for pid in given_since(last, newest) {
                self.learn_origin(pid);
            }
            for pid in fresh(last, newest) {
                let new = Listed {
                    pid,
                    instance: None,
                };
                if self.seize(pid).unwrap_or_else(|| self.visit(new)) {
                    met_at = clock::now();
                    met = true;
                }
            }
            last = newest;
        }
    }

    /// The same as a visit for a number that is new since a moment, with as little reading as can be: it may live for some
    /// microseconds. `None`: it takes a closer look.
    pub(super) fn seize(&mut self, pid: u32) -> Option<bool> {
        let asks = self.shared.plan.spare.is_some() || !self.scene.detached.is_empty();
        if asks || self.known.contains_key(&pid) || self.scene.taken_in.contains(&pid) {
            return None;
        }
        let Limits::Read(limits) = self.table.limits(pid) else {
            return None;
        };
        let named = self.marked(Some(limits));
        if named.is_none() && self.scene.orphanage.is_none() {
            return None;
        }
        // What is of an earlier run is not ended before its environment was read.
        if named.is_some_and(|prey| !self.scene.prey[prey].hunt.earlier.is_empty()) {
            return None;
        }
        let pin = Pin::open(pid, &self.shared.facilities).ok()?;
        let (parent, user) = pin.parent_and_user()?;
        let ours = named.is_none() && parent == self.own;
        let prey = match named {
            Some(prey) => prey,
            None if ours => self.heir_of_strays()?,
            None => return None,
        };
        let described = Described {
            parent,
            group: self.table.group(pid)?,
            session: 0,
            parentage: Parentage::Untold,
            is_kernel_thread: false,
            is_exiting: false,
            start_ticks: sys::ticks_since_boot(),
            is_zombie: false,
            user,
            name: OsString::new(),
        };
        let hint = Hint { prey, ours };
        let sighting = Sighting {
            variable: self.names(pid, prey),
            ..self.sighting(pid, &described, hint)
        };
        if sighting.judge() != Verdict::Member || !matches!(pin.is_dead(), Ok(false)) {
            return None;
        }
        self.take_in(pin, prey, described.group, sighting.in_group);
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::YOUNGEST;

    fn youngest(pids: &[u32]) -> Newest {
        let mut all = [0; YOUNGEST];
        all[..pids.len()].copy_from_slice(pids);
        Newest::Youngest(all)
    }

    #[test]
    fn all_numbers_since_the_last_look_are_looked_at_the_newest_first() {
        assert_eq!(fresh(Newest::Given(7), Newest::Given(10)), [10, 9, 8]);
        // They began anew, or there are too many of them.
        assert_eq!(fresh(Newest::Given(32_000), Newest::Given(300)), [300]);
        assert_eq!(
            fresh(Newest::Given(7), Newest::Given(7 + NEW_NUMBERS)),
            [7 + NEW_NUMBERS]
        );
    }

    #[test]
    fn who_was_not_among_the_youngest_is_looked_at_whatever_its_number() {
        let last = youngest(&[12, 11, 10]);
        assert_eq!(fresh(last, youngest(&[14, 13, 12, 11])), [14, 13]);
        // Numbers begin anew; an old one executes another program.
        assert_eq!(fresh(last, youngest(&[100, 12, 11, 10])), [100]);
        assert_eq!(fresh(last, youngest(&[5, 12, 11, 10])), [5]);
        // Some have died.
        assert_eq!(fresh(last, youngest(&[10])), []);
    }

    #[test]
    fn whom_the_dead_between_came_from_is_asked_as_well() {
        let last = youngest(&[12, 11, 10]);
        assert_eq!(given_since(last, youngest(&[15, 10])), 13..16);
        assert!(given_since(last, youngest(&[100, 12])).len() < NEW_NUMBERS as usize);
        assert!(given_since(last, youngest(&[10])).is_empty());
        assert!(given_since(youngest(&[90_000]), youngest(&[100])).is_empty());
        assert_eq!(given_since(Newest::Given(7), Newest::Given(9)), 8..10);
    }
}

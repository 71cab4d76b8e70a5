//! What forks faster than it can be listed.

use std::ffi::OsString;
use std::time::Duration;

use super::round::{Hint, Round};
use crate::machine::{Sighting, Verdict};
use crate::reactor::clock;
use crate::sys::{self, Described, Limits, Listed, Parentage, Pin};

/// How long what forks and exits all the time is chased through the newest numbers, ...
const CHASE: Duration = Duration::from_millis(20);
/// ... and how long after it was met last.
const LOST_TRACK: Duration = Duration::from_millis(2);
/// More new numbers than this at once are left to the next pass.
const NEW_NUMBERS: u32 = 4096;

impl Round<'_> {
    /// What forks, lets its child leave and exits, for ever, is a step ahead of every list. Its next number is one of
    /// the newest. Says whether anybody was met.
    pub(super) fn chase(&mut self, since: u32) -> bool {
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
            let from = if newest > last && newest - last < NEW_NUMBERS {
                last + 1
            } else {
                newest
            };
            // The newest first: the others have most likely gone on.
            for pid in (from..=newest).rev() {
                let new = Listed {
                    pid,
                    instance: None,
                };
                if self.seize(pid).unwrap_or_else(|| self.visit(new, None)) {
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

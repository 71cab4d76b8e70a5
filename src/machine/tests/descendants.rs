//! What processes start without telling anybody, and the passes that look for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::{
    Born, Enclosure, Facts, Fate, Hunt, Input, OpId, Outcome, Passed, Reach, Relation, Seen,
};
use super::world::{Body, Proc, Temper, Tier, World};

use crate::containment::Containment;
use crate::event::Origin;
use crate::session::{Life, ProcessId};

/// How a pass ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sees {
    /// Everybody is held who was there when it began and still is.
    All,
    /// Whoever is there vanishes under its eyes.
    Glimpses,
    /// It could not be made.
    Nothing,
}

/// A pass under way.
#[derive(Clone, Debug)]
pub(super) struct FlightSim {
    op: OpId,
    hunts: Vec<Hunt>,
    /// The hidden processes that lived when it began.
    there: BTreeSet<ProcessId>,
    /// The lives of which somebody known lived then.
    inhabited: BTreeSet<Life>,
}

impl World {
    /// The n-th living process starts another one, which leaves its group.
    pub(super) fn fork(&mut self, n: usize) -> bool {
        let Some(parent) = self.nth_alive(n) else {
            return false;
        };
        let parent = self.procs[&parent].clone();
        if parent.detached || (!parent.leads_group && !parent.found && !parent.hidden) {
            return false;
        }
        if parent.inside && self.removed.contains(&parent.life) {
            panic!("{:?} lives in a cgroup that is gone", parent);
        }
        let process = self.gate.name_found();
        self.procs.insert(
            process,
            Proc {
                body: Body::Alive,
                relation: Relation::Stranger,
                traced: false,
                unseen: false,
                leads_group: false,
                company: false,
                pinned: false,
                hidden: true,
                found: false,
                started: 0,
                exited: 0,
                kills: 0,
                stops: 0,
                // What a survivor of an end starts may be killed with it at any time.
                killable: parent.killable,
                ..parent
            },
        );
        true
    }

    /// The n-th living process moves itself out of its cgroup, where it can.
    pub(super) fn leave(&mut self, n: usize) -> bool {
        let Some(process) = self.nth_alive(n).filter(|_| self.tier == Tier::Cgroup) else {
            return false;
        };
        std::mem::take(&mut self.proc(process).inside)
    }

    /// Sends SIGKILL to all in the cgroups of a life. Whose processes they are is not asked.
    fn kill_inside(&mut self, hunt: &Hunt) {
        for process in self.insiders(hunt) {
            assert!(
                self.kill_is_allowed(process),
                "{process:?} is killed with its cgroup, before its time"
            );
            let proc = self.proc(process);
            if proc.temper != Temper::Asleep {
                proc.body = Body::Zombie;
                proc.unseen = !proc.hidden;
            }
        }
    }

    /// Who lives in the cgroups of a life.
    fn insiders(&self, hunt: &Hunt) -> Vec<ProcessId> {
        let inside = |(_, proc): &(&ProcessId, &Proc)| {
            proc.inside && proc.body == Body::Alive && hunt.marks.contains(&proc.life)
        };
        self.procs
            .iter()
            .filter(inside)
            .map(|(&id, _)| id)
            .collect()
    }

    fn settle_inside(&mut self, hunt: &Hunt, seen: &mut Seen) {
        if !hunt.scope.enclosed {
            return;
        }
        let populated = !self.insiders(hunt).is_empty();
        seen.living |= populated;
        seen.enclosure = Some(if populated {
            Enclosure::Populated
        } else {
            self.removed.extend(hunt.marks.iter().copied());
            Enclosure::Removed
        });
    }

    /// Whether no descendant of the host is left, zombies among them: those that nobody holds it has taken away by now.
    fn is_childless(&mut self) -> bool {
        if self.tier != Tier::Subreaper {
            return false;
        }
        for proc in self.procs.values_mut().filter(|proc| proc.hidden) {
            if proc.body == Body::Zombie {
                proc.body = Body::Gone;
            }
        }
        let gone = |proc: &Proc| proc.body == Body::Gone || proc.is_attached();
        self.procs.values().all(gone)
    }

    /// The machine wants a pass.
    pub(super) fn begin_pass(&mut self, op: OpId, hunts: Vec<Hunt>) -> Option<Outcome> {
        assert!(self.flight.is_none(), "two passes at once");
        let hidden = |(_, proc): &(&ProcessId, &Proc)| proc.hidden && proc.body == Body::Alive;
        let there: BTreeSet<_> = self
            .procs
            .iter()
            .filter(hidden)
            .map(|(&id, _)| id)
            .collect();
        let inhabited: BTreeSet<_> = hunts
            .iter()
            .filter(|hunt| self.is_inhabited(hunt))
            .map(|hunt| hunt.life)
            .collect();
        if self.prompt_passes {
            assert!(there.is_empty(), "nobody has hidden in this world");
            let seen = |life| {
                let seen = Seen {
                    inhabited: 2,
                    ..Seen::default()
                };
                (life, seen)
            };
            let passed = Passed {
                fate: Fate::Complete,
                calm: true,
                rounds: 2,
                seen: inhabited.into_iter().map(seen).collect(),
                ..Passed::default()
            };
            return Some(Outcome::Passed(passed));
        }
        self.flight = Some(FlightSim {
            op,
            hunts,
            there,
            inhabited,
        });
        None
    }

    /// Whether one of those lives that the machine has told of.
    fn is_inhabited(&self, hunt: &Hunt) -> bool {
        let lives = |process: &ProcessId| {
            self.procs
                .get(process)
                .is_some_and(|proc| proc.body == Body::Alive)
        };
        hunt.members.iter().any(lives)
    }

    /// It is not waited for any longer.
    pub(super) fn abandon_pass(&mut self) {
        assert!(self.flight.take().is_some(), "no pass is under way");
    }

    pub(super) fn pass_goes_on(&mut self) -> bool {
        let Some(op) = self.flight.as_ref().map(|flight| flight.op) else {
            return false;
        };
        self.input(Input::PassGoesOn { op });
        true
    }

    pub(super) fn finish_pass(&mut self, sees: Sees) -> bool {
        let Some(flight) = self.flight.take() else {
            return false;
        };
        let killing = flight.hunts.iter().filter(|hunt| hunt.kill.is_some());
        for hunt in killing {
            self.kill_inside(hunt);
        }
        if sees == Sees::Nothing {
            let outcome = Outcome::Passed(Passed {
                fate: Fate::Refused,
                ..Passed::default()
            });
            self.input(Input::Done {
                op: flight.op,
                outcome,
            });
            return true;
        }
        let mut passed = Passed {
            fate: Fate::Complete,
            calm: true,
            rounds: 1,
            ..Passed::default()
        };
        for hunt in &flight.hunts {
            let mut seen = Seen {
                inhabited: u8::from(flight.inhabited.contains(&hunt.life)),
                ..Seen::default()
            };
            let everybody: Vec<(ProcessId, Proc)> = self
                .procs
                .iter()
                .filter(|(_, proc)| hunt.marks.contains(&proc.life))
                .map(|(&process, proc)| (process, proc.clone()))
                .collect();
            for (process, proc) in everybody {
                let was_there = flight.there.contains(&process);
                if !hunt.scope.everywhere && !proc.inside {
                    continue;
                }
                seen.marked |= proc.body != Body::Gone && !proc.detached;
                match (proc.body, proc.hidden) {
                    _ if proc.detached => {}
                    (Body::Alive, false) => seen.living = true,
                    (Body::Alive, true) if was_there && sees == Sees::All => {
                        seen.living = true;
                        self.found(process, hunt);
                    }
                    (Body::Alive, true) if was_there => passed.calm = false,
                    (Body::Zombie | Body::Gone, true) if was_there => seen.freshly_dead = true,
                    (Body::Alive | Body::Zombie | Body::Gone, _) => {}
                }
            }
            self.settle_inside(hunt, &mut seen);
            passed.seen.insert(hunt.life, seen);
        }
        passed.childless = self.is_childless();
        let quiet = |seen: &Seen| !seen.living && !seen.freshly_dead;
        if passed.calm && passed.seen.values().all(quiet) {
            passed.rounds = 2;
            for hunt in &flight.hunts {
                let inhabited = u8::from(self.is_inhabited(hunt));
                passed.seen.entry(hunt.life).or_default().inhabited += inhabited;
            }
        }
        self.input(Input::Done {
            op: flight.op,
            outcome: Outcome::Passed(passed),
        });
        true
    }

    /// A helper holds it, sends SIGKILL where that is asked for, and tells the machine.
    fn found(&mut self, process: ProcessId, hunt: &Hunt) {
        let now = self.now;
        let allowed = self.kill_is_allowed(process);
        let proc = self.proc(process);
        proc.hidden = false;
        proc.found = true;
        proc.pinned = true;
        // Of an end that is over it is killed at once, and again with the rest of the next one.
        proc.stops += 1;
        if hunt.kill.is_some() {
            assert!(
                allowed,
                "{process:?} is killed where it is found, before its time"
            );
            if matches!(proc.temper, Temper::Obedient | Temper::Deaf) {
                proc.body = Body::Zombie;
                proc.unseen = true;
            }
        }
        let facts = Facts {
            pid: u32::try_from(process.0).unwrap() + 100,
            inode: Some(process.0),
            relation: Relation::Stranger,
            leads_group: false,
            origin: Origin::Found,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: false,
            label: None,
            command_line: Arc::from([]),
        };
        let born = Born {
            process,
            life: hunt.life,
            session: hunt.session,
            facts: Arc::new(facts),
            at: now,
            since: None,
            raced: false,
            time_limit: None,
            reply: None,
        };
        // Not with what else there is to see: it is in the mailbox together with the others.
        self.hand_in(Input::Born(born));
    }
}

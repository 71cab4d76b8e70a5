//! How a process leaves: only ever because the kernel said so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Answer, Target};
use super::deadlines::Wake;
use super::engine::{Left, Machine, Pending, Told};
use super::input::Looked;
use super::life::{LifeState, Remnant};
use super::member::{Facts, Member, Relation, Sight};
use crate::event::{EventKind, Origin, Reason};
use crate::exit::Exit;
use crate::report::{How, MemberReport};
use crate::session::{Life, ProcessId};
use crate::signal::Signal;

/// The first pause before a process that is readable but not waitable is looked at again. The kernel wakes us when
/// its tracer lets go of it; looking again is for the kernels (before 6.15) that can wake us too early.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The pause doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the exit status of a stranger is waited for after its death: its parent has to reap it first.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);
/// The same while somebody waits for its end.
const STATUS_PATIENCE_IN_AN_END: Duration = Duration::from_millis(200);
/// How many remnants of a life are looked at when a process is born into it, so that a long life does not gather
/// the pins of groups that have become empty.
const REPROBED: usize = 2;

impl Machine {
    /// What a look showed.
    pub(super) fn looked(&mut self, process: ProcessId, looked: Looked, now: Instant) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        match (member.sight, looked) {
            (Sight::Alive | Sight::Held { .. } | Sight::Dead, Looked::Exited(exit)) => {
                self.exited(process, exit, now)
            }
            (Sight::Alive | Sight::Held { .. }, Looked::Alive) => {
                member.sight = Sight::Alive;
                self.deadlines.set(Wake::Look(process), None);
            }
            (Sight::Alive, Looked::Held) => self.hold(process, FIRST_PAUSE, now),
            (Sight::Held { pause }, Looked::Held) => {
                self.hold(process, pause.saturating_mul(2).min(LONGEST_PAUSE), now)
            }
            (Sight::Alive | Sight::Held { .. }, Looked::Dead) => {
                member.sight = Sight::Dead;
                let life = member.life;
                let patience = self.status_patience(process);
                self.deadlines
                    .set(Wake::Look(process), now.checked_add(patience));
                // Of those that were found no end waits for more than this.
                self.advance_end_if_nobody_lives(life, now);
            }
            // It is dead, and a second look says nothing new. Its deadline stands, or is set again if it was due.
            (Sight::Dead, Looked::Alive | Looked::Held | Looked::Dead) => {
                if self.deadlines.of(Wake::Look(process)).is_none() {
                    let patience = self.status_patience(process);
                    self.deadlines
                        .set(Wake::Look(process), now.checked_add(patience));
                }
            }
        }
    }

    fn hold(&mut self, process: ProcessId, pause: Duration, now: Instant) {
        if let Some(member) = self.members.get_mut(&process) {
            member.sight = Sight::Held { pause };
            self.deadlines
                .set(Wake::Look(process), now.checked_add(pause));
        }
    }

    /// Whether an end or a stop wants to see that it goes.
    pub(crate) fn is_asked_to_exit(&self, process: ProcessId) -> bool {
        self.members.get(&process).is_some_and(|member| {
            let life = self.lives.get(&member.life);
            member.stop.is_some() || life.is_some_and(|life| life.end.is_some())
        })
    }

    fn status_patience(&self, process: ProcessId) -> Duration {
        if self.is_asked_to_exit(process) {
            STATUS_PATIENCE_IN_AN_END
        } else {
            STATUS_PATIENCE
        }
    }

    /// An end or a stop begins: whoever is dead already is waited for no longer than that allows.
    pub(super) fn hurry_status(&mut self, process: ProcessId, now: Instant) {
        if self
            .members
            .get(&process)
            .is_some_and(|member| member.sight == Sight::Dead)
        {
            let until = now.checked_add(STATUS_PATIENCE_IN_AN_END);
            let set = self.deadlines.of(Wake::Look(process));
            self.deadlines.set(Wake::Look(process), set.min(until));
        }
    }

    /// The one place where a process leaves.
    fn exited(&mut self, process: ProcessId, exit: Exit, now: Instant) {
        self.publish(process, EventKind::Exited(exit.clone()));
        let Some(member) = self.members.remove(&process) else {
            return;
        };
        if self.by_pid.get(&member.facts.pid) == Some(&process) {
            self.by_pid.remove(&member.facts.pid);
        }
        self.deadlines.set(Wake::Look(process), None);
        self.deadlines.set(Wake::Stop(process), None);
        self.deadlines.set(Wake::ProcessLimit(process), None);
        if let Some(state) = self.lives.get_mut(&member.life) {
            state.members.remove(&process);
        }
        let waited_for = member.stop.is_some()
            || self
                .lives
                .get(&member.life)
                .is_none_or(|life| life.end.is_some() || life.lingers);
        let leaving = Leaving {
            process,
            life: member.life,
            facts: Arc::clone(&member.facts),
            stopped: member.stop.is_some(),
        };
        if waited_for {
            self.retire(&leaving);
            self.report_exit(process, member, exit, now);
        } else {
            self.report_exit(process, member, exit, now);
            self.act(Action::Rest);
            self.retire(&leaving);
        }
    }

    /// Stops watching it, and keeps its group within reach where that is still needed.
    fn retire(&mut self, leaving: &Leaving) {
        let process = leaving.process;
        let ours = leaving.facts.relation == Relation::Child;
        // What one that is not ours leaves in its group is found by the passes: its number is nothing that we hold.
        if !leaving.facts.leads_group || !ours {
            self.act(Action::Retire {
                process,
                // Whoever was found may have come to us as an orphan.
                reap: ours || self.settings.subreaper,
            });
            self.act(Action::Release {
                process,
                reap: false,
            });
            return;
        }
        // Without a signal that reaches the group of a reaped leader, only the zombie keeps the group's number from
        // being used again.
        let reap = self.settings.group_after_reap;
        self.act(Action::Retire { process, reap });
        if leaving.stopped {
            // A stop ends the group with its leader.
            self.send(
                process,
                Target::Remnant { reaped: reap },
                Signal::KILL,
                Reason::Host,
                Told::Nobody,
            );
        }
        let state = self.lives.get_mut(&leaving.life);
        match state {
            Some(state) if state.end.is_some() => {
                state.remnants.push(Remnant {
                    leader: process,
                    reaped: reap,
                });
                self.left_the_crowd
                    .insert(process, Left::Group { reaped: reap });
            }
            Some(_) | None if reap => {
                let probe = Pending::Probe {
                    process,
                    life: leaving.life,
                };
                self.ask(Action::ProbeGroup { process }, probe);
            }
            // Outside of an end a zombie would be kept for nobody knows how long: its group goes out of reach.
            Some(_) | None => self.act(Action::Release {
                process,
                reap: true,
            }),
        }
    }

    /// Whoever waits for this exit hears of it; the session may be empty now, or its end over.
    fn report_exit(&mut self, process: ProcessId, mut member: Member, exit: Exit, now: Instant) {
        if let Some(stop) = member.stop.take() {
            let report = member_report(
                process,
                &member,
                Some(exit.clone()),
                now.saturating_duration_since(stop.began),
            );
            for reply in stop.replies {
                self.reply(reply, Answer::Member(Box::new(report.clone())));
            }
        }
        if self
            .lives
            .get(&member.life)
            .is_some_and(LifeState::is_empty)
        {
            self.tell_empty(member.life);
        }
        let Some(state) = self.lives.get_mut(&member.life) else {
            return;
        };
        let empty = state.is_empty();
        let registered = member.facts.origin != Origin::Found;
        state.used.add(exit.usage());
        if let Some(end) = &mut state.end {
            let took = now.saturating_duration_since(end.began);
            end.gone
                .push(member_report(process, &member, Some(exit), took));
            if let Some(inspection) = &mut end.inspection {
                inspection.awaited.remove(&process);
                inspection.causes.remove(&process);
            }
            let inspected = end
                .inspection
                .as_ref()
                .is_some_and(|inspection| inspection.awaited.is_empty());
            if inspected {
                self.advance_end(member.life, now);
            } else {
                self.advance_end_if_nobody_lives(member.life, now);
            }
        } else if state.lingers {
            if empty {
                self.bury(member.life);
            }
        } else {
            state.gone_before += u64::from(registered);
            if empty {
                self.publish_session(member.life, member.session, EventKind::SessionEmpty);
            }
        }
    }

    /// Whether the group of a leader that has exited is empty. One that is not stays within reach of its life's end.
    pub(super) fn probed(&mut self, process: ProcessId, life: Life, occupied: bool) {
        let known = self.lives.get_mut(&life);
        match (known, occupied) {
            (Some(state), true) => {
                if !state
                    .remnants
                    .iter()
                    .any(|remnant| remnant.leader == process)
                {
                    state.remnants.push(Remnant {
                        leader: process,
                        reaped: true,
                    });
                }
            }
            (Some(state), false) => {
                state.remnants.retain(|remnant| remnant.leader != process);
                self.act(Action::Release {
                    process,
                    reap: false,
                });
            }
            // Its life is over: nobody else would end what is left of the group.
            (None, true | false) => {
                self.send(
                    process,
                    Target::Remnant { reaped: true },
                    Signal::KILL,
                    Reason::Policy,
                    Told::Nobody,
                );
                self.act(Action::Release {
                    process,
                    reap: false,
                });
            }
        }
    }

    /// Lets go of groups that have become empty, a few at a time.
    pub(super) fn reprobe_remnants(&mut self, life: Life) {
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        let count = REPROBED.min(state.remnants.len());
        if count == 0 || !self.settings.group_after_reap {
            return;
        }
        state.remnants.rotate_left(count);
        let last = state.remnants.len() - count;
        let oldest: Vec<ProcessId> = state.remnants[last..]
            .iter()
            .map(|remnant| remnant.leader)
            .collect();
        for process in oldest {
            self.ask(
                Action::ProbeGroup { process },
                Pending::Probe { process, life },
            );
        }
    }
}

/// A process that has exited, and is still watched and unreaped.
struct Leaving {
    process: ProcessId,
    life: Life,
    facts: Arc<Facts>,
    /// Its own stop is over with it.
    stopped: bool,
}

/// What a report says of a member that exited.
pub(super) fn member_report(
    process: ProcessId,
    member: &Member,
    exit: Option<Exit>,
    took: Duration,
) -> MemberReport {
    let how = match member.rung {
        Some(rung) => How::At(rung),
        None => How::AlreadyGone,
    };
    MemberReport {
        process,
        pid: member.facts.pid,
        origin: member.facts.origin,
        label: member.facts.label.clone(),
        command_line: std::sync::Arc::clone(&member.facts.command_line),
        how,
        exit,
        took,
    }
}

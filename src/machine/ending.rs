//! The end of a session: ask, wait, SIGKILL, confirm, report.

use std::time::{Duration, Instant};

use super::action::{Action, Answer, Target};
use super::closing::{in_flight, report_parts, survivor};
use super::deadlines::Wake;
use super::engine::{Machine, Pending, Terms, Told};
use super::exits::member_report;
use super::ladder::{Due, Ladder};
use super::life::{End, Inspection, LifeState};
use super::search::{Established, LAST_PATIENCE, Search, still_forking};
use crate::event::{EventKind, Reason};
use crate::report::{How, SessionReport, SurvivalCause};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::{Rung, StopPolicy};

/// How long a report waits to hear why a process is still alive. It reads a few lines below `/proc`.
pub(super) const INSPECTION_PATIENCE: Duration = Duration::from_millis(250);

impl Machine {
    /// Ends whatever lives under a number, or joins the end that is under way.
    pub(super) fn end(&mut self, session: SessionId, terms: Terms, now: Instant) {
        if let Some(&life) = self.current.get(&session) {
            if self.is_ending(life) {
                self.join_end(life, &terms, now);
                return;
            }
        }
        // What outlived an earlier end of this number is ended with it, and takes a life to hang the end on.
        let create = self.lingering.contains_key(&session);
        let reason = terms.reason;
        self.ask(
            Action::CloseGate {
                session,
                create,
                reason,
            },
            Pending::End {
                session,
                terms: Box::new(terms),
            },
        );
    }

    /// Ends one life of a number; it may be over.
    pub(super) fn end_life(&mut self, session: SessionId, life: Life, terms: Terms, now: Instant) {
        if self.current.get(&session) == Some(&life) {
            self.end(session, terms, now);
            return;
        }
        for reply in terms.replies {
            let error = self.not_open(session, life, "end session");
            self.reply(reply, Answer::NoReport(error));
        }
    }

    fn is_ending(&self, life: Life) -> bool {
        self.lives
            .get(&life)
            .is_some_and(|state| state.end.is_some())
    }

    /// A number without a life: nothing happened, and nothing is there.
    pub(super) fn reply_empty(&mut self, session: SessionId, terms: &Terms) {
        for &reply in &terms.replies {
            let parts = report_parts(session, terms.reason, Vec::new());
            self.reply(reply, Answer::Report(SessionReport::new(parts)));
        }
    }

    /// What is asked for, or what the session says for itself, or the registry.
    fn policy_of(&self, life: Life, asked: Option<&StopPolicy>) -> StopPolicy {
        let own = self
            .lives
            .get(&life)
            .and_then(|state| state.policy.as_ref());
        asked.or(own).unwrap_or(&self.settings.policy).clone()
    }

    pub(super) fn join_end(&mut self, life: Life, terms: &Terms, now: Instant) {
        let policy = &self.policy_of(life, terms.policy.as_ref());
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        let Some(end) = &mut state.end else { return };
        end.ladder.merge(policy, now);
        end.replies.extend_from_slice(&terms.replies);
        for process in self.stopping_in(life) {
            if let Some(stop) = self
                .members
                .get_mut(&process)
                .and_then(|member| member.stop.as_mut())
            {
                stop.ladder.merge(policy, now);
            }
            self.advance_stop(process, now);
        }
        self.advance_end(life, now);
    }

    /// The gate is closed: the end begins with what is there now.
    pub(super) fn begin_end(
        &mut self,
        life: Life,
        session: SessionId,
        tokens: Vec<ProcessId>,
        terms: Terms,
        now: Instant,
    ) {
        if self.is_ending(life) {
            self.join_end(life, &terms, now);
            return;
        }
        let policy = self.policy_of(life, terms.policy.as_ref());
        let Terms {
            reason, replies, ..
        } = terms;
        self.clear_limits(life);
        self.current.insert(session, life);
        self.lives
            .entry(life)
            .or_insert_with(|| LifeState::new(session, now));
        self.inherit_survivors(life, session);
        let ladder = Ladder::new(&policy, now);
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        state.lingers = false;
        state.tokens.extend(tokens);
        let search = state
            .is_searched()
            .then(|| Search::new(state.scope, &ladder, now));
        state.end = Some(End {
            ladder,
            reason,
            began: now,
            replies,
            gone: Vec::new(),
            inspection: None,
            search,
        });
        let members: Vec<ProcessId> = state.members.iter().copied().collect();
        self.publish_session(life, session, EventKind::SessionEnding { reason });
        for process in members {
            if let Some(member) = self.members.get_mut(&process) {
                member.survived = None;
                if let Some(stop) = &mut member.stop {
                    stop.ladder.merge(&policy, now);
                }
            }
            self.hurry_status(process, now);
        }
        for process in self.stopping_in(life) {
            self.advance_stop(process, now);
        }
        self.advance_end(life, now);
    }

    /// The survivors of this number's earlier ends become members of the life that is ended now.
    fn inherit_survivors(&mut self, life: Life, session: SessionId) {
        for old in self.lingering.remove(&session).unwrap_or_default() {
            if old == life {
                continue;
            }
            let Some(past) = self.lives.remove(&old) else {
                continue;
            };
            if past.tokens.is_empty() {
                self.forget_heirs(old);
            } else {
                self.bequeath(old, life);
            }
            for process in &past.members {
                if let Some(member) = self.members.get_mut(process) {
                    member.life = life;
                    member.rung = None;
                }
            }
            if let Some(state) = self.lives.get_mut(&life) {
                state.since = state.since.into_iter().chain(past.since).min();
                state.reach = state.reach.into_iter().chain(past.reach).min();
                state.scope.join(past.scope);
                state.used.join(&past.used);
                if !past.scope.is_empty() {
                    state.taken_over.push(old);
                }
                state.taken_over.extend(past.taken_over);
                state.earlier.extend(past.earlier);
                state.members.extend(past.members);
                state.tokens.extend(past.tokens);
                state.remnants.extend(past.remnants);
            }
        }
    }

    fn stopping_in(&self, life: Life) -> Vec<ProcessId> {
        let Some(state) = self.lives.get(&life) else {
            return Vec::new();
        };
        let stops = |process: &ProcessId| {
            self.members
                .get(process)
                .is_some_and(|member| member.stop.is_some())
        };
        state.members.iter().copied().filter(stops).collect()
    }

    /// Whoever was waited for has gone: the end may be over.
    pub(super) fn advance_end_if_nobody_lives(&mut self, life: Life, now: Instant) {
        let state = self.lives.get(&life).filter(|state| state.end.is_some());
        if state.is_some_and(|state| !self.anybody_lives(state)) {
            self.hasten_pass(life, now);
            self.advance_end(life, now);
        }
    }

    /// Takes the rungs of an end that are due, and ends it when there is nothing left to wait for.
    pub(super) fn advance_end(&mut self, life: Life, now: Instant) {
        let for_the_crowd = self.for_the_crowd;
        self.take_due_rungs(life, now);
        self.for_the_crowd = for_the_crowd;
    }

    fn take_due_rungs(&mut self, life: Life, now: Instant) {
        loop {
            let Some(state) = self.lives.get(&life) else {
                return;
            };
            let Some(end) = &state.end else { return };
            let nobody = !self.anybody_lives(state);
            if nobody && end.established() != Established::Nothing {
                self.finish_or_settle(life, now);
                return;
            }
            // Whoever was asked about has gone: what remains is to establish that nobody else is there.
            let inspection = end.inspection.as_ref().filter(|_| !nobody);
            if let Some(inspection) = inspection {
                let late = inspection.until.is_some_and(|until| until <= now);
                if inspection.awaited.is_empty() || late {
                    self.finish_end(life, now);
                } else {
                    let until = inspection.until;
                    self.deadlines.set(Wake::End(life), until);
                }
                return;
            }
            if end.search.is_some() && self.is_surveying(life, nobody, now) {
                return;
            }
            let Some(end) = self
                .lives
                .get_mut(&life)
                .and_then(|state| state.end.as_mut())
            else {
                return;
            };
            let reason = end.reason;
            end.inspection = None;
            match end.ladder.take_due(now) {
                Due::Take { rung, first } => {
                    // And whatever comes after it stays behind it.
                    self.for_the_crowd = true;
                    self.take_end_rung(life, (rung, first), reason, now);
                }
                Due::Nothing => {
                    let next = end.ladder.next_deadline();
                    self.deadlines.set(Wake::End(life), next);
                    return;
                }
                Due::ConfirmOver if nobody => {
                    if self.looks_on(life, now) {
                        return;
                    }
                    self.finish_or_settle(life, now);
                    return;
                }
                Due::ConfirmOver => self.begin_inspection(life, now),
            }
        }
    }

    /// Nobody lives. Those that were found and are dead are told as exited first, whatever is known about how: the exit of
    /// the last of them ends the end.
    fn finish_or_settle(&mut self, life: Life, now: Instant) {
        if self.lives.get(&life).is_some_and(LifeState::is_empty) {
            self.finish_end(life, now);
        } else {
            self.settle_found(life);
        }
    }

    fn settle_found(&mut self, life: Life) {
        let Some(state) = self.lives.get(&life) else {
            return;
        };
        let dead = |process: &ProcessId| {
            let member = self.members.get(process);
            member.is_some_and(super::member::Member::is_found_dead)
        };
        let dead: Vec<ProcessId> = state.members.iter().copied().filter(dead).collect();
        for process in dead {
            self.look(process, true);
        }
    }

    /// Whether the first rung waits for the first pass, so that the report can name who was there. Passes go on as long as
    /// nobody is known to live and that is not yet established.
    fn is_surveying(&mut self, life: Life, nobody: bool, now: Instant) -> bool {
        let search = self
            .lives
            .get_mut(&life)
            .and_then(|state| state.end.as_mut()?.search.as_mut());
        let Some(search) = search else { return false };
        let wanted = nobody || !search.surveyed;
        let mut waits = None;
        if !search.surveyed {
            waits = search.survey_until.filter(|&until| until > now);
            search.surveyed = waits.is_none();
        }
        if let Some(until) = waits {
            self.deadlines.set(Wake::End(life), Some(until));
        }
        if wanted {
            self.ensure_pass(life, now);
        }
        waits.is_some()
    }

    /// The time to confirm is over and nobody is known to live, but that there is nobody has not been established: a
    /// little longer is given to that.
    fn looks_on(&mut self, life: Life, now: Instant) -> bool {
        let search = self
            .lives
            .get_mut(&life)
            .and_then(|state| state.end.as_mut()?.search.as_mut());
        let Some(search) = search else { return false };
        let until = *search
            .last_until
            .get_or_insert(now.checked_add(LAST_PATIENCE).unwrap_or(now));
        let waits = until > now;
        if waits {
            self.deadlines.set(Wake::End(life), Some(until));
        }
        waits
    }

    /// Takes a rung for every member that has no stop of its own, and for the groups of those that have exited.
    fn take_end_rung(
        &mut self,
        life: Life,
        (rung, first): (Rung, bool),
        reason: Reason,
        now: Instant,
    ) {
        let Some(state) = self.lives.get(&life) else {
            return;
        };
        let members: Vec<ProcessId> = state.members.iter().copied().collect();
        let remnants = state.remnants.clone();
        let signal = match rung {
            Rung::CloseStdin | Rung::Wait => None,
            Rung::Signal(signal) => Some(signal),
            Rung::Kill => Some(Signal::KILL),
        };
        if let Some(signal) = signal {
            for remnant in remnants {
                let target = Target::Remnant {
                    reaped: remnant.reaped,
                };
                self.send(remnant.leader, target, signal, reason, Told::Nobody);
            }
        }
        for process in members {
            if self
                .members
                .get(&process)
                .is_some_and(|member| member.stop.is_none())
            {
                self.take_rung(process, rung, first, reason);
            }
        }
        let searched = self
            .lives
            .get(&life)
            .is_some_and(|state| state.end.as_ref().is_some_and(|end| end.search.is_some()));
        if searched && rung == Rung::Kill {
            // What leaves its group just now is sent SIGKILL where it is found, and what is in a cgroup as a whole.
            self.renew_pass(life, now);
        }
    }

    /// A process was born into a life that is ending: it is brought to the rung that the end is on.
    pub(super) fn catch_up(&mut self, process: ProcessId) {
        let Some(member) = self.members.get(&process) else {
            return;
        };
        let Some(end) = self
            .lives
            .get(&member.life)
            .and_then(|state| state.end.as_ref())
        else {
            return;
        };
        let reason = end.reason;
        if end.ladder.is_killing() {
            self.take_rung(process, Rung::Kill, true, reason);
            return;
        }
        let rungs: Vec<Rung> = end.ladder.taken_rungs().collect();
        for (taken, rung) in rungs.into_iter().enumerate() {
            self.take_rung(process, rung, taken == 0, reason);
        }
    }

    /// A process was born after its session was closed: it has been killed by the thread that started it, and no
    /// handle to it was given out. Killed again here, since that thread may have been refused.
    pub(super) fn kill_late_birth(&mut self, process: ProcessId) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        let end = self
            .lives
            .get(&member.life)
            .and_then(|state| state.end.as_ref());
        let reason = end.map_or(Reason::Policy, |end| end.reason);
        if end.is_none() {
            member.survived = Some(SurvivalCause::SpawnInFlight);
        }
        self.take_rung(process, Rung::Kill, true, reason);
    }

    /// The time to confirm is over, and something lives.
    fn begin_inspection(&mut self, life: Life, now: Instant) {
        let Some(state) = self.lives.get(&life) else {
            return;
        };
        let lives = |process: &ProcessId| {
            let member = self.members.get(process);
            member.is_some_and(|member| !member.is_found_dead())
        };
        let members: Vec<ProcessId> = state.members.iter().copied().filter(lives).collect();
        self.settle_found(life);
        let mut inspection = Inspection {
            until: now.checked_add(INSPECTION_PATIENCE),
            ..Inspection::default()
        };
        for process in members {
            if self.inspect(process) {
                inspection.awaited.insert(process);
            } else {
                inspection
                    .causes
                    .insert(process, SurvivalCause::NotPermitted);
            }
        }
        if let Some(end) = self
            .lives
            .get_mut(&life)
            .and_then(|state| state.end.as_mut())
        {
            end.inspection = Some(inspection);
        }
    }

    /// Why a process is still alive.
    pub(super) fn inspected(
        &mut self,
        process: ProcessId,
        cause: Option<SurvivalCause>,
        now: Instant,
    ) {
        let cause = cause.unwrap_or(SurvivalCause::Unknown);
        let Some(member) = self.members.get(&process) else {
            return;
        };
        let life = member.life;
        if member.stop.as_ref().is_some_and(|stop| stop.inspecting) {
            self.stop_failed(process, cause, now);
        }
        let end = self
            .lives
            .get_mut(&life)
            .and_then(|state| state.end.as_mut());
        let Some(inspection) = end.and_then(|end| end.inspection.as_mut()) else {
            return;
        };
        if inspection.awaited.remove(&process) {
            inspection.causes.insert(process, cause);
            self.advance_end(life, now);
        }
    }

    /// The end is over. What it says is published before anybody gets the report, and the number may live again
    /// before either is handed out.
    fn finish_end(&mut self, life: Life, now: Instant) {
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        let Some(mut end) = state.end.take() else {
            return;
        };
        let session = state.session;
        let search = end.search.take();
        let unsettled = search
            .as_ref()
            .is_some_and(|search| search.established() == Established::Nothing);
        state.unsettled = unsettled && state.members.is_empty();
        let members = std::mem::take(&mut state.members);
        let remnants = std::mem::take(&mut state.remnants);
        let tokens = state.tokens.clone();
        self.deadlines.set(Wake::End(life), None);
        for remnant in remnants {
            let target = Target::Remnant {
                reaped: remnant.reaped,
            };
            self.send(
                remnant.leader,
                target,
                Signal::KILL,
                end.reason,
                Told::Nobody,
            );
            self.act(Action::Release {
                process: remnant.leader,
                reap: !remnant.reaped,
            });
        }
        let causes = end
            .inspection
            .take()
            .map(|inspection| inspection.causes)
            .unwrap_or_default();
        let took = now.saturating_duration_since(end.began);
        let mut survivors = Vec::new();
        // Whoever was found last has been sent SIGKILL a moment ago: others like it turn up all the time.
        let latest = search.as_ref().and_then(|search| search.latest.as_ref());
        let latest = latest.map(|&(process, _, _)| process).filter(|_| unsettled);
        for &process in &members {
            let told = causes.get(&process).copied();
            let cause = told.unwrap_or(SurvivalCause::Unknown);
            let forks = cause == SurvivalCause::Unknown && latest == Some(process);
            let cause = if forks {
                SurvivalCause::StillForking
            } else {
                cause
            };
            let Some(member) = self.members.get_mut(&process) else {
                continue;
            };
            member.survived = Some(cause);
            let mut report = member_report(process, member, None, took);
            report.how = How::Survived(cause);
            survivors.push(survivor(&report, cause));
            end.gone.push(report);
            self.publish(process, EventKind::Survived { cause });
        }
        survivors.extend(tokens.iter().map(|&process| in_flight(process)));
        if let Some(search) = search.as_ref().filter(|_| unsettled && members.is_empty()) {
            survivors.push(still_forking(search));
        }
        end.gone.sort_by_key(|report| report.process);
        end.search = search;
        self.refuse_waiting(life);
        self.forget_passes(life);
        let report = self.close_life((life, session), members, &end, survivors, took);
        for reply in end.replies {
            self.reply(reply, Answer::Report(report.clone()));
        }
        self.shutdown_ended(life, report);
    }
}

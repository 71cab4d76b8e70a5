//! The stop of one process: a ladder of its own.

use std::time::Instant;

use super::action::{Action, Answer, Target};
use super::deadlines::Wake;
use super::engine::{Machine, Pending, Told};
use super::exits::member_report;
use super::ids::ReplyId;
use super::ladder::{Due, Ladder};
use super::member::Stop;
use crate::event::{EventKind, Reason};
use crate::report::{How, SurvivalCause};
use crate::session::ProcessId;
use crate::signal::Signal;
use crate::stop::{Rung, StopPolicy};

impl Machine {
    /// Begins a stop, or joins the one that is under way.
    pub(super) fn stop(
        &mut self,
        process: ProcessId,
        policy: &StopPolicy,
        reply: ReplyId,
        now: Instant,
    ) {
        let Some(member) = self.members.get_mut(&process) else {
            self.reply(reply, Answer::AlreadyExited);
            return;
        };
        if let Some(stop) = &mut member.stop {
            stop.ladder.merge(policy, now);
            stop.replies.push(reply);
            self.advance_stop(process, now);
        } else {
            self.begin_stop(process, policy, (Reason::Host, vec![reply]), now);
        }
    }

    /// Begins a stop of a process that has none. Within an end it begins on the rung that the end is on.
    pub(super) fn begin_stop(
        &mut self,
        process: ProcessId,
        policy: &StopPolicy,
        (reason, replies): (Reason, Vec<ReplyId>),
        now: Instant,
    ) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        let end = self
            .lives
            .get(&member.life)
            .and_then(|life| life.end.as_ref());
        let (ladder, reason) = match end {
            Some(end) => {
                let mut ladder = end.ladder.clone();
                ladder.merge(policy, now);
                (ladder, end.reason)
            }
            None => (Ladder::new(policy, now), reason),
        };
        member.survived = None;
        member.stop = Some(Box::new(Stop {
            ladder,
            began: now,
            reason,
            replies,
            inspecting: false,
        }));
        self.hurry_status(process, now);
        self.advance_stop(process, now);
    }

    /// Takes the rungs of a stop that are due.
    pub(super) fn advance_stop(&mut self, process: ProcessId, now: Instant) {
        loop {
            let Some(stop) = self
                .members
                .get_mut(&process)
                .and_then(|member| member.stop.as_mut())
            else {
                return;
            };
            let reason = stop.reason;
            match stop.ladder.take_due(now) {
                Due::Take { rung, first } => self.take_rung(process, rung, first, reason),
                Due::Nothing => break,
                Due::ConfirmOver if stop.inspecting => {
                    // Asked in vain: it is not found out why it lives.
                    self.stop_failed(process, SurvivalCause::Unknown, now);
                    return;
                }
                Due::ConfirmOver => {
                    stop.inspecting = true;
                    if self.inspect(process) {
                        let until = now.checked_add(super::ending::INSPECTION_PATIENCE);
                        self.deadlines.set(Wake::Stop(process), until);
                    } else {
                        self.stop_failed(process, SurvivalCause::NotPermitted, now);
                    }
                    return;
                }
            }
        }
        let next = self
            .members
            .get(&process)
            .and_then(|member| member.stop.as_ref()?.ladder.next_deadline());
        self.deadlines.set(Wake::Stop(process), next);
    }

    /// Why it lives is known now, or will not be.
    pub(super) fn stop_failed(&mut self, process: ProcessId, cause: SurvivalCause, now: Instant) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        let Some(stop) = member.stop.take() else {
            return;
        };
        member.survived = Some(cause);
        let mut report = member_report(
            process,
            member,
            None,
            now.saturating_duration_since(stop.began),
        );
        report.how = How::Survived(cause);
        self.deadlines.set(Wake::Stop(process), None);
        self.publish(process, EventKind::Survived { cause });
        for reply in stop.replies {
            self.reply(reply, Answer::Member(Box::new(report.clone())));
        }
    }

    /// Does to one process what a rung says.
    pub(super) fn take_rung(
        &mut self,
        process: ProcessId,
        rung: Rung,
        first: bool,
        reason: Reason,
    ) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        member.rung = Some(rung);
        let target = match rung {
            Rung::Signal(signal) => member.target(signal),
            Rung::Wait | Rung::CloseStdin | Rung::Kill => member.target(Signal::KILL),
        };
        if !first {
            self.publish(process, EventKind::Escalated { rung });
        }
        match rung {
            Rung::Wait => {}
            Rung::CloseStdin => self.act(Action::CloseStdin { process }),
            Rung::Signal(signal) => self.soft_signal(process, target, signal, reason),
            Rung::Kill => self.send(process, target, Signal::KILL, reason, Told::Events),
        }
    }

    /// A stopped process keeps a signal pending until it is continued.
    fn soft_signal(&mut self, process: ProcessId, target: Target, signal: Signal, reason: Reason) {
        self.send(process, target, signal, reason, Told::Events);
        let stops = [
            Signal::STOP,
            Signal::TSTP,
            Signal::TTIN,
            Signal::TTOU,
            Signal::CONT,
        ];
        if target != Target::Reached && !stops.contains(&signal) {
            self.send(process, target, Signal::CONT, reason, Told::Nobody);
        }
    }

    /// Asks why a process is still alive. `false`: that is known, its signals were refused.
    pub(super) fn inspect(&mut self, process: ProcessId) -> bool {
        match self.members.get(&process) {
            Some(member) if !member.denied => {
                self.ask(Action::Inspect { process }, Pending::Inspect { process });
                true
            }
            Some(_) | None => false,
        }
    }
}

//! A process that is given up: it is no member from then on, and nothing is heard of it any more.

use std::time::Instant;

use super::action::{Action, Answer};
use super::deadlines::Wake;
use super::engine::{Machine, Pending};
use super::ids::ReplyId;
use super::life::LifeState;
use super::member::Sight;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::session::ProcessId;

impl Machine {
    /// First it is written down: a later run must not take it for one that was left behind.
    pub(super) fn detach(&mut self, process: ProcessId, reply: ReplyId) {
        match self.may_detach(process) {
            Ok(true) => {
                self.ask(
                    Action::NoteDetached { process },
                    Pending::Detach { process, reply },
                );
            }
            Ok(false) => self.reply(reply, Answer::AlreadyExited),
            Err(error) => self.reply(reply, Answer::Done(Err(error))),
        }
    }

    /// `false`: it is dead, as far as can be seen. Its exit is still to be told.
    fn may_detach(&self, process: ProcessId) -> Result<bool, Error> {
        const OPERATION: &str = "detach";
        let Some(member) = self.members.get(&process) else {
            return Ok(false);
        };
        if member.sight != Sight::Alive {
            return Ok(false);
        }
        if self.open_life(member.life).is_none() {
            let error = self.not_open(member.session, member.life, OPERATION);
            return Err(error.with_pid(member.facts.pid));
        }
        let enclosed = |state: &LifeState| state.scope.enclosed;
        if self.lives.get(&member.life).is_some_and(enclosed) {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_session(member.session)
                .with_pid(member.facts.pid)
                .with_detail("its session has a cgroup, which is ended as a whole"));
        }
        if member.stop.is_some() {
            return Err(Error::new(ErrorKind::SessionEnding, OPERATION)
                .with_session(member.session)
                .with_pid(member.facts.pid)
                .with_detail("the process is being stopped"));
        }
        Ok(true)
    }

    /// It is written down, or is not.
    pub(super) fn noted_detached(
        &mut self,
        process: ProcessId,
        reply: ReplyId,
        noted: Result<(), Error>,
        now: Instant,
    ) {
        let allowed = self.may_detach(process);
        match (noted, allowed) {
            (Ok(()), Ok(true)) => self.let_go(process, now),
            (Ok(()), Ok(false)) => {
                self.reply(reply, Answer::AlreadyExited);
                return;
            }
            (Err(error), _) | (Ok(()), Err(error)) => {
                self.reply(reply, Answer::Done(Err(error)));
                return;
            }
        }
        self.reply(reply, Answer::Done(Ok(())));
    }

    fn let_go(&mut self, process: ProcessId, now: Instant) {
        self.publish(process, EventKind::Detached);
        let Some(member) = self.members.remove(&process) else {
            return;
        };
        if self.by_pid.get(&member.facts.pid) == Some(&process) {
            self.by_pid.remove(&member.facts.pid);
        }
        self.deadlines.set(Wake::ProcessLimit(process), None);
        self.act(Action::Detach { process });
        let Some(state) = self.lives.get_mut(&member.life) else {
            return;
        };
        state.members.remove(&process);
        state.touched = state.touched.max(now);
        if state.is_empty() {
            self.tell_empty(member.life);
            self.publish_session(member.life, member.session, EventKind::SessionEmpty);
        }
        self.arm_idle_limit(member.life);
    }

    /// Whether nothing is left: nobody who lives, and no end that could not say so.
    pub(crate) fn is_settled(&self) -> bool {
        self.lives.values().all(is_settled)
    }
}

fn is_settled(state: &LifeState) -> bool {
    state.is_empty() && !state.unsettled
}

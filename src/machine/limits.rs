//! Limits in time, and waiting for a session to be empty.

use std::time::Instant;

use super::action::Answer;
use super::deadlines::Wake;
use super::engine::{Machine, Terms};
use super::ids::ReplyId;
use super::life::LifeState;
use crate::error::{Error, ErrorKind};
use crate::event::Reason;
use crate::session::{Life, ProcessId, SessionId};

impl Machine {
    /// A session is too old, or was left alone for too long: it is ended. An end that is under way goes on as it is.
    pub(super) fn limit_reached(&mut self, life: Life, reason: Reason, now: Instant) {
        let Some(state) = self.open_life(life) else {
            return;
        };
        let session = state.session;
        let terms = Terms {
            policy: None,
            reason,
            replies: Vec::new(),
        };
        self.end(session, terms, now);
    }

    /// A process is too old: it is stopped. A stop or an end that is under way goes on as it is.
    pub(super) fn process_limit_reached(&mut self, process: ProcessId, now: Instant) {
        let Some(member) = self.members.get(&process) else {
            return;
        };
        let Some(state) = self.open_life(member.life) else {
            return;
        };
        if member.stop.is_some() {
            return;
        }
        let policy = state
            .policy
            .clone()
            .unwrap_or_else(|| self.settings.policy.clone());
        self.begin_stop(process, &policy, (Reason::TimeLimit, Vec::new()), now);
    }

    /// The session is in use: the time in which it may be left alone begins anew.
    pub(super) fn touch(&mut self, session: SessionId, life: Life, reply: ReplyId, now: Instant) {
        if self.open_life(life).is_none() {
            let error = self.not_open(session, life, "touch");
            self.reply(reply, Answer::Done(Err(error)));
            return;
        }
        if let Some(state) = self.lives.get_mut(&life) {
            state.touched = now;
        }
        self.arm_idle_limit(life);
        self.reply(reply, Answer::Done(Ok(())));
    }

    /// Sets the idle limit by when the session was last in use.
    pub(super) fn arm_idle_limit(&mut self, life: Life) {
        let Some(state) = self.open_life(life) else {
            return;
        };
        let limit = state.idle_limit;
        let until = limit.and_then(|limit| state.touched.checked_add(limit));
        self.deadlines.set(Wake::IdleLimit(life), until);
    }

    /// Its limits are of no concern any longer.
    pub(super) fn clear_limits(&mut self, life: Life) {
        self.deadlines.set(Wake::TimeLimit(life), None);
        self.deadlines.set(Wake::IdleLimit(life), None);
    }

    /// Answers when the session has no processes: now, or at the exit of the last.
    pub(super) fn wait_empty(&mut self, session: SessionId, life: Life, reply: ReplyId) {
        let current = self.current.get(&session) == Some(&life);
        match self.lives.get_mut(&life).filter(|_| current) {
            Some(state) if state.is_empty() => self.reply(reply, Answer::Done(Ok(()))),
            Some(state) => state.waiting.push(reply),
            None => {
                let error = self.not_open(session, life, "wait for empty session");
                self.reply(reply, Answer::Done(Err(error)));
            }
        }
    }

    /// The caller does not wait any longer.
    pub(super) fn forget(&mut self, life: Life, reply: ReplyId) {
        if let Some(state) = self.lives.get_mut(&life) {
            state.waiting.retain(|&waiting| waiting != reply);
        }
    }

    /// The session has no processes any more.
    pub(super) fn tell_empty(&mut self, life: Life) {
        let waiting = self
            .lives
            .get_mut(&life)
            .map(|state| std::mem::take(&mut state.waiting));
        for reply in waiting.unwrap_or_default() {
            self.reply(reply, Answer::Done(Ok(())));
        }
    }

    /// The session is over, and was not empty before.
    pub(super) fn refuse_waiting(&mut self, life: Life) {
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        let session = state.session;
        for reply in std::mem::take(&mut state.waiting) {
            let error =
                Error::new(ErrorKind::SessionEnded, "wait for empty session").with_session(session);
            self.reply(reply, Answer::Done(Err(error)));
        }
    }

    /// A life that is neither ending nor over.
    pub(super) fn open_life(&self, life: Life) -> Option<&LifeState> {
        self.lives
            .get(&life)
            .filter(|state| state.end.is_none() && !state.lingers)
    }

    /// Why a life is not open.
    pub(super) fn not_open(
        &self,
        session: SessionId,
        life: Life,
        operation: &'static str,
    ) -> Error {
        let ending = self
            .lives
            .get(&life)
            .is_some_and(|state| state.end.is_some());
        let kind = if ending {
            ErrorKind::SessionEnding
        } else {
            ErrorKind::SessionEnded
        };
        Error::new(kind, operation).with_session(session)
    }
}

//! How a process comes into a life, and how a life comes about without one.

use std::time::Instant;

use super::action::{Action, Answer, Target};
use super::deadlines::Wake;
use super::engine::{Machine, Told};
use super::ids::ReplyId;
use super::input::{Begun, Born, Opened};
use super::life::LifeState;
use super::member::{Facts, Member, Reach, Sight};
use crate::error::{Error, ErrorKind};
use crate::event::{EventKind, Origin, Reason};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;

impl Machine {
    /// A session was opened before its first process.
    pub(super) fn opened(&mut self, opened: Opened, now: Instant) {
        let Opened {
            session,
            life,
            label,
            policy,
            earlier,
            since,
            enclosed,
            time_limit,
            idle_limit,
        } = opened;
        let mut state = LifeState::new(session, now);
        state.label = label;
        state.policy = policy;
        if !earlier.is_empty() {
            // Of what it will have nothing is known from its birth.
            state.reach = Some(Reach::Group);
            state.scope.everywhere = true;
        }
        state.scope.enclosed = enclosed;
        state.earlier = earlier;
        state.since = since;
        state.idle_limit = idle_limit;
        self.lives.insert(life, state);
        self.current.insert(session, life);
        let until = time_limit.and_then(|limit| now.checked_add(limit));
        self.deadlines.set(Wake::TimeLimit(life), until);
        self.arm_idle_limit(life);
    }

    /// A process came into being. Its session may be ending by now, or over.
    pub(super) fn born(&mut self, born: Born, now: Instant) {
        let Born {
            process,
            life,
            session,
            facts,
            at,
            since,
            raced,
            time_limit,
            reply,
        } = born;
        let life = self.heir_of(life);
        let found = facts.origin == Origin::Found;
        let recovered = facts.origin == Origin::Recovered;
        if (found || recovered) && !self.is_news(life, &facts) {
            self.act(Action::Reject { process });
            return;
        }
        if let Some(reply) = reply {
            if self.known_already(process, life, session, &facts, reply, now) {
                return;
            }
        }
        self.by_pid.insert(facts.pid, process);
        // What it leaves behind is nobody's business, and nobody is to take it for a session's.
        self.leaves_strays |= !found && !recovered && !facts.leads_group;
        let state = self
            .lives
            .entry(life)
            .or_insert_with(|| LifeState::new(session, at));
        state.touched = state.touched.max(at);
        state.tokens.remove(&process);
        state.members.insert(process);
        if !found {
            state.answer_for(&facts, since);
        }
        let over = state.lingers;
        if !over {
            self.current.insert(session, life);
        }
        let member = Member {
            life,
            session,
            facts,
            born: at,
            sight: Sight::Alive,
            rung: None,
            denied: false,
            survived: None,
            stop: None,
        };
        self.members.insert(process, member);
        self.reopen_search(process);
        let until = time_limit.and_then(|limit| at.checked_add(limit));
        self.deadlines.set(Wake::ProcessLimit(process), until);
        self.arm_idle_limit(life);
        self.publish(process, EventKind::Started);
        if let Some(reply) = reply {
            self.reply(reply, Answer::Registered(Ok(process)));
        }
        self.look(process, false);
        if raced || over {
            self.kill_late_birth(process);
        } else {
            self.catch_up(process);
        }
        self.reprobe_remnants(life);
    }

    /// Whether a process that was found is nobody who is known, and its session not over.
    fn is_news(&self, life: Life, facts: &Facts) -> bool {
        let known = self
            .by_pid
            .get(&facts.pid)
            .and_then(|there| self.members.get(there));
        let same = known.is_some_and(|member| match (member.facts.inode, facts.inode) {
            (Some(old), Some(new)) => old == new,
            // The number of one that has been seen dead may be another's by now.
            (Some(_), None) | (None, _) => member.sight != Sight::Dead,
        });
        !same && self.lives.contains_key(&life)
    }

    /// A process that was adopted or attached may be registered already: then there is nothing to take in.
    fn known_already(
        &mut self,
        process: ProcessId,
        life: Life,
        session: SessionId,
        facts: &Facts,
        reply: ReplyId,
        now: Instant,
    ) -> bool {
        let Some(&there) = self.by_pid.get(&facts.pid) else {
            return false;
        };
        let Some(member) = self.members.get(&there) else {
            return false;
        };
        if let (Some(old), Some(new)) = (member.facts.inode, facts.inode) {
            if old != new {
                return false;
            }
        }
        let answer = if member.session == session && facts.origin == Origin::Attached {
            Ok(there)
        } else {
            let operation = match facts.origin {
                Origin::Adopted => "adopt",
                Origin::Attached | Origin::Spawned | Origin::Found | Origin::Recovered => "attach",
            };
            Err(Error::new(ErrorKind::AlreadyRegistered, operation)
                .with_session(member.session)
                .with_pid(facts.pid))
        };
        self.act(Action::Reject { process });
        self.reply(reply, Answer::Registered(answer));
        self.aborted(process, life, now);
        true
    }

    /// A spawn came to nothing. What its program may have started, if that had begun, is its session's: that has a life from
    /// now on, to be ended.
    pub(super) fn spawn_failed(
        &mut self,
        process: ProcessId,
        life: Life,
        begun: Option<&Begun>,
        now: Instant,
    ) {
        if let Some(begun) = begun {
            let life = self.heir_of(life);
            self.leaves_strays |= !begun.facts.leads_group;
            let state = self
                .lives
                .entry(life)
                .or_insert_with(|| LifeState::new(begun.session, now));
            state.answer_for(&begun.facts, begun.since);
            if state.lingers {
                // Its end did not wait for that.
                state.unsettled = true;
            } else {
                self.current.insert(begun.session, life);
            }
        }
        self.aborted(process, life, now);
    }

    /// A token has come back: an end that waited for it need not any longer.
    pub(super) fn aborted(&mut self, process: ProcessId, life: Life, now: Instant) {
        let life = self.heir_of(life);
        let Some(state) = self.lives.get_mut(&life) else {
            return;
        };
        if !state.tokens.remove(&process) || !state.is_empty() {
            return;
        }
        if state.lingers {
            self.bury(life);
        } else {
            self.advance_end(life, now);
        }
    }

    /// Nothing of a life is left, nor of those that it has taken over.
    pub(super) fn close_lives(&mut self, life: Life) -> Option<LifeState> {
        let state = self.lives.remove(&life)?;
        if state.scope.enclosed {
            let lives = std::iter::once(life).chain(state.taken_over.iter().copied());
            self.act(Action::CloseLives {
                lives: lives.collect(),
            });
        }
        Some(state)
    }

    /// The life that answers for `life` now.
    fn heir_of(&self, life: Life) -> Life {
        self.heirs.get(&life).copied().unwrap_or(life)
    }

    /// `heir` takes over what is left of `old`, and what `old` had taken over itself.
    pub(super) fn bequeath(&mut self, old: Life, heir: Life) {
        for known in self.heirs.values_mut().filter(|known| **known == old) {
            *known = heir;
        }
        self.heirs.insert(old, heir);
    }

    /// A life is over, and with it what it has taken over.
    pub(super) fn forget_heirs(&mut self, life: Life) {
        if !self.heirs.is_empty() {
            self.heirs.retain(|_, heir| *heir != life);
        }
    }

    /// Forgets a life that lingered until now, and ends what its survivors left in their groups. One of which it is not
    /// known whether anybody is left lingers on.
    pub(super) fn bury(&mut self, life: Life) {
        if self.lives.get(&life).is_none_or(|state| state.unsettled) {
            return;
        }
        let Some(state) = self.close_lives(life) else {
            return;
        };
        self.forget_heirs(life);
        for remnant in state.remnants {
            let target = Target::Remnant {
                reaped: remnant.reaped,
            };
            self.send(
                remnant.leader,
                target,
                Signal::KILL,
                Reason::Policy,
                Told::Nobody,
            );
            self.act(Action::Release {
                process: remnant.leader,
                reap: !remnant.reaped,
            });
        }
        if let Some(lives) = self.lingering.get_mut(&state.session) {
            lives.remove(&life);
            if lives.is_empty() {
                self.lingering.remove(&state.session);
            }
        }
    }
}

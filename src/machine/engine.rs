//! The machine itself: its state, and where each input goes.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::action::{Action, Answer, Effect, Notice, Target};
use super::deadlines::{Deadlines, Wake};
use super::ids::{IdMap, OpId, ReplyId};
use super::input::{Errno, Input, Outcome, Request, Whom};
use super::life::LifeState;
use super::member::Sight;
use super::members::Members;
use super::search::Passes;
use crate::error::{Error, ErrorKind};
use crate::event::{EventKind, Reason};
use crate::report::SessionReport;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::StopPolicy;

/// What does not change while the machine lives.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How a session is ended where nothing else is said.
    pub(crate) policy: StopPolicy,
    /// The group of a leader that was reaped can still be signalled.
    pub(crate) group_after_reap: bool,
    /// How many reports are kept.
    pub(crate) kept_reports: usize,
    /// Orphans of all descendants come to this program, and whoever has come is reaped by it.
    pub(crate) subreaper: bool,
}

/// See the [module](super).
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(super) settings: Settings,
    pub(super) members: Members,
    /// The living process that holds a pid, so that none is registered twice.
    pub(super) by_pid: IdMap<u32, ProcessId>,
    pub(super) lives: IdMap<Life, LifeState>,
    /// The life that a number has now.
    pub(super) current: IdMap<SessionId, Life>,
    /// The lives of a number that ended with survivors.
    pub(super) lingering: IdMap<SessionId, BTreeSet<Life>>,
    /// The life that took over what was left of an earlier one, spawns under way among it.
    pub(super) heirs: IdMap<Life, Life>,
    pub(super) deadlines: Deadlines,
    pub(super) passes: Passes,
    pub(super) reports: VecDeque<SessionReport>,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) broadcasts: IdMap<ReplyId, Broadcast>,
    /// There has been a process whose descendants are nobody's business.
    pub(super) leaves_strays: bool,
    effects: VecDeque<Effect>,
    /// What a rung wants of all members of a session, which takes its time: [`Input::Ready`] may be handed in between.
    crowd: VecDeque<Effect>,
    /// How many in it may be in a group that is signalled as well.
    in_groups: usize,
    /// What is wanted goes there.
    pub(super) for_the_crowd: bool,
    /// Who has exited, or was let go of, since something was wanted of the crowd.
    pub(super) left_the_crowd: IdMap<ProcessId, Left>,
    /// In the order in which they were asked, which is that of most outcomes.
    pub(super) pending: VecDeque<(OpId, Pending)>,
    next_op: u64,
}

/// Everything is being ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    pub(super) replies: Vec<ReplyId>,
    /// The lives whose ends are still under way.
    pub(super) awaited: BTreeSet<Life>,
    pub(super) reports: Vec<SessionReport>,
    /// The gates are closed and `awaited` is complete.
    pub(super) begun: bool,
}

/// One signal to all of a session: how many answers are missing, and what went wrong first.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast {
    pub(super) missing: usize,
    pub(super) failed: Option<Error>,
}

/// How an end is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Without one, the session's own holds, or else the registry's.
    pub(super) policy: Option<StopPolicy>,
    pub(super) reason: Reason,
    pub(super) replies: Vec<ReplyId>,
}

/// What an outcome will be for.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Look {
        process: ProcessId,
    },
    Signal {
        process: ProcessId,
        signal: Signal,
        reason: Reason,
        told: Told,
    },
    Probe {
        process: ProcessId,
        life: Life,
    },
    Inspect {
        process: ProcessId,
    },
    Pass,
    Detach {
        process: ProcessId,
        reply: ReplyId,
    },
    End {
        session: SessionId,
        terms: Box<Terms>,
    },
    Shutdown {
        policy: Box<StopPolicy>,
        reason: Reason,
    },
}

/// Whether it is for somebody who may be in a group that is signalled as well.
fn is_for_one_of_a_group(action: &Action) -> bool {
    let one_of_a_group = |target: &Target| matches!(target, Target::Process | Target::Reached);
    matches!(action, Action::Signal { target, .. } if one_of_a_group(target))
}

/// What is left of a process that has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its group; `reaped` says whether its zombie is gone.
    Group { reaped: bool },
    /// Nothing that we hold.
    Nothing,
}

/// Who hears whether a signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The subscribers, if it was.
    Events,
    /// They, and the caller.
    Caller(ReplyId),
    /// They, and the caller once all of the session has been signalled.
    Broadcast(ReplyId),
    /// Nobody: SIGCONT behind a soft signal, a remnant's group.
    Nobody,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            members: Members::default(),
            by_pid: IdMap::default(),
            lives: IdMap::default(),
            current: IdMap::default(),
            lingering: IdMap::default(),
            heirs: IdMap::default(),
            deadlines: Deadlines::default(),
            passes: Passes::default(),
            reports: VecDeque::new(),
            shutdown: None,
            broadcasts: IdMap::default(),
            leaves_strays: false,
            effects: VecDeque::new(),
            crowd: VecDeque::new(),
            in_groups: 0,
            for_the_crowd: false,
            left_the_crowd: IdMap::default(),
            pending: VecDeque::new(),
            next_op: 0,
        }
    }

    /// Takes in what happened. Call [`poll_effect`](Self::poll_effect) afterwards until it says `None`; before that only an
    /// outcome is handed in, or an exit [at a crowd](Self::is_at_a_crowd).
    pub(crate) fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Opened(opened) => self.opened(opened, now),
            Input::Born(born) => self.born(born, now),
            Input::Aborted {
                process,
                life,
                begun,
            } => self.spawn_failed(process, life, begun.as_ref(), now),
            Input::Ready { process } => self.look(process, false),
            Input::Populated { life } => self.populated(life, now),
            Input::PassGoesOn { op } => self.pass_goes_on(op, now),
            Input::Request(request) => self.request(request, now),
            Input::Timer => self.timer(now),
            Input::Done { op, outcome } => self.done(op, outcome, now),
        }
    }

    /// The next thing to do. After `None`, [`next_deadline`](Self::next_deadline) is up to date.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self
            .effects
            .pop_front()
            .or_else(|| self.next_of_the_crowd());
        if effect.is_none() {
            self.left_the_crowd.clear();
            #[cfg(any(test, fuzzing, debug_assertions))]
            self.debug_check();
        }
        effect
    }

    /// Whether [`Input::Ready`] may be handed in now, before the effects that are left. Not before it is noted of everybody
    /// in a group that was signalled what was asked: who has died of that is told with it.
    pub(crate) fn is_at_a_crowd(&self) -> bool {
        self.effects.is_empty() && !self.crowd.is_empty() && self.in_groups == 0
    }

    /// Nothing is wanted any more of whoever has exited since; but what it has left in its group is signalled.
    fn next_of_the_crowd(&mut self) -> Option<Effect> {
        loop {
            let mut effect = self.crowd.pop_front()?;
            self.in_groups -= usize::from(is_for_one_of_a_group(&effect.action));
            let lives = |process: ProcessId| self.members.contains_key(&process);
            let left = |process| self.left_the_crowd.get(&process).copied();
            let still = match &mut effect.action {
                Action::Publish(notice) => notice.process.is_none_or(|(process, _)| lives(process)),
                &mut Action::CloseStdin { process } => lives(process),
                Action::Signal {
                    process,
                    target,
                    asked,
                    ..
                } => match (*target, left(*process)) {
                    (_, Some(Left::Nothing)) => false,
                    (Target::Remnant { .. }, _) => true,
                    (Target::Group, Some(Left::Group { reaped })) => {
                        (*target, *asked) = (Target::Remnant { reaped }, None);
                        true
                    }
                    (Target::Group | Target::Process | Target::Reached, _) => lives(*process),
                },
                Action::Look { .. }
                | Action::Rest
                | Action::Retire { .. }
                | Action::Release { .. }
                | Action::Reject { .. }
                | Action::NoteDetached { .. }
                | Action::Detach { .. }
                | Action::ProbeGroup { .. }
                | Action::Inspect { .. }
                | Action::Pass { .. }
                | Action::AbandonPass
                | Action::CloseLives { .. }
                | Action::CloseGate { .. }
                | Action::CloseAllGates { .. }
                | Action::OpenGate { .. }
                | Action::Reply { .. }
                | Action::Finish => true,
            };
            if still {
                return Some(effect);
            }
            self.take_pending(effect.op);
        }
    }

    /// When [`Input::Timer`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    fn request(&mut self, request: Request, now: Instant) {
        match request {
            Request::End {
                whom,
                policy,
                reason,
                reply,
            } => {
                let terms = Terms {
                    policy,
                    reason,
                    replies: vec![reply],
                };
                match whom {
                    Whom::Number(session) => self.end(session, terms, now),
                    Whom::Life(session, life) => self.end_life(session, life, terms, now),
                }
            }
            Request::Stop {
                process,
                policy,
                reply,
            } => self.stop(process, &policy, reply, now),
            Request::Signal {
                process,
                signal,
                reply,
            } => self.signal_process(process, signal, reply),
            Request::Detach { process, reply } => self.detach(process, reply),
            Request::SignalSession {
                whom,
                signal,
                reply,
            } => self.signal_session(whom, signal, reply),
            Request::Touch {
                session,
                life,
                reply,
            } => self.touch(session, life, reply, now),
            Request::WaitEmpty {
                session,
                life,
                reply,
            } => self.wait_empty(session, life, reply),
            Request::Forget { life, reply } => self.forget(life, reply),
            Request::Shutdown {
                policy,
                reason,
                reply,
            } => self.begin_shutdown(policy, reason, reply, now),
            Request::HardenShutdown { policy } => self.harden_shutdown(policy, now),
        }
    }

    fn timer(&mut self, now: Instant) {
        while let Some(wake) = self.deadlines.pop_due(now) {
            match wake {
                Wake::End(life) => self.advance_end(life, now),
                Wake::Stop(process) => self.advance_stop(process, now),
                Wake::Pass => self.pass_due(now),
                Wake::TimeLimit(life) => self.limit_reached(life, Reason::TimeLimit, now),
                Wake::IdleLimit(life) => self.limit_reached(life, Reason::IdleLimit, now),
                Wake::ProcessLimit(process) => self.process_limit_reached(process, now),
                Wake::Look(process) => {
                    let settle = self
                        .members
                        .get(&process)
                        .is_some_and(|member| member.sight == Sight::Dead);
                    self.look(process, settle);
                }
            }
        }
    }

    /// The table of what can be awaited and what can come of it. A pair that does not belong together is the driver's
    /// mistake; it is ignored like an outcome that nobody asked for.
    fn done(&mut self, op: OpId, outcome: Outcome, now: Instant) {
        let Some(pending) = self.take_pending(op) else {
            return;
        };
        match (pending, outcome) {
            (Pending::Look { process }, Outcome::Looked(looked)) => {
                self.looked(process, looked, now)
            }
            (
                Pending::Signal {
                    process,
                    signal,
                    reason,
                    told,
                },
                Outcome::Signalled(result),
            ) => {
                self.signalled(process, (signal, reason), told, result);
            }
            (Pending::Probe { process, life }, Outcome::GroupProbed { occupied }) => {
                self.probed(process, life, occupied);
            }
            (Pending::Inspect { process }, Outcome::Inspected(cause)) => {
                self.inspected(process, cause, now)
            }
            (Pending::Pass, Outcome::Passed(passed)) => self.passed(&passed, now),
            (Pending::Detach { process, reply }, Outcome::Noted(noted)) => {
                self.noted_detached(process, reply, noted, now);
            }
            (Pending::End { session, terms }, Outcome::GateClosed(closed)) => match closed {
                Some(gate) => self.begin_end(gate.life, session, gate.tokens, *terms, now),
                None => self.reply_empty(session, &terms),
            },
            (Pending::Shutdown { policy, reason }, Outcome::AllGatesClosed(closed)) => {
                self.shutdown_closed(closed, &policy, reason, now);
            }
            (Pending::Look { .. }, other)
            | (Pending::Signal { .. }, other)
            | (Pending::Probe { .. }, other)
            | (Pending::Inspect { .. }, other)
            | (Pending::Pass, other)
            | (Pending::Detach { .. }, other)
            | (Pending::End { .. }, other)
            | (Pending::Shutdown { .. }, other) => {
                debug_assert!(
                    false,
                    "an outcome of another kind than its effect: {other:?}"
                );
            }
        }
    }

    // ---- effects

    /// Asks for something that has no outcome.
    pub(super) fn act(&mut self, action: Action) {
        self.next_op += 1;
        if let (Action::Release { process, .. }, false) = (&action, self.for_the_crowd) {
            self.left_the_crowd.insert(*process, Left::Nothing);
        }
        let queue = if self.for_the_crowd {
            self.in_groups += usize::from(is_for_one_of_a_group(&action));
            &mut self.crowd
        } else {
            &mut self.effects
        };
        queue.push_back(Effect {
            op: OpId(self.next_op),
            action,
        });
    }

    /// Asks for something whose outcome is awaited.
    pub(super) fn ask(&mut self, action: Action, pending: Pending) -> OpId {
        self.act(action);
        let op = OpId(self.next_op);
        self.pending.push_back((op, pending));
        op
    }

    /// What comes of it is not wanted any more.
    pub(super) fn forget_op(&mut self, op: OpId) {
        self.take_pending(op);
    }

    fn take_pending(&mut self, op: OpId) -> Option<Pending> {
        let at = match self.pending.front() {
            Some(&(first, _)) if first == op => 0,
            _ => self.pending.binary_search_by_key(&op, |&(op, _)| op).ok()?,
        };
        self.pending.remove(at).map(|(_, pending)| pending)
    }

    pub(super) fn look(&mut self, process: ProcessId, settle: bool) {
        if self.members.contains_key(&process) {
            self.ask(Action::Look { process, settle }, Pending::Look { process });
        }
    }

    /// Sends a signal on behalf of `reason`, and tells the subscribers when it is sent.
    pub(super) fn send(
        &mut self,
        process: ProcessId,
        target: Target,
        signal: Signal,
        reason: Reason,
        told: Told,
    ) {
        let asked = match told {
            Told::Events | Told::Caller(_) | Told::Broadcast(_) => Some(reason),
            Told::Nobody => None,
        };
        self.ask(
            Action::Signal {
                process,
                target,
                signal,
                asked,
            },
            Pending::Signal {
                process,
                signal,
                reason,
                told,
            },
        );
    }

    /// Tells the subscribers something about a member.
    pub(super) fn publish(&mut self, process: ProcessId, kind: EventKind) {
        let Some(member) = self.members.get(&process) else {
            return;
        };
        let notice = Notice {
            life: member.life,
            session: member.session,
            process: Some((process, member.facts.pid)),
            label: member.facts.label.clone(),
            origin: Some(member.facts.origin),
            kind,
        };
        self.act(Action::Publish(Box::new(notice)));
    }

    /// Tells the subscribers something about a session.
    pub(super) fn publish_session(&mut self, life: Life, session: SessionId, kind: EventKind) {
        let label = self.lives.get(&life).and_then(|state| state.label.clone());
        self.act(Action::Publish(Box::new(Notice {
            life,
            session,
            process: None,
            label,
            origin: None,
            kind,
        })));
    }

    pub(super) fn reply(&mut self, to: ReplyId, answer: Answer) {
        self.act(Action::Reply { to, answer });
    }

    /// What came of a signal.
    fn signalled(
        &mut self,
        process: ProcessId,
        (signal, reason): (Signal, Reason),
        told: Told,
        result: Result<(), Errno>,
    ) {
        let pid = self.members.get(&process).map(|member| member.facts.pid);
        if let Some(member) = self.members.get_mut(&process) {
            match result {
                Ok(()) => member.denied = false,
                Err(Errno::NotPermitted) => member.denied = true,
                // ESRCH proves nothing; whoever is gone shows it when looked at.
                Err(Errno::NoSuchProcess) => self.look(process, false),
                Err(Errno::Other(_)) => {}
            }
        }
        match told {
            Told::Nobody => {}
            Told::Events => self.publish_signalled(process, signal, reason, result),
            Told::Caller(reply) => {
                self.publish_signalled(process, signal, reason, result);
                let outcome = result.map_err(|errno| signal_error(errno, pid));
                self.reply(reply, Answer::Done(outcome));
            }
            Told::Broadcast(reply) => {
                self.publish_signalled(process, signal, reason, result);
                self.broadcast_answered(reply, result, pid);
            }
        }
    }

    fn publish_signalled(
        &mut self,
        process: ProcessId,
        signal: Signal,
        reason: Reason,
        result: Result<(), Errno>,
    ) {
        if result.is_ok() {
            self.publish(process, EventKind::Signalled { signal, reason });
        }
    }
}

/// The error of a signal that could not be sent.
pub(super) fn signal_error(errno: Errno, pid: Option<u32>) -> Error {
    let (kind, raw) = match errno {
        Errno::NotPermitted => (ErrorKind::NotPermitted, None),
        Errno::NoSuchProcess => (ErrorKind::AlreadyExited, None),
        Errno::Other(raw) => (ErrorKind::System, Some(raw)),
    };
    let mut error = Error::new(kind, "signal");
    if let Some(pid) = pid {
        error = error.with_pid(pid);
    }
    match raw {
        Some(raw) => error.with_source(std::io::Error::from_raw_os_error(raw)),
        None => error,
    }
}

//! The machine driven by hand: what the simulated kernel does not do is said here, outcome by outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::{
    Action, Answer, Begun, Born, Errno, Facts, Fate, Gate, Hunt, Input, Looked, Machine, OpId,
    Opened, Outcome, Passed, Reach, Relation, ReplyId, Request, Seen, Settings, Target, Whom,
};
use super::world::policy;
use crate::containment::Containment;
use crate::event::{EventKind, Origin, Reason};
use crate::exit::{Exit, Status, StatusSource, Usage};
use crate::limits::Limits;
use crate::report::{SessionReport, SurvivalCause};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::StopPolicy;

pub(super) const ONE: SessionId = SessionId(1);
pub(super) const TWO: SessionId = SessionId(2);

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A machine, and what was answered to it and asked by it.
#[derive(Debug)]
pub(super) struct ByHand {
    pub(super) machine: Machine,
    pub(super) gate: Gate,
    start: Instant,
    pub(super) now: Instant,
    /// What a look shows of those that are not alive; with `settle`, always their exit.
    pub(super) looks: BTreeMap<ProcessId, Looked>,
    /// Those whose groups have somebody else in them.
    pub(super) occupied: BTreeSet<ProcessId>,
    /// Those that run as somebody else.
    pub(super) foreign: BTreeSet<ProcessId>,
    /// Those that have exited, which is seen as soon as it may be handed in.
    pub(super) exit_at_a_crowd: Vec<ProcessId>,
    /// Whether a pass is over at once, and quiet.
    pub(super) prompt: bool,
    pub(super) pass: Option<(OpId, Vec<Hunt>)>,
    pub(super) passes: usize,
    pub(super) inspections: Vec<(OpId, ProcessId)>,
    /// Everything that was asked for, and when.
    pub(super) asked: Vec<(Duration, Action)>,
    pub(super) answers: BTreeMap<ReplyId, Answer>,
    next_reply: u64,
}

/// A child of ours, started with a mark and in a group of its own.
pub(super) fn child() -> Facts {
    Facts {
        // As many as there are, from 101 on.
        pid: 0,
        inode: None,
        relation: Relation::Child,
        leads_group: true,
        origin: Origin::Spawned,
        containment: Containment::Group,
        reach: Reach::MarkAndGroup,
        in_a_members_group: false,
        label: None,
        command_line: Arc::from([]),
    }
}

/// A process of somebody else.
pub(super) fn stranger(origin: Origin) -> Facts {
    Facts {
        relation: Relation::Stranger,
        leads_group: false,
        origin,
        reach: if origin == Origin::Found {
            Reach::Group
        } else {
            Reach::Leader
        },
        ..child()
    }
}

impl ByHand {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a first moment; from here on time is virtual"
        )]
        let start = Instant::now();
        let mut settings = Settings {
            policy: policy(1),
            group_after_reap: true,
            kept_reports: 4,
            subreaper: false,
        };
        change(&mut settings);
        Self {
            machine: Machine::new(settings),
            gate: Gate::new(Limits::NONE),
            start,
            now: start,
            looks: BTreeMap::new(),
            occupied: BTreeSet::new(),
            foreign: BTreeSet::new(),
            exit_at_a_crowd: Vec::new(),
            prompt: true,
            pass: None,
            passes: 0,
            inspections: Vec::new(),
            asked: Vec::new(),
            answers: BTreeMap::new(),
            next_reply: 0,
        }
    }

    /// The same, where passes come to their end when the test says so.
    pub(super) fn searching() -> Self {
        let mut hand = Self::new();
        hand.prompt = false;
        hand
    }

    pub(super) fn input(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            self.asked
                .push((self.now - self.start, effect.action.clone()));
            if let Some(outcome) = self.outcome(effect.op, effect.action) {
                let op = effect.op;
                self.machine.handle(Input::Done { op, outcome }, self.now);
            }
            if self.machine.is_at_a_crowd() {
                for process in std::mem::take(&mut self.exit_at_a_crowd) {
                    let exited = self.exit_of(Status::Code(0), None);
                    self.looks.insert(process, exited);
                    self.machine.handle(Input::Ready { process }, self.now);
                }
            }
        }
    }

    fn outcome(&mut self, op: OpId, action: Action) -> Option<Outcome> {
        match action {
            Action::Look { process, settle } => {
                let looked = self.looks.get(&process).cloned();
                Some(Outcome::Looked(match looked {
                    Some(Looked::Dead) if settle => self.exit_of(Status::Unknown, None),
                    Some(looked) => looked,
                    None => Looked::Alive,
                }))
            }
            Action::Signal { process, .. } => {
                Some(Outcome::Signalled(if self.foreign.contains(&process) {
                    Err(Errno::NotPermitted)
                } else {
                    Ok(())
                }))
            }
            Action::ProbeGroup { process } => {
                let occupied = self.occupied.contains(&process);
                Some(Outcome::GroupProbed { occupied })
            }
            Action::NoteDetached { .. } => Some(Outcome::Noted(Ok(()))),
            Action::CloseGate {
                session,
                create,
                reason,
            } => {
                let closed = self.gate.close(session, create, reason);
                Some(Outcome::GateClosed(closed))
            }
            Action::CloseAllGates { reason } => {
                Some(Outcome::AllGatesClosed(self.gate.close_all(reason)))
            }
            Action::OpenGate { session, life } => {
                self.gate.reopen(session, life);
                None
            }
            Action::Pass { hunts } => {
                assert!(self.pass.is_none(), "two passes at once");
                self.passes += 1;
                if self.prompt {
                    return Some(Outcome::Passed(quiet()));
                }
                self.pass = Some((op, hunts));
                None
            }
            Action::AbandonPass => {
                self.pass = None;
                None
            }
            Action::Inspect { process } => {
                self.inspections.push((op, process));
                None
            }
            Action::Reply { to, answer } => {
                if !matches!(answer, Answer::OneOfMany(_)) {
                    let twice = self.answers.insert(to, answer);
                    assert!(twice.is_none(), "{to:?} is answered twice");
                }
                None
            }
            Action::Rest
            | Action::CloseStdin { .. }
            | Action::Retire { .. }
            | Action::Release { .. }
            | Action::Reject { .. }
            | Action::Detach { .. }
            | Action::CloseLives { .. }
            | Action::Publish(_)
            | Action::Finish => None,
        }
    }

    // ---- what happens

    fn exit_of(&self, status: Status, usage: Option<Usage>) -> Looked {
        Looked::Exited(Exit {
            status,
            source: StatusSource::Waited,
            asked: None,
            at: self.now,
            wall_clock: SystemTime::UNIX_EPOCH,
            lifetime: None,
            usage,
        })
    }

    /// A spawn fails after its program had begun.
    pub(super) fn aborts_begun(&mut self, session: SessionId, leads_group: bool) {
        let token = self.gate.reserve(session, None).expect("it may be started");
        self.gate.abort_begun(session, token.process);
        let facts = Facts {
            leads_group,
            ..child()
        };
        self.input(Input::Aborted {
            process: token.process,
            life: token.life,
            begun: Some(Begun {
                session,
                facts: Arc::new(facts),
                since: None,
            }),
        });
    }

    pub(super) fn exit(&mut self, process: ProcessId) {
        self.exit_having_used(process, None);
    }

    pub(super) fn exit_having_used(&mut self, process: ProcessId, usage: Option<Usage>) {
        let exited = self.exit_of(Status::Code(0), usage);
        self.shows(process, exited);
    }

    /// The kernel says that there is something to see, and this is what.
    pub(super) fn shows(&mut self, process: ProcessId, looked: Looked) {
        self.looks.insert(process, looked);
        self.input(Input::Ready { process });
    }

    pub(super) fn born(&mut self, session: SessionId, facts: Facts) -> ProcessId {
        self.born_with(session, facts, |_| {})
    }

    pub(super) fn born_with(
        &mut self,
        session: SessionId,
        facts: Facts,
        change: impl FnOnce(&mut Born),
    ) -> ProcessId {
        let token = self.gate.reserve(session, None).expect("it may be started");
        self.comes_back(session, (token.process, token.life), facts, change)
    }

    /// A spawn that was under way comes back.
    pub(super) fn comes_back(
        &mut self,
        session: SessionId,
        (process, life): (ProcessId, Life),
        facts: Facts,
        change: impl FnOnce(&mut Born),
    ) -> ProcessId {
        let started = !matches!(facts.origin, Origin::Found | Origin::Recovered);
        let mut born = Born {
            process,
            life,
            session,
            facts: Arc::new(named(process, facts)),
            at: self.now,
            since: started.then_some(1),
            raced: false,
            time_limit: None,
            reply: None,
        };
        change(&mut born);
        self.input(Input::Born(born));
        self.gate.landed(session, process);
        process
    }

    /// A pass has met somebody.
    pub(super) fn found(&mut self, (session, life): (SessionId, Life), facts: Facts) -> ProcessId {
        let process = self.gate.name_found();
        self.comes_back(session, (process, life), facts, |_| {})
    }

    pub(super) fn opened(&mut self, session: SessionId, change: impl FnOnce(&mut Opened)) -> Life {
        let (session, life) = self
            .gate
            .open_session(Some(session), Default::default())
            .expect("it is free");
        let mut opened = Opened {
            session,
            life,
            label: None,
            policy: None,
            earlier: Vec::new(),
            since: None,
            enclosed: false,
            time_limit: None,
            idle_limit: None,
        };
        change(&mut opened);
        self.input(Input::Opened(opened));
        life
    }

    pub(super) fn life(&self, session: SessionId) -> Life {
        self.machine.life_of(session).expect("it lives").0
    }

    pub(super) fn request(&mut self, request: impl FnOnce(ReplyId) -> Request) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.input(Input::Request(request(reply)));
        reply
    }

    pub(super) fn end(&mut self, session: SessionId, policy: StopPolicy) -> ReplyId {
        self.request(|reply| Request::End {
            whom: Whom::Number(session),
            policy: Some(policy),
            reason: Reason::Host,
            reply,
        })
    }

    pub(super) fn stop(&mut self, process: ProcessId, policy: StopPolicy) -> ReplyId {
        self.request(|reply| Request::Stop {
            process,
            policy,
            reply,
        })
    }

    /// Time goes by until there is a pass.
    pub(super) fn next_pass(&mut self) {
        while self.pass.is_none() {
            let at = self.next_deadline().expect("a pass is to come");
            self.until(at);
        }
    }

    /// What the pass that is under way is for, where that is one life.
    pub(super) fn hunt(&self) -> &Hunt {
        let (_, hunts) = self.pass.as_ref().expect("a pass is under way");
        let [hunt] = &hunts[..] else {
            panic!("not for one life: {hunts:?}");
        };
        hunt
    }

    /// The pass that is under way is over, and has seen this of the life that it was for.
    pub(super) fn passed(&mut self, change: impl FnOnce(&mut Passed, &mut Seen)) {
        let (op, hunts) = self.pass.take().expect("one is under way");
        let (mut passed, mut seen) = (quiet(), Seen::default());
        change(&mut passed, &mut seen);
        for hunt in hunts {
            passed.seen.insert(hunt.life, seen.clone());
        }
        let outcome = Outcome::Passed(passed);
        self.input(Input::Done { op, outcome });
    }

    /// Nobody finds out why they live.
    pub(super) fn inspected(&mut self, cause: Option<SurvivalCause>) {
        for (op, _) in std::mem::take(&mut self.inspections) {
            let outcome = Outcome::Inspected(cause);
            self.input(Input::Done { op, outcome });
        }
    }

    /// Time goes by until so long after the beginning, and every deadline is kept.
    pub(super) fn until(&mut self, elapsed: Duration) {
        let until = self.start + elapsed;
        while let Some(at) = self.machine.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Timer);
            let next = self.machine.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "it is handled");
        }
        self.now = until;
    }

    /// When the next deadline is, from the beginning on.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        Some(self.machine.next_deadline()? - self.start)
    }

    // ---- what came of it

    pub(super) fn report(&self, reply: ReplyId) -> &SessionReport {
        match self.answers.get(&reply) {
            Some(Answer::Report(report)) => report,
            other => panic!("no report, but {other:?}"),
        }
    }

    pub(super) fn has_answered(&self, reply: ReplyId) -> bool {
        self.answers.contains_key(&reply)
    }

    /// The signals that were sent to a process or its group, and when.
    pub(super) fn signals(&self, process: ProcessId) -> Vec<(Duration, Signal)> {
        let to = |(at, action): &(Duration, Action)| {
            let (to, target, signal) = sent(action)?;
            let sent = matches!(target, Target::Process | Target::Group);
            (to == process && sent && signal != Signal::CONT).then_some((*at, signal))
        };
        self.asked.iter().filter_map(to).collect()
    }

    pub(super) fn has_asked(&self, is_it: impl Fn(&Action) -> bool) -> usize {
        self.asked
            .iter()
            .filter(|(_, action)| is_it(action))
            .count()
    }

    /// How often the subscribers have heard this of a process.
    pub(super) fn heard(&self, process: ProcessId, is_it: impl Fn(&EventKind) -> bool) -> usize {
        self.has_asked(|action| {
            let Action::Publish(notice) = action else {
                return false;
            };
            notice.process.is_some_and(|(of, _)| of == process) && is_it(&notice.kind)
        })
    }

    pub(super) fn is_rejected(&self, rejected: ProcessId) -> bool {
        self.has_asked(
            |action| matches!(action, Action::Reject { process } if *process == rejected),
        ) == 1
    }
}

/// To whom a signal is to be sent.
pub(super) fn sent(action: &Action) -> Option<(ProcessId, Target, Signal)> {
    let Action::Signal {
        process,
        target,
        signal,
        ..
    } = *action
    else {
        return None;
    };
    Some((process, target, signal))
}

/// With a pid and an inode of its own, unless it has been given one.
fn named(process: ProcessId, facts: Facts) -> Facts {
    if facts.pid != 0 {
        return facts;
    }
    Facts {
        pid: 100 + u32::try_from(process.0).expect("a small number"),
        inode: Some(process.0),
        ..facts
    }
}

/// A pass that has met nobody.
fn quiet() -> Passed {
    Passed {
        fate: Fate::Complete,
        calm: true,
        rounds: 2,
        ..Passed::default()
    }
}

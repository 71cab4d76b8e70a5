//! A simulated kernel, gate and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::engine::Machine;
use super::super::{
    Action, Answer, Born, Errno, Facts, Gate, Input, Looked, Notice, OpId, Outcome, Relation,
    ReplyId, Request, Settings, Target, Whom,
};
use crate::containment::Containment;
use crate::event::{EventKind, Origin, Reason};
use crate::exit::{Exit, Status, StatusSource};
use crate::limits::Limits;
use crate::report::{SessionReport, Strength, SurvivalCause};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::StopPolicy;

/// What a process makes of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Temper {
    /// SIGTERM and SIGKILL make it ready to exit.
    Obedient,
    /// Only SIGKILL does.
    Deaf,
    /// Not even that, until [`Op::Wake`]: it sleeps uninterruptibly.
    Asleep,
    /// It runs as somebody else: EPERM.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    Alive,
    /// It has exited, and its parent has not reaped it.
    Zombie,
    /// Reaped: by us, or by somebody else.
    Gone,
}

/// A process as the kernel knows it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Proc {
    pub(super) session: SessionId,
    pub(super) life: Life,
    pub(super) temper: Temper,
    pub(super) body: Body,
    relation: Relation,
    /// A tracer keeps it from being waited for.
    pub(super) traced: bool,
    /// Its exit has not been handed to the machine yet.
    unseen: bool,
    leads_group: bool,
    /// Somebody else is in its group.
    pub(super) company: bool,
    pinned: bool,
    /// What the subscribers have heard of it.
    started: u32,
    exited: u32,
    /// SIGKILLs in the end that is under way.
    kills: u32,
    /// Stops of this process that were asked for; each may kill once more.
    stops: u32,
    /// A SIGKILL is allowed from here on; set by whoever asks for an end.
    killable: bool,
}

/// One thing that happens in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A thread takes a token.
    Reserve(u64),
    /// The oldest spawn under way comes back.
    Born(Temper),
    /// The same, of a process that is not ours.
    Attach(Temper),
    /// The oldest spawn under way fails.
    Abort,
    /// The n-th living process exits, and the machine hears of it.
    Exit(usize),
    /// It exits, and the machine hears of it before the next thing that happens.
    ExitUnseen(usize),
    /// Somebody else takes its status away.
    Steal(usize),
    /// A tracer lays hands on the n-th living process.
    Trace(usize),
    /// All tracers let go.
    Untrace,
    /// What sleeps uninterruptibly wakes, and dies of what was sent to it.
    Wake,
    /// Parents that are not us reap their zombies.
    ForeignReap,
    End(u64, usize),
    Stop(usize, usize),
    Signal(usize),
    SignalAll(u64),
    Shutdown(usize),
    Harden(usize),
    /// The clock moves to the next deadline.
    Timer,
    /// The clock moves, and nothing is due.
    Pause(u16),
    /// The oldest inspection is answered.
    Inspected(bool),
    /// An outcome for nothing that was asked.
    Stray(u64),
}

/// The policies that the operations name.
pub(super) fn policy(n: usize) -> StopPolicy {
    let second = Duration::from_secs(1);
    match n % 4 {
        0 => StopPolicy::immediate().confirm_within(second),
        1 => StopPolicy::new()
            .signal(Signal::TERM, 2 * second)
            .confirm_within(second),
        2 => StopPolicy::new()
            .close_stdin(second)
            .signal(Signal::TERM, second)
            .confirm_within(3 * second),
        _ => StopPolicy::wait_then_kill(Duration::MAX).confirm_within(Duration::MAX),
    }
}

/// The world, and the machine in it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) gate: Gate,
    pub(super) procs: BTreeMap<ProcessId, Proc>,
    pub(super) now: Instant,
    born_at: Instant,
    spawning: Vec<(ProcessId, Life, SessionId)>,
    inspections: Vec<OpId>,
    pub(super) answers: BTreeMap<ReplyId, Option<Answer>>,
    /// The earliest SIGKILL that anybody asked for in the end that is under way, by number.
    kill_from: BTreeMap<SessionId, Instant>,
    stop_from: BTreeMap<ProcessId, Instant>,
    pub(super) notices: Vec<(Instant, Notice)>,
    pub(super) sent: Vec<(Instant, ProcessId, Signal, Target)>,
    pub(super) finished: bool,
    next_reply: u64,
}

impl World {
    pub(super) fn new(limits: Limits, group_after_reap: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a first moment; from here on time is virtual"
        )]
        let now = Instant::now();
        let settings = Settings {
            policy: policy(1),
            group_after_reap,
            kept_reports: 4,
        };
        Self {
            machine: Machine::new(settings),
            gate: Gate::new(limits),
            procs: BTreeMap::new(),
            now,
            born_at: now,
            spawning: Vec::new(),
            inspections: Vec::new(),
            answers: BTreeMap::new(),
            kill_from: BTreeMap::new(),
            stop_from: BTreeMap::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            finished: false,
            next_reply: 0,
        }
    }

    /// How much time has gone by.
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.born_at
    }

    pub(super) fn alive(&self) -> Vec<ProcessId> {
        let alive =
            |(&process, proc): (&ProcessId, &Proc)| (proc.body == Body::Alive).then_some(process);
        self.procs.iter().filter_map(alive).collect()
    }

    fn nth_alive(&self, n: usize) -> Option<ProcessId> {
        let alive = self.alive();
        if alive.is_empty() {
            None
        } else {
            Some(alive[n % alive.len()])
        }
    }

    /// Lets something happen, and checks everything afterwards. `false`: it cannot happen now.
    pub(super) fn step(&mut self, op: Op) -> bool {
        if self.finished {
            return false;
        }
        // The reactor's order, except where the point is that time goes by before we look.
        if !matches!(op, Op::Timer | Op::Pause(_) | Op::ExitUnseen(_)) {
            self.see_exits();
        }
        let happened = !self.finished && self.happen(op);
        if happened && !self.finished {
            self.machine
                .check()
                .unwrap_or_else(|broken| panic!("after {op:?}: {broken}"));
            self.check();
        }
        happened
    }

    fn happen(&mut self, op: Op) -> bool {
        match op {
            Op::Reserve(session) => return self.reserve(SessionId(session)),
            Op::Born(temper) => return self.born(temper, Relation::Child),
            Op::Attach(temper) => return self.born(temper, Relation::Stranger),
            Op::Abort => return self.abort(),
            Op::Exit(n) => {
                return self
                    .nth_alive(n)
                    .is_some_and(|process| self.exit(process, true));
            }
            Op::ExitUnseen(n) => {
                return self
                    .nth_alive(n)
                    .is_some_and(|process| self.exit(process, false));
            }
            Op::Steal(n) => return self.steal(n),
            Op::Trace(n) => {
                let Some(process) = self.nth_alive(n) else {
                    return false;
                };
                self.proc(process).traced = true;
            }
            Op::Untrace => self.untrace(),
            Op::Wake => self.wake(),
            Op::ForeignReap => self.foreign_reap(),
            Op::End(session, n) => {
                self.end(SessionId(session), n);
            }
            Op::Stop(p, n) => return self.stop(p, n),
            Op::Signal(p) => {
                let Some(process) = self.nth_alive(p) else {
                    return false;
                };
                let reply = self.next_reply();
                self.input(Input::Request(Request::Signal {
                    process,
                    signal: Signal::TERM,
                    reply,
                }));
            }
            Op::SignalAll(session) => {
                let reply = self.next_reply();
                let whom = Whom::Number(SessionId(session));
                self.input(Input::Request(Request::SignalSession {
                    whom,
                    signal: Signal::HUP,
                    reply,
                }));
            }
            Op::Shutdown(n) => self.shutdown(n),
            Op::Harden(n) => {
                let from = self.kill_time(n);
                self.allow_all(from);
                self.input(Input::Request(Request::HardenShutdown {
                    policy: policy(n),
                }));
            }
            Op::Timer => return self.timer(),
            Op::Pause(ms) => {
                let until = self.now + Duration::from_millis(ms.into());
                if self.machine.next_deadline().is_some_and(|at| at <= until) {
                    return false;
                }
                self.now = until;
            }
            Op::Inspected(found) => {
                if self.inspections.is_empty() {
                    return false;
                }
                let op = self.inspections.remove(0);
                let cause = found.then_some(SurvivalCause::Uninterruptible);
                self.input(Input::Done {
                    op,
                    outcome: Outcome::Inspected(cause),
                });
            }
            Op::Stray(n) => {
                let outcome = Outcome::Looked(Looked::Dead);
                self.input(Input::Done {
                    op: OpId(u64::MAX - n),
                    outcome,
                });
            }
        }
        true
    }

    // ---- what can happen

    pub(super) fn reserve(&mut self, session: SessionId) -> bool {
        let Ok(token) = self.gate.reserve(session, None) else {
            return false;
        };
        self.spawning.push((token.process, token.life, session));
        true
    }

    fn born(&mut self, temper: Temper, relation: Relation) -> bool {
        if self.spawning.is_empty() {
            return false;
        }
        let (process, life, session) = self.spawning.remove(0);
        let ours = relation == Relation::Child;
        let raced = self.gate.is_doomed(session, life);
        if raced && !ours {
            // What is attached stays whose it is.
            self.gate.abort(session, process);
            self.input(Input::Aborted { process, life });
            return true;
        }
        self.procs.insert(
            process,
            Proc {
                session,
                life,
                temper,
                body: Body::Alive,
                relation,
                traced: false,
                unseen: false,
                leads_group: ours,
                company: false,
                pinned: true,
                started: 0,
                exited: 0,
                kills: 0,
                // Whoever is born too late is killed at once, and again with the rest.
                stops: u32::from(raced),
                killable: raced,
            },
        );
        let facts = Facts {
            pid: u32::try_from(process.0).unwrap() + 100,
            inode: Some(process.0),
            relation,
            leads_group: ours,
            origin: if ours {
                Origin::Spawned
            } else {
                Origin::Attached
            },
            containment: Containment::Group,
            label: None,
            command_line: Arc::from([]),
        };
        let reply = (!ours).then(|| self.next_reply());
        let born = Born {
            process,
            life,
            session,
            facts: Arc::new(facts),
            at: self.now,
            raced,
            time_limit: None,
            reply,
        };
        self.input(Input::Born(born));
        self.gate.landed(session, process);
        true
    }

    fn abort(&mut self) -> bool {
        if self.spawning.is_empty() {
            return false;
        }
        let (process, life, session) = self.spawning.remove(0);
        self.gate.abort(session, process);
        self.input(Input::Aborted { process, life });
        true
    }

    pub(super) fn exit(&mut self, process: ProcessId, seen: bool) -> bool {
        let proc = self.proc(process);
        proc.body = Body::Zombie;
        proc.unseen = true;
        if seen {
            self.see_exits();
        }
        true
    }

    /// The reactor's order: exits come before whatever else there is.
    fn see_exits(&mut self) {
        let unseen: Vec<ProcessId> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.unseen)
            .map(|(&process, _)| process)
            .collect();
        for process in unseen {
            self.proc(process).unseen = false;
            self.hand_in(Input::Ready { process });
        }
    }

    fn steal(&mut self, n: usize) -> bool {
        let Some(process) = self.nth_alive(n) else {
            return false;
        };
        let proc = self.proc(process);
        if proc.traced {
            return false;
        }
        proc.body = Body::Gone;
        proc.unseen = true;
        self.see_exits();
        true
    }

    fn untrace(&mut self) {
        let traced: Vec<ProcessId> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.traced)
            .map(|(&process, _)| process)
            .collect();
        for process in traced {
            let proc = self.proc(process);
            proc.traced = false;
            proc.unseen = proc.body == Body::Zombie;
        }
        self.see_exits();
    }

    fn wake(&mut self) {
        let asleep: Vec<ProcessId> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.temper == Temper::Asleep && proc.body == Body::Alive)
            .map(|(&process, _)| process)
            .collect();
        for process in asleep {
            let proc = self.proc(process);
            if proc.kills > 0 {
                proc.body = Body::Zombie;
                proc.unseen = true;
            }
        }
        self.see_exits();
    }

    fn foreign_reap(&mut self) {
        for proc in self.procs.values_mut() {
            if proc.relation == Relation::Stranger && proc.body == Body::Zombie && !proc.traced {
                proc.body = Body::Gone;
                proc.unseen = true;
            }
        }
        self.see_exits();
    }

    pub(super) fn end(&mut self, session: SessionId, n: usize) -> ReplyId {
        let from = self.kill_time(n);
        self.allow(session, from);
        let reply = self.next_reply();
        self.input(Input::Request(Request::End {
            whom: Whom::Number(session),
            policy: Some(policy(n)),
            reason: Reason::Host,
            reply,
        }));
        reply
    }

    fn stop(&mut self, p: usize, n: usize) -> bool {
        let Some(process) = self.nth_alive(p) else {
            return false;
        };
        let from = self.kill_time(n);
        self.proc(process).stops += 1;
        let known = self.stop_from.entry(process).or_insert(from);
        *known = (*known).min(from);
        let reply = self.next_reply();
        self.input(Input::Request(Request::Stop {
            process,
            policy: policy(n),
            reply,
        }));
        true
    }

    fn shutdown(&mut self, n: usize) {
        let from = self.kill_time(n);
        self.allow_all(from);
        let reply = self.next_reply();
        let reason = Reason::Shutdown;
        self.input(Input::Request(Request::Shutdown {
            policy: policy(n),
            reason,
            reply,
        }));
    }

    pub(super) fn timer(&mut self) -> bool {
        let Some(at) = self.machine.next_deadline() else {
            return false;
        };
        self.now = self.now.max(at);
        self.input(Input::Timer);
        assert!(
            self.machine
                .next_deadline()
                .is_none_or(|next| next > self.now),
            "what was due has been handled"
        );
        true
    }

    /// When this policy, asked for now, kills.
    fn kill_time(&self, n: usize) -> Instant {
        let soft = policy(n)
            .steps()
            .iter()
            .fold(Duration::ZERO, |sum, step| sum.saturating_add(step.lasts));
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        self.now + soft.min(century)
    }

    fn allow(&mut self, session: SessionId, from: Instant) {
        let known = self.kill_from.entry(session).or_insert(from);
        *known = (*known).min(from);
    }

    fn allow_all(&mut self, from: Instant) {
        let sessions: BTreeSet<SessionId> = self.procs.values().map(|proc| proc.session).collect();
        let spawning: Vec<SessionId> = self
            .spawning
            .iter()
            .map(|&(_, _, session)| session)
            .collect();
        for session in sessions.into_iter().chain(spawning) {
            self.allow(session, from);
        }
    }

    pub(super) fn next_reply(&mut self) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.answers.insert(reply, None);
        reply
    }

    pub(super) fn proc(&mut self, process: ProcessId) -> &mut Proc {
        self.procs
            .get_mut(&process)
            .expect("a process of this world")
    }

    // ---- the reactor's part

    pub(super) fn input(&mut self, input: Input) {
        self.see_exits();
        if self.finished {
            // The reactor is gone, and with it the caller's end of the answer.
            self.answers.retain(|_, answer| answer.is_some());
            return;
        }
        // What dies of a signal now will be seen before the next input.
        self.hand_in(input);
    }

    fn hand_in(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            if let Some(outcome) = self.perform(effect.op, effect.action) {
                self.machine.handle(
                    Input::Done {
                        op: effect.op,
                        outcome,
                    },
                    self.now,
                );
            }
        }
    }

    fn perform(&mut self, op: OpId, action: Action) -> Option<Outcome> {
        match action {
            Action::Look { process, settle } => {
                return Some(Outcome::Looked(self.look(process, settle)));
            }
            Action::Signal {
                process,
                target,
                signal,
                asked,
            } => {
                return Some(Outcome::Signalled(
                    self.signal(process, target, signal, asked),
                ));
            }
            Action::CloseStdin { process } => assert!(self.procs.contains_key(&process)),
            Action::Retire { process, reap } => self.retire(process, reap),
            Action::Release { process, reap } => self.release(process, reap),
            Action::Reject { process } => drop(self.procs.remove(&process)),
            Action::ProbeGroup { process } => {
                let occupied = self.procs[&process].company;
                return Some(Outcome::GroupProbed { occupied });
            }
            Action::Inspect { .. } => self.inspections.push(op),
            Action::Publish(notice) => self.publish(notice),
            Action::CloseGate {
                session,
                create,
                reason,
            } => {
                let closed = self.gate.close(session, create, reason);
                let life = closed.as_ref().map(|closed| closed.life);
                let tokens = closed.map(|closed| closed.tokens).unwrap_or_default();
                return Some(Outcome::GateClosed { life, tokens });
            }
            Action::CloseAllGates { reason } => {
                return Some(Outcome::AllGatesClosed(self.gate.close_all(reason)));
            }
            Action::OpenGate { session, life } => self.gate.reopen(session, life),
            Action::Reply { to, answer } => self.answer(to, answer),
            Action::Finish => self.finished = true,
        }
        None
    }

    fn look(&mut self, process: ProcessId, settle: bool) -> Looked {
        let proc = &self.procs[&process];
        assert!(proc.pinned, "{process:?} is looked at without a pin");
        let status = match (proc.body, proc.relation) {
            (Body::Alive, _) => return Looked::Alive,
            (Body::Zombie, _) if proc.traced => return Looked::Held,
            (Body::Zombie, Relation::Stranger) if !settle => return Looked::Dead,
            (Body::Zombie, Relation::Child) => Status::Code(0),
            (Body::Zombie, Relation::Stranger) | (Body::Gone, _) => Status::Unknown,
        };
        let life = proc.life;
        self.gate.release(life);
        Looked::Exited(Exit {
            status,
            source: StatusSource::Waited,
            asked: None,
            at: self.now,
            wall_clock: SystemTime::UNIX_EPOCH,
            lifetime: None,
            usage: None,
        })
    }

    fn signal(
        &mut self,
        process: ProcessId,
        target: Target,
        signal: Signal,
        asked: Option<Reason>,
    ) -> Result<(), Errno> {
        let now = self.now;
        self.sent.push((now, process, signal, target));
        let allowed = self.kill_is_allowed(process);
        let proc = self.proc(process);
        assert!(proc.pinned, "{process:?} is signalled without a pin");
        if let Target::Remnant { reaped } = target {
            assert!(!reaped || proc.body == Body::Gone, "{process:?}");
            proc.company &= signal != Signal::KILL;
            return Ok(());
        }
        let of_an_end = asked.is_some_and(|reason| reason != Reason::Host) || proc.leads_group;
        assert!(
            target == Target::Process || proc.leads_group,
            "{process:?} leads no group"
        );
        if signal == Signal::KILL && of_an_end {
            assert!(allowed, "{process:?} is killed before its time");
        }
        match (proc.body, proc.temper) {
            (Body::Gone, _) => return Err(Errno::NoSuchProcess),
            (Body::Alive, Temper::Foreign) => return Err(Errno::NotPermitted),
            (Body::Zombie | Body::Alive, _) => {}
        }
        if signal == Signal::KILL {
            proc.kills += 1;
            assert!(
                proc.kills <= 1 + proc.stops,
                "{process:?} is killed again and again in one end"
            );
        }
        let dies = match proc.temper {
            Temper::Obedient => signal == Signal::KILL || signal == Signal::TERM,
            Temper::Deaf => signal == Signal::KILL,
            Temper::Asleep | Temper::Foreign => false,
        };
        if dies && proc.body == Body::Alive {
            proc.body = Body::Zombie;
            proc.unseen = true;
        }
        Ok(())
    }

    fn kill_is_allowed(&self, process: ProcessId) -> bool {
        let proc = &self.procs[&process];
        let session = self.kill_from.get(&proc.session);
        let own = self.stop_from.get(&process);
        proc.killable || session.into_iter().chain(own).any(|&from| from <= self.now)
    }

    fn retire(&mut self, process: ProcessId, reap: bool) {
        let proc = self.proc(process);
        assert_eq!(proc.exited, 1, "{process:?} is told before it is retired");
        assert_ne!(proc.body, Body::Alive);
        if reap {
            assert_eq!(proc.relation, Relation::Child, "a stranger is never reaped");
            proc.body = Body::Gone;
        }
    }

    fn release(&mut self, process: ProcessId, reap: bool) {
        let proc = self.proc(process);
        assert_ne!(proc.body, Body::Alive, "{process:?} is let go of alive");
        assert!(proc.pinned, "{process:?} is let go of twice");
        if reap {
            assert_eq!(proc.relation, Relation::Child, "a stranger is never reaped");
            proc.body = Body::Gone;
        }
        proc.pinned = false;
    }

    fn publish(&mut self, notice: Notice) {
        if let Some((process, _)) = notice.process {
            let proc = self.proc(process);
            assert_eq!(
                proc.exited, 0,
                "{:?} after the exit of {process:?}",
                notice.kind
            );
            proc.started += u32::from(matches!(notice.kind, EventKind::Started));
            if matches!(notice.kind, EventKind::Exited(_)) {
                assert_ne!(proc.body, Body::Alive, "{process:?} has exited, and lives");
                proc.exited += 1;
            }
            assert_eq!(proc.started, 1, "Started comes first, once");
        }
        if let EventKind::SessionEnded(report) = &notice.kind {
            self.check_report(report, notice.session);
        }
        self.notices.push((self.now, notice));
    }

    /// What a report says is true of the world.
    fn check_report(&mut self, report: &SessionReport, session: SessionId) {
        let alive: BTreeSet<ProcessId> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.session == session && proc.exited == 0)
            .map(|(&process, _)| process)
            .collect();
        match report.strength() {
            Strength::Unconfirmed { survivors } => {
                let named: BTreeSet<ProcessId> =
                    survivors.iter().map(|survivor| survivor.process).collect();
                assert!(
                    alive.is_subset(&named),
                    "{alive:?} live, {named:?} are named"
                );
                assert!(!named.is_empty());
            }
            Strength::Proven(_) | Strength::Observed(_) => {
                assert!(
                    alive.is_empty(),
                    "a clean report, and {alive:?} have not been seen to exit"
                );
            }
        }
        self.kill_from.remove(&session);
        for proc in self
            .procs
            .values_mut()
            .filter(|proc| proc.session == session)
        {
            proc.kills = 0;
            proc.killable = proc.exited == 0;
        }
    }

    fn answer(&mut self, to: ReplyId, answer: Answer) {
        if matches!(answer, Answer::OneOfMany(_)) {
            return;
        }
        if let Answer::Report(report) = &answer {
            let ended = |(_, notice): &(Instant, Notice)| {
                notice.session == report.session()
                    && matches!(notice.kind, EventKind::SessionEnded(_))
            };
            let told = report.members().is_empty() || self.notices.iter().any(ended);
            assert!(told, "a report is handed out after its events");
        }
        let slot = self
            .answers
            .get_mut(&to)
            .expect("an answer to somebody who asked");
        assert!(slot.is_none(), "{to:?} is answered twice: {answer:?}");
        *slot = Some(answer);
    }

    // ---- what holds at all times

    fn check(&self) {
        for (process, proc) in &self.procs {
            let watched = proc.exited == 0;
            assert_eq!(
                watched,
                self.machine.members.contains_key(process),
                "{process:?} {proc:?}"
            );
            assert!(
                proc.pinned || !watched,
                "{process:?} is watched without a pin"
            );
        }
        let living = self.procs.values().filter(|proc| proc.exited == 0).count();
        assert_eq!(
            self.gate.taken(),
            living + self.spawning.len(),
            "a slot for each process and each token"
        );
    }

    /// Lets everything come to its end, and checks that nothing is left of it.
    pub(super) fn finish(&mut self) {
        for temper in [Op::Untrace, Op::ForeignReap] {
            self.step(temper);
        }
        while self.step(Op::Born(Temper::Obedient)) {}
        for _ in 0..1000 {
            if self.finished || self.alive().is_empty() {
                break;
            }
            self.step(Op::Exit(0));
        }
        self.step(Op::Shutdown(0));
        for _ in 0..1000 {
            if self.finished {
                break;
            }
            let moved =
                self.step(Op::ForeignReap) | self.step(Op::Inspected(false)) | self.step(Op::Timer);
            assert!(moved, "nothing moves any more, and it is not over");
        }
        assert!(self.finished, "a shutdown comes to its end");
        let survived = !self.machine.members.is_empty() || !self.spawning.is_empty();
        for (reply, answer) in &self.answers {
            assert!(answer.is_some(), "{reply:?} was never answered");
        }
        if survived {
            // A shutdown was over before they were: nobody is left to track them.
            return;
        }
        assert!(self.machine.lives.is_empty(), "{:?}", self.machine.lives);
        assert!(self.machine.current.is_empty() && self.machine.lingering.is_empty());
        assert!(self.machine.by_pid.is_empty() && self.machine.next_deadline().is_none());
        assert!(self.machine.broadcasts.is_empty());
        assert_eq!((self.gate.taken(), self.gate.numbers()), (0, 0));
        for (process, proc) in &self.procs {
            assert!(!proc.pinned, "{process:?} is held for ever");
            assert_eq!((proc.started, proc.exited), (1, 1), "{process:?}");
            let ours = proc.relation == Relation::Child;
            assert!(
                !ours || proc.body == Body::Gone,
                "{process:?} stays a zombie"
            );
        }
    }

    /// Two worlds with the same digest behave alike from here on. Numbers and times are kept as they are: fewer worlds
    /// fall together than could, and never one too many.
    #[cfg_attr(fuzzing, expect(dead_code, reason = "for the explorer"))]
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let machine = &self.machine;
        let sorted = (
            machine.members.iter().collect::<BTreeMap<_, _>>(),
            machine.lives.iter().collect::<BTreeMap<_, _>>(),
            machine.current.iter().collect::<BTreeMap<_, _>>(),
            machine.lingering.iter().collect::<BTreeMap<_, _>>(),
            &machine.shutdown,
            machine.deadlines.iter().collect::<Vec<_>>(),
        );
        format!("{sorted:?}").hash(&mut hasher);
        self.procs.hash(&mut hasher);
        (self.now, &self.kill_from, &self.stop_from).hash(&mut hasher);
        (&self.spawning, self.inspections.len(), self.finished).hash(&mut hasher);
        self.answers
            .values()
            .map(Option::is_some)
            .collect::<Vec<_>>()
            .hash(&mut hasher);
        hasher.finish()
    }
}

/// Reads operations off bytes: a run of them, and then the end of everything.
pub(crate) fn drive(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let first = bytes.next().unwrap_or(0);
    let limits = if first & 1 == 0 {
        Limits::NONE
    } else {
        Limits::NONE.processes(4).processes_per_session(2)
    };
    let mut world = World::new(limits, first & 2 == 0);
    while let Some(byte) = bytes.next() {
        let n = usize::from(bytes.next().unwrap_or(0));
        world.step(decode(byte, n));
    }
    world.finish();
}

fn decode(byte: u8, n: usize) -> Op {
    let tempers = [
        Temper::Obedient,
        Temper::Deaf,
        Temper::Asleep,
        Temper::Foreign,
    ];
    let temper = tempers[n % 4];
    let session = (n / 4 % 3) as u64;
    match byte % 21 {
        0 | 1 => Op::Reserve(session),
        2 | 3 => Op::Born(temper),
        4 => Op::Attach(temper),
        5 => Op::Abort,
        6 => Op::Exit(n),
        7 => Op::ExitUnseen(n),
        8 => Op::Steal(n),
        9 => Op::Trace(n),
        10 => Op::Untrace,
        11 => Op::Wake,
        12 => Op::ForeignReap,
        13 => Op::End(session, n),
        14 => Op::Stop(n / 4, n),
        15 => Op::Signal(n),
        16 => Op::SignalAll(session),
        17 => Op::Timer,
        18 => Op::Pause(u16::try_from(n).unwrap_or(0) * 10),
        19 => Op::Inspected(n % 2 == 0),
        _ if n < 8 => Op::Shutdown(n),
        _ if n < 16 => Op::Harden(n),
        _ => Op::Stray(n as u64),
    }
}

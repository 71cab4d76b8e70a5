//! A simulated kernel, gate and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::engine::Machine;
use super::super::{
    Answer, Born, Facts, Gate, Input, Looked, Notice, OpId, Outcome, Reach, Relation, ReplyId,
    Request, Settings, Target, Whom,
};
use super::descendants::{FlightSim, Sees};
use crate::containment::Containment;
use crate::event::{Origin, Reason};
use crate::limits::Limits;
use crate::report::SurvivalCause;
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

/// How the processes of a world are contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    Group,
    Subreaper,
    /// In cgroups that they can leave.
    Cgroup,
    /// In cgroups that they cannot leave.
    Contained,
}

impl Tier {
    pub(super) const ALL: [Self; 4] = [Self::Group, Self::Subreaper, Self::Cgroup, Self::Contained];

    pub(super) fn has_leaves(self) -> bool {
        matches!(self, Self::Cgroup | Self::Contained)
    }

    fn reach(self) -> Reach {
        match self {
            Self::Group => Reach::Group,
            Self::Subreaper => Reach::Subreaper,
            Self::Cgroup => Reach::Cgroup,
            Self::Contained => Reach::Contained,
        }
    }
}

/// A process as the kernel knows it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Proc {
    pub(super) session: SessionId,
    pub(super) life: Life,
    pub(super) temper: Temper,
    pub(super) body: Body,
    pub(super) relation: Relation,
    /// A tracer keeps it from being waited for.
    pub(super) traced: bool,
    /// Its exit has not been handed to the machine yet.
    pub(super) unseen: bool,
    /// How it ends where the kernel has no pidfds.
    #[cfg(test)]
    pub(super) xnu: Option<crate::sys::simulated::Simulated>,
    pub(super) leads_group: bool,
    /// Somebody else is in its group.
    pub(super) company: bool,
    pub(super) pinned: bool,
    /// Nobody has told the machine of it.
    pub(super) hidden: bool,
    /// It was given up.
    pub(super) detached: bool,
    /// A pass has told the machine of it.
    pub(super) found: bool,
    /// It is in the cgroup of its life.
    pub(super) inside: bool,
    /// What the subscribers have heard of it.
    pub(super) started: u32,
    pub(super) exited: u32,
    /// SIGKILLs in the end that is under way.
    pub(super) kills: u32,
    /// Stops of this process that were asked for; each may kill once more.
    pub(super) stops: u32,
    /// A SIGKILL is allowed from here on; set by whoever asks for an end.
    pub(super) killable: bool,
}

impl Proc {
    /// The machine has it.
    pub(super) fn is_watched(&self) -> bool {
        self.exited == 0 && !self.hidden && !self.detached
    }

    /// It was there before, and belongs to somebody else.
    pub(super) fn is_attached(&self) -> bool {
        self.relation == Relation::Stranger && !self.found && !self.hidden
    }

    /// It has had its last instruction.
    pub(super) fn die(&mut self) {
        self.body = Body::Zombie;
        self.unseen = !self.hidden && !self.detached;
        #[cfg(test)]
        if let Some(xnu) = &mut self.xnu {
            // That is announced later, and after that only it can be waited for.
            xnu.begin_exit();
            self.unseen = false;
        }
    }
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
    /// The n-th living process is given up.
    Detach(usize),
    SignalAll(u64),
    Shutdown(usize),
    Harden(usize),
    /// The clock moves to the next deadline.
    Timer,
    /// The clock moves, and nothing is due.
    Pause(u16),
    /// The oldest inspection is answered.
    Inspected(bool),
    /// The n-th living process starts one that nobody is told of.
    Fork(usize),
    /// The n-th living process leaves its cgroup.
    Leave(usize),
    /// The pass that is under way is over.
    Passed(Sees),
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
    pub(super) tier: Tier,
    /// The lives whose cgroups are gone.
    pub(super) removed: BTreeSet<Life>,
    pub(super) now: Instant,
    #[cfg(test)]
    pub(super) born_at: Instant,
    pub(super) spawning: Vec<(ProcessId, Life, SessionId)>,
    pub(super) inspections: Vec<OpId>,
    /// Passes are over as soon as they begin: nobody hides in this world.
    pub(super) prompt_passes: bool,
    pub(super) flight: Option<FlightSim>,
    pub(super) answers: BTreeMap<ReplyId, Option<Answer>>,
    /// The earliest SIGKILL that anybody asked for in the end that is under way, by number.
    pub(super) kill_from: BTreeMap<SessionId, Instant>,
    pub(super) stop_from: BTreeMap<ProcessId, Instant>,
    pub(super) notices: Vec<(Instant, Notice)>,
    pub(super) sent: Vec<(Instant, ProcessId, Signal, Target)>,
    pub(super) finished: bool,
    pub(super) next_reply: u64,
    /// What comes back from the next spawn, where the kernel has no pidfds.
    #[cfg(test)]
    pub(super) next_is: Option<crate::sys::simulated::Simulated>,
}

impl World {
    #[cfg(test)]
    pub(super) fn new(limits: Limits, group_after_reap: bool) -> Self {
        Self::of_tier(limits, group_after_reap, Tier::Group)
    }

    pub(super) fn of_tier(limits: Limits, group_after_reap: bool, tier: Tier) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a first moment; from here on time is virtual"
        )]
        let now = Instant::now();
        let settings = Settings {
            policy: policy(1),
            group_after_reap,
            kept_reports: 4,
            subreaper: tier == Tier::Subreaper,
        };
        Self {
            machine: Machine::new(settings),
            gate: Gate::new(limits),
            procs: BTreeMap::new(),
            tier,
            removed: BTreeSet::new(),
            now,
            #[cfg(test)]
            born_at: now,
            spawning: Vec::new(),
            inspections: Vec::new(),
            prompt_passes: tier == Tier::Group,
            flight: None,
            answers: BTreeMap::new(),
            kill_from: BTreeMap::new(),
            stop_from: BTreeMap::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            finished: false,
            next_reply: 0,
            #[cfg(test)]
            next_is: None,
        }
    }

    /// How much time has gone by.
    #[cfg(test)]
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.born_at
    }

    pub(super) fn alive(&self) -> Vec<ProcessId> {
        let alive =
            |(&process, proc): (&ProcessId, &Proc)| (proc.body == Body::Alive).then_some(process);
        self.procs.iter().filter_map(alive).collect()
    }

    pub(super) fn nth_alive(&self, n: usize) -> Option<ProcessId> {
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
                #[cfg(test)]
                if let Some(xnu) = &mut self.proc(process).xnu {
                    xnu.trace();
                }
            }
            Op::Untrace => self.untrace(),
            Op::Wake => self.wake(),
            Op::ForeignReap => self.foreign_reap(),
            Op::End(session, n) => {
                self.end(SessionId(session), n);
            }
            Op::Stop(p, n) => return self.stop(p, n),
            Op::Signal(p) => {
                let Some(process) = self.nth_alive(p).filter(|id| !self.procs[id].hidden) else {
                    return false;
                };
                let reply = self.next_reply();
                self.input(Input::Request(Request::Signal {
                    process,
                    signal: Signal::TERM,
                    reply,
                }));
            }
            Op::Detach(n) => {
                let Some(process) = self.nth_alive(n).filter(|id| !self.procs[id].hidden) else {
                    return false;
                };
                let reply = self.next_reply();
                self.input(Input::Request(Request::Detach { process, reply }));
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
            Op::Fork(n) => return self.fork(n),
            Op::Leave(n) => return self.leave(n),
            Op::Passed(sees) => return self.finish_pass(sees),
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
        let locked_out = ours && self.tier.has_leaves() && self.removed.contains(&life);
        if locked_out || (raced && !ours) {
            // What is attached stays whose it is. Where the cgroup is gone, nothing is launched into it.
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
                #[cfg(test)]
                xnu: None,
                leads_group: ours,
                company: false,
                pinned: true,
                hidden: false,
                detached: false,
                found: false,
                inside: ours && self.tier.has_leaves(),
                started: 0,
                exited: 0,
                kills: 0,
                // Whoever is born too late is killed at once, and again with the rest.
                stops: u32::from(raced),
                killable: raced,
            },
        );
        #[cfg(test)]
        self.meet_at_its_stage(process);
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
            reach: if ours {
                self.tier.reach()
            } else {
                Reach::Leader
            },
            in_a_members_group: false,
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
            since: Some(0),
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
        proc.die();
        if seen {
            self.see_exits();
        }
        true
    }

    /// The reactor's order: exits come before whatever else there is.
    pub(super) fn see_exits(&mut self) {
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
        proc.unseen = !proc.hidden && !proc.detached;
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
            proc.unseen = proc.body == Body::Zombie && !proc.hidden && !proc.detached;
            #[cfg(test)]
            if let Some(xnu) = &mut proc.xnu {
                proc.unseen = xnu.untrace() && proc.exited == 0;
            }
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
                proc.die();
            }
        }
        self.see_exits();
    }

    fn foreign_reap(&mut self) {
        for proc in self.procs.values_mut() {
            if proc.relation == Relation::Stranger && proc.body == Body::Zombie && !proc.traced {
                #[cfg(test)]
                if let Some(xnu) = &mut proc.xnu {
                    // Which announces nothing.
                    if xnu.reap() {
                        proc.body = Body::Gone;
                    }
                    continue;
                }
                proc.body = Body::Gone;
                proc.unseen = !proc.hidden && !proc.detached;
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
        let Some(process) = self.nth_alive(p).filter(|id| !self.procs[id].hidden) else {
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
}

//! What can happen in a world, one thing at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{
    Born, Facts, Input, Looked, OpId, Outcome, Reach, Relation, ReplyId, Request, Whom,
};
use super::world::{Body, Op, Proc, Temper, World, policy};
use crate::containment::Containment;
use crate::event::{Origin, Reason};
use crate::report::SurvivalCause;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;

impl World {
    /// Lets something happen, and checks everything afterwards. `false`: it cannot happen now.
    pub(super) fn step(&mut self, op: Op) -> bool {
        let happened = self.let_happen(op);
        if happened && !self.finished {
            self.machine
                .check()
                .unwrap_or_else(|broken| panic!("after {op:?}: {broken}"));
            self.check();
        }
        happened
    }

    /// The same without the checks.
    pub(super) fn let_happen(&mut self, op: Op) -> bool {
        if self.finished {
            return false;
        }
        // The reactor's order, except where the point is that time goes by before we look.
        if !matches!(op, Op::Timer | Op::Pause(_) | Op::ExitUnseen(_)) {
            self.see_exits();
        }
        !self.finished && self.happen(op)
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
                let Some(process) = self.nth_told(p) else {
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
                let Some(process) = self.nth_told(n) else {
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
            Op::GoesOn => return self.pass_goes_on(),
            Op::Join(n) => return self.join(n),
            Op::Populated(n) => return self.populated(n),
            Op::Ready(n) => {
                let Some(process) = self.nth_told(n) else {
                    return false;
                };
                self.input(Input::Ready { process });
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
        let locked_out = ours && self.tier.has_leaves() && self.removed.contains(&life);
        if locked_out || (raced && !ours) {
            // What is attached stays whose it is. Where the cgroup is gone, nothing is launched into it.
            self.gate.abort(session, process);
            self.input(Input::Aborted {
                process,
                life,
                begun: None,
            });
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
        let facts = self.facts_of_birth(process, relation);
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
        self.input(Input::Aborted {
            process,
            life,
            begun: None,
        });
        true
    }

    /// The oldest spawn under way fails after its program had begun, and has left another one.
    #[cfg(test)]
    pub(super) fn abort_begun(&mut self) {
        let (process, life, session) = self.spawning.remove(0);
        let left = self.gate.name_found();
        let proc = Proc {
            session,
            life,
            temper: Temper::Deaf,
            body: Body::Alive,
            relation: Relation::Stranger,
            traced: false,
            unseen: false,
            xnu: None,
            leads_group: false,
            company: false,
            pinned: false,
            hidden: true,
            detached: false,
            found: false,
            inside: false,
            started: 0,
            exited: 0,
            kills: 0,
            stops: 0,
            killable: true,
        };
        self.procs.insert(left, proc);
        self.gate.abort_begun(session, process);
        let begun = super::super::Begun {
            session,
            facts: Arc::new(self.facts_of_birth(process, Relation::Child)),
            since: Some(0),
        };
        self.input(Input::Aborted {
            process,
            life,
            begun: Some(begun),
        });
    }

    fn facts_of_birth(&self, process: ProcessId, relation: Relation) -> Facts {
        let ours = relation == Relation::Child;
        Facts {
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
        }
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
        let unseen = self.take_unseen();
        for process in unseen {
            self.hand_in(Input::Ready { process });
        }
    }

    /// Whose exits the poll would report now.
    pub(super) fn take_unseen(&mut self) -> Vec<ProcessId> {
        let mut unseen = Vec::new();
        for (&process, proc) in &mut self.procs {
            if std::mem::take(&mut proc.unseen) {
                unseen.push(process);
            }
        }
        unseen
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
        true
    }

    /// Nobody tells of whoever is in a group beside its leader, and of its end.
    fn join(&mut self, n: usize) -> bool {
        let leads = |id: &ProcessId| self.procs[id].leads_group && !self.procs[id].company;
        let Some(process) = self.nth_alive(n).filter(leads) else {
            return false;
        };
        self.proc(process).company = true;
        true
    }

    /// The kernel may say so at any time.
    fn populated(&mut self, n: usize) -> bool {
        let lives: BTreeSet<Life> = self.procs.values().map(|proc| proc.life).collect();
        if lives.is_empty() || !self.tier.has_leaves() {
            return false;
        }
        let life = lives.into_iter().nth(n % 3);
        if let Some(life) = life {
            self.input(Input::Populated { life });
        }
        life.is_some()
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
        self.too_late |= self.machine.shutdown.is_some();
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
        let Some(process) = self.nth_told(p) else {
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
            // An exit that was seen first may have been the last.
            self.finished
                || self
                    .machine
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
}

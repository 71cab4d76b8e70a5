//! The simulated kernel: carries out what the machine wants, and asserts at each step what is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Instant, SystemTime};

use super::super::{
    Action, Answer, Errno, Input, Looked, Notice, OpId, Outcome, Relation, ReplyId, Target,
};
use super::descendants::Sees;
use super::world::{Body, Op, Proc, Temper, Tier, World};
use crate::event::{EventKind, Reason};
use crate::exit::{Exit, Status, StatusSource};
use crate::report::{Proof, SessionReport, Strength};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;

impl World {
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

    pub(super) fn hand_in(&mut self, input: Input) {
        let is_one_exit = matches!(input, Input::Ready { .. });
        self.handle(input);
        let mut rested = false;
        while let Some(effect) = self.machine.poll_effect() {
            let action = &effect.action;
            // The reactor rests over nothing else.
            rested |= is_one_exit && matches!(action, Action::Rest);
            let waited_for = matches!(
                action,
                Action::Publish(_) | Action::Reply { .. } | Action::Signal { .. }
            );
            assert!(!(rested && waited_for), "put off: {action:?}");
            if let Some(outcome) = self.perform(effect.op, effect.action) {
                let op = effect.op;
                self.handle(Input::Done { op, outcome });
            }
            if self.meanwhile && self.machine.is_at_a_crowd() {
                for process in self.take_unseen() {
                    self.handle(Input::Ready { process });
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        #[cfg(test)]
        if let Some(reached) = &self.reached {
            reached.note(&self.machine, &input);
        }
        self.machine.handle(input, self.now);
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
            Action::Rest => {}
            Action::CloseStdin { process } => assert!(self.procs.contains_key(&process)),
            Action::Retire { process, reap } => self.retire(process, reap),
            Action::Release { process, reap } => self.release(process, reap),
            Action::Pass { hunts } => return self.begin_pass(op, hunts),
            Action::AbandonPass => self.abandon_pass(),
            Action::CloseLives { lives } => {
                assert!(self.tier.has_leaves(), "{lives:?} have no cgroups");
            }
            Action::Reject { process } => self.reject(process),
            Action::NoteDetached { process } => {
                assert!(self.procs[&process].pinned);
                return Some(Outcome::Noted(Ok(())));
            }
            Action::Detach { process } => self.detach(process),
            Action::ProbeGroup { process } => {
                let occupied = self.procs[&process].company;
                return Some(Outcome::GroupProbed { occupied });
            }
            Action::Inspect { .. } => self.inspections.push(op),
            Action::Publish(notice) => self.publish(*notice),
            Action::CloseGate {
                session,
                create,
                reason,
            } => {
                let closed = self.gate.close(session, create, reason);
                return Some(Outcome::GateClosed(closed));
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
        #[cfg(test)]
        if let Some(xnu) = proc.xnu {
            return self.look_through_kqueue(process, xnu);
        }
        let status = match (proc.body, proc.relation) {
            (Body::Alive, _) => return Looked::Alive,
            (Body::Zombie, _) if proc.traced => return Looked::Held,
            (Body::Zombie, Relation::Stranger) if !settle => return Looked::Dead,
            (Body::Zombie, Relation::Child) => Status::Code(0),
            (Body::Zombie, Relation::Stranger) | (Body::Gone, _) => Status::Unknown,
        };
        self.told(process, status, StatusSource::Waited)
    }

    /// It has exited, and its slot is free.
    pub(super) fn told(
        &mut self,
        process: ProcessId,
        status: Status,
        source: StatusSource,
    ) -> Looked {
        let proc = &self.procs[&process];
        let (life, found, first) = (proc.life, proc.found, proc.exited == 0);
        // A second look that was under way finds what was told before.
        if !found && first {
            self.gate.release(life);
        }
        Looked::Exited(Exit {
            status,
            source,
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
        #[cfg(test)]
        if let (Some(xnu), Target::Process | Target::Group) = (proc.xnu, target) {
            // The back end asks whose the number is, and the kernel whether it can be signalled.
            if !xnu.takes_signals() {
                return Err(Errno::NoSuchProcess);
            }
        }
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
            (Body::Alive | Body::Zombie, Temper::Foreign) => return Err(Errno::NotPermitted),
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
            proc.die();
        }
        Ok(())
    }

    pub(super) fn kill_is_allowed(&self, process: ProcessId) -> bool {
        let proc = &self.procs[&process];
        let session = self.kill_from.get(&proc.session);
        let own = self.stop_from.get(&process);
        proc.killable || session.into_iter().chain(own).any(|&from| from <= self.now)
    }

    fn reject(&mut self, process: ProcessId) {
        let proc = self.proc(process);
        if proc.found {
            // It goes its way, unknown as before.
            proc.hidden = true;
            proc.found = false;
            proc.pinned = false;
            proc.unseen = false;
        } else {
            self.procs.remove(&process);
        }
    }

    fn detach(&mut self, process: ProcessId) {
        let (life, found) = {
            let proc = self.proc(process);
            assert_eq!(proc.exited, 0, "{process:?} has left already");
            assert!(!proc.detached, "{process:?} is given up twice");
            proc.detached = true;
            proc.pinned = false;
            (proc.life, proc.found)
        };
        if !found {
            self.gate.release(life);
        }
    }

    fn retire(&mut self, process: ProcessId, reap: bool) {
        let proc = self.proc(process);
        assert_eq!(proc.exited, 1, "{process:?} is told before it is retired");
        assert_ne!(proc.body, Body::Alive);
        let orphan = proc.found && self.tier == Tier::Subreaper;
        let attached = self.tier == Tier::Subreaper;
        let proc = self.proc(process);
        if reap && !(proc.traced && orphan) {
            assert!(
                proc.relation == Relation::Child || orphan || attached,
                "a stranger is never reaped"
            );
            if proc.relation == Relation::Child || orphan {
                proc.body = Body::Gone;
            }
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
            assert!(
                !proc.detached,
                "{:?} of {process:?}, which was given up",
                notice.kind
            );
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
            self.check_report(report, notice.session, notice.life);
        }
        self.notices.push((self.now, notice));
    }

    /// What a report says is true of the world.
    fn check_report(&mut self, report: &SessionReport, session: SessionId, life: Life) {
        let hidden = |proc: &&Proc| proc.life == life && proc.hidden && proc.body == Body::Alive;
        if report.is_clean() && report.covers_descendants() {
            let left = self.procs.values().find(hidden);
            assert!(left.is_none(), "a clean report, and this lives: {left:?}");
        }
        match report.strength() {
            Strength::Proven(Proof::NoChildren) => {
                let left = self
                    .procs
                    .values()
                    .find(|proc| proc.life == life && proc.body == Body::Alive);
                assert!(
                    left.is_none(),
                    "proven to be childless, and this lives: {left:?}"
                );
            }
            Strength::Proven(_) => {
                assert_eq!(self.tier, Tier::Contained, "proven");
                assert!(self.removed.contains(&life), "the cgroup is there");
            }
            Strength::Observed(_) | Strength::Unconfirmed { .. } => {}
        }
        let alive: BTreeSet<ProcessId> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.session == session && proc.is_watched())
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

    pub(super) fn check(&self) {
        for (process, proc) in &self.procs {
            let watched = proc.is_watched();
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
        let slot = |proc: &&Proc| proc.is_watched() && !proc.found;
        let living = self.procs.values().filter(slot).count();
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
        #[cfg(test)]
        self.settle();
        self.step(Op::Shutdown(0));
        for _ in 0..1000 {
            if self.finished {
                break;
            }
            #[cfg(test)]
            self.settle();
            if self.finished {
                break;
            }
            let moved = self.step(Op::ForeignReap)
                | self.step(Op::Passed(Sees::All))
                | self.step(Op::Inspected(false))
                | self.step(Op::Timer);
            assert!(moved, "nothing moves any more, and it is not over");
        }
        assert!(self.finished, "a shutdown comes to its end");
        let unsettled = self.machine.lives.values().any(|life| life.unsettled);
        let survived = !self.machine.members.is_empty() || !self.spawning.is_empty() || unsettled;
        if survived || self.too_late {
            // A shutdown was over before they were: nobody is left to track them, and whoever waits for their stop finds
            // the reactor gone.
            return;
        }
        for (reply, answer) in &self.answers {
            assert!(answer.is_some(), "{reply:?} was never answered");
        }
        assert!(self.machine.lives.is_empty(), "{:?}", self.machine.lives);
        assert!(self.machine.current.is_empty() && self.machine.lingering.is_empty());
        // An end that was over before its last pass left that under way.
        let passes = &self.machine.passes;
        assert!(passes.nobody_wants_one());
        assert!(self.machine.by_pid.is_empty());
        assert_eq!(self.machine.next_deadline(), passes.deadline());
        assert!(self.machine.broadcasts.is_empty());
        assert_eq!((self.gate.taken(), self.gate.numbers()), (0, 0));
        let known = |proc: &Proc| !proc.hidden && !proc.detached;
        for (process, proc) in self.procs.iter().filter(|(_, proc)| known(proc)) {
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
            (&machine.shutdown, &machine.passes, &self.flight),
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

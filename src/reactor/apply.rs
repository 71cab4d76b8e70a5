//! Carries out what the machine wants, one effect at a time.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use log::Level;
use rustix::io::Errno as Raw;

use super::mailbox::{Mail, Message};
use super::pass::{self, Memory, Pass};
use super::requests::Sink;
use super::run::{Reactor, not_found_out};
use super::shared::{Core, ExitLook, relation};
use crate::event::{EventKind, Reason};
use crate::exit::{Exit, Status, StatusSource};
use crate::machine::{
    Action, Answer, Effect, Errno, Hunt, Input, Looked, OpId, Outcome, ReplyId, Target as Whom,
};
use crate::report::{SessionReport, SurvivalCause};
use crate::session::{Life, ProcessId};
use crate::signal::Signal;
use crate::sys::{self, Leaf, Look, Pin, Target};

/// An errand: why is this process still alive?
#[derive(Debug)]
pub(crate) struct Inspection {
    op: OpId,
    core: Arc<Core>,
    mail: Mail,
}

impl Reactor {
    /// Does it. An outcome that is there at once is returned, one that takes time comes back by mail.
    pub(super) fn perform(&mut self, effect: Effect, now: Instant) -> Option<Outcome> {
        match effect.action {
            Action::Look { process, settle } => Some(Outcome::Looked(self.look(process, settle))),
            Action::Signal {
                process,
                target,
                signal,
                asked,
            } => Some(Outcome::Signalled(
                self.signal(process, target, signal, asked),
            )),
            Action::ProbeGroup { process } => Some(Outcome::GroupProbed {
                occupied: self.is_group_occupied(process),
            }),
            Action::Inspect { process } => self.begin_inspection(effect.op, process),
            Action::Pass { hunts } => self.begin_pass(effect.op, hunts),
            Action::AbandonPass => {
                // Whatever it is that hangs, hangs on that thread. It ends when that is over.
                self.passes = super::run::passes(&self.thread_name);
                self.memory = Arc::new(Memory::after(&self.memory));
                None
            }
            Action::CloseGate {
                session,
                create,
                reason,
            } => {
                let closed = self.shared.gate.close(session, create, reason);
                // Some of them may be in the mailbox, sent without a wake-up.
                self.mail_left |= closed.as_ref().is_some_and(|gate| !gate.tokens.is_empty());
                Some(Outcome::GateClosed(closed))
            }
            Action::CloseAllGates { reason } => {
                let closed = self.shared.gate.close_all(reason);
                self.mail_left |= closed.iter().any(|gate| !gate.tokens.is_empty());
                Some(Outcome::AllGatesClosed(closed))
            }
            Action::CloseStdin { process } => {
                if let Some(core) = self.watchlist.get(process) {
                    core.stdin.close();
                }
                None
            }
            Action::Rest => {
                self.rest();
                None
            }
            Action::Retire { process, reap } => self.retire(process, reap),
            Action::Release { process, reap } => self.release(process, reap),
            Action::Reject { process } => self.reject(process),
            Action::NoteDetached { process } => Some(Outcome::Noted(self.note_detached(process))),
            Action::Detach { process } => self.detach(process),
            Action::CloseLives { lives } => {
                self.close_lives(&lives);
                None
            }
            Action::Publish(notice) => {
                self.journal.notice(&notice);
                // First: who hears of the end asks for the report.
                if let EventKind::SessionEnded(report) = &notice.kind {
                    self.life_over(notice.life, report);
                }
                if self.publisher.publish(&notice, now) {
                    self.shared.set_news(&self.publisher);
                }
                None
            }
            Action::OpenGate { session, life } => {
                self.shared.gate.reopen(session, life);
                None
            }
            Action::Reply { to, answer } => self.answer(to, answer),
            Action::Finish => {
                self.note_settled();
                self.finished = true;
                None
            }
        }
    }

    /// Without reaping. What is found fills the cell at once: the machine hears what the cell holds, which may be
    /// what a waiter saw first.
    fn look(&self, process: ProcessId, settle: bool) -> Looked {
        let Some(core) = self.watchlist.get(process) else {
            return Looked::Alive;
        };
        if let Some(exit) = core.exit() {
            let exit = exit.clone();
            core.close();
            return Looked::Exited(exit);
        }
        let Some(pin) = core.pin() else {
            return Looked::Alive;
        };
        let found = match pin.look(relation(core.facts.relation), &self.shared.facilities) {
            Ok(Look::Alive) => return Looked::Alive,
            Ok(Look::Held) => return Looked::Held,
            Ok(Look::Dead) if !settle => return Looked::Dead,
            Ok(Look::Dead) => ExitLook {
                status: Status::Unknown,
                source: StatusSource::Unavailable,
                usage: None,
            },
            Ok(Look::Exited {
                status,
                source,
                usage,
            }) => ExitLook {
                status,
                source,
                usage,
            },
            Err(error) => {
                // Nothing is concluded from an errno: it is looked at again.
                let pid = core.facts.pid;
                self.journal.say(Level::Error, || {
                    format!("cannot look at pid {pid}: {error}")
                });
                return Looked::Held;
            }
        };
        Looked::Exited(conclude(core, found))
    }

    /// Sends a signal, and notes for the exit what was asked. What was noted is taken back if nothing was sent.
    fn signal(
        &self,
        process: ProcessId,
        target: Whom,
        signal: Signal,
        asked: Option<Reason>,
    ) -> Result<(), Errno> {
        let Some(core) = self.watchlist.get(process) else {
            return Err(Errno::NoSuchProcess);
        };
        let Some(pin) = core.pin() else {
            return Err(Errno::NoSuchProcess);
        };
        let before = asked.map(|reason| core.set_asked(signal, reason));
        let sent = match target {
            Whom::Process => self.send_signal(Target::Process(&pin), signal.as_raw()),
            Whom::Reached => Ok(()),
            Whom::Group => self.signal_group(&pin, signal),
            // Another has had its number since, so that nobody is left in its group.
            Whom::Remnant { reaped: true } if !self.shared.forebears.is_last(core) => {
                Err(Raw::SRCH.into())
            }
            Whom::Remnant { reaped } => self.send_signal(
                Target::Group {
                    leader: &pin,
                    reaped,
                },
                signal.as_raw(),
            ),
        };
        if let (Err(_), Some(before)) = (&sent, before) {
            core.restore_asked(before);
        }
        sent.map_err(|error| match Raw::from_io_error(&error) {
            Some(Raw::PERM) => Errno::NotPermitted,
            Some(Raw::SRCH) => Errno::NoSuchProcess,
            Some(raw) => Errno::Other(raw.raw_os_error()),
            None => {
                let pid = pin.pid();
                self.journal
                    .say(Level::Error, || format!("no signal to pid {pid}: {error}"));
                Errno::Other(Raw::INVAL.raw_os_error())
            }
        })
    }

    /// A group and its leader. The group comes first: one call reaches all that is in it, however it forks. The
    /// answer is the leader's own, since a group's answer says nothing about any one process in it.
    fn signal_group(&self, pin: &Pin, signal: Signal) -> io::Result<()> {
        let group = Target::Group {
            leader: pin,
            reaped: false,
        };
        let sent = self.send_signal(group, signal.as_raw());
        // ESRCH: the leader has left its group, and nobody is in it. EPERM: all in it run as somebody else.
        if let Err(error) = &sent {
            if !matches!(Raw::from_io_error(error), Some(Raw::SRCH | Raw::PERM)) {
                let pid = pin.pid();
                self.journal
                    .say(Level::Warn, || format!("no signal to group {pid}: {error}"));
            }
        }
        // SIGKILL may be sent twice; a second SIGINT means something else than the first.
        let reached =
            sent.is_ok() && signal != Signal::KILL && sys::leads_group(pin.pid()).unwrap_or(true);
        if reached {
            Ok(())
        } else {
            self.send_signal(Target::Process(pin), signal.as_raw())
        }
    }

    fn is_group_occupied(&self, process: ProcessId) -> bool {
        let core = self.watchlist.get(process);
        let last = core.filter(|core| self.shared.forebears.is_last(core));
        let Some(pin) = last.and_then(|core| core.pin()) else {
            return false;
        };
        match self.send_signal(
            Target::Group {
                leader: &pin,
                reaped: true,
            },
            0,
        ) {
            // EPERM, too, says that somebody is in it.
            Ok(()) => true,
            Err(error) => Raw::from_io_error(&error) == Some(Raw::PERM),
        }
    }

    /// Takes it out of the poll before its zombie goes: two edges come from one exit, and the second would be for a
    /// descriptor that is closed by then.
    fn retire(&self, process: ProcessId, reap: bool) -> Option<Outcome> {
        let core = self.watchlist.get(process)?;
        self.note_gone(core);
        core.stdin.close();
        if let Some(pin) = core.pin() {
            self.unwatch(&pin);
            if reap {
                self.reap(&pin);
            }
        }
        None
    }

    fn release(&mut self, process: ProcessId, reap: bool) -> Option<Outcome> {
        if let (true, Some(pin)) = (
            reap,
            self.watchlist.get(process).and_then(|core| core.pin()),
        ) {
            self.reap(&pin);
        }
        self.watchlist.remove(process);
        None
    }

    fn reject(&mut self, process: ProcessId) -> Option<Outcome> {
        let core = Arc::clone(self.watchlist.get(process)?);
        if let Some(pin) = core.pin() {
            self.unwatch(&pin);
        }
        core.vacate();
        self.shared.gate.dismiss(core.session, process);
        self.watchlist.remove(process);
        None
    }

    /// Its pin is kept: wherever it is met it is to be left alone, and its number may become another's.
    fn detach(&mut self, process: ProcessId) -> Option<Outcome> {
        let core = Arc::clone(self.watchlist.get(process)?);
        core.set_detached();
        core.shared.forebears.give_up(&core);
        core.vacate();
        let pin = core.pin();
        if let Some(pin) = &pin {
            self.unwatch(pin);
        }
        self.watchlist.remove(process);
        self.watchlist.leave_alone(pin);
        None
    }

    fn unwatch(&self, pin: &Pin) {
        if let Err(error) = self.shared.watch.remove(pin) {
            // It is in the poll from its registration on: this would be a descriptor closed by the host.
            let pid = pin.pid();
            self.journal.say(Level::Error, || {
                format!("cannot stop watching pid {pid}: {error}")
            });
        }
    }

    fn reap(&self, pin: &Pin) {
        match pin.reap() {
            // `false`: the host reaped it, or ignores SIGCHLD. It is gone either way.
            Ok(true | false) => {}
            Err(error) => {
                let pid = pin.pid();
                self.journal
                    .say(Level::Error, || format!("cannot reap pid {pid}: {error}"));
            }
        }
    }

    fn begin_inspection(&self, op: OpId, process: ProcessId) -> Option<Outcome> {
        let Some(core) = self.watchlist.get(process) else {
            return Some(not_found_out());
        };
        let errand = Inspection {
            op,
            core: Arc::clone(core),
            mail: self.later(),
        };
        match self.inspections.push(errand) {
            Ok(()) => None,
            // EAGAIN: there is no thread to be had.
            Err(_errand) => Some(not_found_out()),
        }
    }

    fn begin_pass(&mut self, op: OpId, hunts: Vec<Hunt>) -> Option<Outcome> {
        self.watchlist.forget_detached();
        let scene = self.watchlist.scene(hunts, &self.shared);
        for prey in scene.prey.iter().filter(|prey| prey.hunt.ending) {
            for leaf in &prey.leaves {
                self.watch_leaf(leaf, prey.hunt.life);
            }
        }
        let pass = Pass {
            op,
            shared: Arc::clone(&self.shared),
            scene,
            memory: Arc::clone(&self.memory),
        };
        match self.passes.push(pass) {
            Ok(()) => None,
            // EAGAIN: there is no thread to be had. A cgroup is killed here then: that may have to wait for a lock, and is
            // better than not to.
            Err(pass) => {
                pass.scene.prey.iter().for_each(pass::strike);
                Some(Outcome::Passed(pass::refused()))
            }
        }
    }

    /// Has the poll say when a cgroup has become empty.
    fn watch_leaf(&mut self, leaf: &Leaf, life: Life) {
        if leaf.is_removed() || !leaf.is_first_watch() {
            return;
        }
        // A name that no process has or will have.
        let key = self.shared.gate.name_found().0;
        match self.shared.watch.add_leaf(leaf, key) {
            Ok(()) => {
                self.leaf_keys.insert(key, life);
            }
            // ENOMEM, ENOSPC: the passes see it a little later.
            Err(error) => self.journal.say(Level::Warn, || {
                format!("cannot watch the cgroup of {life:?}: {error}")
            }),
        }
    }

    /// Lets go of what was kept for these lives. What could not be removed is tried once more, where that may take its time.
    fn close_lives(&mut self, lives: &[Life]) {
        self.leaf_keys.retain(|_, life| !lives.contains(life));
        self.shared.forebears.forget(lives);
        for leaf in lives
            .iter()
            .flat_map(|&life| self.shared.leaves.forget(life))
        {
            // It is in nobody's way: a later run removes what is left empty.
            drop(self.removals.push(leaf));
        }
    }

    /// A child has ended, and nobody has taken it away yet. Says whether there was something to be done about it.
    pub(super) fn child_ended(&mut self, pid: u32, now: Instant) -> bool {
        if let Some(core) = self.watchlist.by_pid(pid) {
            let process = core.process;
            self.input(Input::Ready { process }, now);
            return true;
        }
        if self.shared.gate.census().is_none() {
            // It may be one that is being started this moment.
            return false;
        }
        if let Err(error) = sys::bury(pid) {
            self.journal
                .say(Level::Error, || format!("cannot reap pid {pid}: {error}"));
        }
        true
    }

    /// A caller that has gone away is not missed.
    fn answer(&mut self, to: ReplyId, answer: Answer) -> Option<Outcome> {
        if let (Some(Sink::AllEnded(caller)), Answer::OneOfMany(report)) =
            (self.sinks.get(&to), &answer)
        {
            caller.tell(report.clone());
            return None;
        }
        match (self.sinks.remove(&to)?, answer) {
            (Sink::Ended(ended), Answer::Report(report)) => ended.fill(report),
            (Sink::Ended(ended), Answer::NoReport(error)) => ended.refuse(error),
            (Sink::Done(caller) | Sink::Empty(_, caller), Answer::Done(result)) => {
                drop(caller.send(Some(result)));
            }
            (Sink::Done(caller), Answer::AlreadyExited) => drop(caller.send(None)),
            (Sink::Member(caller), Answer::Member(report)) => drop(caller.send(Some(*report))),
            (Sink::Member(caller), Answer::AlreadyExited) => drop(caller.send(None)),
            (Sink::AllEnded(caller), Answer::Reports(reports)) => caller.fill(reports),
            (Sink::Registered(caller), Answer::Registered(id)) => drop(caller.send(id)),
            // The sink is dropped, and its caller finds nobody to answer.
            (
                Sink::Ended(_)
                | Sink::Done(_)
                | Sink::Empty(..)
                | Sink::Member(_)
                | Sink::AllEnded(_)
                | Sink::Registered(_),
                answer,
            ) => debug_assert!(false, "an answer to another question: {answer:?}"),
        }
        None
    }

    /// The handles of this life have its report from now on, however many are kept; passes remember nothing of it.
    fn life_over(&mut self, life: Life, report: &SessionReport) {
        self.note_over(life, report);
        self.memory.forget(life);
        if let Some(cell) = self
            .life_cells
            .remove(&life)
            .and_then(|cell| cell.upgrade())
        {
            let _first_writer = cell.report.fill(report.clone());
            cell.report.close();
        }
    }
}

/// Tells the exit to everybody, and returns what they hear.
fn conclude(core: &Core, found: ExitLook) -> Exit {
    let exit = core.settle(core.complete(found)).clone();
    core.close();
    exit
}

/// On a helper's thread: reads below `/proc`.
pub(super) fn inspect(errand: Inspection) {
    let Inspection { op, core, mail } = errand;
    let cause = match sys::why_alive(core.facts.pid) {
        Ok(condition) if condition.tracer != 0 => Some(SurvivalCause::Traced {
            by: condition.tracer,
        }),
        Ok(condition) if condition.state == 'D' => Some(SurvivalCause::Uninterruptible),
        Ok(_) | Err(_) => None,
    };
    // A reactor that is gone does not want to know.
    drop(mail.send(Message::Done {
        op,
        outcome: Outcome::Inspected(cause),
    }));
}

//! The loop: wait, gather, hand in, carry out.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::Level;

use super::apply::Inspection;
use super::cell::Cell;
use super::gate::SharedGate;
use super::helpers::Errands;
use super::journal::Journal;
use super::mailbox::{AllEnded, Ended, LifeCell, Mailbox, Message, Newborn, mailbox};
use super::orphans::OrphanWatch;
use super::pass::{self, Memory, Pass};
use super::publish::Publisher;
use super::shared::{Ends, Shared};
use super::watchlist::Watchlist;
use super::{apply, clock};
use crate::earlier::Inheritance;
use crate::error::Result;
use crate::event::{EventKind, Reason};
use crate::limits::Limits;
use crate::machine::{
    Born, IdMap, Input, Machine, OpenTerms, Opened, Outcome, Refused, ReplyId, Request, Settings,
};
use crate::plan::Plan;
use crate::report::MemberReport;
use crate::session::{Life, ProcessId, SessionId};
use crate::session_options::SessionOptions;
use crate::sys::{self, Facilities, Leaf, LifelineHolder, Poller, Ready, Subreaper, Target};

/// What a reactor is started with.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) facilities: Facilities,
    pub(crate) limits: Limits,
    pub(crate) kept_reports: usize,
    pub(crate) thread_name: String,
    pub(crate) subreaper: Option<Subreaper>,
}

/// How long the end of the registry waits for a helper. One that hangs below `/proc` ends when that is over.
const HELPERS_PATIENCE: Duration = Duration::from_millis(50);

/// Everything that the reactor's thread owns.
pub(super) struct Reactor {
    pub(super) machine: Machine,
    pub(super) shared: Arc<Shared>,
    pub(super) watchlist: Watchlist,
    pub(super) publisher: Publisher,
    pub(super) journal: Journal,
    pub(super) inspections: Errands<Inspection>,
    pub(super) passes: Errands<Pass>,
    /// Cgroups of lives that are over, and were not empty when they should have been.
    pub(super) removals: Errands<Arc<Leaf>>,
    /// Which life's cgroup is watched under which key.
    pub(super) leaf_keys: IdMap<u64, Life>,
    /// Where orphans come to this process.
    orphans: Option<OrphanWatch>,
    /// A child has ended of which it is not known yet whose it is.
    unclaimed: Option<u32>,
    pub(super) memory: Arc<Memory>,
    pub(super) sinks: IdMap<ReplyId, Sink>,
    /// The lives that a handle is held to.
    pub(super) life_cells: IdMap<Life, Weak<LifeCell>>,
    /// Set by the machine's last effect.
    pub(super) finished: bool,
    pub(super) thread_name: String,
    poller: Poller,
    mailbox: Mailbox,
    /// There is mail, and no wake-up for it will come.
    pub(super) mail_left: bool,
    halted: bool,
    next_reply: u64,
    ready: Vec<Ready>,
    messages: Vec<Message>,
}

/// Who waits for an answer.
pub(super) enum Sink {
    Done(Sender<Option<Result<()>>>),
    /// A wait for an empty session, with its number.
    Empty(u64, Sender<Option<Result<()>>>),
    Registered(Sender<Result<ProcessId>>),
    Ended(Ended),
    AllEnded(AllEnded),
    Member(Sender<Option<MemberReport>>),
}

/// Starts the thread.
pub(crate) fn start(config: Config, plan: Plan) -> std::io::Result<(Arc<Shared>, JoinHandle<()>)> {
    let poller = Poller::new()?;
    let (holder, line) = sys::lifeline()?;
    let (mail, mailbox) = mailbox(poller.waker());
    let gate = Arc::new(SharedGate::new(config.limits));
    let settings = Settings {
        policy: plan.stop_policy.clone(),
        group_after_reap: config.facilities.group_signal,
        kept_reports: config.kept_reports,
        subreaper: config.subreaper.is_some(),
    };
    let ends = Ends {
        mail,
        gate,
        watch: poller.watch(),
        line,
        subreaper: config.subreaper,
    };
    let shared = Arc::new(Shared::new(ends, config.facilities, plan));
    let reactor = Reactor {
        machine: Machine::new(settings),
        shared: Arc::clone(&shared),
        watchlist: Watchlist::default(),
        publisher: Publisher::default(),
        journal: Journal::new(&config.thread_name),
        inspections: Errands::new(
            format!("{}-look", config.thread_name),
            usize::MAX,
            apply::inspect,
        ),
        passes: passes(&config.thread_name),
        removals: Errands::new(
            format!("{}-rmdir", config.thread_name),
            usize::MAX,
            remove_leaf,
        ),
        leaf_keys: HashMap::default(),
        orphans: shared
            .plan
            .subreaper
            .is_ok()
            .then(|| OrphanWatch::new(&config.thread_name, shared.mail.clone())),
        unclaimed: None,
        memory: Arc::default(),
        sinks: HashMap::default(),
        life_cells: HashMap::default(),
        finished: false,
        thread_name: config.thread_name.clone(),
        poller,
        mailbox,
        mail_left: false,
        halted: false,
        next_reply: 0,
        ready: Vec::new(),
        messages: Vec::new(),
    };
    let thread = std::thread::Builder::new()
        .name(config.thread_name)
        .spawn(move || live(reactor, holder))?;
    Ok((shared, thread))
}

/// The thread for the passes over all processes, named after the reactor's.
pub(super) fn passes(name: &str) -> Errands<Pass> {
    Errands::new(format!("{name}-pass"), 1, pass::run)
}

/// On a helper's thread: a last try.
fn remove_leaf(leaf: Arc<Leaf>) {
    // ENODEV, EBUSY: it is gone, or a later run looks at it again.
    drop(leaf.kill());
    drop(leaf.remove());
}

/// The thread's whole life. Whatever ends it, everybody who waits is told.
fn live(mut reactor: Reactor, holder: LifelineHolder) {
    // The host's signals are for the host's threads.
    sys::block_all_signals();
    let ended = catch_unwind(AssertUnwindSafe(|| reactor.run()));
    let asked_for = matches!(ended, Ok(Ok(())));
    let text = match &ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("the reactor's poll failed: {error}")),
        Err(_panic) => Some("the reactor panicked: nothing is watched any more".to_owned()),
    };
    if let Some(text) = text {
        reactor.journal.say(Level::Error, || text);
    }
    // First why, then that: whoever finds an end closed looks here for the reason.
    reactor.shared.set_over(asked_for);
    reactor.part();
    drop(holder);
}

impl Reactor {
    fn run(&mut self) -> std::io::Result<()> {
        while !self.finished && !self.halted {
            self.poller
                .arm(self.machine.next_deadline(), clock::now())?;
            self.ready.clear();
            let block = !std::mem::take(&mut self.mail_left);
            let mut more = self.poller.wait(block, &mut self.ready)?;
            self.mailbox.drain(&mut self.messages);
            // Births are nothing that an exit would have to come before.
            self.births();
            let now = clock::now();
            let due = self.machine.next_deadline().is_some_and(|at| at <= now);
            // After the mailbox and after the clock: what exited before a request was sent is handed in before it, what
            // exited before a deadline before that. And all of it, however much there is.
            if due || more || !self.messages.is_empty() {
                let drained_at = self.ready.len();
                loop {
                    more = self.poller.wait(false, &mut self.ready)?;
                    if !more {
                        break;
                    }
                }
                // The wake-up for what was sent since is used up by now: it is not waited for again.
                self.mail_left = self.ready[drained_at..].contains(&Ready::Mailbox);
            }
            self.exits();
            self.requests();
            self.claim_child(now);
            if due {
                // By the clock of before the look at the exits: what has become due since comes in the next round.
                self.input(Input::Timer, now);
            }
        }
        Ok(())
    }

    /// Takes in what leads the mailbox and was sent without a wake-up: the exit that we woke for may be its own.
    fn births(&mut self) {
        let quiet = |message: &Message| matches!(message, Message::Born(_));
        let births = self
            .messages
            .iter()
            .take_while(|&message| quiet(message))
            .count();
        let rest = self.messages.split_off(births);
        for message in std::mem::replace(&mut self.messages, rest) {
            let now = clock::now();
            self.message(message, now);
        }
    }

    fn exits(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for event in ready.drain(..) {
            match event {
                Ready::Process(key) if self.leaf_keys.contains_key(&key) => {
                    let life = self.leaf_keys[&key];
                    self.input(Input::Populated { life }, clock::now());
                }
                Ready::Process(key) => {
                    let process = ProcessId(key);
                    self.input(Input::Ready { process }, clock::now());
                }
                // The mailbox is drained and the deadline looked at on every round.
                Ready::Mailbox | Ready::Timer => {}
            }
        }
        self.ready = ready;
    }

    fn requests(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        for message in messages.drain(..) {
            self.message(message, clock::now());
        }
        self.messages = messages;
    }

    fn message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Born(newborn) => self.born(newborn, now),
            Message::Aborted { process, life } => self.input(Input::Aborted { process, life }, now),
            Message::Open {
                options,
                inheritance,
                reply,
            } => {
                // The caller waits, or has gone.
                drop(reply.send(self.open(*options, inheritance, now)));
            }
            Message::Session { session, reply } => {
                let cell = self
                    .machine
                    .life_of(session)
                    .map(|(life, label)| self.life_cell(session, life, label));
                // The caller waits, or has gone.
                drop(reply.send(cell));
            }
            Message::End {
                whom,
                policy,
                reason,
                to,
            } => {
                let reply = self.sink(Sink::Ended(to));
                self.request(
                    Request::End {
                        whom,
                        policy,
                        reason,
                        reply,
                    },
                    now,
                );
            }
            Message::Stop {
                process,
                policy,
                reply,
            } => {
                let reply = self.sink(Sink::Member(reply));
                self.request(
                    Request::Stop {
                        process,
                        policy,
                        reply,
                    },
                    now,
                );
            }
            Message::Signal {
                process,
                signal,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::Signal {
                        process,
                        signal,
                        reply,
                    },
                    now,
                );
            }
            Message::Detach { process, reply } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(Request::Detach { process, reply }, now);
            }
            Message::SignalSession {
                whom,
                signal,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::SignalSession {
                        whom,
                        signal,
                        reply,
                    },
                    now,
                );
            }
            Message::Touch {
                session,
                life,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::Touch {
                        session,
                        life,
                        reply,
                    },
                    now,
                );
            }
            Message::WaitEmpty {
                session,
                life,
                wait,
                reply,
            } => {
                let reply = self.sink(Sink::Empty(wait, reply));
                self.request(
                    Request::WaitEmpty {
                        session,
                        life,
                        reply,
                    },
                    now,
                );
            }
            Message::Forget { life, wait } => self.forget(life, wait, now),
            Message::Shutdown { policy, reason, to } => {
                let reply = self.sink(Sink::AllEnded(to));
                self.request(
                    Request::Shutdown {
                        policy,
                        reason,
                        reply,
                    },
                    now,
                );
            }
            Message::HardenShutdown { policy } => {
                self.request(Request::HardenShutdown { policy }, now);
            }
            Message::Subscribe {
                mask,
                only,
                listener,
                capacity,
                done,
            } => {
                self.publisher.subscribe(mask, only, listener, capacity);
                self.forget_listeners();
                self.shared
                    .set_births_are_news(self.publisher.wants_births());
                // In force. The caller waits for this, or has gone.
                let _or_gone = done.send(());
            }
            Message::LeaveAlone(pins) => self.watchlist.leave_alone(pins),
            Message::Announce { kinds, done } => {
                self.announce(&kinds, now);
                // The caller waits for this, or has gone.
                let _or_gone = done.send(());
            }
            Message::Ask(question) => question(&self.machine, &self.watchlist, now),
            Message::Done { op, outcome } => self.input(Input::Done { op, outcome }, now),
            Message::ChildEnded { pid } => {
                self.unclaimed = Some(pid);
                self.claim_child(now);
            }
            Message::Halt => {
                self.note_released();
                self.halted = true;
            }
        }
    }

    /// Does something about a child that has ended, once it is known whose it is.
    fn claim_child(&mut self, now: Instant) {
        let Some(pid) = self.unclaimed else { return };
        if self.child_ended(pid, now) {
            self.unclaimed = None;
            if let Some(orphans) = &self.orphans {
                orphans.go_on();
            }
        }
    }

    fn announce(&mut self, kinds: &[EventKind], now: Instant) {
        for kind in kinds {
            self.journal.announce(kind);
            if self.publisher.announce(kind, now) {
                let wanted = self.publisher.wants_births();
                self.shared.set_births_are_news(wanted);
            }
        }
    }

    /// Gives a session a life. Here, and not on the caller's thread: the gate and the machine hear of it together.
    fn open(
        &mut self,
        options: SessionOptions,
        inheritance: Inheritance,
        now: Instant,
    ) -> std::result::Result<Arc<LifeCell>, Refused> {
        let terms = OpenTerms {
            containment: options.containment,
            max_processes: options.max_processes,
        };
        let (session, life) = self.shared.gate.open_session(options.id, terms)?;
        if options.is_sweeps {
            // Before anybody can see it in a list that is read here.
            self.shared.sweeping.insert(life);
        }
        let label = options.label.clone();
        let Inheritance {
            earlier,
            since,
            leaves,
        } = inheritance;
        let enclosed = !leaves.is_empty();
        self.shared.leaves.inherit(life, leaves);
        let opened = Opened {
            session,
            life,
            label: options.label,
            policy: options.stop_policy,
            earlier,
            since,
            enclosed,
            time_limit: options.time_limit,
            idle_limit: options.idle_limit,
        };
        // Before the input: a limit of zero ends the session at once, and its report is for this cell.
        let cell = self.life_cell(session, life, label);
        self.input(Input::Opened(opened), now);
        Ok(cell)
    }

    /// The cell that all handles of this life share.
    fn life_cell(
        &mut self,
        session: SessionId,
        life: Life,
        label: Option<Arc<str>>,
    ) -> Arc<LifeCell> {
        if let Some(cell) = self.life_cells.get(&life).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(LifeCell {
            session,
            life,
            label,
            report: Cell::default(),
        });
        self.life_cells.insert(life, Arc::downgrade(&cell));
        cell
    }

    /// The caller's time was over before the answer was there.
    fn forget(&mut self, life: Life, wait: u64, now: Instant) {
        let found = self.sinks.iter().find_map(|(&reply, sink)| match sink {
            Sink::Empty(of, _) if *of == wait => Some(reply),
            Sink::Empty(..)
            | Sink::Done(_)
            | Sink::Ended(_)
            | Sink::AllEnded(_)
            | Sink::Member(_)
            | Sink::Registered(_) => None,
        });
        if let Some(reply) = found {
            self.sinks.remove(&reply);
            self.request(Request::Forget { life, reply }, now);
        }
    }

    fn born(&mut self, newborn: Newborn, now: Instant) {
        let Newborn {
            core,
            at,
            since,
            raced,
            time_limit,
            reply,
        } = newborn;
        let (session, process) = (core.session, core.process);
        let born = Born {
            process: core.process,
            life: core.life,
            session: core.session,
            facts: Arc::clone(&core.facts),
            at,
            since,
            raced,
            time_limit,
            reply: reply.map(|reply| self.sink(Sink::Registered(reply))),
        };
        self.watchlist.insert(core);
        if let Some(orphans) = &self.orphans {
            orphans.wake();
        }
        self.input(Input::Born(born), now);
        // Until here its token was out: an end that came before would have waited for it. Where the machine did not
        // take it in, the token is gone already.
        self.shared.gate.landed(session, process);
    }

    fn request(&mut self, request: Request, now: Instant) {
        self.input(Input::Request(request), now);
    }

    fn sink(&mut self, sink: Sink) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.sinks.insert(reply, sink);
        reply
    }

    /// Hands one input in, and carries out what comes of it.
    pub(super) fn input(&mut self, input: Input, now: Instant) {
        self.machine.handle(input, now);
        while let Some(effect) = self.machine.poll_effect() {
            let op = effect.op;
            if let Some(outcome) = self.perform(effect, now) {
                self.machine.handle(Input::Done { op, outcome }, now);
            }
        }
        self.forget_listeners();
    }

    /// Whoever listens to a life of which nothing is left has heard everything.
    fn forget_listeners(&mut self) {
        let machine = &self.machine;
        if self.publisher.keep_lives(|life| machine.has_life(life)) {
            self.shared
                .set_births_are_news(self.publisher.wants_births());
        }
    }

    /// Leaves everything so that nobody waits in vain.
    fn part(&mut self) {
        self.inspections.part(HELPERS_PATIENCE);
        self.passes.part(HELPERS_PATIENCE);
        self.removals.part(HELPERS_PATIENCE);
        if let Some(orphans) = &self.orphans {
            orphans.part(HELPERS_PATIENCE);
        }
        self.mailbox.drain(&mut self.messages);
        for message in std::mem::take(&mut self.messages) {
            if let Message::Born(newborn) = message {
                // It was started while everything ended. Its handle knows that nobody watches it.
                self.watchlist.insert(newborn.core);
            }
        }
        if let Some(ledger) = &self.shared.plan.ledger {
            ledger.close();
        }
        self.sinks.clear();
        for cell in self.life_cells.values().filter_map(Weak::upgrade) {
            cell.report.close();
        }
        // Whoever stands in the queue for a slot would stand there for ever.
        drop(self.shared.gate.close_all(Reason::Shutdown));
        let cores = self.watchlist.take();
        for core in &cores {
            core.close();
        }
        if self.halted {
            for core in &cores {
                core.unpin();
            }
            return;
        }
        let mut wreck = self
            .shared
            .wreck
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Also of whom a waiter has told the exit already: who waits does not reap.
        wreck.extend(cores);
    }

    /// Outcomes that come back by mail.
    pub(super) fn later(&self) -> super::mailbox::Mail {
        self.shared.mail.clone()
    }

    /// Whether `target` was reached.
    pub(super) fn send_signal(&self, target: Target<'_>, signal: i32) -> std::io::Result<()> {
        sys::send_signal(target, signal, &self.shared.facilities)
    }
}

/// What could not be found out, in the machine's words.
pub(super) fn not_found_out() -> Outcome {
    Outcome::Inspected(None)
}

//! The loop: wait, gather, hand in, carry out.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::Level;

use super::apply::Inspection;
use super::gate::SharedGate;
use super::helpers::Errands;
use super::journal::Journal;
use super::mailbox::{LifeCell, Mailbox, Message, mailbox};
use super::orphans::OrphanWatch;
use super::pass::{self, Memory, Pass};
use super::publish::Publisher;
use super::requests::Sink;
use super::shared::{Ends, Shared};
use super::watchlist::Watchlist;
use super::{apply, clock};
use crate::event::Reason;
use crate::limits::Limits;
use crate::machine::{IdMap, Input, Machine, Outcome, ReplyId, Settings};
use crate::plan::Plan;
use crate::session::{Life, ProcessId};
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
    pub(super) orphans: Option<OrphanWatch>,
    /// A child has ended of which it is not known yet whose it is.
    pub(super) unclaimed: Option<u32>,
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
    pub(super) halted: bool,
    pub(super) next_reply: u64,
    ready: Vec<Ready>,
    messages: Vec<Message>,
    /// What is being handed in is one exit, and all that there is.
    at_leisure: bool,
    /// No exit is left to who sleeps on the process.
    listens: bool,
}

/// So many of a crowd are dealt with between two looks at the exits.
const SO_MANY: usize = 32;

/// How long what nobody waits for is put off. Longer than the kernel's tick, as most are configured: whoever sleeps less than
/// that has the hardware's timer set anew first, which on a virtual machine takes ten times as long as all the rest of going
/// to sleep, and whoever was told the exit stands behind that.
const REST: Duration = Duration::from_millis(5);

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
        at_leisure: false,
        listens: false,
    };
    let thread = std::thread::Builder::new()
        .name(config.thread_name)
        .spawn(move || live(reactor, holder))?;
    Ok((shared, thread))
}

/// How long the thread for the passes waits for the next one. Most ends take two, and what a pass has seen says all that the
/// next would see if nobody was born in between: no thread either.
const BETWEEN_PASSES: Duration = Duration::from_millis(200);

/// The thread for the passes over all processes, named after the reactor's.
pub(super) fn passes(name: &str) -> Errands<Pass> {
    Errands::lingering(format!("{name}-pass"), 1, pass::run, BETWEEN_PASSES)
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
            self.set_listens(self.is_waited_for());
            // What came during a rest or a crowd is there already.
            let block = !std::mem::take(&mut self.mail_left) && self.ready.is_empty();
            let mut more = self.poller.wait(block, &mut self.ready)?;
            self.mailbox.drain(&mut self.messages);
            // Births are nothing that an exit would have to come before.
            self.births();
            let now = clock::now();
            let due = self.machine.next_deadline().is_some_and(|at| at <= now);
            // A request finds that to have happened which happened before it was sent, also where a sleeper was to say so.
            if due || !self.messages.iter().all(Message::is_of_one_process) {
                self.set_listens(true);
            }
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
            self.at_leisure = match *self.ready {
                [Ready::Process(key)] => {
                    !due && self.messages.is_empty() && !self.leaf_keys.contains_key(&key)
                }
                _ => false,
            };
            self.exits();
            self.requests();
            self.claim_child(now);
            self.at_leisure = false;
            if due {
                // By the clock of before the look at the exits: what has become due since comes in the next round.
                self.input(Input::Timer, now);
            }
        }
        Ok(())
    }

    /// Whether an exit concerns anybody but who sleeps on that process.
    fn is_waited_for(&self) -> bool {
        self.publisher.has_subscribers()
            || self.machine.next_deadline().is_some()
            || !self.sinks.is_empty()
    }

    fn set_listens(&mut self, listens: bool) {
        if self.listens != listens {
            self.listens = listens;
            self.shared.sleepers.set_listens(listens);
        }
    }

    /// Takes in what leads the mailbox and was sent without a wake-up: the exit that we woke for may be its own.
    fn births(&mut self) {
        let quiet = |message: &Message| matches!(message, Message::Born(_));
        let births = self
            .messages
            .iter()
            .take_while(|&message| quiet(message))
            .count();
        if births == 0 {
            return;
        }
        let rest = self.messages.split_off(births);
        for message in std::mem::replace(&mut self.messages, rest) {
            let now = clock::now();
            self.message(message, now);
        }
    }

    /// Hands in who has exited: first those who were not asked to, since of them somebody may have to hear at once, then those
    /// of whom an end or a stop wants to see that they go, however many these are.
    fn exits(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        let mut asked = self.unasked_exits(ready).0.into_iter();
        let mut handed_in = 0;
        while let Some(process) = asked.next() {
            self.input(Input::Ready { process }, clock::now());
            handed_in += 1;
            if handed_in % SO_MANY == 0 && asked.len() > 0 {
                let ready = self.ready_now();
                let (later, others) = self.unasked_exits(ready);
                // They have their turn in the next round, whatever comes in this one.
                let later = later.into_iter().map(|process| Ready::Process(process.0));
                self.ready.extend(later.chain(others));
            }
        }
    }

    /// Hands in those exits that nobody has asked for. Returns the others, and what is not an exit.
    fn unasked_exits(&mut self, ready: Vec<Ready>) -> (Vec<ProcessId>, Vec<Ready>) {
        let (mut asked, mut others) = (Vec::new(), Vec::new());
        for event in ready {
            match event {
                Ready::Process(key) if self.leaf_keys.contains_key(&key) => {
                    let life = self.leaf_keys[&key];
                    self.input(Input::Populated { life }, clock::now());
                }
                Ready::Process(key) => {
                    let process = ProcessId(key);
                    if self.machine.is_asked_to_exit(process) {
                        asked.push(process);
                    } else {
                        self.input(Input::Ready { process }, clock::now());
                    }
                }
                Ready::Mailbox | Ready::Timer => others.push(event),
            }
        }
        (asked, others)
    }

    /// What has come by now. What does not fit comes with the next wait.
    fn ready_now(&mut self) -> Vec<Ready> {
        let mut ready = Vec::new();
        // No error is known; the next wait would have it too.
        drop(self.poller.rest(Duration::ZERO, &mut ready));
        ready
    }

    /// Sleeps a moment before what nobody waits for, so that whoever has been told an exit goes on at once: a thread that
    /// was woken stands behind the one that woke it, until that sleeps or another processor has been interrupted for it.
    /// Whatever comes ends the rest. Of several exits the next one is not put off; nothing is where nobody listens, since who
    /// waits for a process is woken by the kernel.
    pub(super) fn rest(&mut self) {
        if self.at_leisure && self.ready.is_empty() && self.publisher.wants_exits() {
            // No error is known; the next wait would have it too.
            drop(self.poller.rest(REST, &mut self.ready));
        }
    }

    fn requests(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        for message in messages.drain(..) {
            self.message(message, clock::now());
        }
        self.messages = messages;
    }

    /// Hands one input in, and carries out what comes of it.
    pub(super) fn input(&mut self, input: Input, now: Instant) {
        self.machine.handle(input, now);
        let mut at_a_crowd = 0;
        while let Some(effect) = self.machine.poll_effect() {
            let op = effect.op;
            if let Some(outcome) = self.perform(effect, now) {
                self.machine.handle(Input::Done { op, outcome }, now);
            }
            if self.machine.is_at_a_crowd() {
                at_a_crowd += 1;
                if at_a_crowd % SO_MANY == 0 {
                    self.exits_meanwhile();
                }
            }
        }
        self.forget_listeners();
    }

    /// Hands in who has exited while many are signalled: nobody else's exit waits for the last of them, and some of them are
    /// taken away while the others die.
    fn exits_meanwhile(&mut self) {
        self.at_leisure = false;
        let mut taken_away = 0;
        for event in self.ready_now() {
            match event {
                Ready::Process(key) if !self.leaf_keys.contains_key(&key) => {
                    let process = ProcessId(key);
                    let asked = self.machine.is_asked_to_exit(process);
                    taken_away += usize::from(asked);
                    if asked && taken_away > SO_MANY {
                        self.ready.push(event);
                    } else {
                        self.machine.handle(Input::Ready { process }, clock::now());
                    }
                }
                event @ (Ready::Process(_) | Ready::Mailbox | Ready::Timer) => {
                    self.ready.push(event);
                }
            }
        }
    }

    /// Whoever listens to a life of which nothing is left has heard everything.
    pub(super) fn forget_listeners(&mut self) {
        let machine = &self.machine;
        if self.publisher.keep_lives(|life| machine.has_life(life)) {
            self.shared.set_news(&self.publisher);
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

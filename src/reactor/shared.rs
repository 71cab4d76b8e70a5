//! What handles and the reactor share: the way to send requests, and for each process one core.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStderr, ChildStdout};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::asked::{decode_asked, encode_asked};
use super::cell::{Cell, Waited};
use super::clock;
use super::forebears::Forebears;
use super::gate::{SharedGate, Slot};
use super::index::Index;
use super::mailbox::{Mail, Message};
use super::pass::Lasting;
use super::publish::Publisher;
use super::sleepers::Sleepers;
use super::watchlist::Watchlist;
use crate::capabilities::{Capabilities, Capability};
use crate::cradles::Cradles;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventKind, Reason};
use crate::exit::{Exit, StatusSource};
use crate::foster::Tried;
use crate::launch_threads::LaunchThreads;
use crate::leaves::Leaves;
use crate::ledger::{Record, Written};
use crate::machine::{Facts, Machine, Relation};
use crate::own_lives::OwnLives;
use crate::plan::Plan;
use crate::recovery::Turns;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stdin::StdinPipe;
use crate::sys::{self, Facilities, Lifeline, Look, Pin, Subreaper, Watch, Woken};

/// Most programs are still running then.
const SOON: Duration = Duration::from_millis(1);

/// Most short programs have come and gone by then: the reactor takes in the birth together with the exit, and wakes once for
/// both. A second time, while the program runs, it would take processor and caches away from whom the host waits for.
const LATER: Duration = Duration::from_millis(20);

/// How long it may take until the reactor takes away who was waited for, if nobody else wants to hear of it. To wake it takes
/// longer than all else that whoever has waited does. More than most kernels' tick: no hardware has to be set up for that.
const SHORTLY: Duration = Duration::from_millis(5);

/// What every handle of a registry shares with its reactor.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mail: Mail,
    pub(crate) gate: Arc<SharedGate>,
    pub(crate) watch: Watch,
    /// Hangs up when the reactor is gone.
    pub(crate) line: Lifeline,
    pub(crate) facilities: Facilities,
    pub(crate) plan: Plan,
    /// The process that the reactor's thread is in. After a fork without exec it is not in the child's.
    pub(crate) owner: u32,
    state: AtomicU8,
    waits: AtomicU64,
    births_are_news: AtomicBool,
    exits_are_news: AtomicBool,
    /// How many have exited, were waited for, and have not been taken away yet.
    pub(super) left_for_later: AtomicUsize,
    pub(super) sleepers: Sleepers,
    /// For launches that are bound to the thread that does them.
    pub(crate) launch_threads: LaunchThreads,
    pub(crate) cradles: Cradles,
    /// Once the ledger has failed.
    fewer_capabilities: OnceLock<Capabilities>,
    /// The cgroups of the lives that have one.
    pub(crate) leaves: Leaves,
    /// Whose the processes are that are held.
    pub(crate) index: Index,
    /// By what those are known who descend from the processes that are held.
    pub(super) forebears: Forebears,
    /// Orphans come to this process, and all of its children are the registry's.
    pub(crate) subreaper: Mutex<Option<Subreaper>>,
    /// The lives of the sessions that sweeps and recoveries have opened for themselves.
    pub(crate) own_lives: OwnLives,
    /// Who recovers.
    pub(crate) recoveries: Turns,
    /// Who takes in orphans.
    pub(crate) tried: Tried,
    /// What passes know of the machine's processes. One that looks has it to itself meanwhile.
    lasting: Mutex<Lasting>,
    /// What a reactor that panicked was looking after.
    pub(crate) wreck: Mutex<Vec<Arc<Core>>>,
}

const RUNNING: u8 = 0;
const SHUT_DOWN: u8 = 1;
const GONE: u8 = 2;

/// The handles' ends of what leads to the reactor.
pub(super) struct Ends {
    pub(super) mail: Mail,
    pub(super) gate: Arc<SharedGate>,
    pub(super) watch: Watch,
    pub(super) line: Lifeline,
    pub(super) subreaper: Option<Subreaper>,
}

impl Shared {
    pub(super) fn new(ends: Ends, facilities: Facilities, plan: Plan) -> Self {
        Self {
            mail: ends.mail,
            gate: ends.gate,
            sleepers: Sleepers::new(ends.watch.clone()),
            watch: ends.watch,
            line: ends.line,
            facilities,
            plan,
            owner: sys::current_pid(),
            state: AtomicU8::new(RUNNING),
            waits: AtomicU64::new(0),
            births_are_news: AtomicBool::new(false),
            exits_are_news: AtomicBool::new(false),
            left_for_later: AtomicUsize::new(0),
            launch_threads: LaunchThreads::default(),
            cradles: Cradles::default(),
            fewer_capabilities: OnceLock::new(),
            leaves: Leaves::default(),
            index: Index::default(),
            forebears: Forebears::default(),
            subreaper: Mutex::new(ends.subreaper),
            own_lives: OwnLives::default(),
            recoveries: Turns::default(),
            tried: Tried::default(),
            lasting: Mutex::default(),
            wreck: Mutex::default(),
        }
    }

    /// Whether this is a copy in a forked child, where no reactor runs.
    pub(crate) fn is_forked_copy(&self) -> bool {
        sys::current_pid() != self.owner
    }

    /// A number for a wait, that no other has.
    pub(crate) fn next_wait(&self) -> u64 {
        self.waits.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether somebody wants to hear of a birth at once. If not, the reactor hears of it when it wakes for something
    /// else, the exit of that very process perhaps: a wake-up for each spawn would be a tenth of its cost.
    pub(crate) fn births_are_news(&self) -> bool {
        self.births_are_news.load(Ordering::SeqCst) || log::max_level() >= log::Level::Debug
    }

    /// When the reactor is to hear of a birth at the latest that is no news. Where somebody listens to exits it has better
    /// heard of it before that process exits: then it has nothing else to do first.
    pub(crate) fn leisure(&self) -> Duration {
        if self.exits_are_news.load(Ordering::SeqCst) {
            SOON
        } else {
            LATER
        }
    }

    pub(super) fn set_news(&self, publisher: &Publisher) {
        self.births_are_news
            .store(publisher.wants_births(), Ordering::SeqCst);
        self.exits_are_news
            .store(publisher.wants_exits(), Ordering::SeqCst);
    }

    /// What passes know of the machine's processes, for the one that looks now.
    pub(super) fn lasting(&self) -> Lasting {
        std::mem::take(&mut *self.lasting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For the next pass. Of two that have looked at the same time, one has learned for nothing.
    pub(super) fn keep_lasting(&self, lasting: Lasting) {
        *self.lasting.lock().unwrap_or_else(PoisonError::into_inner) = lasting;
    }

    /// Sends a request, unless nobody is there to handle it.
    pub(crate) fn send(&self, message: Message, operation: &'static str) -> Result<()> {
        if self.is_forked_copy() {
            let detail = "this is a copy of the registry in a forked child";
            return Err(Error::new(ErrorKind::ReactorGone, operation).with_detail(detail));
        }
        self.mail.send(message).map_err(|_| self.gone(operation))
    }

    /// Sends a request, and waits for its answer.
    pub(crate) fn call<T>(
        &self,
        operation: &'static str,
        message: impl FnOnce(Sender<T>) -> Message,
    ) -> Result<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.send(message(reply), operation)?;
        answer.recv().map_err(|_| self.gone(operation))
    }

    /// Has the reactor take away whoever has exited and was left to it for later. `false`: there was nobody.
    pub(crate) fn catches_up(&self) -> bool {
        let left = self.left_for_later.load(Ordering::SeqCst) > 0;
        left && self.read("catch up", |_, _| ()).is_ok()
    }

    /// Reads what the reactor knows.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Machine, &Watchlist) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let question = Box::new(move |machine: &Machine, watchlist: &Watchlist, _| {
            // The caller waits, or has gone.
            drop(reply.send(read(machine, watchlist)));
        });
        self.send(Message::Ask(question), operation)?;
        answer.recv().map_err(|_| self.gone(operation))
    }

    /// Writes into the ledger what `records` makes of the registry's number, if there is a ledger that can be written.
    /// That it cannot be any more is told once.
    pub(crate) fn record<const N: usize>(&self, records: impl FnOnce(u64) -> [Record; N]) -> bool {
        let Some(ledger) = &self.plan.ledger else {
            return false;
        };
        match ledger.append(&records(ledger.registry())) {
            Written::Done => true,
            Written::NotTried => false,
            Written::Failed(error) => {
                let why = format!("the ledger failed: {error}");
                let capabilities = self.plan.capabilities.clone();
                let lost = capabilities.without(Capability::DurableIdentity, why);
                // It fails once.
                drop(self.fewer_capabilities.set(lost));
                let (done, _nobody_waits) = crossbeam_channel::bounded(1);
                let kinds = vec![EventKind::NotDurable(error)];
                // A reactor that is gone has no subscribers either.
                drop(self.mail.send(Message::Announce { kinds, done }));
                false
            }
        }
    }

    /// Replaces a ledger that has grown. Not for the reactor.
    pub(crate) fn tidy_ledger(&self) {
        if let Some(ledger) = &self.plan.ledger {
            ledger.tidy();
        }
    }

    /// What works, and what does not any more.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        let fewer = self.fewer_capabilities.get();
        fewer.unwrap_or(&self.plan.capabilities)
    }

    /// Tells the subscribers what is about no session. It is in their channels when this returns.
    pub(crate) fn announce(&self, kinds: Vec<EventKind>) -> Result<()> {
        self.call("announce", |done| Message::Announce { kinds, done })
    }

    /// Why nobody answers.
    pub(crate) fn gone(&self, operation: &'static str) -> Error {
        let kind = match self.state.load(Ordering::SeqCst) {
            SHUT_DOWN => ErrorKind::ShutDown,
            _ => ErrorKind::ReactorGone,
        };
        Error::new(kind, operation)
    }

    /// Why the gate is closed for good: it is closed when a shutdown begins, and when the reactor is gone.
    pub(crate) fn closed(&self, operation: &'static str) -> Error {
        match self.state.load(Ordering::SeqCst) {
            GONE => Error::new(ErrorKind::ReactorGone, operation),
            _ => Error::new(ErrorKind::ShutDown, operation),
        }
    }

    /// Whether the reactor has ended without being asked to.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == GONE
    }

    /// Set by the reactor before the last of its ends closes. The first reason stands.
    pub(super) fn set_over(&self, asked_for: bool) {
        let state = if asked_for { SHUT_DOWN } else { GONE };
        if self
            .state
            .compare_exchange(RUNNING, state, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            debug_assert!(false, "a reactor ends once");
        }
    }
}

/// What is known of one process, shared by its handles and the reactor.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) process: ProcessId,
    pub(crate) session: SessionId,
    pub(crate) life: Life,
    pub(crate) facts: Arc<Facts>,
    /// When its start began, if it was started here.
    started: Option<Instant>,
    pub(crate) stdin: StdinPipe,
    pub(crate) outputs: Mutex<Outputs>,
    /// In a box: most of the time there is none yet.
    exit: Cell<Box<Exit>>,
    /// The last signal that was sent for us, and why; see [`encode_asked`].
    asked: AtomicU32,
    /// It was given up.
    detached: AtomicBool,
    held: Mutex<Held>,
}

/// The ends of a child's pipes that the host has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Outputs {
    /// Those that are there.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let stdout = self.stdout.as_ref().map(AsFd::as_fd);
        stdout
            .into_iter()
            .chain(self.stderr.as_ref().map(AsFd::as_fd))
    }
}

/// What is given up when the process has exited.
#[derive(Debug)]
struct Held {
    pin: Option<Arc<Pin>>,
    slot: Option<Slot>,
    receivers: Vec<Sender<Exit>>,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) process: ProcessId,
    pub(crate) session: SessionId,
    pub(crate) life: Life,
    pub(crate) facts: Arc<Facts>,
    /// When its start began, if it was started here.
    pub(crate) started: Option<Instant>,
    pub(crate) pin: Option<Pin>,
    pub(crate) stdin: StdinPipe,
    pub(crate) outputs: Outputs,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let held = Held {
            pin: parts.pin.map(Arc::new),
            slot: None,
            receivers: Vec::new(),
        };
        Self {
            shared,
            process: parts.process,
            session: parts.session,
            life: parts.life,
            facts: parts.facts,
            started: parts.started,
            stdin: parts.stdin,
            outputs: Mutex::new(parts.outputs),
            exit: Cell::default(),
            asked: AtomicU32::new(0),
            detached: AtomicBool::new(false),
            held: Mutex::new(held),
        }
    }

    /// Gives it the slot that it fills from now on.
    pub(crate) fn occupy(&self, slot: Slot) {
        self.held().slot = Some(slot);
    }

    /// Gives the slot back: it was not taken in.
    pub(super) fn vacate(&self) {
        let slot = self.held().slot.take();
        drop(slot);
    }

    /// The pin, as long as the process is not known to have exited or its group is still of interest.
    pub(crate) fn pin(&self) -> Option<Arc<Pin>> {
        self.held().pin.clone()
    }

    /// Is held by this from now on.
    pub(crate) fn hold(&self, pin: Pin) {
        self.held().pin = Some(Arc::new(pin));
    }

    /// Closes the pin, unless a waiter is using it this moment.
    pub(super) fn unpin(&self) {
        self.held().pin = None;
    }

    /// How it exited, if that is known.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.exit.peek().map(AsRef::as_ref)
    }

    /// Tells how it exited, unless somebody was earlier: that is what everybody hears. Its slot is free from now on.
    pub(crate) fn settle(&self, exit: Exit) -> &Exit {
        let exit = self.exit.fill(Box::new(exit));
        let (slot, receivers) = {
            let mut held = self.held();
            (held.slot.take(), std::mem::take(&mut held.receivers))
        };
        drop(slot);
        for receiver in receivers {
            // It has room for the one exit that is ever sent; an error says that nobody waits any more.
            drop(receiver.try_send(Exit::clone(exit)));
        }
        exit
    }

    /// Nothing more will be learned about this process: wakes those who wait for the reactor to say it.
    pub(super) fn close(&self) {
        self.exit.close();
        self.held().receivers.clear();
    }

    /// Sends the exit to `receiver` when it is known, or now.
    pub(crate) fn tell_exit(&self, receiver: Sender<Exit>) {
        // Under the lock: whoever settles it after this look finds the receiver in the list.
        let mut held = self.held();
        match self.exit.peek() {
            // It is new and empty, and its other end is in the caller's hand.
            Some(exit) => drop(receiver.try_send(Exit::clone(exit))),
            None if self.shared.state.load(Ordering::SeqCst) == RUNNING
                && !self.detached.load(Ordering::SeqCst) =>
            {
                held.receivers.push(receiver)
            }
            None => {}
        }
    }

    pub(super) fn set_detached(&self) {
        self.detached.store(true, Ordering::SeqCst);
    }

    /// Why nothing can be done about it any more, if it was given up.
    pub(crate) fn check_held(&self, operation: &'static str) -> Result<()> {
        if self.detached.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::NoSuchProcess, operation)
                .with_pid(self.facts.pid)
                .with_detail("it was detached, and is none of the registry's any more"));
        }
        Ok(())
    }

    /// Notes what is about to be sent, and returns what was noted before.
    pub(super) fn set_asked(&self, signal: Signal, reason: Reason) -> u32 {
        self.asked
            .swap(encode_asked(signal, reason), Ordering::SeqCst)
    }

    /// It was not sent after all.
    pub(super) fn restore_asked(&self, before: u32) {
        self.asked.store(before, Ordering::SeqCst);
    }

    /// The exit that a look showed, with what only we know about it.
    pub(crate) fn complete(&self, looked: ExitLook) -> Exit {
        let at = clock::now();
        let lifetime = self
            .started
            .map(|started| at.saturating_duration_since(started));
        Exit {
            status: looked.status,
            source: looked.source,
            asked: decode_asked(self.asked.load(Ordering::SeqCst)),
            at,
            wall_clock: clock::wall_clock(),
            lifetime,
            usage: looked.usage,
        }
    }

    /// Waits for the exit: on the process itself, and on the reactor's end. Never reaps.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Option<Exit>> {
        const OPERATION: &str = "wait";
        if let Some(exit) = self.exit() {
            return Ok(Some(exit.clone()));
        }
        if self.shared.is_forked_copy() {
            let detail = "this is a copy of the registry in a forked child";
            return Err(Error::new(ErrorKind::ReactorGone, OPERATION).with_detail(detail));
        }
        if let Some(pin) = self.pin() {
            // A status that is not ours to see is the reactor's to find out.
            let child = self.facts.relation == Relation::Child;
            let sleeps = child && deadline.is_none_or(|deadline| deadline > clock::now());
            let asleep = sleeps.then(|| self.shared.sleepers.lie_down(self.process, &pin));
            match sys::sleep_on(&pin, &self.shared.line, deadline) {
                Ok(Woken::Process) => {
                    if let Some(exit) = self.peek_kernel(&pin) {
                        if let Some(asleep) = asleep {
                            let process = self.process;
                            // A reactor that is gone does not want to know.
                            let seen = Message::ExitSeen { process };
                            let tell = || {
                                self.shared.left_for_later.fetch_add(1, Ordering::SeqCst);
                                self.shared.mail.send_quietly(seen, SHORTLY)
                            };
                            asleep.has_seen(|| drop(tell()));
                        }
                        return Ok(Some(exit));
                    }
                }
                Ok(Woken::TimedOut) => return Ok(self.exit().cloned()),
                // The cell knows whether anything came first. An error (ENOMEM) leaves the cell to wait on.
                Ok(Woken::ReactorGone) | Err(_) => {}
            }
        }
        // Dead, and not to be waited for by us: the reactor says what there is to say.
        match self.exit.wait(deadline) {
            Waited::Filled(exit) => Ok(Some(Exit::clone(exit))),
            Waited::TimedOut => Ok(None),
            Waited::Closed => {
                self.check_held(OPERATION)?;
                Err(self.shared.gone(OPERATION).with_pid(self.facts.pid))
            }
        }
    }

    /// Looks whether it has exited, without waiting. A status that was taken by somebody else is left to the reactor.
    pub(crate) fn peek_kernel(&self, pin: &Pin) -> Option<Exit> {
        let looked = pin.look(relation(self.facts.relation), &self.shared.facilities);
        match looked {
            Ok(Look::Exited {
                status,
                source: source @ StatusSource::Waited,
                usage,
            }) => {
                let exit = self.complete(ExitLook {
                    status,
                    source,
                    usage,
                });
                Some(self.settle(exit).clone())
            }
            Ok(Look::Exited { .. } | Look::Alive | Look::Held | Look::Dead) | Err(_) => {
                self.exit().cloned()
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Its fields are independent of each other.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel says of an exit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitLook {
    pub(crate) status: crate::exit::Status,
    pub(crate) source: StatusSource,
    pub(crate) usage: Option<crate::exit::Usage>,
}

/// The back end's word for whose child it is.
pub(crate) fn relation(relation: Relation) -> sys::Relation {
    match relation {
        Relation::Child => sys::Relation::Child,
        Relation::Stranger => sys::Relation::Stranger,
    }
}

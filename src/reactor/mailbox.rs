//! What threads send to the reactor, and how they wake it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::cell::Cell;
use super::publish::Listener;
use super::shared::Core;
use super::watchlist::Watchlist;
use crate::earlier::Inheritance;
use crate::error::{Error, Result};
use crate::event::{EventKind, EventMask, Reason};
use crate::machine::{Begun, Machine, OpId, Outcome, Refused, Whom};
use crate::report::{MemberReport, SessionReport};
use crate::session::{Life, ProcessId, SessionId};
use crate::session_options::SessionOptions;
use crate::signal::Signal;
use crate::stop::StopPolicy;
use crate::sys::{Pin, Waker};

/// A report that is waited for, or why there is none.
pub(crate) type EndingCell = Cell<Result<SessionReport>>;

/// One life of a session number, as its handles know it.
#[derive(Debug)]
pub(crate) struct LifeCell {
    pub(crate) session: SessionId,
    pub(crate) life: Life,
    pub(crate) label: Option<Arc<str>>,
    /// Filled when it is over.
    pub(crate) report: Cell<SessionReport>,
}

/// How many messages may lie in the mailbox without a wake-up.
const BACKLOG: usize = 16;

/// One thing that a thread tells the reactor. Messages are handled in the order in which they were sent; an answer of
/// `None` is about a process that has exited.
pub(crate) enum Message {
    /// From a pass that takes long.
    GoesOn {
        op: OpId,
    },
    Born(Newborn),
    Aborted {
        process: ProcessId,
        life: Life,
        begun: Option<Begun>,
    },
    /// Gives a session a life before its first process.
    Open {
        options: Box<SessionOptions>,
        inheritance: Inheritance,
        reply: Sender<std::result::Result<Arc<LifeCell>, Refused>>,
    },
    /// The life that a number has now.
    Session {
        session: SessionId,
        reply: Sender<Option<Arc<LifeCell>>>,
    },
    End {
        whom: Whom,
        policy: Option<StopPolicy>,
        reason: Reason,
        to: Ended,
    },
    Stop {
        process: ProcessId,
        policy: StopPolicy,
        reply: Sender<Option<MemberReport>>,
    },
    Signal {
        process: ProcessId,
        signal: Signal,
        reply: Sender<Option<Result<()>>>,
    },
    Detach {
        process: ProcessId,
        reply: Sender<Option<Result<()>>>,
    },
    SignalSession {
        whom: Whom,
        signal: Signal,
        reply: Sender<Option<Result<()>>>,
    },
    Touch {
        session: SessionId,
        life: Life,
        reply: Sender<Option<Result<()>>>,
    },
    WaitEmpty {
        session: SessionId,
        life: Life,
        /// A number that no other wait has.
        wait: u64,
        reply: Sender<Option<Result<()>>>,
    },
    /// The caller of that `WaitEmpty` does not wait any longer.
    Forget {
        life: Life,
        wait: u64,
    },
    Shutdown {
        policy: StopPolicy,
        reason: Reason,
        to: AllEnded,
    },
    HardenShutdown {
        policy: StopPolicy,
    },
    Subscribe {
        mask: EventMask,
        only: Option<Life>,
        listener: Listener,
        capacity: usize,
        done: Sender<()>,
    },
    /// Tells the subscribers what is about no session, and writes it to the log.
    Announce {
        kinds: Vec<EventKind>,
        /// They are in the channels.
        done: Sender<()>,
    },
    /// These were given up, by an earlier run perhaps.
    LeaveAlone(Vec<Arc<Pin>>),
    /// Reads what the reactor knows.
    Ask(Question),
    /// A helper has done its errand.
    Done {
        op: OpId,
        outcome: Outcome,
    },
    /// A thread that slept on it has seen it exit, and the poll was not to say so.
    ExitSeen {
        process: ProcessId,
    },
    /// A child of this process has ended that nobody has taken away; where all of them are the registry's.
    ChildEnded {
        pid: u32,
    },
    /// End now, and leave every process as it is.
    Halt,
}

impl Message {
    /// Whether it is about this one process and no other that may have exited before it was sent.
    pub(super) fn is_of_one_process(&self) -> bool {
        matches!(self, Self::Born(_) | Self::ExitSeen { .. })
    }
}

/// A question, asked and answered on the reactor's thread. It must not block.
pub(crate) type Question = Box<dyn FnOnce(&Machine, &Watchlist, Instant) + Send>;

/// A process that was started, adopted, attached or found.
pub(crate) struct Newborn {
    pub(crate) core: Arc<Core>,
    /// When it was handed over; the reactor may hear of it later.
    pub(crate) at: Instant,
    /// A time before its start, in clock ticks since boot, if it was started for the session.
    pub(crate) since: Option<u64>,
    /// Its session was closed in the meantime, and no handle to it is given out.
    pub(crate) raced: bool,
    /// How old it may get.
    pub(crate) time_limit: Option<Duration>,
    /// Who waits to hear under which id it is known.
    pub(crate) reply: Option<Sender<Result<ProcessId>>>,
}

/// Where the report of an end goes: a cell for those who wait, a channel for those who select.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) cell: Arc<EndingCell>,
    pub(crate) channel: Sender<SessionReport>,
}

impl Ended {
    pub(crate) fn refuse(self, error: Error) {
        let _first_writer = self.cell.fill(Err(error));
    }

    pub(crate) fn fill(self, report: SessionReport) {
        let _first_writer = self.cell.fill(Ok(report.clone()));
        // The channel has room for the one report that is ever sent; an error says that nobody selects on it.
        drop(self.channel.try_send(report));
    }
}

/// Without an answer, too, the waiters go on: they find the cell closed and empty.
impl Drop for Ended {
    fn drop(&mut self) {
        self.cell.close();
    }
}

/// Where the reports of a shutdown go: each to the channel when it is there, all of them to the cell at the end.
#[derive(Debug)]
pub(crate) struct AllEnded {
    pub(crate) cell: Arc<Cell<Vec<SessionReport>>>,
    pub(crate) channel: Sender<SessionReport>,
}

impl AllEnded {
    pub(crate) fn tell(&self, report: SessionReport) {
        // It is unbounded; an error says that nobody selects on it.
        drop(self.channel.try_send(report));
    }

    pub(crate) fn fill(self, reports: Vec<SessionReport>) {
        let _first_writer = self.cell.fill(reports);
    }
}

/// Without an answer, too, the waiters go on: they find the cell closed and empty.
impl Drop for AllEnded {
    fn drop(&mut self) {
        self.cell.close();
    }
}

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    sender: Sender<Message>,
    waker: Arc<Waker>,
    called: Arc<Called>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Mailbox {
    receiver: Receiver<Message>,
    waker: Arc<Waker>,
    called: Arc<Called>,
}

/// What the reactor was told since it began to drain: once is enough.
#[derive(Debug)]
struct Called {
    /// To wake.
    at_once: AtomicBool,
    /// To wake within so many nanoseconds, the least of all.
    within: AtomicU64,
}

/// It was not told to wake later.
const NEVER: u64 = u64::MAX;

impl Default for Called {
    fn default() -> Self {
        Self {
            at_once: AtomicBool::new(false),
            within: AtomicU64::new(NEVER),
        }
    }
}

/// The reactor is gone, and the message with it.
#[derive(Debug)]
pub(crate) struct Undelivered;

/// A mailbox whose reactor is woken by `waker`.
pub(crate) fn mailbox(waker: Arc<Waker>) -> (Mail, Mailbox) {
    let (sender, receiver) = unbounded();
    let called = Arc::<Called>::default();
    let mail = Mail {
        sender,
        waker: Arc::clone(&waker),
        called: Arc::clone(&called),
    };
    let mailbox = Mailbox {
        receiver,
        waker,
        called,
    };
    (mail, mailbox)
}

impl Mail {
    /// Sends without waiting. The wake-up comes after the send, so that the reactor finds what it was woken for.
    pub(crate) fn send(&self, message: Message) -> Result<(), Undelivered> {
        self.sender.send(message).map_err(|_gone| Undelivered)?;
        self.wake();
        Ok(())
    }

    /// Sends what is in time when the reactor wakes for something else, which it does within that time. Not too much of it:
    /// now and then it is woken at once all the same.
    pub(crate) fn send_quietly(
        &self,
        message: Message,
        within: Duration,
    ) -> Result<(), Undelivered> {
        self.sender.send(message).map_err(|_gone| Undelivered)?;
        if self.sender.len() >= BACKLOG {
            self.wake();
            return Ok(());
        }
        // What was asked for before is not over yet: it has not drained since.
        let nanos = u64::try_from(within.as_nanos()).unwrap_or(NEVER);
        let before = self.called.within.fetch_min(nanos, Ordering::SeqCst);
        if before > nanos && self.waker.wake_within(within).is_err() {
            // Nothing depends on it.
            self.called.within.store(NEVER, Ordering::SeqCst);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn has_unread(&self) -> bool {
        !self.sender.is_empty()
    }

    /// Has the reactor look into its mailbox.
    pub(crate) fn wake(&self) {
        if !self.called.at_once.swap(true, Ordering::SeqCst) && self.waker.wake().is_err() {
            // EAGAIN is a counter that is full, and so a reactor that wakes anyhow; mio deals with that. No other error
            // is known for a descriptor that we hold; should there be one, the next sender tries again.
            self.called.at_once.store(false, Ordering::SeqCst);
        }
    }
}

impl Mailbox {
    /// Takes all that has been sent. Whoever sends after this wakes the reactor again.
    pub(crate) fn drain(&self, into: &mut Vec<Message>) {
        self.called.at_once.store(false, Ordering::SeqCst);
        if self.called.within.load(Ordering::SeqCst) != NEVER {
            // In this order: who sends after this wakes it again, and what was sent before is taken now.
            self.waker.cancel_later();
            self.called.within.store(NEVER, Ordering::SeqCst);
        }
        into.extend(self.receiver.try_iter());
    }
}

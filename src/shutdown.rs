//! [`Shutdown`]: the end of everything, under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::event::Reason;
use crate::info::SessionInfo;
use crate::machine::Machine;
use crate::reactor::{self, AllEnded, Cell, Message, Shared, Waited, Watchlist};
use crate::report::SessionReport;
use crate::stop::StopPolicy;

const OPERATION: &str = "shut down";

/// The end of all sessions, under way. Made by [`Registry::begin_shutdown`](crate::Registry::begin_shutdown). Dropping it
/// cancels nothing.
#[derive(Debug)]
pub struct Shutdown {
    shared: Arc<Shared>,
    cell: Arc<Cell<Vec<SessionReport>>>,
    receiver: Receiver<SessionReport>,
}

impl Shutdown {
    pub(crate) fn begin(shared: &Arc<Shared>, policy: &StopPolicy, reason: Reason) -> Result<Self> {
        let cell = Arc::new(Cell::default());
        let (channel, receiver) = crossbeam_channel::unbounded();
        let to = AllEnded {
            cell: Arc::clone(&cell),
            channel,
        };
        let policy = policy.clone();
        shared.send(Message::Shutdown { policy, reason, to }, OPERATION)?;
        Ok(Self {
            shared: Arc::clone(shared),
            cell,
            receiver,
        })
    }

    /// The sessions whose ends are still under way, in the order of their numbers; none once all is over.
    ///
    /// # Errors
    ///
    /// [`ReactorGone`](crate::ErrorKind::ReactorGone).
    pub fn remaining(&self) -> Result<Vec<SessionInfo>> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let question = Box::new(move |machine: &Machine, _: &Watchlist, now| {
            // The caller waits, or has gone.
            drop(reply.send(machine.sessions(now)));
        });
        let sent = self.shared.send(Message::Ask(question), OPERATION);
        let answer = sent.and_then(|()| answer.recv().map_err(|_| self.shared.gone(OPERATION)));
        match answer {
            // It is all over, and so is the reactor.
            Err(_) if self.cell.peek().is_some() => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// Asks for more haste, at a second Ctrl-C perhaps: in every end that is under way the earlier SIGKILL and the more
    /// patient confirmation of the two policies hold. Once all is over it does nothing.
    ///
    /// # Errors
    ///
    /// [`ReactorGone`](crate::ErrorKind::ReactorGone).
    pub fn harden(&self, policy: &StopPolicy) -> Result<()> {
        let policy = policy.clone();
        match self
            .shared
            .send(Message::HardenShutdown { policy }, OPERATION)
        {
            Err(_) if self.cell.peek().is_some() => Ok(()),
            sent => sent,
        }
    }

    /// Waits for all reports, in the order of the sessions' numbers. May be called again, and from several threads.
    ///
    /// # Errors
    ///
    /// [`ReactorGone`](crate::ErrorKind::ReactorGone); [`ShutDown`](crate::ErrorKind::ShutDown) if another shutdown was
    /// over before this one began.
    pub fn wait(&self) -> Result<Vec<SessionReport>> {
        loop {
            // Without a deadline there is no time-out.
            if let Some(reports) = self.wait_until(None)? {
                return Ok(reports);
            }
        }
    }

    /// Waits for all reports until the deadline; one in the past is just a look. The shutdown goes on after it.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<Vec<SessionReport>>> {
        self.wait_until(Some(deadline))
    }

    /// Waits for all reports, that long at most; zero is just a look, and `Duration::MAX` for ever.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Vec<SessionReport>>> {
        // A time that does not fit into an `Instant` is never over.
        self.wait_until(reactor::now().checked_add(timeout))
    }

    /// A channel that gets each session's report when it is there, and is disconnected after the last.
    pub fn receiver(&self) -> &Receiver<SessionReport> {
        &self.receiver
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<Vec<SessionReport>>> {
        match self.cell.wait(deadline) {
            Waited::Filled(reports) => Ok(Some(reports.clone())),
            Waited::TimedOut => Ok(None),
            Waited::Closed => Err(self.shared.gone(OPERATION)),
        }
    }
}

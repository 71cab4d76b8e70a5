//! [`Ending`]: the end of a session, under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::event::Reason;
use crate::machine::Whom;
use crate::reactor::{self, Ended, EndingCell, Message, Shared, Waited};
use crate::report::SessionReport;
use crate::session::SessionId;
use crate::stop::StopPolicy;

const OPERATION: &str = "end session";

/// The end of a session, under way. Dropping it cancels nothing.
#[derive(Debug)]
pub struct Ending {
    shared: Arc<Shared>,
    session: SessionId,
    cell: Arc<EndingCell>,
    receiver: Receiver<SessionReport>,
}

impl Ending {
    /// Begins the end of a session; without a policy, by its own.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        whom: Whom,
        policy: Option<&StopPolicy>,
    ) -> Result<Self> {
        Self::begin_for(shared, whom, policy, Reason::Host)
    }

    /// Begins it on behalf of something else than the host.
    pub(crate) fn begin_for(
        shared: &Arc<Shared>,
        whom: Whom,
        policy: Option<&StopPolicy>,
        reason: Reason,
    ) -> Result<Self> {
        let (Whom::Number(session) | Whom::Life(session, _)) = whom;
        let cell = Arc::new(EndingCell::default());
        let (channel, receiver) = crossbeam_channel::bounded(1);
        let to = Ended {
            cell: Arc::clone(&cell),
            channel,
        };
        let policy = policy.cloned();
        shared
            .send(
                Message::End {
                    whom,
                    policy,
                    reason,
                    to,
                },
                OPERATION,
            )
            .map_err(|error| error.with_session(session))?;
        Ok(Self {
            shared: Arc::clone(shared),
            session,
            cell,
            receiver,
        })
    }

    /// The session that is being ended.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Waits for the report. May be called again, and from several threads.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](crate::ErrorKind::ShutDown) and [`ReactorGone`](crate::ErrorKind::ReactorGone): there will be no
    /// report.
    pub fn wait(&self) -> Result<SessionReport> {
        loop {
            // Without a deadline there is no time-out.
            if let Some(report) = self.wait_until(None)? {
                return Ok(report);
            }
        }
    }

    /// Waits for the report until the deadline; one in the past is just a look. The end goes on after it.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<SessionReport>> {
        self.wait_until(Some(deadline))
    }

    /// Waits for the report, that long at most; zero is just a look, and `Duration::MAX` for ever.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<SessionReport>> {
        // A time that does not fit into an `Instant` is never over.
        self.wait_until(reactor::now().checked_add(timeout))
    }

    /// The report, if it is there.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn try_report(&self) -> Result<Option<SessionReport>> {
        self.wait_until(Some(reactor::now()))
    }

    /// A channel that gets the report, for `select!`. It gets one message; the other ways to the report stay open.
    pub fn receiver(&self) -> &Receiver<SessionReport> {
        &self.receiver
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<SessionReport>> {
        match self.cell.wait(deadline) {
            Waited::Filled(report) => report.clone().map(Some),
            Waited::TimedOut => Ok(None),
            Waited::Closed => Err(self.shared.gone(OPERATION).with_session(self.session)),
        }
    }
}

//! [`Session`]: a handle to one life of a session number.

use std::fmt;
use std::ops::Deref;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::birth;
use crate::ending::Ending;
use crate::error::{AdoptError, Error, ErrorKind, Result};
use crate::event::EventMask;
use crate::info::ProcessInfo;
use crate::launch::Launch;
use crate::machine::{Machine, Whom};
use crate::process::Process;
use crate::reactor::{self, LifeCell, Memory, Message, Place, Shared, Watchlist, look_for};
use crate::registry;
use crate::report::SessionReport;
use crate::session::SessionId;
use crate::signal::Signal;
use crate::spawn_options::SpawnOptions;
use crate::stop::StopPolicy;
use crate::subscription::{self, Subscription};

/// One life of a session number.
///
/// Made by [`Registry::open_session`](crate::Registry::open_session) and
/// [`Registry::session`](crate::Registry::session). Clones are the same session. After its end every call that needs a
/// living session says [`SessionEnded`](ErrorKind::SessionEnded), also when the number lives again, and
/// [`report`](Self::report) still hands out its report, however many others were ended since.
///
/// Dropping it does nothing: the session belongs to the registry, which it does not keep alive. See
/// [`end_on_drop`](Self::end_on_drop) for the other way.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    cell: Arc<LifeCell>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, cell: Arc<LifeCell>) -> Self {
        Self { shared, cell }
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.cell.session
    }

    /// The label that it was opened with.
    pub fn label(&self) -> Option<&str> {
        self.cell.label.as_deref()
    }

    // ---- processes

    /// Starts a process in it, see [`Registry::spawn`](crate::Registry::spawn).
    ///
    /// # Errors
    ///
    /// Those of `Registry::spawn`, and [`SessionEnded`](ErrorKind::SessionEnded).
    pub fn spawn(&self, command: &mut impl Launch) -> Result<Process> {
        self.spawn_with(command, &SpawnOptions::new())
    }

    /// Starts a process in it, with options.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn), and [`TimedOut`](ErrorKind::TimedOut) if no slot became free in time.
    pub fn spawn_with(&self, command: &mut impl Launch, options: &SpawnOptions) -> Result<Process> {
        birth::spawn(&self.shared, self.place(), command, options)
    }

    /// Takes over a child, see [`Registry::adopt`](crate::Registry::adopt).
    ///
    /// # Errors
    ///
    /// Those of `Registry::adopt`, and [`SessionEnded`](ErrorKind::SessionEnded); the child comes back.
    pub fn adopt(&self, child: Child) -> Result<Process, AdoptError> {
        birth::adopt(&self.shared, self.place(), child)
    }

    fn place(&self) -> Place {
        Place {
            session: self.cell.session,
            life: Some(self.cell.life),
        }
    }

    /// Sends a signal to all of it, see [`Registry::signal_session`](crate::Registry::signal_session).
    ///
    /// # Errors
    ///
    /// Those of `Registry::signal_session`.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        registry::signal_session(&self.shared, self.whom(), signal)
    }

    /// Its processes that are not known to have exited, in the order of their ids: those that were registered, and their
    /// descendants, which are looked for now, on this thread. It takes a pass over all processes of the machine, some
    /// milliseconds where there are thousands.
    ///
    /// A descendant that is found here is a member from now on: there is its `Started` event, and there will be its
    /// `Exited`. Descendants of what was attached, or runs under [`Containment::Leader`](crate::Containment::Leader), are
    /// not looked for.
    ///
    /// # Errors
    ///
    /// [`SessionEnded`](ErrorKind::SessionEnded), [`ShutDown`](ErrorKind::ShutDown),
    /// [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn members(&self) -> Result<Vec<ProcessInfo>> {
        const OPERATION: &str = "list session";
        let life = self.cell.life;
        let shared = Arc::clone(&self.shared);
        let sought = self.ask(OPERATION, move |machine, watchlist, _| {
            let hunt = machine.look_around(life)?;
            Some(watchlist.scene(vec![hunt], &shared))
        })?;
        if let Some(scene) = sought {
            // What is found is in the mailbox before the question that follows. What could not be looked at is missing.
            let _passed = look_for(&self.shared, &scene, &Memory::default(), None);
        }
        let members = self.ask(OPERATION, move |machine, _, now| {
            machine.members_of(life, now)
        })?;
        members.ok_or_else(|| self.ended(OPERATION))
    }

    fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        question: impl FnOnce(&Machine, &Watchlist, Instant) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let question = Box::new(move |machine: &Machine, watchlist: &Watchlist, now| {
            // The caller waits, or has gone.
            drop(reply.send(question(machine, watchlist, now)));
        });
        self.shared.send(Message::Ask(question), operation)?;
        answer.recv().map_err(|_| self.shared.gone(operation))
    }

    // ---- time

    /// Says that it is in use: its idle limit begins anew.
    ///
    /// # Errors
    ///
    /// [`SessionEnding`](ErrorKind::SessionEnding), [`SessionEnded`](ErrorKind::SessionEnded),
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn touch(&self) -> Result<()> {
        const OPERATION: &str = "touch";
        let (session, life) = (self.cell.session, self.cell.life);
        let answer = self.shared.call(OPERATION, |reply| Message::Touch {
            session,
            life,
            reply,
        })?;
        answer.unwrap_or_else(|| Err(self.ended(OPERATION)))
    }

    /// Waits until it has no processes. One that has none, and one that its end has emptied, is empty at once. Descendants
    /// count as far as they are known: [`members`](Self::members) looks for them.
    ///
    /// # Errors
    ///
    /// [`SessionEnded`](ErrorKind::SessionEnded) if it was over before this was asked, or ended with survivors;
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn wait_empty(&self) -> Result<()> {
        loop {
            // Without a deadline there is no time-out.
            if self.wait_empty_until(None)? {
                return Ok(());
            }
        }
    }

    /// Waits until it has no processes or the deadline is reached (`false`); one in the past is just a look.
    ///
    /// # Errors
    ///
    /// Those of [`wait_empty`](Self::wait_empty).
    pub fn wait_empty_deadline(&self, deadline: Instant) -> Result<bool> {
        self.wait_empty_until(Some(deadline))
    }

    /// Waits until it has no processes, that long at most (`false`); zero is just a look, and `Duration::MAX` for ever.
    ///
    /// # Errors
    ///
    /// Those of [`wait_empty`](Self::wait_empty).
    pub fn wait_empty_timeout(&self, timeout: Duration) -> Result<bool> {
        // A time that does not fit into an `Instant` is never over.
        self.wait_empty_until(reactor::now().checked_add(timeout))
    }

    fn wait_empty_until(&self, deadline: Option<Instant>) -> Result<bool> {
        const OPERATION: &str = "wait for empty session";
        // Just a look still has to hear the reactor's answer, which does not wait for anything.
        if deadline.is_some_and(|deadline| deadline <= reactor::now()) {
            let life = self.cell.life;
            let empty = self.ask(OPERATION, move |machine, _, _| machine.is_empty(life))?;
            return empty.ok_or_else(|| self.ended(OPERATION));
        }
        let (session, life) = (self.cell.session, self.cell.life);
        let wait = self.shared.next_wait();
        let (reply, answer) = crossbeam_channel::bounded(1);
        let message = Message::WaitEmpty {
            session,
            life,
            wait,
            reply,
        };
        self.shared.send(message, OPERATION)?;
        let got = match deadline {
            None => answer.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => answer.recv_deadline(deadline),
        };
        if matches!(got, Err(RecvTimeoutError::Timeout)) {
            // A reactor that is gone has forgotten everybody.
            drop(self.shared.send(Message::Forget { life, wait }, OPERATION));
        }
        match got {
            Ok(Some(result)) => result.map(|()| true),
            Ok(None) => Err(self.ended(OPERATION)),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(self.shared.gone(OPERATION)),
        }
    }

    // ---- its end

    /// Ends it by its policy, see [`Registry::end_session`](crate::Registry::end_session).
    ///
    /// # Errors
    ///
    /// Those of `Registry::end_session`, and [`SessionEnded`](ErrorKind::SessionEnded) if it is over.
    pub fn end(&self) -> Result<SessionReport> {
        Ending::begin(&self.shared, self.whom(), None)?.wait()
    }

    /// Ends it by a policy of the caller's.
    ///
    /// # Errors
    ///
    /// Those of [`end`](Self::end).
    pub fn end_with(&self, policy: &StopPolicy) -> Result<SessionReport> {
        self.begin_end(policy)?.wait()
    }

    /// Begins its end, for a caller that cannot block.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone); the rest is told by the [`Ending`].
    pub fn begin_end(&self, policy: &StopPolicy) -> Result<Ending> {
        Ending::begin(&self.shared, self.whom(), Some(policy))
    }

    /// Its report, once it is over. It stays with this handle.
    ///
    /// # Errors
    ///
    /// [`ReactorGone`](ErrorKind::ReactorGone): there will be none.
    pub fn report(&self) -> Result<Option<SessionReport>> {
        match self.cell.report.wait(Some(reactor::now())) {
            reactor::Waited::Filled(report) => Ok(Some(report.clone())),
            reactor::Waited::TimedOut => Ok(None),
            reactor::Waited::Closed => Err(self.shared.gone("read report").with_session(self.id())),
        }
    }

    /// The events of this session alone from now on. The channel is disconnected after its
    /// [`SessionEnded`](crate::EventKind::SessionEnded), or, if somebody survived that, after the last survivor's exit. Where
    /// the session is over by now, it has none.
    pub fn subscribe_to(&self, mask: EventMask) -> Subscription {
        subscription::subscribe(&self.shared, mask, Some(self.cell.life))
    }

    /// Ends it where the guard is dropped, also by a panic. Blocks there until that is confirmed.
    pub fn end_on_drop(self) -> SessionGuard {
        SessionGuard {
            session: self,
            armed: true,
        }
    }

    fn whom(&self) -> Whom {
        Whom::Life(self.cell.session, self.cell.life)
    }

    fn ended(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::SessionEnded, operation).with_session(self.id())
    }
}

impl From<&Session> for SessionId {
    fn from(session: &Session) -> Self {
        session.id()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("label", &self.label())
            .field("life", &self.cell.life)
            .finish_non_exhaustive()
    }
}

/// Ends its session where it is dropped, by the session's policy, and blocks until that is confirmed.
///
/// In a child that the host forks without exec it does nothing.
#[derive(Debug)]
#[must_use = "the session ends where this is dropped"]
pub struct SessionGuard {
    session: Session,
    armed: bool,
}

impl SessionGuard {
    /// The session, which then is not ended here.
    pub fn into_session(mut self) -> Session {
        self.armed = false;
        self.session.clone()
    }
}

impl Deref for SessionGuard {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if self.armed {
            // An error says that it is over, or that nobody is left to end it; the report is kept by the registry.
            drop(self.session.end());
        }
    }
}

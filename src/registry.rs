//! [`Registry`]: the handle that everything starts from.

mod inner;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

pub(crate) use self::inner::Inner;
use crate::builder::Builder;
use crate::capabilities::Capabilities;
use crate::earlier::Inheritance;
use crate::ending::Ending;
use crate::error::{AdoptError, Error, ErrorKind, Result};
use crate::event::{EventMask, Reason};
use crate::info::{ProcessInfo, SessionInfo};
use crate::launch::Launch;
use crate::machine::{Machine, Refused, Whom};
use crate::process::Process;
use crate::reactor::{self, Message, Place, Shared};
use crate::report::SessionReport;
use crate::session::{ProcessId, SessionId};
use crate::session_handle::Session;
use crate::session_options::SessionOptions;
use crate::shutdown::Shutdown;
use crate::signal::Signal;
use crate::spawn_options::SpawnOptions;
use crate::stop::StopPolicy;
use crate::subscription::{Subscription, subscribe};
use crate::system_process::SystemProcess;
use crate::{birth, sys};

/// Starts processes, holds them in sessions, and ends them.
///
/// A `Registry` is a handle: clones are the same registry. It runs one thread, which sleeps until a process exits,
/// somebody asks for something, or a time is over.
///
/// Every other handle is weak: dropping the last `Registry` ends what it holds, see [`OnDrop`].
///
/// # Sessions
///
/// A session is a number of the host's choosing. It lives from its first process until its end; after that the number
/// may live again. A session without processes is empty, not ended.
///
/// # Portability
///
/// Linux 5.4 and newer; macOS and FreeBSD, where nothing has been run yet. Each process that is held costs one descriptor until it has exited: set that against the
/// usual soft limit of 1,024.
///
/// # After a fork
///
/// In a child that the host forks without exec, the copy of a registry does nothing: dropping it ends nothing, and
/// every call says [`ReactorGone`](ErrorKind::ReactorGone).
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Inner>);

/// What the drop of the last [`Registry`] does with the processes that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// Ends all sessions with [`StopPolicy::immediate`], and blocks until that is confirmed, 5 seconds at most.
    Kill,
    /// Leaves them as they are. Nobody reaps those that exit while this program still runs. Needs
    /// [`Builder::marker`]`(false)`.
    Detach,
}

/// Does not keep a registry alive.
#[derive(Clone, Debug)]
pub struct WeakRegistry(Weak<Inner>);

impl WeakRegistry {
    /// The registry, unless the last handle to it has been dropped.
    pub fn upgrade(&self) -> Option<Registry> {
        self.0.upgrade().map(Registry)
    }
}

impl Registry {
    /// A registry with the defaults of [`Builder`].
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Sets up a registry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A handle that does not keep the registry alive.
    pub fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.0))
    }

    /// How sessions are ended where nothing else is said.
    pub fn stop_policy(&self) -> &StopPolicy {
        &self.0.shared.plan.stop_policy
    }

    /// What works on this system, and why the rest does not.
    pub fn capabilities(&self) -> &Capabilities {
        self.0.shared.capabilities()
    }

    // ---- processes

    /// Starts a process in a session. A number that does not live begins to.
    ///
    /// Takes a [`std::process::Command`] or a [`Command`](crate::Command), which says when it is the better one. The
    /// first is given back as it was: the variable of the mark is the host's own value again, or removed. What it says of the process group is overwritten, except under [`Containment::Leader`](crate::Containment::Leader);
    /// a group that was set on it once cannot be unset (a limit of std's `Command`).
    ///
    /// Under [`Containment::Group`](crate::Containment::Group) the process leads a group of its own. The terminal's Ctrl-C does not reach it there,
    /// and a program that reads from the terminal (`sudo`, `ssh`, an editor) is stopped: such children want
    /// [`SpawnOptions::containment`]`(Leader)`.
    ///
    /// Pipes that are asked for are held by the [`Process`] until they are taken. Nobody drains them: a child that
    /// writes into a pipe that nobody reads stops in it, as with std.
    ///
    /// # Errors
    ///
    /// A failed spawn leaves nothing: no process, no record, no event.
    ///
    /// * [`SpawnFailed`](ErrorKind::SpawnFailed): the system refused; the error names the program and has the
    ///   [`io::Error`](std::io::Error) as its source.
    /// * [`InvalidInput`](ErrorKind::InvalidInput): the program is empty, or something contains a NUL.
    /// * [`LimitReached`](ErrorKind::LimitReached): no slot is free, see [`Limits`](crate::Limits).
    /// * [`SessionEnding`](ErrorKind::SessionEnding): the session is being ended. If the end began while the process was
    ///   being started, it is ended with the rest.
    /// * [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn spawn(
        &self,
        session: impl Into<SessionId>,
        command: &mut impl Launch,
    ) -> Result<Process> {
        self.spawn_with(session, command, &SpawnOptions::new())
    }

    /// Starts a process, with a label, a wait for a slot, or a containment of its own.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn), and [`TimedOut`](ErrorKind::TimedOut) if no slot became free in time.
    pub fn spawn_with(
        &self,
        session: impl Into<SessionId>,
        command: &mut impl Launch,
        options: &SpawnOptions,
    ) -> Result<Process> {
        birth::spawn(&self.0.shared, place(session), command, options)
    }

    /// Takes over a child that was started elsewhere.
    ///
    /// Its group is ended with it only if it leads one, and its pipes go with it. From here on the child is the registry's:
    /// nobody else may wait for it.
    ///
    /// # Errors
    ///
    /// The child comes back with the error: [`AlreadyExited`](ErrorKind::AlreadyExited) if it was waited for already,
    /// [`AlreadyRegistered`](ErrorKind::AlreadyRegistered), and those of [`spawn`](Self::spawn).
    pub fn adopt(
        &self,
        session: impl Into<SessionId>,
        child: std::process::Child,
    ) -> Result<Process, AdoptError> {
        birth::adopt(&self.0.shared, place(session), child)
    }

    /// Takes in a process that is not ours.
    ///
    /// `is_it` is asked once, on this thread, with what was read about the process after its identity was pinned: it
    /// cannot be another one that has got the same pid in the meantime. The process is signalled alone, never its
    /// group, and never reaped. Attached a second time to the same session it is the same [`Process`].
    ///
    /// How it exited is known where the kernel tells (Linux 6.15), and [`Status::Unknown`](crate::Status::Unknown)
    /// elsewhere. It is waited for, a second at most, since the kernel tells it only after the process was reaped. FreeBSD
    /// tells it with the exit, and macOS too of whom this program may signal.
    ///
    /// # Portability
    ///
    /// Linux pins the process: no signal can reach another one that has got its pid. On macOS and FreeBSD that is asked just
    /// before each signal. The process would have to exit, to be reaped, and its number to be given out again within the
    /// microseconds between the two calls: that is unlikely, and not impossible.
    ///
    /// macOS does not tell the exit of a process that a debugger holds, and whose parent is gone by the time the debugger has
    /// waited for it. It is known to be dead when its session is ended, and not before.
    ///
    /// # Errors
    ///
    /// * [`InvalidInput`](ErrorKind::InvalidInput): pid 0 or 1, this process, or one of its ancestors.
    /// * [`NoSuchProcess`](ErrorKind::NoSuchProcess), [`AlreadyExited`](ErrorKind::AlreadyExited) for a zombie.
    /// * [`NotTheProcess`](ErrorKind::NotTheProcess): `is_it` said no.
    /// * [`AlreadyRegistered`](ErrorKind::AlreadyRegistered): it is in another session.
    /// * [`System`](ErrorKind::System): its entries below `/proc` could not be read, or no descriptor is to be had.
    /// * [`LimitReached`](ErrorKind::LimitReached), [`SessionEnding`](ErrorKind::SessionEnding),
    ///   [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn attach(
        &self,
        session: impl Into<SessionId>,
        pid: u32,
        is_it: impl FnOnce(&SystemProcess) -> bool,
    ) -> Result<Process> {
        birth::attach(&self.0.shared, place(session), pid, is_it)
    }

    // ---- ends

    /// Ends a session by its own [`StopPolicy`], or else the registry's: blocks until every process of it is confirmed gone, or the time
    /// to confirm is over.
    ///
    /// A session that is being ended already is joined: both callers get the same report. One that does not live gets an
    /// empty, clean report; one that ended with survivors has them killed again, and reported again.
    ///
    /// # Errors
    ///
    /// A survivor is in the report, it is no error. [`ShutDown`](ErrorKind::ShutDown) and
    /// [`ReactorGone`](ErrorKind::ReactorGone) are.
    pub fn end_session(&self, session: impl Into<SessionId>) -> Result<SessionReport> {
        Ending::begin(&self.0.shared, Whom::Number(session.into()), None)?.wait()
    }

    /// Ends a session by a policy of its own.
    ///
    /// Where an end is under way, its rungs stay; the earlier SIGKILL and the more patient confirmation of the two
    /// policies hold.
    ///
    /// # Errors
    ///
    /// Those of [`end_session`](Self::end_session).
    pub fn end_session_with(
        &self,
        session: impl Into<SessionId>,
        policy: &StopPolicy,
    ) -> Result<SessionReport> {
        self.begin_end_session(session, policy)?.wait()
    }

    /// Begins the end of a session, for a caller that cannot block.
    ///
    /// # Errors
    ///
    /// Those of [`end_session`](Self::end_session).
    pub fn begin_end_session(
        &self,
        session: impl Into<SessionId>,
        policy: &StopPolicy,
    ) -> Result<Ending> {
        Ending::begin(&self.0.shared, Whom::Number(session.into()), Some(policy))
    }

    /// Sends a signal to all of a session: to the group of each process that leads one, else to the process alone.
    ///
    /// # Errors
    ///
    /// [`SessionEnded`](ErrorKind::SessionEnded) if the number does not live;
    /// [`NotPermitted`](ErrorKind::NotPermitted) with the pid if one of them refused, after the others were signalled.
    pub fn signal_session(&self, session: impl Into<SessionId>, signal: Signal) -> Result<()> {
        signal_session(&self.0.shared, Whom::Number(session.into()), signal)
    }

    // ---- sessions by handle

    /// Opens a session before its first process, with a label, a policy or limits of its own.
    ///
    /// # Errors
    ///
    /// [`SessionInUse`](ErrorKind::SessionInUse) if the number lives, [`SessionEnding`](ErrorKind::SessionEnding) if it is being
    /// ended; [`Unsupported`](ErrorKind::Unsupported) for a tier that is not to be had here;
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn open_session(&self, options: SessionOptions) -> Result<Session> {
        const OPERATION: &str = "open session";
        let about = |kind| {
            let error = Error::new(kind, OPERATION);
            match options.id {
                Some(session) => error.with_session(session),
                None => error,
            }
        };
        let shared = &self.0.shared;
        if let Some(tier) = options.containment {
            let checked = shared.plan.check_tier(tier, OPERATION);
            checked.map_err(|error| match options.id {
                Some(session) => error.with_session(session),
                None => error,
            })?;
        }
        let asked = Box::new(options.clone());
        let opened = shared.call(OPERATION, |reply| Message::Open {
            options: asked,
            inheritance: Inheritance::default(),
            reply,
        })?;
        match opened {
            Ok(cell) => Ok(Session::new(Arc::clone(shared), cell)),
            Err(Refused::SessionEnding) => Err(about(ErrorKind::SessionEnding)),
            Err(Refused::ShutDown) => Err(shared.closed(OPERATION)),
            Err(
                Refused::SessionInUse
                | Refused::SessionEnded
                | Refused::Full { .. }
                | Refused::SessionFull { .. },
            ) => Err(about(ErrorKind::SessionInUse)),
        }
    }

    /// The session that lives under a number; `None` if none does.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn session(&self, session: impl Into<SessionId>) -> Result<Option<Session>> {
        let session = session.into();
        let shared = &self.0.shared;
        let cell = shared.call("look up session", |reply| Message::Session {
            session,
            reply,
        })?;
        Ok(cell.map(|cell| Session::new(Arc::clone(shared), cell)))
    }

    // ---- all of them

    /// Ends the sessions that `keep` says no to, all at once, each by its policy; returns their reports in the order of their
    /// numbers.
    ///
    /// The sessions are listed first and `keep` is asked afterwards, once for each and before any is ended: one that begins
    /// meanwhile is not among them, and if `keep` panics nothing has happened. It runs on this thread, and may call back
    /// into the registry.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn retain_sessions(
        &self,
        mut keep: impl FnMut(SessionId) -> bool,
    ) -> Result<Vec<SessionReport>> {
        let mut lives = self.read("list sessions", |machine, _| machine.lives())?;
        // A sweep's own session, or a recovery's, is none of the host's.
        lives.retain(|&(_, life)| !self.0.shared.own_lives.contains(life));
        // All are asked about before any is ended: should `keep` panic, nothing has happened.
        lives.retain(|&(session, _)| !keep(session));
        let mut endings = Vec::new();
        for (session, life) in lives {
            let whom = Whom::Life(session, life);
            endings.push(Ending::begin(&self.0.shared, whom, None)?);
        }
        let mut reports = Vec::new();
        for ending in endings {
            match ending.wait() {
                Ok(report) => reports.push(report),
                // Somebody else has ended it since it was listed.
                Err(error) if error.kind() == ErrorKind::SessionEnded => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reports)
    }

    /// Ends all sessions but these, see [`retain_sessions`](Self::retain_sessions). The sessions are listed before the first
    /// number is taken from `keep`.
    ///
    /// # Errors
    ///
    /// Those of `retain_sessions`.
    pub fn end_sessions_except<I>(&self, keep: I) -> Result<Vec<SessionReport>>
    where
        I: IntoIterator,
        I::Item: Into<SessionId>,
    {
        let mut keep = Some(keep);
        let mut kept = std::collections::HashSet::new();
        self.retain_sessions(|session| {
            if let Some(keep) = keep.take() {
                kept.extend(keep.into_iter().map(Into::into));
            }
            kept.contains(&session)
        })
    }

    /// Ends all sessions by the registry's [`StopPolicy`], each with all others, and then the registry.
    ///
    /// The reports are in the order of the sessions' numbers. After this every call says
    /// [`ShutDown`](ErrorKind::ShutDown), and a survivor is not tracked any more.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) if that has happened already, [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn shutdown(&self) -> Result<Vec<SessionReport>> {
        self.shutdown_with(self.stop_policy())
    }

    /// Ends all sessions by a policy of their own, and then the registry. A second caller joins, and can be stricter.
    ///
    /// # Errors
    ///
    /// Those of [`shutdown`](Self::shutdown).
    pub fn shutdown_with(&self, policy: &StopPolicy) -> Result<Vec<SessionReport>> {
        let reports = self.begin_shutdown(policy)?.wait();
        if reports.is_ok() {
            self.0.join();
        }
        reports
    }

    /// Begins the end of all sessions, for a caller that wants to show progress or to be stricter later.
    ///
    /// # Errors
    ///
    /// Those of [`shutdown`](Self::shutdown).
    pub fn begin_shutdown(&self, policy: &StopPolicy) -> Result<Shutdown> {
        Shutdown::begin(&self.0.shared, policy, Reason::Shutdown)
    }

    // ---- looking

    /// The process with this id, as long as it is not known to have exited.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn process(&self, id: ProcessId) -> Result<Option<Process>> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let question = Box::new(move |_: &Machine, watchlist: &reactor::Watchlist, _| {
            let core = watchlist
                .get(id)
                .filter(|core| core.exit().is_none())
                .cloned();
            // The caller waits, or has gone.
            drop(reply.send(core));
        });
        self.ask("look up process", question, &answer)
            .map(|core| core.map(Process::new))
    }

    /// All processes that are not known to have exited, survivors included, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Those of [`process`](Self::process).
    pub fn processes(&self) -> Result<Vec<ProcessInfo>> {
        self.read("list processes", |machine, now| machine.processes(now))
    }

    /// The sessions that live, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// Those of [`process`](Self::process).
    pub fn sessions(&self) -> Result<Vec<SessionInfo>> {
        self.read("list sessions", |machine, now| machine.sessions(now))
    }

    /// The processes of one session, and those that outlived an earlier end of its number.
    ///
    /// # Errors
    ///
    /// Those of [`process`](Self::process).
    pub fn session_processes(&self, session: impl Into<SessionId>) -> Result<Vec<ProcessInfo>> {
        let session = session.into();
        self.read("list session", move |machine, now| {
            machine.session_processes(session, now)
        })
    }

    /// The latest report about a number, if it is among those that are kept (see [`Builder::kept_reports`]).
    ///
    /// # Errors
    ///
    /// Those of [`process`](Self::process).
    pub fn last_report(&self, session: impl Into<SessionId>) -> Result<Option<SessionReport>> {
        let session = session.into();
        self.read("read report", move |machine, _| {
            machine.last_report(session)
        })
    }

    /// All events from now on. It is in force when this returns.
    ///
    /// A subscriber that does not read loses the newest events, and finds out by
    /// [`EventKind::Lagged`](crate::EventKind::Lagged); it delays nobody. After a shutdown the channel is disconnected
    /// once it has been read to its end.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(EventMask::all())
    }

    /// The events of some kinds from now on.
    pub fn subscribe_to(&self, mask: EventMask) -> Subscription {
        subscribe(&self.0.shared, mask, None)
    }

    fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Machine, Instant) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let question = Box::new(move |machine: &Machine, _: &reactor::Watchlist, now| {
            // The caller waits, or has gone.
            drop(reply.send(read(machine, now)));
        });
        self.ask(operation, question, &answer)
    }

    fn ask<T>(
        &self,
        operation: &'static str,
        question: reactor::Question,
        answer: &crossbeam_channel::Receiver<T>,
    ) -> Result<T> {
        self.0.shared.send(Message::Ask(question), operation)?;
        answer.recv().map_err(|_| self.0.shared.gone(operation))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("plan", &self.0.shared.plan)
            .finish_non_exhaustive()
    }
}

/// Any life of a number.
fn place(session: impl Into<SessionId>) -> Place {
    Place {
        session: session.into(),
        life: None,
    }
}

/// See [`Registry::signal_session`].
pub(crate) fn signal_session(shared: &Shared, whom: Whom, signal: Signal) -> Result<()> {
    const OPERATION: &str = "signal session";
    let answer = shared.call(OPERATION, |reply| Message::SignalSession {
        whom,
        signal,
        reply,
    })?;
    // Only one process can have exited; a session has ended, and says so.
    answer.unwrap_or_else(|| Err(Error::new(ErrorKind::SessionEnded, OPERATION)))
}

/// Whether a pid is one that nobody may hold.
pub(crate) fn is_own_or_ancestor(pid: u32) -> bool {
    // Where the chain cannot be read, the pid is refused only if it is plainly ours.
    pid <= 1 || pid == sys::current_pid() || sys::is_ancestor(pid).unwrap_or(false)
}

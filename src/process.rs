//! [`Process`]: a handle to one process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::collect::Collector;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::exit::Exit;
use crate::reactor::{self, Core, Message, Outputs};
use crate::report::{How, MemberReport};
use crate::session::{ProcessId, SessionId};
use crate::signal::Signal;
use crate::stdin::Stdin;
use crate::stop::StopPolicy;

/// A handle to one process of a [`Registry`](crate::Registry).
///
/// Clones are the same process. Dropping it does nothing to the process, which belongs to its session; it does not
/// keep the registry alive.
#[derive(Clone)]
pub struct Process {
    core: Arc<Core>,
}

impl Process {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Its id in this registry, never reused.
    pub fn id(&self) -> ProcessId {
        self.core.process
    }

    /// Its pid. Once the process has exited, the system may give the number to another.
    pub fn pid(&self) -> u32 {
        self.core.facts.pid
    }

    /// The number of its session.
    pub fn session(&self) -> SessionId {
        self.core.session
    }

    /// The label that it was started with.
    pub fn label(&self) -> Option<&str> {
        self.core.facts.label.as_deref()
    }

    /// How it came to be a member of its session.
    pub fn origin(&self) -> Origin {
        self.core.facts.origin
    }

    // ---- pipes

    /// A writer to its standard input, if that is a pipe that was not taken or closed.
    pub fn stdin(&self) -> Option<Stdin> {
        self.core
            .stdin
            .share()
            .then(|| Stdin::new(Arc::clone(&self.core)))
    }

    /// The pipe to its standard input itself. The `close_stdin` rung cannot close it from then on, and every [`Stdin`] is
    /// closed.
    ///
    /// `None` if there is none, if it was taken or closed, and while a write of a [`Stdin`] is under way.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.core.stdin.take()
    }

    /// The pipe from its standard output, once.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.core.outputs().stdout.take()
    }

    /// The pipe from its standard error, once.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.core.outputs().stderr.take()
    }

    /// Drains both outputs on a thread until the process has exited, and keeps the first `max_bytes` of each.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if neither is a pipe, or both were taken;
    /// [`System`](ErrorKind::System) if there is no descriptor or no thread to be had: the pipes stay where they are.
    pub fn collect_output(&self, max_bytes: usize) -> Result<Collector> {
        Collector::start(&self.core, max_bytes)
    }

    // ---- waiting

    /// Waits until it has exited. Leaves its standard input open.
    ///
    /// Any number of threads may wait, also after the exit; all get the same. It wakes by the kernel's word, beside the
    /// reactor: it may return before the [`Exited`](crate::EventKind::Exited) event arrives, and some milliseconds before the
    /// zombie is taken away. A spawn for which that leaves no process or descriptor has it taken away first.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) and [`ReactorGone`](ErrorKind::ReactorGone) if it had not exited by then.
    pub fn wait(&self) -> Result<Exit> {
        match self.core.wait(None)? {
            Some(exit) => Ok(exit),
            // Without a deadline there is no time-out.
            None => Err(Error::new(ErrorKind::TimedOut, "wait").with_pid(self.pid())),
        }
    }

    /// Waits until it has exited or the deadline is reached; a deadline in the past is just a look.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<Exit>> {
        self.core.wait(Some(deadline))
    }

    /// Waits until it has exited, for that long at most; zero is just a look, and `Duration::MAX` for ever.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Exit>> {
        // A time that does not fit into an `Instant` is never over.
        self.core.wait(reactor::now().checked_add(timeout))
    }

    /// Looks whether it has exited.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        self.core.wait(Some(reactor::now()))
    }

    /// A channel that gets its exit, once: now if it has exited. It cannot lag, and it is disconnected after that; without
    /// an exit only when the registry is gone.
    pub fn exit_receiver(&self) -> Receiver<Exit> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.core.tell_exit(sender);
        receiver
    }

    // ---- signals

    /// Sends a signal to this process alone.
    ///
    /// # Errors
    ///
    /// [`AlreadyExited`](ErrorKind::AlreadyExited) if it is known to have exited;
    /// [`NotPermitted`](ErrorKind::NotPermitted) (`EPERM`): it lives, and runs as somebody else;
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        const OPERATION: &str = "signal";
        let exited = || Error::new(ErrorKind::AlreadyExited, OPERATION).with_pid(self.pid());
        if self.core.exit().is_some() {
            return Err(exited());
        }
        let process = self.id();
        self.core.check_held(OPERATION)?;
        let answer = self.core.shared.call(OPERATION, |reply| Message::Signal {
            process,
            signal,
            reply,
        })?;
        answer.unwrap_or_else(|| {
            self.core.check_held(OPERATION)?;
            Err(exited())
        })
    }

    /// Sends SIGKILL to this process alone, and does not wait for its death.
    ///
    /// # Errors
    ///
    /// Those of [`signal`](Self::signal).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Ends this process and the group that it leads by `policy`, and blocks until its death is confirmed or the time to
    /// confirm is over.
    ///
    /// A stop, or an end of its session, that is under way is joined: its rungs stay, and the earlier SIGKILL holds. One that
    /// has exited is reported as [`How::AlreadyGone`].
    ///
    /// # Errors
    ///
    /// A process that survives is in the report. [`ShutDown`](ErrorKind::ShutDown) and
    /// [`ReactorGone`](ErrorKind::ReactorGone) are errors.
    pub fn stop(&self, policy: &StopPolicy) -> Result<MemberReport> {
        const OPERATION: &str = "stop";
        if let Some(exit) = self.core.exit() {
            return Ok(self.gone_before(exit.clone()));
        }
        let process = self.id();
        let policy = policy.clone();
        let answer = self.core.shared.call(OPERATION, |reply| Message::Stop {
            process,
            policy,
            reply,
        })?;
        match answer {
            Some(report) => Ok(report),
            None => Ok(self.gone_before(self.wait()?)),
        }
    }

    /// Gives the process up: it is no member of its session any more, and left alone by ends, by the drop of the registry,
    /// by sweeps, and by a later run's [recovery](crate::Registry::recover).
    ///
    /// There is one [`Detached`](crate::EventKind::Detached) event and nothing after it, no [`Exited`]. Its slot is free.
    /// [`exit_receiver`](Self::exit_receiver)s are disconnected, and every call about it says
    /// [`NoSuchProcess`](ErrorKind::NoSuchProcess); a wait that is under way may still return its exit. Pipes that were
    /// not taken stay with this handle. What it has started and what it starts from here on is left alone with it, as long
    /// as it lives and that descends from it or is in its group.
    ///
    /// Its marks stay with it. So it has to be written down that they do not count, which needs a
    /// [ledger](crate::Builder::ledger), or there must be none.
    ///
    /// # Caveats
    ///
    /// Nobody reaps a child of this program that was detached: once it exits it is a zombie until this program ends. It
    /// costs a descriptor until then, as every process that is held.
    ///
    /// A registry without its ledger, or a program of another [name](crate::Builder::owner_name) that shares it, does not
    /// know what was detached.
    ///
    /// [`Exited`]: crate::EventKind::Exited
    ///
    /// # Errors
    ///
    /// * [`Unsupported`](ErrorKind::Unsupported): its session has a cgroup, which is ended as a whole.
    /// * [`InvalidInput`](ErrorKind::InvalidInput): there is no ledger, and a [`marker`](crate::Builder::marker).
    /// * [`SessionEnding`](ErrorKind::SessionEnding): its session is being ended, or it is being stopped;
    ///   [`SessionEnded`](ErrorKind::SessionEnded): it has outlived the end of its session.
    /// * [`AlreadyExited`](ErrorKind::AlreadyExited), [`NoSuchProcess`](ErrorKind::NoSuchProcess) if it was detached before.
    /// * [`LedgerUnusable`](ErrorKind::LedgerUnusable): it could not be written down, and is held as before.
    /// * [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn detach(&self) -> Result<()> {
        const OPERATION: &str = "detach";
        let plan = &self.core.shared.plan;
        if plan.ledger.is_none() && plan.owner.is_some() && self.origin() != Origin::Attached {
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION)
                .with_pid(self.pid())
                .with_detail("detaching needs a ledger, or a registry with marker(false)"));
        }
        let exited = || Error::new(ErrorKind::AlreadyExited, OPERATION).with_pid(self.pid());
        if self.core.exit().is_some() {
            return Err(exited());
        }
        let process = self.id();
        self.core.check_held(OPERATION)?;
        let answer = self
            .core
            .shared
            .call(OPERATION, |reply| Message::Detach { process, reply })?;
        answer.unwrap_or_else(|| {
            self.core.check_held(OPERATION)?;
            Err(exited())
        })
    }

    fn gone_before(&self, exit: Exit) -> MemberReport {
        MemberReport {
            process: self.id(),
            pid: self.pid(),
            origin: self.origin(),
            label: self.core.facts.label.clone(),
            command_line: Arc::clone(&self.core.facts.command_line),
            how: How::AlreadyGone,
            exit: Some(exit),
            took: Duration::ZERO,
        }
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Process {}

impl Hash for Process {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Process {
    fn key(&self) -> (u64, ProcessId) {
        (self.core.shared.plan.number, self.id())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id())
            .field("pid", &self.pid())
            .field("session", &self.session())
            .field("label", &self.label())
            .field("exit", &self.core.exit())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn outputs(&self) -> MutexGuard<'_, Outputs> {
        // Its fields are taken one at a time.
        self.outputs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

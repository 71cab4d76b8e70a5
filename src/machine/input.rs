//! What can happen to the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::Closed;
use super::hunt::Passed;
use super::ids::{OpId, ReplyId};
use super::member::Facts;
use crate::earlier::Earlier;
use crate::error::Error;
use crate::event::Reason;
use crate::exit::Exit;
use crate::report::SurvivalCause;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::StopPolicy;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A session was opened, and has a life without a process.
    Opened(Opened),
    /// A process was started, adopted or attached under the token with its id, or found by a pass.
    Born(Born),
    /// A spawn failed, and left nothing but what its program may have started, if that had begun.
    Aborted {
        process: ProcessId,
        life: Life,
        begun: Option<Begun>,
    },
    /// The kernel says that there is something to see about this process.
    Ready { process: ProcessId },
    /// The cgroup of a life has become empty, or is so no longer.
    Populated { life: Life },
    /// A pass that takes long is at work, and does not hang.
    PassGoesOn { op: OpId },
    /// A handle asks for something.
    Request(Request),
    /// A deadline may have been reached.
    Timer,
    /// An effect was carried out, with this outcome.
    Done { op: OpId, outcome: Outcome },
}

/// A session that was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) session: SessionId,
    pub(crate) life: Life,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) policy: Option<StopPolicy>,
    /// Earlier registries whose processes belong to it, and a time before the first of these.
    pub(crate) earlier: Vec<Earlier>,
    pub(crate) since: Option<u64>,
    /// It has cgroups of these.
    pub(crate) enclosed: bool,
    /// How old it may get.
    pub(crate) time_limit: Option<Duration>,
    /// How long it may be left alone.
    pub(crate) idle_limit: Option<Duration>,
}

/// A program that had begun when its spawn failed. It is dead, and nobody's member.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) session: SessionId,
    pub(crate) facts: Arc<Facts>,
    /// A time before its start, in clock ticks since boot.
    pub(crate) since: Option<u64>,
}

/// A process that is now held by its pin.
#[derive(Clone, Debug)]
pub(crate) struct Born {
    pub(crate) process: ProcessId,
    pub(crate) life: Life,
    pub(crate) session: SessionId,
    pub(crate) facts: Arc<Facts>,
    /// When it was handed over.
    pub(crate) at: Instant,
    /// A time before its start, in clock ticks since boot, if it was started for the session.
    pub(crate) since: Option<u64>,
    /// Its session was ending when the spawn came back: the spawning thread has killed it already.
    pub(crate) raced: bool,
    /// How old it may get.
    pub(crate) time_limit: Option<Duration>,
    /// Who waits to hear whether it was taken in; a spawn does not wait.
    pub(crate) reply: Option<ReplyId>,
}

/// Which session is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whatever lives under this number now.
    Number(SessionId),
    /// This one life of the number.
    Life(SessionId, Life),
}

/// What a handle asks for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// End a session, or join its end. Without a policy, by its own.
    End {
        whom: Whom,
        policy: Option<StopPolicy>,
        reason: Reason,
        reply: ReplyId,
    },
    /// End one process and its group.
    Stop {
        process: ProcessId,
        policy: StopPolicy,
        reply: ReplyId,
    },
    /// Send a signal to one process alone.
    Signal {
        process: ProcessId,
        signal: Signal,
        reply: ReplyId,
    },
    /// Give one process up.
    Detach { process: ProcessId, reply: ReplyId },
    /// Send a signal to all of a session.
    SignalSession {
        whom: Whom,
        signal: Signal,
        reply: ReplyId,
    },
    /// A session is in use: its idle limit begins anew.
    Touch {
        session: SessionId,
        life: Life,
        reply: ReplyId,
    },
    /// Answer when a session has no processes.
    WaitEmpty {
        session: SessionId,
        life: Life,
        reply: ReplyId,
    },
    /// Whoever asked that does not wait any longer.
    Forget { life: Life, reply: ReplyId },
    /// Be stricter in the shutdown that is under way.
    HardenShutdown { policy: StopPolicy },
    /// End everything, and then stop.
    Shutdown {
        policy: StopPolicy,
        reason: Reason,
        reply: ReplyId,
    },
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Looked(Looked),
    Signalled(Result<(), Errno>),
    /// The number's gate is closed; `None` where the number does not live.
    GateClosed(Option<Closed>),
    AllGatesClosed(Vec<Closed>),
    /// Whether the group of a leader that has exited still has a process in it (zombies count).
    GroupProbed {
        occupied: bool,
    },
    Passed(Passed),
    /// It is written down, or cannot be.
    Noted(Result<(), Error>),
    /// Why a process is still alive; `None` when it could not be found out in time.
    Inspected(Option<SurvivalCause>),
}

/// What a look at a process showed.
#[derive(Clone, Debug)]
pub(crate) enum Looked {
    /// It lives.
    Alive,
    /// It is dead as far as readiness goes, and cannot be waited for: a tracer holds it.
    Held,
    /// It is dead, and how it ended may still be told later: a stranger whose parent has not reaped it.
    Dead,
    /// It is dead, and this is all that will be known about it.
    Exited(Exit),
}

/// An errno, as a number: the machine only tells apart what it decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    /// EPERM: it lives, and may not be signalled by us.
    NotPermitted,
    /// ESRCH: there is no such process. Not a proof of anything: whoever says this is looked at.
    NoSuchProcess,
    /// Anything else.
    Other(i32),
}

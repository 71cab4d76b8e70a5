//! What the machine wants done.

use std::sync::Arc;

use super::hunt::Hunt;
use super::ids::{OpId, ReplyId};
use crate::error::Error;
use crate::event::{EventKind, Origin, Reason};
use crate::report::{MemberReport, SessionReport};
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;

/// One thing to do, with the number that its outcome comes back under.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Effect {
    pub(crate) op: OpId,
    pub(crate) action: Action,
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// See whether a process has exited, without reaping it. With `settle`, a dead process is told as exited even if
    /// its status is not to be had. Outcome: `Looked`.
    Look { process: ProcessId, settle: bool },
    /// Send a signal. `asked` is what the exit will say if the process dies of it or after it. Outcome: `Signalled`.
    Signal {
        process: ProcessId,
        target: Target,
        signal: Signal,
        asked: Option<Reason>,
    },
    /// Close the standard input that we hold, under whoever writes to it. No outcome.
    CloseStdin { process: ProcessId },
    /// Everybody has been told who waits for what happened last, and nobody for what comes after this. No outcome.
    Rest,
    /// Stop watching a process that has exited, and with `reap` take its zombie away. No outcome.
    Retire { process: ProcessId, reap: bool },
    /// Let go of a retired process: its pin is closed. With `reap` its zombie is taken away first. No outcome.
    Release { process: ProcessId, reap: bool },
    /// A process that was offered is not taken in: forget it, unwatched and unreaped. No outcome.
    Reject { process: ProcessId },
    /// Write down that a process is about to be given up. Outcome: `Noted`.
    NoteDetached { process: ProcessId },
    /// A living process is given up: stop watching it, and leave it alone wherever it is met. No outcome.
    Detach { process: ProcessId },
    /// See whether a retired leader's group is empty. Outcome: `GroupProbed`.
    ProbeGroup { process: ProcessId },
    /// Find out why a process is still alive, off the reactor's thread. Outcome, some time later: `Inspected`.
    Inspect { process: ProcessId },
    /// Look for descendants among all processes, off the reactor's thread. Who is found is handed in as [`Born`], and
    /// after them all comes the outcome: `Passed`.
    ///
    /// [`Born`]: super::input::Input::Born
    Pass { hunts: Vec<Hunt> },
    /// The pass that is under way is not waited for any longer: the next one must not stand behind it. No outcome.
    AbandonPass,
    /// Nothing of these lives is left: what is kept for them is let go. No outcome.
    CloseLives { lives: Vec<Life> },
    /// Tell the subscribers. No outcome.
    Publish(Box<Notice>),
    /// Let nothing more into this number's life. `create`: give it a life if it has none. Outcome: `GateClosed`.
    CloseGate {
        session: SessionId,
        create: bool,
        reason: Reason,
    },
    /// Let nothing in any more, ever. Outcome: `AllGatesClosed`.
    CloseAllGates { reason: Reason },
    /// This life is over: its number may live again. No outcome.
    OpenGate { session: SessionId, life: Life },
    /// Answer a caller. No outcome.
    Reply { to: ReplyId, answer: Answer },
    /// Nothing is left to do, ever. No outcome.
    Finish,
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The process alone.
    Process,
    /// A process that has been reached by a group's signal just now: nothing is sent, and what was asked is noted.
    Reached,
    /// Its group, and the process itself wherever it is.
    Group,
    /// The group of a leader that has exited; `reaped` says whether its zombie is gone too.
    Remnant { reaped: bool },
}

/// An event before it is numbered for each subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) life: Life,
    pub(crate) session: SessionId,
    pub(crate) process: Option<(ProcessId, u32)>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) origin: Option<Origin>,
    pub(crate) kind: EventKind,
}

/// What a caller gets.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done(Result<(), Error>),
    /// Taken in under this id, or there already under it.
    Registered(Result<ProcessId, Error>),
    Report(SessionReport),
    /// There is none: this life is over.
    NoReport(Error),
    /// One of many, the rest follows.
    OneOfMany(SessionReport),
    Reports(Vec<SessionReport>),
    Member(Box<MemberReport>),
    /// The process has exited: its cell tells the rest.
    AlreadyExited,
}

//! [`Event`], and what it tells.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::Error;
use crate::exit::Exit;
use crate::report::{
    ReaperReport, ReaperSummary, SessionReport, Summary, SurvivalCause, short_command,
};
use crate::session::{ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::Rung;
use crate::system_process::SystemProcess;

/// Something that happened to a process or a session.
///
/// The events of one process come in order: `Started` first, one `Exited`, nothing after. A
/// session's `SessionEnded` comes after the `Exited` or `Survived` of every member; a survivor's
/// `Exited` may follow it.
///
/// `Display` prints one line: `session 7, process 3 (pid 4711, "server"): exited with code 0`.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) seq: u64,
    pub(crate) at: Instant,
    pub(crate) session: Option<SessionId>,
    pub(crate) process: Option<(ProcessId, u32)>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) origin: Option<Origin>,
    pub(crate) kind: EventKind,
}

impl Event {
    /// Builds an event, for a host's tests: number 0, now, without an origin.
    pub fn from_parts(
        session: Option<SessionId>,
        process: Option<(ProcessId, u32)>,
        label: Option<Arc<str>>,
        kind: EventKind,
    ) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an event for a host's tests happens when the test makes it; the library never calls this"
        )]
        let at = Instant::now();
        Self {
            seq: 0,
            at,
            session,
            process,
            label,
            origin: None,
            kind,
        }
    }

    /// The event's number in its subscription.
    ///
    /// It counts every event that the subscription's mask selects, also those that were lost for
    /// want of room: a gap is as large as the loss.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it happened, which is when the registry saw it, on the monotonic clock.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The session that it is about.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// The process that it is about.
    pub fn process(&self) -> Option<ProcessId> {
        self.process.map(|(id, _)| id)
    }

    /// The pid of that process. For people and logs: after its exit the pid may be another
    /// process's.
    pub fn pid(&self) -> Option<u32> {
        self.process.map(|(_, pid)| pid)
    }

    /// The label of that process or session.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// How that process came to the registry.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// What happened.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            session,
            process,
            label,
            ..
        } = self;
        if let Some(session) = session {
            write!(f, "session {session}")?;
        }
        if let Some((id, pid)) = process {
            let comma = if session.is_some() { ", " } else { "" };
            write!(f, "{comma}process {id} (pid {pid}")?;
            if let Some(label) = label {
                write!(f, ", {label:?}")?;
            }
            f.write_str(")")?;
        } else if let Some(label) = label {
            write!(f, " {label:?}")?;
        }
        if session.is_some() || process.is_some() {
            f.write_str(": ")?;
        }
        match (&self.kind, self.origin) {
            // How it came here says more than that it did.
            (EventKind::Started, Some(origin)) if origin != Origin::Spawned => origin.fmt(f),
            (kind, _) => kind.fmt(f),
        }
    }
}

/// What happened.
///
/// `Display` prints it as the second half of a sentence: `sent SIGTERM (policy)`,
/// `exited with code 0`, `session is empty`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A process is a member from now on: it was spawned, adopted or attached, as [`Event::origin`]
    /// says.
    Started,
    /// A signal was sent to a process, by itself or with its group. What it does with it is its own
    /// affair.
    Signalled {
        /// Which.
        signal: Signal,
        /// For which reason.
        reason: Reason,
    },
    /// A rung's time has passed and the process still lives: the next rung is done.
    Escalated {
        /// The rung that is done now.
        rung: Rung,
    },
    /// A process is dead, by the kernel's word. There is exactly one for each process, and nothing
    /// about it after. The zombie of a child is taken away behind this, some 1 ms later at most on a machine that is not
    /// busy.
    Exited(Exit),
    /// A process was [given up](crate::Process::detach): it is no member any more, and nothing about it follows.
    Detached,
    /// A process outlived SIGKILL and its confirmation. It is still watched: its `Exited` may
    /// follow.
    Survived {
        /// Why, as far as can be seen.
        cause: SurvivalCause,
    },
    /// The last process of a session is gone. The session goes on: empty is not ended.
    SessionEmpty,
    /// A session's end began.
    SessionEnding {
        /// For which reason.
        reason: Reason,
    },
    /// A session's end is over. Comes after the `Exited` or `Survived` of every member.
    SessionEnded(SessionReport),
    /// A [sweep](crate::Registry::sweep) has found an orphan that it is about to end. Not sent in a dry run. The event names
    /// no session and no process of the registry: there are events of their own for those that it takes in.
    OrphanFound(Arc<SystemProcess>),
    /// A sweep has ended an orphan, by the kernel's word.
    OrphanEnded(Arc<SystemProcess>),
    /// A pass of the [reaper](crate::Reaper) is over.
    ReaperPassed(ReaperReport),
    /// The ledger cannot be written any more. The registry goes on; what it starts from here on is found by a later run
    /// only through its marks.
    NotDurable(Arc<Error>),
    /// Events were lost here, since the channel was full. Comes under every mask.
    ///
    /// What happened is to be learned from the registry itself, which loses nothing: its lists, its
    /// reports, [`Process::wait`](crate::Process::wait).
    Lagged(Lagged),
}

impl EventKind {
    /// The bit of a mask under which it is delivered. A loss is told under every mask.
    pub(crate) fn mask(&self) -> EventMask {
        match self {
            Self::Started => EventMask::STARTED,
            Self::Signalled { .. } => EventMask::SIGNALLED,
            Self::Escalated { .. } => EventMask::ESCALATED,
            Self::Exited(_) | Self::Detached => EventMask::EXITED,
            Self::Survived { .. } => EventMask::SURVIVED,
            Self::SessionEmpty | Self::SessionEnding { .. } | Self::SessionEnded(_) => {
                EventMask::SESSIONS
            }
            Self::OrphanFound(_) | Self::OrphanEnded(_) => EventMask::ORPHANS,
            Self::ReaperPassed(_) => EventMask::REAPER,
            Self::NotDurable(_) => EventMask::LEDGER,
            Self::Lagged(_) => EventMask::all(),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Signalled { signal, reason } => write!(f, "sent {signal} ({reason})"),
            Self::Escalated { rung } => write!(f, "escalated to {rung}"),
            Self::Exited(exit) => exit.fmt(f),
            Self::Detached => f.write_str("detached"),
            Self::Survived { cause } => write!(f, "survived: {cause}"),
            Self::SessionEmpty => f.write_str("session is empty"),
            Self::SessionEnding { reason } => write!(f, "session is ending ({reason})"),
            Self::SessionEnded(report) => write!(f, "session ended: {}", Summary(report)),
            Self::OrphanFound(process) => write!(f, "orphan found: {}", Named(process)),
            Self::OrphanEnded(process) => write!(f, "orphan ended: {}", Named(process)),
            Self::ReaperPassed(report) => ReaperSummary(report).fmt(f),
            Self::NotDurable(error) => write!(f, "the ledger is not durable any more: {error}"),
            Self::Lagged(lagged) => lagged.fmt(f),
        }
    }
}

/// A process of the system in one short line.
struct Named<'a>(&'a SystemProcess);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(process) = self;
        write!(
            f,
            "pid {}, {}",
            process.pid(),
            short_command(process.args())
        )
    }
}

/// How many events were lost, counted until someone asks.
///
/// A subscriber that does not read loses the newest events. One marker stands where they would have
/// stood, and counts on for as long as nobody has asked it. Clones share the count.
///
/// `Display` and `Debug` show the count as it is and leave it open.
#[derive(Clone)]
pub struct Lagged {
    /// The count, and [`CLOSED`] once a reader has taken it. No other memory hangs on it, hence
    /// `Relaxed` throughout.
    state: Arc<AtomicU64>,
}

/// The bit that a reader sets: the number is out, and no further loss may be added to it. 2^63
/// losses will not happen.
const CLOSED: u64 = 1 << 63;

impl Lagged {
    /// A marker that has counted nothing yet.
    pub(crate) fn open() -> Self {
        Self {
            state: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Builds a marker that has counted `missed` losses, for a host's tests. At most 2^63 - 1.
    pub fn from_parts(missed: u64) -> Self {
        Self {
            state: Arc::new(AtomicU64::new(missed & !CLOSED)),
        }
    }

    /// How many events were lost where this marker stands.
    ///
    /// The first call, on whichever clone, fixes the number: later losses get a marker of their
    /// own, so that the sum over all markers is exact.
    pub fn missed(&self) -> u64 {
        self.state.fetch_or(CLOSED, Ordering::Relaxed) & !CLOSED
    }

    /// Counts one more loss. `false`: a reader has taken the number, and the loss needs another
    /// marker.
    #[must_use]
    pub(crate) fn count_one(&self) -> bool {
        // Not a plain addition: a count that grew after it was read would have lost one event twice
        // over.
        let add = |state: u64| (state & CLOSED == 0).then(|| state + 1);
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }
}

impl fmt::Debug for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = self.state.load(Ordering::Relaxed) & !CLOSED;
        f.debug_struct("Lagged").field("missed", &missed).finish()
    }
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.load(Ordering::Relaxed) & !CLOSED {
            1 => f.write_str("1 event was lost"),
            missed => write!(f, "{missed} events were lost"),
        }
    }
}

/// For which reason something was done.
///
/// `Display` prints it in lower case: `host`, `time limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The host asked for it.
    Host,
    /// The stop policy came to one of its rungs.
    Policy,
    /// A time limit passed.
    TimeLimit,
    /// Nothing happened for too long.
    IdleLimit,
    /// The reaper found the session abandoned.
    Reaper,
    /// Recovery found what an earlier host left.
    Recovery,
    /// The registry is shutting down.
    Shutdown,
    /// The last handle of the registry was dropped.
    Drop,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::Policy => "policy",
            Self::TimeLimit => "time limit",
            Self::IdleLimit => "idle limit",
            Self::Reaper => "reaper",
            Self::Recovery => "recovery",
            Self::Shutdown => "shutdown",
            Self::Drop => "drop",
        })
    }
}

/// How a process came to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The registry started it.
    Spawned,
    /// The host started it and handed its `Child` over.
    Adopted,
    /// It runs on its own, and the host named it.
    Attached,
    /// A descendant of a member, found when the session ended.
    Found,
    /// A process of an earlier host.
    Recovered,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spawned => "spawned",
            Self::Adopted => "adopted",
            Self::Attached => "attached",
            Self::Found => "found",
            Self::Recovered => "recovered",
        })
    }
}

bitflags::bitflags! {
    /// Which events a subscription gets. [`EventKind::Lagged`] comes under every mask.
    ///
    /// ```
    /// use procession::EventMask;
    ///
    /// let ends = EventMask::EXITED | EventMask::SESSIONS;
    /// assert!(!ends.contains(EventMask::STARTED));
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EventMask: u32 {
        /// [`EventKind::Started`].
        const STARTED = 1;
        /// [`EventKind::Signalled`].
        const SIGNALLED = 2;
        /// [`EventKind::Escalated`].
        const ESCALATED = 4;
        /// [`EventKind::Exited`], and [`EventKind::Detached`], after which there is none.
        const EXITED = 8;
        /// [`EventKind::Survived`].
        const SURVIVED = 16;
        /// [`EventKind::OrphanFound`] and [`EventKind::OrphanEnded`].
        const ORPHANS = 32;
        /// [`EventKind::SessionEmpty`], [`EventKind::SessionEnding`] and
        /// [`EventKind::SessionEnded`].
        const SESSIONS = 64;
        /// [`EventKind::ReaperPassed`].
        const REAPER = 128;
        /// [`EventKind::NotDurable`].
        const LEDGER = 256;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::exit::Status;
    use crate::report::{Means, Strength};

    fn line(process: bool, label: Option<&str>, kind: EventKind) -> String {
        let process = process.then_some((ProcessId(3), 4711));
        let label = label.map(Arc::from);
        Event::from_parts(Some(SessionId(7)), process, label, kind).to_string()
    }

    fn exited() -> EventKind {
        #[expect(
            clippy::disallowed_methods,
            reason = "an exit has a time, which is not what is tested"
        )]
        let now = Instant::now();
        EventKind::Exited(Exit::from_parts(Status::Code(0), None, now))
    }

    fn ended() -> EventKind {
        let strength = Strength::Observed(Means::Group);
        EventKind::SessionEnded(SessionReport::from_parts(SessionId(7), strength, vec![]))
    }

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(
            line(true, Some("server"), exited()),
            "session 7, process 3 (pid 4711, \"server\"): exited with code 0"
        );
        let (signal, reason) = (Signal::TERM, Reason::Policy);
        assert_eq!(
            line(true, None, EventKind::Signalled { signal, reason }),
            "session 7, process 3 (pid 4711): sent SIGTERM (policy)"
        );
        assert_eq!(
            line(false, Some("build"), EventKind::SessionEmpty),
            "session 7 \"build\": session is empty"
        );
        assert_eq!(
            line(false, None, ended()),
            "session 7: session ended: clean, no members, 0s, observed (group)"
        );
        let lost = EventKind::Lagged(Lagged::from_parts(3));
        let nobody = Event::from_parts(None, None, None, lost);
        assert_eq!(nobody.to_string(), "3 events were lost");
    }

    #[test]
    fn what_is_handed_to_a_host_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Event>();
        crosses::<SessionReport>();
    }

    #[test]
    fn a_start_says_how_the_process_came() {
        let process = Some((ProcessId(3), 4711));
        let mut event = Event::from_parts(None, process, None, EventKind::Started);
        assert_eq!(event.to_string(), "process 3 (pid 4711): started");
        event.origin = Some(Origin::Adopted);
        assert_eq!(event.to_string(), "process 3 (pid 4711): adopted");
    }

    #[test]
    fn a_loss_is_told_under_every_mask_and_all_else_under_one_flag() {
        let lost = EventKind::Lagged(Lagged::open());
        for flag in EventMask::all() {
            assert!(lost.mask().intersects(flag));
        }
        for kind in [
            EventKind::Started,
            exited(),
            ended(),
            EventKind::SessionEmpty,
        ] {
            assert_eq!(kind.mask().iter().count(), 1, "{kind}");
        }
    }

    #[test]
    fn showing_a_count_leaves_it_open_and_reading_it_closes_it_for_all_clones() {
        let writer = Lagged::open();
        let reader = writer.clone();
        assert!(writer.count_one() && writer.count_one());
        assert_eq!(
            format!("{reader} {reader:?}"),
            "2 events were lost Lagged { missed: 2 }"
        );
        assert!(writer.count_one());

        assert_eq!(reader.missed(), 3);
        assert!(!writer.count_one());
        assert_eq!((reader.missed(), writer.missed()), (3, 3));
        assert_eq!(reader.to_string(), "3 events were lost");
    }

    /// Hunts for a loss that is added after the reader took the number, or added twice: the sum of
    /// what readers see must be what the publisher lost, wherever the readings fall.
    #[test]
    fn no_loss_is_forgotten_or_counted_twice_while_readers_race() {
        const LOSSES: u64 = 100_000;

        let (markers, read) = crossbeam_channel::unbounded::<Lagged>();
        let mut readers = Vec::new();
        for _ in 0..2 {
            let read = read.clone();
            readers.push(thread::spawn(move || {
                read.iter().map(|lagged| lagged.missed()).sum::<u64>()
            }));
        }
        drop(read);

        let mut marker: Option<Lagged> = None;
        for _ in 0..LOSSES {
            if marker.as_ref().is_some_and(Lagged::count_one) {
                continue;
            }
            let fresh = Lagged::open();
            assert!(fresh.count_one());
            markers.send(fresh.clone()).expect("the readers live");
            marker = Some(fresh);
        }
        drop(markers);
        let seen: u64 = readers.into_iter().map(|r| r.join().unwrap()).sum();
        assert_eq!(seen, LOSSES);
    }
}

//! Log records, written by a helper: the host's logger may block, on a pipe whose reader is being ended perhaps.

use log::Level;

use super::helpers::Errands;
use crate::event::EventKind;
use crate::machine::Notice;

/// The target of every record.
const TARGET: &str = "procession";
/// How many records wait for a logger that blocks, before they are lost and counted.
const CAPACITY: usize = 4096;

/// Where records go.
#[derive(Debug)]
pub(crate) struct Journal {
    errands: Errands<Record>,
}

/// One record, not yet formatted.
#[derive(Debug)]
struct Record {
    level: Level,
    notice: Option<Notice>,
    text: Option<String>,
    /// How many were lost before this one.
    lost: u64,
}

impl Journal {
    pub(crate) fn new(thread_name: &str) -> Self {
        Self {
            errands: Errands::new(format!("{thread_name}-log"), CAPACITY, write),
        }
    }

    /// Records an event. Costs one comparison where the host does not log.
    pub(crate) fn notice(&self, notice: &Notice) {
        self.push(level_of(&notice.kind), Some(notice), None);
    }

    /// Records what is about no session.
    pub(crate) fn announce(&self, kind: &EventKind) {
        self.say(level_of(kind), || kind.to_string());
    }

    /// Records what went wrong.
    pub(crate) fn say(&self, level: Level, text: impl FnOnce() -> String) {
        if level <= log::max_level() {
            self.push(level, None, Some(text()));
        }
    }

    fn push(&self, level: Level, notice: Option<&Notice>, text: Option<String>) {
        // Only the comparison of two numbers: the logger's own filter is the host's code, and runs on the helper.
        if level > log::max_level() {
            return;
        }
        let lost = self.errands.take_refused();
        let record = Record {
            level,
            notice: notice.cloned(),
            text,
            lost,
        };
        if let Err(record) = self.errands.push(record) {
            self.errands.refuse(record.lost);
        }
    }
}

fn level_of(kind: &EventKind) -> Level {
    match kind {
        EventKind::Started | EventKind::Signalled { .. } | EventKind::Exited(_) => Level::Debug,
        EventKind::Detached => Level::Info,
        EventKind::SessionEmpty | EventKind::Lagged(_) => Level::Trace,
        EventKind::SessionEnding { .. } | EventKind::SessionEnded(_) => Level::Info,
        EventKind::Escalated { .. } => Level::Info,
        EventKind::Survived { .. } => Level::Warn,
        EventKind::OrphanFound(_) | EventKind::OrphanEnded(_) => Level::Info,
        // Every pass is told, and most have nothing to tell.
        EventKind::ReaperPassed(report) if report.skipped() => Level::Warn,
        EventKind::ReaperPassed(report) if report.is_news() => Level::Info,
        EventKind::ReaperPassed(_) => Level::Debug,
        EventKind::NotDurable(_) => Level::Warn,
    }
}

/// On the helper's thread: may block as long as the host's logger likes.
fn write(record: Record) {
    if record.lost > 0 {
        log::warn!(target: TARGET, "{} log records were lost: the logger did not keep up", record.lost);
    }
    if let Some(text) = &record.text {
        log::log!(target: TARGET, record.level, "{text}");
    }
    if let Some(notice) = &record.notice {
        log::log!(target: TARGET, record.level, "{}", Line(notice));
    }
}

/// A notice as a line of the log.
struct Line<'a>(&'a Notice);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let notice = self.0;
        match &notice.kind {
            EventKind::Started => f.write_str("started")?,
            EventKind::Signalled { signal, reason } => write!(f, "signalled {signal} ({reason})")?,
            EventKind::Escalated { rung } => write!(f, "escalated to {rung}")?,
            EventKind::Exited(exit) => write!(f, "exited: {exit}")?,
            EventKind::Survived { cause } => write!(f, "survived: {cause}")?,
            EventKind::Detached => f.write_str("detached")?,
            EventKind::SessionEmpty => f.write_str("empty")?,
            EventKind::SessionEnding { reason } => write!(f, "ending ({reason})")?,
            EventKind::SessionEnded(report) if report.is_clean() => f.write_str("ended, clean")?,
            EventKind::SessionEnded(report) => {
                write!(f, "ended with {} survivors", report.survivors().len())?
            }
            EventKind::Lagged(_) => f.write_str("lagged")?,
            // These are about no session, and are written by their text.
            EventKind::OrphanFound(_)
            | EventKind::OrphanEnded(_)
            | EventKind::ReaperPassed(_)
            | EventKind::NotDurable(_) => notice.kind.fmt(f)?,
        }
        write!(f, ": session {}", notice.session)?;
        if let Some((process, pid)) = notice.process {
            write!(f, ", process {process}, pid {pid}")?;
        }
        match &notice.label {
            Some(label) => write!(f, ", label {label:?}"),
            None => Ok(()),
        }
    }
}

//! [`SweepReport`]: what a sweep for orphans found, and what became of it.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Took, command, escaped};
use super::{SessionReport, SurvivalCause, Survivor};
use crate::session::SessionId;
use crate::stop::Rung;
use crate::system_process::SystemProcess;

/// What a sweep for orphans found, what became of it, and what was left alone.
///
/// It is cheap to clone. `Display` prints a table:
///
/// ```text
/// sweep: 2 found, 1 ended, 1 STILL ALIVE, 1 left alone, of 312 processes, 5.01s
///    PID  COMMAND         WHY                        HOW
///   4711  server --stdio  reparented and our server  SIGTERM
///   4712  server --stdio  reparented and our server  SURVIVED
///   still alive:
///     process 2, pid 4712, server --stdio (in uninterruptible sleep)
///   left alone:
///     pid 4713, server --stdio (its owner lives, pid 99)
/// ```
#[derive(Clone, Debug)]
#[must_use = "it names what is still alive"]
pub struct SweepReport(Arc<SweepParts>);

/// What a report is made of.
#[derive(Debug, Default)]
pub(crate) struct SweepParts {
    pub(crate) dry_run: bool,
    pub(crate) looked_at: usize,
    pub(crate) not_looked_at: usize,
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) survivors: Vec<Survivor>,
    pub(crate) left_alone: Vec<LeftAlone>,
    pub(crate) sessions: Vec<SessionReport>,
    pub(crate) took: Duration,
}

/// One process that a rule matched.
#[derive(Clone, Debug)]
pub struct Orphan {
    pub(crate) process: Arc<SystemProcess>,
    pub(crate) why: Arc<str>,
    pub(crate) fate: OrphanFate,
}

impl Orphan {
    /// Builds one, for a host's tests.
    pub fn from_parts(process: SystemProcess, why: impl Into<Arc<str>>, fate: OrphanFate) -> Self {
        Self {
            process: Arc::new(process),
            why: why.into(),
            fate,
        }
    }

    /// The process, as it was when the rule matched it.
    pub fn process(&self) -> &Arc<SystemProcess> {
        &self.process
    }

    /// The names of the rules that matched it: `reparented and our server`.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What became of it.
    pub fn fate(&self) -> OrphanFate {
        self.fate
    }
}

/// What became of a process that a rule matched.
///
/// `Display` prints `would be ended`, `already gone`, the rung (`SIGTERM`), or `survived: not permitted to signal it`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrphanFate {
    /// Nothing: it was a dry run.
    WouldBeEnded,
    /// It died while this rung was in force, by the kernel's word.
    Ended(Rung),
    /// It was dead before anything was done to it.
    AlreadyGone,
    /// It outlived SIGKILL and its confirmation.
    Survived(SurvivalCause),
    /// Nothing: the registry was shut down before it was its turn.
    NotReached,
}

impl fmt::Display for OrphanFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldBeEnded => f.pad("would be ended"),
            Self::Ended(rung) => rung.fmt(f),
            Self::AlreadyGone => f.pad("already gone"),
            Self::Survived(cause) => f.pad(&format!("survived: {cause}")),
            Self::NotReached => f.pad("not reached"),
        }
    }
}

/// A process that a rule matched, or may have matched, and to which nothing was done.
///
/// `Display` prints `pid 4713, server --stdio (its owner lives, pid 99)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftAlone {
    /// Its pid. By now it may be another process's.
    pub pid: u32,
    /// Program and arguments, as far as they could be read.
    pub command_line: Vec<OsString>,
    /// Why nothing was done to it.
    pub reason: LeftAloneReason,
}

impl LeftAlone {
    /// Builds one, for a host's tests.
    pub fn from_parts(pid: u32, command_line: Vec<OsString>, reason: LeftAloneReason) -> Self {
        Self {
            pid,
            command_line,
            reason,
        }
    }
}

impl fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            command_line,
            reason,
        } = self;
        write!(f, "pid {pid}, {} ({reason})", command(None, command_line))
    }
}

/// Why nothing was done to a process that a rule matched, or may have matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftAloneReason {
    /// It carries the mark of another registry's session or is in the cgroup of one, and that registry's program lives.
    OwnerLives {
        /// The program's pid, in its own pid namespace.
        pid: u32,
    },
    /// It carries the mark of a session of this registry that is not over, or is in its cgroup.
    InSession(SessionId),
    /// It has come to this program as an orphan and nothing names it: it may be of any session that is not over. Only in a
    /// host that is a [subreaper](crate::Containment::Subreaper).
    MayBeInSession,
    /// It carries a mark, and it cannot be told whether the owner lives.
    OwnerNotKnown,
    /// It is registered here since it was looked at, or elsewhere held back from being taken in.
    Registered,
    /// The rule panicked on it.
    RulePanicked,
    /// The rule did not return.
    RuleBlocked,
    /// Reading about it did not return: something below `/proc` hangs.
    Hangs,
    /// What the rule asks for could not be read.
    NotReadable,
    /// No descriptor was to be had to hold it.
    NoDescriptor,
}

impl fmt::Display for LeftAloneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerLives { pid } => write!(f, "its owner lives, pid {pid}"),
            Self::InSession(session) => write!(f, "it belongs to session {session}, which lives"),
            Self::MayBeInSession => f.write_str("it may belong to a session that lives"),
            Self::OwnerNotKnown => {
                f.write_str("it is marked, and whether its owner lives cannot be told")
            }
            Self::Registered => f.write_str("it is registered"),
            Self::RulePanicked => f.write_str("the rule panicked on it"),
            Self::RuleBlocked => f.write_str("the rule did not return"),
            Self::Hangs => f.write_str("reading about it hangs"),
            Self::NotReadable => f.write_str("it could not be read"),
            Self::NoDescriptor => f.write_str("no descriptor was to be had"),
        }
    }
}

impl SweepReport {
    pub(crate) fn new(parts: SweepParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Builds a report, for a host's tests: of a sweep that was no dry run, over these processes alone.
    pub fn from_parts(
        orphans: Vec<Orphan>,
        survivors: Vec<Survivor>,
        left_alone: Vec<LeftAlone>,
    ) -> Self {
        Self::new(SweepParts {
            looked_at: orphans.len() + left_alone.len(),
            orphans,
            survivors,
            left_alone,
            ..SweepParts::default()
        })
    }

    /// Whether nothing was to be done.
    pub fn is_dry_run(&self) -> bool {
        self.0.dry_run
    }

    /// How many processes the rule matched that may be ended.
    pub fn found(&self) -> usize {
        self.0.orphans.len()
    }

    /// How many of them this sweep ended, by the kernel's word for each: neither who was dead before anything was done, nor
    /// who survived, nor anybody in a dry run.
    pub fn ended(&self) -> usize {
        let ended = |orphan: &&Orphan| matches!(orphan.fate, OrphanFate::Ended(_));
        self.0.orphans.iter().filter(ended).count()
    }

    /// The processes that the rule matched, in the order of their pids.
    pub fn orphans(&self) -> &[Orphan] {
        &self.0.orphans
    }

    /// Those that are still alive, each with the reason as far as it can be seen. The registry still watches them.
    pub fn survivors(&self) -> &[Survivor] {
        &self.0.survivors
    }

    /// What was matched, or may have been, and to which nothing was done.
    pub fn left_alone(&self) -> &[LeftAlone] {
        &self.0.left_alone
    }

    /// How many processes were looked at: all that there were, but for this one, its ancestors, those that are registered,
    /// other users' and the kernel's.
    pub fn looked_at(&self) -> usize {
        self.0.looked_at
    }

    /// How many were not looked at, since the rule or reading about others hung several times.
    pub fn not_looked_at(&self) -> usize {
        self.0.not_looked_at
    }

    /// Whether everything was looked at, and everything that was found is gone, or it was a dry run.
    pub fn is_clean(&self) -> bool {
        let reached = |orphan: &Orphan| orphan.fate != OrphanFate::NotReached;
        self.0.survivors.is_empty()
            && self.0.not_looked_at == 0
            && self.0.orphans.iter().all(reached)
    }

    /// The reports of the sessions in which they were ended. Mostly one; more where there were not descriptors enough for
    /// all at once; none where nothing was found.
    pub fn sessions(&self) -> &[SessionReport] {
        &self.0.sessions
    }

    /// How long the sweep took, with the ends.
    pub fn took(&self) -> Duration {
        self.0.took
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_news(&self) -> bool {
        let parts = &*self.0;
        parts.orphans.len() + parts.left_alone.len() + parts.not_looked_at > 0
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0;
        f.write_str("sweep: ")?;
        if parts.dry_run {
            write!(f, "{} would be ended (dry run)", self.found())?;
        } else {
            write!(f, "{} found, {} ended", self.found(), self.ended())?;
        }
        if !parts.survivors.is_empty() {
            write!(f, ", {} STILL ALIVE", parts.survivors.len())?;
        }
        if !parts.left_alone.is_empty() {
            write!(f, ", {} left alone", parts.left_alone.len())?;
        }
        if parts.not_looked_at > 0 {
            write!(f, ", {} NOT LOOKED AT", parts.not_looked_at)?;
        }
        write!(
            f,
            ", of {} processes, {}",
            parts.looked_at,
            Took(parts.took)
        )
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["PID", "COMMAND", "WHY", "HOW"].map(String::from)];
        for Orphan { process, why, fate } in &self.0.orphans {
            let how = match fate {
                // The cause stands below, with the other survivors.
                OrphanFate::Survived(_) => String::from("SURVIVED"),
                OrphanFate::WouldBeEnded
                | OrphanFate::Ended(_)
                | OrphanFate::AlreadyGone
                | OrphanFate::NotReached => fate.to_string(),
            };
            let line = command(None, process.args());
            rows.push([process.pid().to_string(), line, escaped(why), how]);
        }
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let (pid, command, why) = (width(0), width(1), width(2));
        for row in &rows {
            write!(
                f,
                "\n  {:>pid$}  {:<command$}  {:<why$}  {}",
                row[0], row[1], row[2], row[3]
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        if !self.0.orphans.is_empty() {
            self.table(f)?;
        }
        if !self.0.survivors.is_empty() {
            f.write_str("\n  still alive:")?;
        }
        for survivor in &self.0.survivors {
            write!(f, "\n    {survivor}")?;
        }
        if !self.0.left_alone.is_empty() {
            f.write_str("\n  left alone:")?;
        }
        for process in &self.0.left_alone {
            write!(f, "\n    {process}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ProcessId;
    use crate::signal::Signal;

    fn server(pid: u32) -> SystemProcess {
        SystemProcess::from_parts(pid, vec!["server".into(), "--stdio".into()])
    }

    #[test]
    fn a_sweep_is_a_headline_and_a_row_for_each_orphan() {
        let cause = SurvivalCause::Uninterruptible;
        let line = vec!["server".into(), "--stdio".into()];
        let why = "reparented and our server";
        let report = SweepReport::from_parts(
            vec![
                Orphan::from_parts(
                    server(4711),
                    why,
                    OrphanFate::Ended(Rung::Signal(Signal::TERM)),
                ),
                Orphan::from_parts(server(12), why, OrphanFate::Survived(cause)),
            ],
            vec![Survivor::from_parts(ProcessId(2), 12, line.clone(), cause)],
            vec![LeftAlone::from_parts(
                4713,
                line,
                LeftAloneReason::OwnerLives { pid: 99 },
            )],
        );
        assert_eq!((report.found(), report.ended()), (2, 1));
        assert!(!report.is_clean());
        assert_eq!(
            report.to_string(),
            "\
sweep: 2 found, 1 ended, 1 STILL ALIVE, 1 left alone, of 3 processes, 0s
   PID  COMMAND         WHY                        HOW
  4711  server --stdio  reparented and our server  SIGTERM
    12  server --stdio  reparented and our server  SURVIVED
  still alive:
    process 2, pid 12, server --stdio (in uninterruptible sleep)
  left alone:
    pid 4713, server --stdio (its owner lives, pid 99)"
        );
    }

    #[test]
    fn only_confirmed_deaths_that_the_sweep_brought_about_are_counted() {
        let fates = [
            OrphanFate::Ended(Rung::Kill),
            OrphanFate::AlreadyGone,
            OrphanFate::WouldBeEnded,
            OrphanFate::NotReached,
        ];
        let orphans = fates.map(|fate| Orphan::from_parts(server(1), "x", fate));
        let report = SweepReport::from_parts(orphans.into(), vec![], vec![]);
        assert_eq!((report.found(), report.ended()), (4, 1));
        assert!(!report.is_clean(), "one was not reached");
    }

    #[test]
    fn the_name_of_a_rule_does_not_break_the_table() {
        let fate = OrphanFate::WouldBeEnded;
        let orphan = Orphan::from_parts(server(7), "our\nserver\u{1b}[0m", fate);
        let text = SweepReport::from_parts(vec![orphan], vec![], vec![]).to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("our\\nserver\\u{1b}[0m  would be ended"),
            "{text}"
        );
    }

    #[test]
    fn nothing_found_is_one_line() {
        let report = SweepReport::from_parts(vec![], vec![], vec![]);
        assert!(report.is_clean() && !report.is_news());
        assert_eq!(
            report.to_string(),
            "sweep: 0 found, 0 ended, of 0 processes, 0s"
        );
    }
}

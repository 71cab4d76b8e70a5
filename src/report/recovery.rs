//! [`RecoveryReport`]: what an earlier run had left, and what became of it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Took, command};
use super::{How, MemberReport, SessionReport, Survivor};
use crate::recovery::Doubt;
use crate::session::{Life, ProcessId, SessionId};
use crate::session_handle::Session;
use crate::system_process::SystemProcess;

/// What an earlier run of this program had left behind, what became of it, and what was left alone.
///
/// `Display` prints a table:
///
/// ```text
/// recovery: 2 ended, 1 STILL ALIVE, 1 left alone, 2.13s
///    PID  SESSION  COMMAND         KNOWN BY     HOW
///   4711        7  server --stdio  variable     SIGTERM
///   4712        7  worker          limit mark   SIGKILL
///   4713        8  server --stdio  ledger       SURVIVED
///   still alive:
///     process 3, pid 4713, server --stdio (in uninterruptible sleep)
///   left alone:
///     pid 4714, sleep 60 (it was detached)
/// ```
///
/// Where processes of several lives of a session's number were found, the lives are told apart behind it: `7#1` is the
/// oldest of those that were found, `7#2` the next.
#[derive(Debug)]
#[must_use = "it names what is still alive"]
pub struct RecoveryReport {
    parts: RecoveryParts,
    left_alone: Vec<Arc<SystemProcess>>,
}

/// What a report is made of.
#[derive(Debug, Default)]
pub(crate) struct RecoveryParts {
    pub(crate) sessions: Vec<SessionReport>,
    pub(crate) adopted: Vec<(SessionId, Session)>,
    pub(crate) left_alone: Vec<(Arc<SystemProcess>, WhyLeftAlone)>,
    /// Where those that were taken in belonged, and how that is known.
    pub(crate) provenance: HashMap<ProcessId, Whence>,
    /// What the ledger calls them: registry and process.
    pub(crate) noted: HashMap<ProcessId, (u64, ProcessId)>,
    /// Something new was found every time.
    pub(crate) unfinished: bool,
    pub(crate) took: Duration,
}

/// Where a process belonged, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whence {
    pub(crate) session: SessionId,
    /// Which life of that number it was, as far as that is known: when its owner was started, which of its registries, and
    /// which of the lives there. In the order in which they were.
    pub(crate) life: Option<(u64, u64, Life)>,
    pub(crate) evidence: Evidence,
}

/// By what a process is known to be of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Its environment names the dead owner.
    Variable,
    /// It has the limit mark of a registry whose owner is known to be dead.
    LimitMark,
    /// It is in a cgroup that the dead owner has made for a session.
    Cgroup,
    /// The ledger has its identity.
    Ledger,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "variable",
            Self::LimitMark => "limit mark",
            Self::Cgroup => "cgroup",
            Self::Ledger => "ledger",
        })
    }
}

/// Why a process was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyLeftAlone {
    /// It was given up, or belongs to one that was.
    Detached,
    /// A registry further in has it, whose program lives.
    OwnerLives {
        pid: u32,
    },
    Doubt(Doubt),
    /// The host has said that such are left alone.
    Spared,
    /// Reading about it does not return.
    Hangs,
    /// It has a limit mark, and nothing says whose.
    LimitAlone,
    /// It has the limit mark of a dead owner, and does not look like one that has it from there.
    Claim,
}

impl fmt::Display for WhyLeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => f.write_str("it was detached"),
            Self::OwnerLives { pid } => write!(f, "a program inside has it that lives, pid {pid}"),
            Self::Doubt(doubt) => doubt.fmt(f),
            Self::Spared => f.write_str("it is spared"),
            Self::Hangs => f.write_str("reading about it hangs"),
            Self::LimitAlone => f.write_str("it has a limit mark, and nothing says whose"),
            Self::Claim => f.write_str("it has a dead owner's limit mark, and nothing else of it"),
        }
    }
}

impl RecoveryReport {
    pub(crate) fn new(parts: RecoveryParts) -> Self {
        let left_alone = parts.left_alone.iter();
        Self {
            left_alone: left_alone.map(|(process, _)| Arc::clone(process)).collect(),
            parts,
        }
    }

    /// Builds a report, for a host's tests: these sessions were ended, and these processes left alone.
    pub fn from_parts(sessions: Vec<SessionReport>, left_alone: Vec<SystemProcess>) -> Self {
        let left_alone = left_alone.into_iter();
        Self::new(RecoveryParts {
            sessions,
            left_alone: left_alone
                .map(|process| (Arc::new(process), WhyLeftAlone::Detached))
                .collect(),
            ..RecoveryParts::default()
        })
    }

    /// How many processes were ended, by the kernel's word for each: neither who was dead before anything was done, nor
    /// who survived.
    pub fn ended(&self) -> usize {
        let members = self.parts.sessions.iter().flat_map(SessionReport::members);
        let ended = |member: &&MemberReport| matches!(member.how(), How::At(_));
        members.filter(ended).count()
    }

    /// The sessions that were taken over, by the numbers that they had. A session has another number where that one lives
    /// already in this registry, or was taken over twice.
    pub fn adopted(&self) -> &[(SessionId, Session)] {
        &self.parts.adopted
    }

    /// Processes that may be of an earlier run, and to which nothing was done: what was [detached], what a program has
    /// that lives, and whatever leaves doubt.
    ///
    /// [detached]: crate::Process::detach
    pub fn left_alone(&self) -> &[Arc<SystemProcess>] {
        &self.left_alone
    }

    /// Those that are still alive, each with the reason as far as it can be seen. The registry still watches them.
    pub fn survivors(&self) -> impl Iterator<Item = &Survivor> {
        self.parts
            .sessions
            .iter()
            .flat_map(SessionReport::survivors)
    }

    /// The reports of the sessions in which they were ended: mostly one, more where a host inside of a host was ended.
    pub fn sessions(&self) -> &[SessionReport] {
        &self.parts.sessions
    }

    /// How long it took, with the ends.
    pub fn took(&self) -> Duration {
        self.parts.took
    }

    /// Whether nothing of an earlier run is known to live: nothing has survived, and nothing was taken over.
    ///
    /// What was [left alone](Self::left_alone) is not known to be such, or was meant to stay.
    pub fn is_clean(&self) -> bool {
        !self.parts.unfinished
            && self.parts.adopted.is_empty()
            && self.parts.sessions.iter().all(SessionReport::is_clean)
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recovery: {} ended", self.ended())?;
        match self.parts.adopted.len() {
            0 => {}
            1 => f.write_str(", 1 session taken over")?,
            sessions => write!(f, ", {sessions} sessions taken over")?,
        }
        match self.survivors().count() {
            0 => {}
            survivors => write!(f, ", {survivors} STILL ALIVE")?,
        }
        if self.parts.unfinished {
            f.write_str(", NOT FINISHED")?;
        }
        match self.left_alone.len() {
            0 => {}
            left => write!(f, ", {left} left alone")?,
        }
        write!(f, ", {}", Took(self.parts.took))
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["PID", "SESSION", "COMMAND", "KNOWN BY", "HOW"];
        let mut rows = vec![heads.map(String::from)];
        for member in self.parts.sessions.iter().flat_map(SessionReport::members) {
            rows.push(self.row(member));
        }
        if rows.len() == 1 {
            return Ok(());
        }
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let (pid, session) = (width(0), width(1));
        let (command, known) = (width(2), width(3));
        for row in &rows {
            write!(
                f,
                "\n  {:>pid$}  {:>session$}  {:<command$}  {:<known$}  {}",
                row[0], row[1], row[2], row[3], row[4]
            )?;
        }
        Ok(())
    }

    /// The number of a session, and where several lives of it were found which of them it was, the first of them first.
    fn session(&self, whence: &Whence) -> String {
        let all = self.parts.provenance.values();
        let same = all.filter(|other| other.session == whence.session);
        let lives: BTreeSet<_> = same.filter_map(|other| other.life).collect();
        match whence.life {
            Some(life) if lives.len() > 1 => {
                let which = lives.range(..=life).count();
                format!("{}#{which}", whence.session)
            }
            Some(_) | None => whence.session.to_string(),
        }
    }

    fn row(&self, member: &MemberReport) -> [String; 5] {
        let provenance = self.parts.provenance.get(&member.process());
        let (session, known) = match provenance {
            Some(whence) => (self.session(whence), whence.evidence.to_string()),
            None => (String::from("-"), String::from("descent")),
        };
        let how = match member.how() {
            // The cause stands below, with the other survivors.
            How::Survived(_) => String::from("SURVIVED"),
            How::AlreadyGone | How::At(_) => member.how().to_string(),
        };
        [
            member.pid().to_string(),
            session,
            command(None, member.command_line()),
            known,
            how,
        ]
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        self.table(f)?;
        if self.survivors().next().is_some() {
            f.write_str("\n  still alive:")?;
        }
        for survivor in self.survivors() {
            write!(f, "\n    {survivor}")?;
        }
        if !self.parts.adopted.is_empty() {
            f.write_str("\n  taken over:")?;
        }
        for (number, session) in &self.parts.adopted {
            write!(f, "\n    session {number}")?;
            if session.id() != *number {
                write!(f, ", as {}", session.id())?;
            }
        }
        if !self.left_alone.is_empty() {
            f.write_str("\n  left alone:")?;
        }
        for (process, why) in &self.parts.left_alone {
            let line = command(None, process.args());
            write!(f, "\n    pid {}, {line} ({why})", process.pid())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;
    use crate::report::{Means, Strength, SurvivalCause};
    use crate::signal::Signal;
    use crate::stop::Rung;

    fn member(process: u64, how: How) -> MemberReport {
        MemberReport {
            process: ProcessId(process),
            pid: 4710 + u32::try_from(process).expect("it is small"),
            origin: Origin::Recovered,
            label: None,
            command_line: Arc::from(["server".into(), "--stdio".into()]),
            how,
            exit: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn it_is_a_headline_and_a_row_for_each_process() {
        let cause = SurvivalCause::Uninterruptible;
        let survivor = Survivor::from_parts(ProcessId(3), 4713, vec!["server".into()], cause);
        let strength = Strength::Unconfirmed {
            survivors: vec![survivor],
        };
        let members = vec![
            member(1, How::At(Rung::Signal(Signal::TERM))),
            member(2, How::At(Rung::Kill)),
            member(3, How::Survived(cause)),
        ];
        let session = SessionReport::from_parts(SessionId(1 << 63), strength, members);
        let stays = SystemProcess::from_parts(4714, vec!["sleep".into(), "60".into()]);
        let mut report = RecoveryReport::from_parts(vec![session], vec![stays]);
        let known = [(1, Evidence::Variable), (3, Evidence::Ledger)];
        let whence = |evidence| Whence {
            session: SessionId(7),
            life: Some((1, 2, Life(3))),
            evidence,
        };
        report.parts.provenance = known
            .map(|(process, evidence)| (ProcessId(process), whence(evidence)))
            .into();
        assert_eq!(report.ended(), 2);
        assert!(!report.is_clean());
        assert_eq!(
            report.to_string(),
            "\
recovery: 2 ended, 1 STILL ALIVE, 1 left alone, 0s
   PID  SESSION  COMMAND         KNOWN BY  HOW
  4711        7  server --stdio  variable  SIGTERM
  4712        -  server --stdio  descent   SIGKILL
  4713        7  server --stdio  ledger    SURVIVED
  still alive:
    process 3, pid 4713, server (in uninterruptible sleep)
  left alone:
    pid 4714, sleep 60 (it was detached)"
        );
    }

    #[test]
    fn the_lives_of_a_number_are_told_apart() {
        let of = |session, life| Whence {
            session: SessionId(session),
            life,
            evidence: Evidence::Variable,
        };
        let (first, second) = (Some((1, 9, Life(4))), Some((2, 5, Life(1))));
        let all = [of(7, second), of(7, first), of(7, None), of(8, first)];
        let mut report = RecoveryReport::from_parts(vec![], vec![]);
        let numbered = (1..).map(ProcessId).zip(all);
        report.parts.provenance = numbered.collect();
        let told = all.map(|whence| report.session(&whence));
        assert_eq!(told, ["7#2", "7#1", "7", "8"]);
    }

    #[test]
    fn nothing_found_is_one_line() {
        let report = RecoveryReport::from_parts(vec![], vec![]);
        assert!(report.is_clean());
        assert_eq!(report.to_string(), "recovery: 0 ended, 0s");
        let clean =
            SessionReport::from_parts(SessionId(1), Strength::Observed(Means::Group), vec![]);
        assert!(RecoveryReport::from_parts(vec![clean], vec![]).is_clean());
    }
}

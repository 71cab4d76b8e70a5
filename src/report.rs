//! [`SessionReport`]: what the end of a session did, and how it knows.

mod member;
mod reaper;
mod recovery;
mod strength;
mod sweep;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Origin, Reason};
use crate::exit::SessionUsage;
use crate::session::SessionId;

pub use member::{How, MemberReport};
pub(crate) use reaper::{ReaperParts, ReaperSummary};
pub use reaper::{ReaperReport, SkipReason};
pub use recovery::RecoveryReport;
pub(crate) use recovery::{Evidence, RecoveryParts, Whence, WhyLeftAlone};
pub use strength::{Means, Proof, Strength, SurvivalCause, Survivor};
pub(crate) use sweep::SweepParts;
pub use sweep::{LeftAlone, LeftAloneReason, Orphan, OrphanFate, SweepReport};

/// What the end of a session did, and how it knows.
///
/// It lists the members that lived when the end began, each with how it ended, and states the
/// [strength](Strength) of the claim that they are gone. A survivor is a line of the report, not an
/// error: the end itself did what could be done.
///
/// It is cheap to clone, and everyone who ended the same session gets the same one.
///
/// `Display` prints a table that names every member and every survivor, without a newline at its
/// end:
///
/// ```text
/// session 7 "build": clean, 2 members, 5.01s, observed (leader): descendants not claimed
///   PROCESS   PID  COMMAND         HOW      EXIT                                        TOOK
///         1  4711  server --stdio  SIGTERM  exited with code 0                        12.3ms
///         2  4712  sleep 1000      SIGKILL  killed by SIGKILL (asked: SIGKILL, host)   5.01s
/// ```
///
/// A command line is cut at 40 characters there, and control characters in it are escaped.
/// [`MemberReport::command_line`] has all of it.
///
/// # Examples
///
/// ```
/// use procession::{Means, SessionReport, Strength};
///
/// # fn main() -> Result<(), procession::Unclean> {
/// # let report = SessionReport::from_parts(7.into(), Strength::Observed(Means::Leader), vec![]);
/// // From `registry.end_session(7)?`.
/// let report = report.into_clean()?;
/// assert!(report.survivors().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it names what is still alive"]
pub struct SessionReport(pub(crate) Arc<ReportParts>);

/// What a report is made of.
#[derive(Clone, Debug)]
pub(crate) struct ReportParts {
    pub(crate) session: SessionId,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) reason: Reason,
    pub(crate) strength: Strength,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) claims: Vec<Survivor>,
    pub(crate) gone_before: u64,
    pub(crate) took: Duration,
    pub(crate) covers_descendants: bool,
    pub(crate) usage: Option<SessionUsage>,
}

impl SessionReport {
    pub(crate) fn new(parts: ReportParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Builds a report, for a host's tests.
    ///
    /// It has no label, no claims and nobody gone before; its reason is [`Reason::Host`]; it took
    /// as long as the slowest of its members, and covers descendants unless its strength is
    /// [`Means::Leader`] or [`Strength::Unconfirmed`].
    pub fn from_parts(session: SessionId, strength: Strength, members: Vec<MemberReport>) -> Self {
        let covers_descendants = match strength {
            Strength::Proven(_) => true,
            Strength::Observed(means) => means != Means::Leader,
            Strength::Unconfirmed { .. } => false,
        };
        let took = members.iter().map(|m| m.took).max().unwrap_or_default();
        Self::new(ReportParts {
            session,
            label: None,
            reason: Reason::Host,
            strength,
            members,
            claims: Vec::new(),
            gone_before: 0,
            took,
            covers_descendants,
            usage: None,
        })
    }

    /// The session's number. It may be in use again.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// The session's label.
    pub fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// For which reason the session was ended.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Whether there is no known survivor.
    ///
    /// This says nothing of descendants where [`covers_descendants`](Self::covers_descendants) is
    /// `false`, and nothing of [`claims`](Self::claims).
    pub fn is_clean(&self) -> bool {
        match self.0.strength {
            Strength::Proven(_) | Strength::Observed(_) => true,
            Strength::Unconfirmed { .. } => false,
        }
    }

    /// Whether the members' descendants were looked for and ended as well.
    ///
    /// `false` under [`Containment::Leader`](crate::Containment::Leader), for what was attached,
    /// and as long as one member is not covered. A group signal reaches those descendants that
    /// stayed in the group all the same; the report does not claim it.
    pub fn covers_descendants(&self) -> bool {
        self.0.covers_descendants
    }

    /// The report again if it is [clean](Self::is_clean), so that `?` can tell.
    ///
    /// # Errors
    ///
    /// [`Unclean`], which carries the report, if something is still alive.
    pub fn into_clean(self) -> Result<Self, Unclean> {
        if self.is_clean() {
            Ok(self)
        } else {
            Err(Unclean(self))
        }
    }

    /// How the end knows that the members are gone. The weakest member's strength is the session's.
    pub fn strength(&self) -> &Strength {
        &self.0.strength
    }

    /// What is still alive, each with the reason as far as it can be seen. Empty if the report is
    /// clean.
    ///
    /// The registry still watches them: an `Exited` event comes when they die, and ending the
    /// session again kills and reports them again.
    pub fn survivors(&self) -> &[Survivor] {
        match &self.0.strength {
            Strength::Unconfirmed { survivors } => survivors,
            Strength::Proven(_) | Strength::Observed(_) => &[],
        }
    }

    /// The members that lived when the end began, and those born while it went on. In the order of
    /// their start.
    pub fn members(&self) -> &[MemberReport] {
        &self.0.members
    }

    /// Marked processes that no second witness confirmed, and those spared: alive, and not ours to
    /// end.
    ///
    /// They have no effect on the strength.
    pub fn claims(&self) -> &[Survivor] {
        &self.0.claims
    }

    /// The members that nobody registered: descendants that were alive when the end began.
    pub fn leftovers(&self) -> impl Iterator<Item = &MemberReport> {
        let members = self.0.members.iter();
        members.filter(|member| member.origin == Origin::Found)
    }

    /// How many registered processes of this life of the session were gone before its end began.
    pub fn gone_before(&self) -> u64 {
        self.0.gone_before
    }

    /// What its processes have used, those that were gone before included. `None` if nobody has told.
    pub fn usage(&self) -> Option<SessionUsage> {
        self.0.usage
    }

    /// How long the end took, from the first request to the confirmation.
    pub fn took(&self) -> Duration {
        self.0.took
    }
}

/// A command line as one short line without control characters.
pub(crate) fn short_command(command_line: &[std::ffi::OsString]) -> String {
    table::command(None, command_line)
}

/// The report's headline without the session that it is about, for where that has been said.
pub(crate) struct Summary<'a>(pub(crate) &'a SessionReport);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_summary(&self.0.0, f)
    }
}

impl fmt::Display for SessionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_report(&self.0, f)
    }
}

/// A report that names survivors, as an error.
///
/// `Display` prints one line:
/// `session 7 is not clean, still alive: process 2, pid 4712, sleep 1000 (in uninterruptible sleep)`.
/// Of more than three survivors it names three and counts the others; the report has them all.
#[derive(Debug)]
pub struct Unclean(SessionReport);

impl Unclean {
    /// The report.
    pub fn into_report(self) -> SessionReport {
        self.0
    }
}

impl fmt::Display for Unclean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 3;

        write!(f, "session {} is not clean", self.0.session())?;
        let survivors = self.0.survivors();
        for (i, survivor) in survivors.iter().take(NAMED).enumerate() {
            let before = if i == 0 { ", still alive: " } else { "; " };
            write!(f, "{before}{survivor}")?;
        }
        match survivors.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Unclean {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ProcessId;
    use crate::stop::Rung;

    fn survivor(pid: u32) -> Survivor {
        let command_line = vec!["sleep".into(), "1000".into()];
        Survivor::from_parts(ProcessId(1), pid, command_line, SurvivalCause::NotPermitted)
    }

    fn unconfirmed(pids: std::ops::Range<u32>) -> SessionReport {
        let survivors = pids.map(survivor).collect();
        SessionReport::from_parts(SessionId(7), Strength::Unconfirmed { survivors }, vec![])
    }

    #[test]
    fn a_clean_report_stays_one_and_an_unclean_one_comes_back_out_of_the_error() {
        let clean =
            SessionReport::from_parts(SessionId(7), Strength::Observed(Means::Group), vec![]);
        assert!(clean.is_clean() && clean.covers_descendants() && clean.survivors().is_empty());
        assert!(clean.into_clean().is_ok());

        let unclean = unconfirmed(10..12);
        assert!(!unclean.is_clean() && !unclean.covers_descendants());
        let error = unclean.into_clean().unwrap_err();
        assert_eq!(error.into_report().survivors().len(), 2);
    }

    /// Nothing is known to live, and nothing is known to be dead either: that is not clean.
    #[test]
    fn unconfirmed_without_a_named_survivor_is_not_clean() {
        let report = unconfirmed(0..0);
        assert!(!report.is_clean());
        assert_eq!(
            report.into_clean().unwrap_err().to_string(),
            "session 7 is not clean"
        );
    }

    #[test]
    fn an_unclean_report_is_one_line_however_many_survive() {
        let line = |n: u32| {
            unconfirmed(10..10 + n)
                .into_clean()
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            line(1),
            "session 7 is not clean, still alive: process 1, pid 10, sleep 1000 (not permitted to signal it)"
        );
        assert!(
            line(100).ends_with("pid 12, sleep 1000 (not permitted to signal it); and 97 more")
        );
    }

    #[test]
    fn leftovers_are_the_members_that_nobody_registered() {
        let member = |id, origin| {
            let how = How::At(Rung::Kill);
            MemberReport::from_parts(ProcessId(id), 100, origin, how, None)
        };
        let members = vec![
            member(1, Origin::Spawned),
            member(2, Origin::Found),
            member(3, Origin::Attached),
        ];
        let report =
            SessionReport::from_parts(SessionId(7), Strength::Observed(Means::Group), members);
        let left: Vec<_> = report.leftovers().map(MemberReport::process).collect();
        assert_eq!(left, [ProcessId(2)]);
    }

    #[test]
    fn a_clone_is_the_same_report() {
        let report = unconfirmed(0..1);
        assert!(Arc::ptr_eq(&report.0, &report.clone().0));
    }
}

//! [`ReaperReport`]: what one pass of the reaper did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::table::Took;
use super::{SessionReport, SweepReport};
use crate::error::Error;

/// What one pass of the [reaper](crate::Reaper) did.
///
/// It is cheap to clone, and everyone who hears of the same pass gets the same one.
///
/// `Display` prints a headline, and below it the report of each session and of the sweep:
///
/// ```text
/// pass 3 of the reaper: 2 sessions ended, of 5, 12.3ms
/// ```
#[derive(Clone, Debug)]
pub struct ReaperReport(Arc<ReaperParts>);

/// What a report is made of.
#[derive(Debug)]
pub(crate) struct ReaperParts {
    /// Counted from 1.
    pub(crate) pass: u64,
    /// How many sessions lived when the pass began.
    pub(crate) candidates: usize,
    pub(crate) skipped: Option<SkipReason>,
    pub(crate) sessions: Vec<SessionReport>,
    pub(crate) swept: Option<SweepReport>,
    /// Why the sweep could not be made.
    pub(crate) failed: Option<Error>,
    pub(crate) took: Duration,
}

/// Why a pass of the reaper ended no session.
///
/// `Display` prints it as the second half of a sentence: `nothing is known of which sessions are active`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// `active` returned `None`.
    NotKnown,
    /// `active` panicked.
    Panicked,
    /// `active` has not returned since an earlier pass asked it. What it answers in the end is taken for that pass.
    Blocked,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotKnown => "nothing is known of which sessions are active",
            Self::Panicked => "the callback panicked",
            Self::Blocked => "the callback has not returned since an earlier pass",
        })
    }
}

impl ReaperReport {
    pub(crate) fn new(parts: ReaperParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Builds a report, for a host's tests: of the first pass, in no time, over these sessions alone.
    pub fn from_parts(
        skipped: Option<SkipReason>,
        sessions: Vec<SessionReport>,
        swept: Option<SweepReport>,
    ) -> Self {
        Self::new(ReaperParts {
            pass: 1,
            candidates: sessions.len(),
            skipped,
            sessions,
            swept,
            failed: None,
            took: Duration::ZERO,
        })
    }

    /// Which pass of its reaper it was, counted from 1.
    pub fn pass(&self) -> u64 {
        self.0.pass
    }

    /// How many sessions the pass ended, each of them confirmed: a session with survivors is not counted.
    pub fn ended(&self) -> usize {
        let clean = self.0.sessions.iter().filter(|report| report.is_clean());
        clean.count()
    }

    /// Whether no session was looked at, since it is not known which are active. The sweep, if the reaper has one, was
    /// made all the same.
    pub fn skipped(&self) -> bool {
        self.0.skipped.is_some()
    }

    /// Why it was skipped.
    pub fn skip_reason(&self) -> Option<SkipReason> {
        self.0.skipped
    }

    /// The reports of the sessions that were not active, in the order of their numbers. Where somebody else was ending one
    /// already, the reason that stands in its report is theirs.
    pub fn sessions(&self) -> &[SessionReport] {
        &self.0.sessions
    }

    /// What the sweep did, if the reaper has a rule.
    pub fn swept(&self) -> Option<&SweepReport> {
        self.0.swept.as_ref()
    }

    /// Why there was no sweep although the reaper has a rule.
    pub fn sweep_error(&self) -> Option<&Error> {
        self.0.failed.as_ref()
    }

    /// How long the pass took, with the callback and the ends.
    pub fn took(&self) -> Duration {
        self.0.took
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_news(&self) -> bool {
        let swept = |swept: &SweepReport| swept.found() > 0;
        !self.0.sessions.is_empty() || self.0.swept.as_ref().is_some_and(swept)
    }
}

impl fmt::Display for ReaperReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ReaperSummary(self).fmt(f)?;
        for session in &self.0.sessions {
            write!(f, "\n{session}")?;
        }
        match &self.0.swept {
            Some(swept) if swept.is_news() => write!(f, "\n{swept}"),
            Some(_) | None => Ok(()),
        }
    }
}

/// The headline alone.
pub(crate) struct ReaperSummary<'a>(pub(crate) &'a ReaperReport);

impl fmt::Display for ReaperSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0.0;
        write!(f, "pass {} of the reaper: ", parts.pass)?;
        let unclean = parts.sessions.len() - self.0.ended();
        match (parts.skipped, self.0.ended()) {
            (Some(reason), _) => write!(f, "skipped ({reason})")?,
            (None, 1) => write!(f, "1 session ended, of {}", parts.candidates)?,
            (None, ended) => write!(f, "{ended} sessions ended, of {}", parts.candidates)?,
        }
        if unclean > 0 {
            write!(f, ", {unclean} NOT CLEAN")?;
        }
        match (&parts.swept, &parts.failed) {
            (Some(swept), _) => {
                write!(f, ", {} of {} orphans ended", swept.ended(), swept.found())?
            }
            (None, Some(error)) => write!(f, ", the sweep failed ({error})")?,
            (None, None) => {}
        }
        write!(f, ", {}", Took(parts.took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Means, Strength};

    fn report(strength: Strength) -> SessionReport {
        SessionReport::from_parts(7.into(), strength, vec![])
    }

    #[test]
    fn what_is_not_confirmed_is_not_counted() {
        let clean = report(Strength::Observed(Means::Group));
        let survivors = Vec::new();
        let unclean = report(Strength::Unconfirmed { survivors });
        let pass = ReaperReport::from_parts(None, vec![clean, unclean], None);
        assert_eq!((pass.ended(), pass.sessions().len()), (1, 2));
        assert!(!pass.skipped() && pass.is_news());
        let text = pass.to_string();
        assert!(
            text.starts_with(
                "pass 1 of the reaper: 1 session ended, of 2, 1 NOT CLEAN, 0s\nsession 7: clean"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_skipped_pass_says_why() {
        let pass = ReaperReport::from_parts(Some(SkipReason::Panicked), vec![], None);
        assert!(pass.skipped() && !pass.is_news());
        assert_eq!(
            pass.to_string(),
            "pass 1 of the reaper: skipped (the callback panicked), 0s"
        );
    }
}

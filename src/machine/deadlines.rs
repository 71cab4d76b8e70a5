//! The deadlines that are set, in the order in which they come.

use std::collections::BTreeSet;
use std::time::Instant;

use super::ids::IdMap;
use crate::session::{Life, ProcessId};

/// What a deadline is for. At most one is set for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// The next rung of a session's end, or the end of its confirmation.
    End(Life),
    /// The next rung of one process's stop.
    Stop(ProcessId),
    /// Time to look at a process again.
    Look(ProcessId),
    /// Time for the next pass, or to wait no longer for the one that is under way.
    Pass,
    /// A session is as old as it may get.
    TimeLimit(Life),
    /// A session was left alone for as long as it may be.
    IdleLimit(Life),
    /// A process is as old as it may get.
    ProcessLimit(ProcessId),
}

/// The set of deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    ordered: BTreeSet<(Instant, Wake)>,
    at: IdMap<Wake, Instant>,
}

impl Deadlines {
    /// Sets, moves or (`None`) clears the deadline for `wake`.
    pub(crate) fn set(&mut self, wake: Wake, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.at.insert(wake, at),
            // Most processes never have a deadline: an empty map answers without hashing.
            None if self.at.is_empty() => None,
            None => self.at.remove(&wake),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.ordered.remove(&(before, wake));
        }
        if let Some(at) = at {
            self.ordered.insert((at, wake));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.ordered.first().map(|&(at, _)| at)
    }

    /// Takes the earliest deadline, if it has been reached.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Wake> {
        let &(at, wake) = self.ordered.first()?;
        if at > now {
            return None;
        }
        self.ordered.pop_first();
        self.at.remove(&wake);
        Some(wake)
    }

    /// When `wake` is due.
    pub(crate) fn of(&self, wake: Wake) -> Option<Instant> {
        self.at.get(&wake).copied()
    }

    /// All that is set.
    #[cfg(any(test, fuzzing, debug_assertions))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Wake, Instant)> + '_ {
        self.ordered.iter().map(|&(at, wake)| (wake, at))
    }

    #[cfg(any(test, fuzzing, debug_assertions))]
    /// Whether both views of the set agree.
    pub(crate) fn is_consistent(&self) -> bool {
        self.ordered.len() == self.at.len()
            && self
                .ordered
                .iter()
                .all(|(at, wake)| self.at.get(wake) == Some(at))
    }
}

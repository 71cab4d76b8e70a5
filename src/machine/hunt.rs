//! What a pass is told to look for, and what it has seen.

use std::collections::BTreeMap;

use super::member::{Reach, Scope};
use crate::earlier::Earlier;
use crate::event::Reason;
use crate::exit::SessionUsage;
use crate::report::Survivor;
use crate::session::{Life, ProcessId, SessionId};

/// What is to be searched for in one pass: the descendants of one life.
#[derive(Clone, Debug)]
pub(crate) struct Hunt {
    pub(crate) life: Life,
    pub(crate) session: SessionId,
    /// The lives whose marks count: this one, and those that it has taken over.
    pub(crate) marks: Vec<Life>,
    /// Earlier registries whose processes belong to it.
    pub(crate) earlier: Vec<Earlier>,
    /// When the first of its processes was started, in clock ticks since boot: no descendant is older.
    pub(crate) since: u64,
    /// Some of its processes were marked in their limits a moment after their start, or not at all.
    pub(crate) marked_late: bool,
    /// It is the first pass of this end.
    pub(crate) survey: bool,
    /// Where it is looked.
    pub(crate) scope: Scope,
    /// What can be claimed of all its registered processes.
    pub(crate) reach: Reach,
    /// It is being ended, and not only looked at.
    pub(crate) ending: bool,
    /// No other session is there to which an orphan could belong that nothing names.
    pub(crate) alone: bool,
    /// What is found is sent SIGKILL at once, on behalf of this.
    pub(crate) kill: Option<Reason>,
    /// Those whose groups are the session's, exited ones among them.
    pub(crate) leaders: Vec<ProcessId>,
    /// Those whose children belong to it.
    pub(crate) parents: Vec<ProcessId>,
    /// All that are known and have not been seen to exit.
    pub(crate) members: Vec<ProcessId>,
}

/// What came of a pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) fate: Fate,
    /// No process vanished between being listed and being looked at.
    pub(crate) calm: bool,
    /// A pass in which nothing happened is repeated at once, and all are told together. One during which nobody was born
    /// counts as [`AT_ONE_MOMENT`].
    pub(crate) rounds: u8,
    pub(crate) seen: BTreeMap<Life, Seen>,
    /// This program has no child at all.
    pub(crate) childless: bool,
}

/// So many rounds stand for one picture of a single moment, in which nobody can be missing: as many as are wanted where a
/// process can be born behind each of them.
pub(crate) const AT_ONE_MOMENT: u8 = 2;

/// How far a pass came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Over everything.
    Complete,
    /// Not to its end in time.
    #[default]
    Late,
    /// Not to its end: no descriptor, no thread, no `/proc`.
    Refused,
}

/// What a pass has seen of one life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Somebody lives, or could not be looked at.
    pub(crate) living: bool,
    /// Somebody is dead who was not dead in the pass before.
    pub(crate) freshly_dead: bool,
    /// Somebody is there, alive or freshly dead, known or not.
    pub(crate) marked: bool,
    /// Marked, alive, and not believed.
    pub(crate) claims: Vec<Survivor>,
    /// What its cgroup is like, if it has one.
    pub(crate) enclosure: Option<Enclosure>,
    pub(crate) usage: Option<SessionUsage>,
    /// An orphan has come to this program that nothing names, and may belong to this one or to another.
    pub(crate) unattributed: bool,
    /// So many of the rounds began when a member lived that was known already: it may have started another one behind them.
    pub(crate) inhabited: u8,
}

/// What a pass has seen of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enclosure {
    /// Somebody lives in it.
    Populated,
    /// Nobody does, and it could not be removed.
    Empty,
    /// Nobody does, and nobody can enter it any more.
    Removed,
}

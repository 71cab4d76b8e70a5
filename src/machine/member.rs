//! A process of a session.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Target;
use super::ids::ReplyId;
use super::ladder::Ladder;
use crate::containment::Containment;
use crate::event::{Origin, Reason};
use crate::report::SurvivalCause;
use crate::session::{Life, SessionId};
use crate::signal::Signal;
use crate::stop::Rung;

/// What is known of a process from its birth and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) pid: u32,
    /// What tells this process from another that had the same pid, where the kernel has such a thing.
    pub(crate) inode: Option<u64>,
    pub(crate) relation: Relation,
    /// Whether its group is its own, and so is ended with it.
    pub(crate) leads_group: bool,
    pub(crate) origin: Origin,
    pub(crate) containment: Containment,
    /// What a report may claim of it and its descendants.
    pub(crate) reach: Reach,
    /// It is in the group of another member: what is sent to that reaches it.
    pub(crate) in_a_members_group: bool,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) command_line: Arc<[OsString]>,
}

/// How far what is known of a process reaches to its descendants, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reach {
    /// It alone.
    Leader,
    /// Its group and the mark, which it may have got a moment after its start.
    Group,
    /// Its group and the mark, which it has had from its birth.
    MarkAndGroup,
    /// Its orphans come to this program.
    Subreaper,
    /// It is in the cgroup of its life, and may be able to leave it.
    Cgroup,
    /// It was born in the cgroup of its life, and cannot leave it.
    Contained,
}

/// Where descendants are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Among all processes.
    pub(crate) everywhere: bool,
    /// In the cgroup of the life.
    pub(crate) enclosed: bool,
}

impl Scope {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.everywhere |= other.everywhere;
        self.enclosed |= other.enclosed;
    }
}

impl Facts {
    /// See [`Member::is_searched`].
    pub(crate) fn is_searched(&self) -> bool {
        self.leads_group || matches!(self.origin, Origin::Found | Origin::Recovered)
    }

    /// Where it is looked for what it has started, if that is the session's business.
    pub(crate) fn scope(&self) -> Scope {
        if !self.leads_group {
            return Scope::default();
        }
        Scope {
            everywhere: self.reach != Reach::Contained,
            enclosed: self.reach >= Reach::Cgroup,
        }
    }
}

/// Whose child a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Relation {
    /// Ours, and given to us: we reap it.
    Child,
    /// Not ours, or not given to us: we never reap it.
    Stranger,
}

/// A process that has not been seen to exit.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) life: Life,
    pub(crate) session: SessionId,
    pub(crate) facts: Arc<Facts>,
    pub(crate) born: Instant,
    pub(crate) sight: Sight,
    /// The last rung that was taken for it.
    pub(crate) rung: Option<Rung>,
    /// The last signal from us was refused: it runs as somebody else.
    pub(crate) denied: bool,
    /// Set from the end that it outlived until the next one.
    pub(crate) survived: Option<SurvivalCause>,
    /// Its own stop, if there is one.
    pub(crate) stop: Option<Box<Stop>>,
}

/// What the last look showed, as far as it is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    Alive,
    /// Readable, not waitable; looked at again after `pause`, which doubles.
    Held {
        pause: Duration,
    },
    /// Dead; how it ended is waited for until the deadline that is set for it.
    Dead,
}

/// A stop of one process.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) ladder: Ladder,
    pub(crate) began: Instant,
    pub(crate) reason: Reason,
    pub(crate) replies: Vec<ReplyId>,
    /// The time to confirm is over, and its cause of survival is being looked for.
    pub(crate) inspecting: bool,
}

impl Member {
    /// Whom a signal for the session is for, as far as this member goes.
    pub(crate) fn target(&self, signal: Signal) -> Target {
        if self.facts.leads_group {
            Target::Group
        } else if self.facts.in_a_members_group && signal != Signal::KILL {
            Target::Reached
        } else {
            Target::Process
        }
    }

    /// Whether descendants of this one are the session's business: they are ended and confirmed with it.
    pub(crate) fn is_searched(&self) -> bool {
        self.facts.is_searched()
    }
}

//! One life of a session number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ids::ReplyId;
use super::ladder::Ladder;
use crate::event::Reason;
use crate::report::{MemberReport, SurvivalCause};
use crate::session::{ProcessId, SessionId};
use crate::stop::StopPolicy;

/// A life, from its first process (or its end, if that was earlier) until nothing of it is left.
#[derive(Clone, Debug)]
pub(crate) struct LifeState {
    pub(crate) session: SessionId,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) began: Instant,
    /// How it is ended where nothing else is said.
    pub(crate) policy: Option<StopPolicy>,
    pub(crate) idle_limit: Option<Duration>,
    /// When it was last in use.
    pub(crate) touched: Instant,
    /// Who waits for it to have no processes.
    pub(crate) waiting: Vec<ReplyId>,
    pub(crate) members: BTreeSet<ProcessId>,
    pub(crate) remnants: Vec<Remnant>,
    /// How many exited before the end began.
    pub(crate) gone_before: u64,
    pub(crate) end: Option<End>,
    /// Its end is over and left survivors.
    pub(crate) lingers: bool,
    /// Spawns that were under way when the gate was closed and have not come back.
    pub(crate) tokens: BTreeSet<ProcessId>,
}

/// The group of a leader that has exited. Its pin is kept, so that the group can still be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remnant {
    pub(crate) leader: ProcessId,
    /// The leader's zombie is gone; only a kernel that can signal a group by pidfd reaches it then.
    pub(crate) reaped: bool,
}

/// The end of a life, under way.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) ladder: Ladder,
    pub(crate) reason: Reason,
    pub(crate) began: Instant,
    pub(crate) replies: Vec<ReplyId>,
    /// The members that have gone since it began.
    pub(crate) gone: Vec<MemberReport>,
    pub(crate) inspection: Option<Inspection>,
}

/// The last step of an end that could not be confirmed: why is each of them still alive?
#[derive(Clone, Debug, Default)]
pub(crate) struct Inspection {
    /// Whose answer is still missing.
    pub(crate) awaited: BTreeSet<ProcessId>,
    pub(crate) causes: BTreeMap<ProcessId, SurvivalCause>,
    /// After this it is not waited for any longer.
    pub(crate) until: Option<Instant>,
}

impl LifeState {
    pub(crate) fn new(session: SessionId, began: Instant) -> Self {
        Self {
            session,
            label: None,
            began,
            policy: None,
            idle_limit: None,
            touched: began,
            waiting: Vec::new(),
            members: BTreeSet::new(),
            remnants: Vec::new(),
            gone_before: 0,
            end: None,
            lingers: false,
            tokens: BTreeSet::new(),
        }
    }

    /// Whether nothing is left that an end would wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.tokens.is_empty()
    }
}

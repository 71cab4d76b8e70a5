//! One life of a session number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ids::ReplyId;
use super::ladder::Ladder;
use super::member::{Facts, Reach, Scope};
use super::search::{Established, Search};
use super::usage::Used;
use crate::earlier::Earlier;
use crate::event::Reason;
use crate::report::{MemberReport, SurvivalCause};
use crate::session::{Life, ProcessId, SessionId};
use crate::stop::StopPolicy;

/// A life, from its first process (or its end, if that was earlier) until nothing of it is left.
#[derive(Clone, Debug)]
pub(crate) struct LifeState {
    pub(crate) session: SessionId,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) began: Instant,
    /// When the first of its processes was started, in clock ticks since boot.
    pub(crate) since: Option<u64>,
    /// What can be claimed of all its registered processes, those that are gone included: the weakest counts.
    pub(crate) reach: Option<Reach>,
    /// Where it is looked for what its processes have started, as far as that is its business.
    pub(crate) scope: Scope,
    /// What its processes have used, as far as their exits have told.
    pub(crate) used: Used,
    /// Earlier lives of the number whose survivors it has taken over.
    pub(crate) taken_over: Vec<Life>,
    /// Earlier registries whose processes belong to it.
    pub(crate) earlier: Vec<Earlier>,
    /// Its end could not establish that nobody is left.
    pub(crate) unsettled: bool,
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
    /// For what its members have started; none where that is not the session's business.
    pub(crate) search: Option<Search>,
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

impl End {
    /// What is known of those that nobody registered. Where they are nobody's business, that they are gone.
    pub(super) fn established(&self) -> Established {
        self.search
            .as_ref()
            .map_or(Established::Gone, Search::established)
    }
}

impl LifeState {
    pub(crate) fn new(session: SessionId, began: Instant) -> Self {
        Self {
            session,
            label: None,
            began,
            since: None,
            reach: None,
            scope: Scope::default(),
            used: Used::default(),
            taken_over: Vec::new(),
            earlier: Vec::new(),
            unsettled: false,
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

    /// Whether no process is known and none on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.tokens.is_empty()
    }

    /// One that was started, adopted or attached has to do with it: what that starts is its business from now on, as far as that
    /// goes.
    pub(super) fn answer_for(&mut self, facts: &Facts, since: Option<u64>) {
        self.since = self.since.into_iter().chain(since).min();
        self.reach = self.reach.into_iter().chain([facts.reach]).min();
        self.scope.join(facts.scope());
        let scope = self.scope;
        if let Some(end) = self.end.as_mut().filter(|_| facts.leads_group) {
            // It is ending, and had perhaps nobody until now whose descendants are its business.
            let search = end
                .search
                .get_or_insert_with(|| Search::without_survey(scope));
            search.scope = scope;
        }
    }

    /// Whether descendants are looked for when it ends.
    pub(crate) fn is_searched(&self) -> bool {
        !self.scope.is_empty()
    }
}

//! Whether a process that a rule matched is somebody's: whose mark it carries or in whose cgroup it is, and whether that owner
//! lives.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::earlier::Heir;
use crate::limit_mark;
use crate::mark::{self, Mark, Token};
use crate::reactor::Shared;
use crate::recovery::{self, OwnerFate};
use crate::report::LeftAloneReason;
use crate::session::Life;
use crate::sys::{self, Limits, NamedLeaf, ProcessTable};
use crate::system_process::SystemProcess;

/// What marks are compared with.
#[derive(Debug)]
pub(super) struct Owners {
    shared: Arc<Shared>,
    /// None where it is not known who we are.
    owners: Option<Mutex<recovery::Owners>>,
    /// The marks that this program carries itself: whoever has no others is no more theirs than we are.
    inherited: HashSet<Token>,
    own_limit: Option<crate::limit_mark::Pair>,
    /// The registries in whose cgroups this program is: likewise.
    above: HashSet<u64>,
    /// The sessions that have taken over what dead owners left.
    heirs: Vec<Heir>,
}

impl Owners {
    pub(super) fn new(shared: &Arc<Shared>, table: &ProcessTable, heirs: Vec<Heir>) -> Self {
        let own = match &shared.plan.owner {
            Some(owner) => Some(owner.identity),
            None => sys::own_identity(&shared.facilities).ok(),
        };
        let inherited = std::env::var_os(mark::VARIABLE)
            .map(|value| Mark::parse(value.as_bytes()))
            .unwrap_or_default();
        Self {
            shared: Arc::clone(shared),
            owners: own.map(|own| Mutex::new(recovery::Owners::new(own, shared.facilities))),
            inherited: inherited.tokens().cloned().collect(),
            own_limit: sys::own_limit().ok(),
            above: table
                .leaves(sys::current_pid())
                .into_iter()
                .map(|leaf| leaf.name.registry)
                .collect(),
            heirs,
        }
    }

    /// Why a process is to be left alone, if somebody lives whose it is, or may live. It is pinned.
    pub(super) fn claim(
        &self,
        table: &ProcessTable,
        process: &SystemProcess,
    ) -> Option<LeftAloneReason> {
        let value = process.env(mark::VARIABLE);
        let mark = value.map(|value| Mark::parse(value.as_bytes()));
        let mark = mark.unwrap_or_default();
        let foreign = |token: &&Token| !self.inherited.contains(*token);
        let tokens: Vec<&Token> = mark.tokens().filter(foreign).collect();
        // The innermost first: that is the session that it was started in.
        let named = tokens.iter().rev().find_map(|token| self.alive(token));
        named
            .or_else(|| self.cgroup_claims(table, process.pid()))
            .or_else(|| self.limit_claims(table, process.pid(), tokens.is_empty()))
            .or_else(|| self.may_be_a_stray(process, tokens.is_empty()))
    }

    /// What the cgroup that it is in says against an end, whatever it has done to its marks.
    fn cgroup_claims(&self, table: &ProcessTable, pid: u32) -> Option<LeftAloneReason> {
        let leaves = table.leaves(pid);
        let foreign = |leaf: &&NamedLeaf| !self.above.contains(&leaf.name.registry);
        let mut leaves = leaves.iter().filter(foreign).rev();
        leaves.find_map(|NamedLeaf { name, .. }| {
            let heir = self.shared.leaves.heir_of(name);
            if heir.is_some() || name.registry == self.shared.plan.number {
                let of_it = heir.unwrap_or(name.life);
                let mut lives = self.shared.gate.lives().into_iter();
                let lives = lives.find(|&(_, life)| life == of_it);
                return lives.map(|(session, _)| LeftAloneReason::InSession(session));
            }
            self.fate_claims(name.pid, |owners| owners.of_leaf(name))
        })
    }

    /// An orphan that has come to this program, and that nothing names, may be of any session that lives.
    fn may_be_a_stray(&self, process: &SystemProcess, unnamed: bool) -> Option<LeftAloneReason> {
        let shared = &self.shared;
        let is_ours = shared.plan.subreaper.is_ok() && process.parent() == Some(shared.owner);
        let lives = shared.gate.lives().into_iter();
        let mut lives = lives.filter(|(_, life)| !shared.own_lives.contains(*life));
        (unnamed && is_ours && lives.next().is_some()).then_some(LeftAloneReason::MayBeInSession)
    }

    /// What the fate of an owner says against an end.
    fn fate_claims(
        &self,
        pid: u32,
        fate: impl FnOnce(&mut recovery::Owners) -> OwnerFate,
    ) -> Option<LeftAloneReason> {
        let Some(owners) = &self.owners else {
            return Some(LeftAloneReason::OwnerNotKnown);
        };
        let mut owners = owners.lock().unwrap_or_else(PoisonError::into_inner);
        match fate(&mut owners) {
            OwnerFate::Alive => Some(LeftAloneReason::OwnerLives { pid }),
            OwnerFate::Dead => None,
            OwnerFate::Doubtful(_) => Some(LeftAloneReason::OwnerNotKnown),
        }
    }

    /// What a token says against an end.
    fn alive(&self, token: &Token) -> Option<LeftAloneReason> {
        if token.registry == self.shared.plan.number {
            // Life 0 is the mark of what is under no containment: of whatever lives under the number.
            let of_it = |life: Life| token.life == Life(0) || token.life == life;
            let mut lives = self.shared.gate.lives().into_iter();
            let lives = lives.any(|(session, life)| session == token.session && of_it(life));
            return lives.then_some(LeftAloneReason::InSession(token.session));
        }
        let has_it = |heir: &&Heir| heir.has(token.registry, token.life);
        if let Some(heir) = self.heirs.iter().find(has_it) {
            return Some(LeftAloneReason::InSession(heir.session));
        }
        self.fate_claims(token.pid, |owners| owners.of_token(token))
    }

    /// What the limit says against an end. On its own, without a token that names a dead owner, it never says that the owner
    /// is dead.
    fn limit_claims(
        &self,
        table: &ProcessTable,
        pid: u32,
        unnamed: bool,
    ) -> Option<LeftAloneReason> {
        let limits = match table.limits(pid) {
            Limits::Refused => table.limits_by_file(pid),
            limits @ (Limits::Read(_) | Limits::Gone) => limits,
        };
        let Limits::Read(limits) = limits else {
            return None;
        };
        if let Some(own) = self.shared.plan.limit_mark {
            let carried = own.read(limits);
            let lives = self.shared.gate.lives();
            let of = lives.iter().find(|(_, life)| own.value(*life) == carried);
            if let Some(&(session, _)) = of {
                return Some(LeftAloneReason::InSession(session));
            }
            if own.is_of_this_registry(carried) {
                // Of a session of ours that is over.
                return None;
            }
        }
        if let Some(heir) = self.heirs.iter().find(|heir| heir.has_marked(limits)) {
            return Some(LeftAloneReason::InSession(heir.session));
        }
        let marked = self
            .own_limit
            .is_some_and(|own| limit_mark::marks(limits, own));
        (unnamed && marked).then_some(LeftAloneReason::OwnerNotKnown)
    }
}

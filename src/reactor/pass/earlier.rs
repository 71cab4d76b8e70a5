//! Processes of an earlier run, in a pass.
//!
//! For them more care is taken than for our own. What a variable says is final: it names all registries that a process
//! descends from, and if one that is further in lives, or may, the process is that one's.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;

use super::Scene;
use super::round::Round;
use crate::earlier::{Earlier, belongs_to};
use crate::limit_mark::Pair;
use crate::machine::{Says, Sighting, Verdict};
use crate::mark::{self, Mark, Token};
use crate::reactor::shared::Shared;
use crate::recovery::{OwnerFate, Owners};
use crate::sys;

/// What it takes to judge them.
#[derive(Debug)]
pub(super) struct Testimony {
    owners: RefCell<Owners>,
    /// What this process has inherited itself says nothing: what it starts has it too.
    own_limit: Option<Pair>,
}

impl Testimony {
    /// `None` where nobody asks, or `/proc` does not say who we are: then nobody is taken for one of them.
    pub(super) fn of(scene: &Scene, shared: &Shared) -> Option<Self> {
        if scene.prey.iter().all(|prey| prey.hunt.earlier.is_empty()) {
            return None;
        }
        let own = sys::own_identity(&shared.facilities).ok()?;
        Some(Self {
            owners: RefCell::new(Owners::new(own, shared.facilities)),
            own_limit: sys::own_limit().ok(),
        })
    }
}

impl Round<'_> {
    /// Whose limit mark it is, among those of earlier runs.
    pub(super) fn marked_earlier(&self, limit: Pair) -> Option<usize> {
        let testimony = self.testimony.as_ref()?;
        if testimony.own_limit == Some(limit) {
            return None;
        }
        self.scene.prey.iter().position(|prey| {
            let named = |earlier: &Earlier| earlier.named_by_limit(limit).is_some();
            prey.hunt.earlier.iter().any(named)
        })
    }

    /// Whether these tokens, outermost first, name an earlier registry, and nobody who may live inside of it.
    pub(super) fn names_earlier(&self, tokens: &[Token], prey: usize) -> bool {
        let Some(testimony) = &self.testimony else {
            return false;
        };
        let earlier = &self.scene.prey[prey].hunt.earlier;
        let meant = |token: &Token| earlier.iter().any(|one| one.is_named_by(token));
        let Some(at) = tokens.iter().rposition(meant) else {
            return false;
        };
        let mut owners = testimony.owners.borrow_mut();
        tokens[at + 1..].iter().all(|inner| {
            inner.registry != self.shared.plan.number && owners.of_token(inner) == OwnerFate::Dead
        })
    }

    /// What somebody is taken for who may be of an earlier run.
    pub(super) fn judge_earlier(&self, pid: u32, prey: usize, sighting: Sighting) -> Verdict {
        match self.says(pid, prey) {
            Says::Ours => Verdict::Member,
            Says::Others => Verdict::Stranger,
            Says::NotYet => Verdict::AskVariable,
            Says::Nothing | Says::Unread => Sighting {
                variable: Says::Nothing,
                ..sighting
            }
            .judge(),
        }
    }

    fn says(&self, pid: u32, prey: usize) -> Says {
        if self.memory.is_hanging(pid) {
            return Says::Nothing;
        }
        let value = match self.variable(pid) {
            Ok(value) => value,
            Err(says) => return says,
        };
        let tokens: Vec<Token> = Mark::parse(value.as_bytes()).tokens().cloned().collect();
        if tokens.is_empty() {
            Says::Nothing
        } else if self.names_earlier(&tokens, prey) {
            Says::Ours
        } else {
            Says::Others
        }
    }

    /// The variable, or what it says that there is none.
    pub(super) fn variable(&self, pid: u32) -> Result<std::ffi::OsString, Says> {
        let read = || self.table.variable(pid, mark::VARIABLE);
        match self.memory.while_reading(pid, read) {
            Ok(Some(value)) => Ok(value),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Says::NotYet),
            // EMFILE: the descriptor that another file of the process was read by a moment before is not there any more.
            Ok(None) | Err(_) => Err(Says::Nothing),
        }
    }

    /// Whether somebody was given up, or belongs to one that was.
    pub(super) fn belongs_to_detached(&self, pid: u32) -> bool {
        let detached = &self.scene.detached;
        !detached.is_empty() && belongs_to(self.table, pid, detached)
    }
}

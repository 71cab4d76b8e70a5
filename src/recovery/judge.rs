//! Whose a process is, by what is known of it: its variable, its cgroup, its limit, in this order.

use std::io;

use super::owner::OwnerFate;
use super::scan::{Estate, Heirloom, Origin, Scan, earlier};
use crate::earlier::{Earlier, belongs_to};
use crate::limit_mark::{LimitMark, Pair};
use crate::machine::{Says, Sighting, Verdict};
use crate::mark::Token;
use crate::report::{Evidence, WhyLeftAlone};
use crate::session::{Life, SessionId};
use crate::sys::{self, Described, LeafName, NamedLeaf};

/// What a process is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Judged {
    /// It was left by an earlier run of ours.
    Left(Origin, Evidence),
    /// It may have been, and nothing is to be done about it.
    Spared(WhyLeftAlone),
    NotOurs,
    /// Nothing has been said.
    Open,
}

/// Who has a process, as one token or the name of one cgroup says.
#[derive(Clone, Copy, Debug)]
struct Claimant {
    fate: OwnerFate,
    pid: u32,
    /// It has our name.
    ours: bool,
    origin: Origin,
    evidence: Evidence,
}

impl Scan<'_> {
    /// By the variable: from the registry that is furthest in outwards, as long as they are dead.
    pub(super) fn judge_named(&mut self, tokens: &[Token], pid: u32) -> Judged {
        for (at, token) in tokens.iter().enumerate().rev() {
            let claimant = Claimant {
                fate: self.owners.of_token(token),
                pid: token.pid,
                ours: self.is_our_name(&token.owner_name),
                origin: Origin {
                    since: token.start,
                    registry: token.registry,
                    life: token.life,
                    session: token.session,
                },
                evidence: Evidence::Variable,
            };
            let ours = |outer: &Token| self.is_our_name(&outer.owner_name);
            let outer = tokens[..at].iter().any(ours);
            let judged = self.judge(claimant, outer, pid);
            if judged != Judged::Open {
                return judged;
            }
        }
        Judged::Open
    }

    /// By the cgroup that it is in, which it cannot have taken off: likewise. Those of registries that its variable names
    /// are judged by that.
    pub(super) fn judge_housed(
        &mut self,
        leaves: &[NamedLeaf],
        (tokens, limit): (&[Token], Option<Pair>),
        pid: u32,
    ) -> Judged {
        let is_named = |leaf: &LeafName| tokens.iter().any(|t| t.registry == leaf.registry);
        for (at, NamedLeaf { name: leaf, .. }) in leaves.iter().enumerate().rev() {
            if is_named(leaf) {
                continue;
            }
            if self.shared.leaves.heir_of(leaf).is_some() {
                return Judged::NotOurs;
            }
            let claimant = Claimant {
                fate: self.owners.of_leaf(leaf),
                pid: leaf.pid,
                ours: self.is_our_leaf(leaf),
                origin: Origin {
                    since: leaf.start_ticks,
                    registry: leaf.registry,
                    life: leaf.life,
                    session: leaf.session,
                },
                evidence: Evidence::Cgroup,
            };
            let ours = |outer: &NamedLeaf| self.is_our_leaf(&outer.name);
            let outer = leaves[..at].iter().any(ours);
            match self.judge(claimant, outer, pid) {
                Judged::Open => {}
                // One that is further in has marked it by its limit, perhaps.
                Judged::Spared(_) | Judged::NotOurs
                    if limit.is_some_and(|limit| LimitMark::is_inner(limit.soft)) =>
                {
                    return Judged::Open;
                }
                judged @ (Judged::Left(..) | Judged::Spared(_) | Judged::NotOurs) => return judged,
            }
        }
        Judged::Open
    }

    /// What one of them makes of it; `Open` if the next one outwards is to be asked. `outer`: one of those has our name.
    fn judge(&mut self, claimant: Claimant, outer: bool, pid: u32) -> Judged {
        let Claimant {
            fate,
            pid: owner,
            ours,
            origin,
            evidence,
        } = claimant;
        let registry = origin.registry;
        if registry == self.shared.plan.number {
            return Judged::NotOurs;
        }
        let detached = Judged::Spared(WhyLeftAlone::Detached);
        match fate {
            OwnerFate::Dead if !ours => {
                self.others.insert(registry);
                Judged::Open
            }
            OwnerFate::Dead if self.is_released(registry) => {
                self.others.insert(registry);
                detached
            }
            OwnerFate::Dead => {
                self.estate_of(origin);
                if self.has_heir(registry, origin.life) {
                    return Judged::NotOurs;
                }
                if belongs_to(self.table, pid, &self.held.detached) {
                    self.scanned.unsettled.insert(registry);
                    return detached;
                }
                Judged::Left(origin, evidence)
            }
            OwnerFate::Alive => {
                self.others.insert(registry);
                // Only if it could have been ours otherwise.
                match outer {
                    true => Judged::Spared(WhyLeftAlone::OwnerLives { pid: owner }),
                    false => Judged::NotOurs,
                }
            }
            OwnerFate::Doubtful(doubt) => {
                self.others.insert(registry);
                match outer || ours {
                    true => Judged::Spared(WhyLeftAlone::Doubt(doubt)),
                    false => Judged::NotOurs,
                }
            }
        }
    }

    /// Whether a session here has taken over what this life has left.
    fn has_heir(&self, registry: u64, life: Life) -> bool {
        self.held.heirs.iter().any(|heir| heir.has(registry, life))
    }

    fn is_our_name(&self, name: &str) -> bool {
        name == self.shared.plan.name
    }

    /// Whether a cgroup was made by a registry of our name. Where the name is too long for it, others have to say so.
    pub(super) fn is_our_leaf(&self, leaf: &LeafName) -> bool {
        match &leaf.owner_name {
            Some(name) => self.is_our_name(name),
            None => self.scanned.estates.contains_key(&leaf.registry),
        }
    }

    pub(super) fn is_released(&self, registry: u64) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|(number, run)| *number == registry && run.released)
    }

    /// Something of this one is there.
    pub(super) fn estate_of(&mut self, origin: Origin) {
        let estate = self.scanned.estates.entry(origin.registry);
        let estate = estate.or_insert(Estate {
            since: origin.since,
            last_life: origin.life,
        });
        estate.last_life = estate.last_life.max(origin.life);
    }

    // ---- who has nothing but its limit

    pub(super) fn judge_limited(&mut self) -> io::Result<()> {
        for (pin, described, limit) in std::mem::take(&mut self.limited) {
            let pid = pin.pid();
            let inherited = self.held.heirs.iter().any(|heir| heir.has_marked(limit));
            if inherited || self.of_pid(pid).is_some() {
                continue;
            }
            let named = self.scanned.estates.iter().find_map(|(&registry, estate)| {
                let life = earlier(registry, estate).named_by_limit(limit)?;
                Some((registry, life, estate.since))
            });
            let Some((registry, life, since)) = named else {
                if !self.is_others_limit(limit) {
                    self.leave_alone(&pin, WhyLeftAlone::LimitAlone)?;
                }
                continue;
            };
            if belongs_to(self.table, pid, &self.held.detached) {
                self.scanned.unsettled.insert(registry);
                self.leave_alone(&pin, WhyLeftAlone::Detached)?;
                continue;
            }
            if self.sighting(&described, since).judge() != Verdict::Member {
                self.scanned.unsettled.insert(registry);
                self.leave_alone(&pin, WhyLeftAlone::Claim)?;
                continue;
            }
            let session = self.session_of(registry, life);
            let origin = Origin {
                since,
                registry,
                life,
                session,
            };
            self.keep(pin, described, (origin, Evidence::LimitMark, None))?;
        }
        Ok(())
    }

    /// Whether it is the mark of a registry that is known, and none of an earlier run of ours.
    fn is_others_limit(&self, limit: Pair) -> bool {
        let own = [self.shared.plan.number];
        let mut known = self.others.iter().chain(&own);
        known.any(|&registry| {
            let last_life = Life(0);
            let all = Earlier {
                registry,
                life: None,
                last_life,
            };
            all.named_by_limit(limit).is_some()
        })
    }

    /// As it is for our own: the mark alone is not believed of what cannot be an orphan of the session.
    fn sighting(&self, described: &Described, since: u64) -> Sighting {
        let found = &self.scanned.found;
        let parent = described.parent;
        let user = |known: &Heirloom| known.described.user == described.user;
        Sighting {
            marked: true,
            in_group: found.iter().any(|known| {
                known.described.group == known.pin.pid() && known.pin.pid() == described.group
            }),
            child: found.iter().any(|known| known.pin.pid() == parent),
            ours: false,
            descends: false,
            variable: Says::Nothing,
            young_enough: described.start_ticks >= since,
            parent_fits: parent <= 1 || self.kin.contains(&parent),
            in_hosts_group: self.kin_groups.contains(&described.group),
            user_known: described.user == sys::own_user() || found.iter().any(user),
        }
    }

    /// The number of a life, as the ledger or somebody of it says.
    fn session_of(&self, registry: u64, life: Life) -> SessionId {
        let same =
            |known: &&Heirloom| (known.origin.registry, known.origin.life) == (registry, life);
        if let Some(known) = self.scanned.found.iter().find(same) {
            return known.origin.session;
        }
        let runs = self.runs.iter().filter(|(number, _)| *number == registry);
        let mut sessions = runs.filter_map(|(_, run)| run.lives.get(&life));
        sessions.next().copied().unwrap_or(SessionId(0))
    }
}

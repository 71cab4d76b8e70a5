//! [`Earlier`]: by what the processes of an earlier registry are known; [`Inheritance`]: what comes of them to a session;
//! [`Heir`]: which session that is.

use std::sync::Arc;

use crate::limit_mark::{LimitMark, Pair};
use crate::machine::IdSet;
use crate::mark::Token;
use crate::session::{Life, SessionId};
use crate::sys::{Leaf, ProcessTable};

/// What comes to a session from earlier runs.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// The registries whose processes belong to it.
    pub(crate) earlier: Vec<Earlier>,
    /// A time before the first of these, in clock ticks since boot.
    pub(crate) since: Option<u64>,
    /// Cgroups that have nobody else in them.
    pub(crate) leaves: Vec<Arc<Leaf>>,
}

/// A registry that is gone, and one of its lives or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) registry: u64,
    pub(crate) life: Option<Life>,
    /// The highest of its lives that is known.
    pub(crate) last_life: Life,
}

/// A session that has what an earlier registry, or a life of it, has left. So it has what that starts from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heir {
    pub(crate) session: SessionId,
    pub(crate) of: Earlier,
    /// Its end is over, and has left survivors.
    pub(crate) lingers: bool,
}

impl Heir {
    /// Whether it has the processes of this life.
    pub(crate) fn has(&self, registry: u64, life: Life) -> bool {
        !self.lingers && self.of.registry == registry && self.of.means(life)
    }

    /// Whether it has the process that is marked by this limit.
    pub(crate) fn has_marked(&self, limit: Pair) -> bool {
        !self.lingers && self.of.named_by_limit(limit).is_some()
    }
}

impl Earlier {
    /// Whether this is the mark of one of its processes.
    pub(crate) fn is_named_by(&self, token: &Token) -> bool {
        token.registry == self.registry && self.means(token.life)
    }

    /// The life that this limit names, if it is one of its processes'.
    ///
    /// Not where a registry inside of it has written its own mark: that one may live.
    pub(crate) fn named_by_limit(&self, limit: Pair) -> Option<Life> {
        let marked_within = LimitMark::is_inner(limit.soft);
        let outer = LimitMark::outermost(self.registry);
        let inner = LimitMark::inner(self.registry);
        let life = match marked_within {
            true => inner.life_of(limit.soft, self.last_life),
            false => outer.life_of(limit.hard, self.last_life),
        };
        life.filter(|&life| self.means(life))
    }

    fn means(&self, life: Life) -> bool {
        self.life.is_none_or(|meant| meant == life)
    }
}

/// Whether a process is one of these, is in the group of one, or descends from one as far as its living ancestors tell.
pub(crate) fn belongs_to(table: &ProcessTable, pid: u32, these: &IdSet<u32>) -> bool {
    /// Longer than any chain of ancestors that somebody made on purpose.
    const LONGEST: usize = 64;
    let mut pid = pid;
    for _ in 0..LONGEST {
        if these.contains(&pid) {
            return true;
        }
        let Ok(described) = table.describe(pid) else {
            return false;
        };
        if these.contains(&described.group) {
            return true;
        }
        pid = described.parent;
        if pid <= 1 {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNLIMITED: Pair = Pair {
        soft: u64::MAX,
        hard: u64::MAX,
    };

    fn all_of(registry: u64) -> Earlier {
        Earlier {
            registry,
            life: None,
            last_life: Life(0),
        }
    }

    proptest! {
        #[test]
        fn a_limit_names_its_registry_and_no_other(registry: u64, other: u64, within: u64, life in 1..1_u64 << 25) {
            prop_assume!(registry >> 24 != other >> 24);
            let outer = LimitMark::new(UNLIMITED, registry).unwrap().of(Life(life));
            prop_assert_eq!(all_of(registry).named_by_limit(outer), Some(Life(life)));
            prop_assert_eq!(all_of(registry).named_by_limit(UNLIMITED), None);
            let host = LimitMark::new(UNLIMITED, within).unwrap().of(Life(1));
            let inner = LimitMark::new(host, registry).unwrap().of(Life(life));
            prop_assert_eq!(all_of(registry).named_by_limit(inner), Some(Life(life)));
            // The outer one's, too, but marked by another inside of it.
            prop_assert_eq!(all_of(within).named_by_limit(inner).is_some(), registry >> 27 == within >> 27);
        }

        #[test]
        fn one_life_is_not_another(registry: u64, life in 1..1_u64 << 24, other in 1..1_u64 << 24) {
            let mark = LimitMark::new(UNLIMITED, registry).unwrap();
            let one = Earlier { life: Some(Life(life)), ..all_of(registry) };
            prop_assert_eq!(one.named_by_limit(mark.of(Life(other))).is_some(), life == other);
        }
    }
}

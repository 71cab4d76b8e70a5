//! Who takes in the orphans here, and whether a process is one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::{self, Described, Facilities, Parentage, ProcessTable};

/// Programs that are there to take in orphans, by the names that the kernel shows. systemd is one as the manager of a
/// user's session.
const KNOWN_FOR_IT: [&str; 5] = ["systemd", "tini", "dumb-init", "docker-init", "catatonit"];

/// What a trial has found. There is one for each registry: whoever takes in the orphan may be a program that never looks
/// after what it takes in, and has a zombie from then on.
#[derive(Debug, Default)]
pub(crate) struct Tried(Mutex<Option<(u32, u64)>>);

impl Tried {
    /// What was found, if that one is still there, or what is found now.
    pub(crate) fn adopter(&self, facilities: &Facilities, table: &ProcessTable) -> Option<u32> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |pid| table.outline(pid).ok().map(|found| found.start_ticks);
        if let Some((adopter, start)) = *found {
            if since(adopter) == Some(start) && sys::is_ancestor(adopter).unwrap_or(false) {
                return Some(adopter);
            }
        }
        let adopter = sys::adopter_of_orphans(facilities).ok()?;
        *found = since(adopter).map(|start| (adopter, start));
        Some(adopter)
    }
}

/// What is known of who takes in orphans.
#[derive(Clone, Debug)]
pub(crate) struct Foster {
    own: u32,
    /// Orphans come to this process.
    to_us: bool,
    /// The nearest ancestor that orphans of this process come to.
    nearest: Option<u32>,
    /// Parents that were looked at. Their numbers are theirs as long as they have children.
    seen: HashMap<u32, Described>,
}

impl Foster {
    /// Finds it out, with two short-lived processes; without them where they are not to be had.
    pub(crate) fn by_trial(facilities: &Facilities, table: &ProcessTable, tried: &Tried) -> Self {
        let mut foster = Self::unseen();
        if !foster.to_us {
            foster.nearest = tried.adopter(facilities, table);
        }
        foster
    }

    /// What is known without a trial.
    pub(crate) fn unseen() -> Self {
        Self {
            own: sys::current_pid(),
            to_us: sys::adopts_orphans(),
            nearest: None,
            seen: HashMap::new(),
        }
    }

    /// Whether the parent of a process has taken it in; see
    /// [`SystemProcess::is_reparented`](crate::SystemProcess::is_reparented).
    pub(crate) fn has_taken_in(
        &mut self,
        table: &ProcessTable,
        pid: u32,
        child: &Described,
    ) -> Option<bool> {
        if child.parent == 0 {
            return None;
        }
        match child.parentage {
            Parentage::Born => return Some(false),
            Parentage::TakenIn => return Some(true),
            Parentage::Hidden => return None,
            Parentage::Untold => {}
        }
        if child.parent == self.own {
            return if self.to_us { None } else { Some(false) };
        }
        if child.parent == 1 || Some(child.parent) == self.nearest {
            return Some(true);
        }
        let parent = self.look(table, child.parent).ok()?;
        if parent.start_ticks > child.start_ticks || is_known_for_it(parent) {
            return Some(true);
        }
        Some(is_of_another_session(table, pid, child, parent))
    }

    /// Looks at every parent afresh from here on.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    fn look(&mut self, table: &ProcessTable, pid: u32) -> io::Result<&Described> {
        match self.seen.entry(pid) {
            Entry::Occupied(seen) => Ok(seen.into_mut()),
            Entry::Vacant(unseen) => Ok(unseen.insert(table.outline(pid)?)),
        }
    }
}

fn is_known_for_it(parent: &Described) -> bool {
    KNOWN_FOR_IT.iter().any(|name| parent.name == *name)
}

/// Whether the process was born into a session that its parent has never been in: into one whose first process is younger
/// than the parent. A session is entered by birth alone.
fn is_of_another_session(
    table: &ProcessTable,
    pid: u32,
    child: &Described,
    parent: &Described,
) -> bool {
    let session = child.session;
    if session == 0 || session == pid || session == parent.session || session == child.parent {
        return false;
    }
    // The number is the first process's as long as the session has members, also when that is gone.
    table
        .describe(session)
        .is_ok_and(|leader| leader.session == session && leader.start_ticks > parent.start_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_this_program_was_not_taken_in() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let table = ProcessTable::open().unwrap();
        let described = table.describe(child.id()).unwrap();
        let mut foster = Foster::unseen();
        assert!(!foster.to_us);
        let taken_in = foster.has_taken_in(&table, child.id(), &described);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(taken_in, Some(false));
    }

    /// The kernel counts on: who is the parent of an older one has taken it in.
    #[test]
    fn an_older_child_was_taken_in_and_a_younger_one_may_be_a_child() {
        let table = ProcessTable::open().unwrap();
        let own = Described {
            parentage: Parentage::Untold,
            ..table.describe(sys::current_pid()).unwrap()
        };
        let mut foster = Foster::unseen();
        let parent = 77;
        let older = Described {
            parent,
            start_ticks: 5,
            ..own.clone()
        };
        foster.seen.insert(
            parent,
            Described {
                name: "agent".into(),
                start_ticks: 6,
                ..own.clone()
            },
        );
        assert_eq!(foster.has_taken_in(&table, 78, &older), Some(true));
        let younger = Described {
            start_ticks: 7,
            ..older
        };
        assert_eq!(foster.has_taken_in(&table, 78, &younger), Some(false));
        let outside = Described {
            parent: 0,
            ..younger.clone()
        };
        assert_eq!(foster.has_taken_in(&table, 78, &outside), None);
        foster.nearest = Some(parent);
        assert_eq!(foster.has_taken_in(&table, 78, &younger), Some(true));
    }

    #[test]
    fn what_the_kernel_tells_counts_more_than_any_sign() {
        let table = ProcessTable::open().unwrap();
        let own = table.describe(sys::current_pid()).unwrap();
        let mut foster = Foster::unseen();
        let expected = [
            (Parentage::Untold, Some(true)),
            (Parentage::Born, Some(false)),
            (Parentage::TakenIn, Some(true)),
            (Parentage::Hidden, None),
        ];
        for (parentage, taken_in) in expected {
            let of_the_first = Described {
                parent: 1,
                parentage,
                ..own.clone()
            };
            let said = foster.has_taken_in(&table, 78, &of_the_first);
            assert_eq!(said, taken_in, "{parentage:?}");
        }
    }

    #[test]
    fn where_orphans_come_to_us_a_child_may_be_one() {
        let table = ProcessTable::open().unwrap();
        let own = Described {
            parentage: Parentage::Untold,
            ..table.describe(sys::current_pid()).unwrap()
        };
        let mut foster = Foster::unseen();
        foster.to_us = true;
        let child = Described {
            parent: foster.own,
            ..own
        };
        assert_eq!(foster.has_taken_in(&table, 78, &child), None);
    }
}

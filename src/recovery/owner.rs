//! Whether an owner is dead: only if that is certain.

use std::collections::HashMap;
use std::fmt;

use crate::ledger::Host;
use crate::mark::Token;
use crate::sys::{self, Facilities, LeafName, OwnerIdentity, Pin};

/// What is known of a process that owned others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerFate {
    /// It is dead, and all of its threads with it.
    Dead,
    Alive,
    /// It cannot be told: it is left alone, as if it lived.
    Doubtful(Doubt),
}

/// Why it cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Its number counts in another pid namespace than ours.
    OtherNamespace,
    /// It is said to be of another boot, of which nothing can be left.
    OtherBoot,
    /// Its number has a process, and the kernel has nothing that would tell it from another.
    Unreadable,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherNamespace => "its owner is in another pid namespace",
            Self::OtherBoot => "its mark is of another boot",
            Self::Unreadable => "its owner cannot be looked at",
        })
    }
}

/// Looks at owners, at each of them once.
#[derive(Debug)]
pub(crate) struct Owners {
    own: OwnerIdentity,
    facilities: Facilities,
    known: HashMap<(u32, u64, u64), OwnerFate>,
}

impl Owners {
    pub(crate) fn new(own: OwnerIdentity, facilities: Facilities) -> Self {
        Self {
            own,
            facilities,
            known: HashMap::new(),
        }
    }

    /// The owner that a mark names.
    pub(crate) fn of_token(&mut self, token: &Token) -> OwnerFate {
        self.fate(&OwnerIdentity {
            pid: token.pid,
            start_ticks: token.start,
            inode: token.inode,
            boot: token.boot,
            pid_namespace: token.pid_namespace,
        })
    }

    /// The owner that the name of a cgroup tells. None outlives its boot.
    pub(crate) fn of_leaf(&mut self, leaf: &LeafName) -> OwnerFate {
        self.fate(&OwnerIdentity {
            pid: leaf.pid,
            start_ticks: leaf.start_ticks,
            inode: leaf.inode,
            boot: self.own.boot,
            pid_namespace: leaf.pid_namespace,
        })
    }

    /// A host of a ledger.
    pub(crate) fn of_host(&mut self, host: &Host) -> OwnerFate {
        self.fate(&OwnerIdentity {
            pid: host.pid,
            start_ticks: host.start,
            inode: host.inode,
            boot: host.boot,
            pid_namespace: host.pid_namespace,
        })
    }

    fn fate(&mut self, owner: &OwnerIdentity) -> OwnerFate {
        if owner.boot != self.own.boot {
            return OwnerFate::Doubtful(Doubt::OtherBoot);
        }
        if owner.pid_namespace != self.own.pid_namespace {
            return OwnerFate::Doubtful(Doubt::OtherNamespace);
        }
        let key = (owner.pid, owner.start_ticks, owner.inode);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let fate = look(owner, &self.facilities);
        self.known.insert(key, fate);
        fate
    }
}

fn look(owner: &OwnerIdentity, facilities: &Facilities) -> OwnerFate {
    let unreadable = OwnerFate::Doubtful(Doubt::Unreadable);
    let pin = match Pin::open(owner.pid, facilities) {
        Ok(pin) => pin,
        // Nobody has this number.
        Err(error) if sys::is_gone(&error) => return OwnerFate::Dead,
        Err(_no_descriptor) => return unreadable,
    };
    let same = match pin.identity().inode {
        Some(inode) if owner.inode != 0 => inode == owner.inode,
        Some(_) | None => match sys::start_of(owner.pid) {
            // The same start says little: a number can come back within one clock tick. It is taken for the owner.
            Ok(start) => start == owner.start_ticks,
            Err(_hidden) => return unreadable,
        },
    };
    match (same, pin.is_dead()) {
        // The start was read from whoever has the number now, and that is not the owner, dead or alive.
        (false, _) | (true, Ok(true)) => OwnerFate::Dead,
        (true, Ok(false)) => OwnerFate::Alive,
        (true, Err(_no_memory)) => unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Mask;

    fn owners() -> (Owners, OwnerIdentity) {
        let facilities = sys::probe(Mask::default()).expect("this kernel has pidfds");
        let own = sys::own_identity(&facilities).expect("/proc is ours");
        (Owners::new(own, facilities), own)
    }

    #[test]
    fn this_process_lives_and_one_that_had_its_number_before_does_not() {
        let (mut owners, own) = owners();
        assert_eq!(owners.fate(&own), OwnerFate::Alive);
        let earlier = OwnerIdentity {
            inode: own.inode + u64::from(own.inode != 0),
            start_ticks: own.start_ticks - 1,
            ..own
        };
        assert_eq!(owners.fate(&earlier), OwnerFate::Dead);
    }

    #[test]
    fn without_inodes_the_start_decides_and_the_same_start_is_taken_for_the_owner() {
        let mask = Mask {
            pidfs: true,
            ..Mask::default()
        };
        let facilities = sys::probe(mask).expect("this kernel has pidfds");
        let own = sys::own_identity(&facilities).expect("/proc is ours");
        let mut owners = Owners::new(own, facilities);
        assert_eq!(owners.fate(&own), OwnerFate::Alive);
        let earlier = OwnerIdentity {
            start_ticks: own.start_ticks - 1,
            ..own
        };
        assert_eq!(owners.fate(&earlier), OwnerFate::Dead);
    }

    #[test]
    fn a_zombie_is_dead() {
        let (mut owners, own) = owners();
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("true can be started");
        let facilities = owners.facilities;
        let pin = Pin::open(child.id(), &facilities).expect("it is our child");
        let owner = OwnerIdentity {
            pid: child.id(),
            inode: pin.identity().inode.unwrap_or(0),
            start_ticks: sys::start_of(child.id()).expect("it is our child"),
            ..own
        };
        assert!(matches!(sys::sleep_on_alone(&pin, None), Ok(true)));
        assert_eq!(owners.fate(&owner), OwnerFate::Dead);
        child.wait().expect("it is our child");
    }

    #[test]
    fn another_namespace_and_another_boot_leave_doubt() {
        let (mut owners, own) = owners();
        let outside = OwnerIdentity {
            pid_namespace: own.pid_namespace + 1,
            ..own
        };
        let doubt = OwnerFate::Doubtful(Doubt::OtherNamespace);
        assert_eq!(owners.fate(&outside), doubt);
        let before = OwnerIdentity {
            boot: own.boot ^ 1,
            ..own
        };
        assert_eq!(owners.fate(&before), OwnerFate::Doubtful(Doubt::OtherBoot));
    }
}

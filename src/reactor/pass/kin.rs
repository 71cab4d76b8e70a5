//! What is known of a process once a pin holds it, and how it is related to this one.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Prey;
use super::round::{Hint, Round};
use crate::foster::Foster;
use crate::machine::Sighting;
use crate::reactor::shared::{Core, Shared};
use crate::sys::{self, Described, Limits, Pin, ProcessTable, Target};
use crate::system_process::SystemProcess;

/// The host, and those that it descends from.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) reapers: HashSet<u32>,
    pub(super) groups: HashSet<u32>,
}

impl<'a> Round<'a> {
    /// What is known of a process that a pin holds.
    pub(super) fn sighting(&mut self, pid: u32, described: &Described, hint: Hint) -> Sighting {
        let prey: &'a Prey = &self.scene.prey[hint.prey];
        let limits = match self.table.limits(pid) {
            Limits::Read(limits) => Some(limits),
            Limits::Refused => match self.table.limits_by_file(pid) {
                Limits::Read(limits) => Some(limits),
                Limits::Refused | Limits::Gone => None,
            },
            Limits::Gone => None,
        };
        let led_by = self.groups.get(&described.group);
        let in_group = led_by.is_some_and(|&(index, leader)| {
            // After the group was read: its number is still that of the leader whom we hold.
            index == hint.prey && is_group_there(self.shared, leader)
        });
        let member = |core: &&Arc<Core>| core.facts.pid == described.parent && is_alive(core);
        let parent = prey.parents.iter().find(member);
        let marked = self.marked(limits) == Some(hint.prey);
        let young_enough = described.start_ticks >= prey.hunt.since;
        // Asked for by whoever has no other mark; nobody was remembered as unmarked who was found by it.
        let variable = (!marked && !in_group && !hint.child).then(|| self.names(pid, hint.prey));
        let users_of_members = || {
            let users = prey.members.iter().filter(|core| is_alive(core));
            users.filter_map(|core| self.table.describe(core.facts.pid).ok())
        };
        let user_known = described.user == sys::own_user()
            || users_of_members().any(|member| member.user == described.user);
        let kin = self.kin.get_or_insert_with(|| kin(self.table, self.own));
        Sighting {
            marked,
            in_group,
            child: hint.child && parent.is_some(),
            ours: hint.ours && described.parent == self.own,
            variable,
            young_enough,
            parent_fits: parent.is_some()
                || kin.reapers.contains(&described.parent)
                || self.is_marked_process(described.parent, hint.prey),
            in_hosts_group: self
                .kin
                .as_ref()
                .is_some_and(|kin| kin.groups.contains(&described.group)),
            user_known,
        }
    }

    /// Whether this number has the mark now.
    pub(super) fn is_marked_process(&self, pid: u32, prey: usize) -> bool {
        match self.table.limits(pid) {
            Limits::Read(limits) => self.marked(Some(limits)) == Some(prey),
            Limits::Refused | Limits::Gone => false,
        }
    }

    pub(super) fn is_kin(&self, pid: u32) -> bool {
        self.kin
            .as_ref()
            .is_none_or(|kin| kin.reapers.contains(&pid))
    }

    pub(super) fn is_spared(&self, pid: u32, pin: &Pin) -> bool {
        let Some(spare) = &self.shared.plan.spare else {
            return false;
        };
        let Ok(read) = sys::read_process(pid) else {
            return false;
        };
        if !matches!(pin.is_dead(), Ok(false)) {
            return false;
        }
        let reparented = self
            .table
            .describe(pid)
            .ok()
            .and_then(|found| Foster::unseen().has_taken_in(self.table, pid, &found));
        let process = SystemProcess::new(pid, read, reparented);
        // The host's code may panic. What it cannot decide about is left alone.
        catch_unwind(AssertUnwindSafe(|| (spare.0)(&process))).unwrap_or(true)
    }
}

pub(super) enum Acquaintance {
    Lives,
    /// Dead, and its number is still its own.
    Dead,
    Gone,
}

pub(super) fn acquaintance(core: &Core) -> Acquaintance {
    let Some(pin) = core.pin() else {
        return Acquaintance::Gone;
    };
    match pin.is_dead() {
        Ok(false) | Err(_) => Acquaintance::Lives,
        Ok(true) if pin.holds_its_number() => Acquaintance::Dead,
        Ok(true) => Acquaintance::Gone,
    }
}

pub(super) fn is_alive(core: &Core) -> bool {
    core.pin()
        .is_some_and(|pin| matches!(pin.is_dead(), Ok(false)))
}

/// Whether the group of this leader, dead or alive, has anybody in it: then no other group has its number.
fn is_group_there(shared: &Shared, leader: &Core) -> bool {
    let Some(pin) = leader.pin() else {
        return false;
    };
    if pin.holds_its_number() {
        return true;
    }
    let group = Target::Group {
        leader: &pin,
        reaped: true,
    };
    match sys::send_signal(group, 0, &shared.facilities) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// Orphans come to pid 1, or to an ancestor of ours that has asked for them. Whether one has asked cannot be seen.
pub(super) fn kin(table: &ProcessTable, own: u32) -> Kin {
    /// Longer than any chain of ancestors.
    const LONGEST: usize = 4096;
    let mut kin = Kin {
        reapers: HashSet::from([0, 1]),
        groups: HashSet::new(),
    };
    if sys::adopts_orphans() {
        kin.reapers.insert(own);
    }
    let mut pid = own;
    for _ in 0..LONGEST {
        let Ok(described) = table.describe(pid) else {
            break;
        };
        kin.groups
            .extend(Some(described.group).filter(|group| *group > 0));
        pid = described.parent;
        if pid == 0 {
            break;
        }
        kin.reapers.insert(pid);
    }
    kin
}

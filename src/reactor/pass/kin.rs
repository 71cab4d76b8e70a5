//! What is known of a process once a pin holds it, and how it is related to this one.

use std::sync::Arc;
use std::time::Duration;

use super::Prey;
use super::round::{Hint, Round};
use crate::foster::Foster;
use crate::machine::{IdSet, Says, Sighting};
use crate::reactor::clock;
use crate::reactor::shared::{Core, Shared};
use crate::sys::{self, Described, Limits, Pin, ProcessFacts, ProcessTable, Target};
use crate::system_process::SystemProcess;

/// So many marked ancestors in a row, each of which looks like one of the session, may vouch for a process.
const GENERATIONS: u8 = 4;

/// The host, and those that it descends from.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) ancestors: IdSet<u32>,
    /// Orphans come to this process.
    to_us: bool,
    pub(super) groups: IdSet<u32>,
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
        let in_group = self.is_in_members_group(described.group, hint.prey);
        let child = self.is_members_child(described.parent, hint.prey);
        let marked = self.marked(limits) == Some(hint.prey);
        let young_enough = described.start_ticks >= prey.hunt.since;
        // Asked for by whoever has no other mark; nobody was remembered as unmarked who was found by it.
        let descends = !in_group && !child && self.descends(pid, described.start_ticks, hint.prey);
        let variable = if marked || in_group || child || descends {
            Says::Unread
        } else {
            self.names(pid, hint.prey)
        };
        let users_of_members = || {
            let users = prey.members.iter().filter(|core| is_alive(core));
            users.filter_map(|core| self.table.describe(core.facts.pid).ok())
        };
        let user_known = described.user == sys::own_user()
            || users_of_members().any(|member| member.user == described.user);
        let parent_fits = child || self.vouches(described.parent, hint.prey, GENERATIONS);
        let kin = self.kin.get_or_insert_with(|| kin(self.table, self.own));
        Sighting {
            marked,
            in_group,
            child,
            ours: hint.ours && described.parent == self.own,
            descends,
            variable,
            young_enough,
            parent_fits,
            in_hosts_group: kin.groups.contains(&described.group),
            user_known,
        }
    }

    /// Whether this group, which was read before, is a member's: its number is still that of the leader whom we hold.
    pub(super) fn is_in_members_group(&self, group: u32, prey: usize) -> bool {
        let led_by = self.groups.get(&group);
        led_by.is_some_and(|(index, leader)| *index == prey && is_group_there(self.shared, leader))
    }

    /// Whether this parent, which was read before, is a member that lives, one that this pass has found among them.
    pub(super) fn is_members_child(&self, parent: u32, prey: usize) -> bool {
        let marks = &self.scene.prey[prey].hunt.marks;
        let of_this_life = |core: &&Arc<Core>| marks.contains(&core.life);
        let parent = self.known.get(&parent).filter(of_this_life);
        parent.is_some_and(|core| core.facts.is_searched() && is_alive(core))
    }

    /// Whether a child of this one can be of the session: it is a member that lives, or takes orphans in, or looks like one of
    /// the session itself.
    fn vouches(&mut self, parent: u32, prey: usize, generations: u8) -> bool {
        let marks = &self.scene.prey[prey].hunt.marks;
        if let Some(core) = self.known.get(&parent) {
            let member = marks.contains(&core.life) && core.facts.is_searched();
            if member && is_alive(core) {
                return true;
            }
        }
        if self.takes_in(parent, prey) {
            return true;
        }
        if generations == 0 || parent == self.own || !self.is_marked_process(parent, prey) {
            return false;
        }
        let Ok(found) = self.table.describe(parent) else {
            return false;
        };
        let kin = self.kin.get_or_insert_with(|| kin(self.table, self.own));
        let out_of_place = kin.groups.contains(&found.group);
        let young_enough = found.start_ticks >= self.scene.prey[prey].hunt.since;
        young_enough && !out_of_place && self.vouches(found.parent, prey, generations - 1)
    }

    /// Whether orphans of the session come to this process.
    pub(super) fn takes_in(&mut self, parent: u32, prey: usize) -> bool {
        let kin = self.kin.get_or_insert_with(|| kin(self.table, self.own));
        if parent == self.own {
            return kin.to_us;
        }
        if parent <= 1 {
            return true;
        }
        if !kin.ancestors.contains(&parent) {
            return false;
        }
        // Those of an earlier run may have had other ancestors between them and this one.
        let earlier = !self.scene.prey[prey].hunt.earlier.is_empty();
        let tried = || {
            let facilities = &self.shared.facilities;
            self.shared.tried.adopter(facilities, self.table)
        };
        earlier || tried() == Some(parent)
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
            .is_none_or(|kin| kin.ancestors.contains(&pid))
    }

    pub(super) fn is_spared(&self, pid: u32, pin: &Pin) -> bool {
        let Some(spare) = &self.shared.plan.spare else {
            return false;
        };
        let Some(read) = self.read_between_executions(pid) else {
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
        spare.says_yes(&process)
    }

    /// What is read of a process, once it has become what it is executing: until then it has neither arguments nor environment.
    fn read_between_executions(&self, pid: u32) -> Option<ProcessFacts> {
        /// It takes less than a millisecond.
        const MOST: usize = 20;
        const PAUSE: Duration = Duration::from_millis(1);
        for _ in 0..MOST {
            let read = sys::read_process(pid).ok()?;
            if !read.environ.is_empty() {
                return Some(read);
            }
            if !self.table.is_executing(pid) {
                // It may have been at it until a moment ago.
                break;
            }
            sys::nap(clock::now() + PAUSE);
        }
        sys::read_process(pid).ok()
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
    if !shared.forebears.is_last(leader) {
        return false;
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

/// Orphans come to pid 1, or to an ancestor of ours that has asked for them. Whether one has asked is found out by trial.
pub(super) fn kin(table: &ProcessTable, own: u32) -> Kin {
    /// Longer than any chain of ancestors.
    const LONGEST: usize = 4096;
    let mut kin = Kin {
        ancestors: [0, 1, own].into_iter().collect(),
        to_us: sys::adopts_orphans(),
        groups: IdSet::default(),
    };
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
        kin.ancestors.insert(pid);
    }
    kin
}

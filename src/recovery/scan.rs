//! Who is there of an earlier run: once over all processes, and over what the ledger says.
//!
//! Everything that is read of a process is read while a pin holds it that was opened before, and it is alive afterwards.
//! In doubt it is left alone, and reported.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::judge::Judged;
use super::owner::{OwnerFate, Owners};
use super::reader::{Hangs, Reader};
use crate::earlier::{Earlier, Heir};
use crate::ledger::{Identity, Run};
use crate::limit_mark::{LimitMark, Pair};
use crate::machine::IdSet;
use crate::mark::{self, Mark, Token};
use crate::reactor::{self, Shared};
use crate::report::{Evidence, Whence, WhyLeftAlone};
use crate::session::{Life, ProcessId, SessionId};
use crate::sys::{
    self, Described, Leaf, LeafName, Limits, Listed, OwnerIdentity, Pin, ProcessTable,
};
use crate::system_process::SystemProcess;

/// Where a process belonged: registry, life and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// When the registry's owner was started, in clock ticks since boot.
    pub(super) since: u64,
    pub(super) registry: u64,
    /// 0 where only the session is known.
    pub(super) life: Life,
    pub(super) session: SessionId,
}

/// A process of an earlier run.
#[derive(Debug)]
pub(super) struct Heirloom {
    pub(super) pin: Pin,
    pub(super) described: Described,
    pub(super) process: SystemProcess,
    pub(super) origin: Origin,
    pub(super) evidence: Evidence,
    /// What the ledger calls it.
    pub(super) noted: Option<ProcessId>,
}

/// What is known of a registry whose owner is dead, and had our name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estate {
    /// When its owner was started, in clock ticks since boot.
    pub(super) since: u64,
    pub(super) last_life: Life,
}

/// What came of a scan.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) estates: BTreeMap<u64, Estate>,
    pub(super) found: Vec<Heirloom>,
    pub(super) left_alone: Vec<(SystemProcess, WhyLeftAlone)>,
    /// Given up by an earlier run, and alive.
    pub(super) detached: Vec<Arc<Pin>>,
    /// The cgroups that have nobody in them but what is to be ended.
    pub(super) leaves: Vec<(Origin, Arc<Leaf>)>,
    /// Registries of which something is left that is not to be ended.
    pub(super) unsettled: HashSet<u64>,
    /// Registries of which a session here has taken over a part.
    pub(super) divided: HashSet<u64>,
    /// There may be more: these are as many as can be held.
    pub(super) is_batch: bool,
}

/// So many descriptors are left for what has to be read about those that the others hold.
const SPARE: usize = 16;

/// Who is held by this registry.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pids: IdSet<u32>,
    pub(crate) detached: IdSet<u32>,
    /// The sessions that have taken over what earlier runs left.
    pub(crate) heirs: Vec<Heir>,
}

/// One scan.
pub(super) struct Scan<'a> {
    pub(super) shared: &'a Shared,
    pub(super) table: &'a Arc<ProcessTable>,
    reader: &'a mut Reader,
    pub(super) runs: &'a [(u64, Run)],
    pub(super) held: Held,
    own: OwnerIdentity,
    own_limit: Option<Pair>,
    pub(super) owners: Owners,
    /// This process, its ancestors, and the groups of all of them.
    pub(super) kin: IdSet<u32>,
    pub(super) kin_groups: IdSet<u32>,
    /// Registries that are none of an earlier run of ours, or cannot be told to be.
    pub(super) others: HashSet<u64>,
    /// Who has nothing but its limit.
    pub(super) limited: Vec<(Pin, Described, Pair)>,
    /// Of whom it cannot be told whose they are.
    unreadable: Vec<Pin>,
    /// The cgroups of sessions that were met, and who is in one.
    pub(super) leaves: BTreeMap<PathBuf, LeafName>,
    pub(super) housed: IdSet<u32>,
    /// So many are enough for now; `None` if all have to be held at once.
    at_once: Option<usize>,
    pub(super) scanned: Scanned,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        (table, reader): (&'a Arc<ProcessTable>, &'a mut Reader),
        runs: &'a [(u64, Run)],
        (held, at_once): (Held, Option<usize>),
    ) -> io::Result<Self> {
        let own = sys::own_identity(&shared.facilities)?;
        let (kin, kin_groups) = kin(table);
        Ok(Self {
            shared,
            table,
            reader,
            runs,
            held,
            own,
            own_limit: sys::own_limit().ok(),
            owners: Owners::new(own, shared.facilities),
            kin,
            kin_groups,
            others: HashSet::new(),
            limited: Vec::new(),
            unreadable: Vec::new(),
            leaves: BTreeMap::new(),
            housed: IdSet::default(),
            at_once,
            scanned: Scanned::default(),
        })
    }

    pub(super) fn run(mut self) -> io::Result<Scanned> {
        // What they have is known as such, and so that it is theirs, for as long as they have it.
        for heir in &self.held.heirs {
            self.scanned.unsettled.insert(heir.of.registry);
            if !heir.lingers {
                self.scanned.divided.insert(heir.of.registry);
            }
        }
        self.read_ledger()?;
        self.list_others();
        match self.look_around() {
            Err(error) if sys::is_starved(&error) && self.at_once.is_some() => {
                self.make_do(error)?;
            }
            looked => looked?,
        }
        self.spare();
        if !self.scanned.is_batch {
            // Of a batch it is not known who else is in them.
            self.claim_leaves();
        }
        Ok(self.scanned)
    }

    /// All processes, and what the ledger knows.
    fn look_around(&mut self) -> io::Result<()> {
        let mut listed = Vec::new();
        self.table.list(&mut listed)?;
        for Listed { pid, .. } in listed {
            self.visit(pid)?;
            if self
                .at_once
                .is_some_and(|most| self.scanned.found.len() >= most)
            {
                self.scanned.is_batch = true;
                return Ok(());
            }
        }
        for (registry, run) in self.runs {
            if let Some(&Estate { since, .. }) = self.scanned.estates.get(registry) {
                self.look_up((*registry, since), run)?;
            }
        }
        self.judge_limited()?;
        self.list_unreadable()
    }

    /// There is no descriptor for the next one: those that are held have to be ended first.
    fn make_do(&mut self, starved: io::Error) -> io::Result<()> {
        // Who is let go of is met again.
        let fewer = self.limited.len().saturating_sub(SPARE);
        self.limited.truncate(fewer);
        let fewer = self.scanned.found.len().saturating_sub(SPARE).max(1);
        self.scanned.found.truncate(fewer);
        self.judge_limited()?;
        if self.scanned.found.is_empty() {
            return Err(starved);
        }
        self.scanned.is_batch = true;
        Ok(())
    }

    // ---- the ledger

    /// Which of its registries are of a dead owner of our name, and what they have given up.
    fn read_ledger(&mut self) -> io::Result<()> {
        for (registry, run) in self.runs {
            let Some(host) = &run.host else {
                self.hold_detached(*registry, run)?;
                continue;
            };
            if host.pid_namespace == self.own.pid_namespace {
                self.hold_detached(*registry, run)?;
            }
            let dead = self.owners.of_host(host) == OwnerFate::Dead;
            if dead && host.name == self.shared.plan.name && !run.released {
                let estate = Estate {
                    since: host.start,
                    last_life: run.last_life,
                };
                self.scanned.estates.insert(*registry, estate);
            } else {
                self.others.insert(*registry);
            }
        }
        Ok(())
    }

    fn hold_detached(&mut self, registry: u64, run: &Run) -> io::Result<()> {
        let detached = run.processes.values().filter(|noted| noted.detached);
        for identity in detached.filter_map(|noted| noted.identity) {
            if let Some(pin) = self.reopen(&identity)? {
                self.held.detached.insert(pin.pid());
                self.scanned.unsettled.insert(registry);
                self.scanned.detached.push(Arc::new(pin));
            }
        }
        Ok(())
    }

    /// The process that was written down, if it lives.
    fn reopen(&self, identity: &Identity) -> io::Result<Option<Pin>> {
        let Some(pin) = unless_starved(Pin::open(identity.pid, &self.shared.facilities))? else {
            return Ok(None);
        };
        let same = match pin.identity().inode {
            Some(inode) if identity.inode != 0 => inode == identity.inode,
            Some(_) | None if identity.start == 0 => false,
            Some(_) | None => unless_starved(sys::start_of(identity.pid))? == Some(identity.start),
        };
        Ok((same && matches!(pin.is_dead(), Ok(false))).then_some(pin))
    }

    /// What a dead registry wrote down and no mark has shown.
    fn look_up(&mut self, (registry, since): (u64, u64), run: &Run) -> io::Result<()> {
        for (&process, noted) in &run.processes {
            let (Some(identity), false) = (noted.identity, noted.detached) else {
                continue;
            };
            let Some(pin) = self.reopen(&identity)? else {
                continue;
            };
            if let Some(known) = self.of_pid(pin.pid()) {
                known.noted = Some(process);
                // The mark of what was under `Leader` names no life.
                if let (Life(0), Some((life, session))) = (known.origin.life, noted.place) {
                    known.origin = Origin {
                        life,
                        session,
                        ..known.origin
                    };
                }
                continue;
            }
            if self.is_ours(pin.pid()) {
                // It has outlived an earlier recovery, perhaps.
                self.scanned.unsettled.insert(registry);
                continue;
            }
            let (life, session) = noted.place.unwrap_or((Life(0), SessionId(0)));
            let origin = Origin {
                since,
                registry,
                life,
                session,
            };
            let Some(described) = unless_starved(self.table.describe(pin.pid()))? else {
                continue;
            };
            self.keep(pin, described, (origin, Evidence::Ledger, Some(process)))?;
        }
        Ok(())
    }

    pub(super) fn of_pid(&mut self, pid: u32) -> Option<&mut Heirloom> {
        let mut found = self.scanned.found.iter_mut();
        found.find(|known| known.pin.pid() == pid)
    }

    // ---- all processes

    /// This process, one that it descends from, one that it holds, the first.
    pub(super) fn is_ours(&self, pid: u32) -> bool {
        self.kin.contains(&pid) || self.held.pids.contains(&pid)
    }

    fn visit(&mut self, pid: u32) -> io::Result<()> {
        if self.is_ours(pid) {
            return Ok(());
        }
        let pin = match Pin::open(pid, &self.shared.facilities) {
            Ok(pin) => pin,
            Err(error) if sys::is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let limit = match self.table.limits(pid) {
            Limits::Refused => self.table.limits_by_file(pid),
            limits @ (Limits::Read(_) | Limits::Gone) => limits,
        };
        let leaves = self.table.leaves(pid);
        let Ok(tokens) = self.tokens(pid)? else {
            self.note_housed(pid, &leaves);
            self.unreadable.push(pin);
            return Ok(());
        };
        let limit = match limit {
            Limits::Read(limit) if LimitMark::is_any(limit) => Some(limit),
            Limits::Read(_) | Limits::Refused | Limits::Gone => None,
        };
        if tokens.is_empty() && limit.is_none() && leaves.is_empty() {
            return Ok(());
        }
        let Some(described) = unless_starved(self.table.describe(pid))? else {
            return Ok(());
        };
        // Alive after it was read: what was read is about the one that is held.
        if !matches!(pin.is_dead(), Ok(false)) {
            return Ok(());
        }
        self.note_housed(pid, &leaves);
        let judged = match self.judge_named(&tokens, pid) {
            Judged::Open => self.judge_housed(&leaves, (&tokens, limit), pid),
            judged @ (Judged::Left(..) | Judged::Spared(_) | Judged::NotOurs) => judged,
        };
        // What a variable says counts more than a limit.
        let limit = limit.filter(|_| tokens.is_empty());
        self.take((pin, described), judged, limit)
    }

    /// # Errors
    ///
    /// That there is no descriptor to read by: what was not read is not nothing.
    fn tokens(&mut self, pid: u32) -> io::Result<Result<Vec<Token>, Hangs>> {
        /// So often one is asked again that is executing another program, after so long: that takes less than a millisecond.
        const MOST: usize = 20;
        const PAUSE: Duration = Duration::from_millis(1);
        let mut looks = 0;
        let value = loop {
            let table = Arc::clone(self.table);
            let read = move || table.variable(pid, mark::VARIABLE);
            match self.reader.ask(pid, read) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if looks == MOST {
                        // Whatever it is that keeps it.
                        return Ok(Err(Hangs));
                    }
                    looks += 1;
                    sys::nap(reactor::now() + PAUSE);
                }
                Ok(value) => break value?,
                Err(hangs) => return Ok(Err(hangs)),
            }
        };
        let mark = value.map(|value| Mark::parse(value.as_bytes()));
        Ok(Ok(mark.iter().flat_map(Mark::tokens).cloned().collect()))
    }

    /// What was found of a process.
    fn take(
        &mut self,
        (pin, described): (Pin, Described),
        judged: Judged,
        limit: Option<Pair>,
    ) -> io::Result<()> {
        match judged {
            Judged::Left(origin, evidence) => self.keep(pin, described, (origin, evidence, None)),
            Judged::Spared(why) => self.leave_alone(&pin, why),
            Judged::NotOurs => Ok(()),
            Judged::Open => {
                // What this process has inherited itself says nothing: all that it starts has it too.
                if let Some(limit) = limit.filter(|limit| Some(*limit) != self.own_limit) {
                    self.limited.push((pin, described, limit));
                }
                Ok(())
            }
        }
    }

    // ---- what is kept

    /// Those of whom the ledger does not know that they are ours: they may be of somebody who lives, whatever else speaks
    /// for it.
    fn list_unreadable(&mut self) -> io::Result<()> {
        for pin in std::mem::take(&mut self.unreadable) {
            if self.of_pid(pin.pid()).is_none() {
                let all = self.scanned.estates.keys();
                self.scanned.unsettled.extend(all);
                self.leave_alone(&pin, WhyLeftAlone::Hangs)?;
            }
        }
        Ok(())
    }

    /// Leaves those alone that the host wants to be left alone. It is not asked about what was spawned, as far as that is
    /// known.
    fn spare(&mut self) {
        let Some(spare) = &self.shared.plan.spare else {
            return;
        };
        let found = std::mem::take(&mut self.scanned.found);
        for one in found {
            if one.noted.is_none() && spare.says_yes(&one.process) {
                self.scanned.unsettled.insert(one.origin.registry);
                let left = (one.process, WhyLeftAlone::Spared);
                self.scanned.left_alone.push(left);
            } else {
                self.scanned.found.push(one);
            }
        }
    }

    pub(super) fn keep(
        &mut self,
        pin: Pin,
        described: Described,
        (origin, evidence, noted): (Origin, Evidence, Option<ProcessId>),
    ) -> io::Result<()> {
        let Some(process) = self.read(&pin)? else {
            return Ok(());
        };
        self.scanned.found.push(Heirloom {
            pin,
            described,
            process,
            origin,
            evidence,
            noted,
        });
        Ok(())
    }

    pub(super) fn leave_alone(&mut self, pin: &Pin, why: WhyLeftAlone) -> io::Result<()> {
        if let Some(process) = self.read(pin)? {
            self.scanned.left_alone.push((process, why));
        }
        Ok(())
    }

    /// What is shown of a process, if it is alive.
    fn read(&mut self, pin: &Pin) -> io::Result<Option<SystemProcess>> {
        let pid = pin.pid();
        let process = match self.reader.ask(pid, move || sys::read_process(pid)) {
            Ok(read) => unless_starved(read)?.map(|read| SystemProcess::new(pid, read, None)),
            Err(Hangs) => {
                let described = unless_starved(self.table.describe(pid))?;
                described.map(|it| SystemProcess::from_parts(pid, vec![it.name]))
            }
        };
        Ok(process.filter(|_| matches!(pin.is_dead(), Ok(false))))
    }
}

/// What could not be read is of one that is gone, or hidden; unless there was nothing to read it by.
fn unless_starved<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if sys::is_starved(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Scanned {
    /// By what all of it is known, with what it starts from now on.
    pub(super) fn earlier(&self) -> Vec<Earlier> {
        let mut all = Vec::new();
        for (&registry, estate) in &self.estates {
            let estate = estate.earlier(registry);
            if !self.divided.contains(&registry) {
                all.push(estate);
                continue;
            }
            let found = self.found.iter().map(|one| one.origin);
            let found = found.filter(|origin| origin.registry == registry);
            let lives: HashSet<Life> = found.map(|origin| origin.life).collect();
            let of_life = |life| Earlier {
                life: Some(life),
                ..estate
            };
            all.extend(lives.into_iter().map(of_life));
        }
        all
    }

    /// Whether there is anything to be ended.
    pub(super) fn has_any(&self) -> bool {
        !self.found.is_empty() || !self.leaves.is_empty()
    }
}

impl Estate {
    /// All that the registry has started.
    pub(super) fn earlier(&self, registry: u64) -> Earlier {
        earlier(registry, self)
    }
}

pub(super) fn earlier(registry: u64, estate: &Estate) -> Earlier {
    Earlier {
        registry,
        life: None,
        last_life: estate.last_life,
    }
}

/// This process, all that it descends from, the first, and the groups of these.
fn kin(table: &ProcessTable) -> (IdSet<u32>, IdSet<u32>) {
    let ancestors = sys::ancestors();
    let groups = ancestors.iter().filter_map(|&pid| table.group(pid));
    let groups = groups.collect();
    (ancestors.into_iter().chain([1]).collect(), groups)
}

/// What one life has left.
#[derive(Debug, Default)]
pub(super) struct Bequest {
    pub(super) found: Vec<Heirloom>,
    pub(super) leaves: Vec<Arc<Leaf>>,
}

/// Those that are found by where they belonged, with the cgroups of that: by the numbers of the sessions, and of each number
/// the last life first.
pub(super) fn by_origin(
    found: Vec<Heirloom>,
    leaves: Vec<(Origin, Arc<Leaf>)>,
) -> Vec<(Origin, Bequest)> {
    let mut all: HashMap<Origin, Bequest> = HashMap::new();
    for one in found {
        all.entry(one.origin).or_default().found.push(one);
    }
    for (origin, leaf) in leaves {
        all.entry(origin).or_default().leaves.push(leaf);
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(origin, _)| {
        let age = Reverse((origin.since, origin.registry, origin.life));
        (origin.session, age)
    });
    all
}

impl Heirloom {
    /// What the report says of it.
    pub(super) fn whence(&self) -> Whence {
        let Origin {
            since,
            registry,
            life,
            session,
        } = self.origin;
        Whence {
            session,
            life: Some((since, registry, life)).filter(|_| life != Life(0)),
            evidence: self.evidence,
        }
    }
}

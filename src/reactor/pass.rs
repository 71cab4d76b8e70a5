//! A pass: once over all processes, for the descendants of the sessions that are being ended.
//!
//! On a helper's thread, or on a caller's who only wants to see. Everything that is learned of a process is read while a
//! pin holds it that was opened before, and it is alive afterwards: it cannot be about another process with its number.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock;
use super::mailbox::{Message, Newborn};
use super::shared::{Core, Outputs, Parts, Shared};
use crate::containment::Containment;
use crate::event::Origin;
use crate::limit_mark::Pair;
use crate::machine::{
    Facts, Fate, Hunt, OpId, Outcome, Passed, Reach, Relation, Seen, Sighting, Verdict,
};
use crate::mark::{self, Mark};
use crate::report::{SurvivalCause, Survivor};
use crate::session::{Life, ProcessId};
use crate::signal::Signal;
use crate::stdin::StdinPipe;
use crate::sys::{self, Described, Limits, Pin, ProcessTable, Target};
use crate::system_process::SystemProcess;

/// How long what forks and exits all the time is chased through the newest numbers, ...
const CHASE: Duration = Duration::from_millis(20);
/// ... and how long after it was met last.
const LOST_TRACK: Duration = Duration::from_millis(2);
/// More new numbers than this at once are left to the next pass.
const NEW_NUMBERS: u32 = 4096;

/// One life that is hunted for, with what is known of it.
#[derive(Debug)]
pub(crate) struct Prey {
    pub(crate) hunt: Hunt,
    pub(crate) leaders: Vec<Arc<Core>>,
    pub(crate) parents: Vec<Arc<Core>>,
    pub(crate) members: Vec<Arc<Core>>,
}

/// An errand: one pass.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) op: OpId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) prey: Vec<Prey>,
    /// Processes that were adopted or attached, and so may carry the mark of a session that they are not in.
    pub(crate) taken_in: HashSet<u32>,
    pub(crate) memory: Arc<Memory>,
}

/// What passes remember of each other.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    seen: Mutex<Remembered>,
    /// Whose command line is being read; 0 for nobody's. One that hangs is not asked again.
    reading: AtomicU32,
    hanging: Vec<u32>,
}

impl Memory {
    /// For the passes after one that hangs.
    pub(super) fn after(late: &Self) -> Self {
        let mut hanging = late.hanging.clone();
        hanging.push(late.reading.load(Ordering::SeqCst));
        Self {
            hanging,
            ..Self::default()
        }
    }
}

#[derive(Debug, Default)]
struct Remembered {
    /// Dead and not reaped: seen before, they are no news.
    dead: HashMap<Life, HashSet<(u32, Option<u64>)>>,
    /// Of another user, and without a mark, by number and identity.
    foreign: HashMap<u32, u64>,
    /// Without any mark, and known for it since the pass before: nobody gets the variable later.
    unmarked: HashSet<u32>,
    /// Somebody new was met in the pass before, and was killed: there may be more behind it.
    restless: bool,
}

/// On a helper's thread.
pub(super) fn run(pass: Pass) {
    let passed = look_for(&pass.shared, &pass.prey, &pass.taken_in, &pass.memory);
    // A reactor that is gone does not want to know.
    drop(pass.shared.mail.send(Message::Done {
        op: pass.op,
        outcome: Outcome::Passed(passed),
    }));
}

/// Goes over all processes, and once more if nothing happened.
pub(crate) fn look_for(
    shared: &Arc<Shared>,
    prey: &[Prey],
    taken_in: &HashSet<u32>,
    memory: &Memory,
) -> Passed {
    let mut seen = memory.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let hunted = |life: &Life| prey.iter().any(|prey| prey.hunt.life == *life);
    seen.dead.retain(|life, _| hunted(life));
    if prey.iter().any(|prey| prey.hunt.survey) {
        // Of the last end, which may have been an hour ago.
        seen.unmarked.clear();
        seen.restless = false;
    }
    let Ok(table) = ProcessTable::open() else {
        return refused();
    };
    let mut round = Round::new((shared, prey, taken_in), (memory, &mut seen), &table);
    let first = round.go();
    if !is_quiet(&first) {
        return first;
    }
    let mut second = round.go();
    if is_quiet(&second) {
        second.rounds = 2;
    }
    second
}

/// A pass that could not be made.
pub(super) fn refused() -> Passed {
    Passed {
        fate: Fate::Refused,
        ..Passed::default()
    }
}

fn is_quiet(passed: &Passed) -> bool {
    let still = |seen: &Seen| !seen.living && !seen.freshly_dead;
    passed.fate == Fate::Complete && passed.calm && passed.seen.values().all(still)
}

/// Once over all processes.
struct Round<'a> {
    shared: &'a Arc<Shared>,
    prey: &'a [Prey],
    taken_in: &'a HashSet<u32>,
    memory: &'a Memory,
    remembered: &'a mut Remembered,
    table: &'a ProcessTable,
    own: u32,
    /// Whose mark it is.
    marks: HashMap<u64, usize>,
    /// Whose group it is, and by which leader.
    groups: HashMap<u32, (usize, &'a Arc<Core>)>,
    known: HashMap<u32, Arc<Core>>,
    /// Where orphans of ours come to, and the groups of those and of this process. Read when they are needed.
    kin: Option<Kin>,
    pids: Vec<u32>,
    passed: Passed,
}

/// The host, and those that it descends from.
#[derive(Debug)]
struct Kin {
    reapers: HashSet<u32>,
    groups: HashSet<u32>,
}

/// Why a process was looked at more closely.
#[derive(Clone, Copy, Debug)]
struct Hint {
    prey: usize,
    child: bool,
}

impl<'a> Round<'a> {
    fn new(
        (shared, prey, taken_in): (&'a Arc<Shared>, &'a [Prey], &'a HashSet<u32>),
        (memory, remembered): (&'a Memory, &'a mut Remembered),
        table: &'a ProcessTable,
    ) -> Self {
        let mut marks = HashMap::new();
        let mut groups = HashMap::new();
        let mut known = HashMap::new();
        for (index, prey) in prey.iter().enumerate() {
            for life in &prey.hunt.marks {
                if let Some(mark) = shared.plan.limit_mark {
                    marks.insert(mark.value(*life), index);
                }
            }
            for leader in &prey.leaders {
                groups.insert(leader.facts.pid, (index, leader));
                known.insert(leader.facts.pid, Arc::clone(leader));
            }
            for member in &prey.members {
                known.insert(member.facts.pid, Arc::clone(member));
            }
        }
        Self {
            shared,
            prey,
            taken_in,
            memory,
            remembered,
            table,
            own: sys::current_pid(),
            marks,
            groups,
            known,
            kin: None,
            pids: Vec::new(),
            passed: Passed::default(),
        }
    }

    fn go(&mut self) -> Passed {
        self.passed = Passed {
            fate: Fate::Complete,
            calm: true,
            rounds: 1,
            ..Passed::default()
        };
        for prey in self.prey {
            self.passed.seen.insert(prey.hunt.life, Seen::default());
        }
        let killing = self.prey.iter().any(|prey| prey.hunt.kill.is_some());
        let newest = self.table.newest();
        let mut met = false;
        if let (true, true, Some(newest)) = (self.remembered.restless, killing, newest) {
            // Before the list, which is long where something has left thousands of zombies.
            met |= self.chase(newest);
        }
        let children = self.children();
        let newest = self.table.newest();
        let mut pids = std::mem::take(&mut self.pids);
        if self.table.list(&mut pids).is_err() {
            return refused();
        }
        let listed = |pid: &u32| pids.binary_search(pid).is_ok();
        self.remembered.unmarked.retain(listed);
        for &pid in &pids {
            met |= self.visit(pid, children.get(&pid).copied());
        }
        self.pids = pids;
        if let (true, true, Some(newest)) = (met, killing, newest) {
            self.chase(newest);
        }
        self.remembered.restless = met;
        std::mem::take(&mut self.passed)
    }

    /// The children of the members that live, and for whom they were asked.
    fn children(&self) -> HashMap<u32, usize> {
        let mut all = HashMap::new();
        let mut children = Vec::new();
        for (index, prey) in self.prey.iter().enumerate() {
            for parent in &prey.parents {
                children.clear();
                if is_alive(parent) {
                    self.table.children(parent.facts.pid, &mut children);
                }
                // The answer was about this one if it lives on.
                if is_alive(parent) {
                    all.extend(children.iter().map(|&child| (child, index)));
                }
            }
        }
        all
    }

    /// Looks at one number. Says whether somebody new was met behind it.
    fn visit(&mut self, pid: u32, child_of: Option<usize>) -> bool {
        if pid == self.own || pid == 1 {
            return false;
        }
        let limits = match self.table.limits(pid) {
            Limits::Refused => self.foreign_limits(pid),
            limits @ (Limits::Read(_) | Limits::Gone) => limits,
        };
        let limits = match limits {
            Limits::Gone => {
                self.passed.calm = false;
                return false;
            }
            Limits::Read(limits) => Some(limits),
            Limits::Refused => None,
        };
        let marked = self.marked(limits).or_else(|| self.named(pid));
        let grouped = if self.groups.is_empty() {
            None
        } else {
            let group = self.table.group(pid);
            group
                .and_then(|group| self.groups.get(&group))
                .map(|&(index, _)| index)
        };
        let child = child_of.is_some();
        match marked.or(grouped).or(child_of) {
            Some(prey) => self.meet(pid, Hint { prey, child }),
            None => false,
        }
    }

    /// Whose mark this limit is.
    fn marked(&self, limits: Option<Pair>) -> Option<usize> {
        let mark = self.shared.plan.limit_mark?;
        self.marks.get(&mark.read(limits?)).copied()
    }

    /// Who has no limit mark may have the variable: where there are no limit marks, and where a member was marked a moment
    /// after its start, and may have started another one before.
    fn named(&mut self, pid: u32) -> Option<usize> {
        let late = |prey: &Prey| prey.hunt.marked_late;
        if self.shared.plan.owner.is_none() || !self.prey.iter().any(late) {
            return None;
        }
        if self.remembered.unmarked.contains(&pid) {
            return None;
        }
        // Nobody's environment is read who is older than the session: it takes a lock that can be held for long.
        let since = self.prey.iter().map(|prey| prey.hunt.since).min();
        let is_young = |found: &Described| Some(found.start_ticks) >= since;
        let named = if self.table.describe(pid).is_ok_and(|found| is_young(&found)) {
            let named = (0..self.prey.len()).find(|&prey| self.names(pid, prey));
            // The dead have no environment. One who has died a moment ago may have left a child.
            if named.is_none()
                && self
                    .table
                    .describe(pid)
                    .map_or(true, |found| found.is_zombie)
            {
                self.passed.calm = false;
            }
            named
        } else {
            None
        };
        if named.is_none() {
            self.remembered.unmarked.insert(pid);
        }
        named
    }

    /// Whether the environment of a process names this life.
    fn names(&self, pid: u32, prey: usize) -> bool {
        if self.memory.hanging.contains(&pid) {
            return false;
        }
        self.memory.reading.store(pid, Ordering::SeqCst);
        let value = self.table.variable(pid, mark::VARIABLE);
        self.memory.reading.store(0, Ordering::SeqCst);
        let Some(value) = value else {
            return false;
        };
        let ours = |token: &mark::Token| {
            token.registry == self.shared.plan.number
                && self.prey[prey].hunt.marks.contains(&token.life)
        };
        Mark::parse(value.as_bytes()).tokens().any(ours)
    }

    /// What the files say of another user's process. They are read once for each process: nobody marks it later.
    fn foreign_limits(&mut self, pid: u32) -> Limits {
        let inode = Pin::open(pid, &self.shared.facilities)
            .ok()
            .and_then(|pin| pin.identity().inode);
        if inode.is_some() && self.remembered.foreign.get(&pid).copied() == inode {
            return Limits::Refused;
        }
        let limits = self.table.limits_by_file(pid);
        let read = match limits {
            Limits::Read(limits) => Some(limits),
            Limits::Refused | Limits::Gone => None,
        };
        match inode {
            Some(inode) if self.marked(read).is_none() => {
                self.remembered.foreign.insert(pid, inode);
            }
            Some(_) | None => {}
        }
        limits
    }

    fn seen(&mut self, prey: usize) -> &mut Seen {
        let life = self.prey[prey].hunt.life;
        self.passed.seen.entry(life).or_default()
    }

    /// Looks closely at somebody for whom something speaks. Says whether it is alive and new.
    fn meet(&mut self, pid: u32, hint: Hint) -> bool {
        match self.known.get(&pid).map(|core| acquaintance(core)) {
            Some(Acquaintance::Lives) => {
                self.seen(hint.prey).living = true;
                return false;
            }
            Some(Acquaintance::Dead) => {
                self.seen(hint.prey).marked = true;
                return false;
            }
            // The number is another's.
            Some(Acquaintance::Gone) | None => {}
        }
        if self.taken_in.contains(&pid) {
            return false;
        }
        let pin = match Pin::open(pid, &self.shared.facilities) {
            Ok(pin) => pin,
            Err(error) if sys::is_gone(&error) => {
                self.passed.calm = false;
                return false;
            }
            Err(_no_descriptor) => {
                self.passed.fate = Fate::Refused;
                self.seen(hint.prey).living = true;
                return false;
            }
        };
        if !matches!(pin.is_dead(), Ok(false)) {
            self.note_dead(&pin, hint.prey);
            return false;
        }
        let Ok(described) = self.table.describe(pid) else {
            self.passed.calm = false;
            return false;
        };
        let sighting = self.sighting(pid, &described, hint);
        // Alive after it was read: what was read is about the one that is held.
        if !matches!(pin.is_dead(), Ok(false)) {
            self.note_dead(&pin, hint.prey);
            return false;
        }
        let verdict = match sighting.judge() {
            Verdict::AskVariable => {
                let variable = Some(self.names(pid, hint.prey));
                Sighting {
                    variable,
                    ..sighting
                }
                .judge()
            }
            verdict @ (Verdict::Member | Verdict::Claim | Verdict::Stranger) => verdict,
        };
        match verdict {
            Verdict::Stranger => false,
            Verdict::Claim | Verdict::AskVariable => {
                self.claim(pid, hint.prey, &described);
                false
            }
            Verdict::Member if self.is_spared(pid, &pin) => {
                self.claim(pid, hint.prey, &described);
                false
            }
            Verdict::Member => {
                self.take_in(pin, hint.prey, &described, sighting.in_group);
                true
            }
        }
    }

    /// Somebody for whom something spoke is dead. It counts as one of them, whatever it was: that is never too little.
    fn note_dead(&mut self, pin: &Pin, prey: usize) {
        let news = (pin.pid(), pin.identity().inode);
        let life = self.prey[prey].hunt.life;
        let fresh = self.remembered.dead.entry(life).or_default().insert(news);
        let seen = self.seen(prey);
        seen.marked = true;
        seen.freshly_dead |= fresh;
    }

    /// What is known of a process that a pin holds.
    fn sighting(&mut self, pid: u32, described: &Described, hint: Hint) -> Sighting {
        let prey: &'a Prey = &self.prey[hint.prey];
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
    fn is_marked_process(&self, pid: u32, prey: usize) -> bool {
        match self.table.limits(pid) {
            Limits::Read(limits) => self.marked(Some(limits)) == Some(prey),
            Limits::Refused | Limits::Gone => false,
        }
    }

    fn is_spared(&self, pid: u32, pin: &Pin) -> bool {
        let Some(spare) = &self.shared.plan.spare else {
            return false;
        };
        let Ok(read) = sys::read_process(pid) else {
            return false;
        };
        if !matches!(pin.is_dead(), Ok(false)) {
            return false;
        }
        let process = SystemProcess::new(pid, read);
        // The host's code may panic. What it cannot decide about is left alone.
        catch_unwind(AssertUnwindSafe(|| (spare.0)(&process))).unwrap_or(true)
    }

    fn claim(&mut self, pid: u32, prey: usize, described: &Described) {
        let command_line = self.command_line(pid, described);
        self.seen(prey).claims.push(Survivor {
            process: ProcessId(0),
            pid,
            command_line: command_line.to_vec(),
            cause: SurvivalCause::Unknown,
        });
    }

    fn command_line(&mut self, pid: u32, described: &Described) -> Arc<[OsString]> {
        if !self.memory.hanging.contains(&pid) {
            self.memory.reading.store(pid, Ordering::SeqCst);
            let line = self.table.command_line(pid);
            self.memory.reading.store(0, Ordering::SeqCst);
            if !line.is_empty() {
                return line.into();
            }
        }
        // A zombie has no arguments any more, only a name.
        [described.name.clone()].into()
    }

    /// A descendant: it is a member from now on.
    fn take_in(&mut self, pin: Pin, prey: usize, described: &Described, in_group: bool) {
        let pid = pin.pid();
        let hunt = &self.prey[prey].hunt;
        let (kill, life, session) = (hunt.kill, hunt.life, hunt.session);
        let killed = kill.is_some()
            && sys::send_signal(
                Target::Process(&pin),
                Signal::KILL.0,
                &self.shared.facilities,
            )
            .is_ok();
        let facts = Facts {
            pid,
            inode: pin.identity().inode,
            relation: Relation::Stranger,
            leads_group: described.group == pid,
            origin: Origin::Found,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: in_group,
            label: None,
            command_line: self.command_line(pid, described),
        };
        let core = Arc::new(Core::new(
            Arc::clone(self.shared),
            Parts {
                process: self.shared.gate.name_found(),
                session,
                life,
                facts: Arc::new(facts),
                started: None,
                pin: None,
                stdin: StdinPipe::new(None),
                outputs: Outputs::default(),
            },
        ));
        self.seen(prey).living = true;
        if let (true, Some(reason)) = (killed, kill) {
            core.set_asked(Signal::KILL, reason);
        }
        if self.shared.watch.add(&pin, core.process.0).is_err() {
            self.passed.fate = Fate::Refused;
            return;
        }
        core.hold(pin);
        self.known.insert(pid, Arc::clone(&core));
        let newborn = Newborn {
            core,
            at: clock::now(),
            since: None,
            raced: false,
            time_limit: None,
            reply: None,
        };
        // A reactor that is gone looks after nobody. What is found is woken for at the end of the pass.
        drop(self.shared.mail.send_quietly(Message::Born(newborn)));
    }

    /// What forks, lets its child leave and exits, for ever, is a step ahead of every list. Its next number is one of
    /// the newest. Says whether anybody was met.
    fn chase(&mut self, since: u32) -> bool {
        let mut last = since;
        let mut met = false;
        let began = clock::now();
        let mut met_at = began;
        loop {
            let now = clock::now();
            let over = now.saturating_duration_since(began) > CHASE
                || now.saturating_duration_since(met_at) > LOST_TRACK;
            let Some(newest) = self.table.newest().filter(|_| !over) else {
                return met;
            };
            if newest == last {
                std::thread::yield_now();
                continue;
            }
            let from = if newest > last && newest - last < NEW_NUMBERS {
                last + 1
            } else {
                newest
            };
            // The newest first: the others have most likely gone on.
            for pid in (from..=newest).rev() {
                if self.seize(pid).unwrap_or_else(|| self.visit(pid, None)) {
                    met_at = clock::now();
                    met = true;
                }
            }
            last = newest;
        }
    }

    /// The same as a visit for a number that is new since a moment, by system calls alone: what is read in files comes too
    /// late for one that lives for some microseconds. `None`: it takes a closer look.
    fn seize(&mut self, pid: u32) -> Option<bool> {
        let asks = self.shared.plan.spare.is_some();
        if asks || self.known.contains_key(&pid) || self.taken_in.contains(&pid) {
            return None;
        }
        let Limits::Read(limits) = self.table.limits(pid) else {
            return None;
        };
        let prey = self.marked(Some(limits))?;
        let pin = Pin::open(pid, &self.shared.facilities).ok()?;
        let (parent, user) = pin.parent_and_user()?;
        let described = Described {
            parent,
            group: self.table.group(pid)?,
            start_ticks: sys::ticks_since_boot(),
            is_zombie: false,
            user,
            name: OsString::new(),
        };
        let sighting = self.sighting(pid, &described, Hint { prey, child: false });
        if sighting.judge() != Verdict::Member || !matches!(pin.is_dead(), Ok(false)) {
            return None;
        }
        self.take_in(pin, prey, &described, sighting.in_group);
        Some(true)
    }
}

enum Acquaintance {
    Lives,
    /// Dead, and its number is still its own.
    Dead,
    Gone,
}

fn acquaintance(core: &Core) -> Acquaintance {
    let Some(pin) = core.pin() else {
        return Acquaintance::Gone;
    };
    match pin.is_dead() {
        Ok(false) | Err(_) => Acquaintance::Lives,
        Ok(true) if pin.holds_its_number() => Acquaintance::Dead,
        Ok(true) => Acquaintance::Gone,
    }
}

fn is_alive(core: &Core) -> bool {
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
fn kin(table: &ProcessTable, own: u32) -> Kin {
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

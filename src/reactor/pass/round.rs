//! Once over all processes: who is worth a closer look, and what a closer look shows.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::earlier::Testimony;
use super::kin::{Acquaintance, Kin, acquaintance};
use super::lasting::Lasting;
use super::offspring::Offspring;
use super::{Memory, Prey, Remembered, Scene, nobody};
use crate::limit_mark::{self, Pair};
use crate::machine::{Fate, IdMap, IdSet, OpId, Passed, Says, Seen, Sighting, Verdict};
use crate::mark::{self, Mark};
use crate::reactor::clock;
use crate::reactor::forebears::Descends;
use crate::reactor::mailbox::Message;
use crate::reactor::shared::{Core, Shared};
use crate::sys::{self, Limits, Listed, Pin, ProcessTable};

/// How long what an earlier run was starting when it died may take to its exec.
const UNTIL_EXEC: Duration = Duration::from_secs(2);

/// So often the reactor is told that a pass goes on, which is not waited for when it falls silent.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);

/// So many generations are followed upwards at most.
const DEEPEST: u8 = 8;

/// Once over all processes.
pub(super) struct Round<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) scene: &'a Scene,
    pub(super) memory: &'a Memory,
    /// Of earlier runs, where that is asked for.
    pub(super) testimony: Option<Testimony>,
    pub(super) remembered: &'a mut Remembered,
    pub(super) table: &'a ProcessTable,
    pub(super) own: u32,
    /// Whose mark it is.
    marks: IdMap<u64, usize>,
    /// Whose group it is, and by which leader.
    pub(super) groups: IdMap<u32, (usize, Arc<Core>)>,
    pub(super) known: IdMap<u32, Arc<Core>>,
    /// Where orphans of ours come to, and the groups of those and of this process. Read when they are needed.
    pub(super) kin: Option<Kin>,
    /// How many parents are being met for the sake of their children.
    depth: u8,
    pub(super) pace: Pace,
    pub(super) listed: Vec<Listed>,
    pub(super) lasting: Lasting,
    /// Those of our children that nobody holds, as they were when the list was begun.
    pub(super) strays: IdSet<u32>,
    pub(super) offspring: Offspring<'a>,
    /// Somebody was met of whom nothing can be said yet.
    pub(super) undecided: bool,
    /// Another look may see more, whoever is born or not: somebody was met closely who was not taken in.
    pub(super) leaves_questions: bool,
    /// Who was taken in leads a group in which others may be that were looked at before.
    pub(super) has_new_groups: bool,
    pub(super) passed: Passed,
}

/// When the reactor was told last that this goes on.
#[derive(Debug)]
pub(super) struct Pace {
    op: Option<OpId>,
    told_at: Instant,
}

/// What comes of looking for the variable where there is no limit mark.
enum Named {
    By(usize),
    /// By nobody, and that remains.
    Nobody,
    /// It is to be looked at again.
    NotYet,
}

/// What came of a closer look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// It is a member, from now on.
    New,
    Known,
    Dead,
    /// It is left alone, this time.
    Questionable,
}

/// Why a process was looked at more closely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    pub(super) prey: usize,
    /// It is an orphan that has come to us, and can belong to nobody else.
    pub(super) ours: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        (shared, scene): (&'a Arc<Shared>, &'a Scene),
        (memory, remembered): (&'a Memory, &'a mut Remembered),
        table: &'a ProcessTable,
        op: Option<OpId>,
    ) -> Self {
        let mut marks = IdMap::default();
        let mut groups = IdMap::default();
        let mut known = IdMap::default();
        for (index, prey) in scene.prey.iter().enumerate() {
            for life in &prey.hunt.marks {
                if let Some(mark) = shared.plan.limit_mark {
                    marks.insert(mark.value(*life), index);
                }
            }
            for leader in &prey.leaders {
                groups.insert(leader.facts.pid, (index, Arc::clone(leader)));
                known.insert(leader.facts.pid, Arc::clone(leader));
            }
            for member in &prey.members {
                known.insert(member.facts.pid, Arc::clone(member));
            }
        }
        Self {
            shared,
            scene,
            memory,
            testimony: Testimony::of(scene, shared),
            remembered,
            table,
            own: sys::current_pid(),
            marks,
            groups,
            known,
            kin: None,
            depth: 0,
            pace: Pace {
                op,
                told_at: clock::now(),
            },
            listed: Vec::new(),
            lasting: Lasting::default(),
            strays: IdSet::default(),
            offspring: Offspring::default(),
            undecided: false,
            leaves_questions: false,
            has_new_groups: false,
            passed: Passed::default(),
        }
    }

    pub(super) fn looks_everywhere(&self) -> bool {
        let everywhere = |prey: &Prey| prey.hunt.scope.everywhere;
        self.scene.prey.iter().any(everywhere)
    }

    pub(super) fn begin(&mut self) {
        self.undecided = false;
        self.has_new_groups = false;
        self.passed = nobody(self.scene);
    }

    pub(super) fn finish(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }

    /// One more is looked at.
    pub(super) fn step(&mut self) {
        let Some(op) = self.pace.op else {
            return;
        };
        let now = clock::now();
        if now.saturating_duration_since(self.pace.told_at) >= SIGN_OF_LIFE {
            self.pace.told_at = now;
            // A reactor that is gone does not want to know.
            drop(self.shared.mail.send(Message::GoesOn { op }));
        }
    }

    /// Whether this number is that of somebody who is held and lives, or is not to be touched.
    pub(super) fn is_known(&self, pid: u32) -> bool {
        let known = self.known.get(&pid).map(|core| acquaintance(core));
        let there = matches!(known, Some(Acquaintance::Lives | Acquaintance::Dead));
        let not_ours = self.scene.taken_in.contains(&pid) || self.scene.detached.contains(&pid);
        there || pid == self.own || pid == 1 || not_ours
    }

    /// Looks at one process. Says whether somebody new was met behind it.
    pub(super) fn visit(&mut self, listed: Listed) -> bool {
        let pid = listed.pid;
        if pid == self.own || pid == 1 {
            return false;
        }
        let child_of = self.child_of(pid);
        let is_stray = self.strays.contains(&pid);
        let descends = self.descendant(pid);
        let descendant = descends.and_then(|whose| self.prey_of(whose));
        let is_kin = child_of.or(descendant).is_some();
        if !is_kin && !is_stray && self.remembered.is_stranger(listed) {
            return match self.grouped(pid) {
                Some(prey) => self.meet(pid, Hint { prey, ours: false }),
                None => false,
            };
        }
        let limits = match self.table.limits(pid) {
            Limits::Refused => self.foreign_limits(listed),
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
        let marked = self.marked(limits).or_else(|| self.grouped(pid));
        if let Some(prey) = marked.or(child_of).or(descendant) {
            return self.meet(pid, Hint { prey, ours: false });
        }
        if matches!(descends, Some(Descends::From(_))) {
            // It is of a session that goes on.
            return false;
        }
        match self.named(listed, limits) {
            Named::By(prey) => self.meet(pid, Hint { prey, ours: false }),
            _ if is_stray => self.meet_stray(pid),
            Named::NotYet => false,
            Named::Nobody => {
                self.remembered.note_stranger(listed);
                false
            }
        }
    }

    /// In whose group it is.
    pub(super) fn grouped(&self, pid: u32) -> Option<usize> {
        if self.groups.is_empty() {
            return None;
        }
        let group = self.table.group(pid)?;
        self.groups.get(&group).map(|(index, _)| *index)
    }

    /// Whose mark this limit is.
    pub(super) fn marked(&self, limits: Option<Pair>) -> Option<usize> {
        let limits = limits?;
        let mark = self.shared.plan.limit_mark;
        let ours = mark.and_then(|mark| self.marks.get(&mark.read(limits)).copied());
        ours.or_else(|| self.marked_earlier(limits))
    }

    /// Who has no limit mark may have the variable: where there are no limit marks, and where a member was marked a moment
    /// after its start, and may have started another one before.
    fn named(&mut self, listed: Listed, limits: Option<Pair>) -> Named {
        let late = |prey: &Prey| prey.hunt.marked_late;
        let marks = self.shared.plan.owner.is_some() || self.testimony.is_some();
        if !marks || !self.scene.prey.iter().any(late) {
            return Named::Nobody;
        }
        // Nobody's environment is read who is older than the session: it takes a lock that can be held for long.
        let pid = listed.pid;
        let table = self.table;
        let mut found = None;
        let read = || {
            // ESRCH: it is gone. Whatever else: without an age it is asked once more below, and then not called settled.
            found = table.outline(pid).ok();
            Some(found.as_ref()?.start_ticks)
        };
        let since = self.scene.prey.iter().map(|prey| prey.hunt.since).min();
        let start_ticks = self.lasting.start_ticks(listed, read);
        if start_ticks.is_some() && start_ticks < since {
            return Named::Nobody;
        }
        let Some(found) = found.or_else(|| table.outline(pid).ok()) else {
            self.passed.calm = false;
            self.undecided = true;
            return Named::NotYet;
        };
        let mut is_executing = false;
        // These have no environment, for good.
        if !found.is_zombie && !found.is_kernel_thread {
            for prey in 0..self.scene.prey.len() {
                match self.names(pid, prey) {
                    Says::Ours => return Named::By(prey),
                    Says::NotYet => is_executing = true,
                    Says::Unread | Says::Nothing | Says::Others => {}
                }
            }
        }
        // The dead have no environment. One who has died a moment ago may have left a child.
        let now = self.table.outline(pid);
        self.undecided |= now.is_err();
        if now.map_or(true, |now| now.is_zombie) {
            self.passed.calm = false;
            // The dead keep their limit. What another registry has marked is that one's.
            if !is_marked_by_another(limits) {
                self.suspect(found.parent);
            }
            return Named::Nobody;
        }
        // One that exits has no memory, and so no environment, before it is seen to be dead. It takes its time where there was
        // much, and may hold what it had open until then.
        if !found.is_kernel_thread && !self.has_memory(pid) {
            let is_exiting = self.table.outline(pid).map_or(true, |now| now.is_exiting);
            if self.remembered.is_news(&listed) || is_exiting {
                self.passed.calm = false;
                self.undecided = true;
                self.suspect(found.parent);
                return Named::NotYet;
            }
        }
        // Who is between two programs has not said anything.
        if is_executing && self.remembered.is_worth_another_look(&listed) {
            self.passed.calm = false;
            self.undecided = true;
            return Named::NotYet;
        }
        // Of a host that died a moment ago there may be one on its way to its exec, which has no variable yet.
        let age = sys::ticks_since_boot().saturating_sub(found.start_ticks);
        let is_new = age < sys::ticks_in(UNTIL_EXEC);
        if self.testimony.is_some() && is_new {
            Named::NotYet
        } else {
            Named::Nobody
        }
    }

    /// Of whom reading hangs has.
    fn has_memory(&self, pid: u32) -> bool {
        let memory = self.memory;
        let read = || self.table.has_memory(pid);
        memory.is_hanging(pid) || memory.while_reading(pid, read)
    }

    /// A young orphan is dead, and cannot tell any more whose it was: whoever could have left it may have left another one.
    /// A child of somebody who is neither a member nor takes orphans in was none of ours.
    fn suspect(&mut self, parent: u32) {
        for prey in 0..self.scene.prey.len() {
            // Where orphans come to this program, one that has gone elsewhere is none of ours.
            let elsewhere = sys::adopts_orphans() && parent != self.own;
            let late = self.scene.prey[prey].hunt.marked_late;
            if late && !elsewhere && self.takes_in(parent, prey) {
                let seen = self.seen(prey);
                seen.marked = true;
                seen.freshly_dead = true;
            }
        }
    }

    /// What the environment of a process says of this life.
    pub(super) fn names(&self, pid: u32, prey: usize) -> Says {
        if self.memory.is_hanging(pid) {
            return Says::Nothing;
        }
        let value = match self.variable(pid) {
            Ok(value) => value,
            Err(says) => return says,
        };
        let of_this_registry = |token: &mark::Token| token.registry == self.shared.plan.number;
        let ours = |token: &mark::Token| {
            of_this_registry(token) && self.scene.prey[prey].hunt.marks.contains(&token.life)
        };
        let tokens: Vec<mark::Token> = Mark::parse(value.as_bytes()).tokens().cloned().collect();
        if tokens.iter().any(ours) || self.names_earlier(&tokens, prey) {
            Says::Ours
        } else if tokens.iter().any(of_this_registry) {
            Says::Others
        } else {
            Says::Nothing
        }
    }

    /// What the file says of another user's process, which cannot be asked for its limits.
    fn foreign_limits(&mut self, listed: Listed) -> Limits {
        let table = self.table;
        let read = || table.limits_by_file(listed.pid);
        self.lasting.limits_by_file(listed, read)
    }

    pub(super) fn seen(&mut self, prey: usize) -> &mut Seen {
        let life = self.scene.prey[prey].hunt.life;
        self.passed.seen.entry(life).or_default()
    }

    /// Looks closely at somebody for whom something speaks. Says whether it is alive and new.
    pub(super) fn meet(&mut self, pid: u32, hint: Hint) -> bool {
        let met = self.look_closely(pid, hint);
        self.leaves_questions |= met == Met::Questionable;
        met == Met::New
    }

    fn look_closely(&mut self, pid: u32, hint: Hint) -> Met {
        let known = self.known.get(&pid).map(Arc::clone);
        if known.is_some_and(|core| self.greet(&core, hint.prey)) {
            return Met::Known;
        }
        if self.scene.taken_in.contains(&pid) || self.belongs_to_detached(pid) {
            return Met::Questionable;
        }
        if self.is_anothers(pid, hint.prey) {
            return Met::Questionable;
        }
        let pin = match Pin::open(pid, &self.shared.facilities) {
            Ok(pin) => pin,
            Err(error) if sys::is_gone(&error) => {
                self.passed.calm = false;
                return Met::Dead;
            }
            Err(_no_descriptor) => {
                self.passed.fate = Fate::Refused;
                self.seen(hint.prey).living = true;
                return Met::Questionable;
            }
        };
        if !matches!(pin.is_dead(), Ok(false)) {
            self.note_dead(&pin, hint.prey);
            return Met::Dead;
        }
        if let Some((group, in_group)) = self.recognise(&pin, hint.prey) {
            if !matches!(pin.is_dead(), Ok(false)) {
                self.note_dead(&pin, hint.prey);
                return Met::Dead;
            }
            return self.welcome(pin, hint.prey, group, in_group);
        }
        let Ok(described) = self.table.describe(pid) else {
            self.passed.calm = false;
            self.undecided = true;
            return Met::Questionable;
        };
        self.meet_parent(described.parent, hint.prey);
        let sighting = self.sighting(pid, &described, hint);
        // Alive after it was read: what was read is about the one that is held.
        if !matches!(pin.is_dead(), Ok(false)) {
            self.note_dead(&pin, hint.prey);
            return Met::Dead;
        }
        let earlier = !self.scene.prey[hint.prey].hunt.earlier.is_empty();
        let verdict = match sighting.judge() {
            // It is one of our ancestors, or this process itself.
            _ if earlier && self.is_kin(pid) => Verdict::Stranger,
            _ if earlier => self.judge_earlier(pid, hint.prey, sighting),
            Verdict::AskVariable if self.is_in_anothers_leaf(&pin, hint.prey) => Verdict::Stranger,
            Verdict::AskVariable => {
                let variable = self.names(pid, hint.prey);
                Sighting {
                    variable,
                    ..sighting
                }
                .judge()
            }
            verdict @ (Verdict::Member | Verdict::Claim | Verdict::Stranger) => verdict,
        };
        match verdict {
            Verdict::Stranger => Met::Questionable,
            Verdict::AskVariable if self.is_worth_another_look(&pin) => {
                self.passed.calm = false;
                self.undecided = true;
                self.seen(hint.prey).living = true;
                Met::Questionable
            }
            Verdict::Claim | Verdict::AskVariable => {
                self.claim(&pin, hint.prey);
                Met::Questionable
            }
            Verdict::Member => self.welcome(pin, hint.prey, described.group, sighting.in_group),
        }
    }

    /// It is between two programs, which is over in a moment.
    fn is_worth_another_look(&mut self, pin: &Pin) -> bool {
        let identity = pin.identity();
        self.remembered.is_worth_another_look(&Listed {
            pid: identity.pid,
            instance: identity.inode,
        })
    }

    /// Looks at somebody who is held. `false`: it is gone, and its number another's, or nobody's.
    pub(super) fn greet(&mut self, core: &Core, prey: usize) -> bool {
        match acquaintance(core) {
            Acquaintance::Lives => self.seen(prey).living = true,
            Acquaintance::Dead => {
                // It exited, and the machine was told. A leader is kept like this for its group's sake (before 6.9), and so
                // is whom its parent does not bury: that it is still there says nothing of anybody else.
                let news = (core.facts.pid, core.facts.inode);
                let fresh = self.is_freshly_dead(news, prey);
                self.seen(prey).marked |= fresh;
            }
            Acquaintance::Gone => return false,
        }
        true
    }

    /// Most are in the group of a member, or are children of one, and nothing else has to be read of them. Its group, and
    /// whether that is a member's.
    fn recognise(&mut self, pin: &Pin, prey: usize) -> Option<(u32, bool)> {
        if !self.scene.prey[prey].hunt.earlier.is_empty() {
            return None;
        }
        let (parent, _) = pin.parent_and_user()?;
        let group = self.table.group(pin.pid())?;
        self.meet_parent(parent, prey);
        let in_group = self.is_in_members_group(group, prey);
        let is_kin = in_group || self.is_members_child(parent, prey);
        is_kin.then_some((group, in_group))
    }

    /// It is a member, unless the host spares it.
    fn welcome(&mut self, pin: Pin, prey: usize, group: u32, in_group: bool) -> Met {
        if self.is_spared(pin.pid(), &pin) {
            self.claim(&pin, prey);
            return Met::Questionable;
        }
        self.take_in(pin, prey, group, in_group);
        Met::New
    }

    /// A parent for whom something speaks is met before its child: whether it is a member decides what the child is.
    fn meet_parent(&mut self, parent: u32, prey: usize) {
        let looked_at = parent <= 1 || parent == self.own || self.known.contains_key(&parent);
        if looked_at || self.depth >= DEEPEST {
            return;
        }
        let descends = self.descendant(parent).and_then(|it| self.prey_of(it)) == Some(prey);
        if !descends && !self.is_marked_process(parent, prey) {
            return;
        }
        self.depth += 1;
        self.meet(parent, Hint { prey, ours: false });
        self.depth -= 1;
    }

    /// Whether it is a registered process of another session, or was found to be of one.
    fn is_anothers(&self, pid: u32, prey: usize) -> bool {
        let marks = &self.scene.prey[prey].hunt.marks;
        let life = self.shared.index.life_of(pid);
        life.is_some_and(|life| !marks.contains(&life))
    }

    /// Whether it is in the cgroup of another session.
    fn is_in_anothers_leaf(&self, pin: &Pin, prey: usize) -> bool {
        let marks = &self.scene.prey[prey].hunt.marks;
        let life = pin
            .cgroup()
            .and_then(|cgroup| self.shared.leaves.life_of(cgroup));
        life.is_some_and(|life| !marks.contains(&life))
    }

    /// Somebody for whom something spoke is dead. It counts as one of them, whatever it was: that is never too little.
    pub(super) fn note_dead(&mut self, pin: &Pin, prey: usize) {
        let news = (pin.pid(), pin.identity().inode);
        let fresh = self.is_freshly_dead(news, prey);
        let seen = self.seen(prey);
        seen.marked |= fresh;
        seen.freshly_dead |= fresh;
    }

    /// Whether it was not claimed before, in this end.
    pub(super) fn is_newly_claimed(&mut self, pin: &Pin, prey: usize) -> bool {
        let life = self.scene.prey[prey].hunt.life;
        let who = (pin.pid(), pin.identity().inode);
        self.remembered.claimed.entry(life).or_default().insert(who)
    }

    /// Whether it was not seen dead before, in this end.
    fn is_freshly_dead(&mut self, who: (u32, Option<u64>), prey: usize) -> bool {
        let life = self.scene.prey[prey].hunt.life;
        self.remembered.dead.entry(life).or_default().insert(who)
    }
}

/// What is to be killed is chased. So is, once its end has begun, what only its environment may name: where its dead are
/// taken away at once it leaves no other trace.
pub(super) fn is_chased(prey: &Prey) -> bool {
    prey.hunt.kill.is_some() || (prey.hunt.ending && prey.hunt.marked_late)
}

/// Whether this is the limit of a process of some other registry: no mark of ours, and not what this program has itself,
/// which is what a process of ours has until it is marked.
fn is_marked_by_another(limits: Option<Pair>) -> bool {
    match (limits, sys::own_limit()) {
        (Some(limits), Ok(own)) => limit_mark::marks(limits, own),
        (None, _) | (_, Err(_)) => false,
    }
}

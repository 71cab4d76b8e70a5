//! A pass: once over all processes, for the descendants of the sessions that are being ended.
//!
//! On a helper's thread, or on a caller's who only wants to see. Everything that is learned of a process is read while a
//! pin holds it that was opened before, and it is alive afterwards: it cannot be about another process with its number.

mod chase;
mod descent;
mod earlier;
mod enclosure;
mod found;
mod going;
mod kin;
mod lasting;
mod offspring;
mod picture;
mod round;
mod strays;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use self::descent::Descent;
pub(in crate::reactor) use self::enclosure::strike;
pub(in crate::reactor) use self::lasting::Lasting;
use self::picture::Picture;
use self::round::Round;
use super::mailbox::Message;
use super::shared::{Core, Shared};
use crate::machine::{Fate, Hunt, IdMap, IdSet, OpId, Outcome, Passed, Seen};
use crate::session::Life;
use crate::sys::{self, Leaf, Listed, ProcessTable};

/// As long as nothing happens it is gone over the processes again at once, so often at most: the last members of an end
/// are still dying when the first round begins, and two that began after that are wanted.
const MOST_ROUNDS: u8 = 3;

/// So often it is looked at somebody who executes one program after the other: in one of ten looks, at most, there is none.
const MOST_LOOKS: u8 = 12;

/// One life that is hunted for, with what is known of it.
#[derive(Debug)]
pub(crate) struct Prey {
    pub(crate) hunt: Hunt,
    pub(crate) leaders: Vec<Arc<Core>>,
    pub(crate) parents: Vec<Arc<Core>>,
    pub(crate) members: Vec<Arc<Core>>,
    /// The cgroups of the lives whose marks count.
    pub(crate) leaves: Vec<Arc<Leaf>>,
}

/// All that a pass is about.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) prey: Vec<Prey>,
    /// Processes that were adopted or attached, and so may carry the mark of a session that they are not in.
    pub(crate) taken_in: IdSet<u32>,
    /// Those that were given up; what descends from them is theirs.
    pub(crate) detached: IdSet<u32>,
    /// Where orphans come to this process.
    pub(crate) orphanage: Option<Orphanage>,
}

/// What has to be known to tell an orphan that has come to us from a child of ours.
#[derive(Debug)]
pub(crate) struct Orphanage {
    /// All processes that are held, of all sessions.
    pub(crate) held: IdSet<u32>,
    /// How many spawns there have been, if none was under way.
    pub(crate) census: Option<u64>,
}

/// An errand: one pass.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) op: OpId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scene: Scene,
    pub(crate) memory: Arc<Memory>,
}

/// What passes remember of each other.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    seen: Mutex<Remembered>,
    /// The lives whose ends are over since somebody forgot what was learned for them.
    over: Mutex<Vec<Life>>,
    /// Whose command line is being read; 0 for nobody's.
    reading: Arc<AtomicU32>,
    hanging: Vec<Hanging>,
    /// Nobody waits any longer for the pass that has this.
    abandoned: AtomicBool,
}

/// Somebody about whom reading hung in a pass that was not waited for. It is not asked again before that comes back.
#[derive(Clone, Debug)]
struct Hanging {
    pid: u32,
    /// Whom that pass reads about now.
    reading: Arc<AtomicU32>,
}

impl Hanging {
    fn hangs(&self) -> bool {
        self.reading.load(Ordering::SeqCst) == self.pid
    }
}

impl Memory {
    /// For the passes after one that hangs, or is slow: that one does nothing more, where it comes back.
    pub(super) fn after(late: &Self) -> Self {
        late.abandoned.store(true, Ordering::SeqCst);
        let latest = Hanging {
            pid: late.reading.load(Ordering::SeqCst),
            reading: Arc::clone(&late.reading),
        };
        let all = late.hanging.iter().chain([&latest]);
        let hanging = all.filter(|one| one.pid != 0 && one.hangs());
        Self {
            hanging: hanging.cloned().collect(),
            ..Self::default()
        }
    }
}

impl Memory {
    /// The end of this life is over: what was learned for it helps no other. Waits for nobody; a pass that is under way forgets it
    /// when it is over itself.
    pub(super) fn forget(&self, life: Life) {
        lock(&self.over).push(life);
        self.forget_what_is_over();
    }

    fn forget_what_is_over(&self) {
        // Once more after each time: one that came meanwhile was left to us.
        while !lock(&self.over).is_empty() {
            let mut seen = match self.seen.try_lock() {
                Ok(seen) => seen,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            for life in std::mem::take(&mut *lock(&self.over)) {
                seen.forget(life);
            }
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn is_hanging(&self, pid: u32) -> bool {
        self.hanging.iter().any(|one| one.pid == pid && one.hangs())
    }

    /// Reads what may hang.
    fn while_reading<T>(&self, pid: u32, read: impl FnOnce() -> T) -> T {
        self.reading.store(pid, Ordering::SeqCst);
        let value = read();
        self.reading.store(0, Ordering::SeqCst);
        value
    }
}

#[derive(Debug, Default)]
struct Remembered {
    /// Dead and not reaped: seen before, they are no news.
    dead: IdMap<Life, HashSet<(u32, Option<u64>)>>,
    /// What was looked for when these were looked at.
    sought: Vec<Sought>,
    /// Nothing speaks for them, and nothing will: nobody gets a mark later. By number, and by what tells them from the next.
    strangers: IdMap<u32, u64>,
    /// Without memory or environment, and not dead, and how often they were seen like that: once, and such a process was on its
    /// way out, or to another program; several times, and it is one that has none.
    empty: IdMap<u32, (u64, u8)>,
    /// Marked and not believed: seen before, they are no news.
    claimed: IdMap<Life, HashSet<(u32, Option<u64>)>>,
    /// Somebody new was met in the pass before, and was killed: there may be more behind it.
    restless: bool,
    /// Whom everybody comes from, where the kernel keeps that.
    descent: Option<Descent>,
    /// The last round, if that may say what later ones would come to.
    picture: Option<Picture>,
}

/// What makes a process a stranger, or not.
#[derive(Debug, PartialEq, Eq)]
struct Sought {
    marks: Vec<Life>,
    earlier: usize,
    since: u64,
    marked_late: bool,
}

impl Sought {
    fn of(prey: &Prey) -> Self {
        Self {
            marks: prey.hunt.marks.clone(),
            earlier: prey.hunt.earlier.len(),
            since: prey.hunt.since,
            marked_late: prey.hunt.marked_late,
        }
    }
}

impl Remembered {
    /// What was learned for other ends says nothing for these.
    fn look_for(&mut self, prey: &[Prey]) {
        let hunted = |life: &Life| prey.iter().any(|prey| prey.hunt.life == *life);
        self.dead.retain(|life, _| hunted(life));
        self.claimed.retain(|life, _| hunted(life));
        let sought: Vec<Sought> = prey.iter().map(Sought::of).collect();
        if self.sought != sought {
            self.sought = sought;
            self.strangers.clear();
            self.empty.clear();
        }
        if prey.iter().any(|prey| prey.hunt.survey) {
            self.restless = false;
        }
    }

    /// Gives back what was learned for this life. All others have what was learned for them alone.
    fn forget(&mut self, life: Life) {
        self.dead.remove(&life);
        self.claimed.remove(&life);
        self.picture.take_if(|picture| picture.is_of(life));
        if self.dead.is_empty() {
            self.dead = IdMap::default();
        }
        if self.claimed.is_empty() {
            self.claimed = IdMap::default();
        }
        // What was learned for several at once is of no use to those who are left.
        if self
            .sought
            .iter()
            .any(|sought| sought.marks.contains(&life))
        {
            self.sought = Vec::new();
            self.strangers = IdMap::default();
            self.empty = IdMap::default();
        }
    }

    fn is_stranger(&self, listed: Listed) -> bool {
        let known = self.strangers.get(&listed.pid).copied();
        known.is_some() && known == listed.instance
    }

    /// Whether a process without memory was not seen like that before.
    fn is_news(&mut self, listed: &Listed) -> bool {
        self.times_seen_empty(listed) == 0
    }

    /// Whether one without environment is to be asked once more: another time it will have it, if it has one at all.
    fn is_worth_another_look(&mut self, listed: &Listed) -> bool {
        self.times_seen_empty(listed) < MOST_LOOKS
    }

    fn times_seen_empty(&mut self, listed: &Listed) -> u8 {
        let Some(instance) = listed.instance else {
            return 0;
        };
        let seen = self.empty.entry(listed.pid).or_insert((instance, 0));
        if seen.0 != instance {
            *seen = (instance, 0);
        }
        let times = seen.1;
        seen.1 = times.saturating_add(1);
        times
    }

    /// Most processes are strangers: room for all at once, since it grew with the last ones and was given back.
    fn make_room(&mut self, listed: usize) {
        let more = listed.saturating_sub(self.strangers.len());
        self.strangers.reserve(more);
    }

    fn note_stranger(&mut self, listed: Listed) {
        if let Some(instance) = listed.instance {
            self.strangers.insert(listed.pid, instance);
        }
    }
}

/// On a helper's thread.
pub(super) fn run(pass: Pass) {
    let passed = look_for(&pass.shared, &pass.scene, &pass.memory, Some(pass.op));
    // A reactor that is gone does not want to know.
    drop(pass.shared.mail.send(Message::Done {
        op: pass.op,
        outcome: Outcome::Passed(passed),
    }));
}

/// Looks into the cgroups and goes over all processes, as far as anybody wants either; and again over the processes if
/// nothing happened. Tells the reactor that it goes on where that waits for it under this name.
pub(crate) fn look_for(
    shared: &Arc<Shared>,
    scene: &Scene,
    memory: &Memory,
    op: Option<OpId>,
) -> Passed {
    if is_childless(scene) {
        return childless(scene);
    }
    let prey = &scene.prey;
    let table = ProcessTable::open();
    prey.iter().for_each(enclosure::strike);
    let mut passed = match &table {
        Ok(table) => {
            let mut seen = lock(&memory.seen);
            seen.look_for(prey);
            go_round(Round::new((shared, scene), (memory, &mut seen), table, op))
        }
        // There is no `/proc`: who is in a cgroup is not named, and is killed and confirmed all the same.
        Err(_) if scene.prey.iter().all(|prey| !prey.hunt.scope.everywhere) => nobody(scene),
        Err(_) => refused(),
    };
    for prey in prey {
        enclosure::settle(prey, passed.seen.entry(prey.hunt.life).or_default());
    }
    memory.forget_what_is_over();
    passed.childless = is_childless(scene);
    passed
}

fn go_round(mut round: Round<'_>) -> Passed {
    let inside = round.enclosed();
    if !round.looks_everywhere() {
        return inside;
    }
    let mut all = round.go();
    for _ in 1..MOST_ROUNDS {
        if !is_quiet(&all) || is_enough(&all) || round.memory.is_abandoned() {
            break;
        }
        let mut next = round.go();
        if is_quiet(&next) {
            next.rounds += all.rounds;
            for (life, seen) in &mut next.seen {
                seen.inhabited += all.seen.get(life).map_or(0, |seen| seen.inhabited);
            }
        }
        all = next;
    }
    all
}

/// Two rounds began when nobody was known to live.
fn is_enough(passed: &Passed) -> bool {
    let counted = |seen: &Seen| passed.rounds.saturating_sub(seen.inhabited);
    passed.seen.values().all(|seen| counted(seen) >= 2)
}

/// Whether this process has no child: as orphans come to it, it has no descendant then.
fn is_childless(scene: &Scene) -> bool {
    scene.orphanage.is_some() && sys::is_childless()
}

fn childless(scene: &Scene) -> Passed {
    scene.prey.iter().for_each(enclosure::strike);
    let mut passed = nobody(scene);
    for prey in &scene.prey {
        enclosure::settle(prey, passed.seen.entry(prey.hunt.life).or_default());
    }
    Passed {
        childless: true,
        ..passed
    }
}

/// A round that has met nobody.
fn nobody(scene: &Scene) -> Passed {
    let lives = scene.prey.iter().map(|prey| prey.hunt.life);
    Passed {
        fate: Fate::Complete,
        calm: true,
        rounds: 1,
        seen: lives.map(|life| (life, Seen::default())).collect(),
        ..Passed::default()
    }
}

/// A pass that could not be made.
pub(super) fn refused() -> Passed {
    Passed {
        fate: Fate::Refused,
        ..Passed::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_quiet(passed: &Passed) -> bool {
    let still = |seen: &Seen| !seen.living && !seen.freshly_dead;
    passed.fate == Fate::Complete && passed.calm && passed.seen.values().all(still)
}

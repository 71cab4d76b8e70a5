//! What must hold: who is in which session, what was done to whom, and what has been told of it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use procession::{
    Capability, EventKind, Exit, Origin, Process, ProcessId, Registry, SessionReport, Signal,
    Status, Subscription,
};

use std::sync::Arc;

use super::programs::{Held, Kind, bit, bury};
use super::world::World;
use crate::support::adversary::is_abandoned;
use crate::support::{LONG_ENOUGH, Pinned, holds_within, ms, settle};

/// How long the programs stay that do not stay for ever, at least.
const STAYS: std::time::Duration = std::time::Duration::from_secs(15);

/// A process that a call has handed out.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) process: Process,
    pub(super) kind: Kind,
    /// What a signal was, or may have been, sent for.
    sent: AtomicU64,
    held: Mutex<Held>,
    /// It has said so.
    ready: bool,
    /// A report that was not clean has let its descendants live, or may have.
    uncovered: AtomicBool,
    /// What somebody was told of its exit.
    exit: Mutex<Option<Exit>>,
    pub(super) detached: AtomicBool,
}

impl Known {
    pub(super) fn new(process: Process, kind: Kind, held: Held, sent: u64) -> Arc<Self> {
        Arc::new(Self {
            process,
            kind,
            sent: AtomicU64::new(sent),
            ready: held.ready,
            uncovered: AtomicBool::new(false),
            held: Mutex::new(held),
            exit: Mutex::new(None),
            detached: AtomicBool::new(false),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it may have died of this.
    pub(super) fn may_have_got(&self, signals: u64) {
        self.sent.fetch_or(signals, Ordering::SeqCst);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Whether the test can tell of itself that it lives.
    pub(super) fn is_pinned(&self) -> bool {
        self.held().pinned.is_some()
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::SeqCst)
    }

    /// It has to live: nothing was done to it, and it does not leave by itself.
    pub(super) fn has_to_live(&self) -> bool {
        self.sent() == 0 && !self.kind.may_leave() && !self.kind.has_descendants()
    }

    /// By the kernel's word, as far as it could be asked for one.
    #[track_caller]
    pub(super) fn assert_dead(&self, why: &str) {
        let held = self.held();
        if let Some(pinned) = &held.pinned {
            assert!(
                pinned.is_dead(),
                "{why}, and {:?} lives: {:?}",
                self.kind,
                self.process
            );
        }
    }

    /// So are all that it has started.
    #[track_caller]
    pub(super) fn assert_nobody_of_it_lives(&self, why: &str) {
        let mut held = self.held();
        for pinned in &held.descendants {
            assert!(
                pinned.is_dead(),
                "{why}, and {} lives, a descendant of {:?}: {:?}",
                pinned.pid(),
                self.kind,
                self.process
            );
        }
        // What another thread starts holds everything until its exec: that is waited for, and no comet lives so long after.
        if let Some(output) = &mut held.output {
            assert!(
                is_abandoned(output, ms(5000)),
                "{why}, and a descendant of {:?} lives: {:?}",
                self.kind,
                self.process
            );
        }
    }

    /// Lets go of what it holds of one that is dead. What is left of its descendants is ended.
    pub(super) fn let_go(&self) {
        let mut held = std::mem::take(&mut *self.held());
        held.descendants.iter().for_each(Pinned::kill);
        if let Some(pinned) = held.pinned.take().filter(|_| self.is_detached()) {
            assert!(
                !self.has_to_live() || !pinned.is_dead(),
                "given up, and dead: {:?}",
                self.process
            );
            pinned.kill();
            // Who is held because it may live is held until this.
            pinned.assert_dies();
            if self.process.origin() != Origin::Attached {
                bury(self.process.pid());
            }
        }
        if let Some(output) = &mut held.output {
            assert!(
                is_abandoned(output, LONG_ENOUGH),
                "{:?} has left somebody for ever",
                self.process
            );
        }
    }
}

/// What the events have said of one process.
#[derive(Debug, Default)]
struct Told {
    started: u32,
    exited: Vec<Exit>,
    detached: u32,
}

#[derive(Debug, Default)]
struct Heard {
    by_process: HashMap<ProcessId, Told>,
    missed: u64,
    events: u64,
}

/// The model of one run.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) world: World,
    foreign_status: bool,
    members: Mutex<HashMap<u64, Vec<Arc<Known>>>>,
    everybody: Mutex<Vec<Arc<Known>>>,
    /// What was sent to the sessions that all threads use, where nobody can say whether it came before a spawn.
    sent: Mutex<HashMap<u64, u64>>,
    /// What those hold on to who were refused, if they have run at all, by the session that it was to be.
    refused: Mutex<Vec<(u64, File)>>,
    /// The sessions of which a report has let somebody live, or says that it may have.
    unclean: Mutex<HashSet<u64>>,
    /// Those of which something may be held until their next end.
    lingering: Mutex<HashSet<u64>>,
    ear: Subscription,
    heard: Mutex<Heard>,
    mishears: Mutex<Option<Mishears>>,
}

/// How the next exit is misheard, on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishears {
    Nothing,
    Twice,
}

impl Model {
    pub(super) fn new(world: World, registry: &Registry) -> Self {
        Self {
            foreign_status: registry.capabilities().has(Capability::ForeignStatus),
            world,
            members: Mutex::default(),
            everybody: Mutex::default(),
            sent: Mutex::default(),
            refused: Mutex::default(),
            unclean: Mutex::default(),
            lingering: Mutex::default(),
            ear: registry.subscribe(),
            heard: Mutex::default(),
            mishears: Mutex::default(),
        }
    }

    /// The next exit is heard like this.
    pub(super) fn mishear(&self, how: Mishears) {
        *lock(&self.mishears) = Some(how);
    }

    /// It belongs to this session from now on.
    pub(super) fn add(&self, number: u64, known: &Arc<Known>) {
        lock(&self.everybody).push(Arc::clone(known));
        lock(&self.members)
            .entry(number)
            .or_default()
            .push(Arc::clone(known));
    }

    pub(super) fn of(&self, number: u64) -> Vec<Arc<Known>> {
        lock(&self.members)
            .get(&number)
            .cloned()
            .unwrap_or_default()
    }

    /// All of a session may get these signals from now on; whoever comes into one that all threads use as well.
    pub(super) fn sends(&self, number: u64, signals: u64) {
        if is_shared(number) {
            *lock(&self.sent).entry(number).or_default() |= signals;
        }
        for known in self.of(number) {
            if !known.is_detached() {
                known.may_have_got(signals);
            }
        }
    }

    /// Those that are dead, and have been looked at, are forgotten, and only remembered for what is told of them.
    pub(super) fn forget(&self, number: u64, gone: &[Arc<Known>]) {
        if let Some(members) = lock(&self.members).get_mut(&number) {
            members.retain(|known| !gone.iter().any(|other| Arc::ptr_eq(other, known)));
        }
        for known in gone {
            known.let_go();
        }
    }

    /// An exit that a call has handed out has to be possible, and the same for everybody.
    #[track_caller]
    pub(super) fn judge(&self, known: &Known, exit: &Exit) {
        let said = lock(&known.exit)
            .get_or_insert_with(|| exit.clone())
            .clone();
        assert_eq!(
            said.status(),
            exit.status(),
            "told two ways: {:?}",
            known.process
        );
        let session = known.process.session().as_u64();
        let shared = lock(&self.sent).get(&session).copied().unwrap_or_default();
        let sent = known.sent() | shared;
        let status = exit.status();
        let attached = known.process.origin() == Origin::Attached;
        let over = known.kind.has_descendants()
            && status == Status::Code(0)
            && exit.lifetime().is_none_or(|lived| lived > STAYS);
        let against = known.ready
            && matches!(status, Status::Signal { signal, .. } if known.kind.ignores(signal));
        // Of what is not our child the kernel tells only once its parent has let go of it, and that is waited for a second.
        let unknown = status == Status::Unknown
            && (self.world.thief || attached && (!self.foreign_status || self.world.stops));
        assert!(
            over || unknown || known.kind.may_end_by(status, sent) && !against,
            "{:?}, which was sent {sent:#x}, cannot have ended so: {status:?}\n{exit:?}\n{:?}",
            known.kind,
            known.process
        );
    }

    /// Its spawn was refused, which may have been after it had begun: then it is ended with its session, and what it has
    /// started as well.
    pub(super) fn refused(&self, number: u64, output: Option<File>) {
        lock(&self.refused).extend(output.map(|output| (number, output)));
    }

    /// All sessions have ended: nobody is left of those that were refused.
    fn close_refused(&self) {
        let unclean = std::mem::take(&mut *lock(&self.unclean));
        for (number, mut output) in std::mem::take(&mut *lock(&self.refused)) {
            let ended = self.world.covers_descendants() && !unclean.contains(&number);
            let patience = if ended { ms(5000) } else { LONG_ENOUGH };
            assert!(
                is_abandoned(&mut output, patience),
                "somebody lives whose spawn in {number} was refused"
            );
        }
    }

    /// What holds after a report, for all that were handed out before its end was asked for.
    #[track_caller]
    pub(super) fn reported(&self, number: u64, before: &[Arc<Known>], report: &SessionReport) {
        assert_eq!(report.session().as_u64(), number);
        for member in report.members() {
            if let Some(known) = before
                .iter()
                .find(|known| known.process.id() == member.process())
            {
                assert!(!known.is_detached(), "given up, and ended:\n{report}");
                if let Some(exit) = member.exit() {
                    self.judge(known, exit);
                }
            }
        }
        // Without a descriptor nobody could be looked for.
        let blind = self.world.few_descriptors && !report.covers_descendants();
        if blind || !report.is_clean() {
            lock(&self.unclean).insert(number);
        }
        if !report.is_clean() {
            self.lingers(number);
            for known in before {
                known.uncovered.store(true, Ordering::SeqCst);
            }
            return;
        }
        let why = format!("a clean report\n{report}");
        let mut gone = Vec::new();
        for known in before {
            if known.is_detached() {
                continue;
            }
            known.assert_dead(&why);
            let exit = known.process.try_wait().expect("the registry works");
            let exit = exit.unwrap_or_else(|| panic!("{why}, no exit: {:?}", known.process));
            self.judge(known, &exit);
            // Another life of the number may have let them live, which a report said then.
            let is_it = |member: &procession::MemberReport| member.process() == known.process.id();
            let of_it = is_shared(number) || known.uncovered.load(Ordering::SeqCst);
            if report.covers_descendants() && (!of_it || report.members().iter().any(is_it)) {
                known.assert_nobody_of_it_lives(&why);
            }
            gone.push(Arc::clone(known));
        }
        self.forget(number, &gone);
    }

    /// A report of this number was not clean, or may not have been.
    pub(super) fn lingers(&self, number: u64) {
        lock(&self.lingering).insert(number);
    }

    /// The sessions that are to be ended once more.
    pub(super) fn take_lingering(&self) -> HashSet<u64> {
        std::mem::take(&mut *lock(&self.lingering))
    }

    /// Takes in the events that are there.
    pub(super) fn listen(&self) {
        let mut heard = lock(&self.heard);
        for event in self.ear.receiver().try_iter() {
            heard.events += 1;
            if let EventKind::Lagged(lagged) = event.kind() {
                assert!(
                    !self.world.hears_everything(),
                    "lost, and somebody reads: {event}"
                );
                heard.missed += lagged.missed();
            }
            if let EventKind::SessionEnded(report) = event.kind() {
                if !report.is_clean() {
                    self.lingers(report.session().as_u64());
                }
            }
            let Some(process) = event.process() else {
                continue;
            };
            let told = heard.by_process.entry(process).or_default();
            if let EventKind::Exited(exit) = event.kind() {
                let times = match lock(&self.mishears).take() {
                    None => 1,
                    Some(Mishears::Nothing) => 0,
                    Some(Mishears::Twice) => 2,
                };
                told.exited.extend(std::iter::repeat_n(exit.clone(), times));
                assert!(told.exited.len() < 2, "told twice: {event}");
                assert_eq!(told.detached, 0, "told of one that was given up: {event}");
            }
            told.started += u32::from(matches!(event.kind(), EventKind::Started));
            told.detached += u32::from(matches!(event.kind(), EventKind::Detached));
        }
    }

    /// Waits until there is something to take in, a while at most.
    pub(super) fn await_events(&self) {
        let mut select = procession::channel::Select::new();
        select.recv(self.ear.receiver());
        // Whether there is something or not, it is looked for next.
        let _ = select.ready_timeout(ms(20));
    }

    /// All sessions have ended: everybody has one exit, and it was told. Forgets them.
    pub(super) fn close(&self) {
        let everybody = std::mem::take(&mut *lock(&self.everybody));
        for known in &everybody {
            if known.is_detached() {
                continue;
            }
            let exit = known.process.wait_timeout(LONG_ENOUGH);
            let exit = exit.expect("the registry works");
            let exit = exit.unwrap_or_else(|| panic!("never told: {:?}", known.process));
            self.judge(known, &exit);
        }
        let all_told = || {
            self.listen();
            let heard = lock(&self.heard);
            heard.missed > 0
                || everybody.iter().all(|known| {
                    let told = heard.by_process.get(&known.process.id());
                    told.is_some_and(|told| told.exited.len() == 1 || told.detached == 1)
                })
        };
        assert!(holds_within(settle(), all_told), "never told of an exit");
        self.listen();
        let heard = std::mem::take(&mut *lock(&self.heard));
        if heard.missed == 0 {
            for known in &everybody {
                let told = &heard.by_process[&known.process.id()];
                let detached = u32::from(known.is_detached());
                assert_eq!(
                    (told.started, told.exited.len(), told.detached),
                    (1, usize::from(detached == 0), detached),
                    "{told:?} of {:?}",
                    known.process
                );
                if let Some(exit) = told.exited.first() {
                    self.judge(known, exit);
                }
            }
            for (process, told) in &heard.by_process {
                assert_eq!(
                    told.exited.len() + told.detached as usize,
                    1,
                    "{process}: {told:?}"
                );
            }
        }
        for known in &everybody {
            known.let_go();
        }
        self.close_refused();
        // Not their tables either, which would be taken for memory that is lost.
        drop(std::mem::take(&mut *lock(&self.members)));
        drop(std::mem::take(&mut *lock(&self.sent)));
    }
}

/// The numbers that all threads use.
pub(super) const SHARED: std::ops::RangeInclusive<u64> = 1..=3;

pub(super) fn is_shared(number: u64) -> bool {
    SHARED.contains(&number)
}

/// The signals that an end by this policy may send.
pub(super) fn harsh() -> u64 {
    bit(Signal::TERM) | bit(Signal::KILL)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

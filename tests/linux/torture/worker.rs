//! One of the threads that do something at random, again and again. It has sessions of its own, in which nobody else
//! does anything, so that it knows what has to come of each call; and it meets the others in those that all of them use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession::channel::Receiver;
use procession::{
    Containment, Ending, Error, ErrorKind, Exit, Process, Registry, Session, SessionReport, Signal,
    SpawnOptions, StopPolicy, Subscription,
};

use super::chance::Chance;
use super::diary::Diary;
use super::model::{Known, Model, SHARED, harsh, is_shared};
use super::programs::{Held, Kind, Nursery, Where, look_at, start_unseen};
use crate::support::{LONG_ENOUGH, let_pass, ms, now};

/// How long an end may take beyond what its policy says.
const PATIENCE: Duration = Duration::from_secs(25);

/// So many processes of one thread may live at once.
const CROWD: usize = 10;

/// What all threads share.
pub(super) struct Scene<'a> {
    pub(super) registry: &'a Registry,
    pub(super) model: &'a Model,
    pub(super) nursery: &'a Nursery,
    /// One comet at a time: they fill the machine with their dead.
    pub(super) comet: &'a AtomicBool,
    pub(super) counts: &'a Counts,
    pub(super) until: Instant,
}

/// What was done, for whoever reads the output.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) operations: AtomicU64,
    pub(super) spawned: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) ends: AtomicU64,
    pub(super) unclean: AtomicU64,
    pub(super) stolen: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What is known of the life of a number of this thread's own.
#[derive(Default)]
pub(super) struct Life {
    /// It was opened by hand, and is not over.
    pub(super) handle: Option<Session>,
    /// How many processes it may have, if that was said.
    pub(super) most: Option<usize>,
    /// It ends by itself some time.
    pub(super) limited: bool,
    /// It is being ended, and these were there before.
    pub(super) ending: Option<(Ending, Vec<Arc<Known>>, Instant, StopPolicy)>,
}

impl Life {
    /// It may be over at any moment, and nobody has looked.
    pub(super) fn ends(&self) -> bool {
        self.limited || self.ending.is_some()
    }
}

pub(super) struct Worker<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) chance: Chance,
    pub(super) diary: Arc<Diary>,
    /// Its own numbers.
    pub(super) own: [u64; 3],
    pub(super) lives: HashMap<u64, Life>,
    /// Handles of sessions that are over.
    pub(super) old: Vec<Session>,
    /// Nobody reads them.
    pub(super) unread: Vec<Subscription>,
    pub(super) receivers: Vec<(Arc<Known>, Receiver<Exit>)>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, index: u64, chance: Chance) -> Self {
        let first = 1000 * (index + 1);
        Self {
            scene,
            chance,
            diary: Diary::begin(format!("worker {index}")),
            own: [first, first + 1, first + 2],
            lives: HashMap::new(),
            old: Vec::new(),
            unread: Vec::new(),
            receivers: Vec::new(),
        }
    }

    /// Does something until the time is over.
    pub(super) fn work(mut self) {
        while now() < self.scene.until {
            self.step();
            count(&self.scene.counts.operations);
        }
        self.diary.does("the last ends".to_owned());
        for number in self.own {
            self.resolve(number);
        }
        for (known, receiver) in std::mem::take(&mut self.receivers) {
            if known.is_detached() {
                continue;
            }
            // Whoever lives on is ended by now, by its own number or with the rest.
            self.scene
                .model
                .sends(known.process.session().as_u64(), harsh());
            let _ = known.process.kill();
            let exit = receiver.recv_timeout(LONG_ENOUGH);
            self.scene
                .model
                .judge(&known, &exit.expect("it is told its exit"));
            assert!(receiver.try_recv().is_err(), "told twice: {known:?}");
        }
        self.diary.rests();
        self.diary.close();
    }

    fn step(&mut self) {
        let living: usize = self
            .own
            .iter()
            .map(|&number| self.scene.model.of(number).len())
            .sum();
        let number = self.any_number();
        match self.chance.below(100) {
            _ if living >= CROWD => self.end(number),
            0..30 => self.spawn(number),
            30..36 => self.attach(number),
            36..41 => self.adopt(number),
            41..43 => self.spawn_nothing(number),
            43..52 => self.signal(number),
            52..56 => self.stop(number),
            56..68 => self.wait(number),
            68..78 => self.end(number),
            78..81 => self.begin_end(number),
            81..84 => self.end_twice(number),
            84..87 => self.open(number),
            87..89 => self.guard(),
            89..91 => self.signal_session(number),
            91..93 => self.subscribe(),
            93..96 => self.look(number),
            96..97 => self.detach(),
            97..98 => self.retain(),
            98..99 => self.use_an_old_handle(),
            _ => let_pass(self.chance.up_to(5)),
        }
    }

    /// One of its own, three times in four.
    fn any_number(&mut self) -> u64 {
        if self.chance.one_in(4) {
            SHARED.start() + self.chance.below(3)
        } else {
            *self.chance.of(&self.own)
        }
    }

    /// Whether a call that starts something may be refused with this.
    pub(super) fn may_be_refused(&self, number: u64, error: &Error) -> bool {
        let world = &self.scene.model.world;
        let life = self.lives.get(&number);
        let kind = error.kind();
        let full = matches!(kind, ErrorKind::LimitReached | ErrorKind::TimedOut);
        // Whoever has a handle sees it end when it was not waited for yet.
        let over = matches!(kind, ErrorKind::SessionEnding | ErrorKind::SessionEnded);
        let failed = matches!(kind, ErrorKind::SpawnFailed | ErrorKind::System);
        let others = is_shared(number) || life.is_some_and(Life::ends);
        // std's command is moved into a cgroup that its end may have removed meanwhile (ENODEV).
        let removed = world.tier == Containment::Cgroup && others;
        failed && (world.few_descriptors || removed)
            || full && (world.slots.is_some() || life.is_some_and(|life| life.most.is_some()))
            || over && others
    }

    #[track_caller]
    pub(super) fn refused(&self, number: u64, error: &Error) {
        self.diary.done(&format!("{:?}", error.kind()));
        count(&self.scene.counts.refused);
        assert!(
            self.may_be_refused(number, error),
            "refused in session {number}: {error:?}"
        );
    }

    pub(super) fn enter(
        &self,
        number: u64,
        process: Process,
        kind: Kind,
        held: Held,
        sent: u64,
    ) -> Arc<Known> {
        self.diary
            .done(&format!("{} pid {}", process.id(), process.pid()));
        count(&self.scene.counts.spawned);
        assert_eq!(process.session().as_u64(), number);
        // What comes into a session whose end was begun may be ended with the rest.
        let ends = self.lives.get(&number).is_some_and(Life::ends);
        let sent = if ends { sent | harsh() } else { sent };
        let known = Known::new(process, kind, held, sent);
        self.scene.model.add(number, &known);
        known
    }

    fn any_kind(&mut self, number: u64) -> Kind {
        let world = &self.scene.model.world;
        // Where they are not looked for, whoever is ended before it has said who they are leaves them to nobody.
        let covers = world.covers_descendants();
        let ends = self.lives.get(&number).is_some_and(Life::ends);
        let alone = !covers && (ends || is_shared(number));
        match self.chance.below(40) {
            0..12 => Kind::Exits(u8::try_from(self.chance.below(251)).expect("it fits")),
            12..20 => Kind::Obedient,
            20..27 => Kind::Deaf,
            27..32 => Kind::Reader,
            32..35 if !alone => Kind::Daemon,
            35..39 if !alone => Kind::Scatterer,
            39.. if !alone && covers && !self.scene.comet.swap(true, Ordering::SeqCst) => {
                Kind::Comet
            }
            _ => Kind::Obedient,
        }
    }

    fn spawn(&mut self, number: u64) {
        let kind = self.any_kind(number);
        let native = self.chance.one_in(2);
        let label = format!("label {}", self.chance.below(100));
        let mut options = SpawnOptions::new();
        let labelled = self.chance.one_in(2);
        if labelled {
            options = options.label(label.as_str());
        }
        if self.chance.one_in(8) {
            options = options.slot_timeout(self.chance.up_to(20));
        }
        let mut sent = 0;
        if self.chance.one_in(12) && !kind.has_descendants() {
            options = options.time_limit(self.chance.up_to(50));
            sent = harsh();
        }
        self.diary
            .does(format!("spawn {kind:?} in {number}, native {native}"));
        let handle = self.lives.get(&number).and_then(|life| life.handle.clone());
        let place = match &handle {
            Some(session) if self.chance.one_in(2) => Where::Handle(session),
            _ => Where::Number(self.scene.registry, number),
        };
        match start_unseen(kind, native, place, &options) {
            None => {
                assert!(self.scene.model.world.few_descriptors, "no descriptor");
                self.passes_by(kind);
            }
            Some((Ok(process), mut held)) => {
                look_at(&process, kind, &mut held);
                if labelled {
                    assert_eq!(process.label(), Some(label.as_str()));
                }
                let known = self.enter(number, process, kind, held, sent);
                if self.chance.one_in(6) && self.receivers.len() < 8 {
                    let receiver = known.process.exit_receiver();
                    self.receivers.push((known, receiver));
                }
                if kind == Kind::Comet {
                    // It is not to run for long.
                    self.end(number);
                }
                self.passes_by(kind);
            }
            Some((Err(error), held)) => {
                self.refused(number, &error);
                self.scene.model.refused(number, held.output);
                self.passes_by(kind);
            }
        }
    }

    /// If it was the comet, there may be another one.
    fn passes_by(&self, kind: Kind) {
        if kind == Kind::Comet {
            self.scene.comet.store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn any_policy(&mut self) -> StopPolicy {
        let short = self.chance.up_to(30);
        match self.chance.below(6) {
            0 | 1 => StopPolicy::immediate(),
            2 => StopPolicy::wait_then_kill(short),
            3 => StopPolicy::new().close_stdin(short).kill(),
            4 => StopPolicy::new()
                .close_stdin(short)
                .signal(Signal::TERM, short)
                .kill(),
            _ => StopPolicy::new().signal(Signal::TERM, short).kill(),
        }
    }

    /// What is said of a number that is about to be ended, and who was there.
    pub(super) fn before_the_end(&mut self, number: u64) -> Vec<Arc<Known>> {
        self.resolve(number);
        let before = self.scene.model.of(number);
        self.scene.model.sends(number, harsh());
        before
    }

    /// Its number may live again from here on.
    pub(super) fn over(&mut self, number: u64) {
        if let Some(life) = self.lives.remove(&number) {
            if let Some(handle) = life.handle {
                self.old.push(handle);
            }
        }
        if self.old.len() > 4 {
            self.old.remove(0);
        }
    }

    #[track_caller]
    pub(super) fn came(
        &self,
        number: u64,
        before: &[Arc<Known>],
        report: &SessionReport,
        took: Duration,
        policy: &StopPolicy,
    ) {
        count(&self.scene.counts.ends);
        self.diary.done(&format!("{}", report.strength()));
        if !report.is_clean() {
            count(&self.scene.counts.unclean);
        }
        assert!(
            took < policy.longest() + PATIENCE,
            "an end by {policy} took {took:?}\n{report}"
        );
        self.scene.model.reported(number, before, report);
    }

    fn end(&mut self, number: u64) {
        let policy = if self.chance.one_in(4) {
            None
        } else {
            Some(self.any_policy())
        };
        let before = self.before_the_end(number);
        self.diary.does(format!("end {number} by {policy:?}"));
        let began = now();
        let registry = self.scene.registry;
        let report = match &policy {
            None => registry.end_session(number),
            Some(policy) => registry.end_session_with(number, policy),
        };
        let report = report.expect("the registry works");
        let policy = policy.unwrap_or_else(|| registry.stop_policy().clone());
        self.came(number, &before, &report, began.elapsed(), &policy);
        self.over(number);
    }

    fn begin_end(&mut self, number: u64) {
        let policy = self.any_policy();
        let before = self.before_the_end(number);
        self.diary
            .does(format!("begin to end {number} by {policy}"));
        let registry = self.scene.registry;
        let ending = registry
            .begin_end_session(number, &policy)
            .expect("the registry works");
        // Nobody else answers for it.
        if self.own.contains(&number) {
            let life = self.lives.entry(number).or_default();
            life.ending = Some((ending, before, now(), policy));
        }
    }

    /// Waits for an end of one's own that was begun before, in one way or another.
    pub(super) fn resolve(&mut self, number: u64) {
        let Some(life) = self.lives.get_mut(&number) else {
            return;
        };
        let Some((ending, before, began, policy)) = life.ending.take() else {
            return;
        };
        self.diary.does(format!("wait for the end of {number}"));
        let report = match self.chance.below(3) {
            0 => ending.wait(),
            1 => {
                let report = ending.receiver().recv_timeout(PATIENCE);
                Ok(report.expect("an end is over in time"))
            }
            _ => loop {
                if let Some(report) = ending.wait_timeout(ms(10)).transpose() {
                    break report;
                }
            },
        };
        let report = report.expect("the registry works");
        // It was begun a while ago, and nobody has looked.
        let took = report.took().min(began.elapsed());
        self.came(number, &before, &report, took, &policy);
        self.over(number);
    }

    /// A second caller joins an end by something harsher.
    fn end_twice(&mut self, number: u64) {
        let policy = StopPolicy::new().signal(Signal::TERM, ms(200)).kill();
        let before = self.before_the_end(number);
        self.diary.does(format!("end {number} twice"));
        let registry = self.scene.registry;
        let began = now();
        let first = registry
            .begin_end_session(number, &policy)
            .expect("the registry works");
        let wait = self.chance.up_to(3);
        let (one, other) = thread::scope(|scope| {
            let second = scope.spawn(|| {
                let_pass(wait);
                registry.end_session_with(number, &StopPolicy::immediate())
            });
            (first.wait(), second.join().expect("it did not panic"))
        });
        let (one, other) = (one.expect("it works"), other.expect("it works"));
        let took = began.elapsed();
        if !is_shared(number)
            && !one.members().is_empty()
            && !other.members().is_empty()
            && one.is_clean()
        {
            let all = |report: &SessionReport| -> Vec<_> {
                report
                    .members()
                    .iter()
                    .map(procession::MemberReport::process)
                    .collect()
            };
            assert_eq!(
                all(&one),
                all(&other),
                "two reports of one end:\n{one}\n{other}"
            );
        }
        self.came(number, &before, &one, took, &policy);
        self.over(number);
    }
}

/// For what may be refused only because it is over.
pub(super) fn is_over(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExited | ErrorKind::NoSuchProcess
    )
}

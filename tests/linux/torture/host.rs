//! The process that is tortured: a host with a registry, many threads, and a model.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use procession::{Containment, Limits, Registry, SessionOptions, Signal, SpawnOptions, StopPolicy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::chance::Chance;
use super::diary::{self, Diary};
use super::memory;
use super::model::{Known, Mishears, Model, harsh};
use super::programs::{
    Kind, Nursery, Where, die_with_parent, start, start_alone, wait_for_anybody,
};
use super::worker::{Counts, Scene, Worker};
use super::world::World;
use crate::support::{
    LONG_ENOUGH, Pinned, Scratch, Works as _, argument, builder, children, descriptors, eventually,
    holds_within, let_pass, ms, now, say, settle, threads,
};

/// After that a call is taken for one that does not come back.
const HANGS: Duration = Duration::from_secs(50);

/// A defect that was put in is there for good, and need not be waited for.
const SOON: Duration = Duration::from_millis(300);

/// So many bytes more than the half before it a half may leave in use, however long it was: tables that have grown, the
/// last reports, what a channel keeps. What is known of the machine's processes comes besides.
const MEMORY: usize = 96 * 1024;

/// A defect that is put in to see it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    None,
    Descriptor,
    Memory,
    Thread,
    Child,
    Hang,
    LostExit,
    ExitToldTwice,
    Survivor,
    Panic,
}

const DEFECTS: [Defect; 10] = [
    Defect::None,
    Defect::Descriptor,
    Defect::Memory,
    Defect::Thread,
    Defect::Child,
    Defect::Hang,
    Defect::LostExit,
    Defect::ExitToldTwice,
    Defect::Survivor,
    Defect::Panic,
];

impl Defect {
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    fn named(name: &str) -> Self {
        let found = DEFECTS.into_iter().find(|defect| defect.name() == name);
        found.expect("a defect")
    }
}

/// One run. Its arguments: seed, number of the run, milliseconds, defect.
pub(super) fn host() {
    die_with_parent();
    let number = |index| argument(index).parse::<u64>().expect("a number");
    let (seed, run, time) = (number(0), number(1), ms(number(2)));
    let world = World::draw(seed, run);
    say_all_before_a_panic(format!(
        "PROCESSION_TORTURE_SEED={seed}, run {run}: {world:?}"
    ));
    let nursery = Nursery::at_standard_input();
    let before = Footprint::now();
    let bytes = memory::in_use();
    let counts = Counts::default();
    {
        let ledger = world.ledger.then(|| Scratch::unique("torture"));
        let registry = build(&world, ledger.as_ref().map(Scratch::path));
        let model = Model::new(world, &registry);
        let stage = Stage {
            registry: &registry,
            model: &model,
            nursery: &nursery,
            counts: &counts,
            seed: seed ^ run.rotate_left(40),
            defect: Defect::named(&argument(3)),
            impatient: AtomicBool::new(false),
        };
        stage.play_watched(time);
    }
    before.assert_regained("the registry is gone", settle());
    assert_in_use(bytes + MEMORY, "the registry is gone");
    say(format!("run {run}: {counts:?}"));
}

#[track_caller]
pub(super) fn assert_in_use(most: usize, when: &str) {
    let bytes = memory::in_use();
    assert!(
        bytes <= most,
        "{when}: {bytes} bytes are in use, and {most} may be"
    );
}

fn build(world: &World, ledger: Option<&Path>) -> Registry {
    let policy = StopPolicy::new()
        .close_stdin(ms(10))
        .signal(Signal::TERM, ms(30));
    let mut builder = builder()
        .stop_policy(policy)
        .subreaper(world.tier == Containment::Subreaper)
        .containment_up_to(world.tier)
        .event_capacity(world.capacity)
        .kept_reports(4);
    if let Some(slots) = world.slots {
        builder = builder.limits(Limits::NONE.processes(slots));
    }
    if let Some(path) = ledger {
        builder = builder.ledger(path);
    }
    builder.build().works()
}

/// Whoever panics first says what all did last, and ends the process: the others would only say what follows from it.
fn say_all_before_a_panic(what: String) {
    static FIRST: Mutex<()> = Mutex::new(());
    std::panic::set_hook(Box::new(move |info| {
        let _held = FIRST.lock();
        let text = format!("{what}\n{info}\n{}", diary::read_out());
        // A reader that has gone has seen enough.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        std::process::abort();
    }));
}

struct Stage<'a> {
    registry: &'a Registry,
    model: &'a Model,
    nursery: &'a Nursery,
    counts: &'a Counts,
    seed: u64,
    defect: Defect,
    /// What hangs hangs on purpose.
    impatient: AtomicBool,
}

impl Stage<'_> {
    /// Plays, while one thread listens to the events and another one looks whether every call returns.
    fn play_watched(&self, time: Duration) {
        let over = AtomicBool::new(false);
        let is_over = || over.load(Ordering::SeqCst);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over() {
                    self.model.await_events();
                    self.model.listen();
                }
            });
            let limit = || {
                if self.impatient.load(Ordering::SeqCst) {
                    SOON
                } else {
                    HANGS
                }
            };
            scope.spawn(move || diary::keep_watch(limit, is_over));
            self.play(time);
            over.store(true, Ordering::SeqCst);
        });
    }

    /// Warms up, then compares two halves: whatever the second has more than the first is a leak. Descriptors, threads and
    /// children are as many as before the first operation.
    fn play(&self, time: Duration) {
        let first = Footprint::when_settled();
        self.act(0, time / 5);
        first.assert_regained("it has warmed up", settle());
        self.act(1, time * 2 / 5);
        first.assert_regained("the first half is over", settle());
        let bytes = memory::in_use();
        let for_the_machine = self.act(2, time * 2 / 5);
        first.assert_regained("the second half is over", settle());
        if self.defect != Defect::None {
            self.be_defective();
            first.assert_regained("the second half is over", SOON);
        }
        assert_in_use(bytes + MEMORY + for_the_machine, "the second half is over");
    }

    /// Says how much memory may be in use at its end for what is known of the machine.
    fn act(&self, part: u64, time: Duration) -> usize {
        let (comet, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let scene = Scene {
            registry: self.registry,
            model: self.model,
            nursery: self.nursery,
            comet: &comet,
            counts: self.counts,
            until: now() + time,
        };
        let world = &self.model.world;
        thread::scope(|scope| {
            let (scene, over) = (&scene, &over);
            let chance = |who: u64| Chance::new(self.seed, part << 16 | who);
            if world.thief {
                scope.spawn(move || steal(chance(100), &self.counts.stolen, over));
            }
            if world.few_descriptors {
                scope.spawn(move || run_out_of_descriptors(chance(101), over));
            }
            let workers: Vec<_> = (0..world.workers)
                .map(|index| {
                    let worker = Worker::new(scene, index, chance(index));
                    scope.spawn(move || worker.work())
                })
                .collect();
            for worker in workers {
                worker.join().expect("a panic ends the process");
            }
            over.store(true, Ordering::SeqCst);
        });
        self.come_to_rest(part)
    }

    /// Ends all that is left, and looks whether the books agree.
    fn come_to_rest(&self, part: u64) -> usize {
        let diary = Diary::begin(format!("the end of part {part}"));
        for _ in 0..20 {
            self.model.listen();
            let mut numbers = self.model.take_lingering();
            let sessions = self.registry.sessions().works();
            numbers.extend(sessions.iter().map(|session| session.id.as_u64()));
            if numbers.is_empty() {
                break;
            }
            for number in numbers {
                diary.does(format!("end {number}"));
                self.model.sends(number, harsh());
                let before = self.model.of(number);
                let policy = StopPolicy::immediate();
                let report = self.registry.end_session_with(number, &policy).works();
                diary.done(&format!("{}", report.strength()));
                self.model.reported(number, &before, &report);
            }
        }
        diary.does("close the books".to_owned());
        self.model.close();
        let sessions = self.registry.sessions().works();
        assert!(sessions.is_empty(), "it has ended: {sessions:?}");
        let processes = self.registry.processes().works();
        assert!(processes.is_empty(), "it is dead: {processes:?}");
        if let Some(slots) = self.model.world.slots {
            diary.does("fill the slots".to_owned());
            self.fill(slots);
        }
        diary.does("let go of whom was given up".to_owned());
        let before = memory::for_the_machine();
        self.have_a_pass();
        diary.rests();
        diary.close();
        before.max(memory::for_the_machine())
    }

    /// Whoever was given up and is dead is held until the next pass at the latest, and then no more.
    fn have_a_pass(&self) {
        const NUMBER: u64 = 78;
        let options = SessionOptions::new()
            .id(NUMBER)
            .containment(Containment::Group);
        let session = self.registry.open_session(options).works();
        let started = start(
            Kind::Obedient,
            true,
            Where::Handle(&session),
            &SpawnOptions::new(),
        );
        drop(started.expect("there are descriptors").works());
        let report = session.end_with(&StopPolicy::immediate()).works();
        assert!(report.is_clean(), "\n{report}");
        self.model.close();
    }

    /// All slots are free again: so many can be started, and no more.
    fn fill(&self, slots: usize) {
        const NUMBER: u64 = 77;
        let place = Where::Number(self.registry, NUMBER);
        let options = SpawnOptions::new();
        let one_more = |count| {
            let native = count % 2 == 0;
            start(Kind::Obedient, native, place, &options).expect("there are descriptors")
        };
        for count in 0..slots {
            if let Err(error) = one_more(count) {
                panic!("{count} of {slots} slots are free: {error}");
            }
        }
        let error = one_more(slots).expect_err("all slots are taken");
        assert_eq!(error.kind(), procession::ErrorKind::LimitReached, "{error}");
        let report = self
            .registry
            .end_session_with(NUMBER, &StopPolicy::immediate())
            .works();
        assert_eq!(report.members().len(), slots, "\n{report}");
        assert!(report.is_clean(), "\n{report}");
        self.model.close();
    }

    /// What it is told to do wrong.
    fn be_defective(&self) {
        match self.defect {
            Defect::None => {}
            Defect::Descriptor => {
                let file = std::fs::File::open("/dev/null");
                std::mem::forget(file.expect("it can be opened"));
            }
            Defect::Memory => {
                let allowed = MEMORY + memory::for_the_machine();
                std::mem::forget(vec![1_u8; 2 * allowed]);
            }
            Defect::Thread => drop(thread::spawn(|| let_pass(LONG_ENOUGH))),
            Defect::Child => {
                let child = start_alone(Kind::Exits(0)).expect("it can be started");
                std::mem::forget(child);
            }
            Defect::Hang => {
                let diary = Diary::begin("who hangs".to_owned());
                diary.does("hang".to_owned());
                self.impatient.store(true, Ordering::SeqCst);
                let_pass(LONG_ENOUGH);
            }
            Defect::LostExit => self.mishear(Mishears::Nothing),
            Defect::ExitToldTwice => self.mishear(Mishears::Twice),
            Defect::Survivor => {
                // A descendant that the registry knows nothing of.
                let pid = self.nursery.bear(false);
                let pinned = Pinned::open(pid).expect("it lives");
                self.one_more(Some(pinned));
            }
            Defect::Panic => {
                let place = Where::Number(self.registry, 79);
                let started = start(Kind::Obedient, true, place, &SpawnOptions::new());
                drop(started.expect("there are descriptors").works());
                panic!("on purpose, with a process");
            }
        }
    }

    fn mishear(&self, how: Mishears) {
        self.model.mishear(how);
        self.one_more(None);
        self.model.close();
    }

    /// One process, which is ended.
    fn one_more(&self, descendant: Option<Pinned>) {
        const NUMBER: u64 = 79;
        let place = Where::Number(self.registry, NUMBER);
        let started = start(Kind::Obedient, true, place, &SpawnOptions::new());
        let (process, mut held) = started.expect("there are descriptors").works();
        held.descendants.extend(descendant);
        let known = Known::new(process, Kind::Obedient, held, harsh());
        self.model.add(NUMBER, &known);
        let policy = StopPolicy::immediate();
        let report = self.registry.end_session_with(NUMBER, &policy).works();
        self.model.reported(NUMBER, &[known], &report);
    }
}

/// Waits for every child of this process, now and then.
fn steal(mut chance: Chance, stolen: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        stolen.fetch_add(wait_for_anybody(&mut chance), Ordering::Relaxed);
        let_pass(chance.up_to(2));
    }
}

/// Takes the descriptors away, and gives them back.
fn run_out_of_descriptors(mut chance: Chance, over: &AtomicBool) {
    let before = getrlimit(Resource::Nofile);
    let set = |current| {
        let limit = Rlimit {
            current,
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, limit).expect("it is below the highest");
    };
    while !over.load(Ordering::SeqCst) {
        let open = descriptors().len() as u64;
        set(Some(open + chance.below(6)));
        let_pass(chance.up_to(8));
        set(before.current);
        let_pass(chance.up_to(30));
    }
}

/// What this process holds.
struct Footprint {
    descriptors: Vec<String>,
    threads: usize,
    children: usize,
}

impl Footprint {
    fn now() -> Self {
        Self {
            descriptors: descriptors(),
            threads: threads().len(),
            children: children().len(),
        }
    }

    fn counts(&self) -> [(usize, &'static str); 3] {
        [
            (self.descriptors.len(), "descriptors"),
            (self.threads, "threads"),
            (self.children, "children"),
        ]
    }

    /// After what was on its way in is there: the same for a while.
    fn when_settled() -> Self {
        let (mut last, mut in_a_row) = (Self::now(), 0);
        eventually("nothing changes any more", || {
            let next = Self::now();
            in_a_row = if next.counts() == last.counts() {
                in_a_row + 1
            } else {
                0
            };
            last = next;
            in_a_row > 40
        });
        last
    }

    /// Descriptors, threads and children are as many as they were: one more is a leak, and one less was somebody else's.
    #[track_caller]
    fn assert_regained(&self, when: &str, patience: Duration) {
        if holds_within(patience, || Self::now().counts() == self.counts()) {
            return;
        }
        let now = Self::now();
        let mut wrong = String::new();
        for ((is, what), (was, _)) in now.counts().into_iter().zip(self.counts()) {
            let (more, less) = (is.saturating_sub(was), was.saturating_sub(is));
            if more > 0 {
                let _ = write!(wrong, " {more} {what} too many");
            }
            if less > 0 {
                let _ = write!(wrong, " {less} {what} too few");
            }
        }
        let told = |child: u32| {
            let read = |file| std::fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
            let text = |file| String::from_utf8_lossy(&read(file)).replace('\0', " ");
            let parts = [text("stat"), text("cmdline"), text("environ")];
            parts.join("\n  ")
        };
        let children: Vec<_> = children().into_iter().map(told).collect();
        let children = children.join("\n");
        panic!(
            "{when}:{wrong}\nnow {:?}\nthen {:?}\nchildren {children}",
            now.descriptors, self.descriptors
        );
    }
}

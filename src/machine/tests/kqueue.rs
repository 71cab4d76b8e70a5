//! The machine where exits are announced as xnu announces them: before the zombie, once, or never.
//!
//! The kernel's part, and what the back end makes of it, is `sys::simulated`; the promises are those of every other world.

use std::collections::HashSet;
use std::time::Duration;

use super::super::{Looked, Relation};
use super::world::{Body, Op, Temper, World};
use crate::limits::Limits;
use crate::session::ProcessId;
use crate::sys::Look;
use crate::sys::simulated::{Amid, Simulated, Stage, all_amid};

/// How long a small world is watched, in its own time: until after an end at once has given up ...
const UNTIL_IT_GIVES_UP: Duration = Duration::from_millis(1500);
/// ... or for a few second looks, where more than one process is looked at.
const A_FEW_LOOKS: Duration = Duration::from_millis(20);

/// More than it takes until one that is long dead is looked at again.
const SECOND_LOOKS: usize = 32;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What can happen anywhere.
    Op(Op),
    /// The n-th of those that are on their way out goes on.
    Advance(usize),
    /// A child is born, and taken hold of at these stages of its life.
    Born(Temper, Amid),
    /// A stranger is attached, at these.
    Attached(Amid),
    /// A child that does not become a zombie, because the host ignores SIGCHLD.
    BornVanishing(Amid),
    /// Another thread of the host takes a zombie away.
    Steal,
    /// Several exits are announced in one batch.
    AdvanceAll,
    /// A stranger that was traced is taken away by its tracer, and nothing is announced.
    TakenBySilentTracer,
}

impl World {
    pub(super) fn look_through_kqueue(&mut self, process: ProcessId, xnu: Simulated) -> Looked {
        match xnu.look() {
            Look::Alive => Looked::Alive,
            Look::Held => Looked::Held,
            Look::Dead => Looked::Dead,
            Look::Exited { status, source, .. } => {
                assert!(
                    xnu.stage() >= Stage::Announced,
                    "{process:?} is told at {:?}",
                    xnu.stage()
                );
                self.told(process, status, source)
            }
        }
    }

    fn kqueue_step(&mut self, step: Step) -> bool {
        match step {
            Step::Op(op) => return self.step(op),
            Step::Advance(n) => {
                let Some(&process) = self.on_their_way_out().get(n) else {
                    return false;
                };
                self.advance(process);
                self.see_exits();
            }
            Step::AdvanceAll => {
                let all = self.on_their_way_out();
                if all.len() < 2 {
                    return false;
                }
                for process in all {
                    self.advance(process);
                }
                self.see_exits();
            }
            Step::Born(temper, amid) => return self.born_amid(temper, (true, false), amid),
            Step::BornVanishing(amid) => {
                return self.born_amid(Temper::Obedient, (true, true), amid);
            }
            Step::Attached(amid) => return self.born_amid(Temper::Obedient, (false, false), amid),
            Step::Steal => {
                let zombies = |(_, proc): &(&ProcessId, &super::world::Proc)| {
                    proc.relation == Relation::Child && proc.exited == 0
                };
                let zombies: Vec<_> = self
                    .procs
                    .iter()
                    .filter(zombies)
                    .map(|(&id, _)| id)
                    .collect();
                let reap = |world: &mut Self, id: ProcessId| {
                    world.proc(id).xnu.as_mut().is_some_and(Simulated::reap)
                };
                let Some(id) = zombies.into_iter().find(|&id| reap(self, id)) else {
                    return false;
                };
                // Nothing is announced thereby.
                self.proc(id).body = Body::Gone;
            }
            Step::TakenBySilentTracer => {
                let ids: Vec<_> = self.procs.keys().copied().collect();
                let take = |world: &mut Self, id: ProcessId| {
                    let xnu = world.proc(id).xnu.as_mut();
                    xnu.is_some_and(Simulated::reap_by_tracer)
                };
                let Some(id) = ids.into_iter().find(|&id| take(self, id)) else {
                    return false;
                };
                self.proc(id).traced = false;
                self.proc(id).body = Body::Gone;
            }
        }
        if !self.finished {
            self.machine.check().unwrap();
            self.check();
        }
        true
    }

    /// What was born is what was said, and as far as that.
    pub(super) fn meet_at_its_stage(&mut self, process: ProcessId) {
        let Some(xnu) = self.next_is.take() else {
            return;
        };
        let proc = self.proc(process);
        proc.xnu = Some(xnu);
        proc.body = match xnu.stage() {
            Stage::Alive => Body::Alive,
            Stage::Exiting | Stage::Announced | Stage::Zombie => Body::Zombie,
            Stage::Reaped => Body::Gone,
        };
        // The poll reports at once what was marked when it was taken hold of.
        proc.unseen = xnu.is_marked();
    }

    fn on_their_way_out(&self) -> Vec<ProcessId> {
        let mut all = Vec::new();
        for (&process, proc) in &self.procs {
            let stage = proc.xnu.map(|xnu| xnu.stage());
            if matches!(stage, Some(Stage::Exiting | Stage::Announced)) {
                all.push(process);
            }
        }
        all
    }

    fn advance(&mut self, process: ProcessId) {
        let proc = self.proc(process);
        let Some(xnu) = &mut proc.xnu else { return };
        let event = xnu.advance();
        if xnu.stage() == Stage::Reaped {
            proc.body = Body::Gone;
        }
        // Who was told of, and let go, is not in the poll any more.
        proc.unseen |= event == Some(true) && proc.exited == 0;
    }

    /// The oldest spawn under way comes back, with a process that may be anywhere in its life.
    fn born_amid(&mut self, temper: Temper, (child, vanishes): (bool, bool), amid: Amid) -> bool {
        let Some(&(process, life, session)) = self.spawning.first() else {
            return false;
        };
        let Some(held) = Simulated::hold(child, vanishes, amid) else {
            // A stranger that is gone: there is nothing to attach.
            assert!(!child);
            self.gate.abort(session, process);
            self.spawning.remove(0);
            self.input(super::super::Input::Aborted {
                process,
                life,
                begun: None,
            });
            return true;
        };
        self.next_is = Some(held);
        let op = if child {
            Op::Born(temper)
        } else {
            Op::Attach(temper)
        };
        let happened = self.step(op);
        self.see_exits();
        happened
    }

    /// Without anybody who ends anything: what the kernel can tell is told, by an event or by a second look.
    fn hear_of_all_the_dead(&mut self) {
        self.settle();
        for _ in 0..SECOND_LOOKS {
            if self.finished || !self.step(Op::Timer) {
                break;
            }
        }
        if self.finished {
            // A shutdown that has given up tracks nobody any more.
            return;
        }
        for (process, proc) in &self.procs {
            let Some(xnu) = proc.xnu.filter(|_| !proc.traced) else {
                continue;
            };
            // Of whom nothing will be announced only an end asks.
            let over = xnu.stage() >= Stage::Zombie && !xnu.is_silent();
            assert!(
                !over || proc.exited == 1,
                "nobody hears of {process:?}: {proc:?}"
            );
        }
    }

    /// Whoever is on the way out comes to the end of it.
    pub(super) fn settle(&mut self) {
        for _ in 0..2 {
            for process in self.on_their_way_out() {
                self.advance(process);
            }
            self.see_exits();
        }
    }
}

/// Tries every order of these, each at most once, with what can happen at any time.
fn explore(name: &str, first: &[Step], once: &[Step], at_least: usize) {
    let born = |step: &&Step| matches!(step, Step::Born(..) | Step::Attached(_));
    let longest = if first.iter().filter(born).count() > 1 {
        A_FEW_LOOKS
    } else {
        UNTIL_IT_GIVES_UP
    };
    let always = [
        Step::Op(Op::Exit(0)),
        Step::Op(Op::Exit(1)),
        Step::Op(Op::Timer),
        Step::Advance(0),
        Step::Advance(1),
        Step::AdvanceAll,
    ];
    let mut world = World::new(Limits::NONE, false);
    for &step in first {
        assert!(world.kqueue_step(step), "{name}: {step:?}");
    }
    let mut seen = HashSet::new();
    let mut stack = vec![(world, 0_u32, Vec::new())];
    while let Some((world, used, path)) = stack.pop() {
        if !seen.insert((world.digest(), used)) {
            continue;
        }
        let unused = (0..once.len()).filter(|n| used & (1 << n) == 0);
        let steps = always
            .iter()
            .map(|&step| (step, used))
            .chain(unused.map(|n| (once[n], used | (1 << n))));
        for (step, used) in steps {
            if step == Step::Op(Op::Timer) && world.elapsed() > longest {
                continue;
            }
            let mut next = world.clone();
            let mut path = path.clone();
            path.push(step);
            let told = Told(name, &path);
            if next.kqueue_step(step) {
                stack.push((next, used, path.clone()));
            }
            drop(told);
        }
        let told = Told(name, &path);
        if !world.finished && (path.is_empty() || seen.len() % 4 == 0) {
            world.clone().hear_of_all_the_dead();
        }
        if !world.finished && (path.is_empty() || seen.len() % 16 == 0) {
            let mut last = world;
            last.settle();
            last.finish();
        }
        drop(told);
    }
    println_states(name, seen.len());
    assert!(seen.len() >= at_least, "{name}: only {} states", seen.len());
}

#[expect(clippy::print_stdout, reason = "seen with --nocapture")]
fn println_states(name: &str, states: usize) {
    println!("{name}: {states} states");
}

const RESERVE: Step = Step::Op(Op::Reserve(1));
const ALIVE: Amid = [Stage::Alive; 3];

/// The moments at which one can be met, of which no two come to the same.
fn moments(child: bool, vanishes: bool) -> Vec<Amid> {
    let mut met = HashSet::new();
    let differs = |amid: &Amid| met.insert(Simulated::hold(child, vanishes, *amid));
    let moments: Vec<_> = all_amid().into_iter().filter(differs).collect();
    assert!(moments.len() >= 3, "{moments:?}");
    moments
}

/// The note before the zombie, ESRCH, the silent note, exits between the fork and the note: whatever the back end meets.
#[test]
fn a_child_is_taken_hold_of_at_any_stage_of_its_end() {
    for amid in moments(true, false) {
        let once = [
            Step::Op(Op::End(1, 1)),
            Step::Op(Op::Stop(0, 0)),
            Step::Op(Op::End(1, 0)),
        ];
        let name = format!("born {amid:?}");
        explore(&name, &[RESERVE, Step::Born(Temper::Deaf, amid)], &once, 5);
    }
}

#[test]
fn a_child_is_born_at_any_stage_into_an_end_that_has_begun() {
    for amid in moments(true, false) {
        let first = [RESERVE];
        let once = [
            Step::Born(Temper::Deaf, amid),
            Step::Op(Op::End(1, 0)),
            Step::Op(Op::Shutdown(0)),
        ];
        explore(&format!("raced {amid:?}"), &first, &once, 20);
    }
}

#[test]
fn a_child_vanishes_where_sigchld_is_ignored() {
    for amid in moments(true, true) {
        let first = [RESERVE, Step::BornVanishing(amid)];
        let once = [Step::Op(Op::End(1, 1)), Step::Op(Op::End(1, 0))];
        explore(&format!("vanishing {amid:?}"), &first, &once, 3);
    }
}

#[test]
fn a_stranger_is_taken_hold_of_at_any_stage_of_its_end() {
    for amid in moments(false, false) {
        let once = [
            Step::Op(Op::ForeignReap),
            Step::Op(Op::End(1, 1)),
            Step::Op(Op::Stop(0, 0)),
        ];
        let name = format!("attached {amid:?}");
        explore(&name, &[RESERVE, Step::Attached(amid)], &once, 1);
    }
}

#[test]
fn exits_are_announced_together_and_zombies_are_stolen() {
    let first = [
        RESERVE,
        Step::Born(Temper::Obedient, ALIVE),
        RESERVE,
        Step::Born(Temper::Deaf, ALIVE),
    ];
    let once = [
        Step::Steal,
        Step::Op(Op::End(1, 0)),
        Step::Op(Op::ExitUnseen(0)),
    ];
    explore("together", &first, &once, 500);
}

#[test]
fn a_tracer_hears_of_the_exit_first() {
    let first = [RESERVE, Step::Born(Temper::Deaf, ALIVE)];
    let once = [
        Step::Op(Op::Trace(0)),
        Step::Op(Op::Untrace),
        Step::Op(Op::End(1, 1)),
        Step::Op(Op::Stop(0, 0)),
    ];
    explore("traced", &first, &once, 100);
}

#[test]
fn an_end_finds_out_that_a_stranger_was_taken_away_without_a_word() {
    let mut world = World::new(Limits::NONE, false);
    for step in [
        RESERVE,
        Step::Attached(ALIVE),
        Step::Op(Op::Trace(0)),
        Step::Op(Op::Exit(0)),
        Step::Advance(0),
        Step::Advance(0),
        Step::TakenBySilentTracer,
        Step::Op(Op::End(1, 0)),
    ] {
        assert!(world.kqueue_step(step), "{step:?}");
    }
    for _ in 0..SECOND_LOOKS {
        if world.procs.values().all(|proc| proc.exited == 1) {
            return;
        }
        world.kqueue_step(Step::Op(Op::Timer));
    }
    panic!("nobody hears of it: {:?}", world.procs);
}

/// Its parent is gone when its tracer waits for it: its number is all that there is to go by.
#[test]
fn a_stranger_is_taken_away_by_its_tracer_without_a_word() {
    let first = [RESERVE, Step::Attached(ALIVE)];
    let once = [
        Step::Op(Op::Trace(0)),
        Step::TakenBySilentTracer,
        Step::Op(Op::End(1, 1)),
        Step::Op(Op::Stop(0, 0)),
        Step::Op(Op::End(1, 0)),
    ];
    explore("taken silently", &first, &once, 100);
}

/// Says on a panic how the world came to where it is.
struct Told<'a>(&'a str, &'a [Step]);

impl Drop for Told<'_> {
    #[expect(clippy::print_stdout, reason = "shown where a test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}, the way there: {:?}", self.0, self.1);
        }
    }
}

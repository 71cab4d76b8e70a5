//! Every order of everything, in small worlds.

use std::collections::HashSet;
use std::time::Duration;

use super::descendants::Sees;
use super::world::{Op, Temper, Tier, World};
use crate::limits::Limits;

/// A small world: what is there at first, and what can happen how often.
struct Setting {
    name: &'static str,
    first: &'static [Op],
    /// Each of these happens at most once, at any time.
    once: &'static [Op],
    group_after_reap: bool,
    tier: Tier,
    /// Somebody may hide in this world: its passes take their time.
    hiding: bool,
    /// So that the world does not shrink unnoticed.
    at_least: usize,
}

/// What may happen at any time, as often as it likes.
const ALWAYS: [Op; 6] = [
    Op::Exit(0),
    Op::Exit(1),
    Op::Exit(2),
    Op::ExitUnseen(0),
    Op::Timer,
    Op::Inspected(true),
];

/// The same where somebody may hide, and a pass more or less makes another world.
const ALWAYS_WITH_PASSES: [Op; 3] = [Op::Exit(0), Op::Exit(1), Op::Timer];

/// How long a small world is watched, in its own time: longer than any of its policies.
const LONGEST: Duration = Duration::from_secs(8);

fn explore(setting: &Setting) -> usize {
    let mut world = World::of_tier(Limits::NONE, setting.group_after_reap, setting.tier);
    world.prompt_passes = !setting.hiding;
    world.meanwhile = true;
    for &op in setting.first {
        assert!(world.step(op), "{}: {op:?}", setting.name);
    }
    let mut seen = HashSet::new();
    let mut stack = vec![(world, 0_u32, Vec::new())];
    let mut ends = 0_usize;
    while let Some((world, used, path)) = stack.pop() {
        if !seen.insert((world.digest(), used)) {
            continue;
        }
        let mut moved = false;
        // Of two that are alike the first goes first.
        let is_next = |n: usize, op: &Op| {
            let unused = |m: usize| used & (1 << m) == 0;
            unused(n) && !(0..n).any(|m| unused(m) && setting.once[m] == *op)
        };
        let once = setting
            .once
            .iter()
            .enumerate()
            .filter(|&(n, op)| is_next(n, op));
        let always: &[Op] = if setting.hiding {
            &ALWAYS_WITH_PASSES
        } else {
            &ALWAYS
        };
        let steps = always
            .iter()
            .map(|&op| (op, used))
            .chain(once.map(|(n, &op)| (op, used | (1 << n))));
        for (op, used) in steps {
            // A tracer that never lets go is looked at again for ever.
            if op == Op::Timer && world.elapsed() > LONGEST {
                continue;
            }
            let mut next = world.clone();
            let mut path_to = path.clone();
            path_to.push(op);
            let told = Told(&path_to);
            let happened = next.step(op);
            drop(told);
            if happened {
                moved = true;
                stack.push((next, used, path_to));
            }
        }
        // From a sample of the states, and from every last one: everything comes to its end, and leaves nothing.
        if !moved || seen.len() % 32 == 0 {
            ends += 1;
            let told = Told(&path);
            if !world.finished {
                world.clone().finish();
            }
            drop(told);
        }
    }
    println_states(setting.name, seen.len(), ends);
    assert!(
        seen.len() >= setting.at_least,
        "{}: only {} states",
        setting.name,
        seen.len()
    );
    seen.len()
}

#[expect(clippy::print_stdout, reason = "seen with --nocapture")]
fn println_states(name: &str, states: usize, ends: usize) {
    println!("{name}: {states} states, {ends} brought to their ends");
}

#[test]
fn two_sessions_three_processes_two_callers() {
    explore(&Setting {
        name: "two callers",
        first: &[
            Op::Reserve(1),
            Op::Born(Temper::Obedient),
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
            Op::Reserve(2),
            Op::Born(Temper::Deaf),
        ],
        once: &[
            Op::End(1, 1),
            Op::End(1, 0),
            Op::End(2, 2),
            Op::SignalAll(1),
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 500,
    });
}

#[test]
fn a_spawn_in_flight_and_a_number_that_lives_again() {
    explore(&Setting {
        name: "in flight",
        first: &[Op::Reserve(1), Op::Born(Temper::Obedient), Op::Reserve(1)],
        once: &[
            Op::Born(Temper::Deaf),
            Op::Abort,
            Op::End(1, 1),
            Op::Reserve(1),
            Op::Born(Temper::Obedient),
            Op::End(1, 0),
            Op::Shutdown(0),
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 1000,
    });
}

#[test]
fn survivors_that_linger_while_their_number_lives_again() {
    explore(&Setting {
        name: "lingering",
        first: &[
            Op::Reserve(1),
            Op::Born(Temper::Asleep),
            Op::Reserve(1),
            Op::Born(Temper::Foreign),
        ],
        once: &[
            Op::End(1, 0),
            Op::End(1, 0),
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
            Op::Wake,
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 1000,
    });
}

#[test]
fn a_stop_within_an_end_and_an_end_within_a_stop() {
    explore(&Setting {
        name: "stop and end",
        first: &[
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
            Op::Reserve(1),
            Op::Born(Temper::Asleep),
        ],
        once: &[Op::Stop(0, 1), Op::Stop(1, 0), Op::End(1, 2), Op::End(1, 0)],
        group_after_reap: false,
        tier: Tier::Group,
        hiding: false,
        at_least: 1000,
    });
}

#[test]
fn strangers_tracers_and_stolen_statuses() {
    explore(&Setting {
        name: "strangers",
        first: &[
            Op::Reserve(1),
            Op::Attach(Temper::Obedient),
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
        ],
        once: &[
            Op::Trace(0),
            Op::Untrace,
            Op::Steal(1),
            Op::ForeignReap,
            Op::End(1, 1),
            Op::Stop(0, 0),
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 500,
    });
}

#[test]
fn a_shutdown_with_a_second_one_that_is_stricter() {
    explore(&Setting {
        name: "shutdown",
        first: &[
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
            Op::Reserve(2),
            Op::Born(Temper::Obedient),
            Op::Reserve(2),
        ],
        once: &[
            Op::Shutdown(1),
            Op::Shutdown(0),
            Op::Harden(0),
            Op::End(1, 2),
            Op::Born(Temper::Deaf),
            Op::Abort,
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 500,
    });
}

#[test]
fn one_of_two_is_given_up_around_their_end() {
    explore(&Setting {
        name: "given up",
        first: &[
            Op::Reserve(1),
            Op::Born(Temper::Obedient),
            Op::Reserve(1),
            Op::Born(Temper::Deaf),
        ],
        once: &[
            Op::Detach(0),
            Op::Detach(1),
            Op::End(1, 1),
            Op::Stop(1, 1),
            Op::Steal(0),
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: false,
        at_least: 600,
    });
}

#[test]
fn descendants_that_hide_fork_and_are_met_or_missed() {
    explore(&Setting {
        name: "descendants",
        first: &[Op::Reserve(1), Op::Born(Temper::Obedient), Op::Fork(0)],
        once: &[
            Op::Fork(1),
            Op::Passed(Sees::All),
            Op::Passed(Sees::All),
            Op::Passed(Sees::All),
            Op::Passed(Sees::Glimpses),
            Op::End(1, 1),
            Op::End(1, 0),
        ],
        group_after_reap: true,
        tier: Tier::Group,
        hiding: true,
        at_least: 50_000,
    });
}

#[test]
fn descendants_that_outlive_the_end_of_their_session() {
    explore(&Setting {
        name: "descendants that stay",
        first: &[Op::Reserve(1), Op::Born(Temper::Asleep), Op::Fork(0)],
        once: &[
            Op::Wake,
            Op::Passed(Sees::All),
            Op::Passed(Sees::All),
            Op::End(1, 0),
            Op::End(1, 0),
        ],
        group_after_reap: false,
        tier: Tier::Group,
        hiding: true,
        at_least: 20_000,
    });
}

#[test]
fn descendants_in_cgroups_that_they_leave_or_do_not() {
    for (tier, at_least) in [(Tier::Contained, 3_000), (Tier::Cgroup, 3_000)] {
        explore(&Setting {
            name: "cgroups",
            first: &[Op::Reserve(1), Op::Born(Temper::Obedient), Op::Fork(0)],
            once: &[
                Op::Leave(1),
                Op::Passed(Sees::All),
                Op::Passed(Sees::All),
                Op::Passed(Sees::Nothing),
                Op::End(1, 1),
                Op::End(1, 0),
            ],
            group_after_reap: true,
            tier,
            hiding: true,
            at_least,
        });
    }
}

#[test]
fn orphans_that_come_to_a_subreaper() {
    explore(&Setting {
        name: "orphans",
        first: &[Op::Reserve(1), Op::Born(Temper::Obedient), Op::Fork(0)],
        once: &[
            Op::Reserve(2),
            Op::Born(Temper::Deaf),
            Op::Passed(Sees::All),
            Op::Passed(Sees::All),
            Op::End(1, 0),
            Op::End(2, 0),
        ],
        group_after_reap: true,
        tier: Tier::Subreaper,
        hiding: true,
        at_least: 5_000,
    });
}

/// Says on a panic how the world came to where it is.
struct Told<'a>(&'a [Op]);

impl Drop for Told<'_> {
    #[expect(clippy::print_stdout, reason = "shown where a test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the way there: {:?}", self.0);
        }
    }
}

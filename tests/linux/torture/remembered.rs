//! What is learned of processes that are none of a session's is kept no longer than it is of use.

use procession::{Command, Launch, Registry, StopPolicy};
use rustix::process::{WaitOptions, wait};

use super::host::assert_in_use;
use super::memory;
use crate::support::adversary::{is_copy, leave};
use crate::support::{
    Works as _, await_end_of_input, builder, eventually, host, role, say, sleeper,
};

/// So many are there that have nothing to do with any session.
const MANY: usize = 3000;

/// What grows anyhow is less than ten bytes for each of them.
const GROWS: usize = 24 * 1024;

/// Has that many dead children, and takes them away at the end of its input.
pub(super) fn neglects_its_children() {
    for _ in 0..MANY {
        if is_copy() {
            leave(0);
        }
    }
    say("ready");
    await_end_of_input();
    while let Ok(Some(_)) = wait(WaitOptions::empty()) {}
}

fn native() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

/// Says how much may be in use afterwards for what is known of the machine. Whether the report is clean is of no interest here:
/// where thousands die beside it on a busy machine, it may not be.
fn end_one(registry: &Registry, mut command: impl Launch) -> usize {
    registry.spawn(1, &mut command).works();
    let before = memory::for_the_machine();
    drop(registry.end_session(1).works());
    before.max(memory::for_the_machine())
}

/// What an end has learned was kept for good, and so was the room for what all ends know, when there were few others again.
///
/// Of one that has its mark in its limits no more has to be known of the others than that they lack it; where the variable
/// alone may name them, all are looked at more closely, and what does not change of them is known to the next end.
pub(super) fn what_is_learned_of_strangers_goes_with_the_end_or_with_them() {
    let registry = builder().stop_policy(StopPolicy::immediate()).build();
    let registry = registry.works();
    // Tables grow with the first.
    for _ in 0..3 {
        end_one(&registry, native());
        end_one(&registry, sleeper());
    }
    let before = memory::in_use();
    let few = memory::for_the_machine();
    let (mut neglectful, control, _lines) = host(&mut role("neglects_its_children"));
    end_one(&registry, native());
    assert_in_use(before + few + GROWS, "among strangers");
    end_one(&registry, sleeper());
    drop(control);
    assert!(neglectful.wait().expect("our child").success());
    // A pass keeps room for as many as there were when it looked, and other tests may have had hundreds at that moment which
    // are gone by now. What is kept for good is still there after the next one.
    eventually("what is known of them is forgotten", || {
        let few = end_one(&registry, sleeper());
        memory::in_use() <= before + few + GROWS
    });
}

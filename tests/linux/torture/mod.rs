//! Operations at random, from many threads, on real processes, beside a model.
//!
//! A run is a process of its own: it is stopped and continued from outside, loses its descriptors, has its children
//! waited for by somebody else, and is ended if it hangs. What it is like and what it does follows from the seed, which a
//! failure prints with the last operations of each thread; what the kernel interleaves does not.
//!
//! The model says: every call returns; every end is over in time; after a clean report all are dead of whom a call had
//! said before that they are members, by pidfds of the test's own; every process has one exit, which is told once, and is
//! one that it can have had; descriptors, threads, children and slots come back to what they were, exactly; and the
//! second half of a run leaves no more memory in use than the first. Of those whose spawn was refused nobody is left
//! either, whatever they had started by then.

mod chance;
mod diary;
mod host;
mod memory;
mod model;
mod operations;
mod programs;
mod remembered;
mod worker;
mod world;

use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use procession::{Capability, Containment};
use rustix::process::Signal;

use self::chance::Chance;
use self::host::{Defect, host as torture_host};
use self::programs::{nursery, scatterer};
use self::remembered::{
    neglects_its_children, what_is_learned_of_strangers_goes_with_the_end_or_with_them,
};
use self::world::World;
use crate::support::adversary::{clear_leaves_of, comet, daemon};
use crate::support::{LONG_ENOUGH, Pinned, anonymous_file, builder, ms, now, role, role_of, test};

/// So long one run takes, between these.
const SHORTEST: Duration = Duration::from_millis(1250);
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(whatever_is_done_at_random_the_model_holds)
                .takes_longer_by(seconds() * 2 + 2 * LONG_ENOUGH),
            test!(a_descriptor_that_is_left_open_is_found),
            test!(memory_that_is_not_given_back_is_found),
            test!(a_thread_that_stays_is_found),
            test!(a_process_that_is_left_is_found),
            test!(a_call_that_does_not_return_is_found),
            test!(an_exit_that_is_not_told_is_found),
            test!(an_exit_that_is_told_twice_is_found),
            test!(a_survivor_of_a_clean_end_is_found),
            test!(what_a_run_that_fails_has_in_cgroups_is_ended).needs_cgroups(),
            test!(what_is_learned_of_strangers_goes_with_the_end_or_with_them)
                .takes_longer_by(2 * LONG_ENOUGH),
        ],
        &[
            role_of!(torture_host),
            role_of!(nursery),
            role_of!(scatterer),
            role_of!(neglects_its_children),
            role_of!(daemon),
            role_of!(comet),
        ],
    )
}

fn seconds() -> Duration {
    let text = std::env::var("PROCESSION_TORTURE_SECONDS").ok();
    let said = text.map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(said.unwrap_or(5))
}

/// Another one each time, if nothing is said.
fn seed() -> u64 {
    let text = std::env::var("PROCESSION_TORTURE_SEED").ok();
    let said = text.map(|text| text.parse().expect("a number"));
    said.unwrap_or_else(|| {
        let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is later");
        since.as_secs() << 20 | u64::from(since.subsec_micros())
    })
}

fn whatever_is_done_at_random_the_model_holds() {
    let (seed, all) = (seed(), seconds());
    let time = (all / 8).clamp(SHORTEST, LONGEST);
    let began = now();
    for run in 0.. {
        // Whatever the time, there is one without and one with each disturbance.
        if run >= 4 && began.elapsed() + time > all {
            break;
        }
        if let Err(wrong) = torture(seed, run, time, Defect::None) {
            panic!("{wrong}");
        }
    }
}

/// One run in a process of its own. An error is what it said.
fn torture(seed: u64, run: u64, time: Duration, defect: Defect) -> Result<(), String> {
    let world = World::draw(seed, run);
    let mut said = anonymous_file();
    let output = || Stdio::from(said.try_clone().expect("a descriptor"));
    let (mut nursery, talk) = start_nursery();
    let mut command = role("torture_host");
    command.args([seed, run].map(|number| number.to_string()));
    command.args([time.as_millis().to_string(), defect.name()]);
    command.stdin(talk).stdout(output()).stderr(output());
    let mut child = command.spawn().expect("a role can be started");
    drop(command);
    let pinned = Pinned::open(child.id()).expect("our child");
    let mut chance = Chance::new(seed, run << 32 | 1);
    // It keeps watch itself: this is for one that cannot even do that.
    let deadline = now() + time * 2 + 3 * LONG_ENOUGH;
    let mut hangs = false;
    while !pinned.dies_within(pause_before_a_stop(&world, &mut chance)) {
        if now() > deadline {
            hangs = true;
            pinned.kill();
        } else if world.stops {
            stop_for_a_while(&pinned, chance.up_to(60));
        }
    }
    let status = child.wait().expect("our child");
    nursery.wait().expect("our child");
    if status.success() && !hangs {
        return Ok(());
    }
    if world.tier == Containment::Cgroup && has_cgroups() {
        clear_leaves_of(child.id());
    }
    let mut text = Vec::new();
    said.rewind().expect("a file");
    said.read_to_end(&mut text).expect("a file");
    let text = String::from_utf8_lossy(&text);
    Err(format!(
        "PROCESSION_TORTURE_SEED={seed}, run {run}: {status}, hangs: {hangs}\n{text}"
    ))
}

/// Whether there are any under that tier.
fn has_cgroups() -> bool {
    let registry = builder().containment_up_to(Containment::Cgroup).build();
    let registry = registry.expect("the host had one");
    registry.capabilities().has(Capability::CgroupTier)
}

/// Starts what has children that are not the host's, and is itself none of the host's; with the host's end of the way to it.
fn start_nursery() -> (Child, OwnedFd) {
    let (talk, its) = UnixStream::pair().expect("a socket");
    let its = OwnedFd::from(its);
    let mut command = role("nursery");
    command
        .stdin(its.try_clone().expect("a descriptor"))
        .stdout(its);
    let child = command.spawn().expect("a role can be started");
    (child, talk.into())
}

fn pause_before_a_stop(world: &World, chance: &mut Chance) -> Duration {
    if world.stops {
        chance.up_to(150)
    } else {
        LONG_ENOUGH
    }
}

fn stop_for_a_while(pinned: &Pinned, time: Duration) {
    // It may have ended meanwhile.
    if pinned.send(Signal::STOP).is_ok() {
        pinned.dies_within(time);
        let _ = pinned.send(Signal::CONT);
    }
}

/// The model itself: it finds what it is there to find.
#[track_caller]
fn assert_found(defect: Defect, by: &str) {
    // Nobody is there at its end who would outlive an abort.
    assert_found_under(Containment::Group, defect, by);
}

#[track_caller]
fn assert_found_under(tier: Containment, defect: Defect, by: &str) {
    // Nothing else is wrong in it, and everything is heard.
    let is_plain =
        |world: &World| world.tier == tier && world.hears_everything() && !world.ledger;
    let seed = (1..).find(|&seed| is_plain(&World::draw(seed, 0)));
    let seed = seed.expect("there is one");
    let wrong = torture(seed, 0, ms(600), defect).expect_err("it is wrong");
    assert!(wrong.contains(by), "{wrong}");
    assert!(wrong.contains("PROCESSION_TORTURE_SEED="), "{wrong}");
}

fn a_descriptor_that_is_left_open_is_found() {
    assert_found(
        Defect::Descriptor,
        "the second half is over: 1 descriptors too many",
    );
}

fn memory_that_is_not_given_back_is_found() {
    assert_found(Defect::Memory, "bytes are in use, and");
}

fn a_thread_that_stays_is_found() {
    assert_found(
        Defect::Thread,
        "the second half is over: 1 threads too many",
    );
}

fn a_process_that_is_left_is_found() {
    assert_found(
        Defect::Child,
        "the second half is over: 1 children too many",
    );
}

fn a_call_that_does_not_return_is_found() {
    assert_found(Defect::Hang, "who hangs hangs");
}

fn an_exit_that_is_not_told_is_found() {
    assert_found(Defect::LostExit, "never told of an exit");
}

fn an_exit_that_is_told_twice_is_found() {
    assert_found(Defect::ExitToldTwice, "told twice");
}

fn a_survivor_of_a_clean_end_is_found() {
    assert_found(Defect::Survivor, "a clean report");
}

fn what_a_run_that_fails_has_in_cgroups_is_ended() {
    assert_found_under(Containment::Cgroup, Defect::Panic, "on purpose");
}

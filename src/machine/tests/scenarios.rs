//! Cases that broke somebody's supervisor, by name.

use std::time::Duration;

use super::super::{Answer, ReplyId};
use super::descendants::Sees;
use super::world::{Op, Temper, World};
use crate::event::EventKind;
use crate::limits::Limits;
use crate::report::{How, SessionReport, SurvivalCause};
use crate::session::{ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::Rung;

const ONE: SessionId = SessionId(1);

/// A world with these processes in session 1.
fn world(tempers: &[Temper]) -> World {
    let mut world = World::new(Limits::NONE, true);
    for &temper in tempers {
        assert!(world.step(Op::Reserve(1)) && world.step(Op::Born(temper)));
    }
    world
}

fn report(world: &World, reply: ReplyId) -> SessionReport {
    match &world.answers[&reply] {
        Some(Answer::Report(report)) => report.clone(),
        other => panic!("no report, but {other:?}"),
    }
}

fn kills(world: &World, process: u64) -> usize {
    let of = |&&(_, to, signal, _): &&(_, ProcessId, Signal, _)| {
        to.0 == process && signal == Signal::KILL
    };
    world.sent.iter().filter(of).count()
}

fn escalations(world: &World) -> usize {
    let escalated = |kind: &EventKind| matches!(kind, EventKind::Escalated { .. });
    world
        .notices
        .iter()
        .filter(|(_, notice)| escalated(&notice.kind))
        .count()
}

#[test]
fn a_child_that_ignores_sigterm_is_escalated_once_at_the_deadline() {
    let mut world = world(&[Temper::Deaf]);
    let reply = world.end(ONE, 1);
    assert!(world.answers[&reply].is_none());
    world.timer();
    assert_eq!(
        world.elapsed(),
        Duration::from_secs(2),
        "the grace of the policy"
    );
    world.step(Op::Pause(0));
    world.step(Op::Untrace);
    let report = report(&world, reply);
    assert!(report.is_clean());
    assert_eq!(report.members()[0].how(), How::At(Rung::Kill));
    assert_eq!(
        (escalations(&world), report.took()),
        (1, Duration::from_secs(2))
    );
}

#[test]
fn what_exits_within_its_grace_is_not_escalated_however_late_we_look() {
    let mut world = world(&[Temper::Deaf]);
    let reply = world.end(ONE, 1);
    world.step(Op::ExitUnseen(0));
    world.timer();
    assert!(report(&world, reply).is_clean());
    assert_eq!(escalations(&world), 0);
}

#[test]
fn a_second_caller_who_is_stricter_shortens_the_end_and_both_get_the_same_report() {
    let mut world = world(&[Temper::Deaf]);
    let patient = world.end(ONE, 3);
    let strict = world.end(ONE, 0);
    world.step(Op::Untrace);
    assert_eq!(world.elapsed(), Duration::ZERO);
    assert_eq!(
        report(&world, patient).to_string(),
        report(&world, strict).to_string()
    );
}

#[test]
fn one_grace_serves_a_hundred_and_fifty_five_stubborn_children() {
    let mut world = world(&[Temper::Deaf; 155]);
    let reply = world.end(ONE, 1);
    world.timer();
    world.step(Op::Untrace);
    assert_eq!(report(&world, reply).members().len(), 155);
    assert_eq!(world.elapsed(), Duration::from_secs(2));
}

#[test]
fn a_number_without_processes_ends_with_an_empty_clean_report() {
    let mut world = world(&[]);
    for _ in 0..2 {
        let reply = world.end(ONE, 1);
        let report = report(&world, reply);
        assert!(report.is_clean() && report.members().is_empty());
    }
    assert!(world.notices.is_empty(), "nothing happened");
}

#[test]
fn a_survivor_is_reported_tracked_and_killed_again_by_the_next_end_of_its_number() {
    let mut world = world(&[Temper::Asleep]);
    let first = world.end(ONE, 0);
    world.timer();
    world.step(Op::Inspected(true));
    let cause = report(&world, first).survivors()[0].cause;
    assert_eq!(cause, SurvivalCause::Uninterruptible);
    assert_eq!(kills(&world, 1), 1);
    assert!(
        world.step(Op::Reserve(1)) && world.step(Op::Born(Temper::Obedient)),
        "the number lives again"
    );
    let second = world.end(ONE, 0);
    assert_eq!(kills(&world, 1), 2);
    world.step(Op::Wake);
    let report = report(&world, second);
    assert!(report.is_clean());
    assert_eq!(report.members().len(), 2);
}

#[test]
fn one_that_may_not_be_signalled_is_named_without_an_inspection() {
    let mut world = world(&[Temper::Foreign]);
    let reply = world.end(ONE, 0);
    world.timer();
    assert_eq!(
        report(&world, reply).survivors()[0].cause,
        SurvivalCause::NotPermitted
    );
    world.step(Op::Exit(0));
    let exited = |kind: &EventKind| matches!(kind, EventKind::Exited(_));
    assert!(
        exited(&world.notices.last().expect("events").1.kind),
        "its late exit is told"
    );
}

#[test]
fn a_spawn_that_does_not_come_back_is_reported_and_killed_when_it_does() {
    let mut world = world(&[]);
    world.step(Op::Reserve(1));
    let reply = world.end(ONE, 0);
    assert!(
        !world.step(Op::Reserve(1)),
        "an ending session accepts nothing new"
    );
    world.timer();
    assert_eq!(
        report(&world, reply).survivors()[0].cause,
        SurvivalCause::SpawnInFlight
    );
    world.step(Op::Born(Temper::Deaf));
    assert_eq!(kills(&world, 1), 1);
    world.finish();
}

/// Before its end is asked for, or while that waits for it.
#[test]
fn what_a_spawn_that_failed_had_started_is_ended_with_the_session() {
    for asked_before in [false, true] {
        let mut world = world(&[]);
        world.prompt_passes = false;
        world.step(Op::Reserve(1));
        let before = asked_before.then(|| world.end(ONE, 0));
        world.abort_begun();
        let reply = before.unwrap_or_else(|| world.end(ONE, 0));
        assert!(world.answers[&reply].is_none(), "nobody has looked yet");
        for _ in 0..40 {
            if world.answers[&reply].is_some() {
                break;
            }
            assert!(world.step(Op::Passed(Sees::All)) || world.step(Op::Timer));
        }
        let report = report(&world, reply);
        assert!(report.is_clean() && report.covers_descendants());
        assert_eq!(report.members().len(), 1, "the one that was left");
        assert!(world.machine.lives.is_empty(), "it is over");
        assert_eq!((world.gate.taken(), world.gate.numbers()), (0, 0));
    }
}

#[test]
fn a_tracer_that_does_not_let_go_hangs_nobody() {
    let mut world = world(&[Temper::Deaf]);
    world.step(Op::Trace(0));
    let reply = world.end(ONE, 0);
    for _ in 0..40 {
        if world.answers[&reply].is_some() {
            break;
        }
        assert!(
            world.step(Op::Inspected(false)) || world.step(Op::Timer),
            "time goes on"
        );
    }
    assert!(!report(&world, reply).is_clean());
    world.step(Op::Untrace);
    assert!(
        world.machine.members.is_empty(),
        "it is seen when the tracer lets go"
    );
}

#[test]
fn slots_are_counted_for_the_registry_and_for_each_session() {
    let mut world = World::new(Limits::NONE.processes(3).processes_per_session(2), true);
    assert!(world.reserve(ONE) && world.reserve(ONE) && !world.reserve(ONE));
    assert!(world.reserve(SessionId(2)) && !world.reserve(SessionId(3)));
    world.step(Op::Abort);
    assert!(
        world.reserve(SessionId(3)),
        "a slot that was given back is free"
    );
}

#[test]
fn a_long_session_keeps_no_memory_of_what_has_gone() {
    let mut world = world(&[Temper::Deaf]);
    for _ in 0..10_000 {
        assert!(
            world.step(Op::Reserve(1))
                && world.step(Op::Born(Temper::Obedient))
                && world.step(Op::Exit(1))
        );
        world
            .procs
            .retain(|_, proc| proc.body == super::world::Body::Alive);
        world.notices.clear();
    }
    assert_eq!(world.machine.members.len(), 1);
    assert!(
        world
            .machine
            .lives
            .values()
            .all(|life| life.remnants.is_empty() && life.members.len() == 1)
    );
    let reply = world.end(ONE, 0);
    world.step(Op::Untrace);
    assert_eq!(report(&world, reply).gone_before(), 10_000);
}

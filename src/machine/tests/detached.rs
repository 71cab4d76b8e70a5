//! Processes that are given up.

use super::super::{Answer, ReplyId};
use super::world::{Op, Temper, World};
use crate::error::ErrorKind;
use crate::event::EventKind;
use crate::limits::Limits;
use crate::session::{ProcessId, SessionId};

const ONE: SessionId = SessionId(1);

fn world(tempers: &[Temper]) -> World {
    let mut world = World::new(Limits::NONE, true);
    for &temper in tempers {
        assert!(world.step(Op::Reserve(1)) && world.step(Op::Born(temper)));
    }
    world
}

fn detach(world: &mut World, n: usize) -> Result<(), Option<ErrorKind>> {
    assert!(world.step(Op::Detach(n)));
    let reply = ReplyId(world.next_reply);
    match &world.answers[&reply] {
        Some(Answer::Done(done)) => done.clone().map_err(|error| Some(error.kind())),
        Some(Answer::AlreadyExited) => Err(None),
        other => panic!("no answer, but {other:?}"),
    }
}

fn heard(world: &World, is_it: impl Fn(&EventKind) -> bool) -> usize {
    let notices = world.notices.iter();
    notices.filter(|(_, notice)| is_it(&notice.kind)).count()
}

#[test]
fn one_that_was_given_up_is_no_member_and_nothing_is_heard_of_it() {
    let mut world = world(&[Temper::Deaf]);
    assert_eq!(detach(&mut world, 0), Ok(()));
    assert_eq!(heard(&world, |kind| matches!(kind, EventKind::Detached)), 1);
    let empty = |kind: &EventKind| matches!(kind, EventKind::SessionEmpty);
    assert_eq!(heard(&world, empty), 1);
    assert_eq!(world.machine.next_deadline(), None);

    world.step(Op::Exit(0));
    let exited = |kind: &EventKind| matches!(kind, EventKind::Exited(_));
    assert_eq!(heard(&world, exited), 0);
    world.finish();
}

#[test]
fn an_end_leaves_it_alone() {
    let mut world = world(&[Temper::Deaf, Temper::Deaf]);
    assert_eq!(detach(&mut world, 0), Ok(()));
    let reply = world.end(ONE, 0);
    world.see_exits();
    assert!(world.answers[&reply].is_some());
    let to = |&(_, process, _, _): &(_, ProcessId, _, _)| process.0;
    assert!(!world.sent.iter().any(|sent| to(sent) == 1));
    assert_eq!(world.alive(), [ProcessId(1)]);
    world.finish();
}

#[test]
fn it_is_too_late_while_it_is_being_ended_or_stopped() {
    let mut world = world(&[Temper::Deaf, Temper::Deaf]);
    assert!(world.step(Op::Stop(0, 1)));
    assert_eq!(detach(&mut world, 0), Err(Some(ErrorKind::SessionEnding)));
    world.end(ONE, 1);
    assert_eq!(detach(&mut world, 1), Err(Some(ErrorKind::SessionEnding)));
    world.finish();
}

#[test]
fn one_that_has_survived_its_end_is_not_given_up_and_one_that_was_cannot_be_again() {
    let mut survivor = world(&[Temper::Foreign]);
    survivor.end(ONE, 0);
    while survivor.step(Op::Timer) {}
    let ended = Err(Some(ErrorKind::SessionEnded));
    assert_eq!(detach(&mut survivor, 0), ended);

    let mut world = world(&[Temper::Obedient]);
    assert_eq!(detach(&mut world, 0), Ok(()));
    assert_eq!(detach(&mut world, 0), Err(None));
}

#[test]
fn one_that_is_dead_has_its_exit_told_instead() {
    let mut world = world(&[Temper::Obedient]);
    world.step(Op::Trace(0));
    world.step(Op::Exit(0));
    // It is dead, and held by its tracer.
    let reply = world.next_reply();
    let request = super::super::Request::Detach {
        process: ProcessId(1),
        reply,
    };
    world.input(super::super::Input::Request(request));
    assert!(matches!(world.answers[&reply], Some(Answer::AlreadyExited)));
    world.finish();
}

//! What a host asks about sessions and processes, and the limits that it sets them.

use super::super::{Answer, ReplyId, Request};
use super::by_hand::{ByHand, ONE, TWO, child, ms, stranger};
use super::world::policy;
use crate::error::ErrorKind;
use crate::event::{Origin, Reason};
use crate::info::ProcessState;
use crate::report::SurvivalCause;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::Rung;

fn done(hand: &ByHand, reply: ReplyId) -> Option<Result<(), ErrorKind>> {
    let answer = hand.answers.get(&reply)?;
    let Answer::Done(done) = answer else {
        panic!("{answer:?}");
    };
    Some(done.clone().map_err(|error| error.kind()))
}

fn wait_empty(hand: &mut ByHand, session: SessionId, life: Life) -> ReplyId {
    hand.request(|reply| Request::WaitEmpty {
        session,
        life,
        reply,
    })
}

fn touch(hand: &mut ByHand, life: Life) -> ReplyId {
    hand.request(|reply| Request::Touch {
        session: ONE,
        life,
        reply,
    })
}

#[test]
fn an_empty_session_is_told_at_once_and_another_at_the_exit_of_its_last() {
    let mut hand = ByHand::new();
    let life = hand.opened(ONE, |_| {});
    let reply = wait_empty(&mut hand, ONE, life);
    assert_eq!(done(&hand, reply), Some(Ok(())));

    let (first, last) = (hand.born(ONE, child()), hand.born(ONE, child()));
    let waits = [1, 2, 3].map(|_| wait_empty(&mut hand, ONE, life));
    let given_up = waits[1];
    hand.request(|_| Request::Forget {
        life,
        reply: given_up,
    });
    hand.exit(first);
    assert_eq!(waits.map(|reply| done(&hand, reply)), [None; 3]);
    hand.exit(last);
    let answers = waits.map(|reply| done(&hand, reply));
    assert_eq!(answers, [Some(Ok(())), None, Some(Ok(()))]);

    let reply = wait_empty(&mut hand, ONE, Life(99));
    assert_eq!(done(&hand, reply), Some(Err(ErrorKind::SessionEnded)));
    let reply = wait_empty(&mut hand, TWO, life);
    assert_eq!(done(&hand, reply), Some(Err(ErrorKind::SessionEnded)));
}

#[test]
fn who_waits_for_a_session_that_ends_with_a_survivor_hears_that_it_has_ended() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, child());
    hand.foreign.insert(survivor);
    let life = hand.life(ONE);
    let reply = wait_empty(&mut hand, ONE, life);
    hand.end(ONE, policy(0));
    assert_eq!(done(&hand, reply), None);
    hand.until(ms(1_000));
    assert_eq!(done(&hand, reply), Some(Err(ErrorKind::SessionEnded)));
}

#[test]
fn a_session_that_is_used_is_not_ended_for_being_idle() {
    let mut hand = ByHand::new();
    let life = hand.opened(ONE, |opened| opened.idle_limit = Some(ms(1_000)));
    let process = hand.born(ONE, child());
    hand.until(ms(900));
    let reply = touch(&mut hand, life);
    assert_eq!(done(&hand, reply), Some(Ok(())));
    hand.until(ms(1_899));
    assert_eq!(hand.signals(process), []);
    hand.until(ms(1_900));
    assert_eq!(hand.signals(process), [(ms(1_900), Signal::TERM)]);
    let reply = touch(&mut hand, life);
    assert_eq!(done(&hand, reply), Some(Err(ErrorKind::SessionEnding)));
    hand.exit(process);
    let report = hand.machine.last_report(ONE).expect("it is kept");
    assert_eq!(report.reason(), Reason::IdleLimit);
    let reply = touch(&mut hand, life);
    assert_eq!(done(&hand, reply), Some(Err(ErrorKind::SessionEnded)));
}

#[test]
fn a_process_that_is_too_old_is_stopped_as_its_session_says() {
    for (own, at) in [(None, 3_000), (Some(policy(0)), 1_000)] {
        let mut hand = ByHand::new();
        hand.opened(ONE, |opened| opened.policy = own);
        let limit = Some(ms(1_000));
        let process = hand.born_with(ONE, child(), |born| born.time_limit = limit);
        let other = hand.born(ONE, child());
        hand.until(ms(999));
        assert_eq!(hand.signals(process), []);
        hand.until(ms(5_000));
        let killed = (ms(at), Signal::KILL);
        assert_eq!(hand.signals(process).last(), Some(&killed));
        assert_eq!(hand.signals(other), []);
    }
    // What is under way goes on as it is.
    let mut hand = ByHand::new();
    let limit = Some(ms(1_000));
    let process = hand.born_with(ONE, child(), |born| born.time_limit = limit);
    hand.stop(process, policy(3));
    hand.until(ms(9_000));
    assert_eq!(hand.signals(process), []);
}

#[test]
fn a_session_that_is_too_old_is_ended() {
    let mut hand = ByHand::new();
    hand.opened(ONE, |opened| opened.time_limit = Some(ms(1_000)));
    let process = hand.born(ONE, child());
    hand.until(ms(1_000));
    assert_eq!(hand.signals(process), [(ms(1_000), Signal::TERM)]);
}

#[test]
fn the_lists_show_who_lives_and_what_is_being_done_with_it() {
    let mut hand = ByHand::new();
    let second = hand.opened(TWO, |opened| opened.label = Some("two".into()));
    let idle = hand.born(TWO, stranger(Origin::Attached));
    hand.until(ms(500));
    let ended = hand.born(ONE, child());
    let stopped = hand.born(TWO, child());
    let first = hand.life(ONE);
    assert_eq!(hand.machine.lives(), [(ONE, first), (TWO, second)]);
    assert_eq!(
        hand.machine.life_of(TWO),
        Some((second, Some("two".into())))
    );
    assert_eq!(hand.machine.life_of(SessionId(3)), None);

    let term = Rung::Signal(Signal::TERM);
    hand.end(ONE, policy(1));
    hand.stop(stopped, policy(1));
    hand.until(ms(600));
    let now = hand.now;
    let shown = |list: Vec<crate::info::ProcessInfo>| -> Vec<_> {
        let shown = list.into_iter().map(|info| (info.id, info.state, info.age));
        shown.collect()
    };
    let one = (ended, ProcessState::Ending { rung: term }, ms(100));
    let two = [
        (idle, ProcessState::Running, ms(600)),
        (stopped, ProcessState::Ending { rung: term }, ms(100)),
    ];
    let all = [two[0], one, two[1]];
    assert_eq!(shown(hand.machine.processes(now)), all);
    assert_eq!(shown(hand.machine.session_processes(ONE, now)), [one]);
    assert_eq!(shown(hand.machine.session_processes(TWO, now)), two);
    assert_eq!(
        shown(hand.machine.members_of(first, now).expect("it lives")),
        [one]
    );

    let sessions = hand.machine.sessions(now);
    let sessions: Vec<_> = sessions
        .iter()
        .map(|info| (info.id, info.processes, info.ending, info.age))
        .collect();
    assert_eq!(
        sessions,
        [(ONE, 1, Some(term), ms(100)), (TWO, 2, None, ms(600)),]
    );
    let states = |life| {
        let machine = &hand.machine;
        (machine.is_empty(life), machine.is_being_ended(life))
    };
    assert_eq!(states(first), (Some(false), Some(true)));
    assert_eq!(states(second), (Some(false), Some(false)));
    assert_eq!(states(Life(99)), (None, None));
    hand.exit(idle);
    hand.exit(stopped);
    assert_eq!(hand.machine.is_empty(second), Some(true));
}

#[test]
fn a_life_that_ended_with_a_survivor_is_over_and_the_survivor_is_listed() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, child());
    hand.foreign.insert(survivor);
    let life = hand.life(ONE);
    hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    let (machine, now) = (&hand.machine, hand.now);
    assert!(machine.members_of(life, now).is_none());
    assert_eq!(
        (machine.is_empty(life), machine.is_being_ended(life)),
        (None, None)
    );
    assert!(machine.sessions(now).is_empty() && machine.lives().is_empty());
    assert!(machine.has_life(life) && !machine.has_life(Life(99)));
    let list = machine.session_processes(ONE, now);
    assert_eq!(
        list[0].state,
        ProcessState::Survived(SurvivalCause::NotPermitted)
    );
    assert!(!machine.is_settled());
    hand.exit(survivor);
    assert!(!hand.machine.has_life(life) && hand.machine.is_settled());
}

#[test]
fn it_is_settled_when_nobody_is_known_and_none_on_its_way() {
    let mut hand = ByHand::new();
    hand.opened(ONE, |_| {});
    assert!(hand.machine.is_settled());
    let process = hand.born(ONE, child());
    assert!(!hand.machine.is_settled());
    hand.exit(process);
    assert!(hand.machine.is_settled());
    let token = hand.gate.reserve(ONE, None).expect("it lives");
    hand.end(ONE, policy(0));
    assert!(!hand.machine.is_settled(), "{token:?} is on its way");
}

#[test]
fn of_all_reports_the_latest_are_kept() {
    let mut hand = ByHand::new();
    for n in 1..=6 {
        hand.born(SessionId(n), child());
        hand.end(SessionId(n), policy(1));
        hand.exit(ProcessId(n));
        let kept = |n: &u64| hand.machine.last_report(SessionId(*n)).is_some();
        let kept: Vec<u64> = (1..=6).filter(kept).collect();
        let all: Vec<u64> = (n.saturating_sub(3).max(1)..=n).collect();
        assert_eq!(kept, all);
    }
}

#[test]
fn a_look_around_kills_nobody_and_sees_what_a_session_searches() {
    let mut hand = ByHand::new();
    let process = hand.born(ONE, child());
    hand.born(TWO, stranger(Origin::Attached));
    let (life, other) = (hand.life(ONE), hand.life(TWO));
    let around = hand.machine.look_around(life).expect("it lives");
    assert!(!around.ending && around.kill.is_none());
    assert!(
        hand.machine.look_around(other).is_none(),
        "nobody's business"
    );
    hand.foreign.insert(process);
    hand.end(ONE, policy(0));
    let around = hand.machine.look_around(life).expect("it is ending");
    assert!(around.ending && around.kill.is_none());
    hand.until(ms(1_000));
    assert!(hand.machine.has_life(life) && hand.machine.look_around(life).is_none());
}

//! How processes come into a life, and what that changes for it.

use super::super::{Action, Answer, Facts, Input, Looked, Reach, Relation, ReplyId};
use super::by_hand::{ByHand, ONE, TWO, child, ms, stranger};
use super::world::policy;
use crate::earlier::Earlier;
use crate::error::ErrorKind;
use crate::event::{EventKind, Origin};
use crate::report::{Means, Strength, SurvivalCause};
use crate::session::{Life, ProcessId};
use crate::signal::Signal;
use crate::stop::{Rung, StopPolicy};

const PASSES_MEET: [Origin; 2] = [Origin::Found, Origin::Recovered];

fn attached(pid: u32, inode: Option<u64>, origin: Origin) -> Facts {
    Facts {
        pid,
        inode,
        ..stranger(origin)
    }
}

#[test]
fn what_was_met_is_taken_in_unless_it_is_known() {
    for origin in PASSES_MEET {
        for (pid, inode, is_news) in [
            (500, Some(7), true),
            (101, Some(1), false),
            // The number of one that has gone, before that was told.
            (101, Some(7), true),
            (101, None, false),
        ] {
            let mut hand = ByHand::new();
            hand.born(ONE, child());
            let life = hand.life(ONE);
            let met = hand.found((ONE, life), attached(pid, inode, origin));
            assert_eq!(
                hand.is_rejected(met),
                !is_news,
                "{origin:?} {pid} {inode:?}"
            );
            let known = hand.machine.members.contains_key(&met);
            assert_eq!(known, is_news, "{origin:?} {pid} {inode:?}");
        }
    }
}

#[test]
fn the_number_of_one_that_is_dead_may_be_anothers_where_only_numbers_are_known() {
    let mut hand = ByHand::new();
    let dead = hand.born(ONE, attached(101, None, Origin::Attached));
    let life = hand.life(ONE);
    let same = hand.found((ONE, life), attached(101, None, Origin::Found));
    assert!(hand.is_rejected(same));
    hand.shows(dead, Looked::Dead);
    let another = hand.found((ONE, life), attached(101, None, Origin::Found));
    assert!(!hand.is_rejected(another));
}

#[test]
fn what_was_met_of_a_session_that_is_over_goes_its_way() {
    for origin in PASSES_MEET {
        let mut hand = ByHand::new();
        let met = hand.found((ONE, Life(9)), stranger(origin));
        assert!(hand.is_rejected(met));
    }
}

#[test]
fn who_is_registered_already_is_not_taken_in_again() {
    for (session, pid, inode, origin, expected) in [
        (ONE, 101, Some(1), Origin::Attached, Ok(1)),
        (ONE, 101, None, Origin::Attached, Ok(1)),
        (ONE, 101, Some(1), Origin::Adopted, Err("adopt")),
        (TWO, 101, Some(1), Origin::Attached, Err("attach")),
        (ONE, 101, Some(7), Origin::Attached, Ok(2)),
        (ONE, 500, Some(1), Origin::Attached, Ok(2)),
    ] {
        let mut hand = ByHand::new();
        hand.born(ONE, child());
        let reply = ReplyId(1_000);
        let facts = attached(pid, inode, origin);
        let second = hand.born_with(session, facts, |born| born.reply = Some(reply));
        let Some(Answer::Registered(registered)) = hand.answers.get(&reply) else {
            panic!("no answer to {origin:?} of {pid}");
        };
        let told = registered.as_ref().map(|process| process.0);
        assert_eq!(told.map_err(|error| error.operation()), expected);
        if let Err(error) = registered {
            assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
            assert_eq!((error.session(), error.pid()), (Some(ONE), Some(pid)));
        }
        assert_eq!(hand.is_rejected(second), expected != Ok(2));
    }
}

/// An orphan that nothing names is taken for a session's only where nobody else can have left it.
#[test]
fn a_session_is_alone_until_a_process_is_registered_whose_descendants_are_nobodys_business() {
    let adopted = Facts {
        relation: Relation::Child,
        ..stranger(Origin::Adopted)
    };
    for (facts, alone) in [
        (child(), true),
        (adopted, false),
        (stranger(Origin::Found), true),
        (stranger(Origin::Recovered), true),
    ] {
        let mut hand = ByHand::searching();
        hand.born(ONE, child());
        let origin = facts.origin;
        hand.born(ONE, facts);
        hand.end(ONE, policy(1));
        assert_eq!(hand.hunt().alone, alone, "{origin:?}");
    }
}

#[test]
fn who_was_found_changes_nothing_of_what_is_claimed_for_those_that_were_started() {
    let mut hand = ByHand::new();
    let leader = hand.born(ONE, child());
    let life = hand.life(ONE);
    let found = hand.found((ONE, life), stranger(Origin::Found));
    let reply = hand.end(ONE, policy(0));
    hand.exit(leader);
    hand.exit(found);
    let report = hand.report(reply);
    assert_eq!(report.strength(), &Strength::Observed(Means::MarkAndGroup));
    assert!(report.covers_descendants());
}

#[test]
fn who_was_started_a_moment_too_late_is_killed_at_once_and_the_others_are_not() {
    let mut hand = ByHand::new();
    let early = hand.born(ONE, child());
    let token = hand.gate.reserve(ONE, None).expect("it may be started");
    hand.end(ONE, policy(1));
    let late = (token.process, token.life);
    let late = hand.comes_back(ONE, late, child(), |born| born.raced = true);
    assert_eq!(hand.signals(early), [(ms(0), Signal::TERM)]);
    assert_eq!(hand.signals(late), [(ms(0), Signal::KILL)]);
}

/// Whoever is found on a later rung has been asked by the earlier ones as well, and its first is no escalation.
#[test]
fn who_is_found_in_an_end_is_brought_through_the_rungs_that_were_taken() {
    let policy = StopPolicy::new()
        .close_stdin(ms(1_000))
        .signal(Signal::INT, ms(1_000))
        .signal(Signal::TERM, ms(1_000));
    let mut hand = ByHand::new();
    hand.born(ONE, child());
    let life = hand.life(ONE);
    hand.end(ONE, policy);
    let closes = |hand: &ByHand, process| {
        hand.has_asked(
            |action| matches!(action, Action::CloseStdin { process: of } if *of == process),
        )
    };
    let escalations = |hand: &ByHand, process| {
        let escalated = |kind: &EventKind| matches!(kind, EventKind::Escalated { .. });
        hand.heard(process, escalated)
    };

    let first = hand.found((ONE, life), stranger(Origin::Found));
    assert_eq!((closes(&hand, first), hand.signals(first)), (1, vec![]));
    assert_eq!(escalations(&hand, first), 0);

    hand.until(ms(2_500));
    let third = hand.found((ONE, life), stranger(Origin::Found));
    let asked = vec![(ms(2_500), Signal::INT), (ms(2_500), Signal::TERM)];
    assert_eq!((closes(&hand, third), hand.signals(third)), (1, asked));
    assert_eq!(escalations(&hand, third), 2);
    let rung = hand
        .machine
        .members
        .get(&third)
        .and_then(|member| member.rung);
    assert_eq!(rung, Some(Rung::Signal(Signal::TERM)));

    hand.until(ms(3_500));
    let last = hand.found((ONE, life), stranger(Origin::Found));
    let killed = vec![(ms(3_500), Signal::KILL)];
    assert_eq!((closes(&hand, last), hand.signals(last)), (0, killed));
    assert_eq!(escalations(&hand, last), 0);
}

#[test]
fn a_session_that_takes_over_an_earlier_run_is_searched_though_it_has_nobody() {
    let earlier = Earlier {
        registry: 7,
        life: None,
        last_life: Life(3),
    };
    let mut hand = ByHand::searching();
    hand.opened(ONE, |opened| opened.earlier = vec![earlier]);
    hand.opened(TWO, |_| {});
    let reply = hand.end(ONE, policy(0));
    let hunt = hand.hunt();
    assert!(hunt.scope.everywhere);
    assert_eq!(
        (hunt.reach, &hunt.earlier[..]),
        (Reach::Group, &[earlier][..])
    );
    hand.passed(|_, _| {});
    let strength = hand.report(reply).strength();
    assert_eq!(strength, &Strength::Observed(Means::Group));

    let reply = hand.end(TWO, policy(0));
    assert_eq!((hand.passes, hand.pass.is_some()), (1, false));
    let strength = hand.report(reply).strength();
    assert_eq!(strength, &Strength::Observed(Means::Leader));
}

#[test]
fn a_spawn_that_fails_after_its_end_buries_no_survivor() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, child());
    hand.foreign.insert(survivor);
    let token = hand.gate.reserve(ONE, None).expect("it may be started");
    let reply = hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    assert_eq!(hand.report(reply).survivors().len(), 2);
    let (process, life) = (token.process, token.life);
    hand.input(Input::Aborted {
        process,
        life,
        begun: None,
    });
    assert!(hand.machine.has_life(life));
    hand.exit(survivor);
    assert!(!hand.machine.has_life(life));
}

/// One that comes back after a second end of its number is that one's, and the end is over with it.
#[test]
fn a_spawn_that_outlives_two_ends_is_the_second_ones_and_leaves_no_memory() {
    let mut hand = ByHand::new();
    let token = hand.gate.reserve(ONE, None).expect("it may be started");
    let first = hand.end(ONE, policy(0));
    hand.until(ms(2_000));
    let cause = hand.report(first).survivors()[0].cause;
    assert_eq!(cause, SurvivalCause::SpawnInFlight);
    let second = hand.end(ONE, policy(0));
    assert!(!hand.has_answered(second));
    assert_eq!(hand.machine.heirs.len(), 1);
    let (process, life) = (token.process, token.life);
    hand.input(Input::Aborted {
        process,
        life,
        begun: None,
    });
    assert!(hand.report(second).is_clean());
    assert!(hand.machine.heirs.is_empty() && hand.machine.is_settled());
}

/// The survivors of an end have groups as well: what is left of these goes with the last of them.
#[test]
fn what_a_survivor_leaves_in_its_group_is_killed_with_the_last_survivor() {
    let mut hand = ByHand::new();
    let (first, last) = (hand.born(ONE, child()), hand.born(ONE, child()));
    hand.foreign.extend([first, last]);
    hand.occupied.insert(first);
    hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    hand.exit(first);
    let released = |hand: &ByHand, process: ProcessId, reap: bool| {
        hand.has_asked(|action| {
            matches!(*action, Action::Release { process: of, reap: reaps } if of == process && reaps == reap)
        })
    };
    assert_eq!(released(&hand, first, false), 0);
    hand.exit(last);
    assert_eq!(
        (released(&hand, first, false), released(&hand, first, true)),
        (1, 0)
    );
    let killed = hand.has_asked(|action| {
        matches!(action, Action::Signal { process, target: super::super::Target::Remnant { reaped: true }, signal: Signal::KILL, .. } if *process == first)
    });
    assert_eq!(killed, 1);
}

#[test]
fn a_survivor_of_an_earlier_life_is_ended_with_the_next_and_both_marks_count() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, child());
    hand.foreign.insert(survivor);
    hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    let old = hand
        .machine
        .members
        .get(&survivor)
        .map(|member| member.life);
    hand.prompt = false;
    hand.end(ONE, policy(0));
    let hunt = hand.hunt();
    assert_eq!(hunt.marks.len(), 2);
    assert!(old.is_some_and(|old| hunt.marks.contains(&old)));
}

#[test]
fn a_number_that_was_only_attached_to_has_no_mark_to_hand_on() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, stranger(Origin::Attached));
    hand.foreign.insert(survivor);
    hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    hand.prompt = false;
    hand.born(ONE, child());
    hand.end(ONE, policy(0));
    assert_eq!(hand.hunt().marks.len(), 1);
}

//! How processes leave, what is asked of them before, and what they leave behind.

use std::time::Duration;

use super::super::{Action, Answer, Facts, Looked, Relation, ReplyId, Request, Target, Whom};
use super::by_hand::{ByHand, ONE, TWO, child, ms, sent, stranger};
use super::world::policy;
use crate::event::{EventKind, Origin, Reason};
use crate::report::{How, SurvivalCause};
use crate::session::ProcessId;
use crate::signal::Signal;
use crate::stop::StopPolicy;

fn exited(hand: &ByHand, process: ProcessId) -> bool {
    hand.heard(process, |kind| matches!(kind, EventKind::Exited(_))) == 1
}

fn adopted() -> Facts {
    Facts {
        relation: Relation::Child,
        ..stranger(Origin::Adopted)
    }
}

/// Its parent is to reap it, and may not. Whoever ends or stops it waits less.
#[test]
fn the_status_of_a_dead_stranger_is_waited_for_a_second_or_a_fifth_of_one() {
    type Begin = fn(&mut ByHand, ProcessId) -> ReplyId;
    let end: Begin = |hand, _| hand.end(ONE, policy(3));
    let stop: Begin = |hand, process| hand.stop(process, policy(3));
    for (begin, at, told) in [
        (None, 0, 1_000),
        (Some(end), 0, 200),
        (Some(stop), 0, 200),
        // It is dead already when that begins.
        (Some(end), 100, 300),
        (Some(stop), 100, 300),
        (Some(end), 900, 1_000),
        (Some(stop), 900, 1_000),
    ] {
        let mut hand = ByHand::new();
        let process = hand.born(ONE, stranger(Origin::Attached));
        if let Some(begin) = begin.filter(|_| at == 0) {
            begin(&mut hand, process);
        }
        hand.shows(process, Looked::Dead);
        if let Some(begin) = begin.filter(|_| at > 0) {
            hand.until(ms(at));
            begin(&mut hand, process);
        }
        hand.until(ms(told - 1));
        assert!(!exited(&hand, process), "{at} {told}");
        hand.until(ms(told));
        assert!(exited(&hand, process), "{at} {told}");
    }
}

#[test]
fn one_that_a_tracer_holds_is_looked_at_again_and_not_settled() {
    let mut hand = ByHand::new();
    let process = hand.born(ONE, child());
    hand.shows(process, Looked::Held);
    let before = hand.asked.len();
    hand.until(ms(7));
    let look = |(at, action): &(Duration, Action)| {
        let Action::Look { settle, .. } = action else {
            panic!("{action:?}");
        };
        (*at, *settle)
    };
    let looks: Vec<_> = hand.asked[before..].iter().map(look).collect();
    assert_eq!(looks, [(ms(1), false), (ms(3), false), (ms(7), false)]);
    hand.exit(process);
    assert!(exited(&hand, process));
}

#[derive(Debug, PartialEq, Eq)]
enum Left {
    Retire { reap: bool },
    Probe,
    Kill { reaped: bool },
    Release { reap: bool },
}

/// What is done about a process that has exited, in its order.
fn left(hand: &ByHand, process: ProcessId) -> Vec<Left> {
    let left = |(_, action): &(Duration, Action)| {
        let (of, left) = if let Action::Retire { process, reap } = *action {
            (process, Left::Retire { reap })
        } else if let Action::ProbeGroup { process } = *action {
            (process, Left::Probe)
        } else if let Action::Release { process, reap } = *action {
            (process, Left::Release { reap })
        } else if let (process, Target::Remnant { reaped }, Signal::KILL) = sent(action)? {
            (process, Left::Kill { reaped })
        } else {
            return None;
        };
        (of == process).then_some(left)
    };
    hand.asked.iter().filter_map(left).collect()
}

#[test]
fn who_is_reaped_and_whose_group_is_kept_within_reach() {
    let released = |reap| vec![Left::Retire { reap }, Left::Release { reap: false }];
    let stranger_leads = Facts {
        leads_group: true,
        ..stranger(Origin::Attached)
    };
    for (facts, group_after_reap, subreaper, expected) in [
        (
            child(),
            true,
            false,
            vec![
                Left::Retire { reap: true },
                Left::Probe,
                Left::Release { reap: false },
            ],
        ),
        (
            child(),
            false,
            false,
            vec![Left::Retire { reap: false }, Left::Release { reap: true }],
        ),
        (adopted(), true, false, released(true)),
        (adopted(), false, false, released(true)),
        (stranger_leads, true, false, released(false)),
        (stranger(Origin::Attached), true, false, released(false)),
        (stranger(Origin::Found), true, false, released(false)),
        // It may have come to us as an orphan.
        (stranger(Origin::Found), true, true, released(true)),
    ] {
        let mut hand = ByHand::with(|settings| {
            settings.group_after_reap = group_after_reap;
            settings.subreaper = subreaper;
        });
        hand.born(ONE, child());
        let process = hand.born(ONE, facts.clone());
        hand.exit(process);
        assert_eq!(left(&hand, process), expected, "{facts:?}");
    }
}

/// Whether the reactor may rest before it takes away who has exited; that nobody waits for anything after a rest is checked
/// wherever a world is explored.
#[test]
fn what_is_left_of_an_exit_that_nobody_ends_is_at_leisure() {
    type Begin = fn(&mut ByHand, ProcessId) -> ReplyId;
    let end: Begin = |hand, _| hand.end(ONE, policy(3));
    let stop: Begin = |hand, process| hand.stop(process, policy(3));
    for (begin, rests) in [(None, true), (Some(end), false), (Some(stop), false)] {
        let mut hand = ByHand::new();
        let process = hand.born(ONE, child());
        if let Some(begin) = begin {
            begin(&mut hand, process);
        }
        hand.exit(process);
        let at = |is_it: fn(&Action) -> bool| hand.asked.iter().position(|(_, asked)| is_it(asked));
        let rest = at(|action| matches!(action, Action::Rest));
        assert_eq!(rest.is_some(), rests);
        if rests {
            let empty = at(
                |action| matches!(action, Action::Publish(notice) if matches!(notice.kind, EventKind::SessionEmpty)),
            );
            let retired = at(|action| matches!(action, Action::Retire { .. }));
            assert!(empty.is_some() && empty < rest && rest < retired);
        }
    }
}

#[test]
fn in_an_end_a_group_outlives_its_leader_until_the_end_is_over() {
    for reap in [true, false] {
        let mut hand = ByHand::with(|settings| settings.group_after_reap = reap);
        let (first, last) = (hand.born(ONE, child()), hand.born(ONE, child()));
        hand.end(ONE, policy(1));
        hand.exit(first);
        assert_eq!(left(&hand, first), [Left::Retire { reap }]);
        hand.until(ms(2_000));
        let kill = Left::Kill { reaped: reap };
        assert_eq!(left(&hand, first)[1..], [kill]);
        hand.exit(last);
        let kill = Left::Kill { reaped: reap };
        let expected = [kill, Left::Release { reap: !reap }];
        assert_eq!(left(&hand, first)[2..], expected);
    }
}

#[test]
fn a_stop_ends_the_group_with_its_leader() {
    let mut hand = ByHand::new();
    let (stopped, other) = (hand.born(ONE, child()), hand.born(ONE, child()));
    let reply = hand.stop(stopped, policy(1));
    hand.exit(stopped);
    hand.exit(other);
    assert!(left(&hand, stopped).contains(&Left::Kill { reaped: true }));
    assert!(!left(&hand, other).contains(&Left::Kill { reaped: true }));
    let Some(Answer::Member(report)) = hand.answers.get(&reply) else {
        panic!("no report");
    };
    assert!(report.exit().is_some());
}

/// Every signal, in its order.
fn all_sent(hand: &ByHand) -> Vec<(ProcessId, Target, Signal)> {
    let sent = |(_, action): &(Duration, Action)| sent(action);
    hand.asked.iter().filter_map(sent).collect()
}

/// All are to be killed; when the first one has been, another has exited. Nothing is sent to that, but to what it has left in
/// its group.
#[test]
fn who_exits_while_many_are_signalled_is_left_alone_and_its_group_is_not() {
    for reap in [true, false] {
        let mut hand = ByHand::with(|settings| settings.group_after_reap = reap);
        let [first, leader, last] = [(); 3].map(|()| hand.born(ONE, child()));
        hand.exit_at_a_crowd = vec![leader];
        let reply = hand.end(ONE, policy(0));
        let group = |process| (process, Target::Group, Signal::KILL);
        let left = (leader, Target::Remnant { reaped: reap }, Signal::KILL);
        assert_eq!(all_sent(&hand), [group(first), left, group(last)]);
        let killed =
            |process| hand.heard(process, |kind| matches!(kind, EventKind::Signalled { .. }));
        assert_eq!([first, leader, last].map(killed), [1, 0, 1]);
        // It is told before the last one is signalled.
        let at = |is_it: &dyn Fn(&Action) -> bool| {
            hand.asked.iter().position(|(_, action)| is_it(action))
        };
        let told = at(
            &|action| matches!(action, Action::Publish(notice) if matches!(notice.kind, EventKind::Exited(_))),
        );
        let signalled =
            at(&|action| matches!(action, Action::Signal { process, .. } if *process == last));
        assert!(told.is_some() && told < signalled);
        hand.exit(first);
        hand.exit(last);
        assert!(hand.report(reply).is_clean());
    }
}

/// Two are in the group of the first, and die of what is sent to that. They are noted before they are told.
#[test]
fn who_is_in_a_group_that_was_signalled_is_not_told_before_that_is_noted() {
    let mut hand = ByHand::new();
    let first = hand.born(ONE, child());
    let life = (ONE, hand.life(ONE));
    let beside = Facts {
        in_a_members_group: true,
        ..stranger(Origin::Found)
    };
    let others = [(); 2].map(|()| hand.found(life, beside.clone()));
    let last = hand.born(ONE, child());
    hand.exit_at_a_crowd = others.to_vec();
    let reply = hand.end(ONE, policy(0));
    let [one, other] = others;
    let kill = |process, target| (process, target, Signal::KILL);
    let expected = [
        kill(first, Target::Group),
        kill(one, Target::Process),
        kill(other, Target::Process),
        kill(last, Target::Group),
    ];
    assert_eq!(all_sent(&hand), expected);
    assert!(others.iter().all(|&process| exited(&hand, process)));
    hand.exit(first);
    hand.exit(last);
    assert!(hand.report(reply).is_clean());
}

#[test]
fn the_groups_of_a_long_session_are_let_go_of_two_at_each_birth_and_the_oldest_first() {
    let mut hand = ByHand::new();
    hand.born(ONE, child());
    let leaders = [1, 2, 3, 4, 5].map(|_| hand.born(ONE, child()));
    hand.occupied.extend(leaders);
    for leader in leaders {
        hand.exit(leader);
    }
    let probes = |hand: &ByHand| {
        leaders.map(|leader| {
            hand.has_asked(
                |action| matches!(action, Action::ProbeGroup { process } if *process == leader),
            )
        })
    };
    assert_eq!(probes(&hand), [1; 5]);
    hand.born(ONE, child());
    assert_eq!(probes(&hand), [2, 2, 1, 1, 1]);
    hand.born(ONE, child());
    assert_eq!(probes(&hand), [2, 2, 2, 2, 1]);
    hand.occupied.clear();
    hand.born(ONE, child());
    assert_eq!(probes(&hand), [3, 2, 2, 2, 2]);
    let is_released = |leader| left(&hand, leader).contains(&Left::Release { reap: false });
    assert_eq!(leaders.map(is_released), [true, false, false, false, true]);
}

#[test]
fn a_stop_that_fails_says_why_or_that_nobody_knows() {
    let asleep = SurvivalCause::Uninterruptible;
    for (told, cause, at) in [
        (Some(asleep), asleep, 1_000),
        (None, SurvivalCause::Unknown, 1_250),
    ] {
        let mut hand = ByHand::new();
        let process = hand.born(ONE, child());
        let reply = hand.stop(process, policy(0));
        assert_eq!(hand.signals(process), [(ms(0), Signal::KILL)]);
        hand.until(ms(1_000));
        assert_eq!(hand.inspections.len(), 1);
        if told.is_some() {
            hand.inspected(told);
        }
        assert_eq!(hand.has_answered(reply), told.is_some());
        hand.until(ms(at));
        let Some(Answer::Member(report)) = hand.answers.get(&reply) else {
            panic!("no report");
        };
        assert_eq!(report.how(), How::Survived(cause));
        let survived = |kind: &EventKind| matches!(kind, EventKind::Survived { .. });
        assert_eq!(hand.heard(process, survived), 1);
        assert_eq!(hand.next_deadline(), None);
    }
    let mut hand = ByHand::new();
    let process = hand.born(ONE, child());
    hand.foreign.insert(process);
    let reply = hand.stop(process, policy(0));
    hand.until(ms(1_000));
    assert_eq!(hand.inspections.len(), 0, "that is known");
    assert!(hand.has_answered(reply));
}

/// A stopped process keeps a signal pending until it is continued; one that is sent to stop it is not undone.
#[test]
fn a_soft_signal_is_followed_by_sigcont_unless_it_is_about_stopping() {
    for (signal, continued) in [
        (Signal::TERM, 1),
        (Signal::HUP, 1),
        (Signal::STOP, 0),
        (Signal::TSTP, 0),
        (Signal::TTIN, 0),
        (Signal::TTOU, 0),
    ] {
        let mut hand = ByHand::new();
        let process = hand.born(ONE, child());
        hand.end(ONE, StopPolicy::new().signal(signal, ms(1_000)));
        assert_eq!(hand.signals(process), [(ms(0), signal)]);
        let conts = hand.has_asked(
            |action| matches!(action, Action::Signal { signal, .. } if *signal == Signal::CONT),
        );
        assert_eq!(conts, continued, "{signal:?}");
        let told = |kind: &EventKind| matches!(kind, EventKind::Signalled { signal: of, reason: Reason::Host } if *of == signal);
        assert_eq!(hand.heard(process, told), 1, "{signal:?}");
        let signalled = |kind: &EventKind| matches!(kind, EventKind::Signalled { .. });
        assert_eq!(hand.heard(process, signalled), 1, "{signal:?}");
    }
}

#[test]
fn who_is_in_a_members_group_is_reached_by_it_and_killed_by_itself() {
    let inside = Facts {
        in_a_members_group: true,
        ..stranger(Origin::Found)
    };
    let mut hand = ByHand::new();
    let leader = hand.born(ONE, child());
    let life = hand.life(ONE);
    let follower = hand.found((ONE, life), inside);
    hand.end(ONE, policy(1));
    hand.until(ms(2_000));
    let targets = |of: ProcessId| -> Vec<(Signal, Target)> {
        let to = |(_, action): &(Duration, Action)| {
            let (process, target, signal) = sent(action)?;
            (process == of).then_some((signal, target))
        };
        hand.asked.iter().filter_map(to).collect()
    };
    assert_eq!(
        targets(leader),
        [
            (Signal::TERM, Target::Group),
            (Signal::CONT, Target::Group),
            (Signal::KILL, Target::Group)
        ]
    );
    assert_eq!(
        targets(follower),
        [
            (Signal::TERM, Target::Reached),
            (Signal::KILL, Target::Process)
        ]
    );
}

#[test]
fn a_signal_to_all_of_a_session_is_answered_once_by_what_went_wrong() {
    let signal = |hand: &mut ByHand, whom| {
        hand.request(|reply| Request::SignalSession {
            whom,
            signal: Signal::HUP,
            reply,
        })
    };
    let mut hand = ByHand::new();
    let members = [1, 2, 3].map(|_| hand.born(ONE, child()));
    let life = hand.life(ONE);
    for (foreign, whom, is_ok) in [
        (None, Whom::Number(ONE), true),
        (None, Whom::Life(ONE, life), true),
        (Some(members[2]), Whom::Number(ONE), false),
        (Some(members[0]), Whom::Number(ONE), false),
        (None, Whom::Number(TWO), false),
        (None, Whom::Life(ONE, crate::session::Life(99)), false),
    ] {
        hand.foreign = foreign.into_iter().collect();
        let reply = signal(&mut hand, whom);
        let Some(Answer::Done(done)) = hand.answers.get(&reply) else {
            panic!("no answer");
        };
        assert_eq!(done.is_ok(), is_ok, "{foreign:?} {whom:?}");
    }
    assert_eq!(hand.signals(members[1]).len(), 4);
}

#[test]
fn a_shutdown_is_answered_with_all_reports_and_can_be_made_stricter() {
    let mut hand = ByHand::new();
    let (first, second) = (hand.born(ONE, child()), hand.born(TWO, child()));
    let shutdown = |reply| Request::Shutdown {
        policy: policy(3),
        reason: Reason::Shutdown,
        reply,
    };
    let reply = hand.request(shutdown);
    let joined = hand.request(shutdown);
    hand.until(ms(100_000));
    assert_eq!(hand.signals(first), []);
    hand.request(|_| Request::HardenShutdown { policy: policy(0) });
    for process in [first, second] {
        assert_eq!(hand.signals(process), [(ms(100_000), Signal::KILL)]);
    }
    hand.exit(second);
    assert!(!hand.has_answered(reply));
    hand.exit(first);
    for reply in [reply, joined] {
        let Some(Answer::Reports(reports)) = hand.answers.get(&reply) else {
            panic!("no reports");
        };
        let sessions: Vec<_> = reports.iter().map(|report| report.session()).collect();
        assert_eq!(sessions, [ONE, TWO]);
    }
    assert_eq!(hand.has_asked(|action| matches!(action, Action::Finish)), 1);
}

//! When an end looks for descendants, and what it makes of what it sees.

use std::time::Duration;

use super::super::{Enclosure, Facts, Fate, Input, Passed, Reach, Seen};
use super::by_hand::{ByHand, ONE, TWO, child, ms, stranger};
use super::world::policy;
use crate::event::Origin;
use crate::exit::SessionUsage;
use crate::report::{Means, Proof, Strength, SurvivalCause};
use crate::signal::Signal;
use crate::stop::{Rung, StopPolicy};

/// A policy that never comes to SIGKILL: all that ends such an end is what is seen.
const PATIENT: usize = 3;

fn in_a_cgroup(reach: Reach) -> Facts {
    Facts { reach, ..child() }
}

/// An end whose only member has gone while the first pass was under way.
pub(super) fn deserted(mut hand: ByHand, facts: Facts) -> (ByHand, super::super::ReplyId) {
    hand.prompt = false;
    let leader = hand.born(ONE, facts);
    let reply = hand.end(ONE, policy(PATIENT));
    hand.exit(leader);
    (hand, reply)
}

fn vanished(passed: &mut Passed, _: &mut Seen) {
    passed.calm = false;
    passed.rounds = 1;
}

fn refused(passed: &mut Passed, _: &mut Seen) {
    passed.fate = Fate::Refused;
}

/// How many passes like this it takes to be over.
fn passes_until_over(
    (mut hand, reply): (ByHand, super::super::ReplyId),
    seen: impl Fn(&mut Passed, &mut Seen),
) -> (usize, Strength) {
    for passes in 1..100 {
        hand.next_pass();
        hand.passed(&seen);
        if hand.has_answered(reply) {
            return (passes, hand.report(reply).strength().clone());
        }
    }
    panic!("it is looked for ever");
}

#[test]
fn the_first_rung_waits_for_the_first_pass_and_never_longer_than_a_quarter_of_the_grace() {
    let term = |grace| StopPolicy::new().signal(Signal::TERM, grace);
    for (policy, patience) in [
        (term(ms(2_000)), 250),
        (term(ms(400)), 100),
        (term(Duration::MAX), 250),
        (StopPolicy::immediate(), 250),
    ] {
        let mut hand = ByHand::searching();
        let process = hand.born(ONE, child());
        hand.end(ONE, policy.clone());
        hand.until(ms(patience - 1));
        assert_eq!(hand.signals(process), [], "{policy:?}");
        hand.until(ms(patience));
        assert_eq!(hand.signals(process).len(), 1, "{policy:?}");
    }
    let mut hand = ByHand::searching();
    let process = hand.born(ONE, child());
    hand.end(ONE, term(ms(2_000)));
    hand.until(ms(10));
    assert!(hand.hunt().survey);
    hand.passed(|_, seen| seen.living = true);
    assert_eq!(hand.signals(process), [(ms(10), Signal::TERM)]);
}

#[test]
fn two_quiet_rounds_are_enough_and_one_is_not() {
    let quiet = |rounds| move |passed: &mut Passed, _: &mut Seen| passed.rounds = rounds;
    let gone = Strength::Observed(Means::MarkAndGroup);
    for (rounds, passes) in [(2, 1), (1, 2)] {
        let over = passes_until_over(deserted(ByHand::new(), child()), quiet(rounds));
        assert_eq!(over, (passes, gone.clone()));
    }
    // The second comes at once.
    let (mut hand, _) = deserted(ByHand::new(), child());
    hand.passed(quiet(1));
    assert!(hand.pass.is_some());
}

#[test]
fn rounds_that_began_with_somebody_there_do_not_count() {
    let (mut hand, reply) = deserted(ByHand::new(), child());
    hand.passed(|_, seen| seen.inhabited = 1);
    assert!(!hand.has_answered(reply));
    hand.passed(|passed, _| passed.rounds = 1);
    assert!(hand.has_answered(reply));
}

#[test]
fn on_a_busy_machine_sixteen_rounds_without_anything_marked_stand_for_quiet_ones() {
    let over = passes_until_over(deserted(ByHand::new(), child()), vanished);
    assert_eq!(over, (16, Strength::Observed(Means::MarkAndGroup)));
    // What is marked and dead, or alive and unknown, keeps it looking.
    let dead = |seen: &mut Seen| (seen.marked, seen.freshly_dead) = (true, true);
    let alive = |seen: &mut Seen| seen.living = true;
    for meets in [dead, alive] {
        let (mut hand, reply) = deserted(ByHand::new(), child());
        for _ in 0..20 {
            hand.next_pass();
            hand.passed(|passed, seen| {
                vanished(passed, seen);
                meets(seen);
            });
        }
        assert!(!hand.has_answered(reply));
    }
}

#[test]
fn after_three_passes_that_could_not_be_made_it_claims_what_it_knows() {
    let leader = Strength::Observed(Means::Leader);
    let over = passes_until_over(deserted(ByHand::new(), child()), refused);
    assert_eq!(over, (3, leader.clone()));
    let enclosed = in_a_cgroup(Reach::Cgroup);
    let over = passes_until_over(deserted(ByHand::new(), enclosed), refused);
    assert_eq!(over, (3, leader.clone()));
    // One that was made in between begins the count anew, and one that was late is none of them.
    let (mut hand, reply) = deserted(ByHand::new(), child());
    let late = |passed: &mut Passed, _: &mut Seen| passed.fate = Fate::Late;
    for (n, kind) in [
        refused, refused, vanished, late, late, late, refused, refused,
    ]
    .into_iter()
    .enumerate()
    {
        hand.next_pass();
        hand.passed(kind);
        assert!(!hand.has_answered(reply), "after {n}");
    }
    hand.next_pass();
    hand.passed(refused);
    assert_eq!(hand.report(reply).strength(), &leader);
}

#[test]
fn the_pause_after_a_pass_that_was_not_quiet_doubles_up_to_its_longest() {
    let pauses = |policy: usize, meets: fn(&mut Passed, &mut Seen)| {
        let mut hand = ByHand::searching();
        let leader = hand.born(ONE, child());
        hand.end(ONE, policy_of(policy));
        hand.until(ms(300));
        hand.exit(leader);
        let pause = |hand: &mut ByHand| {
            let before = hand.now;
            hand.passed(meets);
            hand.next_pass();
            (hand.now - before).as_millis()
        };
        let pauses: Vec<u128> = (0..8).map(|_| pause(&mut hand)).collect();
        // They have died since the last look, and that is all.
        let before = hand.now;
        hand.passed(|_, seen| (seen.marked, seen.freshly_dead) = (true, true));
        hand.next_pass();
        assert_eq!(hand.now - before, ms(1));
        pauses
    };
    let alive = |_: &mut Passed, seen: &mut Seen| seen.living = true;
    assert_eq!(pauses(PATIENT, vanished), [1, 2, 4, 8, 16, 32, 50, 50]);
    assert_eq!(pauses(PATIENT, alive), [1, 2, 4, 8, 16, 32, 50, 50]);
    // The first of these was under way when SIGKILL was sent: what it saw was out of date, and the next came at once.
    assert_eq!(pauses(0, vanished), [0, 2, 4, 8, 10, 10, 10, 10]);
}

fn policy_of(n: usize) -> StopPolicy {
    policy(n).confirm_within(Duration::from_secs(60))
}

#[test]
fn a_cgroup_is_empty_when_it_is_removed_or_could_not_be_three_times() {
    let sees = |enclosure| {
        move |_: &mut Passed, seen: &mut Seen| {
            seen.enclosure = enclosure;
            seen.living = enclosure == Some(Enclosure::Populated);
        }
    };
    for (reach, enclosure, passes, strength) in [
        (
            Reach::Contained,
            Enclosure::Removed,
            1,
            Strength::Proven(Proof::CgroupEmpty),
        ),
        (
            Reach::Contained,
            Enclosure::Empty,
            3,
            Strength::Observed(Means::Cgroup),
        ),
        (
            Reach::Cgroup,
            Enclosure::Removed,
            1,
            Strength::Observed(Means::Cgroup),
        ),
        (
            Reach::Cgroup,
            Enclosure::Empty,
            3,
            Strength::Observed(Means::Cgroup),
        ),
    ] {
        let end = deserted(ByHand::new(), in_a_cgroup(reach));
        let over = passes_until_over(end, sees(Some(enclosure)));
        assert_eq!(over, (passes, strength), "{reach:?} {enclosure:?}");
    }
    // A quiet machine around it says nothing about its inside, and a pass that was quiet is not paused after.
    let (mut hand, reply) = deserted(ByHand::new(), in_a_cgroup(Reach::Cgroup));
    for enclosure in [None, Some(Enclosure::Empty), Some(Enclosure::Empty)] {
        assert!(hand.pass.is_some());
        hand.passed(sees(enclosure));
        assert!(!hand.has_answered(reply));
    }
    hand.passed(sees(Some(Enclosure::Populated)));
    for _ in 0..2 {
        hand.next_pass();
        hand.passed(sees(Some(Enclosure::Empty)));
        assert!(!hand.has_answered(reply), "it was entered in between");
    }
    hand.passed(sees(Some(Enclosure::Empty)));
    assert!(hand.has_answered(reply));
}

#[test]
fn what_a_cgroup_has_counted_is_all_there_was_only_where_nobody_could_leave() {
    for (reach, complete) in [(Reach::Contained, true), (Reach::Cgroup, false)] {
        let (mut hand, reply) = deserted(ByHand::new(), in_a_cgroup(reach));
        hand.passed(|_, seen| {
            seen.enclosure = Some(Enclosure::Removed);
            seen.usage = Some(SessionUsage {
                cpu: ms(7),
                ..SessionUsage::default()
            });
        });
        let usage = hand.report(reply).usage().expect("it was counted");
        assert_eq!((usage.cpu, usage.complete), (ms(7), complete));
    }
}

#[test]
fn the_kernel_says_when_the_cgroup_of_an_end_is_empty_and_it_is_looked_at_once() {
    let (mut hand, _) = deserted(ByHand::new(), in_a_cgroup(Reach::Cgroup));
    hand.born(TWO, in_a_cgroup(Reach::Cgroup));
    let (life, other) = (hand.life(ONE), hand.life(TWO));
    for _ in 0..5 {
        hand.next_pass();
        hand.passed(vanished);
    }
    assert!(hand.pass.is_none(), "it pauses");
    hand.input(Input::Populated { life: other });
    assert!(hand.pass.is_none(), "that one is not being ended");
    hand.input(Input::Populated { life });
    assert!(hand.pass.is_some());
}

#[test]
fn the_cgroup_of_a_life_that_was_taken_over_counts_as_well() {
    let mut hand = ByHand::new();
    let survivor = hand.born(ONE, in_a_cgroup(Reach::Cgroup));
    let old = hand.life(ONE);
    hand.foreign.insert(survivor);
    hand.end(ONE, policy(0));
    hand.until(ms(10_000));
    hand.prompt = false;
    hand.end(ONE, policy(PATIENT));
    hand.passed(|_, seen| seen.living = true);
    assert!(hand.pass.is_none(), "who is known has yet to exit");
    hand.input(Input::Populated { life: old });
    assert!(hand.pass.is_some());
}

/// A subreaper with no other session: that it has no child at all is waited for, for a while.
#[test]
fn a_subreaper_waits_a_while_for_the_proof_that_it_has_no_children() {
    let subreaper = || ByHand::with(|settings| settings.subreaper = true);
    let end = || deserted(subreaper(), in_a_cgroup(Reach::Subreaper));
    let quiet = |_: &mut Passed, _: &mut Seen| {};
    let over = passes_until_over(end(), quiet);
    assert_eq!(over, (20, Strength::Observed(Means::Subreaper)));
    let childless = |passed: &mut Passed, _: &mut Seen| passed.childless = true;
    let proven = Strength::Proven(Proof::NoChildren);
    assert_eq!(passes_until_over(end(), childless), (1, proven));
    // It is not waited for what cannot come: another session is there, or this one has others than its orphans.
    let (mut hand, reply) = end();
    hand.born(TWO, child());
    hand.passed(vanished);
    hand.next_pass();
    hand.passed(quiet);
    let strength = hand.report(reply).strength();
    assert_eq!(strength, &Strength::Observed(Means::Subreaper));
    let end = deserted(subreaper(), child());
    let over = passes_until_over(end, childless);
    assert_eq!(over, (1, Strength::Observed(Means::MarkAndGroup)));
    let end = deserted(subreaper(), child());
    assert_eq!(passes_until_over(end, quiet).0, 1);
    let end = deserted(ByHand::new(), in_a_cgroup(Reach::Subreaper));
    assert_eq!(passes_until_over(end, quiet).0, 1);
}

#[test]
fn a_proof_is_not_waited_for_where_it_cannot_be_looked() {
    let hand = ByHand::with(|settings| settings.subreaper = true);
    let (mut hand, reply) = deserted(hand, in_a_cgroup(Reach::Subreaper));
    hand.passed(|_, _| {});
    for _ in 0..2 {
        hand.next_pass();
        hand.passed(refused);
        assert!(!hand.has_answered(reply));
    }
    hand.next_pass();
    hand.passed(refused);
    let strength = hand.report(reply).strength();
    assert_eq!(strength, &Strength::Observed(Means::Leader));
}

#[test]
fn an_orphan_that_nothing_names_makes_the_claim_of_a_subreaper_a_weaker_one() {
    for (unattributed, means) in [(true, Means::Group), (false, Means::Subreaper)] {
        let end = deserted(ByHand::new(), in_a_cgroup(Reach::Subreaper));
        let over = passes_until_over(end, |_, seen| seen.unattributed = unattributed);
        assert_eq!(over, (1, Strength::Observed(means)));
    }
}

#[test]
fn who_turns_up_begins_the_search_anew() {
    let (mut hand, reply) = deserted(ByHand::new(), child());
    let life = hand.life(ONE);
    hand.passed(|passed, _| passed.rounds = 1);
    let found = hand.found((ONE, life), stranger(Origin::Found));
    hand.passed(|_, seen| seen.living = true);
    hand.exit(found);
    assert!(!hand.has_answered(reply));
    assert!(hand.pass.is_some(), "the last that was known has gone");
    hand.passed(|passed, _| passed.rounds = 1);
    assert!(!hand.has_answered(reply));
    hand.passed(|passed, _| passed.rounds = 1);
    assert!(hand.has_answered(reply));
}

#[test]
fn the_last_that_is_known_need_not_wait_for_the_next_pass() {
    let mut hand = ByHand::searching();
    let (first, last) = (hand.born(ONE, child()), hand.born(ONE, child()));
    let reply = hand.end(ONE, policy(0));
    for _ in 0..6 {
        hand.next_pass();
        hand.passed(|_, seen| seen.living = true);
    }
    assert!(hand.pass.is_none());
    hand.exit(first);
    assert!(hand.pass.is_none());
    hand.exit(last);
    assert!(hand.pass.is_some());
    hand.passed(|_, _| {});
    assert!(hand.has_answered(reply));
    assert_eq!(hand.next_deadline(), None);
}

/// What leaves its group just now is sent SIGKILL where it is found.
#[test]
fn a_pass_that_was_under_way_when_sigkill_was_sent_is_followed_by_another() {
    for (policy, again) in [(0, true), (1, false)] {
        let mut hand = ByHand::searching();
        let process = hand.born(ONE, child());
        hand.end(ONE, policy_of(policy));
        assert!(hand.hunt().kill.is_none());
        hand.until(ms(250));
        assert_eq!(hand.signals(process).len(), 1);
        hand.passed(|_, seen| seen.inhabited = 2);
        assert_eq!(hand.pass.is_some(), again, "{policy}");
        if again {
            assert!(hand.hunt().kill.is_some() && !hand.hunt().survey);
        }
    }
}

#[test]
fn a_session_that_the_pass_under_way_is_not_for_gets_one_behind_it() {
    let mut hand = ByHand::searching();
    hand.born(ONE, child());
    hand.end(ONE, policy(PATIENT));
    hand.born(TWO, stranger(Origin::Attached));
    let token = hand.gate.reserve(TWO, None).expect("it may be started");
    hand.end(TWO, StopPolicy::new().signal(Signal::TERM, ms(500)));
    let late = hand.comes_back(TWO, (token.process, token.life), child(), |_| {});
    hand.until(ms(600));
    assert_eq!(hand.signals(late).last(), Some(&(ms(500), Signal::KILL)));
    assert_eq!(hand.hunt().session, ONE);
    hand.passed(|_, seen| seen.living = true);
    let (_, hunts) = hand.pass.as_ref().expect("what it leaves just now is met");
    assert!(hunts.iter().any(|hunt| hunt.session == TWO));
}

/// Its time is over and nobody is known to live, but that there is nobody has not been seen.
#[test]
fn an_end_that_could_not_look_looks_on_for_half_a_second_and_says_so() {
    for seen_in_time in [true, false] {
        let mut hand = ByHand::searching();
        let leader = hand.born(ONE, child());
        let life = hand.life(ONE);
        let reply = hand.end(ONE, policy(0));
        hand.until(ms(300));
        hand.exit(leader);
        hand.until(ms(1_749));
        assert!(!hand.has_answered(reply));
        if seen_in_time {
            // It was under way when SIGKILL was sent.
            hand.passed(|_, seen| seen.inhabited = 2);
            hand.passed(|_, _| {});
            assert!(hand.report(reply).is_clean());
            assert!(hand.machine.is_settled() && !hand.machine.has_life(life));
            continue;
        }
        hand.until(ms(1_750));
        let report = hand.report(reply);
        assert_eq!(report.survivors()[0].cause, SurvivalCause::StillForking);
        assert!(!report.covers_descendants());
        assert!(!hand.machine.is_settled() && hand.machine.has_life(life));
    }
}

#[test]
fn who_was_found_last_and_lives_is_one_of_those_that_turn_up_all_the_time() {
    let mut hand = ByHand::searching();
    let known = hand.born(ONE, child());
    let life = hand.life(ONE);
    let reply = hand.end(ONE, policy(0));
    let found = hand.found((ONE, life), stranger(Origin::Found));
    hand.passed(|_, seen| seen.living = true);
    hand.until(ms(1_100));
    hand.passed(|_, seen| seen.living = true);
    hand.inspected(None);
    assert_eq!(hand.next_deadline(), None, "no other pass is to come");
    let survivors = hand.report(reply).survivors();
    let causes: Vec<_> = survivors
        .iter()
        .map(|one| (one.process, one.cause))
        .collect();
    let forks = SurvivalCause::StillForking;
    assert_eq!(
        causes,
        [(known, SurvivalCause::Unknown), (found, forks)],
        "and nobody stands for those that have no name"
    );
    // They are known, and nothing is left when they have gone.
    hand.exit(known);
    hand.exit(found);
    assert!(!hand.machine.has_life(life) && hand.machine.is_settled());
}

#[test]
fn an_inspection_that_nobody_answers_is_waited_for_a_quarter_of_a_second() {
    let mut hand = ByHand::new();
    let process = hand.born(ONE, child());
    let reply = hand.end(ONE, policy(0));
    hand.until(ms(1_000));
    assert_eq!(hand.inspections.len(), 1);
    hand.until(ms(1_249));
    assert!(!hand.has_answered(reply));
    hand.until(ms(1_250));
    let survivors = hand.report(reply).survivors();
    assert_eq!(survivors[0].process, process);
    assert_eq!(survivors[0].cause, SurvivalCause::Unknown);
}

/// Nobody takes the status of such a one: it is told as exited, whatever is known about how.
#[test]
fn who_was_found_and_is_dead_is_told_as_exited_when_the_end_is_over() {
    let mut hand = ByHand::searching();
    let leader = hand.born(ONE, child());
    let life = hand.life(ONE);
    let reply = hand.end(ONE, policy(PATIENT));
    let found = hand.found((ONE, life), stranger(Origin::Found));
    hand.passed(|_, seen| seen.living = true);
    hand.shows(found, super::super::Looked::Dead);
    assert!(hand.pass.is_none(), "the leader lives");
    hand.exit(leader);
    hand.passed(|_, _| {});
    let report = hand.report(reply);
    assert!(report.is_clean());
    assert_eq!(report.members().len(), 2);
    assert_eq!(report.took(), Duration::ZERO);
}

#[test]
fn only_sessions_that_live_and_have_somebody_are_others() {
    let sees = |change: &dyn Fn(&mut ByHand)| {
        let mut hand = ByHand::new();
        hand.born(ONE, child());
        change(&mut hand);
        hand.prompt = false;
        hand.end(ONE, policy(1));
        hand.hunt().alone
    };
    assert!(sees(&|_| {}));
    assert!(sees(&|hand| {
        hand.opened(TWO, |_| {});
    }));
    assert!(!sees(&|hand| {
        hand.born(TWO, child());
    }));
    assert!(sees(&|hand| {
        let survivor = hand.born(TWO, child());
        hand.foreign.insert(survivor);
        hand.end(TWO, policy(0));
        hand.until(ms(1_000));
        assert!(hand.machine.members.contains_key(&survivor));
    }));
    // One whose descendants are nobody's business may have left some, also where its spawn failed.
    for leads_group in [true, false] {
        let began = |hand: &mut ByHand| hand.aborts_begun(TWO, leads_group);
        let is_alone = sees(&|hand| {
            began(hand);
            began(hand);
        });
        assert_eq!(is_alone, leads_group);
        let is_alone = sees(&|hand| {
            hand.aborts_begun(TWO, false);
            began(hand);
        });
        assert!(!is_alone, "once is enough");
    }
}

#[test]
fn whose_children_and_groups_a_pass_looks_for() {
    let mut hand = ByHand::searching();
    let leader = hand.born(ONE, child());
    let attached = hand.born(ONE, stranger(Origin::Attached));
    let life = hand.life(ONE);
    let found = hand.found((ONE, life), stranger(Origin::Found));
    hand.end(ONE, policy(1));
    let hunt = hand.hunt();
    assert_eq!(hunt.leaders, [leader]);
    assert_eq!(hunt.parents, [leader, found]);
    assert_eq!(hunt.members, [leader, attached, found]);
    assert!(hunt.ending && hunt.marked_late, "one was not started by us");

    let mut hand = ByHand::searching();
    hand.born(ONE, child());
    hand.end(ONE, policy(1));
    assert!(!hand.hunt().marked_late);
}

#[test]
fn an_end_without_descendants_that_count_does_not_look() {
    let mut hand = ByHand::searching();
    let process = hand.born(ONE, stranger(Origin::Attached));
    let reply = hand.end(ONE, policy(1));
    assert_eq!(hand.signals(process), [(ms(0), Signal::TERM)]);
    hand.exit(process);
    let report = hand.report(reply);
    assert_eq!(hand.passes, 0);
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader));
    assert!(report.is_clean() && !report.covers_descendants());
    assert_eq!(
        report.members()[0].how(),
        crate::report::How::At(Rung::Signal(Signal::TERM))
    );
}

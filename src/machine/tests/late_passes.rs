//! What takes long to look at, and what hangs.

use super::super::{Fate, Input, OpId, Outcome, Passed, Seen};
use super::by_hand::{ByHand, child, ms};
use super::searches::deserted;

#[test]
fn a_pass_that_hangs_is_not_waited_for_and_what_it_says_later_is_not_heard() {
    let (mut hand, reply) = deserted(ByHand::new(), child());
    let (late, hunts) = hand.pass.clone().expect("one is under way");
    hand.until(ms(1_999));
    assert_eq!(hand.passes, 1);
    hand.until(ms(2_100));
    assert_eq!(hand.passes, 2);
    let passed = Passed {
        fate: Fate::Complete,
        calm: true,
        rounds: 2,
        seen: [(hunts[0].life, Seen::default())].into(),
        childless: false,
    };
    let outcome = Outcome::Passed(passed);
    hand.input(Input::Done { op: late, outcome });
    assert!(!hand.has_answered(reply));
    hand.passed(|_, _| {});
    assert!(hand.has_answered(reply));
}

#[test]
fn a_pass_that_takes_long_is_waited_for_as_long_as_it_says_that_it_goes_on() {
    let (mut hand, reply) = deserted(ByHand::new(), child());
    let (op, _) = hand.pass.clone().expect("one is under way");
    let another = OpId(op.0 + 1_000);
    for at in [1_500, 3_000, 4_500] {
        hand.until(ms(at));
        hand.input(Input::PassGoesOn { op });
        hand.input(Input::PassGoesOn { op: another });
    }
    hand.until(ms(6_499));
    assert_eq!(hand.passes, 1);
    hand.input(Input::PassGoesOn { op: another });
    hand.until(ms(6_600));
    assert_eq!(hand.passes, 2, "it has fallen silent");
    // One that is not waited for any longer says nothing of the next.
    hand.until(ms(8_000));
    hand.input(Input::PassGoesOn { op });
    hand.until(ms(8_700));
    assert_eq!(hand.passes, 3);
    assert!(!hand.has_answered(reply));
}

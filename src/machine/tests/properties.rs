//! Long random runs.

use proptest::prelude::*;

use super::bytes::drive;
use super::descendants::Sees;
use super::world::{Op, Temper, Tier, World};
use crate::limits::Limits;

fn temper() -> impl Strategy<Value = Temper> {
    prop_oneof![
        3 => Just(Temper::Obedient),
        3 => Just(Temper::Deaf),
        1 => Just(Temper::Asleep),
        1 => Just(Temper::Foreign),
    ]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let session = 0..3_u64;
    let n = 0..6_usize;
    prop_oneof![
        6 => session.clone().prop_map(Op::Reserve),
        6 => temper().prop_map(Op::Born),
        1 => temper().prop_map(Op::Attach),
        1 => Just(Op::Abort),
        3 => n.clone().prop_map(Op::Exit),
        2 => n.clone().prop_map(Op::ExitUnseen),
        1 => n.clone().prop_map(Op::Steal),
        1 => n.clone().prop_map(Op::Trace),
        1 => Just(Op::Untrace),
        1 => Just(Op::Wake),
        1 => Just(Op::ForeignReap),
        3 => (session.clone(), 0..4_usize).prop_map(|(session, policy)| Op::End(session, policy)),
        2 => (n.clone(), 0..4_usize).prop_map(|(process, policy)| Op::Stop(process, policy)),
        1 => n.clone().prop_map(Op::Signal),
        1 => n.prop_map(Op::Detach),
        1 => session.prop_map(Op::SignalAll),
        2 => (0..6_usize).prop_map(Op::Fork),
        1 => (0..6_usize).prop_map(Op::Leave),
        1 => (0..6_usize).prop_map(Op::Join),
        1 => (0..3_usize).prop_map(Op::Populated),
        4 => prop_oneof![
            4 => Just(Op::Passed(Sees::All)),
            1 => Just(Op::Passed(Sees::Glimpses)),
            1 => Just(Op::Passed(Sees::Nothing)),
        ],
        4 => Just(Op::Timer),
        2 => (0..2500_u16).prop_map(Op::Pause),
        3 => any::<bool>().prop_map(Op::Inspected),
        1 => (0..6_usize).prop_map(Op::Ready),
        1 => any::<u64>().prop_map(Op::Stray),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// The world asserts every promise at every step.
    #[test]
    fn a_long_run_keeps_every_promise_and_leaves_nothing(
        ops in prop::collection::vec(prop_oneof![30 => op(), 1 => Just(Op::GoesOn)], 0..120),
        limited in any::<bool>(),
        group_after_reap in any::<bool>(),
        tier in prop::sample::select(&Tier::ALL[..]),
        meanwhile in any::<bool>(),
    ) {
        let limits = if limited { Limits::NONE.processes(5).processes_per_session(3) } else { Limits::NONE };
        // A kernel that cannot signal the group of a reaped leader has no subreapers here.
        let group_after_reap = group_after_reap || tier == Tier::Subreaper;
        let mut world = World::of_tier(limits, group_after_reap, tier);
        world.prompt_passes = false;
        world.meanwhile = meanwhile;
        for op in ops {
            world.step(op);
        }
        world.finish();
    }

    #[test]
    fn any_bytes_are_a_run(data in prop::collection::vec(any::<u8>(), 0..200)) {
        drive(&data);
    }
}

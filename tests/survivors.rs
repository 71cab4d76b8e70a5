//! What does not die, what dies late, and how far an end reaches.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use procession::{
    Containment, ErrorKind, EventKind, EventMask, How, Means, Registry, Rung, Signal, StopPolicy,
    Strength, SurvivalCause,
};

use support::{
    LONG_ENOUGH, Pinned, Works, builder, clean, controlled, drain, eventually, exits_of, host,
    is_our_child, member, ms, only_member, registry, role, start, state, survivor, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(survivors_of_an_ended_session_are_killed_and_reported_again).needs_root(),
            test!(a_kill_that_is_not_permitted_is_a_survivor_that_stays_tracked).needs_root(),
            test!(a_vfork_parent_in_state_d_is_ended_without_a_hang),
            test!(a_member_that_dies_only_after_the_deadline_has_its_exit_delivered_late),
            test!(a_stop_that_fails_says_why),
            test!(a_group_is_killed_with_its_leader),
            test!(a_group_is_killed_with_its_leader).on_an_older_kernel(),
            test!(what_a_leader_left_in_its_group_is_ended_with_its_session),
            test!(a_leader_alone_is_ended_under_the_leader_tier),
            test!(one_member_of_a_group_under_another_user_lowers_what_is_claimed)
                .looks_at_others()
                .needs_root(),
        ],
        &[],
    )
}

fn term_then_kill(grace: Duration) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, grace).kill()
}

fn end(registry: &Registry, session: u64, policy: &StopPolicy) -> procession::SessionReport {
    clean(registry.end_session_with(session, policy).works())
}

/// A user that nothing on the machine runs as.
const NOBODY_AT_ALL: &str = "61234";

fn survivors_of_an_ended_session_are_killed_and_reported_again() {
    support::give_up_the_right_to_kill();
    let registry = registry();
    let (child, control, _lines) =
        controlled(&registry, 1, role("changes-user").arg(NOBODY_AT_ALL));
    let policy = StopPolicy::immediate().confirm_within(ms(100));
    for _ in 0..3 {
        let report = registry
            .end_session_with(1, &policy)
            .expect("a survivor is no error");
        assert_eq!(survivor(&report), SurvivalCause::NotPermitted);
        assert_eq!(
            member(&report, &child).how(),
            How::Survived(SurvivalCause::NotPermitted)
        );
    }
    // The number lives again, and its next end names the survivor of the last one too.
    let (second, _second_lines) = start(&registry, 1, &mut role("obedient"));
    let report = registry
        .end_session_with(1, &policy)
        .expect("a survivor is no error");
    assert_eq!(survivor(&report), SurvivalCause::NotPermitted);
    assert_eq!(member(&report, &second).how(), How::At(Rung::Kill));
    drop(control);
    assert_eq!(child.wait().expect("it is still tracked").code(), Some(0));
    let report = end(&registry, 1, &policy);
    assert_eq!(report.members().len(), 0, "\n{report}");
}

fn a_kill_that_is_not_permitted_is_a_survivor_that_stays_tracked() {
    support::give_up_the_right_to_kill();
    let registry = registry();
    let events =
        registry.subscribe_to(EventMask::SURVIVED | EventMask::EXITED | EventMask::SESSIONS);
    let (child, control, _lines) =
        controlled(&registry, 1, role("changes-user").arg(NOBODY_AT_ALL));
    assert_eq!(
        child.kill().expect_err("another user's").kind(),
        ErrorKind::NotPermitted
    );
    assert_eq!(
        child
            .signal(Signal::TERM)
            .expect_err("another user's")
            .kind(),
        ErrorKind::NotPermitted
    );
    let report = registry
        .end_session_with(1, &StopPolicy::immediate().confirm_within(ms(100)))
        .expect("no error");
    assert_eq!(survivor(&report), SurvivalCause::NotPermitted);
    assert!(
        matches!(report.strength(), Strength::Unconfirmed { survivors } if survivors.len() == 1),
        "\n{report}"
    );
    let before: Vec<_> = drain(&events)
        .into_iter()
        .map(|event| event.kind().clone())
        .collect();
    let survived = before.iter().position(|kind| {
        matches!(
            kind,
            EventKind::Survived {
                cause: SurvivalCause::NotPermitted
            }
        )
    });
    let ended = before
        .iter()
        .position(|kind| matches!(kind, EventKind::SessionEnded(_)));
    assert!(survived.is_some() && survived < ended, "{before:?}");
    let tracked = registry.processes().works();
    assert_eq!(tracked.len(), 1);
    assert_eq!(
        tracked[0].state,
        procession::ProcessState::Survived(SurvivalCause::NotPermitted)
    );
    drop(control);
    assert_eq!(child.wait().expect("it is still tracked").code(), Some(0));
    let late = events
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("its late exit is delivered");
    assert_eq!(exits_of(&[late], &child).len(), 1);
    eventually("it is forgotten", || {
        registry.processes().works().is_empty()
    });
}

fn a_vfork_parent_in_state_d_is_ended_without_a_hang() {
    let registry = registry();
    let (child, _control, _lines) = controlled(&registry, 1, &mut role("vfork-parent"));
    eventually("it is in state D", || state(child.pid()) == Some('D'));
    // Since 2.6 this wait of the kernel's ends for SIGKILL, and for nothing less.
    let report = end(&registry, 1, &term_then_kill(ms(100)));
    assert_eq!(member(&report, &child).how(), How::At(Rung::Kill));
    // What it has made shares its memory still, and is a process of its own.
    assert_eq!(report.leftovers().count(), 1, "\n{report}");
}

fn a_member_that_dies_only_after_the_deadline_has_its_exit_delivered_late() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    // Its tracer holds it between SIGKILL and its exit: alive, and deaf to everything.
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    let report = registry
        .end_session_with(1, &StopPolicy::immediate().confirm_within(ms(200)))
        .expect("no error");
    assert_eq!(survivor(&report), SurvivalCause::Traced { by: tracer.id() });
    assert!(child.try_wait().works().is_none());
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    let exit = child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("nobody holds it any more");
    assert_eq!(exit.signal(), Some(Signal::KILL));
    let late = events
        .receiver()
        .recv_timeout(LONG_ENOUGH)
        .expect("its late exit is delivered");
    assert_eq!(exits_of(&[late], &child), [exit]);
}

fn a_stop_that_fails_says_why() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    let cause = SurvivalCause::Traced { by: tracer.id() };
    let report = child
        .stop(&StopPolicy::immediate().confirm_within(ms(100)))
        .works();
    assert_eq!((report.how(), report.exit()), (How::Survived(cause), None));
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    assert_eq!(child.wait().works().signal(), Some(Signal::KILL));
    // Its session has not ended.
    assert_eq!(registry.sessions().works().len(), 1);
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert_eq!(
        (report.members().len(), report.gone_before()),
        (0, 1),
        "\n{report}"
    );
}

fn a_group_is_killed_with_its_leader() {
    let registry = registry();
    let (child, _control, mut lines) = controlled(&registry, 1, &mut role("keeps-a-child"));
    let pid = lines.number();
    let other = Pinned::open(pid).expect("it lives");
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert!(other.is_dead(), "alive after a clean report:\n{report}");
    assert_eq!(member(&report, &child).how(), How::At(Rung::Kill));
    let left: Vec<_> = report.leftovers().collect();
    assert_eq!(left.len(), 1, "\n{report}");
    assert_eq!((left[0].pid(), left[0].how()), (pid, How::At(Rung::Kill)));
}

fn what_a_leader_left_in_its_group_is_ended_with_its_session() {
    let registry = registry();
    let (child, control, mut lines) = controlled(&registry, 1, role("leaves-a-child").arg("0"));
    let pid = lines.number();
    let left = Pinned::open(pid).expect("it lives");
    assert!(child.wait().works().success());
    assert!(!left.is_dead(), "ended before anybody asked");
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert!(left.is_dead(), "alive after a clean report:\n{report}");
    assert_eq!(only_member(&report).pid(), pid);
    assert_eq!(report.gone_before(), 1);
    assert!(report.covers_descendants(), "\n{report}");
    drop(control);
}

fn a_leader_alone_is_ended_under_the_leader_tier() {
    let registry = builder()
        .containment(Containment::Leader)
        .build()
        .expect("this tier always works");
    let (child, control, mut lines) = controlled(&registry, 1, &mut role("keeps-a-child"));
    let other = Pinned::open(lines.number()).expect("it lives");
    let report = end(&registry, 1, &StopPolicy::immediate());
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader));
    assert!(!report.covers_descendants());
    assert!(!is_our_child(child.pid()), "not reaped");
    assert!(
        !other.is_dead(),
        "a descendant was signalled, in the host's own group"
    );
    drop(control);
    other.assert_dies();
}

fn one_member_of_a_group_under_another_user_lowers_what_is_claimed() {
    support::give_up_the_right_to_kill();
    let registry = registry();
    // The group's second process belongs to somebody else, so that the success of the group signal hides a refusal.
    let (_child, control, mut lines) =
        controlled(&registry, 1, role("keeps-a-child").arg(NOBODY_AT_ALL));
    let pid = lines.number();
    let other = Pinned::open(pid).expect("it lives");
    let policy = StopPolicy::immediate().confirm_within(ms(200));
    let report = registry.end_session_with(1, &policy).works();
    assert!(!other.is_dead(), "the precondition does not hold");
    assert_eq!(survivor(&report), SurvivalCause::NotPermitted);
    assert_eq!(report.survivors()[0].pid, pid);
    assert!(!report.covers_descendants());
    drop(control);
    other.assert_dies();
}

//! Deadline arithmetic.

use std::time::{Duration, Instant};

use super::super::ladder::{Due, Ladder};
use crate::signal::Signal;
use crate::stop::{Rung, StopPolicy};

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "a first moment; from here on time is virtual"
    )]
    Instant::now()
}

fn term(grace: Duration) -> StopPolicy {
    StopPolicy::new()
        .signal(Signal::TERM, grace)
        .confirm_within(SECOND)
}

#[test]
fn a_grace_of_zero_is_now_and_one_without_end_is_never() {
    let now = start();
    for (grace, kill_at) in [
        (Duration::ZERO, Some(now)),
        (
            Duration::from_millis(1 << 31),
            now.checked_add(Duration::from_millis(1 << 31)),
        ),
        (
            Duration::from_nanos(1 << 63),
            now.checked_add(Duration::from_nanos(1 << 63)),
        ),
        (Duration::MAX, None),
        (Duration::from_secs(u64::MAX - 1), None),
    ] {
        assert_eq!(
            Ladder::new(&term(grace), now).kill_at(),
            kill_at,
            "{grace:?}"
        );
    }
}

#[test]
fn what_is_late_by_several_rungs_is_killed_once_and_nothing_else() {
    let now = start();
    let mut ladder = Ladder::new(&term(SECOND), now);
    let late = now + 60 * SECOND;
    assert_eq!(
        ladder.take_due(late),
        Due::Take {
            rung: Rung::Kill,
            first: true
        }
    );
    assert_eq!(ladder.take_due(late), Due::Nothing);
    assert_eq!(
        ladder.next_deadline(),
        Some(late + SECOND),
        "the confirmation counts from the kill"
    );
    assert_eq!(ladder.take_due(late + SECOND), Due::ConfirmOver);
}

#[test]
fn a_stricter_policy_shortens_and_a_laxer_one_changes_nothing() {
    let now = start();
    let mut ladder = Ladder::new(&term(5 * SECOND), now);
    assert_eq!(
        ladder.take_due(now),
        Due::Take {
            rung: Rung::Signal(Signal::TERM),
            first: true
        }
    );
    ladder.merge(&term(60 * SECOND), now + SECOND);
    assert_eq!(ladder.kill_at(), Some(now + 5 * SECOND));
    ladder.merge(
        &StopPolicy::immediate().confirm_within(9 * SECOND),
        now + 2 * SECOND,
    );
    assert_eq!(ladder.kill_at(), Some(now + 2 * SECOND));
    assert_eq!(
        ladder.take_due(now + 2 * SECOND),
        Due::Take {
            rung: Rung::Kill,
            first: false
        }
    );
    assert_eq!(
        ladder.next_deadline(),
        Some(now + 11 * SECOND),
        "the more patient confirmation holds"
    );
}

#[test]
fn rungs_past_the_kill_are_skipped() {
    let now = start();
    let policy = StopPolicy::new()
        .close_stdin(SECOND)
        .signal(Signal::TERM, SECOND);
    let mut ladder = Ladder::new(&policy, now);
    assert_eq!(
        ladder.take_due(now),
        Due::Take {
            rung: Rung::CloseStdin,
            first: true
        }
    );
    ladder.merge(&term(SECOND), now);
    assert_eq!(
        ladder.take_due(now + SECOND),
        Due::Take {
            rung: Rung::Kill,
            first: false
        }
    );
}

/// It is what a host is shown of an end.
#[test]
fn the_rung_in_force_is_the_last_one_taken_and_before_that_the_first() {
    let now = start();
    let policy = StopPolicy::new().wait(SECOND).signal(Signal::TERM, SECOND);
    let mut ladder = Ladder::new(&policy, now);
    assert_eq!(
        (ladder.current(), ladder.current_or_first()),
        (None, Rung::Wait)
    );
    for (after, rung) in [
        (0, Rung::Wait),
        (1, Rung::Signal(Signal::TERM)),
        (2, Rung::Kill),
    ] {
        assert!(matches!(
            ladder.take_due(now + after * SECOND),
            Due::Take { .. }
        ));
        assert_eq!(ladder.current(), Some(rung));
        assert_eq!(ladder.current_or_first(), rung);
    }
    assert_eq!(
        Ladder::new(&StopPolicy::immediate(), now).current_or_first(),
        Rung::Kill
    );
}

#[test]
fn no_rung_is_taken_before_its_time() {
    let now = start();
    let policy = StopPolicy::new().wait(SECOND).signal(Signal::TERM, SECOND);
    let mut ladder = Ladder::new(&policy, now);
    let early = now + SECOND - Duration::from_nanos(1);
    let rungs: Vec<Due> = [now, now, early, early + Duration::from_nanos(1)]
        .map(|at| ladder.take_due(at))
        .into();
    let take = |rung, first| Due::Take { rung, first };
    let term = Rung::Signal(Signal::TERM);
    assert_eq!(
        rungs,
        [
            take(Rung::Wait, true),
            Due::Nothing,
            Due::Nothing,
            take(term, false)
        ]
    );
    assert_eq!(ladder.taken_rungs().collect::<Vec<_>>(), [Rung::Wait, term]);
}

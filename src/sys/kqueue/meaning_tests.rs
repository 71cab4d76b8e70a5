//! The table of all answers, and what each row means.

use std::time::{Duration, Instant};

use super::meaning::{
    First, Hold, Presence, Still, Waited, ahead, first_look, from_outside, hold, holds_its_number,
    is_refused_by_the_dead_alone, is_vague, may_be_silent, settable, still,
};
use crate::exit::{Status, StatusSource, Usage};
use crate::signal::Signal;
use crate::sys::vocabulary::{Look, Relation};

const CODE: Status = Status::Code(3);
const EXIT: Waited = Waited::Exit(CODE);
const ALIVE: Presence = Presence::Alive(7);
const DEAD: Presence = Presence::Dead(7);
const NOBODY: Presence = Presence::Nobody;
const PRESENCES: [Presence; 5] = [ALIVE, DEAD, NOBODY, Presence::Alive(8), Presence::Dead(8)];
const WAITS: [Waited; 3] = [Waited::Nothing, Waited::NotOurs, EXIT];
const RELATIONS: [Relation; 2] = [Relation::Child, Relation::Stranger];
const ENDS: [Still; 4] = [
    Still::Zombie,
    Still::Vanished,
    Still::Reaped,
    Still::Replaced,
];

fn killed_by(number: i32) -> Status {
    Status::Signal {
        signal: Signal(number),
        core_dumped: false,
    }
}

fn exited(status: Status, source: StatusSource) -> Look {
    Look::Exited {
        status,
        source,
        usage: None,
    }
}

#[test]
fn a_living_process_is_watched_whoever_it_is() {
    for waited in [Waited::Nothing, Waited::NotOurs] {
        assert_eq!(hold(true, waited, ALIVE, ALIVE), Hold::Watched(7));
    }
}

/// `EV_ADD` says ESRCH of a child of ours that exits: too late for a note, too early for a wait.
#[test]
fn a_child_that_is_too_far_gone_for_a_note_has_ended_and_is_not_gone() {
    for after in [NOBODY, DEAD] {
        let held = hold(false, Waited::Nothing, ALIVE, after);
        assert_eq!(held, Hold::Ended(Some(7)));
    }
    let held = hold(false, Waited::Nothing, NOBODY, NOBODY);
    assert_eq!(held, Hold::Ended(None));
}

/// The note goes on, and is never posted: it came after the exit.
#[test]
fn a_note_that_was_attached_to_a_zombie_is_not_waited_for() {
    assert_eq!(hold(true, EXIT, DEAD, DEAD), Hold::Ended(Some(7)));
    assert_eq!(
        hold(true, Waited::Nothing, ALIVE, DEAD),
        Hold::Ended(Some(7))
    );
    let another_s = hold(true, Waited::NotOurs, DEAD, DEAD);
    assert_eq!(another_s, Hold::Ended(Some(7)));
}

#[test]
fn a_strangers_number_that_changed_hands_is_nobodys() {
    for attached in [true, false] {
        for before in PRESENCES {
            for after in PRESENCES {
                let held = hold(attached, Waited::NotOurs, before, after);
                let same = before.id().is_some() && before.id() == after.id();
                match held {
                    Hold::Watched(id) => assert!(same && attached && after == Presence::Alive(id)),
                    Hold::Ended(id) => assert!(same && after == Presence::Dead(id.unwrap())),
                    Hold::Gone => {}
                }
            }
        }
    }
}

/// Whatever else is answered.
#[test]
fn a_child_that_was_not_reaped_is_never_gone() {
    for attached in [true, false] {
        for before in PRESENCES {
            for after in PRESENCES {
                for waited in [Waited::Nothing, EXIT] {
                    assert_ne!(hold(attached, waited, before, after), Hold::Gone);
                }
            }
        }
    }
}

#[test]
fn an_exit_is_announced_before_it_can_be_waited_for() {
    let first = first_look(Waited::Nothing, true, None, None);
    assert_eq!(first, First::AboutToBeWaitable);
    let first = first_look(EXIT, true, None, None);
    assert_eq!(first, First::Settled(exited(CODE, StatusSource::Waited)));
}

#[test]
fn a_zombie_tells_its_status_also_if_its_note_is_not_there() {
    let first = first_look(EXIT, false, None, None);
    assert_eq!(first, First::Settled(exited(CODE, StatusSource::Waited)));
}

#[test]
fn what_a_zombie_has_used_is_told_with_its_status() {
    let used = Usage {
        user: Duration::from_secs(1),
        system: Duration::from_secs(2),
        max_rss_bytes: None,
    };
    for noted in [true, false] {
        let first = first_look(EXIT, noted, None, Some(used));
        let First::Settled(Look::Exited { usage, .. }) = first else {
            panic!("{first:?}");
        };
        assert_eq!(usage, Some(used));
    }
}

#[test]
fn without_a_note_a_child_with_nothing_to_collect_lives() {
    let first = first_look(Waited::Nothing, false, None, None);
    assert_eq!(first, First::Settled(Look::Alive));
}

/// Older xnu: CLD_KILLED, and si_status 0.
#[test]
fn a_death_by_signal_0_is_told_by_the_note_or_unknown_and_never_made_up() {
    let vague = killed_by(0);
    assert!(is_vague(vague) && !is_vague(CODE) && !is_vague(killed_by(9)));
    for (told, status) in [
        (Some(killed_by(9)), killed_by(9)),
        (Some(vague), Status::Unknown),
        (None, Status::Unknown),
    ] {
        let first = first_look(Waited::Exit(vague), true, told, None);
        assert_eq!(first, First::Settled(exited(status, StatusSource::Waited)));
    }
    let first = first_look(EXIT, true, Some(killed_by(9)), None);
    assert_eq!(first, First::Settled(exited(CODE, StatusSource::Waited)));
}

#[test]
fn the_number_says_who_has_it_by_the_id() {
    assert_eq!(still(Some(7), ALIVE), Still::Alive);
    assert_eq!(still(Some(7), DEAD), Still::Zombie);
    assert_eq!(still(Some(7), NOBODY), Still::Vanished);
    for id in [Some(8), None] {
        assert_eq!(still(id, ALIVE), Still::Replaced);
        assert_eq!(still(id, DEAD), Still::Replaced);
    }
}

#[test]
fn a_process_that_lives_and_has_announced_nothing_is_alive() {
    for relation in RELATIONS {
        let look = from_outside(false, None, Still::Alive, relation);
        assert_eq!(look, Look::Alive);
    }
}

/// Until it has announced its exit, it has not exited, however little is to be seen of it.
#[test]
fn what_cannot_be_seen_and_has_announced_nothing_is_looked_at_again() {
    for relation in RELATIONS {
        let look = from_outside(false, None, Still::Vanished, relation);
        assert_eq!(look, Look::Held);
    }
}

/// xnu does not say that somebody has exited who was traced, and whose parent was gone when the tracer has waited for it.
#[test]
fn who_is_nowhere_to_be_found_is_dead_also_if_nothing_was_ever_announced() {
    for (noted, still, asked) in [
        (false, Still::Vanished, true),
        (true, Still::Vanished, false),
        (false, Still::Alive, false),
        (false, Still::Zombie, false),
        (false, Still::Replaced, false),
    ] {
        assert_eq!(may_be_silent(noted, still), asked, "{still:?}");
    }
    for relation in RELATIONS {
        let look = from_outside(false, None, Still::Reaped, relation);
        assert_eq!(look, exited(Status::Unknown, StatusSource::Unavailable));
    }
}

/// Its tracer waits for it first. If its death were told now, nobody would reap it afterwards.
#[test]
fn a_child_that_somebody_traces_is_held_until_it_is_given_back() {
    for noted in [true, false] {
        let look = from_outside(noted, Some(CODE), Still::Zombie, Relation::Child);
        assert_eq!(look, Look::Held);
    }
}

#[test]
fn a_status_that_was_announced_is_told_and_any_other_is_unknown() {
    for relation in RELATIONS {
        for still in ENDS {
            if still == Still::Zombie && relation == Relation::Child {
                continue;
            }
            let look = from_outside(true, Some(CODE), still, relation);
            assert_eq!(look, exited(CODE, StatusSource::KqueueNote));
            let look = from_outside(true, None, still, relation);
            assert_eq!(look, exited(Status::Unknown, StatusSource::Unavailable));
        }
    }
}

/// With SIGCHLD ignored, or with another who waits for all children.
#[test]
fn a_number_that_another_has_is_a_death_also_without_a_note() {
    for relation in RELATIONS {
        let look = from_outside(false, None, Still::Replaced, relation);
        assert_eq!(look, exited(Status::Unknown, StatusSource::Unavailable));
    }
}

#[test]
fn nothing_is_alive_that_has_announced_its_exit() {
    for waited in WAITS {
        assert_ne!(
            first_look(waited, true, None, None),
            First::Settled(Look::Alive)
        );
    }
    for relation in RELATIONS {
        for still in ENDS.into_iter().chain([Still::Alive]) {
            assert_ne!(from_outside(true, None, still, relation), Look::Alive);
        }
    }
}

#[test]
fn a_number_is_used_only_while_it_is_the_processs_own() {
    for waited in WAITS {
        for still in ENDS.into_iter().chain([Still::Alive]) {
            let own = holds_its_number(true, still, waited);
            assert!(!own || !matches!(still, Still::Replaced | Still::Reaped));
            assert!(holds_its_number(false, still, waited));
        }
        assert!(holds_its_number(true, Still::Zombie, waited));
    }
    assert!(holds_its_number(true, Still::Vanished, Waited::Nothing));
    assert!(!holds_its_number(true, Still::Vanished, Waited::NotOurs));
}

#[test]
fn a_group_of_zombies_refuses_nothing_and_one_living_member_does() {
    assert!(is_refused_by_the_dead_alone([]));
    assert!(is_refused_by_the_dead_alone([DEAD, NOBODY]));
    assert!(!is_refused_by_the_dead_alone([DEAD, ALIVE]));
}

#[test]
fn a_timer_is_never_set_short_of_its_deadline_by_what_is_cut_off() {
    let now = now();
    for (left, set) in [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_nanos(1), Duration::from_millis(1)),
        (
            Duration::from_micros(2_000_300),
            Duration::from_millis(2_001),
        ),
        (Duration::from_micros(1_500), Duration::from_micros(1_500)),
        (Duration::from_secs(5), Duration::from_secs(5)),
    ] {
        assert_eq!(ahead(now + left, now), set);
    }
    assert_eq!(ahead(now, now + Duration::from_secs(1)), Duration::ZERO);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    assert_eq!(ahead(now + 3 * year, now), year);
}

/// A timer that fires early is armed again; one that is set to what is left of a number without room is not.
#[test]
fn where_nanoseconds_have_little_room_a_timer_is_set_to_whole_seconds() {
    let most = Duration::from_nanos(i32::MAX as u64);
    for (left, set) in [
        (Duration::from_millis(2_100), Duration::from_millis(2_100)),
        (Duration::from_millis(2_200), Duration::from_secs(2)),
        (Duration::from_millis(9_900), Duration::from_secs(9)),
    ] {
        assert_eq!(settable(left, most), set);
        assert_eq!(settable(left, Duration::MAX), left);
    }
}

#[expect(clippy::disallowed_methods, reason = "an instant has no other origin")]
fn now() -> Instant {
    Instant::now()
}

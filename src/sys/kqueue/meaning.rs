//! What the kernel's answers about a process mean together: decisions without a system call.
//!
//! Compiled, and tested, on every platform: nothing here knows whose answers they are. The orders that have to be told
//! apart are those of xnu, the strictest of the two kernels:
//!
//! 1. A process that exits is out of reach for new notes first (`EV_ADD` says `ESRCH`), and stays so while it closes its
//!    files, which can take long.
//! 2. The notes that are attached are posted then,
//! 3. and then only it becomes a zombie that can be waited for. So between 2 and 3 a wait finds nothing of a process that
//!    has exited.
//! 4. Where SIGCHLD is ignored there is no zombie at all, and a process that is traced announces its exit to its tracer
//!    first, and again, to us, when the tracer has waited for it; or never, if its own parent is gone by then.
//!
//! A note that was attached is posted once, and is there until it is read: several that come in one batch, or before
//! anybody looked, are one and the same fact, "it has exited".

use std::time::{Duration, Instant};

use crate::exit::{Status, StatusSource, Usage};
use crate::sys::vocabulary::{Look, Relation};

/// No timer is set further ahead. One that was asked for beyond this fires early, and is armed again: a wake-up a year.
const FURTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a wait that neither blocks nor reaps found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// It is our child, and there is nothing to collect.
    Nothing,
    /// It is not our child, or not any more: reaped, or another's while that one traces it.
    NotOurs,
    /// It is a zombie of ours.
    Exit(Status),
}

/// Who has a number at this moment, by an id that is never given twice in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sys) enum Presence {
    /// A process that has not begun to exit.
    Alive(u64),
    /// A zombie, or what is about to be one.
    Dead(u64),
    /// Nobody who can be seen. On xnu also one that exits and is not yet a zombie.
    Nobody,
}

impl Presence {
    pub(in crate::sys) fn id(self) -> Option<u64> {
        match self {
            Self::Alive(id) | Self::Dead(id) => Some(id),
            Self::Nobody => None,
        }
    }
}

/// What came of taking hold of the process that has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Hold {
    /// It lives, and its exit will be announced.
    Watched(u64),
    /// It has exited: nothing more will be announced, or need be.
    Ended(Option<u64>),
    /// There is no such process, or the number has changed hands meanwhile.
    Gone,
}

/// What it means that a note was attached to whoever has a number (or could not be), that a wait after it found this, and
/// that these had the number before and afterwards.
pub(super) fn hold(attached: bool, waited: Waited, before: Presence, after: Presence) -> Hold {
    match (attached, waited) {
        // It is a zombie already: what is attached to it may never be posted.
        (true | false, Waited::Exit(_)) => Hold::Ended(before.id().or(after.id())),
        // It exits, and is too far gone for a note and not yet far enough to be waited for.
        (false, Waited::Nothing) => Hold::Ended(before.id().or(after.id())),
        // A child that nobody has reaped keeps its number: both times it was this one.
        (true, Waited::Nothing) => match after {
            Presence::Alive(id) => Hold::Watched(id),
            Presence::Dead(id) => Hold::Ended(Some(id)),
            // It has begun to exit between the two, and its note is still to come.
            Presence::Nobody => Hold::Ended(before.id()),
        },
        // A stranger's number can change hands at any moment. One id before and after says that it did not.
        (true, Waited::NotOurs) => match (before, after) {
            (Presence::Alive(was), Presence::Alive(is)) if was == is => Hold::Watched(is),
            (Presence::Alive(was) | Presence::Dead(was), Presence::Dead(is)) if was == is => {
                Hold::Ended(Some(is))
            }
            (
                Presence::Alive(_) | Presence::Dead(_) | Presence::Nobody,
                Presence::Alive(_) | Presence::Dead(_) | Presence::Nobody,
            ) => Hold::Gone,
        },
        // Somebody else's zombie has no exit to announce.
        (false, Waited::NotOurs) => match (before, after) {
            (Presence::Alive(was) | Presence::Dead(was), Presence::Dead(is)) if was == is => {
                Hold::Ended(Some(is))
            }
            (
                Presence::Alive(_) | Presence::Dead(_) | Presence::Nobody,
                Presence::Alive(_) | Presence::Dead(_) | Presence::Nobody,
            ) => Hold::Gone,
        },
    }
}

/// What has become of a process whose id is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Still {
    Alive,
    /// A zombie that has its number still.
    Zombie,
    /// Nobody has its number that can be seen: it was reaped, or it exits.
    Vanished,
    /// Nobody has its number, and nobody who exits has it: it was reaped.
    Reaped,
    /// Another has its number: it was reaped.
    Replaced,
}

/// The same process, or another one? `id` is what was read when it was taken hold of; `None` if it could not be read then.
pub(super) fn still(id: Option<u64>, now: Presence) -> Still {
    match now {
        Presence::Alive(is) if Some(is) == id => Still::Alive,
        Presence::Dead(is) if Some(is) == id => Still::Zombie,
        Presence::Alive(_) | Presence::Dead(_) => Still::Replaced,
        Presence::Nobody => Still::Vanished,
    }
}

/// Whether it has to be asked for whoever cannot be seen, or was reaped: nothing was announced, and nothing may ever be. xnu says
/// nothing of a process that has exited while it was traced, if its parent was gone by the time its tracer has waited for it.
pub(super) fn may_be_silent(noted: bool, still: Still) -> bool {
    !noted && still == Still::Vanished
}

/// What a wait and the note say, or that more has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum First {
    Settled(Look),
    /// Its exit was announced, and it is not to be waited for yet: on xnu that lasts microseconds, unless it is traced.
    AboutToBeWaitable,
    /// No wait tells: the note, and who has the number, have to.
    AskOutside,
}

/// `noted`: its exit was announced. `told`: the status that was announced with it, where it was looked for. `usage`: what a
/// zombie of ours has used.
pub(super) fn first_look(
    waited: Waited,
    noted: bool,
    told: Option<Status>,
    usage: Option<Usage>,
) -> First {
    match (waited, noted) {
        (Waited::Exit(status), true | false) => First::Settled(Look::Exited {
            status: precise(status, told),
            source: StatusSource::Waited,
            usage,
        }),
        (Waited::Nothing, false) => First::Settled(Look::Alive),
        (Waited::Nothing, true) => First::AboutToBeWaitable,
        (Waited::NotOurs, true | false) => First::AskOutside,
    }
}

/// Whether a status has to be completed by the note: older versions of xnu say that it was killed, and by signal 0.
pub(super) fn is_vague(status: Status) -> bool {
    matches!(status, Status::Signal { signal, .. } if signal.as_raw() == 0)
}

fn precise(status: Status, told: Option<Status>) -> Status {
    if is_vague(status) {
        told.filter(|told| !is_vague(*told))
            .unwrap_or(Status::Unknown)
    } else {
        status
    }
}

/// What it means of a process that no wait of ours can collect.
pub(super) fn from_outside(
    noted: bool,
    told: Option<Status>,
    still: Still,
    relation: Relation,
) -> Look {
    match (still, noted) {
        (Still::Alive, false) => Look::Alive,
        // It contradicts itself, and what it says next will not.
        (Still::Alive, true) => Look::Held,
        // Somebody traces it, and will give it back; or is about to reap it.
        (Still::Zombie, true | false) if relation == Relation::Child => Look::Held,
        // It exits, and has yet to announce it.
        (Still::Vanished, false) => Look::Held,
        // Nobody will ever tell more than was announced.
        (Still::Zombie | Still::Replaced | Still::Reaped, true | false)
        | (Still::Vanished, true) => Look::Exited {
            status: told.unwrap_or(Status::Unknown),
            source: match told {
                Some(_) => StatusSource::KqueueNote,
                None => StatusSource::Unavailable,
            },
            usage: None,
        },
    }
}

/// Whether the number is still the process's own, so that it may be used: `noted` is asked before, `still` only where it
/// was.
pub(super) fn holds_its_number(noted: bool, still: Still, waited: Waited) -> bool {
    if !noted {
        return true;
    }
    match (still, waited) {
        (Still::Alive | Still::Zombie, Waited::Nothing | Waited::NotOurs | Waited::Exit(_)) => true,
        // Ours, and between its note and its zombie.
        (Still::Vanished, Waited::Nothing) => true,
        (Still::Vanished, Waited::NotOurs | Waited::Exit(_)) => false,
        (Still::Replaced | Still::Reaped, Waited::Nothing | Waited::NotOurs | Waited::Exit(_)) => {
            false
        }
    }
}

/// What a group signal's `EPERM` means. xnu says it too where all members are zombies, and then it has reached all there
/// was to reach.
pub(super) fn is_refused_by_the_dead_alone(members: impl IntoIterator<Item = Presence>) -> bool {
    members
        .into_iter()
        .all(|member| !matches!(member, Presence::Alive(_)))
}

/// How far ahead the timer is set for a deadline, in what the kernel call's wrapper does not cut off: it takes less than
/// a millisecond beside whole seconds for nothing, and a timer that fires early is armed again, for nothing.
pub(super) fn ahead(deadline: Instant, now: Instant) -> Duration {
    let left = deadline.saturating_duration_since(now).min(FURTHEST);
    settable(left, Duration::from_nanos(isize::MAX as u64))
}

/// `most`: what is cut off as well, above whole seconds: nanoseconds that do not fit into the kernel's field, which on a machine
/// of 32 bits are a few seconds.
pub(super) fn settable(left: Duration, most: Duration) -> Duration {
    if left > most {
        return Duration::from_secs(left.as_secs());
    }
    if left.subsec_millis() == 0 && left.subsec_nanos() > 0 {
        Duration::from_secs(left.as_secs()) + Duration::from_millis(1)
    } else {
        left
    }
}

//! What the kernel's answers about a process mean together.

use std::io;

use rustix::event::PollFlags;

use super::facilities::Facilities;
use super::info;
use super::pin::Pin;
use super::wait::{Collected, peek};
use crate::exit::{Status, StatusSource};
use crate::sys::vocabulary::{Look, Relation};

impl Pin {
    /// Looks whether the process lives, and if not, how it ended. Never blocks, never reaps.
    ///
    /// # Errors
    ///
    /// None is known on a kernel that passed the probe, `ENOMEM` aside.
    pub(crate) fn look(&self, relation: Relation, facilities: &Facilities) -> io::Result<Look> {
        match peek(self.fd())? {
            Collected::Exit { status, usage } => return Ok(waited(status, usage)),
            Collected::NotOurs => return self.look_from_outside(relation, facilities),
            Collected::Nothing => {}
        }
        if !self.is_dead()? {
            return Ok(Look::Alive);
        }
        // It may have ended between the two calls above, so it is asked once more, now that it is known to be dead.
        match peek(self.fd())? {
            Collected::Exit { status, usage } => Ok(waited(status, usage)),
            Collected::NotOurs => self.look_from_outside(relation, facilities),
            Collected::Nothing => Ok(Look::Held),
        }
    }

    /// The same for a process that no wait of ours can collect.
    fn look_from_outside(&self, relation: Relation, facilities: &Facilities) -> io::Result<Look> {
        // In this order: whoever has hung up (was reaped) has left its status before.
        let seen = self.poll()?;
        let told = if facilities.exit_info && !seen.is_empty() {
            info::exit_status(self.fd())
        } else {
            None
        };
        Ok(meaning(seen, told, relation, facilities))
    }
}

/// What it means that no wait of ours can collect it, the poll saw this, and the pidfd told that.
fn meaning(
    seen: PollFlags,
    told: Option<Status>,
    relation: Relation,
    facilities: &Facilities,
) -> Look {
    if seen.is_empty() {
        return Look::Alive;
    }
    if let Some(status) = told {
        return Look::Exited {
            status,
            source: StatusSource::PidfdInfo,
            usage: None,
        };
    }
    if !facilities.exit_info || seen.contains(PollFlags::HUP) {
        return UNKNOWN;
    }
    // The kernel will have the status as soon as somebody has reaped it. For our child that somebody, another thread of
    // the host or the kernel itself where SIGCHLD is ignored, is at it right now.
    match relation {
        Relation::Child => Look::Held,
        Relation::Stranger => Look::Dead,
    }
}

const UNKNOWN: Look = Look::Exited {
    status: Status::Unknown,
    source: StatusSource::Unavailable,
    usage: None,
};

fn waited(status: Status, usage: crate::exit::Usage) -> Look {
    Look::Exited {
        status,
        source: StatusSource::Waited,
        usage: Some(usage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: Facilities = Facilities {
        group_signal: true,
        pidfs: true,
        pidfd_info: true,
        exit_info: true,
    };
    const BEFORE_6_15: Facilities = Facilities {
        exit_info: false,
        ..MODERN
    };
    const ENDED: PollFlags = PollFlags::IN;
    const REAPED: PollFlags = PollFlags::IN.union(PollFlags::HUP);

    /// The moments within a reap last too short to be met on a real kernel.
    #[test]
    fn a_child_whose_reap_is_under_way_is_held_and_a_strangers_zombie_is_dead() {
        let ended = |relation| meaning(ENDED, None, relation, &MODERN);
        assert_eq!(ended(Relation::Child), Look::Held);
        assert_eq!(ended(Relation::Stranger), Look::Dead);
    }

    #[test]
    fn a_status_that_is_told_is_believed_also_if_the_reap_was_not_seen_yet() {
        for seen in [ENDED, REAPED] {
            for relation in [Relation::Child, Relation::Stranger] {
                let look = meaning(seen, Some(Status::Code(3)), relation, &MODERN);
                let expected = Look::Exited {
                    status: Status::Code(3),
                    source: StatusSource::PidfdInfo,
                    usage: None,
                };
                assert_eq!(look, expected);
            }
        }
    }

    #[test]
    fn what_nobody_will_ever_tell_is_unknown() {
        for relation in [Relation::Child, Relation::Stranger] {
            assert_eq!(meaning(REAPED, None, relation, &MODERN), UNKNOWN);
            assert_eq!(meaning(REAPED, None, relation, &BEFORE_6_15), UNKNOWN);
            assert_eq!(meaning(ENDED, None, relation, &BEFORE_6_15), UNKNOWN);
        }
    }

    #[test]
    fn what_has_not_ended_is_alive() {
        for facilities in [MODERN, BEFORE_6_15] {
            for relation in [Relation::Child, Relation::Stranger] {
                let look = meaning(PollFlags::empty(), None, relation, &facilities);
                assert_eq!(look, Look::Alive);
            }
        }
    }
}

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
        let seen = self.poll()?;
        if seen.is_empty() {
            return Ok(Look::Alive);
        }
        if !facilities.exit_info {
            return Ok(UNKNOWN);
        }
        // In this order: whoever has hung up (was reaped) has left its status before.
        if let Some(status) = info::exit_status(self.fd()) {
            return Ok(Look::Exited {
                status,
                source: StatusSource::PidfdInfo,
                usage: None,
            });
        }
        if seen.contains(PollFlags::HUP) {
            return Ok(UNKNOWN);
        }
        // The kernel will have the status as soon as somebody has reaped it. For our child that somebody, another
        // thread of the host or the kernel itself where SIGCHLD is ignored, is at it right now.
        Ok(match relation {
            Relation::Child => Look::Held,
            Relation::Stranger => Look::Dead,
        })
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

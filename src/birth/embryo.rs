//! What the three ways have in common until the handover.

use std::io;
use std::process::{Child, ChildStdin};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::exit::{Status, StatusSource};
use crate::launch::Outlets;
use crate::machine::{Facts, Refused};
use crate::reactor::{Core, ExitLook, NoToken, Outputs, Parts, Place, Shared, Spawning};
use crate::session::{Life, SessionId};
use crate::stdin::StdinPipe;
use crate::sys::Pin;

/// Takes a token.
pub(super) fn enter(
    shared: &Shared,
    place: Place,
    deadline: Option<Instant>,
    operation: &'static str,
) -> Result<Spawning> {
    if shared.is_forked_copy() {
        let detail = "this is a copy of the registry in a forked child";
        return Err(Error::new(ErrorKind::ReactorGone, operation).with_detail(detail));
    }
    let entered = shared.gate.enter(place, deadline, &shared.mail);
    entered.map_err(|no| no_token(shared, no, place.session, operation))
}

/// Takes a token without a slot.
pub(super) fn be_admitted(
    shared: &Shared,
    (session, life): (SessionId, Life),
    operation: &'static str,
) -> Result<Spawning> {
    let admitted = shared.gate.admit((session, life), &shared.mail);
    admitted.map_err(|no| no_token(shared, no, session, operation))
}

fn no_token(shared: &Shared, no: NoToken, session: SessionId, operation: &'static str) -> Error {
    let error = match no {
        NoToken::TimedOut => {
            Error::new(ErrorKind::TimedOut, operation).with_detail("no slot became free in time")
        }
        NoToken::Refused(Refused::SessionEnding) => Error::new(ErrorKind::SessionEnding, operation),
        NoToken::Refused(Refused::SessionEnded) => Error::new(ErrorKind::SessionEnded, operation),
        NoToken::Refused(Refused::SessionInUse) => Error::new(ErrorKind::SessionInUse, operation),
        NoToken::Refused(Refused::Full { limit }) => Error::new(ErrorKind::LimitReached, operation)
            .with_detail(format!(
                "{limit} processes are registered, as many as may be"
            )),
        NoToken::Refused(Refused::SessionFull { limit }) => {
            Error::new(ErrorKind::LimitReached, operation).with_detail(format!(
                "{limit} processes are in the session, as many as may be"
            ))
        }
        NoToken::Refused(Refused::ShutDown) => shared.closed(operation),
    };
    error.with_session(session)
}

/// What is held of a process that was brought about.
pub(super) struct Held {
    pub(super) pin: Option<Pin>,
    pub(super) child: Pipes,
    pub(super) started: Option<Instant>,
}

/// The ends of its pipes.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) outputs: Outputs,
}

impl Pipes {
    pub(super) fn take(child: &mut Child) -> Self {
        let outputs = Outputs {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        Self {
            stdin: child.stdin.take(),
            outputs,
        }
    }
}

impl From<Outlets> for Pipes {
    fn from(pipes: Outlets) -> Self {
        Self {
            stdin: pipes.stdin,
            outputs: Outputs {
                stdout: pipes.stdout,
                stderr: pipes.stderr,
            },
        }
    }
}

/// Makes the core. A process without a pin is one that is gone, and nobody can say how.
pub(super) fn conceive(
    shared: &Arc<Shared>,
    spawning: &Spawning,
    mut facts: Facts,
    held: Held,
) -> Arc<Core> {
    let gone = held.pin.is_none();
    facts.inode = held.pin.as_ref().and_then(|pin| pin.identity().inode);
    let parts = Parts {
        process: spawning.process(),
        session: spawning.session(),
        life: spawning.life(),
        facts: Arc::new(facts),
        started: held.started,
        pin: held.pin,
        stdin: StdinPipe::new(held.child.stdin),
        outputs: held.child.outputs,
    };
    let core = Core::new(Arc::clone(shared), parts);
    if gone && core.facts.origin == Origin::Spawned {
        let look = ExitLook {
            status: Status::Unknown,
            source: StatusSource::Unavailable,
            usage: None,
        };
        core.settle(core.complete(look));
    }
    Arc::new(core)
}

pub(super) fn system_error(operation: &'static str, error: io::Error) -> Error {
    Error::new(ErrorKind::System, operation).with_source(error)
}

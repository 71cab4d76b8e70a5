//! Starting.

use std::ffi::OsStr;
use std::io;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::embryo::{Held, Pipes, conceive, enter};
use super::handover::give_birth;
use super::unwatched::clear_away;
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::launch::{Failure, Launch, Launched, Setup};
use crate::machine::{Facts, Relation};
use crate::mark::Token;
use crate::process::Process;
use crate::reactor::{self, Place, Shared, Spawning};
use crate::spawn_options::SpawnOptions;
use crate::sys::{self, Pin};

/// Starts a process.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    place: Place,
    command: &mut impl Launch,
    options: &SpawnOptions,
) -> Result<Process> {
    const OPERATION: &str = "spawn";
    let session = place.session;
    let about = |error: Error, program: &OsStr| error.with_session(session).with_program(program);
    if command.program().is_empty() {
        let error =
            Error::new(ErrorKind::InvalidInput, OPERATION).with_detail("the program is empty");
        return Err(about(error, command.program()));
    }
    // A time that overflows is never over.
    let deadline = options
        .slot_timeout
        .map(|wait| reactor::now().checked_add(wait).unwrap_or_else(far));
    let spawning = enter(shared, place, deadline, OPERATION)
        .map_err(|error| error.with_program(command.program()))?;
    let wanted = options
        .containment
        .or(command.containment())
        .or(spawning.containment());
    let containment = wanted.unwrap_or(shared.plan.containment);
    if containment > Containment::Group {
        let detail = format!("the tier {containment:?} is not there yet");
        let error = Error::new(ErrorKind::Unsupported, OPERATION).with_detail(detail);
        return Err(about(error, command.program()));
    }
    let own_group = containment >= Containment::Group;
    let setup = Setup {
        own_group,
        token: token(shared, &spawning),
        spawning: &spawning,
        threads: &shared.launch_threads,
        cradles: &shared.cradles,
        facilities: shared.facilities,
    };
    let started = Some(reactor::now());
    let launched = command
        .launch(&setup)
        .map_err(|failure| about(launch_error(shared, failure, own_group), command.program()))?;
    let facts = Facts {
        pid: match &launched {
            Launched::Std(child) => child.id(),
            Launched::Native { pin, .. } => pin.pid(),
        },
        inode: None,
        relation: Relation::Child,
        leads_group: own_group,
        origin: Origin::Spawned,
        containment,
        label: options.label.clone(),
        command_line: command.command_line(),
    };
    let held = match launched {
        Launched::Native { pin, pipes } => Ok(Held {
            pin: Some(pin),
            child: pipes.into(),
            started,
        }),
        Launched::Std(child) => hold(shared, child, own_group).map(|held| Held { started, ..held }),
    };
    let held = held.map_err(|error| about(error, command.program()))?;
    let core = conceive(shared, &spawning, facts, held);
    give_birth(spawning, core, options.time_limit)
}

/// Pins a child that std has started. Without a pin it is killed and reaped: nothing is left of it.
fn hold(shared: &Shared, mut child: Child, own_group: bool) -> Result<Held> {
    match Pin::open(child.id(), &shared.facilities) {
        Ok(pin) => Ok(Held {
            pin: Some(pin),
            child: Pipes::take(&mut child),
            started: None,
        }),
        // With SIGCHLD ignored it can have exited and be gone before it could be pinned.
        Err(error) if sys::is_gone(&error) => Ok(Held {
            pin: None,
            child: Pipes::take(&mut child),
            started: None,
        }),
        Err(error) => {
            sys::kill_unpinned(child.id(), own_group);
            let reaped = child.wait();
            let text = match reaped {
                Ok(_) => "the process could not be pinned, and was killed",
                Err(_) => "the process could not be pinned, and was killed; its status was taken",
            };
            Err(Error::new(ErrorKind::SpawnFailed, "spawn")
                .with_detail(text)
                .with_source(error))
        }
    }
}

/// Our mark for what is about to be started.
fn token(shared: &Shared, spawning: &Spawning) -> Option<Token> {
    let owner = shared.plan.owner.as_ref()?;
    Some(Token {
        owner_name: owner.name.clone(),
        pid: owner.identity.pid,
        start: owner.identity.start_ticks,
        inode: owner.identity.inode,
        boot: owner.identity.boot,
        pid_namespace: owner.identity.pid_namespace,
        registry: shared.number,
        life: spawning.life(),
        session: spawning.session(),
    })
}

/// What a launch that did not come about is to the caller. Nothing of it is left then.
fn launch_error(shared: &Shared, failure: Failure, own_group: bool) -> Error {
    const OPERATION: &str = "spawn";
    let ending = || Error::new(ErrorKind::SessionEnding, OPERATION);
    match failure {
        Failure::Refused(why) => Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(why),
        Failure::System { step, error } => {
            // That is how std says that it has found a NUL.
            let invalid =
                error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none();
            let kind = if invalid {
                ErrorKind::InvalidInput
            } else {
                ErrorKind::SpawnFailed
            };
            let failed = Error::new(kind, OPERATION).with_source(error);
            match step {
                Some(step) => failed.with_detail(step),
                None => failed,
            }
        }
        Failure::Doomed => ending(),
        Failure::Killed(pin) => {
            clear_away(&pin, own_group, &shared.facilities);
            ending().with_detail("its end began while the process was being started")
        }
    }
}

/// A time that is not reached.
fn far() -> Instant {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    reactor::now()
        .checked_add(century)
        .unwrap_or_else(reactor::now)
}

//! Starting.

use std::ffi::OsStr;
use std::io;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::embryo::{Held, Pipes, conceive, enter};
use super::entry::Entry;
use super::handover::{Arrival, give_birth};
use super::unwatched::clear_away;
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::launch::{Failure, Launch, Launched, Setup};
use crate::leaves::Tenancy;
use crate::limit_mark::Pair;
use crate::machine::{Facts, Reach, Relation};
use crate::mark::Token;
use crate::process::Process;
use crate::reactor::{self, Place, Shared, Spawning};
use crate::session::Life;
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
    let mut spawning = enter(shared, place, deadline, OPERATION)
        .map_err(|error| error.with_program(command.program()))?;
    let wanted = options
        .containment
        .or(command.containment())
        .or(spawning.containment());
    let containment = wanted.unwrap_or(shared.plan.containment);
    let tenancy = enter_leaf(shared, &spawning, containment)
        .map_err(|error| about(error, command.program()))?;
    let own_group = containment >= Containment::Group;
    let limit_mark = limit_mark(shared, &spawning, own_group);
    let mut setup = Setup {
        own_group,
        token: token(shared, &spawning, own_group),
        limit_mark,
        leaf: tenancy.as_ref().map(Tenancy::leaf),
        spawning: &spawning,
        threads: &shared.launch_threads,
        cradles: &shared.cradles,
        facilities: shared.facilities,
    };
    let started = Some(reactor::now());
    let since = Some(sys::ticks_since_boot());
    let entry = Entry::intend(shared, &spawning);
    let mut launched = command.launch(&setup);
    if setup.limit_mark.is_some_and(|mark| !fits(mark)) && is_refused_limit(&launched) {
        // Whoever has started this program has marked it this very moment, and nobody may have more than that.
        setup.limit_mark = None;
        launched = command.launch(&setup);
    }
    if is_short(&launched) && shared.catches_up() {
        launched = command.launch(&setup);
    }
    let launched = launched.map_err(|failure| about(launch_error(failure), command.program()))?;
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
        reach: reach(
            shared,
            (&launched, setup.limit_mark.is_some()),
            containment,
            || command.rights(),
        ),
        in_a_members_group: false,
        label: options.label.clone(),
        command_line: command.command_line(),
    };
    let held = match launched {
        Launched::Native { pin, pipes } => Ok(Held {
            pin: Some(pin),
            child: pipes.into(),
            started,
        }),
        Launched::Std(child) => hold(shared, child, &setup).map(|held| Held { started, ..held }),
    };
    let held = match held {
        Ok(held) => held,
        Err(error) => {
            if let Some(tenancy) = &tenancy {
                tenancy.moved_in();
            }
            spawning.has_begun(Arc::new(facts), since);
            return Err(about(error, command.program()));
        }
    };
    let core = conceive(shared, &spawning, facts, held);
    let arrival = Arrival {
        since,
        time_limit: options.time_limit,
        tenancy: tenancy.as_ref(),
    };
    give_birth(spawning, core, entry, arrival)
}

/// The cgroup of the life, where the tier has one.
fn enter_leaf<'a>(
    shared: &'a Shared,
    spawning: &Spawning,
    containment: Containment,
) -> Result<Option<Tenancy<'a>>> {
    const OPERATION: &str = "spawn";
    shared.plan.check_tier(containment, OPERATION)?;
    if containment != Containment::Cgroup {
        return Ok(None);
    }
    // It can be had, see above.
    let Ok(cgroups) = shared.plan.cgroups.get() else {
        return Ok(None);
    };
    let tenancy = shared
        .leaves
        .enter((spawning.session(), spawning.life()), cgroups);
    tenancy.map(Some).map_err(|error| {
        Error::new(ErrorKind::SpawnFailed, OPERATION)
            .with_detail("its session's cgroup cannot be made")
            .with_source(error)
    })
}

/// Pins a child that std has started. Without a pin it is killed and reaped, and nothing is left of it but what it may have
/// started by then.
fn hold(shared: &Shared, mut child: Child, setup: &Setup<'_>) -> Result<Held> {
    let open = || Pin::open(child.id(), &shared.facilities);
    let opened = open().or_else(|error| {
        if is_shortage(&error) && shared.catches_up() {
            open()
        } else {
            Err(error)
        }
    });
    match opened {
        Ok(pin) => {
            if let Some(mark) = setup.limit_mark {
                // It is a program already, and may have another user or be gone: what it starts has the variable.
                drop(sys::mark_limit(pin.pid(), mark));
            }
            if let Some(Err(error)) = setup.leaf.map(|leaf| leaf.admit(pin.pid())) {
                // Its cgroup is gone where its session is being ended: it is ended with the rest.
                if !sys::is_gone(&error) && !setup.spawning.is_doomed() {
                    clear_away(&pin, setup.own_group, &shared.facilities);
                    return Err(Error::new(ErrorKind::SpawnFailed, "spawn")
                        .with_detail(
                            "the process could not be moved into its cgroup, and was killed",
                        )
                        .with_source(error));
                }
            }
            Ok(Held {
                pin: Some(pin),
                child: Pipes::take(&mut child),
                started: None,
            })
        }
        // With SIGCHLD ignored it can have exited and be gone before it could be pinned.
        Err(error) if sys::is_gone(&error) => Ok(Held {
            pin: None,
            child: Pipes::take(&mut child),
            started: None,
        }),
        Err(error) => {
            sys::kill_unpinned(child.id(), setup.own_group);
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

/// The mark's second part, for the same.
fn limit_mark(shared: &Shared, spawning: &Spawning, own_group: bool) -> Option<Pair> {
    let mark = shared.plan.limit_mark.filter(|_| own_group)?;
    let mark = mark.of(spawning.life());
    fits(mark).then_some(mark)
}

/// Any process of its user may have lowered the host's own limit, and what it starts cannot have more.
fn fits(mark: Pair) -> bool {
    sys::own_limit().map_or(true, |own| own.hard >= mark.hard)
}

/// Whether the launch failed at a limit that was more than is allowed.
fn is_refused_limit<T>(launched: &std::result::Result<T, Failure>) -> bool {
    match launched {
        Err(Failure::System { step, error }) => {
            step.is_some() && error.kind() == io::ErrorKind::PermissionDenied
        }
        Ok(_) | Err(Failure::Refused(_) | Failure::Doomed) => false,
    }
}

/// Whether the launch failed for want of something that those who have exited may still have.
fn is_short<T>(launched: &std::result::Result<T, Failure>) -> bool {
    match launched {
        Err(Failure::System { error, .. }) => is_shortage(error),
        Ok(_) | Err(Failure::Refused(_) | Failure::Doomed) => false,
    }
}

/// Of processes (`EAGAIN`), or of descriptors.
fn is_shortage(error: &io::Error) -> bool {
    sys::is_starved(error) || error.kind() == io::ErrorKind::WouldBlock
}

/// What may be claimed of it and its descendants.
fn reach(
    shared: &Shared,
    (launched, marked): (&Launched, bool),
    containment: Containment,
    rights: impl FnOnce() -> (u32, Vec<u32>),
) -> Reach {
    match containment {
        Containment::Leader => return Reach::Leader,
        Containment::Cgroup => {
            // Four system calls, which no other tier has to pay for.
            let (user, groups) = rights();
            let lets_out = match shared.plan.cgroups.get() {
                Ok(cgroups) => cgroups.lets_out(user, &groups),
                Err(_) => true,
            };
            let born_inside = matches!(launched, Launched::Native { .. });
            return if born_inside && !lets_out {
                Reach::Contained
            } else {
                Reach::Cgroup
            };
        }
        Containment::Subreaper => return Reach::Subreaper,
        Containment::Group if shared.plan.owner.is_none() => return Reach::Leader,
        Containment::Group => {}
    }
    match launched {
        Launched::Native { .. } if marked => Reach::MarkAndGroup,
        // Marked a moment after its start, or with what it may overwrite alone.
        Launched::Native { .. } | Launched::Std(_) => Reach::Group,
    }
}

/// Our mark for what is about to be started.
fn token(shared: &Shared, spawning: &Spawning, own_group: bool) -> Option<Token> {
    let owner = shared.plan.owner.as_ref()?;
    Some(Token {
        owner_name: owner.name.clone(),
        pid: owner.identity.pid,
        start: owner.identity.start_ticks,
        inode: owner.identity.inode,
        boot: owner.identity.boot,
        pid_namespace: owner.identity.pid_namespace,
        registry: shared.plan.number,
        // What a process under `Leader` starts is nobody's business: its mark names no life.
        life: if own_group { spawning.life() } else { Life(0) },
        session: spawning.session(),
    })
}

/// What a launch that did not come about is to the caller. Nothing of it is left then.
fn launch_error(failure: Failure) -> Error {
    const OPERATION: &str = "spawn";
    match failure {
        Failure::Refused(why) => Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(why),
        Failure::System { step, error } => {
            // That is how std says that it has found a NUL.
            let invalid =
                error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none();
            let unsupported =
                error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none();
            let kind = if invalid {
                ErrorKind::InvalidInput
            } else if unsupported {
                // A back end says that it cannot do what was asked for, and has done nothing.
                ErrorKind::Unsupported
            } else {
                ErrorKind::SpawnFailed
            };
            let failed = Error::new(kind, OPERATION).with_source(error);
            match step {
                Some(step) => failed.with_detail(step),
                None => failed,
            }
        }
        Failure::Doomed => Error::new(ErrorKind::SessionEnding, OPERATION),
    }
}

/// A time that is not reached.
fn far() -> Instant {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    reactor::now()
        .checked_add(century)
        .unwrap_or_else(reactor::now)
}

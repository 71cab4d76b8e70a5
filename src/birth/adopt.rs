//! Taking over a child that std has started elsewhere.

use std::io;
use std::process::Child;
use std::sync::Arc;

use super::embryo::{Held, Pipes, conceive, enter, system_error};
use super::handover::offer;
use crate::containment::Containment;
use crate::error::{AdoptError, Error, ErrorKind, Result};
use crate::event::Origin;
use crate::exit::{Status, StatusSource};
use crate::machine::{Facts, Reach, Relation};
use crate::process::Process;
use crate::reactor::{ExitLook, Place, Shared};
use crate::sys::{self, ChildState, Pin};

/// Takes over a child.
pub(crate) fn adopt(
    shared: &Arc<Shared>,
    place: Place,
    mut child: Child,
) -> Result<Process, AdoptError> {
    const OPERATION: &str = "adopt";
    let session = place.session;
    let pid = child.id();
    let fail = |error: Error, child: Child| {
        Err(AdoptError::new(
            error.with_session(session).with_pid(pid),
            child,
        ))
    };
    let spawning = match enter(shared, place, None, OPERATION) {
        Ok(spawning) => spawning,
        Err(error) => return fail(error, child),
    };
    let status = match collect_if_dead(&mut child) {
        Ok(status) => status,
        Err(error) => return fail(error, child),
    };
    let pin = match status {
        Some(_) => None,
        None => match pin_and_watch(shared, pid, spawning.process().0) {
            Ok(pin) => Some(pin),
            Err(error) => return fail(system_error(OPERATION, error), child),
        },
    };
    // In `a | host`, `a` leads the group that we are in: it is no group of its own.
    let leads_group =
        pin.is_some() && pid != sys::own_group() && sys::leads_group(pid).unwrap_or(false);
    let mark = shared.plan.limit_mark.filter(|_| leads_group);
    if let Some(mark) = mark {
        // What it starts from here on has it. What it has started before is looked for by its group and its parent.
        drop(sys::mark_limit(pid, mark.of(spawning.life())));
    }
    // Its descendants cannot be older. Where that cannot be read none is taken for too old.
    let since = sys::start_of(pid).unwrap_or(0);
    let facts = Facts {
        pid,
        inode: pin.as_ref().and_then(|pin| pin.identity().inode),
        relation: Relation::Child,
        leads_group,
        origin: Origin::Adopted,
        containment: if leads_group {
            Containment::Group
        } else {
            Containment::Leader
        },
        // What left it before it was ours was never marked.
        reach: Reach::Leader,
        in_a_members_group: false,
        label: None,
        // Only for people to read; a child that has exited has none any more.
        command_line: sys::command_line(pid).unwrap_or_default().into(),
    };
    let held = Held {
        pin,
        child: Pipes::take(&mut child),
        started: None,
    };
    let core = conceive(shared, &spawning, facts, held);
    if let Some(status) = status {
        let look = ExitLook {
            status,
            source: StatusSource::Waited,
            usage: None,
        };
        core.settle(core.complete(look));
    }
    match offer(spawning, Arc::clone(&core), Some(since), OPERATION) {
        Ok(process) => Ok(process),
        Err(error) => {
            child.stdin = core.stdin.take();
            let mut outputs = core.outputs();
            child.stdout = outputs.stdout.take();
            child.stderr = outputs.stderr.take();
            drop(outputs);
            fail(error, child)
        }
    }
}

/// Collects a child that has exited already. `None`: it lives.
///
/// Only std knows whether it has waited for this child before, and it does not tell without waiting: a child that is
/// dead and was not waited for is reaped by the question. So the kernel is asked first, and again afterwards.
fn collect_if_dead(child: &mut Child) -> Result<Option<Status>> {
    const OPERATION: &str = "adopt";
    let pid = child.id();
    let waited_for = || {
        let detail = "it was waited for already, or SIGCHLD is ignored";
        Error::new(ErrorKind::AlreadyExited, OPERATION).with_detail(detail)
    };
    let before = sys::peek_child(pid).map_err(|error| system_error(OPERATION, error))?;
    if before == ChildState::NotOurChild {
        return Err(waited_for());
    }
    let Some(status) = child
        .try_wait()
        .map_err(|error| system_error(OPERATION, error))?
    else {
        return Ok(None);
    };
    match sys::peek_child(pid).map_err(|error| system_error(OPERATION, error))? {
        // The question has reaped it: it is ours to tell.
        ChildState::NotOurChild => Ok(Some(Status::from(status))),
        // std knew; what has this pid now is another child.
        ChildState::Alive | ChildState::Waitable => Err(waited_for()),
    }
}

fn pin_and_watch(shared: &Shared, pid: u32, key: u64) -> io::Result<Pin> {
    let pin = Pin::open(pid, &shared.facilities)?;
    shared.watch.add(&pin, key)?;
    Ok(pin)
}

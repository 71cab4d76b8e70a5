//! Taking in a process that is not ours.

use std::io;
use std::sync::Arc;

use super::embryo::{Held, Pipes, conceive, enter};
use super::handover::offer;
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::machine::{Facts, Reach, Relation};
use crate::process::Process;
use crate::reactor::{Place, Shared};
use crate::registry::is_own_or_ancestor;
use crate::sys::{self, Pin};
use crate::system_process::SystemProcess;

/// Takes in a process that is not ours.
pub(crate) fn attach(
    shared: &Arc<Shared>,
    place: Place,
    pid: u32,
    is_it: impl FnOnce(&SystemProcess) -> bool,
) -> Result<Process> {
    const OPERATION: &str = "attach";
    let session = place.session;
    let fail = |kind: ErrorKind| {
        Error::new(kind, OPERATION)
            .with_session(session)
            .with_pid(pid)
    };
    if is_own_or_ancestor(pid) {
        let detail = "pid 0 and 1, this process and its ancestors cannot be held";
        return Err(fail(ErrorKind::InvalidInput).with_detail(detail));
    }
    let spawning = enter(shared, place, None, OPERATION).map_err(|error| error.with_pid(pid))?;
    // First the pin, then the look: what is read is about the process that is held.
    let pin = Pin::open(pid, &shared.facilities).map_err(|error| {
        let kind = if sys::is_gone(&error) {
            ErrorKind::NoSuchProcess
        } else {
            ErrorKind::System
        };
        fail(kind).with_source(error)
    })?;
    let exited = |error: io::Error| match pin.is_dead() {
        Ok(true) => fail(ErrorKind::AlreadyExited),
        Ok(false) | Err(_) => fail(ErrorKind::System).with_source(error),
    };
    let read = sys::read_process(pid).map_err(exited)?;
    let seen = SystemProcess::new(pid, read);
    // Still alive after the reading: its number was its own all the time.
    if pin
        .is_dead()
        .map_err(|error| fail(ErrorKind::System).with_source(error))?
    {
        return Err(fail(ErrorKind::AlreadyExited));
    }
    if !is_it(&seen) {
        return Err(fail(ErrorKind::NotTheProcess));
    }
    shared
        .watch
        .add(&pin, spawning.process().0)
        .map_err(|error| fail(ErrorKind::System).with_source(error))?;
    let facts = Facts {
        pid,
        inode: pin.identity().inode,
        relation: Relation::Stranger,
        leads_group: false,
        origin: Origin::Attached,
        containment: Containment::Leader,
        reach: Reach::Leader,
        in_a_members_group: false,
        label: None,
        command_line: seen.args.into(),
    };
    let core = conceive(
        shared,
        &spawning,
        facts,
        Held {
            pin: Some(pin),
            child: Pipes::default(),
            started: None,
        },
    );
    offer(spawning, core, None, OPERATION)
}

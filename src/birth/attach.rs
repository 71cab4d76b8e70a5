//! Taking in a process that is not ours.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use super::embryo::{Held, Pipes, be_admitted, conceive, enter};
use super::handover::offer;
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Origin;
use crate::foster::Foster;
use crate::machine::{Facts, Reach, Relation};
use crate::process::Process;
use crate::reactor::{Place, Shared, Spawning};
use crate::registry::is_own_or_ancestor;
use crate::session::{Life, SessionId};
use crate::sys::{self, Pin, ProcessTable};
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
    let seen = SystemProcess::new(pid, read, reparented(pid));
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
    take(shared, spawning, pin, seen.args, OPERATION)
}

/// Takes in a process that is pinned and known, into one life, to be ended there. No slot is needed for it.
pub(crate) fn take_in(
    shared: &Arc<Shared>,
    life: (SessionId, Life),
    pin: Pin,
    args: Vec<OsString>,
) -> Result<Process> {
    const OPERATION: &str = "sweep";
    let spawning = be_admitted(shared, life, OPERATION)?;
    take(shared, spawning, pin, args, OPERATION)
}

fn take(
    shared: &Arc<Shared>,
    spawning: Spawning,
    pin: Pin,
    args: Vec<OsString>,
    operation: &'static str,
) -> Result<Process> {
    let pid = pin.pid();
    let session = spawning.session();
    shared
        .watch
        .add(&pin, spawning.process().0)
        .map_err(|error| {
            Error::new(ErrorKind::System, operation)
                .with_session(session)
                .with_pid(pid)
                .with_source(error)
        })?;
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
        command_line: args.into(),
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
    offer(spawning, core, None, operation)
}

/// As far as it can be told without making an orphan.
fn reparented(pid: u32) -> Option<bool> {
    let table = ProcessTable::open().ok()?;
    let found = table.describe(pid).ok()?;
    Foster::unseen().has_taken_in(&table, pid, &found)
}

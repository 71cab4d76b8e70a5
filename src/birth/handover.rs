//! The last step: from the thread that brought a process about to the reactor.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::unwatched::{bury, kill};
use crate::error::{Error, ErrorKind, Result};
use crate::leaves::Tenancy;
use crate::machine::{Facts, Machine};
use crate::process::Process;
use crate::reactor::{self, Core, Message, Newborn, Shared, Spawning, Watchlist};
use crate::session::ProcessId;

/// How a process was started.
pub(super) struct Arrival<'a> {
    /// A time before its start, in clock ticks since boot.
    pub(super) since: Option<u64>,
    pub(super) time_limit: Option<Duration>,
    pub(super) tenancy: Option<&'a Tenancy<'a>>,
}

/// Hands over a process that was started here. Nobody waits for the reactor.
pub(super) fn give_birth(
    mut spawning: Spawning,
    core: Arc<Core>,
    entry: Entry<'_>,
    arrival: Arrival<'_>,
) -> Result<Process> {
    const OPERATION: &str = "spawn";
    let Arrival {
        since,
        time_limit,
        tenancy,
    } = arrival;
    let shared = Arc::clone(&core.shared);
    let session = core.session;
    let watched = match core.pin() {
        Some(pin) => shared.watch.add(&pin, core.process.0),
        None => Ok(()),
    };
    if let Some(tenancy) = tenancy {
        tenancy.moved_in();
    }
    if let Err(error) = watched {
        kill(&core);
        bury(&core, None);
        spawning.has_begun(Arc::clone(&core.facts), since);
        return Err(Error::new(ErrorKind::SpawnFailed, OPERATION)
            .with_session(session)
            .with_detail("the process could not be watched, and was killed")
            .with_source(error));
    }
    if core.pin().is_some() {
        entry.came_alive(&core.facts);
    }
    let (sent, doomed) = spawning.hand_over(|slot, doomed| {
        core.occupy(slot);
        let newborn = Newborn {
            core: Arc::clone(&core),
            at: reactor::now(),
            since,
            raced: doomed,
            time_limit,
            reply: None,
        };
        let sent = shared
            .mail
            .send_quietly(Message::Born(newborn), shared.leisure());
        (sent, doomed)
    });
    // A reactor that breaks says so, and then looks into its mailbox for the last time: what was sent after that is read by
    // nobody, and what was sent before is killed and buried twice, which the pin allows.
    if sent.is_err() || shared.is_broken() {
        kill(&core);
        bury(&core, None);
        return Err(shared.gone(OPERATION).with_session(session));
    }
    entry.keep();
    // Alive after it was sent: its exit will wake the reactor, which then finds both. If it is dead, the reactor may have
    // been woken by that before there was anything in the mailbox.
    let alive = core
        .pin()
        .is_some_and(|pin| matches!(pin.is_dead(), Ok(false)));
    // Where orphans come to us, they can be there before anything else wakes the reactor.
    let has_orphans = shared.plan.subreaper.is_ok();
    if doomed || !alive || time_limit.is_some() || has_orphans || shared.births_are_news() {
        shared.mail.wake();
    }
    if doomed {
        return Err(Error::new(ErrorKind::SessionEnding, OPERATION)
            .with_session(session)
            .with_detail(
                "its end began while the process was being started; it is ended with the rest",
            ));
    }
    Ok(Process::new(core))
}

/// Offers a process that exists already, and waits to hear under which id it is known.
pub(super) fn offer(
    spawning: Spawning,
    core: Arc<Core>,
    since: Option<u64>,
    operation: &'static str,
) -> Result<Process> {
    let shared = Arc::clone(&core.shared);
    let entry = Entry::of_one_that_lives(&shared, &spawning, &core.facts);
    let (reply, answer) = crossbeam_channel::bounded(1);
    let sent = spawning.offer(|slot| {
        core.occupy(slot);
        let newborn = Newborn {
            core: Arc::clone(&core),
            at: reactor::now(),
            since,
            raced: false,
            time_limit: None,
            reply: Some(reply),
        };
        shared.mail.send(Message::Born(newborn)).is_ok()
    });
    match sent {
        None => {
            if let Some(pin) = core.pin() {
                // It is in the poll since its registration a few lines ago.
                drop(shared.watch.remove(&pin));
            }
            Err(Error::new(ErrorKind::SessionEnding, operation).with_session(core.session))
        }
        Some(false) => Err(shared.gone(operation)),
        Some(true) => match answer.recv() {
            Ok(Ok(id)) if id == core.process => {
                entry.keep();
                Ok(Process::new(core))
            }
            Ok(Ok(id)) => known(&shared, id, &core.facts, operation),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(shared.gone(operation)),
        },
    }
}

/// The process that is registered under this id.
fn known(
    shared: &Shared,
    id: ProcessId,
    facts: &Facts,
    operation: &'static str,
) -> Result<Process> {
    let (reply, answer) = crossbeam_channel::bounded(1);
    let question = Box::new(move |_: &Machine, watchlist: &Watchlist, _| {
        // The caller waits, or has gone.
        drop(reply.send(watchlist.get(id).cloned()));
    });
    shared.send(Message::Ask(question), operation)?;
    match answer.recv() {
        Ok(Some(core)) => Ok(Process::new(core)),
        // It has exited between the two answers.
        Ok(None) => Err(Error::new(ErrorKind::AlreadyExited, operation).with_pid(facts.pid)),
        Err(_) => Err(shared.gone(operation)),
    }
}

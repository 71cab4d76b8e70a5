//! Recovery: what an earlier run of this program left behind is found, and ended or taken over.
//!
//! 1. The ledger says which registries there were, and which of them have a dead owner of our name.
//! 2. A scan over all processes finds those that carry the mark of such a one, those that are in a cgroup of its, and then,
//!    by its limit, those that have lost all else ([`scan`], [`judge`]).
//! 3. What was found is taken in as members of a session of our own, which knows the marks of the dead and has their
//!    cgroups ([`leaves`]).
//! 4. That session is ended. The passes of its end find what was forked in the meantime.
//! 5. Once more from the beginning, until nothing is found: a host that was ended just now may have left something.
//! 6. The ledger forgets what is settled.

mod judge;
mod leaves;
mod owner;
mod reader;
mod scan;
mod turns;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::owner::{Doubt, OwnerFate, Owners};
use self::reader::Reader;
pub(crate) use self::scan::Held;
use self::scan::{Bequest, Heirloom, Origin, Scan, Scanned, by_origin};
pub(crate) use self::turns::Turns;
use crate::builder::clear_leftovers;
use crate::containment::Containment;
use crate::earlier::{Earlier, Inheritance};
use crate::ending::Ending;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Origin as ComesFrom, Reason};
use crate::ledger::{Record, Run};
use crate::machine::{Facts, Reach, Refused, Relation, Whom};
use crate::reactor::{self, Core, LifeCell, Message, Newborn, Outputs, Parts, Shared};
use crate::report::{RecoveryParts, RecoveryReport, SessionReport};
use crate::session::{Life, ProcessId, SessionId};
use crate::session_handle::Session;
use crate::session_options::SessionOptions;
use crate::stdin::StdinPipe;
use crate::sys::{self, Leaf, ProcessTable};

const OPERATION: &str = "recover";

/// More rounds than hosts inside of hosts inside of hosts.
const ROUNDS: usize = 16;
/// Where there are not descriptors for all: so many batches, of so many or half of those that may be open. The other half is
/// for the host.
const BATCHES: usize = 1024;
const AT_ONCE: usize = 64;

/// What recovery does with what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPolicy {
    /// Ends it, by the registry's [`StopPolicy`](crate::StopPolicy).
    #[default]
    End,
    /// Takes it over, into sessions of the numbers that it had.
    ///
    /// What it carries is the dead owner's mark as before. So this is for programs of which one runs at a time: a second host
    /// of the same name that recovers meanwhile finds it as well, and ends it.
    Adopt,
}

/// See [`Registry::recover_with`](crate::Registry::recover_with).
pub(crate) fn recover(shared: &Arc<Shared>, policy: RecoveryPolicy) -> Result<RecoveryReport> {
    let began = reactor::now();
    // In a forked copy there may be nobody who gives his turn back.
    shared.read(OPERATION, |_, _| ())?;
    let _turn = shared.recoveries.take().ok_or_else(|| {
        let detail = "called from within a recovery of this registry";
        Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(detail)
    })?;
    let mut recovery = Recovery {
        shared,
        runs: earlier_runs(shared),
        parts: RecoveryParts::default(),
        reader: Reader::default(),
        untidy: HashSet::new(),
        opened: Vec::new(),
    };
    let at_once = match policy {
        RecoveryPolicy::End => Some((sys::descriptor_limit() / 2).max(AT_ONCE)),
        // It is held for as long as it lives.
        RecoveryPolicy::Adopt => None,
    };
    let (mut rounds, mut batches) = (0, 0);
    while rounds < ROUNDS && batches < BATCHES {
        let scanned = recovery.scan(at_once)?;
        let found_any = scanned.has_any();
        let first = rounds == 0;
        match scanned.is_batch {
            true => batches += 1,
            false => rounds += 1,
        }
        match policy {
            RecoveryPolicy::End if found_any || (first && !scanned.estates.is_empty()) => {
                recovery.end(scanned)?;
            }
            RecoveryPolicy::Adopt if found_any => recovery.adopt(scanned)?,
            RecoveryPolicy::End | RecoveryPolicy::Adopt => {
                recovery.conclude(scanned, policy);
                return Ok(recovery.report(began));
            }
        }
    }
    let scanned = recovery.scan(at_once)?;
    recovery.parts.unfinished = scanned.has_any();
    recovery.untidy.extend(scanned.estates.keys().copied());
    recovery.conclude(scanned, policy);
    Ok(recovery.report(began))
}

struct Recovery<'a> {
    shared: &'a Arc<Shared>,
    runs: Vec<(u64, Run)>,
    parts: RecoveryParts,
    reader: Reader,
    /// Registries of which something may be left.
    untidy: HashSet<u64>,
    /// What it has opened. Nobody can know of these before it is over.
    opened: Vec<Life>,
}

fn earlier_runs(shared: &Shared) -> Vec<(u64, Run)> {
    let ledger = shared.plan.ledger.as_ref();
    ledger.map_or_else(Vec::new, |ledger| ledger.earlier())
}

impl Recovery<'_> {
    fn scan(&mut self, at_once: Option<usize>) -> Result<Scanned> {
        let held = self.shared.read(OPERATION, |machine, watchlist| Held {
            pids: watchlist.pids(),
            detached: watchlist.detached(),
            heirs: machine.heirs(),
        })?;
        let table =
            ProcessTable::open().map_err(|error| system(error).with_detail(sys::UNLISTED))?;
        let table = Arc::new(table);
        let reading = (&table, &mut self.reader);
        let held = (held, at_once);
        let scan = Scan::new(self.shared, reading, &self.runs, held).map_err(system)?;
        let mut scanned = scan.run().map_err(system)?;
        // From here on no pass takes them.
        let detached = std::mem::take(&mut scanned.detached);
        self.shared.send(Message::LeaveAlone(detached), OPERATION)?;
        Ok(scanned)
    }

    // ---- ending

    /// All in one session: there is one grace for all of them.
    fn end(&mut self, scanned: Scanned) -> Result<()> {
        let since = scanned.estates.values().map(|estate| estate.since).min();
        let earlier = scanned.earlier();
        let options = SessionOptions::new().label("recovery");
        let leaves = scanned.leaves.into_iter().map(|(_, leaf)| leaf);
        let inheritance = Inheritance {
            earlier,
            since,
            leaves: leaves.collect(),
        };
        let cell = self.open(options, inheritance)?.map_err(|_refused| {
            // A number of the registry's choosing is free.
            self.shared.closed(OPERATION)
        })?;
        for one in scanned.found {
            self.take_in(one, &cell)?;
        }
        let whom = Whom::Life(cell.session, cell.life);
        let ending = Ending::begin_for(self.shared, whom, None, Reason::Recovery)?;
        let report = ending.wait()?;
        if !report.is_clean() || !report.claims().is_empty() {
            self.untidy.extend(scanned.estates.keys().copied());
        }
        self.forget_ended(&report);
        self.parts.sessions.push(report);
        Ok(())
    }

    /// What the ledger knows of those that are gone.
    fn forget_ended(&self, report: &SessionReport) {
        for member in report
            .members()
            .iter()
            .filter(|member| member.exit().is_some())
        {
            if let Some(&(registry, process)) = self.parts.noted.get(&member.process()) {
                self.shared.record(|_| [Record::Gone { registry, process }]);
            }
        }
    }

    // ---- taking over

    /// Each life in a session of its own, of the number that it had.
    fn adopt(&mut self, scanned: Scanned) -> Result<()> {
        let estates = scanned.estates;
        for (origin, Bequest { found, leaves }) in by_origin(scanned.found, scanned.leaves) {
            let estate = estates.get(&origin.registry);
            let earlier = estate
                .filter(|_| origin.life != Life(0))
                .map(|estate| Earlier {
                    life: Some(origin.life),
                    ..estate.earlier(origin.registry)
                });
            let since = estate.map(|estate| estate.since);
            let cell = self.open_old(origin.session, (earlier, since), &leaves)?;
            for one in found {
                self.take_over(one, origin, &cell)?;
            }
            self.untidy.insert(origin.registry);
            let session = Session::new(Arc::clone(self.shared), cell);
            self.parts.adopted.push((origin.session, session));
        }
        Ok(())
    }

    /// A session of this number, or where that lives already of another one.
    fn open_old(
        &mut self,
        session: SessionId,
        (earlier, since): (Option<Earlier>, Option<u64>),
        leaves: &[Arc<Leaf>],
    ) -> Result<Arc<LifeCell>> {
        let inheritance = || Inheritance {
            earlier: earlier.into_iter().collect(),
            since,
            leaves: leaves.to_vec(),
        };
        let number = SessionOptions::new().id(session);
        if let Ok(cell) = self.open(number, inheritance())? {
            return Ok(cell);
        }
        let opened = self.open(SessionOptions::new(), inheritance())?;
        opened.map_err(|_refused| self.shared.closed(OPERATION))
    }

    /// It is ours from here on, in the ledger too.
    fn take_over(&mut self, one: Heirloom, origin: Origin, cell: &LifeCell) -> Result<()> {
        let noted = one.noted;
        let identity = crate::ledger::Identity {
            pid: one.pin.pid(),
            start: one.described.start_ticks,
            inode: one.pin.identity().inode.unwrap_or(0),
        };
        let process = self.take_in(one, cell)?;
        let (life, session) = (cell.life, cell.session);
        self.shared.record(|registry| {
            [
                Record::Intent {
                    registry,
                    process,
                    life,
                    session,
                },
                Record::Alive {
                    registry,
                    process,
                    identity,
                },
            ]
        });
        if let Some(process) = noted {
            let registry = origin.registry;
            self.shared.record(|_| [Record::Gone { registry, process }]);
        }
        Ok(())
    }

    // ---- both

    fn open(
        &mut self,
        mut options: SessionOptions,
        inheritance: Inheritance,
    ) -> Result<std::result::Result<Arc<LifeCell>, Refused>> {
        options.is_the_librarys = true;
        let opened = self.shared.call(OPERATION, |reply| Message::Open {
            options: Box::new(options),
            inheritance,
            reply,
        })?;
        self.opened.extend(opened.iter().map(|cell| cell.life));
        Ok(opened)
    }

    /// It is a member of this session from here on. It is held by the pin that it was found with.
    fn take_in(&mut self, one: Heirloom, cell: &LifeCell) -> Result<ProcessId> {
        let whence = one.whence();
        let Heirloom {
            pin,
            described,
            process: seen,
            origin,
            noted,
            ..
        } = one;
        let pid = pin.pid();
        let facts = Facts {
            pid,
            inode: pin.identity().inode,
            relation: Relation::Stranger,
            leads_group: described.group == pid,
            origin: ComesFrom::Recovered,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: false,
            label: None,
            command_line: seen.args.into(),
        };
        let process = self.shared.gate.name_found();
        let core = Arc::new(Core::new(
            Arc::clone(self.shared),
            Parts {
                process,
                session: cell.session,
                life: cell.life,
                facts: Arc::new(facts),
                started: None,
                pin: None,
                stdin: StdinPipe::new(None),
                outputs: Outputs::default(),
            },
        ));
        self.shared.watch.add(&pin, process.0).map_err(system)?;
        core.hold(pin);
        let newborn = Newborn {
            core,
            at: reactor::now(),
            since: None,
            raced: false,
            time_limit: None,
            reply: None,
        };
        self.shared.send(Message::Born(newborn), OPERATION)?;
        self.parts.provenance.insert(process, whence);
        if let Some(noted) = noted {
            self.parts.noted.insert(process, (origin.registry, noted));
        }
        Ok(process)
    }

    /// Nothing new was found.
    fn conclude(&mut self, scanned: Scanned, policy: RecoveryPolicy) {
        let left_alone = scanned.left_alone.into_iter();
        self.parts.left_alone = left_alone
            .map(|(process, why)| (Arc::new(process), why))
            .collect();
        self.untidy.extend(scanned.unsettled);
        clear_leftovers(&self.shared.plan, &self.shared.facilities);
        if policy == RecoveryPolicy::Adopt {
            return;
        }
        for (registry, run) in &self.runs {
            // A registry that was given up as a whole is known as such until the next boot.
            let settled = scanned.estates.contains_key(registry) && !self.untidy.contains(registry);
            let registry = *registry;
            if settled && !run.released {
                self.shared.record(|_| [Record::Settled { registry }]);
            }
        }
    }

    fn report(mut self, began: Instant) -> RecoveryReport {
        let mut parts = std::mem::take(&mut self.parts);
        parts.took = reactor::now().saturating_duration_since(began);
        RecoveryReport::new(parts)
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        for &life in &self.opened {
            self.shared.own_lives.remove(life);
        }
    }
}

fn system(error: std::io::Error) -> Error {
    let kind = if error.kind() == std::io::ErrorKind::Unsupported {
        ErrorKind::Unsupported
    } else {
        ErrorKind::System
    };
    Error::new(kind, OPERATION).with_source(error)
}

//! What the reactor writes into the ledger: inline, one unsynced write each.

use super::run::Reactor;
use super::shared::Core;
use crate::error::{Error, ErrorKind};
use crate::event::Origin;
use crate::ledger::Record;
use crate::report::SessionReport;
use crate::session::{Life, ProcessId};

impl Reactor {
    /// It is dead, by the kernel's word.
    pub(super) fn note_gone(&self, core: &Core) {
        // What was found is there by its marks alone, and what is recovered by what another registry wrote.
        if !matches!(core.facts.origin, Origin::Found) {
            let process = core.process;
            self.shared
                .record(|registry| [Record::Gone { registry, process }]);
        }
    }

    /// It is about to be given up. Without a ledger the handle has seen to it that nothing marks it.
    pub(super) fn note_detached(&self, process: ProcessId) -> Result<(), Error> {
        let core = self.watchlist.get(process);
        let pin = core.and_then(|core| core.pin());
        if !pin.is_some_and(|pin| matches!(pin.is_dead(), Ok(false))) {
            // Its exit is about to be told.
            return Err(Error::new(ErrorKind::AlreadyExited, "detach"));
        }
        if self.shared.plan.ledger.is_none() {
            return Ok(());
        }
        // Twice: it is the one record whose loss would end a process.
        let detached = |registry| Record::Detached { registry, process };
        if self
            .shared
            .record(|registry| [detached(registry), detached(registry)])
        {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::LedgerUnusable, "detach")
                .with_detail("it cannot be written down, so that a later run would end it"))
        }
    }

    /// Everything is given up.
    pub(super) fn note_released(&self) {
        self.shared
            .record(|registry| [Record::Released { registry }, Record::Released { registry }]);
    }

    /// A life has ended, and nothing of it is left.
    pub(super) fn note_over(&self, life: Life, report: &SessionReport) {
        if report.is_clean() {
            self.shared
                .record(|registry| [Record::Over { registry, life }]);
        }
    }

    /// The registry ends. If nothing of it is left, nothing of it has to be known.
    pub(super) fn note_settled(&self) {
        if self.machine.is_settled() && self.watchlist.detached().is_empty() {
            self.shared
                .record(|registry| [Record::Settled { registry }]);
        }
    }
}

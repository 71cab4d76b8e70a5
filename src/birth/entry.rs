//! What stands in the ledger about a process that is being brought about.

use crate::ledger::{Identity, Record};
use crate::machine::Facts;
use crate::reactor::{Shared, Spawning};
use crate::session::ProcessId;
use crate::sys;

/// Cancelled when it is dropped, unless it is kept.
pub(super) struct Entry<'a> {
    shared: &'a Shared,
    process: ProcessId,
    open: bool,
}

impl<'a> Entry<'a> {
    /// Before the process is there.
    pub(super) fn intend(shared: &'a Shared, spawning: &Spawning) -> Self {
        let open = shared.record(|registry| [intent(registry, spawning)]);
        if open {
            shared.tidy_ledger();
        }
        Self {
            shared,
            process: spawning.process(),
            open,
        }
    }

    /// It is there, and which it is.
    pub(super) fn came_alive(&self, facts: &Facts) {
        let process = self.process;
        if self.open {
            let identity = identity(facts);
            self.shared.record(|registry| {
                [Record::Alive {
                    registry,
                    process,
                    identity,
                }]
            });
        }
    }

    /// Both at once, for a process that was there before.
    pub(super) fn of_one_that_lives(
        shared: &'a Shared,
        spawning: &Spawning,
        facts: &Facts,
    ) -> Self {
        let process = spawning.process();
        let open = shared.record(|registry| {
            let alive = Record::Alive {
                registry,
                process,
                identity: identity(facts),
            };
            [intent(registry, spawning), alive]
        });
        Self {
            shared,
            process,
            open,
        }
    }

    /// The reactor has it from here on, and says when it is gone.
    pub(super) fn keep(mut self) {
        self.open = false;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let process = self.process;
        if self.open {
            self.shared
                .record(|registry| [Record::Cancelled { registry, process }]);
        }
    }
}

fn intent(registry: u64, spawning: &Spawning) -> Record {
    Record::Intent {
        registry,
        process: spawning.process(),
        life: spawning.life(),
        session: spawning.session(),
    }
}

/// The inode says it all. Where there is none the start has to be read, which costs more than all the rest.
fn identity(facts: &Facts) -> Identity {
    let start = match facts.inode {
        Some(_) => 0,
        None => sys::start_of(facts.pid).unwrap_or(0),
    };
    Identity {
        pid: facts.pid,
        start,
        inode: facts.inode.unwrap_or(0),
    }
}

//! A process as xnu takes it through its end, seen through what this back end decides about it.
//!
//! For the machine's simulated world, which goes through every order of it. The kernel's part is written after xnu's
//! `proc_exit`; the decisions are those of `meaning`, the very code that runs.

use super::meaning::{
    First, Hold, Presence, Still, Waited, first_look, from_outside, hold, holds_its_number,
    may_be_silent, still,
};
use crate::exit::Status;
use crate::sys::vocabulary::{Look, Relation};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    Alive,
    /// It takes no new notes, and is not to be seen by its number; it closes its files.
    Exiting,
    /// The notes that are attached to it have been posted. It cannot be waited for yet.
    Announced,
    Zombie,
    Reaped,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] = [
        Self::Alive,
        Self::Exiting,
        Self::Announced,
        Self::Zombie,
        Self::Reaped,
    ];
}

/// Stages at which a process is met, one after the other: by the note that is attached, by the wait, by the look at who
/// has its number.
pub(crate) type Amid = [Stage; 3];

/// All that there are for a child that nobody else reaps.
pub(crate) fn all_amid() -> Vec<Amid> {
    let stages = &Stage::ALL[..4];
    let mut all = Vec::new();
    for &note in stages {
        for &wait in stages.iter().filter(|stage| **stage >= note) {
            for &look in stages.iter().filter(|stage| **stage >= wait) {
                all.push([note, wait, look]);
            }
        }
    }
    all
}

/// The process, and the pin that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Simulated {
    stage: Stage,
    child: bool,
    traced: bool,
    /// SIGCHLD is ignored: there is no zombie.
    vanishes: bool,
    /// A note hangs on it.
    attached: bool,
    /// The note was posted, or the back end has given up waiting for it.
    marked: bool,
    told: bool,
    id: Option<u64>,
}

const ID: u64 = 7;
const STATUS: Status = Status::Code(0);

impl Simulated {
    /// Takes hold of a process that goes on with its end meanwhile. `None`: it is gone, and was nobody's who was started.
    pub(crate) fn hold(child: bool, vanishes: bool, [note, wait, look]: Amid) -> Option<Self> {
        let mut process = Self {
            stage: note,
            child,
            traced: false,
            vanishes,
            attached: false,
            marked: false,
            told: false,
            id: None,
        };
        let before = process.presence();
        // What is attached to a zombie, as by other kernels, is silent.
        process.attached = note == Stage::Alive;
        process.go_on_to(wait);
        let waited = process.waited();
        process.go_on_to(look);
        match hold(process.attached, waited, before, process.presence()) {
            Hold::Watched(id) => process.id = Some(id),
            Hold::Ended(id) => {
                process.id = id;
                process.marked = true;
            }
            // What was started a moment ago is held all the same.
            Hold::Gone if child => process.marked = true,
            Hold::Gone => return None,
        }
        Some(process)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the poll has something to report.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked
    }

    /// It has had its last instruction.
    pub(crate) fn begin_exit(&mut self) {
        assert_eq!(self.stage, Stage::Alive);
        self.stage = Stage::Exiting;
    }

    /// One stage further, by itself. `Some(true)`: that is an event for who watches it. `None`: it stays where it is.
    pub(crate) fn advance(&mut self) -> Option<bool> {
        match self.stage {
            Stage::Alive | Stage::Zombie | Stage::Reaped => None,
            Stage::Exiting => {
                self.stage = Stage::Announced;
                Some(self.post())
            }
            Stage::Announced => {
                self.stage = if self.vanishes {
                    Stage::Reaped
                } else {
                    Stage::Zombie
                };
                Some(false)
            }
        }
    }

    fn go_on_to(&mut self, stage: Stage) {
        while self.stage < stage {
            if self.stage == Stage::Alive {
                self.begin_exit();
            } else if self.advance().is_none() {
                break;
            }
        }
    }

    /// Its exit is for its tracer first.
    fn post(&mut self) -> bool {
        let heard = self.attached && !self.traced;
        self.marked |= heard;
        self.told |= heard;
        heard
    }

    pub(crate) fn trace(&mut self) {
        self.traced = true;
    }

    /// The tracer lets go, and has waited for it if it is a zombie. Says whether that is an event.
    pub(crate) fn untrace(&mut self) -> bool {
        self.traced = false;
        matches!(self.stage, Stage::Announced | Stage::Zombie) && self.post()
    }

    /// It is gone, and nothing will ever be announced.
    pub(crate) fn is_silent(&self) -> bool {
        self.stage == Stage::Reaped && !self.marked
    }

    /// The tracer waits for a zombie whose own parent is gone: it is taken away, and nothing is announced. `false`: there is none.
    pub(crate) fn reap_by_tracer(&mut self) -> bool {
        let zombie = self.stage == Stage::Zombie && self.traced && !self.child;
        if zombie {
            self.traced = false;
            self.stage = Stage::Reaped;
        }
        zombie
    }

    /// Somebody reaps it, or the parent that it has. `false`: there is no zombie.
    pub(crate) fn reap(&mut self) -> bool {
        let zombie = self.stage == Stage::Zombie && !self.traced;
        if zombie {
            self.stage = Stage::Reaped;
        }
        zombie
    }

    fn waited(&self) -> Waited {
        match self.stage {
            _ if !self.child || self.traced => Waited::NotOurs,
            Stage::Alive | Stage::Exiting | Stage::Announced => Waited::Nothing,
            Stage::Zombie => Waited::Exit(STATUS),
            Stage::Reaped => Waited::NotOurs,
        }
    }

    fn presence(&self) -> Presence {
        match self.stage {
            Stage::Alive => Presence::Alive(ID),
            Stage::Exiting | Stage::Announced | Stage::Reaped => Presence::Nobody,
            Stage::Zombie => Presence::Dead(ID),
        }
    }

    fn still(&self) -> Still {
        let still = still(self.id, self.presence());
        // The list shows who exits as well.
        if may_be_silent(self.marked, still) && self.stage == Stage::Reaped {
            Still::Reaped
        } else {
            still
        }
    }

    /// What a look through the pin finds.
    pub(crate) fn look(&self) -> Look {
        let told = self.told.then_some(STATUS);
        let relation = if self.child {
            Relation::Child
        } else {
            Relation::Stranger
        };
        match first_look(self.waited(), self.marked, told, None) {
            First::Settled(look) => look,
            First::AboutToBeWaitable => Look::Held,
            First::AskOutside => from_outside(self.marked, told, self.still(), relation),
        }
    }

    /// Whether a signal would be sent, and be accepted. A zombie accepts it; what is about to be one does not.
    pub(crate) fn takes_signals(&self) -> bool {
        let reachable = matches!(self.stage, Stage::Alive | Stage::Zombie);
        reachable && holds_its_number(self.marked, self.still(), self.waited())
    }
}

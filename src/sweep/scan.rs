//! The thread that goes over the processes, and asks the rule.
//!
//! Reading below `/proc` can hang, and so can the host's predicates. So both happen here, and whoever waits for the
//! findings looks on whether there is progress: a thread that makes none is left behind, and another one goes on after
//! the process that it hangs on.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::owner::Owners;
use crate::foster::Foster;
use crate::machine::IdSet;
use crate::orphan_rule::{OrphanRule, Outline, Verdict};
use crate::reactor::Shared;
use crate::report::{LeftAlone, LeftAloneReason};
use crate::sys::{self, Described, Pin, ProcessTable};
use crate::system_process::SystemProcess;

/// What a scan has found.
pub(super) enum Finding {
    Orphan {
        pin: Pin,
        process: Arc<SystemProcess>,
        why: Arc<str>,
    },
    LeftAlone(LeftAlone),
    /// There is no descriptor for the next one. The thread waits to be told whether there may be one now.
    Starved,
    /// All have been looked at.
    Over,
}

/// What all threads of one scan have in common.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) shared: Arc<Shared>,
    pub(super) rule: OrphanRule,
    pub(super) table: ProcessTable,
    pub(super) owners: Owners,
    /// Never looked at: this process, its ancestors, and what is registered.
    pub(super) taboo: IdSet<u32>,
    pub(super) own: u32,
    pub(super) own_user: u32,
    /// What a copy of this program has for arguments: one that is about to become another program, or a fork.
    pub(super) own_args: Vec<OsString>,
    pub(super) pids: Vec<u32>,
    pub(super) looked_at: AtomicUsize,
}

/// How far a thread is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Where it is in the list.
    pub(super) at: AtomicUsize,
    stage: AtomicU8,
    pub(super) left_behind: AtomicBool,
}

/// What a thread is at with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Reading = 0,
    Asking = 1,
}

impl Progress {
    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    pub(super) fn stage(&self) -> Stage {
        if self.stage.load(Ordering::SeqCst) == Stage::Asking as u8 {
            Stage::Asking
        } else {
            Stage::Reading
        }
    }
}

/// One of the threads.
pub(super) struct Scanner {
    pub(super) scan: Arc<Scan>,
    pub(super) progress: Arc<Progress>,
    pub(super) foster: Foster,
    pub(super) findings: Sender<Finding>,
    /// Says whether it is worth while to ask for a descriptor again.
    pub(super) fed: Receiver<bool>,
}

/// What became of a look at one process.
enum Looked {
    Nothing,
    Found(Finding),
    /// No descriptor for it.
    Starved,
}

impl Scanner {
    /// Looks at all from here on.
    pub(super) fn run(mut self, from: usize) {
        // The host's signals are for the host's threads.
        sys::block_all_signals();
        let scan = Arc::clone(&self.scan);
        for (index, &pid) in scan.pids.iter().enumerate().skip(from) {
            self.progress.enter(Stage::Reading);
            self.progress.at.store(index, Ordering::SeqCst);
            if self.progress.left_behind.load(Ordering::SeqCst) {
                return;
            }
            if scan.taboo.contains(&pid) {
                continue;
            }
            let finding = match self.look_or_wait(pid) {
                None => return,
                Some(Looked::Nothing) => continue,
                Some(Looked::Found(finding)) => finding,
                Some(Looked::Starved) => left_alone(pid, &[], LeftAloneReason::NoDescriptor),
            };
            if self.findings.send(finding).is_err() {
                return;
            }
        }
        // Nobody waits, if that fails.
        drop(self.findings.send(Finding::Over));
    }

    /// Looks at a process, and again when there may be a descriptor for it. `None`: nobody waits any more.
    fn look_or_wait(&mut self, pid: u32) -> Option<Looked> {
        let looked = self.look(pid);
        if !matches!(looked, Looked::Starved) {
            return Some(looked);
        }
        self.findings.send(Finding::Starved).ok()?;
        match self.fed.recv().ok()? {
            true => Some(self.look(pid)),
            false => Some(Looked::Starved),
        }
    }

    fn look(&mut self, pid: u32) -> Looked {
        let scan = Arc::clone(&self.scan);
        let described = match scan.table.outline(pid) {
            Ok(described) => described,
            Err(error) if sys::is_starved(&error) => return Looked::Starved,
            // Gone since it was listed, or hidden.
            Err(_) => return Looked::Nothing,
        };
        // Of a program that may not be read by others the files are root's: whose it is, is looked at later.
        let any_user = scan.rule.reaches_any_user();
        let may_be_own = described.user == scan.own_user || described.user == 0;
        if described.is_kernel_thread || !(any_user || may_be_own) {
            return Looked::Nothing;
        }
        let reparented = self.foster.has_taken_in(&scan.table, pid, &described);
        let outline = Outline {
            reparented,
            own_user: may_be_own,
        };
        if !scan.rule.can_match(outline) {
            scan.looked_at.fetch_add(1, Ordering::Relaxed);
            return Looked::Nothing;
        }
        let pin = match Pin::open(pid, &scan.shared.facilities) {
            Ok(pin) => pin,
            Err(error) if sys::is_gone(&error) => return Looked::Nothing,
            Err(_no_descriptor) => return Looked::Starved,
        };
        self.look_closely(pin, &described, reparented)
    }

    /// Reads everything, and asks the rule.
    fn look_closely(
        &mut self,
        pin: Pin,
        described: &Described,
        reparented: Option<bool>,
    ) -> Looked {
        let scan = Arc::clone(&self.scan);
        let pid = pin.pid();
        let read = || scan.table.read_process(&pin, &scan.shared.facilities);
        let read = match read() {
            // Between two programs it has nothing that says whose it is: the next sweep sees what it has become.
            Ok(read) if read.environ.is_empty() && scan.table.is_executing(pid) => {
                return Looked::Nothing;
            }
            // It may have been at it until a moment ago.
            Ok(first) if first.environ.is_empty() => read().unwrap_or(first),
            Ok(read) => read,
            Err(error) if sys::is_starved(&error) => return Looked::Starved,
            Err(error) if sys::is_gone(&error) => return Looked::Nothing,
            Err(_) => return Looked::Found(left_alone(pid, &[], LeftAloneReason::NotReadable)),
        };
        // All of it is about the one that the pin holds, which is alive after it.
        if !matches!(pin.is_dead(), Ok(false)) {
            return Looked::Nothing;
        }
        let own_user = read.user == scan.own_user;
        if !own_user && !scan.rule.reaches_any_user() {
            return Looked::Nothing;
        }
        if read.parent == Some(scan.own) && read.args == scan.own_args {
            return Looked::Nothing;
        }
        scan.looked_at.fetch_add(1, Ordering::Relaxed);
        // A parent that changed in between has gone; whoever is it now has taken it in, and the next sweep will see that.
        let same_parent = read.parent.unwrap_or(0) == described.parent;
        let reparented = reparented.filter(|_| same_parent);
        let process = SystemProcess::new(pid, read, reparented);
        self.progress.enter(Stage::Asking);
        let verdict = scan.rule.judge(&process, own_user);
        self.progress.enter(Stage::Reading);
        let why = match verdict {
            Verdict::Yes(why) => why,
            Verdict::No | Verdict::Unknown { panicked: false } => return Looked::Nothing,
            Verdict::Unknown { panicked: true } => {
                let panicked = LeftAloneReason::RulePanicked;
                return Looked::Found(left_alone(pid, process.args(), panicked));
            }
        };
        if !self.is_still_so(&process) {
            return Looked::Nothing;
        }
        if let Some(reason) = scan.owners.claim(&scan.table, &process) {
            return Looked::Found(left_alone(pid, process.args(), reason));
        }
        // What was read of its limits is about this one too.
        if !matches!(pin.is_dead(), Ok(false)) {
            return Looked::Nothing;
        }
        Looked::Found(Finding::Orphan {
            pin,
            why: why.into(),
            process: Arc::new(process),
        })
    }

    /// Whether what is known of the parent holds when it is looked at afresh.
    fn is_still_so(&mut self, process: &SystemProcess) -> bool {
        if process.is_reparented().is_none() {
            return true;
        }
        let scan = &self.scan;
        self.foster.forget();
        let pid = process.pid();
        let again = scan.table.describe(pid).ok();
        let again = again.and_then(|child| self.foster.has_taken_in(&scan.table, pid, &child));
        again == process.is_reparented()
    }
}

pub(super) fn left_alone(pid: u32, args: &[OsString], reason: LeftAloneReason) -> Finding {
    Finding::LeftAlone(LeftAlone {
        pid,
        command_line: args.to_vec(),
        reason,
    })
}

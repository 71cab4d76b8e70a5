//! What is done about somebody who was found.

use std::ffi::OsString;
use std::sync::Arc;

use super::round::Round;
use crate::containment::Containment;
use crate::event::Origin;
use crate::machine::{Facts, Fate, Reach, Relation};
use crate::reactor::clock;
use crate::reactor::mailbox::{Message, Newborn};
use crate::reactor::shared::{Core, Outputs, Parts};
use crate::report::{SurvivalCause, Survivor};
use crate::session::ProcessId;
use crate::signal::Signal;
use crate::stdin::StdinPipe;
use crate::sys::{self, Pin, Target};

impl Round<'_> {
    /// It is marked and not believed. The first time that may be because its parent is just leaving it: it is looked at once
    /// more before it is passed over.
    pub(super) fn claim(&mut self, pin: &Pin, prey: usize) {
        let pid = pin.pid();
        // It may have been met for the sake of a child.
        if self.seen(prey).claims.iter().any(|claim| claim.pid == pid) {
            return;
        }
        let command_line = self.command_line(pid);
        let news = self.is_newly_claimed(pin, prey);
        let seen = self.seen(prey);
        seen.living |= news;
        seen.claims.push(Survivor {
            process: ProcessId(0),
            pid,
            command_line: command_line.to_vec(),
            cause: SurvivalCause::Unknown,
        });
    }

    fn command_line(&mut self, pid: u32) -> Arc<[OsString]> {
        if !self.memory.is_hanging(pid) {
            let line = self
                .memory
                .while_reading(pid, || self.table.command_line(pid));
            if !line.is_empty() {
                return line.into();
            }
        }
        // A zombie has no arguments any more, only a name.
        let name = self.table.describe(pid).map(|found| found.name);
        [name.unwrap_or_default()].into()
    }

    /// A descendant: it is a member from now on.
    pub(super) fn take_in(&mut self, pin: Pin, prey: usize, group: u32, in_group: bool) {
        let pid = pin.pid();
        let hunt = &self.scene.prey[prey].hunt;
        let (kill, life, session) = (hunt.kill, hunt.life, hunt.session);
        let killed = kill.is_some()
            && sys::send_signal(
                Target::Process(&pin),
                Signal::KILL.0,
                &self.shared.facilities,
            )
            .is_ok();
        let leads_group = group == pid;
        let facts = Facts {
            pid,
            inode: pin.identity().inode,
            relation: Relation::Stranger,
            leads_group,
            origin: Origin::Found,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: in_group,
            label: None,
            command_line: self.command_line(pid),
        };
        let core = Arc::new(Core::new(
            Arc::clone(self.shared),
            Parts {
                process: self.shared.gate.name_found(),
                session,
                life,
                facts: Arc::new(facts),
                started: None,
                pin: None,
                stdin: StdinPipe::new(None),
                outputs: Outputs::default(),
            },
        ));
        self.seen(prey).living = true;
        if let (true, Some(reason)) = (killed, kill) {
            core.set_asked(Signal::KILL, reason);
        }
        if self.shared.watch.add(&pin, core.process.0).is_err() {
            self.passed.fate = Fate::Refused;
            return;
        }
        core.hold(pin);
        self.known.insert(pid, Arc::clone(&core));
        if leads_group {
            self.groups.insert(pid, (prey, Arc::clone(&core)));
            self.has_new_groups = true;
        }
        let newborn = Newborn {
            core,
            at: clock::now(),
            since: None,
            raced: false,
            time_limit: None,
            reply: None,
        };
        // A reactor that is gone looks after nobody. What is found is woken for at the end of the pass.
        let shared = self.shared;
        drop(
            shared
                .mail
                .send_quietly(Message::Born(newborn), shared.leisure()),
        );
    }
}

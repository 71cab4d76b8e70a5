//! Signals that the host asks for.

use super::action::{Answer, Target};
use super::engine::{Broadcast, Machine, Told, signal_error};
use super::ids::ReplyId;
use super::input::{Errno, Whom};
use crate::error::{Error, ErrorKind};
use crate::event::Reason;
use crate::session::ProcessId;
use crate::signal::Signal;

impl Machine {
    /// One process alone, wherever its group is.
    pub(super) fn signal_process(&mut self, process: ProcessId, signal: Signal, reply: ReplyId) {
        if self.members.contains_key(&process) {
            self.send(
                process,
                Target::Process,
                signal,
                Reason::Host,
                Told::Caller(reply),
            );
        } else {
            self.reply(reply, Answer::AlreadyExited);
        }
    }

    /// All members of a session, and what they left in their groups.
    pub(super) fn signal_session(&mut self, whom: Whom, signal: Signal, reply: ReplyId) {
        let (session, wanted) = match whom {
            Whom::Number(session) => (session, None),
            Whom::Life(session, life) => (session, Some(life)),
        };
        let Some(state) = self
            .current
            .get(&session)
            .filter(|&&life| wanted.is_none_or(|wanted| wanted == life))
            .and_then(|life| self.lives.get(life))
        else {
            let error = Error::new(ErrorKind::SessionEnded, "signal session").with_session(session);
            self.reply(reply, Answer::Done(Err(error)));
            return;
        };
        let members: Vec<ProcessId> = state.members.iter().copied().collect();
        let remnants = state.remnants.clone();
        for remnant in remnants {
            let target = Target::Remnant {
                reaped: remnant.reaped,
            };
            self.send(remnant.leader, target, signal, Reason::Host, Told::Nobody);
        }
        if members.is_empty() {
            self.reply(reply, Answer::Done(Ok(())));
            return;
        }
        self.broadcasts.insert(
            reply,
            Broadcast {
                missing: members.len(),
                failed: None,
            },
        );
        for process in members {
            let Some(member) = self.members.get(&process) else {
                continue;
            };
            let target = member.target(signal);
            self.send(
                process,
                target,
                signal,
                Reason::Host,
                Told::Broadcast(reply),
            );
        }
    }

    /// One of them was signalled, or was not.
    pub(super) fn broadcast_answered(
        &mut self,
        reply: ReplyId,
        result: Result<(), Errno>,
        pid: Option<u32>,
    ) {
        let Some(broadcast) = self.broadcasts.get_mut(&reply) else {
            return;
        };
        broadcast.missing -= 1;
        match result {
            // Gone in the meantime: nothing was left to signal.
            Ok(()) | Err(Errno::NoSuchProcess) => {}
            Err(errno) => {
                if broadcast.failed.is_none() {
                    broadcast.failed = Some(signal_error(errno, pid));
                }
            }
        }
        if broadcast.missing > 0 {
            return;
        }
        if let Some(broadcast) = self.broadcasts.remove(&reply) {
            self.reply(reply, Answer::Done(broadcast.failed.map_or(Ok(()), Err)));
        }
    }
}

//! The end of everything: all sessions at once, and then the registry.

use std::collections::BTreeSet;
use std::time::Instant;

use super::action::{Action, Answer};
use super::engine::{Machine, Pending, Shutdown, Terms};
use super::gate::Closed;
use super::ids::ReplyId;
use crate::event::Reason;
use crate::report::SessionReport;
use crate::session::{Life, ProcessId, SessionId};
use crate::stop::StopPolicy;

impl Machine {
    /// Ends everything, or joins that.
    pub(super) fn begin_shutdown(
        &mut self,
        policy: StopPolicy,
        reason: Reason,
        reply: ReplyId,
        now: Instant,
    ) {
        let Some(shutdown) = &mut self.shutdown else {
            self.shutdown = Some(Shutdown {
                replies: vec![reply],
                ..Shutdown::default()
            });
            self.ask(
                Action::CloseAllGates { reason },
                Pending::Shutdown {
                    policy: Box::new(policy),
                    reason,
                },
            );
            return;
        };
        shutdown.replies.push(reply);
        let awaited = shutdown.awaited.clone();
        for report in shutdown.reports.clone() {
            self.reply(reply, Answer::OneOfMany(report));
        }
        self.harden(awaited, policy, reason, now);
    }

    /// Makes the shutdown that is under way stricter.
    pub(super) fn harden_shutdown(&mut self, policy: StopPolicy, now: Instant) {
        if let Some(shutdown) = &self.shutdown {
            let awaited = shutdown.awaited.clone();
            self.harden(awaited, policy, Reason::Shutdown, now);
        }
    }

    fn harden(&mut self, lives: BTreeSet<Life>, policy: StopPolicy, reason: Reason, now: Instant) {
        let terms = Terms {
            policy: Some(policy),
            reason,
            replies: Vec::new(),
        };
        for life in lives {
            self.join_end(life, &terms, now);
        }
    }

    /// Nothing comes in any more: every life that there is gets its end.
    pub(super) fn shutdown_closed(
        &mut self,
        closed: Vec<Closed>,
        policy: &StopPolicy,
        reason: Reason,
        now: Instant,
    ) {
        let mut all: Vec<(SessionId, Life, Vec<ProcessId>)> = closed
            .into_iter()
            .map(|gate| (gate.session, gate.life, gate.tokens))
            .collect();
        let numbers: BTreeSet<SessionId> = all.iter().map(|&(session, _, _)| session).collect();
        for (&session, lives) in &self.lingering {
            if let (false, Some(&life)) = (numbers.contains(&session), lives.first()) {
                all.push((session, life, Vec::new()));
            }
        }
        all.sort_by_key(|&(session, life, _)| (session, life));
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.awaited = all.iter().map(|&(_, life, _)| life).collect();
            shutdown.begun = true;
        }
        for (session, life, tokens) in all {
            let terms = Terms {
                policy: Some(policy.clone()),
                reason,
                replies: Vec::new(),
            };
            self.begin_end(life, session, tokens, terms, now);
        }
        self.finish_shutdown();
    }

    pub(super) fn shutdown_ended(&mut self, life: Life, report: SessionReport) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        if shutdown.awaited.remove(&life) {
            shutdown.reports.push(report.clone());
            for reply in shutdown.replies.clone() {
                self.reply(reply, Answer::OneOfMany(report.clone()));
            }
            self.finish_shutdown();
        }
    }

    fn finish_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        if !shutdown.begun || !shutdown.awaited.is_empty() {
            return;
        }
        shutdown.begun = false;
        let replies = std::mem::take(&mut shutdown.replies);
        let mut reports = std::mem::take(&mut shutdown.reports);
        reports.sort_by_key(SessionReport::session);
        for reply in replies {
            self.reply(reply, Answer::Reports(reports.clone()));
        }
        self.act(Action::Finish);
    }
}

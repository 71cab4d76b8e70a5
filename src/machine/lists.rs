//! What can be read off the machine without changing it.

use std::sync::Arc;
use std::time::Instant;

use super::engine::Machine;
use super::life::LifeState;
use super::member::Member;
use crate::earlier::Heir;
use crate::info::{ProcessInfo, ProcessState, SessionInfo};
use crate::report::SessionReport;
use crate::session::{Life, ProcessId, SessionId};

impl Machine {
    /// All processes that have not been seen to exit, in the order of their ids.
    pub(crate) fn processes(&self, now: Instant) -> Vec<ProcessInfo> {
        let mut list: Vec<ProcessInfo> = self
            .members
            .iter()
            .map(|(&process, member)| self.info(process, member, now))
            .collect();
        list.sort_by_key(|info| info.id);
        list
    }

    /// Those of one number: of its life, and of earlier ones that left survivors.
    pub(crate) fn session_processes(&self, session: SessionId, now: Instant) -> Vec<ProcessInfo> {
        let current = self.current.get(&session);
        let lingering = self.lingering.get(&session).into_iter().flatten();
        let mut list: Vec<ProcessInfo> = current
            .into_iter()
            .chain(lingering)
            .filter_map(|life| self.lives.get(life))
            .flat_map(|state| state.members.iter())
            .filter_map(|process| Some(self.info(*process, self.members.get(process)?, now)))
            .collect();
        list.sort_by_key(|info| info.id);
        list
    }

    /// The sessions that live, in the order of their numbers. One that ended with survivors is none of them.
    pub(crate) fn sessions(&self, now: Instant) -> Vec<SessionInfo> {
        let mut list: Vec<SessionInfo> = self
            .current
            .iter()
            .filter_map(|(&session, life)| {
                let state = self.lives.get(life)?;
                Some(SessionInfo {
                    id: session,
                    label: state.label.clone(),
                    age: now.saturating_duration_since(state.began),
                    processes: state.members.len(),
                    ending: state.end.as_ref().map(|end| end.ladder.current_or_first()),
                })
            })
            .collect();
        list.sort_by_key(|info| info.id);
        list
    }

    /// The latest report about a number that is kept.
    pub(crate) fn last_report(&self, session: SessionId) -> Option<SessionReport> {
        self.reports
            .iter()
            .rev()
            .find(|report| report.session() == session)
            .cloned()
    }

    /// The life that a number has now, and its label.
    pub(crate) fn life_of(&self, session: SessionId) -> Option<(Life, Option<Arc<str>>)> {
        let life = *self.current.get(&session)?;
        let label = self.lives.get(&life)?.label.clone();
        Some((life, label))
    }

    /// Whether anything of a life is left, if only those that outlived its end.
    pub(crate) fn has_life(&self, life: Life) -> bool {
        self.lives.contains_key(&life)
    }

    /// The members of one life, unless it is over.
    pub(crate) fn members_of(&self, life: Life, now: Instant) -> Option<Vec<ProcessInfo>> {
        let state = self.lives.get(&life).filter(|state| !state.lingers)?;
        let info = |process: &ProcessId| Some(self.info(*process, self.members.get(process)?, now));
        Some(state.members.iter().filter_map(info).collect())
    }

    /// Whether a life has no process that is known and none on its way, unless it is over.
    pub(crate) fn is_empty(&self, life: Life) -> Option<bool> {
        let state = self.lives.get(&life).filter(|state| !state.lingers)?;
        Some(state.is_empty())
    }

    /// Whether the end of a life is under way; `None` once it is over.
    pub(crate) fn is_being_ended(&self, life: Life) -> Option<bool> {
        let state = self.lives.get(&life).filter(|state| !state.lingers)?;
        Some(state.end.is_some())
    }

    /// The lives that are not over, in the order of their numbers.
    pub(crate) fn lives(&self) -> Vec<(SessionId, Life)> {
        let mut lives: Vec<_> = self
            .current
            .iter()
            .map(|(&session, &life)| (session, life))
            .collect();
        lives.sort_unstable();
        lives
    }

    /// The sessions that have what earlier registries left.
    pub(crate) fn heirs(&self) -> Vec<Heir> {
        let heir = |state: &LifeState| {
            let (session, lingers) = (state.session, state.lingers);
            let earlier = state.earlier.clone().into_iter();
            earlier.map(move |of| Heir {
                session,
                of,
                lingers,
            })
        };
        self.lives.values().flat_map(heir).collect()
    }

    fn info(&self, process: ProcessId, member: &Member, now: Instant) -> ProcessInfo {
        let end = self
            .lives
            .get(&member.life)
            .and_then(|state| state.end.as_ref());
        let ladder = member
            .stop
            .as_ref()
            .map(|stop| &stop.ladder)
            .or(end.map(|end| &end.ladder));
        let state = match (
            member.survived,
            ladder.map(super::ladder::Ladder::current_or_first),
        ) {
            (Some(cause), _) => ProcessState::Survived(cause),
            (None, Some(rung)) => ProcessState::Ending { rung },
            (None, None) => ProcessState::Running,
        };
        ProcessInfo {
            id: process,
            pid: member.facts.pid,
            session: member.session,
            label: member.facts.label.clone(),
            origin: member.facts.origin,
            age: now.saturating_duration_since(member.born),
            state,
            containment: member.facts.containment,
            command_line: Arc::clone(&member.facts.command_line).to_vec(),
        }
    }
}

//! The last step of an end: what can be claimed, and the report that says so.

use std::collections::BTreeSet;
use std::time::Duration;

use super::action::Action;
use super::engine::Machine;
use super::life::End;
use super::member::Reach;
use super::search::{Established, Inside, Search};
use crate::event::{EventKind, Reason};
use crate::report::{
    Means, MemberReport, Proof, ReportParts, SessionReport, Strength, SurvivalCause, Survivor,
};
use crate::session::{Life, ProcessId, SessionId};

impl Machine {
    /// Makes the report, tells it, keeps it, and frees the number.
    pub(super) fn close_life(
        &mut self,
        (life, session): (Life, SessionId),
        members: BTreeSet<ProcessId>,
        end: &End,
        survivors: Vec<Survivor>,
        took: Duration,
    ) -> SessionReport {
        let lingers = !survivors.is_empty();
        let mut parts = report_parts(session, end.reason, end.gone.clone());
        parts.took = took;
        let reach = self.lives.get(&life).and_then(|state| state.reach);
        let reach = reach.unwrap_or(Reach::Leader);
        let claimed = claim(reach, end.search.as_ref());
        parts.covers_descendants = !lingers && claimed != Strength::Observed(Means::Leader);
        parts.strength = if lingers {
            Strength::Unconfirmed { survivors }
        } else {
            claimed
        };
        if let Some(search) = &end.search {
            parts.claims.clone_from(&search.claims);
        }
        let inside = end.search.as_ref().and_then(|search| search.usage);
        parts.usage = match self.lives.get(&life) {
            Some(state) => state.used.told(inside, reach == Reach::Contained),
            None => inside,
        };
        if let Some(state) = self.lives.get_mut(&life) {
            parts.label.clone_from(&state.label);
            parts.gone_before = state.gone_before;
            state.members = members;
            state.lingers = true;
        }
        let report = SessionReport::new(parts);
        self.publish_session(life, session, EventKind::SessionEnded(report.clone()));
        if lingers {
            self.lingering.entry(session).or_default().insert(life);
        } else {
            self.close_lives(life);
            self.forget_heirs(life);
        }
        if self.current.get(&session) == Some(&life) {
            self.current.remove(&session);
        }
        self.reports.push_back(report.clone());
        while self.reports.len() > self.settings.kept_reports {
            self.reports.pop_front();
        }
        self.act(Action::OpenGate { session, life });
        report
    }
}

/// What is claimed of the descendants of members with this reach, once nobody is left that was seen.
fn claim(reach: Reach, search: Option<&Search>) -> Strength {
    let Some(search) = search else {
        return Strength::Observed(Means::Leader);
    };
    if search.childless && reach >= Reach::Subreaper {
        return Strength::Proven(Proof::NoChildren);
    }
    let means = match (reach, search.around(), search.inside()) {
        (Reach::Leader, _, _) => Means::Leader,
        (Reach::Contained, _, Inside::Removed) => return Strength::Proven(Proof::CgroupEmpty),
        // Whoever is outside of the cgroup could not be looked for.
        (_, Established::Nothing | Established::Blind, _) => Means::Leader,
        (Reach::Cgroup | Reach::Contained, _, Inside::Removed | Inside::Empty) => Means::Cgroup,
        (Reach::Cgroup | Reach::Contained, _, Inside::Unknown) => Means::Leader,
        // Somebody whom no mark names has come to us: it may be one of this session.
        (Reach::Subreaper, Established::Gone, _) if search.unattributed => Means::Group,
        (Reach::Subreaper, Established::Gone, _) => Means::Subreaper,
        (Reach::MarkAndGroup, Established::Gone, _) => Means::MarkAndGroup,
        (Reach::Group, Established::Gone, _) => Means::Group,
    };
    Strength::Observed(means)
}

/// A report that claims as little as can be claimed.
pub(super) fn report_parts(
    session: SessionId,
    reason: Reason,
    members: Vec<MemberReport>,
) -> ReportParts {
    ReportParts {
        session,
        label: None,
        reason,
        strength: Strength::Observed(Means::Leader),
        members,
        claims: Vec::new(),
        gone_before: 0,
        took: Duration::ZERO,
        covers_descendants: false,
        usage: None,
    }
}

pub(super) fn survivor(report: &MemberReport, cause: SurvivalCause) -> Survivor {
    Survivor {
        process: report.process,
        pid: report.pid,
        command_line: report.command_line.to_vec(),
        cause,
    }
}

/// A spawn that has not come back: there may be a process, and it has no number yet.
pub(super) fn in_flight(process: ProcessId) -> Survivor {
    Survivor {
        process,
        pid: 0,
        command_line: Vec::new(),
        cause: SurvivalCause::SpawnInFlight,
    }
}

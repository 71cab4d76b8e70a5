//! Reading reports and events.

use procession::{
    Event, EventKind, Exit, MemberReport, Process, Registry, Rung, SessionReport, StopPolicy,
    Subscription, SurvivalCause,
};

/// For calls that fail only if the library is broken.
pub(crate) trait Works {
    type Value;

    fn works(self) -> Self::Value;
}

impl<T> Works for procession::Result<T> {
    type Value = T;

    #[track_caller]
    fn works(self) -> T {
        self.expect("the registry works")
    }
}

#[track_caller]
pub(crate) fn registry() -> Registry {
    let built = super::harness::builder().build();
    built.expect("this kernel has what a registry needs")
}

/// The report, which names no survivor.
#[track_caller]
pub(crate) fn clean(report: SessionReport) -> SessionReport {
    assert!(report.is_clean(), "not clean:\n{report}");
    assert!(
        report.survivors().is_empty(),
        "clean, with survivors:\n{report}"
    );
    report
}

/// Ends a session by the registry's own policy. Nothing of it must be left.
#[track_caller]
pub(crate) fn close(registry: &Registry, session: u64) {
    drop(clean(registry.end_session(session).works()));
}

/// Ends a session. Nothing of it must be left.
#[track_caller]
pub(crate) fn close_with(registry: &Registry, session: u64, policy: &StopPolicy) {
    drop(clean(registry.end_session_with(session, policy).works()));
}

/// What a report says of its only member.
#[track_caller]
pub(crate) fn only_member(report: &SessionReport) -> &MemberReport {
    assert_eq!(report.members().len(), 1, "\n{report}");
    &report.members()[0]
}

/// What a report says of this process.
#[track_caller]
pub(crate) fn member<'a>(report: &'a SessionReport, process: &Process) -> &'a MemberReport {
    let found = report
        .members()
        .iter()
        .find(|member| member.process() == process.id());
    found.unwrap_or_else(|| panic!("process {} is not in the report:\n{report}", process.pid()))
}

/// Why the only survivor that a report names is still alive.
#[track_caller]
pub(crate) fn survivor(report: &SessionReport) -> SurvivalCause {
    assert!(!report.is_clean(), "clean:\n{report}");
    assert_eq!(report.survivors().len(), 1, "\n{report}");
    report.survivors()[0].cause
}

/// All events that are in the channel now.
pub(crate) fn drain(events: &Subscription) -> Vec<Event> {
    events.receiver().try_iter().collect()
}

/// The rungs that these events say were escalated to.
pub(crate) fn rungs(events: &[Event]) -> Vec<Rung> {
    let rung = |event: &Event| {
        if let EventKind::Escalated { rung } = event.kind() {
            Some(*rung)
        } else {
            None
        }
    };
    events.iter().filter_map(rung).collect()
}

/// The exits of one process that these events tell.
pub(crate) fn exits_of(events: &[Event], process: &Process) -> Vec<Exit> {
    let of_it = events
        .iter()
        .filter(|event| event.process() == Some(process.id()));
    let exit = |event: &Event| {
        if let EventKind::Exited(exit) = event.kind() {
            Some(exit.clone())
        } else {
            None
        }
    };
    of_it.filter_map(exit).collect()
}

pub(crate) fn is_exit(event: &Event) -> bool {
    matches!(event.kind(), EventKind::Exited(_))
}

/// The next event, which has to come.
#[track_caller]
pub(crate) fn next_event(events: &Subscription) -> Event {
    let next = events.receiver().recv_timeout(super::wait::LONG_ENOUGH);
    next.expect("an event")
}

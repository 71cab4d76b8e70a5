//! Reapers, and what they tell.

use std::time::Duration;

use procession::{Event, EventKind, EventMask, Reaper, ReaperReport, Registry, Subscription};

use super::reports::Works as _;
use super::wait::LONG_ENOUGH;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Passes when it is told to, and once at its start.
pub(crate) fn hourly(
    registry: &Registry,
    active: impl FnMut() -> Option<Vec<u64>> + Send + 'static,
) -> Reaper {
    registry.start_reaper(HOUR, active).works()
}

pub(crate) fn passes(registry: &Registry) -> Subscription {
    registry.subscribe_to(EventMask::REAPER)
}

/// The next pass, which has to come.
#[track_caller]
pub(crate) fn next_pass(events: &Subscription) -> ReaperReport {
    let event = events.receiver().recv_timeout(LONG_ENOUGH);
    pass(&event.expect("a pass"))
}

/// The pass that an event is about.
#[track_caller]
pub(crate) fn pass(event: &Event) -> ReaperReport {
    let EventKind::ReaperPassed(report) = event.kind() else {
        panic!("about no pass: {event}");
    };
    report.clone()
}

pub(crate) fn lives(registry: &Registry) -> Vec<u64> {
    let sessions = registry.sessions().works();
    sessions.iter().map(|info| info.id.as_u64()).collect()
}

pub(crate) fn numbers(report: &ReaperReport) -> Vec<u64> {
    let sessions = report.sessions().iter();
    sessions.map(|report| report.session().as_u64()).collect()
}

//! A stop policy with its times: the ladder that an end walks down.

use std::time::{Duration, Instant};

use crate::stop::{Rung, StopPolicy};

/// One walk down one policy. All its times are fixed when it begins: a handler that never finishes, or a host that
/// was stopped, does not move them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ladder {
    /// The rungs before SIGKILL, each with the time at which it begins; `None` is never.
    soft: Vec<(Rung, Option<Instant>)>,
    /// How many of them have been taken.
    taken: usize,
    kill_at: Option<Instant>,
    killed: Option<Instant>,
    confirm: Duration,
}

/// What is due on a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Due {
    Nothing,
    /// Take this rung. `first` if nothing came before it.
    Take {
        rung: Rung,
        first: bool,
    },
    /// The time to confirm is over.
    ConfirmOver,
}

impl Ladder {
    /// A ladder that begins now.
    pub(crate) fn new(policy: &StopPolicy, now: Instant) -> Self {
        let mut soft = Vec::with_capacity(policy.steps().len());
        let mut begins = Some(now);
        for step in policy.steps() {
            soft.push((step.rung, begins));
            begins = begins.and_then(|at| after(at, step.lasts));
        }
        Self {
            soft,
            taken: 0,
            kill_at: begins,
            killed: None,
            confirm: policy.confirm(),
        }
    }

    /// Joins a second policy that is asked for now: the rungs stay, the earlier SIGKILL and the more patient
    /// confirmation win.
    pub(crate) fn merge(&mut self, policy: &StopPolicy, now: Instant) {
        self.merge_ladder(&Self::new(policy, now));
    }

    /// Joins another ladder in the same way.
    pub(crate) fn merge_ladder(&mut self, other: &Self) {
        self.kill_at = earlier(self.kill_at, other.kill_at);
        self.confirm = self.confirm.max(other.confirm);
    }

    /// Takes what is due. To be asked again until it says `Nothing`; SIGKILL is taken once, and what it overtakes is
    /// skipped.
    pub(crate) fn take_due(&mut self, now: Instant) -> Due {
        if let Some(killed) = self.killed {
            return match after(killed, self.confirm) {
                Some(over) if over <= now => Due::ConfirmOver,
                Some(_) | None => Due::Nothing,
            };
        }
        let first = self.taken == 0;
        if self.kill_at.is_some_and(|at| at <= now) {
            self.killed = Some(now);
            return Due::Take {
                rung: Rung::Kill,
                first,
            };
        }
        match self.soft.get(self.taken) {
            Some(&(rung, Some(at))) if at <= now => {
                self.taken += 1;
                Due::Take { rung, first }
            }
            Some(_) | None => Due::Nothing,
        }
    }

    /// When something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.killed {
            Some(killed) => after(killed, self.confirm),
            None => earlier(
                self.soft.get(self.taken).and_then(|&(_, at)| at),
                self.kill_at,
            ),
        }
    }

    /// The rung that is in force.
    pub(crate) fn current(&self) -> Option<Rung> {
        if self.killed.is_some() {
            return Some(Rung::Kill);
        }
        self.taken_rungs().last()
    }

    /// The rung that is in force, or the one that will be first.
    pub(crate) fn current_or_first(&self) -> Rung {
        let first = self.soft.first().map_or(Rung::Kill, |&(rung, _)| rung);
        self.current().unwrap_or(first)
    }

    /// The rungs before SIGKILL that have been taken, in their order.
    pub(crate) fn taken_rungs(&self) -> impl Iterator<Item = Rung> + '_ {
        self.soft.iter().take(self.taken).map(|&(rung, _)| rung)
    }

    /// Whether SIGKILL has been taken.
    pub(crate) fn is_killing(&self) -> bool {
        self.killed.is_some()
    }

    /// How long it is until SIGKILL; `None` for ever.
    pub(crate) fn grace(&self, now: Instant) -> Option<Duration> {
        self.kill_at.map(|at| at.saturating_duration_since(now))
    }

    /// When SIGKILL comes, or came.
    #[cfg(test)]
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }
}

/// `at` plus `lasts`; `None` is never: `Duration::MAX`, or past what an `Instant` holds.
fn after(at: Instant, lasts: Duration) -> Option<Instant> {
    if lasts == Duration::MAX {
        None
    } else {
        at.checked_add(lasts)
    }
}

/// The earlier of two times, where `None` is never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(at), None) | (None, Some(at)) => Some(at),
        (None, None) => None,
    }
}

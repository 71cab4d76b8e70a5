//! [`SpawnOptions`]: what one spawn asks for beyond its command.

use std::sync::Arc;
use std::time::Duration;

use crate::containment::Containment;

/// What one spawn asks for beyond its command.
///
/// # Examples
///
/// ```
/// use procession::{Containment, SpawnOptions};
/// use std::time::Duration;
///
/// let options = SpawnOptions::new()
///     .label("compiler")
///     .slot_timeout(Duration::from_secs(30))
///     .containment(Containment::Leader);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SpawnOptions {
    pub(crate) label: Option<Arc<str>>,
    pub(crate) slot_timeout: Option<Duration>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) containment: Option<Containment>,
}

impl SpawnOptions {
    /// No label, no waiting for a slot, the registry's containment.
    pub fn new() -> Self {
        Self::default()
    }

    /// A name for people: it stands in events, reports and log records beside the ids. It needs not
    /// be unique.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Waits up to `timeout` for a slot where a [limit](crate::Limits) is reached, first come first
    /// served.
    ///
    /// Zero does not wait, which is also what happens without this option; [`Duration::MAX`] waits
    /// until there is a slot. The wait also ends, with an error, when the session or the registry
    /// ends.
    pub fn slot_timeout(mut self, timeout: Duration) -> Self {
        self.slot_timeout = Some(timeout);
        self
    }

    /// How old this process may get: after that it is stopped by its session's policy, with the reason
    /// [`TimeLimit`](crate::Reason::TimeLimit), and its group with it.
    ///
    /// Counted from its registration. Zero is at once; [`Duration::MAX`], and whatever no clock reaches, is never. A stop
    /// or an end that is under way by then goes on as it is.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Exactly this tier for this process, or an error.
    pub fn containment(mut self, tier: Containment) -> Self {
        self.containment = Some(tier);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_until_it_is_said() {
        let none = SpawnOptions::new();
        assert!(none.label.is_none() && none.slot_timeout.is_none() && none.containment.is_none());

        let some = none
            .label(String::from("a"))
            .slot_timeout(Duration::ZERO)
            .containment(Containment::Leader);
        assert_eq!(some.label.as_deref(), Some("a"));
        assert_eq!(some.slot_timeout, Some(Duration::ZERO));
        assert_eq!(some.containment, Some(Containment::Leader));
    }
}

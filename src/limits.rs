//! [`Limits`]: how many registered processes there may be.

/// How many registered processes may live at once, in all and in each session.
///
/// A process counts from before its fork to its confirmed death, so that a limit is never exceeded,
/// also not for a moment. A spawn beyond a limit fails with
/// [`ErrorKind::LimitReached`](crate::ErrorKind::LimitReached) and starts nothing, unless
/// [`SpawnOptions::slot_timeout`](crate::SpawnOptions::slot_timeout) lets it wait for a slot.
/// Descendants that a member starts by itself are not counted.
///
/// # Examples
///
/// ```
/// use procession::Limits;
///
/// const LIMITS: Limits = Limits::NONE.processes(200).processes_per_session(8);
/// assert_ne!(LIMITS, Limits::NONE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(crate) total: Option<usize>,
    pub(crate) per_session: Option<usize>,
}

impl Limits {
    /// No limit of either kind. The default.
    pub const NONE: Self = Self {
        total: None,
        per_session: None,
    };

    /// At most `n` living processes in the whole registry. Zero lets none start.
    pub const fn processes(self, n: usize) -> Self {
        Self {
            total: Some(n),
            ..self
        }
    }

    /// At most `n` living processes in each session. Zero lets none start.
    pub const fn processes_per_session(self, n: usize) -> Self {
        Self {
            per_session: Some(n),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_limits_are_independent_and_the_last_word_counts() {
        let limits = Limits::NONE
            .processes(3)
            .processes_per_session(2)
            .processes(9);
        assert_eq!((limits.total, limits.per_session), (Some(9), Some(2)));
        assert_eq!(Limits::default(), Limits::NONE);
    }
}

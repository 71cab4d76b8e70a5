//! The identities: sessions, processes, and one life of a session.

use std::fmt;

/// The number of a session.
///
/// The host chooses it: a user id, a connection, a job number. A session exists from its first
/// process (or from when it is opened) until its end, and afterwards the same number may live
/// again.
///
/// `From<u64>` is the only integer conversion, so that literals need no suffix:
/// `registry.spawn(7, ..)`.
///
/// `Display` prints the bare number, `7`; a sentence around it says "session 7".
///
/// # Examples
///
/// ```
/// use procession::SessionId;
///
/// let session = SessionId::from(7);
/// assert_eq!(session, SessionId::new(7));
/// assert_eq!(session.as_u64(), 7);
/// assert_eq!(session.to_string(), "7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) u64);

impl SessionId {
    /// Makes the id of session number `n`. Every number is legal.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl From<u64> for SessionId {
    fn from(n: u64) -> Self {
        Self(n)
    }
}

impl From<&Self> for SessionId {
    fn from(id: &Self) -> Self {
        *id
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The registry's own name for a process.
///
/// It is never reused in one registry, and it is never a pid: the kernel hands the same pid out
/// again, a `ProcessId` means one process for ever. Ids grow in the order in which the registry
/// accepted the processes, with gaps where a spawn failed.
///
/// `Display` prints the bare number, `12`; a sentence around it says "process 12".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub(crate) u64);

impl ProcessId {
    /// Makes an id, for a host's tests. A registry refuses ids that it did not hand out.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ordinal of one life of a session number, never reused in one registry.
///
/// Session numbers live again; whatever must not outlive one life of a number (marks, records,
/// operations under way) is keyed by this instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Life(pub(crate) u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_literal_is_a_session_without_a_suffix() {
        fn id(s: impl Into<SessionId>) -> SessionId {
            s.into()
        }
        assert_eq!(id(7), SessionId::new(7));
        let borrowed = &SessionId::new(7);
        assert_eq!(id(borrowed), *borrowed);
    }

    #[test]
    fn ids_print_as_bare_numbers_and_honour_the_width() {
        assert_eq!(SessionId(7).to_string(), "7");
        assert_eq!(format!("{:>4}", ProcessId(12)), "  12");
    }
}

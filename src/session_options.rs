//! [`SessionOptions`]: what a session asks for.

use std::sync::Arc;
use std::time::Duration;

use crate::containment::Containment;
use crate::session::SessionId;
use crate::stop::StopPolicy;

/// What a session asks for. Used by [`Registry::open_session`](crate::Registry::open_session).
///
/// # Examples
///
/// ```
/// use procession::{Registry, SessionOptions, StopPolicy};
/// use std::time::Duration;
///
/// let registry = Registry::new()?;
/// let options = SessionOptions::new()
///     .label("conversation 12")
///     .stop_policy(StopPolicy::stdio_server())
///     .idle_limit(Duration::from_secs(600));
/// let session = registry.open_session(options)?;
/// assert_eq!(session.label(), Some("conversation 12"));
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SessionOptions {
    pub(crate) id: Option<SessionId>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) stop_policy: Option<StopPolicy>,
    pub(crate) containment: Option<Containment>,
    pub(crate) max_processes: Option<usize>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) idle_limit: Option<Duration>,
    /// A sweep or a recovery has opened it, and nobody else has to do with it as yet.
    pub(crate) is_the_librarys: bool,
}

impl SessionOptions {
    /// A number of the registry's choosing, no label, no limits; all else as the registry has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// This number, which must not live. Without one the registry picks a number at or above 2^63 that it has never
    /// given before.
    pub fn id(mut self, id: impl Into<SessionId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// A name for people: it stands in the session's events, reports and log records. It needs not be unique.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How this session is ended where nothing else is said: by a limit, by [`Session::end`](crate::Session::end) and
    /// [`Registry::end_session`](crate::Registry::end_session). A shutdown has a policy of its own.
    pub fn stop_policy(mut self, policy: StopPolicy) -> Self {
        self.stop_policy = Some(policy);
        self
    }

    /// Exactly this tier for the processes of this session, or an error.
    pub fn containment(mut self, tier: Containment) -> Self {
        self.containment = Some(tier);
        self
    }

    /// How many processes it may have at once, if the registry's [`Limits`](crate::Limits) do not say less. Zero starts
    /// nothing.
    pub fn max_processes(mut self, processes: usize) -> Self {
        self.max_processes = Some(processes);
        self
    }

    /// How old the session may get: after that it is ended with the reason
    /// [`TimeLimit`](crate::Reason::TimeLimit), whether or not it has processes.
    ///
    /// Zero is at once; [`Duration::MAX`], and whatever no clock reaches, is never. An end that is under way by then goes
    /// on as it is.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// How long the session may be left alone: after that it is ended with the reason
    /// [`IdleLimit`](crate::Reason::IdleLimit).
    ///
    /// Counted from its opening, from each process that comes into it, and from each
    /// [`Session::touch`](crate::Session::touch). What its processes do meanwhile does not count.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle_limit = Some(limit);
        self
    }
}

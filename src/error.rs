//! [`Error`], its kinds, and [`AdoptError`].

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::process::Child;
use std::sync::Arc;
use std::{fmt, io};

use crate::session::SessionId;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with what it is about.
///
/// It is opaque and cheap to clone; [`kind`](Self::kind) is for decisions, the accessors say what
/// it is about, and [`source`](std::error::Error::source) is the system's own error where there is
/// one.
///
/// `Display` prints the operation, what happened and the context, and leaves the source to whoever
/// prints the chain: `spawn: cannot start "no-such-program" (session 7)`.
///
/// # Examples
///
/// ```
/// use procession::{Error, ErrorKind, Signal};
/// use std::io;
///
/// let error = Signal::try_from(99).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
///
/// // It travels through code that speaks io::Error, and comes out again.
/// let io_error = io::Error::from(error);
/// assert_eq!(io_error.kind(), io::ErrorKind::InvalidInput);
/// let inner = io_error.get_ref().and_then(|e| e.downcast_ref::<Error>());
/// assert_eq!(inner.map(Error::kind), Some(ErrorKind::InvalidInput));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    session: Option<SessionId>,
    pid: Option<u32>,
    program: Option<OsString>,
    detail: Option<Cow<'static, str>>,
    /// Shared, since `io::Error` cannot be cloned.
    source: Option<Arc<io::Error>>,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument that cannot be right: a signal number 99, a pid 0, an empty program.
    InvalidInput,
    /// The process could not be started; nothing of it is left. The source says why.
    SpawnFailed,
    /// A limit of [`Limits`](crate::Limits) is reached, and nothing was started.
    LimitReached,
    /// The time to wait for a slot passed, and nothing was started.
    TimedOut,
    /// The session is ending and accepts no new process.
    SessionEnding,
    /// This life of the session has ended.
    SessionEnded,
    /// The session's number is already in use.
    SessionInUse,
    /// The process belongs to another session of this registry.
    AlreadyRegistered,
    /// There is no such process.
    NoSuchProcess,
    /// The process is there and is not the one that was meant.
    NotTheProcess,
    /// The process has already exited.
    AlreadyExited,
    /// The system does not let this host do it (EPERM, EACCES). A process that says so is alive.
    NotPermitted,
    /// This platform, kernel or version cannot do it; [`Capabilities`](crate::Capabilities) says
    /// why.
    Unsupported,
    /// Another host holds the ledger.
    LedgerInUse,
    /// The ledger cannot be read or written.
    LedgerUnusable,
    /// The registry was shut down, as asked.
    ShutDown,
    /// The registry's thread is gone, which nobody asked for: a bug, or a descriptor that was
    /// closed under it.
    ReactorGone,
    /// The system refused something for another reason: no descriptors, no memory. The source says
    /// what.
    System,
}

impl Error {
    /// An error of this kind, in this operation, about nothing in particular yet.
    pub(crate) fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Arc::new(Inner {
            kind,
            operation,
            session: None,
            pid: None,
            program: None,
            detail: None,
            source: None,
        }))
    }

    /// Builds an error, for a host's tests.
    pub fn from_parts(kind: ErrorKind, operation: &'static str) -> Self {
        Self::new(kind, operation)
    }

    /// Says which session it is about.
    #[must_use]
    pub(crate) fn with_session(mut self, session: SessionId) -> Self {
        Arc::make_mut(&mut self.0).session = Some(session);
        self
    }

    /// Says which process it is about.
    #[must_use]
    pub(crate) fn with_pid(mut self, pid: u32) -> Self {
        Arc::make_mut(&mut self.0).pid = Some(pid);
        self
    }

    /// Says which program it is about.
    #[must_use]
    pub(crate) fn with_program(mut self, program: &OsStr) -> Self {
        Arc::make_mut(&mut self.0).program = Some(program.to_owned());
        self
    }

    /// Keeps what the system said. It becomes the source, and is not repeated in the message.
    #[must_use]
    pub(crate) fn with_source(mut self, source: io::Error) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// Adds what the kind alone does not say: lower case, no full stop, not the source again.
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        Arc::make_mut(&mut self.0).detail = Some(detail.into());
        self
    }

    /// What kind of thing went wrong, for decisions.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The session that it is about.
    pub fn session(&self) -> Option<SessionId> {
        self.0.session
    }

    /// The pid that it is about. By now it may be another process's.
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// The program that could not be started.
    pub fn program(&self) -> Option<&OsStr> {
        self.0.program.as_deref()
    }

    /// The name of the call that failed, such as `spawn` or `end_session`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The errno behind it, where the system said one.
    ///
    /// Ask before converting into an [`io::Error`]: that one carries this error and not the errno.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_deref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            operation,
            session,
            pid,
            program,
            detail,
            source,
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("operation", operation)
            .field("session", session)
            .field("pid", pid)
            .field("program", program)
            .field("detail", detail)
            .field("source", source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{}: {}", inner.operation, inner.kind)?;
        let mut context = Vec::new();
        if let Some(program) = &inner.program {
            // A program that could not be started is the object of its sentence, not context.
            if inner.kind == ErrorKind::SpawnFailed {
                write!(f, " {program:?}")?;
            } else {
                context.push(format!("program {program:?}"));
            }
        } else if inner.kind == ErrorKind::SpawnFailed {
            f.write_str(" the process")?;
        }
        context.extend(inner.session.map(|session| format!("session {session}")));
        context.extend(inner.pid.map(|pid| format!("pid {pid}")));
        if !context.is_empty() {
            write!(f, " ({})", context.join(", "))?;
        }
        match &inner.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InvalidInput => "invalid input",
            Self::SpawnFailed => "cannot start",
            Self::LimitReached => "the limit of living processes is reached",
            Self::TimedOut => "timed out",
            Self::SessionEnding => "the session is ending",
            Self::SessionEnded => "the session has ended",
            Self::SessionInUse => "the session's number is in use",
            Self::AlreadyRegistered => "the process belongs to another session",
            Self::NoSuchProcess => "no such process",
            Self::NotTheProcess => "not the process that was meant",
            Self::AlreadyExited => "the process has already exited",
            Self::NotPermitted => "not permitted",
            Self::Unsupported => "not supported here",
            Self::LedgerInUse => "another host holds the ledger",
            Self::LedgerUnusable => "the ledger cannot be used",
            Self::ShutDown => "the registry was shut down",
            Self::ReactorGone => "the registry's thread is gone",
            Self::System => "the system refused",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<Error> for io::Error {
    /// Wraps the error: `get_ref()` and a downcast give it back.
    ///
    /// The new error's kind is the nearest of the standard library's. Its `raw_os_error()` is
    /// `None`, as always where an `io::Error` wraps another error; [`Error::raw_os_error`] still
    /// knows.
    fn from(error: Error) -> Self {
        Self::new(io_kind(&error), error)
    }
}

fn io_kind(error: &Error) -> io::ErrorKind {
    match error.kind() {
        ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
        ErrorKind::SpawnFailed | ErrorKind::System => error
            .0
            .source
            .as_ref()
            .map_or(io::ErrorKind::Other, |source| source.kind()),
        ErrorKind::TimedOut => io::ErrorKind::TimedOut,
        ErrorKind::LimitReached => io::ErrorKind::QuotaExceeded,
        ErrorKind::SessionInUse | ErrorKind::AlreadyRegistered => io::ErrorKind::AlreadyExists,
        ErrorKind::NoSuchProcess
        | ErrorKind::NotTheProcess
        | ErrorKind::AlreadyExited
        | ErrorKind::SessionEnded => io::ErrorKind::NotFound,
        ErrorKind::NotPermitted => io::ErrorKind::PermissionDenied,
        ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        ErrorKind::SessionEnding | ErrorKind::LedgerInUse => io::ErrorKind::ResourceBusy,
        ErrorKind::LedgerUnusable => io::ErrorKind::InvalidData,
        ErrorKind::ShutDown | ErrorKind::ReactorGone => io::ErrorKind::BrokenPipe,
    }
}

/// Why a child was not adopted, with the child.
///
/// It has no `From` into [`Error`]: a `?` would drop a living child, which then runs on, unwatched
/// and unreaped.
///
/// `Display` prints what the [`error`](Self::error) prints, and its source is that error's source.
#[derive(Debug)]
pub struct AdoptError {
    error: Error,
    // Boxed, since a `Child` is several times the size of what a `Result` should carry about.
    child: Box<Child>,
}

impl AdoptError {
    pub(crate) fn new(error: Error, child: Child) -> Self {
        Self {
            error,
            child: Box::new(child),
        }
    }

    /// Why.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Why, and the child, which is the caller's again as it was.
    pub fn into_parts(self) -> (Error, Child) {
        (self.error, *self.child)
    }
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::process::Command;

    use super::*;

    fn not_found() -> io::Error {
        // ENOENT, whose text a message must not repeat.
        io::Error::from_raw_os_error(2)
    }

    fn failed_spawn() -> Error {
        Error::new(ErrorKind::SpawnFailed, "spawn")
            .with_session(SessionId(7))
            .with_program(OsStr::new("no-such-program"))
            .with_source(not_found())
    }

    #[test]
    fn the_message_says_what_failed_and_leaves_the_source_to_the_chain() {
        let error = failed_spawn();
        assert_eq!(
            error.to_string(),
            "spawn: cannot start \"no-such-program\" (session 7)"
        );
        let source = error.source().map(ToString::to_string);
        assert_eq!(source, Some(not_found().to_string()));
        assert_eq!(error.raw_os_error(), Some(2));
        assert_eq!(error.program(), Some(OsStr::new("no-such-program")));
    }

    #[test]
    fn the_message_has_all_the_context_there_is() {
        let bare = |kind| Error::new(kind, "attach");
        assert_eq!(
            bare(ErrorKind::NoSuchProcess).with_pid(4711).to_string(),
            "attach: no such process (pid 4711)"
        );
        assert_eq!(
            bare(ErrorKind::AlreadyRegistered)
                .with_session(SessionId(7))
                .with_pid(4711)
                .with_detail("of session 8")
                .to_string(),
            "attach: the process belongs to another session (session 7, pid 4711): of session 8"
        );
        assert_eq!(
            bare(ErrorKind::SpawnFailed).to_string(),
            "attach: cannot start the process"
        );
        assert_eq!(
            bare(ErrorKind::InvalidInput)
                .with_program(OsStr::new("a\nb"))
                .to_string(),
            "attach: invalid input (program \"a\\nb\")"
        );
    }

    #[test]
    fn a_clone_shares_and_a_changed_clone_leaves_the_first_as_it_was() {
        let first = failed_spawn();
        let second = first.clone().with_pid(1);
        assert_eq!((first.pid(), second.pid()), (None, Some(1)));
        assert_eq!(second.raw_os_error(), Some(2));
    }

    #[test]
    fn an_io_error_carries_the_error_and_its_nearest_kind() {
        let io = io::Error::from(failed_spawn());
        assert_eq!(io.kind(), io::ErrorKind::NotFound);
        assert_eq!(io.raw_os_error(), None);
        let inner = io.get_ref().and_then(|e| e.downcast_ref::<Error>());
        assert_eq!(inner.and_then(Error::raw_os_error), Some(2));

        let kind = |kind| io::Error::from(Error::new(kind, "wait")).kind();
        assert_eq!(kind(ErrorKind::TimedOut), io::ErrorKind::TimedOut);
        assert_eq!(kind(ErrorKind::System), io::ErrorKind::Other);
        assert_eq!(kind(ErrorKind::ShutDown), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_refused_child_comes_back_alive_to_its_owner() {
        let child = Command::new("true").spawn().expect("true can be started");
        let pid = child.id();
        let refused = AdoptError::new(failed_spawn(), child);
        assert_eq!(refused.to_string(), refused.error().to_string());
        assert!(refused.source().is_some());

        let (error, mut child) = refused.into_parts();
        assert_eq!(error.kind(), ErrorKind::SpawnFailed);
        assert_eq!(child.id(), pid);
        assert!(
            child
                .wait()
                .expect("it is still to be waited for")
                .success()
        );
    }

    #[test]
    fn errors_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        crosses::<AdoptError>();
    }
}

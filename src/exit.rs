//! [`Exit`]: how, when and why a process ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use crate::event::Reason;
use crate::signal::Signal;

/// How, when and why a process ended.
///
/// `Display` prints `exited with code 3`, `killed by SIGKILL (asked: SIGKILL, time limit)` or
/// `status unknown`.
///
/// # Examples
///
/// ```
/// use procession::{Exit, Reason, Signal, Status};
/// use std::time::Instant;
///
/// let killed = Status::Signal { signal: Signal::KILL, core_dumped: false };
/// let exit = Exit::from_parts(killed, Some((Signal::KILL, Reason::TimeLimit)), Instant::now());
/// assert!(!exit.success());
/// assert_eq!(exit.signal(), Some(Signal::KILL));
/// assert_eq!(exit.to_string(), "killed by SIGKILL (asked: SIGKILL, time limit)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    pub(crate) status: Status,
    pub(crate) source: StatusSource,
    pub(crate) asked: Option<(Signal, Reason)>,
    pub(crate) at: Instant,
    pub(crate) wall_clock: SystemTime,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) usage: Option<Usage>,
}

impl Exit {
    /// Builds an exit, for a host's tests.
    ///
    /// Its source is [`StatusSource::Waited`], or [`StatusSource::Unavailable`] for a status that
    /// is unknown; its wall clock is the Unix epoch; lifetime and usage are not known.
    pub fn from_parts(status: Status, asked: Option<(Signal, Reason)>, at: Instant) -> Self {
        let source = match status {
            Status::Code(_) | Status::Signal { .. } => StatusSource::Waited,
            Status::Unknown => StatusSource::Unavailable,
        };
        Self {
            status,
            source,
            asked,
            at,
            wall_clock: SystemTime::UNIX_EPOCH,
            lifetime: None,
            usage: None,
        }
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the process exited with code 0. An unknown status is no success.
    pub fn success(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// The exit code, unless a signal ended the process or the status is unknown.
    pub fn code(&self) -> Option<i32> {
        match self.status {
            Status::Code(code) => Some(code),
            Status::Signal { .. } | Status::Unknown => None,
        }
    }

    /// The signal that ended the process.
    pub fn signal(&self) -> Option<Signal> {
        match self.status {
            Status::Signal { signal, .. } => Some(signal),
            Status::Code(_) | Status::Unknown => None,
        }
    }

    /// Where the status comes from.
    pub fn source(&self) -> StatusSource {
        self.source
    }

    /// The last signal that this registry sent to the process before it died, and for which reason.
    ///
    /// `None` means that nobody here asked: a crash, a stranger's signal, or its own will. That it
    /// was asked does not say that it died of it: a process can exit by itself while a signal is on
    /// its way.
    pub fn asked(&self) -> Option<(Signal, Reason)> {
        self.asked
    }

    /// When the exit was seen, on the monotonic clock.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// When the exit was seen, on the wall clock. For people; the wall clock can be set back.
    pub fn wall_clock(&self) -> SystemTime {
        self.wall_clock
    }

    /// How long the process lived, from its start to when its exit was seen. `None` if its start is
    /// not known.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// What the process used. `None` where it was not this registry that reaped it, and on macOS of what did not run as this
    /// host's user.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match self.asked {
            Some((signal, reason)) => write!(f, " (asked: {signal}, {reason})"),
            None => Ok(()),
        }
    }
}

/// How a process ended.
///
/// `Display` prints `exited with code 3`, `killed by SIGSEGV, core dumped` or `status unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited by itself with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// It is dead, and how it ended cannot be learned: someone else took the status, and the kernel
    /// keeps no second copy. Never replaced by an invented 0.
    Unknown,
}

impl Status {
    /// What a shell would show in `$?`: the code, or 128 and the number of the signal. `None` if
    /// the status is unknown.
    ///
    /// ```
    /// use procession::{Signal, Status};
    ///
    /// assert_eq!(Status::Code(3).shell_code(), Some(3));
    /// let killed = Status::Signal { signal: Signal::KILL, core_dumped: false };
    /// assert_eq!(killed.shell_code(), Some(137));
    /// assert_eq!(Status::Unknown.shell_code(), None);
    /// ```
    pub fn shell_code(self) -> Option<u8> {
        match self {
            // A shell sees the low eight bits; so does everyone who calls waitpid.
            Self::Code(code) => Some(code.to_le_bytes()[0]),
            Self::Signal { signal, .. } => u8::try_from(128 + signal.as_raw()).ok(),
            Self::Unknown => None,
        }
    }
}

impl From<ExitStatus> for Status {
    /// A status that says neither exited nor killed (stopped, continued) is
    /// [`Unknown`](Self::Unknown).
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal {
                signal: Signal(signal),
                core_dumped: status.core_dumped(),
            },
            (None, None) => Self::Unknown,
        }
    }
}

impl TryFrom<Status> for ExitStatus {
    type Error = Status;

    /// # Errors
    ///
    /// Gives the status back if it is [`Unknown`](Status::Unknown) or a code that is not from 0 to
    /// 255: the standard library's type has no room for either.
    fn try_from(status: Status) -> std::result::Result<Self, Status> {
        // The layout of a wait status, the same on every Unix: code in bits 8 to 15, signal in 0 to
        // 6, core dump in 7.
        match status {
            Status::Code(code) if (0..=255).contains(&code) => Ok(Self::from_raw(code << 8)),
            Status::Signal {
                signal,
                core_dumped,
            } => Ok(Self::from_raw(
                signal.as_raw() | if core_dumped { 0x80 } else { 0 },
            )),
            Status::Code(_) | Status::Unknown => Err(status),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal {
                signal,
                core_dumped,
            } => {
                let core = if *core_dumped { ", core dumped" } else { "" };
                write!(f, "killed by {signal}{core}")
            }
            Self::Unknown => f.write_str("status unknown"),
        }
    }
}

/// Where a status comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusSource {
    /// `waitid`: the process was a child of this host, and the registry reaped it.
    Waited,
    /// `PIDFD_GET_INFO` on the pidfd (Linux 6.15), after someone else reaped the process.
    PidfdInfo,
    /// The note of a kqueue (macOS, FreeBSD).
    KqueueNote,
    /// The message of a session's keeper process.
    Keeper,
    /// Nowhere: the status is [`Status::Unknown`].
    Unavailable,
}

/// What a process and the children that it waited for used, as `getrusage` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in the program itself.
    pub user: Duration,
    /// Processor time in the kernel on its behalf.
    pub system: Duration,
    /// The largest resident set at any time, in bytes. `None` on macOS, where only a wait that reaps tells it.
    pub max_rss_bytes: Option<u64>,
}

/// What the processes of a session have used, descendants included as far as they are known.
///
/// Where the session had a cgroup the kernel has counted it there. Elsewhere it is the sum of what the exits of its members
/// have told; those of descendants that their own parents have not waited for are missing from it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SessionUsage {
    /// Processor time, in the programs and in the kernel on their behalf.
    pub cpu: Duration,
    /// The most memory at any time of all of them together, in bytes. From a cgroup with the memory controller alone.
    pub peak_memory_bytes: Option<u64>,
    /// How often the kernel has killed one of them for want of memory. From a cgroup with the memory controller alone.
    pub oom_kills: Option<u64>,
    /// Nothing was used beside this: every process was in the session's cgroup from its birth, and none could leave it.
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn killed(signal: Signal) -> Status {
        Status::Signal {
            signal,
            core_dumped: false,
        }
    }

    fn exit(status: Status, asked: Option<(Signal, Reason)>) -> Exit {
        #[expect(clippy::disallowed_methods, reason = "the time is not what is tested")]
        Exit::from_parts(status, asked, Instant::now())
    }

    #[test]
    fn an_exit_says_how_and_who_asked() {
        let asked = Some((Signal::KILL, Reason::TimeLimit));
        let text = |status, asked| exit(status, asked).to_string();
        assert_eq!(text(Status::Code(3), None), "exited with code 3");
        assert_eq!(
            text(killed(Signal::KILL), asked),
            "killed by SIGKILL (asked: SIGKILL, time limit)"
        );
        assert_eq!(
            text(Status::Code(0), asked),
            "exited with code 0 (asked: SIGKILL, time limit)"
        );
        assert_eq!(text(Status::Unknown, None), "status unknown");
        let dumped = Status::Signal {
            signal: Signal::SEGV,
            core_dumped: true,
        };
        assert_eq!(text(dumped, None), "killed by SIGSEGV, core dumped");
    }

    #[test]
    fn an_unknown_status_is_neither_success_nor_code_nor_signal() {
        let exit = exit(Status::Unknown, None);
        assert!(!exit.success());
        assert_eq!((exit.code(), exit.signal()), (None, None));
        assert_eq!(exit.source(), StatusSource::Unavailable);
        assert_eq!(exit.status().shell_code(), None);
        assert_eq!(ExitStatus::try_from(Status::Unknown), Err(Status::Unknown));
    }

    #[test]
    fn a_shell_would_show_the_code_or_128_and_the_signal() {
        assert_eq!(Status::Code(255).shell_code(), Some(255));
        assert_eq!(killed(Signal::TERM).shell_code(), Some(143));
        assert_eq!(killed(Signal(64)).shell_code(), Some(192));
    }

    #[test]
    fn a_stopped_process_has_no_status() {
        let stopped = ExitStatus::from_raw(0x137f);
        assert_eq!(Status::from(stopped), Status::Unknown);
    }

    #[test]
    fn a_code_beyond_eight_bits_has_no_room_in_the_standard_type() {
        for code in [-1, 256] {
            let status = Status::Code(code);
            assert_eq!(ExitStatus::try_from(status), Err(status));
        }
    }

    proptest! {
        #[test]
        fn a_status_survives_the_standard_librarys_type(code in 0..=255, signal in 1..=64, core_dumped: bool) {
            let signal = Signal::try_from(signal).unwrap();
            for status in [Status::Code(code), Status::Signal { signal, core_dumped }] {
                let std = ExitStatus::try_from(status).unwrap();
                prop_assert_eq!(Status::from(std), status);
                prop_assert_eq!(std.success(), exit(status, None).success());
            }
        }
    }
}

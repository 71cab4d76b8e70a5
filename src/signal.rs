//! [`Signal`]: a signal's number and its names.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal as Named;

use crate::error::{Error, ErrorKind, Result};

/// A signal: a number from 1 to 64.
///
/// The constants carry this platform's numbers: SIGUSR1 is 10 on Linux and 30 on macOS. Numbers
/// without a constant, the real-time signals above all, come from `TryFrom<i32>` or from a name.
///
/// `Display` prints `SIGTERM`, `SIGRTMIN+3` or, for the numbers that the C library keeps for
/// itself, `signal 32`; what is printed can be parsed again.
///
/// # Examples
///
/// ```
/// use procession::Signal;
///
/// let signal: Signal = "term".parse()?;
/// assert_eq!(signal, Signal::TERM);
/// assert_eq!(signal.to_string(), "SIGTERM");
/// assert_eq!(Signal::try_from(9)?, Signal::KILL);
/// assert!(Signal::try_from(0).is_err());
/// # Ok::<(), procession::Error>(())
/// ```
///
/// # Portability
///
/// Real-time signals are named from 34 upwards, as glibc, `kill -l` and systemd number them. musl
/// starts at 35, macOS has none; there the kernel refuses what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(pub(crate) i32);

/// The largest signal number that is accepted: `_NSIG` of Linux.
const MAX: i32 = 64;
/// SIGRTMIN as programs see it: the kernel's 32, and two that the C library keeps for its threads.
const RT_MIN: i32 = 34;

/// One line for each signal with a name on every platform: the constant, its names, its number.
macro_rules! named {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $number:expr;)*) => {
        impl Signal {
            $($(#[$doc])* pub const $constant: Self = Self($number.as_raw());)*
        }

        /// Every signal with a constant, and its name.
        const NAMED: &[(Signal, &str)] = &[$((Signal::$constant, $name)),*];
    };
}

named! {
    /// SIGHUP: the terminal is gone; by convention, read the configuration again.
    HUP = "SIGHUP", Named::HUP;
    /// SIGINT: what Ctrl-C sends.
    INT = "SIGINT", Named::INT;
    /// SIGQUIT: what Ctrl-\ sends; the default action dumps core.
    QUIT = "SIGQUIT", Named::QUIT;
    /// SIGILL: an illegal instruction.
    ILL = "SIGILL", Named::ILL;
    /// SIGTRAP: a breakpoint.
    TRAP = "SIGTRAP", Named::TRAP;
    /// SIGABRT: `abort()`, a failed assertion, a Rust panic with `panic = "abort"`.
    ABRT = "SIGABRT", Named::ABORT;
    /// SIGBUS: a bad memory access, such as beyond the end of a mapped file.
    BUS = "SIGBUS", Named::BUS;
    /// SIGFPE: an arithmetic fault.
    FPE = "SIGFPE", Named::FPE;
    /// SIGKILL: ends the process, which can neither catch nor ignore it. Always the last rung of a
    /// stop policy.
    KILL = "SIGKILL", Named::KILL;
    /// SIGUSR1: the program's own meaning.
    USR1 = "SIGUSR1", Named::USR1;
    /// SIGSEGV: an invalid memory access.
    SEGV = "SIGSEGV", Named::SEGV;
    /// SIGUSR2: the program's own meaning.
    USR2 = "SIGUSR2", Named::USR2;
    /// SIGPIPE: a write to a pipe that nobody reads.
    PIPE = "SIGPIPE", Named::PIPE;
    /// SIGALRM: the timer of `alarm()`.
    ALRM = "SIGALRM", Named::ALARM;
    /// SIGTERM: the polite request to end.
    TERM = "SIGTERM", Named::TERM;
    /// SIGCHLD: a child changed its state.
    CHLD = "SIGCHLD", Named::CHILD;
    /// SIGCONT: a stopped process continues.
    CONT = "SIGCONT", Named::CONT;
    /// SIGSTOP: stops the process, which can neither catch nor ignore it.
    STOP = "SIGSTOP", Named::STOP;
    /// SIGTSTP: what Ctrl-Z sends.
    TSTP = "SIGTSTP", Named::TSTP;
    /// SIGTTIN: a background process read from the terminal.
    TTIN = "SIGTTIN", Named::TTIN;
    /// SIGTTOU: a background process wrote to the terminal.
    TTOU = "SIGTTOU", Named::TTOU;
    /// SIGURG: urgent data on a socket.
    URG = "SIGURG", Named::URG;
    /// SIGXCPU: more processor time than `RLIMIT_CPU`.
    XCPU = "SIGXCPU", Named::XCPU;
    /// SIGXFSZ: a larger file than `RLIMIT_FSIZE`.
    XFSZ = "SIGXFSZ", Named::XFSZ;
    /// SIGVTALRM: the virtual timer of `setitimer()`.
    VTALRM = "SIGVTALRM", Named::VTALARM;
    /// SIGPROF: the profiling timer of `setitimer()`.
    PROF = "SIGPROF", Named::PROF;
    /// SIGWINCH: the terminal changed its size.
    WINCH = "SIGWINCH", Named::WINCH;
    /// SIGIO, also SIGPOLL: input or output is possible.
    IO = "SIGIO", Named::IO;
    /// SIGSYS: a forbidden system call, such as under seccomp.
    SYS = "SIGSYS", Named::SYS;
}

/// Other names of the same signals, understood and never printed.
const ALIASES: &[(Signal, &str)] = &[
    (Signal::ABRT, "SIGIOT"),
    (Signal::CHLD, "SIGCLD"),
    (Signal::IO, "SIGPOLL"),
];

/// Signals that Linux alone has. The BSDs use both numbers for a signal of [`NAMED`], which is
/// asked first, so the numbers can stand here without asking for the platform.
const LINUX_ONLY: &[(Signal, &str)] = &[(Signal(16), "SIGSTKFLT"), (Signal(30), "SIGPWR")];

impl Signal {
    /// The signal's number on this platform.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// The signal's name, `SIGTERM`; `None` for real-time signals, which have none of their own.
    pub fn name(self) -> Option<&'static str> {
        let mut names = NAMED.iter().chain(LINUX_ONLY);
        names
            .find(|(signal, _)| *signal == self)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.0) {
            (Some(name), _) => f.pad(name),
            (None, RT_MIN) => f.pad("SIGRTMIN"),
            (None, n) if n > RT_MIN => f.pad(&format!("SIGRTMIN+{}", n - RT_MIN)),
            (None, n) => f.pad(&format!("signal {n}")),
        }
    }
}

impl TryFrom<i32> for Signal {
    type Error = Error;

    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for what is not from 1 to 64. That includes 0, the null signal
    /// of `kill(2)`, which sends nothing.
    fn try_from(n: i32) -> Result<Self> {
        if (1..=MAX).contains(&n) {
            Ok(Self(n))
        } else {
            Err(Error::new(ErrorKind::InvalidInput, "signal")
                .with_detail(format!("{n} is not a signal number (1 to {MAX})")))
        }
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// Understands `TERM`, `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`, and all that `Display`
    /// prints.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for everything else.
    fn from_str(s: &str) -> Result<Self> {
        let no_signal = || {
            Error::new(ErrorKind::InvalidInput, "signal")
                .with_detail(format!("{s:?} is not the name of a signal"))
        };
        let upper = s.trim().to_ascii_uppercase();
        let digits = upper.strip_prefix("SIGNAL ").unwrap_or(&upper);
        // What has a plus sign is neither printed nor meant.
        let number = digits.parse::<i32>();
        if let Some(n) = number.ok().filter(|_| !digits.starts_with('+')) {
            return Self::try_from(n);
        }
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let mut names = NAMED.iter().chain(LINUX_ONLY).chain(ALIASES);
        if let Some((signal, _)) = names.find(|(_, long)| &long[3..] == name) {
            // A name of Linux stands for a number that may be another signal here.
            return match signal.name() {
                Some(long) if long[3..] != *name && !is_alias(name) => Err(no_signal()),
                Some(_) | None => Ok(*signal),
            };
        }
        real_time(name).map(Self).ok_or_else(no_signal)
    }
}

fn is_alias(name: &str) -> bool {
    ALIASES.iter().any(|(_, long)| &long[3..] == name)
}

/// The number of `RTMIN`, `RTMIN+n`, `RTMAX` or `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        match offset.strip_prefix('+') {
            Some(n) => RT_MIN.checked_add(distance(n)?)?,
            None if offset.is_empty() => RT_MIN,
            None => return None,
        }
    } else {
        let offset = name.strip_prefix("RTMAX")?;
        match offset.strip_prefix('-') {
            Some(n) => MAX.checked_sub(distance(n)?)?,
            None if offset.is_empty() => MAX,
            None => return None,
        }
    };
    (RT_MIN..=MAX).contains(&number).then_some(number)
}

/// Digits, and no second sign before them.
fn distance(digits: &str) -> Option<i32> {
    let number = digits.parse::<u8>().ok()?;
    (!digits.starts_with('+')).then_some(i32::from(number))
}

/// Reads any text, and holds what it is taken for against all spellings of each signal.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = text.parse::<Signal>().ok();
    let upper = text.trim().to_ascii_uppercase();
    let mut meant = (1..=MAX)
        .map(Signal)
        .filter(|&signal| spells(&upper, signal));
    assert_eq!(read, meant.next(), "{text:?}");
    assert_eq!(meant.next(), None, "{text:?} means one signal");
    if let Some(signal) = read {
        assert_eq!(signal.to_string().parse::<Signal>().ok(), Some(signal));
    }
}

/// Whether a text in capitals is one of the names of a signal, or its number.
#[cfg(fuzzing)]
fn spells(text: &str, signal: Signal) -> bool {
    // Digits alone, with zeros before them perhaps.
    let is_number = |text: &str, number: i32| {
        let significant = text.trim_start_matches('0');
        let expected = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        !text.is_empty() && significant == expected
    };
    if is_number(text.strip_prefix("SIGNAL ").unwrap_or(text), signal.0) {
        return true;
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let mut aliases = ALIASES.iter().filter(|(named, _)| *named == signal);
    if signal.name() == Some(&*format!("SIG{name}")) || aliases.any(|(_, long)| &long[3..] == name)
    {
        return true;
    }
    let is_offset = |from: &str, offset: i32| {
        let digits = name.strip_prefix(from);
        digits.is_some_and(|digits| is_number(digits, offset))
    };
    let ends = [("RTMIN", RT_MIN), ("RTMAX", MAX)];
    signal.0 >= RT_MIN
        && (ends.contains(&(name, signal.0))
            || is_offset("RTMIN+", signal.0 - RT_MIN)
            || is_offset("RTMAX-", MAX - signal.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_parsed_again_for_every_number() {
        for n in 1..=MAX {
            let signal = Signal::try_from(n).unwrap();
            assert_eq!(signal.as_raw(), n);
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
    }

    #[test]
    fn every_name_is_unique() {
        for (i, (signal, name)) in NAMED.iter().enumerate() {
            assert!(name.starts_with("SIG"));
            for (other, other_name) in &NAMED[i + 1..] {
                assert_ne!(signal, other);
                assert_ne!(name, other_name);
            }
        }
    }

    #[test]
    fn names_are_understood_with_and_without_prefix_in_any_case() {
        for text in ["TERM", "SIGTERM", "term", "SigTerm", " 15 ", "signal 15"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::TERM, "{text:?}");
        }
        assert_eq!("SIGPOLL".parse::<Signal>().unwrap(), Signal::IO);
        assert_eq!("iot".parse::<Signal>().unwrap(), Signal::ABRT);
        assert_eq!("RTMIN+3".parse::<Signal>().unwrap(), Signal(37));
        assert_eq!("SIGRTMAX-1".parse::<Signal>().unwrap(), Signal(63));
        assert_eq!("rtmin".parse::<Signal>().unwrap(), Signal(34));
    }

    #[test]
    fn what_is_not_a_signal_is_refused_by_name() {
        for text in [
            "",
            "SIG",
            "SIGSIG",
            "0",
            "-1",
            "65",
            "+15",
            "signal +15",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN++1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMAX-+1",
            "é",
        ] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        }
        let error = Signal::try_from(65).unwrap_err();
        assert_eq!(
            error.to_string(),
            "signal: invalid input: 65 is not a signal number (1 to 64)"
        );
        assert!(Signal::try_from(i32::MIN).is_err());
    }

    #[test]
    fn real_time_signals_print_relative_to_their_first() {
        assert_eq!(Signal(32).to_string(), "signal 32");
        assert_eq!(Signal(34).to_string(), "SIGRTMIN");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
        assert_eq!(Signal(37).name(), None);
        assert_eq!(format!("{:<8}|", Signal::KILL), "SIGKILL |");
    }
}

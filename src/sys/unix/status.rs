//! What a wait status says.

use crate::exit::Status;
use crate::signal::Signal;

/// The status in a word as `wait(2)` returns it.
pub(in crate::sys) fn status_of_word(word: i32) -> Status {
    if libc::WIFEXITED(word) {
        Status::Code(libc::WEXITSTATUS(word))
    } else if libc::WIFSIGNALED(word) {
        Status::Signal {
            signal: Signal(libc::WTERMSIG(word)),
            core_dumped: libc::WCOREDUMP(word),
        }
    } else {
        Status::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(signal: i32, core_dumped: bool) -> Status {
        Status::Signal {
            signal: Signal(signal),
            core_dumped,
        }
    }

    #[test]
    fn a_word_is_a_code_or_a_signal_with_or_without_a_core() {
        assert_eq!(status_of_word(0), Status::Code(0));
        assert_eq!(status_of_word(255 << 8), Status::Code(255));
        assert_eq!(status_of_word(9), killed(9, false));
        assert_eq!(status_of_word(11 | 0x80), killed(11, true));
    }

    #[test]
    fn a_word_of_a_stop_is_unknown() {
        assert_eq!(status_of_word(0x7f | (17 << 8)), Status::Unknown);
    }
}

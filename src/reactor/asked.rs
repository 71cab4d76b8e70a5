//! What was asked of a process, and why, in one number.

use crate::event::Reason;
use crate::signal::Signal;

/// All reasons, in the order of their codes. Zero stands for "nothing was asked".
const REASONS: [Reason; 8] = [
    Reason::Host,
    Reason::Policy,
    Reason::TimeLimit,
    Reason::IdleLimit,
    Reason::Reaper,
    Reason::Recovery,
    Reason::Shutdown,
    Reason::Drop,
];

/// One number, so that the thread that sees the exit reads signal and reason of the same sending.
pub(super) fn encode_asked(signal: Signal, reason: Reason) -> u32 {
    let code = REASONS
        .iter()
        .position(|&known| known == reason)
        .unwrap_or(0);
    // Signals are 1 to 64, reasons 0 to 7.
    (u32::try_from(signal.as_raw()).unwrap_or(0) << 8) | u32::try_from(code).unwrap_or(0)
}

pub(super) fn decode_asked(asked: u32) -> Option<(Signal, Reason)> {
    let signal = i32::try_from(asked >> 8).ok().filter(|&raw| raw > 0)?;
    let reason = REASONS.get(usize::try_from(asked & 0xff).ok()?)?;
    Some((Signal(signal), *reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_survives_its_encoding() {
        for reason in REASONS {
            for raw in 1..=64 {
                let asked = (Signal(raw), reason);
                assert_eq!(decode_asked(encode_asked(asked.0, asked.1)), Some(asked));
            }
        }
        assert_eq!(decode_asked(0), None);
    }
}

//! What a process has used, from what kernels tell of it.

#![allow(
    dead_code,
    reason = "each kernel tells it in its own way, and takes its own of these"
)]

use std::time::Duration;

use crate::exit::Usage;

/// Seconds and microseconds, neither of which is ever negative.
pub(in crate::sys) fn duration(seconds: impl Into<i64>, micros: impl Into<i64>) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(seconds.into()).unwrap_or(0));
    seconds.saturating_add(Duration::from_micros(
        u64::try_from(micros.into()).unwrap_or(0),
    ))
}

/// A size in KiB.
pub(in crate::sys) fn bytes(kib: impl Into<i64>) -> Option<u64> {
    let kib = u64::try_from(kib.into()).ok()?;
    Some(kib.saturating_mul(1024))
}

/// What a process and the children that it has waited for have used, where the two are told apart.
pub(in crate::sys) fn together(own: Usage, children: Usage) -> Usage {
    Usage {
        user: own.user.saturating_add(children.user),
        system: own.system.saturating_add(children.system),
        max_rss_bytes: own.max_rss_bytes.max(children.max_rss_bytes),
    }
}

/// So many ticks of a clock, each of which takes this fraction of nanoseconds.
pub(in crate::sys) fn of_ticks(ticks: u64, numerator: u32, denominator: u32) -> Duration {
    let nanos = u128::from(ticks) * u128::from(numerator) / u128::from(denominator.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// So long in ticks of which each takes this fraction of nanoseconds.
pub(in crate::sys) fn in_ticks(time: Duration, numerator: u32, denominator: u32) -> u64 {
    let nanos = time.as_nanos().min(u128::from(u64::MAX));
    let ticks = nanos * u128::from(denominator) / u128::from(numerator.max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_and_microseconds_and_sizes_are_in_kib() {
        assert_eq!(duration(1, 500_000), Duration::from_millis(1500));
        assert_eq!(duration(0, 20), Duration::from_micros(20));
        assert_eq!(duration(-1, -1), Duration::ZERO);
        assert_eq!(bytes(2048), Some(2 << 20));
        assert_eq!(bytes(-1), None);
    }

    #[test]
    fn children_add_time_and_no_memory() {
        let usage = |seconds, rss| Usage {
            user: Duration::from_secs(seconds),
            system: Duration::from_secs(seconds + 1),
            max_rss_bytes: rss,
        };
        let both = together(usage(1, Some(5)), usage(3, Some(4)));
        assert_eq!(both.user, Duration::from_secs(4));
        assert_eq!(both.system, Duration::from_secs(6));
        assert_eq!(both.max_rss_bytes, Some(5));
        let untold = together(usage(1, None), usage(3, None));
        assert_eq!(untold.max_rss_bytes, None);
    }

    /// 125/3 nanoseconds on Apple's own processors, 1/1 on Intel's.
    #[test]
    fn ticks_are_not_nanoseconds() {
        assert_eq!(of_ticks(24_000_000, 125, 3), Duration::from_secs(1));
        assert_eq!(of_ticks(7, 1, 1), Duration::from_nanos(7));
        assert_eq!(of_ticks(7, 1, 0), Duration::from_nanos(7));
        assert_eq!(of_ticks(u64::MAX, 125, 3), Duration::from_nanos(u64::MAX));
    }
    /// Of Linux, of FreeBSD, of both of Apple's processors.
    #[test]
    fn two_seconds_are_another_number_of_ticks_on_every_kernel() {
        let two = Duration::from_secs(2);
        assert_eq!(in_ticks(two, 1_000_000_000, 100), 200);
        assert_eq!(in_ticks(two, 1_000, 1), 2_000_000);
        assert_eq!(in_ticks(two, 1, 1), 2_000_000_000);
        assert_eq!(in_ticks(two, 125, 3), 48_000_000);
        assert_eq!(in_ticks(Duration::MAX, 1, u32::MAX), u64::MAX);
        assert_eq!(in_ticks(two, 0, 1), 2_000_000_000);
    }
}

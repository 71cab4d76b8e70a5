//! Sleeping in `poll(2)` on descriptors, to an absolute deadline.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// No sleep is longer than this: a deadline beyond it is reached in several, so that no kernel's arithmetic is trusted
/// with a number near its end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Sleeps until one of the descriptors has something to say, and tells whether one has; `false` is the deadline.
///
/// `None` sleeps for ever; a deadline that has passed makes it a look. A signal handler that runs in between is not
/// noticed: the sleep goes on to the same deadline.
pub(in crate::sys) fn sleep_until(
    fds: &mut [PollFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<bool> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(now()));
        let nap = left.map(|left| timespec(left.min(LONGEST)));
        match poll(fds, nap.as_ref()) {
            Ok(0) if left.is_some_and(|left| left <= LONGEST) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleeps until then.
pub(crate) fn nap(until: Instant) {
    // ENOMEM, the only error without descriptors, shortens it.
    drop(sleep_until(&mut [], Some(until)));
}

/// Looks at the descriptors without sleeping, and returns what the first of them says.
pub(in crate::sys) fn poll_now(fds: &mut [PollFd<'_>]) -> io::Result<PollFlags> {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        match poll(fds, Some(&AT_ONCE)) {
            Ok(_) => return Ok(fds.first().map_or(PollFlags::empty(), PollFd::revents)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A duration for the kernel; one that has no room there becomes the longest that has.
pub(in crate::sys) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The clock that a sleep is measured by.
#[expect(
    clippy::disallowed_methods,
    reason = "a sleep that a signal or a clamp cut short has to know how much of it is left"
)]
fn now() -> Instant {
    Instant::now()
}

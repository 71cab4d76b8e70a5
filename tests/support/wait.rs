//! Waiting: on the thing itself where the kernel gives an event, else by looking again until a deadline.

use std::io;
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::platform;

/// More than anything takes on a loaded machine, less than the watchdog. What has to come "at once" must come before
/// this, where the time that would be burned otherwise is an hour.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(30);

/// How long to leave the processor to others between two looks.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the tests read the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until the condition holds, and panics if it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(LONG_ENOUGH, condition), "never: {what}");
}

/// Whether the condition comes to hold within this time. For what the kernel gives no event for.
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now() + limit;
    loop {
        if condition() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        let_pass(PAUSE);
    }
}

/// Lets time pass. Only for tests in which the time itself is the precondition: a deadline that must be over, a while
/// in which nothing may happen.
pub(crate) fn let_pass(time: Duration) {
    let deadline = now() + time;
    loop {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        let _ = poll_for(&mut [], left);
    }
}

pub(super) fn poll_for(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).expect("a test's time limit fits");
    match poll(fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Runs something on a thread of its own, and returns, with the thread's number, when that thread sleeps: it has then
/// come to what it is to wait for.
pub(crate) fn asleep<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: impl FnOnce() -> T + Send + 'scope,
) -> (ScopedJoinHandle<'scope, T>, u32) {
    let (tell, told) = mpsc::channel();
    let handle = scope.spawn(move || {
        tell.send(platform::own_thread()).expect("the test listens");
        run()
    });
    let thread = told.recv().expect("it has begun");
    // Once may be a lock on the way; several times in a row is the wait.
    let mut in_a_row = 0;
    eventually("the thread sleeps", || {
        in_a_row = if platform::sleeps(thread) {
            in_a_row + 1
        } else {
            0
        };
        in_a_row > 10 || handle.is_finished()
    });
    (handle, thread)
}

/// The rounds of a race test: one after the other until the budget is used up, one second or what
/// `PROCESSION_RACE_SECONDS` says.
#[derive(Debug)]
pub(crate) struct Rounds {
    deadline: Instant,
    count: u64,
    most: u64,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self::at_most(u64::MAX)
    }

    pub(crate) fn at_most(most: u64) -> Self {
        let seconds = std::env::var("PROCESSION_RACE_SECONDS")
            .ok()
            .and_then(|text| text.parse().ok());
        Self {
            deadline: now() + Duration::from_secs(seconds.unwrap_or(1)),
            count: 0,
            most,
        }
    }
}

impl Iterator for Rounds {
    type Item = u64;

    /// Always one, however slow the machine.
    fn next(&mut self) -> Option<u64> {
        let over = self.count > 0 && (now() >= self.deadline || self.count >= self.most);
        self.count += 1;
        (!over).then_some(self.count)
    }
}

//! The poll that the reactor sleeps in: exits, one timer, one mailbox.

use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry};
use rustix::event::kqueue::{Event, EventFilter, EventFlags};
use rustix::io::Errno;

use super::cgroup::Leaf;
use super::meaning::ahead;
use super::pin::Pin;
use super::queue::Queue;
use crate::sys::unix::{BATCH, MAILBOX, TIMER, take_events};
use crate::sys::vocabulary::Ready;

/// The reactor's poll.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    /// What the timer is armed to. It lives in mio's own kqueue, and is told from the rest by its token.
    armed: Option<Instant>,
    waker: Arc<Waker>,
    watch: Watch,
}

/// Wakes the reactor to look into its mailbox, from any thread.
#[derive(Debug)]
pub(crate) struct Waker {
    now: mio::Waker,
}

impl Waker {
    fn new(registry: &Registry) -> io::Result<Self> {
        let now = mio::Waker::new(registry, MAILBOX)?;
        Ok(Self { now })
    }

    /// At once.
    ///
    /// # Errors
    ///
    /// None is known that lasts.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.now.wake()
    }

    /// With the next that wakes it: no timer is set from here.
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "another back end sets one"
    )]
    pub(crate) fn wake_within(&self, _time: Duration) -> io::Result<()> {
        Ok(())
    }

    /// There is no timer to be cancelled.
    #[allow(clippy::unused_self, reason = "another back end has one")]
    pub(crate) fn cancel_later(&self) {}
}

/// Adds pins to a [`Poller`] and removes them, from any thread.
///
/// By `kevent(2)` on mio's own kqueue, with the token as the data, as mio does it: each process has a kqueue of its own,
/// and mio's reports when there is something in one.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    queue: Arc<Queue>,
}

impl Poller {
    /// Opens the poll with its timer and its mailbox: two or three descriptors.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry)?);
        let watch = Watch {
            queue: Arc::new(Queue::duplicate(registry.as_fd())?),
        };
        Ok(Self {
            events: Events::with_capacity(BATCH),
            poll,
            armed: None,
            waker,
            watch,
        })
    }

    /// A handle that adds and removes processes.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// A handle that makes [`wait`](Self::wait) report [`Ready::Mailbox`]. Calls before one wait are one report.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Arms the timer to fire once at `deadline`, or disarms it; what it was armed to before is forgotten.
    ///
    /// A deadline that has passed fires at once, one that is over a year ahead fires early. Firing is counted from `now`,
    /// so a `now` that was read long ago makes it late by as much. No system call if nothing changes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, now: Instant) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        // By these two, since older kernels leave a timer that is added again as it was.
        match self.watch.queue.change(&[timer(None, EventFlags::DELETE)]) {
            // It has fired, or there was none.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.armed = None;
        if let Some(deadline) = deadline {
            let once = EventFlags::ADD | EventFlags::ONESHOT;
            let ahead = ahead(deadline, now);
            self.watch.queue.change(&[timer(Some(ahead), once)])?;
            self.armed = Some(deadline);
        }
        Ok(())
    }

    /// Waits until there is something to report, or only looks, and appends it to `ready`.
    ///
    /// Returns whether there may be more than fitted: look once more, without blocking. What was removed before this
    /// call is not reported, what is removed by another thread during it may be.
    ///
    /// # Errors
    ///
    /// None is known; an interrupted wait is repeated.
    pub(crate) fn wait(&mut self, block: bool, ready: &mut Vec<Ready>) -> io::Result<bool> {
        let patience = (!block).then_some(Duration::ZERO);
        self.take(patience, ready)
    }

    /// Waits as [`wait`](Self::wait) does, but not longer than `patience`. What does not fit comes with the next wait.
    ///
    /// # Errors
    ///
    /// None is known.
    pub(crate) fn rest(&mut self, patience: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.take(Some(patience), ready).map(drop)
    }

    fn take(&mut self, patience: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<bool> {
        let fired = || self.armed = None;
        take_events((&mut self.poll, &mut self.events), patience, ready, fired)
    }
}

fn timer(ahead: Option<Duration>, flags: EventFlags) -> Event {
    let filter = EventFilter::Timer {
        ident: 0,
        timer: ahead,
    };
    Event::new(filter, flags, ptr::without_provenance_mut(TIMER.0))
}

impl Watch {
    /// Watches a process under a key that was never used before: a key that comes back would receive the events of its
    /// predecessor that are on their way.
    ///
    /// One registration, edge-triggered: it is reported when it ends (at once if it has ended), perhaps once more, and not
    /// again because nobody reacted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. `InvalidInput` for a key that does not fit: above 2^32 - 3 on a machine of 32 bits.
    pub(crate) fn add(&self, pin: &Pin, key: u64) -> io::Result<()> {
        let fits = usize::try_from(key).is_ok_and(|key| key < TIMER.0);
        if !fits {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no room for the key",
            ));
        }
        Ok(self.queue.watch(pin.queue(), key)?)
    }

    /// What is watched cannot be muted: it has a queue of its own, and that is what is slept on as well.
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "another back end can"
    )]
    pub(crate) fn mute(&self, _pin: &Pin, _key: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Nothing is muted.
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "another back end mutes"
    )]
    pub(crate) fn unmute(&self, _pin: &Pin, _key: u64) -> io::Result<()> {
        Ok(())
    }

    /// There are no leaves.
    pub(crate) fn add_leaf(&self, leaf: &Leaf, _key: u64) -> io::Result<()> {
        match *leaf {}
    }

    /// Ends the watch. To be done before the pin is dropped, so that its number is nobody else's.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched.
    pub(crate) fn remove(&self, pin: &Pin) -> io::Result<()> {
        Ok(self.queue.unwatch(pin.queue())?)
    }
}

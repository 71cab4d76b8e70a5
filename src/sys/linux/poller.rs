//! The poll that the reactor sleeps in: exits, one timer, one mailbox.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::event::epoll;

use super::cgroup::Leaf;
use super::pin::Pin;
use super::timer::Timer;
use super::waker::Waker;
use crate::sys::unix::{BATCH, TIMER, take_events};
use crate::sys::vocabulary::Ready;

/// The reactor's poll.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    timer: Timer,
    waker: Arc<Waker>,
    watch: Watch,
}

/// What is wanted of a pidfd.
const ITS_END: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);

/// Adds pins to a [`Poller`] and removes them, from any thread.
///
/// By `epoll_ctl(2)` on mio's own epoll, with the token as the data, as mio does it. Not by mio's `register`: that writes
/// a log record where the host's other crates turn mio's feature `log` on, and a logger may block.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    registry: Arc<Registry>,
}

impl Poller {
    /// Opens the poll with its timer and its mailbox: five descriptors.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC` (the user's limit of epoll watches).
    pub(crate) fn new() -> io::Result<Self> {
        Self::with_batch(BATCH)
    }

    /// The same with room for another number of events.
    pub(super) fn with_batch(batch: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry)?);
        let timer = Timer::new()?;
        registry.register(&mut SourceFd(&timer.raw_fd()), TIMER, Interest::READABLE)?;
        let watch = Watch {
            registry: Arc::new(registry.try_clone()?),
        };
        Ok(Self {
            events: Events::with_capacity(batch),
            poll,
            timer,
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
    /// None is known.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, now: Instant) -> io::Result<()> {
        self.timer.arm(deadline, now)
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
        let fired = || self.timer.fired();
        take_events((&mut self.poll, &mut self.events), patience, ready, fired)
    }
}

impl Watch {
    /// Watches a process under a key that was never used before: a key that comes back would receive the events of its
    /// predecessor that are on their way.
    ///
    /// One registration, edge-triggered: it is reported when it ends (at once if it has ended), and once more when
    /// somebody else reaps it, and not again because nobody reacted.
    ///
    /// # Errors
    ///
    /// `EEXIST` if this pin is watched already. `ENOMEM`, `ENOSPC` (the user's limit of epoll watches). `InvalidInput`
    /// for a key that does not fit: above 2^32 - 3 on a machine of 32 bits.
    pub(crate) fn add(&self, pin: &Pin, key: u64) -> io::Result<()> {
        let token = usize::try_from(key).map(Token);
        let token = token
            .ok()
            .filter(|token| *token < TIMER)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no room for the key"))?;
        let data = epoll::EventData::new_u64(token.0 as u64);
        Ok(epoll::add(&*self.registry, pin.fd(), data, ITS_END)?)
    }

    /// Keeps quiet about a process that is watched under this key, until [`unmute`](Self::unmute). That it was reaped may be
    /// reported all the same. Returns whether this back end can do that.
    ///
    /// A kernel before 6.9 wakes the poll nevertheless, which then finds nothing to report: pidfds did not tell it what
    /// they woke it for.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched.
    pub(crate) fn mute(&self, pin: &Pin, key: u64) -> io::Result<bool> {
        let data = epoll::EventData::new_u64(key);
        epoll::modify(&*self.registry, pin.fd(), data, epoll::EventFlags::ET)?;
        Ok(true)
    }

    /// Reports it again, and at once if it has ended.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched.
    pub(crate) fn unmute(&self, pin: &Pin, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::modify(&*self.registry, pin.fd(), data, ITS_END)?)
    }

    /// Watches a leaf under a key that was never used before, neither for a leaf nor for a pin: it is reported as ready when it
    /// has become empty, or is so no longer. Ends with the leaf.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    pub(crate) fn add_leaf(&self, leaf: &Leaf, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        let flags = epoll::EventFlags::PRI | epoll::EventFlags::ET;
        Ok(epoll::add(&*self.registry, leaf.events(), data, flags)?)
    }

    /// Ends the watch. To be done before the pin is dropped: the kernel does it by itself only if no copy of the pidfd is
    /// left, and a child that the host forked without exec has one.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched.
    pub(crate) fn remove(&self, pin: &Pin) -> io::Result<()> {
        Ok(epoll::delete(&*self.registry, pin.fd())?)
    }
}

//! [`Reaper`]: ends, from time to time, the sessions that nobody needs any more.

mod asking;
mod driver;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use crossbeam_channel::Sender;

use self::asking::Asking;
use self::driver::{Driver, Order};
use crate::error::{Error, ErrorKind, Result};
use crate::orphan_rule::OrphanRule;
use crate::reactor::Shared;
use crate::report::ReaperReport;
use crate::session::SessionId;
use crate::stop::StopPolicy;

/// How often a [`Reaper`] passes, and what it does besides.
///
/// A [`Duration`] is one too: `registry.start_reaper(Duration::from_secs(30), active)`.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReaperOptions {
    pub(crate) every: Duration,
    pub(crate) rule: Option<OrphanRule>,
    pub(crate) stop_policy: Option<StopPolicy>,
}

impl ReaperOptions {
    /// A pass at once, and then one each `interval`, on the monotonic clock. `Duration::MAX` is the first pass alone, and
    /// those that [`Reaper::run_now`] asks for. Zero is refused by
    /// [`start_reaper`](crate::Registry::start_reaper).
    pub fn every(interval: Duration) -> Self {
        Self {
            every: interval,
            rule: None,
            stop_policy: None,
        }
    }

    /// Sweeps for orphans by this rule at the end of each pass, see [`Registry::sweep`](crate::Registry::sweep).
    pub fn sweep(mut self, rule: OrphanRule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Ends by this policy what is ended. Without one a session is ended by its own, or else by the registry's; and an
    /// orphan by the rule's, or else by the registry's.
    pub fn stop_policy(mut self, policy: StopPolicy) -> Self {
        self.stop_policy = Some(policy);
        self
    }
}

impl From<Duration> for ReaperOptions {
    fn from(interval: Duration) -> Self {
        Self::every(interval)
    }
}

/// Ends, from time to time, the sessions that the host does not name as active. Made by
/// [`Registry::start_reaper`](crate::Registry::start_reaper), where the passes are described.
///
/// Dropping it stops it, like [`stop`](Self::stop). It does not keep the registry alive, and ends by itself when the
/// registry is shut down.
#[must_use = "dropping it stops the reaper"]
pub struct Reaper {
    shared: Arc<Shared>,
    /// Disconnected, it stops the reaper's thread.
    orders: Option<Sender<Order>>,
    driver: Option<JoinHandle<()>>,
    asking: Option<JoinHandle<()>>,
    state: Arc<State>,
}

/// What the threads and the handle have in common.
#[derive(Debug, Default)]
struct State {
    stopped: AtomicBool,
    /// `active` is being called, or is about to be.
    in_callback: AtomicBool,
}

const OPERATION: &str = "start reaper";

impl Reaper {
    /// Starts the two threads.
    pub(crate) fn start<I>(
        shared: &Arc<Shared>,
        thread_name: &str,
        options: ReaperOptions,
        active: impl FnMut() -> Option<I> + Send + 'static,
    ) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: Into<SessionId>,
    {
        if options.every.is_zero() {
            let detail = "an interval of zero would leave no time between two passes";
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(detail));
        }
        let state = Arc::new(State::default());
        let (ask, asked) = crossbeam_channel::bounded(1);
        let (answer, answers) = crossbeam_channel::bounded(1);
        let asking = Asking {
            asked,
            answer,
            state: Arc::clone(&state),
        };
        let mut active = active;
        let name_all = move || active().map(|named| named.into_iter().map(Into::into).collect());
        let no_thread = |error| Error::new(ErrorKind::System, OPERATION).with_source(error);
        let (orders, ordered) = crossbeam_channel::unbounded();
        let driver = Driver::new(shared, thread_name, options, (ask, answers), ordered)?;
        let asking = std::thread::Builder::new()
            .name(format!("{thread_name}-active"))
            .spawn(move || asking.serve(name_all))
            .map_err(no_thread)?;
        // If there is no second thread the first ends too: the channel that it waits on is dropped with the driver.
        let driver = std::thread::Builder::new()
            .name(format!("{thread_name}-reaper"))
            .spawn(move || driver.drive())
            .map_err(no_thread)?;
        Ok(Self {
            shared: Arc::clone(shared),
            orders: Some(orders),
            driver: Some(driver),
            asking: Some(asking),
            state,
        })
    }

    /// Makes a pass now, and returns its report. One that is under way is waited for, and is not this one. The passes at
    /// each interval go on as before.
    ///
    /// It blocks as long as `active` does, but not longer than until the next interval: what that finds is a callback that
    /// has not returned, and a pass that is skipped for it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) from within `active`, which would wait for itself;
    /// [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn run_now(&self) -> Result<ReaperReport> {
        const OPERATION: &str = "run reaper";
        if self.shared.is_forked_copy() {
            return Err(self.shared.gone(OPERATION));
        }
        if is_own(self.asking.as_ref()) || is_own(self.driver.as_ref()) {
            let detail = "called from within a pass of this reaper";
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(detail));
        }
        let (reply, report) = crossbeam_channel::bounded(1);
        let gone = || self.shared.gone(OPERATION);
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(Order::RunNow(reply)).map_err(|_| gone())?;
        report.recv().map_err(|_| gone())
    }

    /// Stops it. A pass that has not begun to end anything is cancelled; the ends that are under way are waited for, and
    /// their report is published. A callback that has not returned is not waited for: whatever it still returns ends
    /// nothing.
    ///
    /// From within `active` this returns at once, and the reaper stops when `active` returns.
    pub fn stop(self) {
        // The drop does it.
    }

    fn halt(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        drop(self.orders.take());
        let (driver, asking) = (self.driver.take(), self.asking.take());
        if self.shared.is_forked_copy() {
            // The threads are in another process.
            std::mem::forget((driver, asking));
            return;
        }
        if is_own(asking.as_ref()) {
            return;
        }
        if let Some(driver) = driver.filter(|driver| !is_own(Some(driver))) {
            // It catches what its passes throw.
            drop(driver.join());
        }
        // Before it calls back it says so, and looks at `stopped` after that: it is in the callback now, or never again.
        if let Some(asking) = asking.filter(|_| !self.state.in_callback.load(Ordering::SeqCst)) {
            drop(asking.join());
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.halt();
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn is_own(thread: Option<&JoinHandle<()>>) -> bool {
    let current: ThreadId = std::thread::current().id();
    thread.is_some_and(|thread| thread.thread().id() == current)
}

/// What `active` answered.
enum Named {
    These(HashSet<SessionId>),
    NotKnown,
    Panicked,
}

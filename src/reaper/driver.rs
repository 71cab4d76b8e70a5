//! The thread that passes.
//!
//! It sleeps until the next pass is due, an answer is there, somebody wants a pass now, or it is to stop; between two
//! passes nothing wakes it. It calls nothing of the host's, but for a rule's predicates, which run on a thread of their
//! own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};

use super::{Named, ReaperOptions};
use crate::ending::Ending;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, EventKind, EventMask, Reason};
use crate::machine::Whom;
use crate::reactor::{self, Listener, Message, Shared};
use crate::report::{ReaperParts, ReaperReport, SessionReport, SkipReason};
use crate::session::{Life, SessionId};
use crate::stop::StopPolicy;
use crate::sweep::Sweep;
use crate::sys;

/// What the reaper is told.
pub(super) enum Order {
    RunNow(Sender<ReaperReport>),
}

/// The thread has nothing left to do: it is to stop, or the registry is gone.
struct Over;

pub(super) struct Driver {
    shared: Arc<Shared>,
    thread_name: String,
    options: ReaperOptions,
    ask: Sender<()>,
    answers: Receiver<Named>,
    orders: Receiver<Order>,
    /// Disconnected when the registry is gone; nothing ever comes.
    registry: Receiver<Event>,
    /// When the next pass is due.
    next: Option<Instant>,
    passes: u64,
    /// The pass whose answer is not there yet.
    pending: Option<Pending>,
    /// Who waits for the next pass.
    waiting: Vec<Sender<ReaperReport>>,
}

/// A pass whose answer is not there yet.
struct Pending {
    pass: u64,
    began: Instant,
    /// The sessions that lived before the question.
    lives: Vec<(SessionId, Life)>,
    waiting: Vec<Sender<ReaperReport>>,
}

impl Driver {
    pub(super) fn new(
        shared: &Arc<Shared>,
        thread_name: &str,
        options: ReaperOptions,
        (ask, answers): (Sender<()>, Receiver<Named>),
        orders: Receiver<Order>,
    ) -> Result<Self> {
        let (events, registry) = crossbeam_channel::bounded(1);
        // It stays until the reactor is gone.
        let gone = Arc::default();
        // In force, or an error: nobody is there.
        shared.call("start reaper", |done| Message::Subscribe {
            mask: EventMask::empty(),
            only: None,
            listener: Listener { events, gone },
            capacity: 0,
            done,
        })?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread_name: thread_name.to_owned(),
            options,
            ask,
            answers,
            orders,
            registry,
            next: Some(reactor::now()),
            passes: 0,
            pending: None,
            waiting: Vec::new(),
        })
    }

    /// The thread's whole life.
    pub(super) fn drive(mut self) {
        // The host's signals are for the host's threads.
        sys::block_all_signals();
        while self.turn().is_ok() {}
    }

    /// Waits for one thing, and does it.
    fn turn(&mut self) -> Result<(), Over> {
        let due = self
            .next
            .map_or_else(crossbeam_channel::never, crossbeam_channel::at);
        select! {
            recv(self.orders) -> order => match order {
                Ok(order) => {
                    self.take(order);
                    if self.pending.is_none() {
                        self.begin()?;
                    }
                    Ok(())
                }
                Err(_stopped) => Err(Over),
            },
            recv(self.registry) -> _gone => Err(Over),
            recv(self.answers) -> named => match named {
                Ok(named) => self.answered(named),
                Err(_no_thread) => Err(Over),
            },
            recv(due) -> _at => {
                if self.pending.is_none() {
                    return self.begin();
                }
                // It may have come together with the time.
                match self.answers.try_recv() {
                    Ok(named) => self.answered(named),
                    Err(_not_there) => self.pass_without_answer(),
                }
            }
        }
    }

    fn take(&mut self, order: Order) {
        let Order::RunNow(reply) = order;
        self.waiting.push(reply);
    }

    /// Lists the sessions, and then asks. It is the pass that was due, if one was, whoever wanted it.
    fn begin(&mut self) -> Result<(), Over> {
        self.skip_missed();
        let began = reactor::now();
        self.passes += 1;
        let lives = self
            .shared
            .read("list sessions", |machine, _| machine.lives())
            .map_err(|_gone| Over)?;
        // A sweep's own session, or a recovery's, is none of the host's.
        let lives = lives.into_iter();
        let lives = lives.filter(|&(_, life)| !self.shared.own_lives.contains(life));
        self.pending = Some(Pending {
            pass: self.passes,
            began,
            lives: lives.collect(),
            waiting: std::mem::take(&mut self.waiting),
        });
        self.ask.send(()).map_err(|_no_thread| Over)
    }

    /// The time of a pass has come, and the one before it still waits for its answer.
    fn pass_without_answer(&mut self) -> Result<(), Over> {
        self.skip_missed();
        let began = reactor::now();
        self.passes += 1;
        let mut waiting = std::mem::take(&mut self.waiting);
        if let Some(pending) = &mut self.pending {
            waiting.append(&mut pending.waiting);
        }
        let parts = ReaperParts {
            pass: self.passes,
            candidates: 0,
            skipped: Some(SkipReason::Blocked),
            sessions: Vec::new(),
            swept: None,
            failed: None,
            took: Duration::ZERO,
        };
        self.finish(parts, began, waiting)
    }

    /// The pass goes on with what the host has named.
    fn answered(&mut self, named: Named) -> Result<(), Over> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        if self.is_to_stop() {
            return Err(Over);
        }
        let candidates = pending.lives.len();
        let (skipped, sessions) = match named {
            Named::NotKnown => (Some(SkipReason::NotKnown), Vec::new()),
            Named::Panicked => (Some(SkipReason::Panicked), Vec::new()),
            Named::These(named) => {
                let lives = pending.lives.into_iter();
                let stale = lives.filter(|(session, _)| !named.contains(session));
                (None, self.end(stale.collect()).map_err(|_gone| Over)?)
            }
        };
        let parts = ReaperParts {
            pass: pending.pass,
            candidates,
            skipped,
            sessions,
            swept: None,
            failed: None,
            took: Duration::ZERO,
        };
        self.finish(parts, pending.began, pending.waiting)?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.begin()
    }

    /// Sweeps, and tells everybody.
    fn finish(
        &mut self,
        mut parts: ReaperParts,
        began: Instant,
        waiting: Vec<Sender<ReaperReport>>,
    ) -> Result<(), Over> {
        let stops = self.is_to_stop();
        if let Some(rule) = self.options.rule.as_ref().filter(|_| !stops) {
            let policy = self.options.stop_policy.as_ref();
            let sweep = Sweep::new(&self.shared, &self.thread_name, rule);
            match sweep.by_default(policy).on_behalf_of(Reason::Reaper).run() {
                Ok(swept) => parts.swept = Some(swept),
                Err(error) => parts.failed = Some(error),
            }
        }
        parts.took = reactor::now().saturating_duration_since(began);
        let report = ReaperReport::new(parts);
        let told = self
            .shared
            .announce(vec![EventKind::ReaperPassed(report.clone())]);
        for waiting in waiting {
            // It has room for the one report; an error says that nobody waits any more.
            drop(waiting.try_send(report.clone()));
        }
        // What a pass overran is skipped, and not caught up with.
        self.skip_missed();
        told.map_err(|_gone| Over)
    }

    /// Ends all of them at once, and waits for all.
    fn end(&self, stale: Vec<(SessionId, Life)>) -> Result<Vec<SessionReport>> {
        let lives: Vec<Life> = stale.iter().map(|&(_, life)| life).collect();
        let ending = self.shared.read("list sessions", move |machine, _| {
            let state = |life: &Life| machine.is_being_ended(*life);
            lives.iter().map(state).collect::<Vec<_>>()
        })?;
        let join = join_only();
        let mut endings = Vec::new();
        for ((session, life), ending) in stale.into_iter().zip(ending) {
            let policy = match ending {
                // It is over.
                None => continue,
                // Somebody is ending it, with a grace of their own.
                Some(true) => Some(&join),
                Some(false) => self.options.stop_policy.as_ref(),
            };
            let whom = Whom::Life(session, life);
            endings.push(Ending::begin_for(
                &self.shared,
                whom,
                policy,
                Reason::Reaper,
            )?);
        }
        let mut reports = Vec::new();
        for ending in endings {
            match ending.wait() {
                Ok(report) => reports.push(report),
                // It was over a moment before.
                Err(error) if error.kind() == ErrorKind::SessionEnded => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reports)
    }

    /// Takes the orders that are there. Says whether it is to stop.
    fn is_to_stop(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.take(order),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// The next pass is the first on the grid that lies ahead.
    fn skip_missed(&mut self) {
        if let Some(next) = self.next {
            self.next = first_after(reactor::now(), next, self.options.every);
        }
    }
}

/// The first of `next`, `next` + `every`, ... that is later than `now`; `None` if there is none.
fn first_after(now: Instant, next: Instant, every: Duration) -> Option<Instant> {
    let Some(late) = now.checked_duration_since(next) else {
        return Some(next);
    };
    let into_interval = late.as_nanos() % every.as_nanos().max(1);
    let into_interval = Duration::from_nanos(u64::try_from(into_interval).unwrap_or(u64::MAX));
    now.checked_add(every.saturating_sub(into_interval))
}

/// Joins an end without making it stricter: its SIGKILL never comes, and it confirms nothing.
fn join_only() -> StopPolicy {
    StopPolicy::new()
        .wait(Duration::MAX)
        .confirm_within(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_next_pass_is_on_the_grid_whatever_was_missed() {
        let start = reactor::now();
        let ms = Duration::from_millis;
        let next = |now| first_after(start + ms(now), start, ms(100)).map(|at| at - start);
        assert_eq!(next(0), Some(ms(100)));
        assert_eq!(next(1), Some(ms(100)));
        assert_eq!(next(99), Some(ms(100)));
        assert_eq!(next(100), Some(ms(200)));
        assert_eq!(next(1234), Some(ms(1300)));
        assert_eq!(
            first_after(start, start + ms(5), ms(100)),
            Some(start + ms(5))
        );
        assert_eq!(first_after(start, start, Duration::MAX), None);
    }

    /// Whatever else is there when a pass is due, and is seen first: a wish for one, or the answer to the last one.
    #[test]
    fn who_has_been_asked_just_now_or_has_answered_is_not_blocked() {
        let registry = crate::Registry::builder().build().expect("a registry");
        for _ in 0..200 {
            let (ask, asked) = crossbeam_channel::bounded(1);
            let (answer, answers) = crossbeam_channel::bounded(1);
            let (orders, ordered) = crossbeam_channel::bounded(1);
            let every = ReaperOptions::every(Duration::from_secs(3_600));
            let shared = &registry.0.shared;
            let driver = Driver::new(shared, "test", every, (ask, answers), ordered);
            let mut driver = driver.expect("the registry lives");
            let (reply, report) = crossbeam_channel::bounded(1);
            orders.send(Order::RunNow(reply)).expect("there is room");
            let report = loop {
                assert!(driver.turn().is_ok());
                if let Ok(report) = report.try_recv() {
                    break report;
                }
                if asked.try_recv().is_ok() {
                    let named = Named::These(HashSet::new());
                    answer.send(named).expect("there is room");
                    driver.next = Some(reactor::now());
                }
            };
            assert!(!report.skipped(), "{report}");
        }
    }
}

//! Events to subscribers, without ever waiting for one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError};

use crate::event::{Event, EventKind, EventMask, Lagged};
use crate::machine::Notice;
use crate::session::Life;

/// All subscribers.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    subscribers: Vec<Subscriber>,
}

/// The way to a subscriber.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) events: Sender<Event>,
    /// It was dropped: nobody listens, whatever the channel says.
    pub(crate) gone: Arc<AtomicBool>,
}

/// One subscriber. Its channel has room for one more than `capacity`: that is the marker's.
#[derive(Debug)]
struct Subscriber {
    mask: EventMask,
    /// This life's events alone.
    only: Option<Life>,
    listener: Listener,
    capacity: usize,
    /// The number of the next event under its mask, lost or not.
    next_seq: u64,
    /// The marker that stands for what is being lost now.
    marker: Option<Lagged>,
}

impl Publisher {
    /// Sends it at most `capacity` events, and one marker, more than it reads. Who has gone meanwhile is forgotten.
    pub(super) fn subscribe(
        &mut self,
        mask: EventMask,
        only: Option<Life>,
        listener: Listener,
        capacity: usize,
    ) {
        self.subscribers.retain(|known| !known.listener.is_gone());
        self.subscribers.push(Subscriber {
            mask,
            only,
            listener,
            capacity,
            next_seq: 0,
            marker: None,
        });
    }

    /// Tells everybody whose mask has it. Who has gone is forgotten here, and whoever listens to a life alone when that
    /// is over and nobody survived it. Says whether anybody was forgotten.
    pub(super) fn publish(&mut self, notice: &Notice, at: Instant) -> bool {
        let mask = notice.kind.mask();
        let over = matches!(&notice.kind, EventKind::SessionEnded(report) if report.is_clean());
        let before = self.subscribers.len();
        self.subscribers.retain_mut(|subscriber| {
            if subscriber.listener.is_gone() {
                return false;
            }
            if subscriber.only.is_some_and(|only| only != notice.life) {
                return true;
            }
            let listens =
                !subscriber.mask.intersects(mask) || subscriber.tell(at, || event(notice, at));
            listens && !(over && subscriber.only.is_some())
        });
        self.subscribers.len() < before
    }

    /// Tells what is about no session.
    pub(super) fn announce(&mut self, kind: &EventKind, at: Instant) -> bool {
        let mask = kind.mask();
        let before = self.subscribers.len();
        self.subscribers.retain_mut(|subscriber| {
            let listens = subscriber.only.is_none() && subscriber.mask.intersects(mask);
            !listens || subscriber.tell(at, || bare(kind.clone(), at))
        });
        self.subscribers.len() < before
    }

    /// Forgets whoever listens to a life alone that is not there any more: its last survivor has gone, or was taken over
    /// by a later end of its number. Says whether anybody was forgotten.
    pub(super) fn keep_lives(&mut self, is_there: impl Fn(Life) -> bool) -> bool {
        let before = self.subscribers.len();
        self.subscribers
            .retain(|subscriber| subscriber.only.is_none_or(&is_there));
        self.subscribers.len() < before
    }

    /// Whether somebody wants to hear of anything at all: an exit may be what it comes from.
    pub(super) fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// Whether somebody wants to hear of exits.
    pub(super) fn wants_exits(&self) -> bool {
        self.wants(EventMask::EXITED)
    }

    /// Whether somebody wants to hear of births when they happen.
    pub(super) fn wants_births(&self) -> bool {
        self.wants(EventMask::STARTED)
    }

    fn wants(&self, kind: EventMask) -> bool {
        self.subscribers
            .iter()
            .any(|subscriber| subscriber.mask.contains(kind))
    }
}

impl Subscriber {
    /// `false`: nobody reads this any more.
    fn tell(&mut self, at: Instant, event: impl FnOnce() -> Event) -> bool {
        let seq = self.next_seq;
        self.next_seq += 1;
        if self.listener.events.len() < self.capacity {
            // What comes next is not lost: the marker's count is complete.
            self.marker = None;
            return self.push(Event { seq, ..event() });
        }
        if self.marker.as_ref().is_some_and(Lagged::count_one) {
            return true;
        }
        // The first that is lost, or the first since the reader took the marker out: there is room for a marker
        // either way, the place that only markers use.
        let marker = Lagged::open();
        // A new marker has not been closed by anybody.
        let counted = marker.count_one();
        debug_assert!(counted, "a marker that nobody has seen was closed");
        self.marker = Some(marker.clone());
        let lost = bare(EventKind::Lagged(marker), at);
        self.push(Event { seq, ..lost })
    }

    fn push(&self, event: Event) -> bool {
        match self.listener.events.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(_)) => {
                debug_assert!(
                    false,
                    "only the reactor sends, and it has looked at the length"
                );
                true
            }
        }
    }
}

impl Listener {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// Before it is numbered.
fn event(notice: &Notice, at: Instant) -> Event {
    Event {
        seq: 0,
        at,
        session: Some(notice.session),
        process: notice.process,
        label: notice.label.clone(),
        origin: notice.origin,
        kind: notice.kind.clone(),
    }
}

/// The same about no session.
fn bare(kind: EventKind, at: Instant) -> Event {
    Event {
        seq: 0,
        at,
        session: None,
        process: None,
        label: None,
        origin: None,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::reactor::now;
    use crate::session::SessionId;

    fn listener() -> (Listener, Receiver<Event>) {
        let (events, receiver) = unbounded();
        let gone = Arc::default();
        (Listener { events, gone }, receiver)
    }

    fn subscribed(capacity: usize) -> (Publisher, Receiver<Event>) {
        let mut publisher = Publisher::default();
        let (listener, receiver) = listener();
        publisher.subscribe(EventMask::SESSIONS, None, listener, capacity);
        (publisher, receiver)
    }

    fn tell(publisher: &mut Publisher, times: usize) {
        let notice = Notice {
            life: Life(1),
            session: SessionId(1),
            process: None,
            label: None,
            origin: None,
            kind: EventKind::SessionEmpty,
        };
        for _ in 0..times {
            publisher.publish(&notice, now());
        }
    }

    fn missed(event: &Event) -> Option<u64> {
        if let EventKind::Lagged(lagged) = event.kind() {
            return Some(lagged.missed());
        }
        None
    }

    #[test]
    fn the_newest_are_lost_and_one_marker_counts_them() {
        let (mut publisher, receiver) = subscribed(3);
        tell(&mut publisher, 10);
        let got: Vec<_> = receiver.try_iter().collect();
        assert_eq!(got.len(), 4, "memory is bounded");
        assert_eq!(got.iter().map(Event::seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(missed(&got[3]), Some(7));
        tell(&mut publisher, 1);
        assert_eq!(
            receiver.try_recv().map(|event| event.seq()),
            Ok(10),
            "the numbers count what was lost"
        );
    }

    #[test]
    fn a_marker_that_is_still_in_the_channel_is_closed_by_the_next_event_that_is_not_lost() {
        let (mut publisher, receiver) = subscribed(2);
        tell(&mut publisher, 4);
        assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_ok());
        tell(&mut publisher, 1);
        tell(&mut publisher, 3);
        let got: Vec<_> = receiver.try_iter().collect();
        assert_eq!(
            got.iter().map(missed).collect::<Vec<_>>(),
            [Some(2), None, Some(3)]
        );
        assert_eq!(got.iter().map(Event::seq).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn who_does_not_read_any_more_is_forgotten() {
        let (mut publisher, receiver) = subscribed(2);
        drop(receiver);
        tell(&mut publisher, 1);
        assert!(publisher.subscribers.is_empty());
    }

    #[test]
    fn who_has_said_that_it_is_gone_is_forgotten_though_there_is_nothing_for_it() {
        let mut publisher = Publisher::default();
        let subscribe = |publisher: &mut Publisher| {
            let (listener, _receiver) = listener();
            let gone = Arc::clone(&listener.gone);
            publisher.subscribe(EventMask::SURVIVED, None, listener, 2);
            gone
        };
        let gone = subscribe(&mut publisher);
        tell(&mut publisher, 1);
        assert_eq!(publisher.subscribers.len(), 1);
        gone.store(true, Ordering::Relaxed);
        // By the next event, whatever it is, and by the next subscription.
        tell(&mut publisher, 1);
        assert!(publisher.subscribers.is_empty());
        subscribe(&mut publisher).store(true, Ordering::Relaxed);
        subscribe(&mut publisher);
        assert_eq!(publisher.subscribers.len(), 1);
    }

    /// Hunts for a loss that is counted nowhere: the reader closes a marker while the publisher counts on it.
    #[test]
    fn no_event_is_lost_uncounted_while_a_reader_races_the_publisher() {
        const EVENTS: usize = 200_000;
        let (mut publisher, receiver) = subscribed(4);
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            let mut last = None;
            for event in &receiver {
                assert!(last < Some(event.seq()), "the numbers rise");
                last = Some(event.seq());
                seen += missed(&event).unwrap_or(1);
            }
            seen
        });
        tell(&mut publisher, EVENTS);
        drop(publisher);
        assert_eq!(reader.join().unwrap(), EVENTS as u64);
    }
}

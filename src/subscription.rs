//! [`Subscription`]: where events arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Iter, Receiver};

use crate::event::{Event, EventMask};
use crate::reactor::{Listener, Message, Shared};
use crate::session::Life;

/// Where events arrive.
///
/// It iterates over the events as they come, blocking, until the registry is gone; `&subscription`
/// does too. For anything else, such as `select!` or a time-out, there is the channel's
/// [`receiver`](Self::receiver).
///
/// A subscriber that does not read costs bounded memory and delays nobody: once its channel is full
/// the newest events are lost, and an [`EventKind::Lagged`](crate::EventKind::Lagged) stands in their place.
///
/// Dropping it unsubscribes, also if there are clones of its receiver: they have what was in the channel by then, and
/// are disconnected. [`into_receiver`](Self::into_receiver) is for a receiver that stands by itself.
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
pub struct Subscription {
    receiver: Receiver<Event>,
    presence: Presence,
}

impl Subscription {
    pub(crate) fn new(receiver: Receiver<Event>, presence: Presence) -> Self {
        Self { receiver, presence }
    }

    /// The channel, for [`channel::select!`](crossbeam_channel::select).
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// The channel itself. Dropping it, and all its clones, unsubscribes.
    pub fn into_receiver(self) -> Receiver<Event> {
        self.presence.stay();
        self.receiver
    }
}

/// Tells the publisher that a subscription was dropped. The channel would tell only whoever sends, and for some masks
/// there is nothing to send for days.
#[derive(Debug)]
pub(crate) struct Presence {
    gone: Arc<AtomicBool>,
    stays: bool,
}

impl Presence {
    /// One end, and what the other looks at.
    pub(crate) fn new() -> (Self, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::new(false));
        let presence = Self {
            gone: Arc::clone(&gone),
            stays: false,
        };
        (presence, gone)
    }

    /// It is the channel alone that tells from now on.
    fn stay(mut self) {
        self.stays = true;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.stays {
            self.gone.store(true, Ordering::Relaxed);
        }
    }
}

impl Iterator for Subscription {
    type Item = Event;

    /// The next event, as soon as there is one. `None` once the registry is gone and everything has
    /// been read.
    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

impl<'a> IntoIterator for &'a Subscription {
    type Item = Event;
    type IntoIter = Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.receiver.iter()
    }
}

/// For so many events the memory is taken at the subscription.
const SET_ASIDE: usize = 1 << 16;

/// See [`Registry::subscribe_to`](crate::Registry::subscribe_to); with a life, to its events alone.
pub(crate) fn subscribe(shared: &Shared, mask: EventMask, only: Option<Life>) -> Subscription {
    let capacity = shared.plan.event_capacity;
    // The publisher looks at the length before it sends, so that either kind is bounded. Memory that is there already is
    // the faster one, for as much as one would want to set aside.
    let (events, receiver) = if capacity <= SET_ASIDE {
        crossbeam_channel::bounded(capacity + 1)
    } else {
        crossbeam_channel::unbounded()
    };
    let (presence, gone) = Presence::new();
    let (done, in_force) = crossbeam_channel::bounded(1);
    let message = Message::Subscribe {
        mask,
        only,
        listener: Listener { events, gone },
        capacity,
        done,
    };
    if shared.send(message, "subscribe").is_ok() {
        // An error is a reactor that is gone, and then the channel of events is disconnected too.
        let _in_force_or_gone = in_force.recv();
    }
    Subscription::new(receiver, presence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    #[test]
    fn a_subscription_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Subscription>();
    }

    #[test]
    fn a_subscription_is_read_by_reference_and_ends_with_its_sender() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let mut subscription = Subscription::new(receiver, Presence::new().0);
        for seq in 0..3 {
            let mut event = Event::from_parts(None, None, None, EventKind::Started);
            event.seq = seq;
            sender.send(event).expect("the subscription lives");
        }
        drop(sender);
        let first = (&subscription).into_iter().next();
        assert_eq!(first.map(|e| e.seq()), Some(0));
        assert_eq!(subscription.next().map(|e| e.seq()), Some(1));
        assert_eq!(subscription.receiver().len(), 1);
        assert_eq!(subscription.by_ref().count(), 1);
    }
}

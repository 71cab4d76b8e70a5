//! The gate as threads see it: behind a lock, with a queue for slots, and with guards that give back what they took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::mailbox::{Mail, Message};
use crate::containment::Containment;
use crate::event::Reason;
use crate::limits::Limits;
use crate::machine::{Begun, Closed, Facts, Gate, OpenTerms, Refused, Reservation, TicketId};
use crate::session::{Life, ProcessId, SessionId};
use crate::sys::Unborn;

/// What a ticket in the queue is served.
type Served = Result<Reservation, Refused>;

#[derive(Debug)]
pub(crate) struct SharedGate(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    gate: Gate,
    waiting: HashMap<TicketId, Sender<Served>>,
    /// Launches that can be ended while they are under way.
    unborn: HashMap<ProcessId, Arc<Unborn>>,
}

/// Where a process is to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) session: SessionId,
    /// This life of the number and no other.
    pub(crate) life: Option<Life>,
}

/// Why a spawn may not begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoToken {
    Refused(Refused),
    /// A slot was waited for, and none became free in time.
    TimedOut,
}

impl SharedGate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Mutex::new(Inner {
            gate: Gate::new(limits),
            waiting: HashMap::new(),
            unborn: HashMap::new(),
        }))
    }

    /// Takes a token. With a deadline, waits for a slot until then: first come, first served.
    pub(crate) fn enter(
        self: &Arc<Self>,
        place: Place,
        deadline: Option<Instant>,
        mail: &Mail,
    ) -> Result<Spawning, NoToken> {
        let Place { session, life } = place;
        let reservation = self.reserve(session, life, deadline)?;
        Ok(Spawning {
            gate: Arc::clone(self),
            mail: mail.clone(),
            session,
            reservation,
            open: true,
            begun: None,
        })
    }

    /// Takes a token without a slot, into a life that has none with one.
    pub(crate) fn admit(
        self: &Arc<Self>,
        (session, life): (SessionId, Life),
        mail: &Mail,
    ) -> Result<Spawning, NoToken> {
        let reservation = self.lock().gate.admit(session, life);
        Ok(Spawning {
            gate: Arc::clone(self),
            mail: mail.clone(),
            session,
            reservation: reservation.map_err(NoToken::Refused)?,
            open: true,
            begun: None,
        })
    }

    /// The lives that are not over, with those that the machine has not heard of yet.
    pub(crate) fn lives(&self) -> Vec<(SessionId, Life)> {
        self.lock().gate.lives().collect()
    }

    fn reserve(
        &self,
        session: SessionId,
        life: Option<Life>,
        deadline: Option<Instant>,
    ) -> Result<Reservation, NoToken> {
        let mut inner = self.lock();
        let refused = match (inner.gate.reserve(session, life), deadline) {
            (Ok(reservation), _) => return Ok(reservation),
            (Err(Refused::Full { .. } | Refused::SessionFull { .. }), Some(_)) => None,
            (Err(refused), _) => Some(refused),
        };
        if let Some(refused) = refused {
            return Err(NoToken::Refused(refused));
        }
        let ticket = inner.gate.enqueue(session, life);
        let (serve, served) = bounded(1);
        inner.waiting.insert(ticket, serve);
        drop(inner);
        let answer = match deadline {
            Some(deadline) => served.recv_deadline(deadline),
            None => served.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(answer) => answer.map_err(NoToken::Refused),
            Err(RecvTimeoutError::Disconnected) => Err(NoToken::Refused(Refused::ShutDown)),
            Err(RecvTimeoutError::Timeout) => {
                let mut inner = self.lock();
                inner.waiting.remove(&ticket);
                if inner.gate.leave(ticket) {
                    return Err(NoToken::TimedOut);
                }
                drop(inner);
                // Served between the time-out and the lock: the answer is in the channel.
                match served.try_recv() {
                    Ok(answer) => answer.map_err(NoToken::Refused),
                    Err(_) => Err(NoToken::TimedOut),
                }
            }
        }
    }

    /// Gives a number a life.
    pub(crate) fn open_session(
        &self,
        session: Option<SessionId>,
        terms: OpenTerms,
    ) -> Result<(SessionId, Life), Refused> {
        self.lock().gate.open_session(session, terms)
    }

    /// How many spawns there have been, if none is under way.
    pub(crate) fn census(&self) -> Option<u64> {
        self.lock().gate.census()
    }

    /// A name for a process that was found.
    pub(crate) fn name_found(&self) -> ProcessId {
        self.lock().gate.name_found()
    }

    /// The machine has taken in what this token stood for.
    pub(crate) fn landed(&self, session: SessionId, process: ProcessId) {
        self.lock().gate.landed(session, process);
    }

    /// The machine has not taken it in.
    pub(crate) fn dismiss(&self, session: SessionId, process: ProcessId) {
        self.lock().gate.dismiss(session, process);
    }

    pub(crate) fn close(&self, session: SessionId, create: bool, reason: Reason) -> Option<Closed> {
        let mut inner = self.lock();
        let closed = inner.gate.close(session, create, reason);
        closed.iter().for_each(|closed| inner.doom(closed));
        inner.serve();
        closed
    }

    pub(crate) fn close_all(&self, reason: Reason) -> Vec<Closed> {
        let mut inner = self.lock();
        let closed = inner.gate.close_all(reason);
        closed.iter().for_each(|closed| inner.doom(closed));
        inner.serve();
        closed
    }

    pub(crate) fn reopen(&self, session: SessionId, life: Life) {
        self.lock().gate.reopen(session, life);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The table is changed by calls that do not panic between two of its fields.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Ends the launches that are under way in what was closed: none of them would be handed out, and one that hangs would
    /// keep the end waiting.
    fn doom(&self, closed: &Closed) {
        for unborn in closed.tokens.iter().filter_map(|id| self.unborn.get(id)) {
            unborn.doom();
        }
    }

    /// Hands out what has become free.
    fn serve(&mut self) {
        for (ticket, answer) in self.gate.serve() {
            let Some(waiting) = self.waiting.remove(&ticket) else {
                continue;
            };
            // There is room for the one answer, and the receiver leaves the queue, under this lock, before it goes.
            let _room_for_one = waiting.try_send(answer);
        }
    }
}

/// A spawn under way: a token, and the slot that goes with it. Dropped on the way, also by a panic, it gives both
/// back and says so: an end may be waiting for exactly this token.
#[derive(Debug)]
pub(crate) struct Spawning {
    gate: Arc<SharedGate>,
    mail: Mail,
    session: SessionId,
    reservation: Reservation,
    open: bool,
    begun: Option<Begun>,
}

impl Spawning {
    pub(crate) fn process(&self) -> ProcessId {
        self.reservation.process
    }

    pub(crate) fn life(&self) -> Life {
        self.reservation.life
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// How the session wants its processes contained, where that was said.
    pub(crate) fn containment(&self) -> Option<Containment> {
        self.reservation.containment
    }

    /// Its program had begun before it was killed: what that may have started is ended with the session.
    pub(crate) fn has_begun(&mut self, facts: Arc<Facts>, since: Option<u64>) {
        self.begun = Some(Begun {
            session: self.session,
            facts,
            since,
        });
    }

    /// Whether the session was closed in the meantime.
    pub(crate) fn is_doomed(&self) -> bool {
        let inner = self.gate.lock();
        inner.gate.is_doomed(self.session, self.reservation.life)
    }

    /// Says that its launch begins, and how it can be ended until the returned value is dropped. `None`: the session was
    /// closed in the meantime.
    pub(crate) fn expect(&self, unborn: Arc<Unborn>) -> Option<Expected<'_>> {
        let mut inner = self.gate.lock();
        if inner.gate.is_doomed(self.session, self.reservation.life) {
            return None;
        }
        inner.unborn.insert(self.reservation.process, unborn);
        Some(Expected(self))
    }

    /// Hands the process over by `send`, which gets the slot and is told whether the session was closed in the
    /// meantime. It runs under the lock: whoever closes the session later finds the token out, and waits for what
    /// was sent. The token stays out until the reactor has taken the process in.
    pub(crate) fn hand_over<T>(mut self, send: impl FnOnce(Slot, bool) -> T) -> T {
        self.open = false;
        let slot = Slot {
            gate: Arc::clone(&self.gate),
            life: self.reservation.life,
        };
        let inner = self.gate.lock();
        let doomed = inner.gate.is_doomed(self.session, self.reservation.life);
        let sent = send(slot, doomed);
        drop(inner);
        sent
    }

    /// Hands over a process that exists already, unless the session was closed in the meantime: then it is not taken,
    /// and the token goes back.
    pub(crate) fn offer<T>(mut self, send: impl FnOnce(Slot) -> T) -> Option<T> {
        let gate = Arc::clone(&self.gate);
        let inner = gate.lock();
        if inner.gate.is_doomed(self.session, self.reservation.life) {
            // Before the token goes back, which takes the lock.
            drop(inner);
            return None;
        }
        self.open = false;
        Some(send(Slot {
            gate: Arc::clone(&self.gate),
            life: self.reservation.life,
        }))
    }
}

impl Drop for Spawning {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let Reservation { process, life, .. } = self.reservation;
        let begun = self.begun.take();
        let mut inner = self.gate.lock();
        match &begun {
            None => inner.gate.abort(self.session, process),
            Some(_) => inner.gate.abort_begun(self.session, process),
        }
        inner.serve();
        let aborted = Message::Aborted {
            process,
            life,
            begun,
        };
        // A reactor that is gone waits for nobody.
        drop(self.mail.send(aborted));
    }
}

/// A launch that whoever closes its session ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Expected<'a>(&'a Spawning);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let Spawning {
            gate, reservation, ..
        } = self.0;
        let unborn = gate.lock().unborn.remove(&reservation.process);
        // Its memory is given back without the lock.
        drop(unborn);
    }
}

/// A slot that a process fills until its death is confirmed.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Arc<SharedGate>,
    life: Life,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.gate.release(self.life);
        inner.serve();
    }
}

//! Who may be started: which numbers live, and how many slots are taken.
//!
//! The one part of the machine that handles look at by themselves, under a lock: a spawn takes a token here and does
//! not wait for the reactor. What opens and closes a number is the machine's decision alone.
//!
//! A token is held from before the fork until the machine has taken the process in, or the spawn has failed. Closing
//! a number names the tokens that are out, so that its end waits for exactly those.

use std::collections::{HashMap, VecDeque};

use super::ids::IdMap;
use crate::containment::Containment;
use crate::event::Reason;
use crate::limits::Limits;
use crate::session::{Life, ProcessId, SessionId};

/// A spawn that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TicketId(u64);

/// A slot, and the name of what will fill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) process: ProcessId,
    pub(crate) life: Life,
    /// How the session wants its processes contained, where that was said.
    pub(crate) containment: Option<Containment>,
}

/// Why nothing may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    SessionEnding,
    /// The life that was asked for is over.
    SessionEnded,
    /// The number lives already.
    SessionInUse,
    /// As many processes as the registry may have.
    Full {
        limit: usize,
    },
    /// As many processes as a session may have.
    SessionFull {
        limit: usize,
    },
    ShutDown,
}

/// A number that was closed, and its tokens that are out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) session: SessionId,
    pub(crate) life: Life,
    pub(crate) tokens: Vec<ProcessId>,
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    limits: Limits,
    numbers: HashMap<SessionId, Number>,
    tokens: IdMap<ProcessId, Life>,
    slots: IdMap<Life, usize>,
    taken: usize,
    queue: VecDeque<(TicketId, SessionId, Option<Life>)>,
    shut: bool,
    last_process: u64,
    last_life: u64,
    last_ticket: u64,
    last_number: u64,
    /// How many tokens were ever given out.
    reservations: u64,
}

/// The first of the numbers that are given to sessions without one.
const FIRST_NUMBER: u64 = 1 << 63;

#[derive(Clone, Copy, Debug)]
struct Number {
    life: Life,
    /// Why it is closed, if it is.
    closed: Option<Reason>,
    /// It was opened, a process was born into it, or its end was asked for: it lives until its end is over.
    lived: bool,
    /// What the session says for itself.
    terms: OpenTerms,
}

/// What a session that is opened says about its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTerms {
    pub(crate) containment: Option<Containment>,
    /// How many it may have at once.
    pub(crate) max_processes: Option<usize>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            numbers: HashMap::new(),
            tokens: IdMap::default(),
            slots: IdMap::default(),
            taken: 0,
            queue: VecDeque::new(),
            shut: false,
            last_process: 0,
            last_life: 0,
            last_ticket: 0,
            last_number: FIRST_NUMBER - 1,
            reservations: 0,
        }
    }

    /// Gives a number a life; without a number, one that was never given before.
    pub(crate) fn open_session(
        &mut self,
        session: Option<SessionId>,
        terms: OpenTerms,
    ) -> Result<(SessionId, Life), Refused> {
        if self.shut {
            return Err(Refused::ShutDown);
        }
        let session = match session {
            Some(session) => session,
            None => self.fresh_number(),
        };
        match self.numbers.get(&session) {
            Some(number) if number.closed.is_some() => return Err(Refused::SessionEnding),
            Some(_) => return Err(Refused::SessionInUse),
            None => {}
        }
        let life = self.open(session);
        if let Some(number) = self.numbers.get_mut(&session) {
            number.lived = true;
            number.terms = terms;
        }
        Ok((session, life))
    }

    /// The host may have chosen such a number itself: those that live are passed over.
    fn fresh_number(&mut self) -> SessionId {
        loop {
            self.last_number = self.last_number.wrapping_add(1).max(FIRST_NUMBER);
            let session = SessionId(self.last_number);
            if !self.numbers.contains_key(&session) {
                return session;
            }
        }
    }

    /// Takes a slot and a token, or says why not. A number that does not live begins to, unless one life of it is meant.
    pub(crate) fn reserve(
        &mut self,
        session: SessionId,
        life: Option<Life>,
    ) -> Result<Reservation, Refused> {
        if self.shut {
            return Err(Refused::ShutDown);
        }
        let number = self.numbers.get(&session).copied();
        if life.is_some_and(|life| number.is_none_or(|number| number.life != life)) {
            return Err(Refused::SessionEnded);
        }
        if number.is_some_and(|number| number.closed.is_some()) {
            return Err(Refused::SessionEnding);
        }
        if let Some(limit) = self.limits.total.filter(|&limit| self.taken >= limit) {
            return Err(Refused::Full { limit });
        }
        let used = number
            .and_then(|number| self.slots.get(&number.life))
            .copied()
            .unwrap_or(0);
        let own = number.and_then(|number| number.terms.max_processes);
        let limit = self.limits.per_session.into_iter().chain(own).min();
        if let Some(limit) = limit.filter(|&limit| used >= limit) {
            return Err(Refused::SessionFull { limit });
        }
        let life = match number {
            Some(number) => number.life,
            None => self.open(session),
        };
        self.taken += 1;
        self.reservations += 1;
        *self.slots.entry(life).or_insert(0) += 1;
        self.last_process += 1;
        let process = ProcessId(self.last_process);
        self.tokens.insert(process, life);
        Ok(Reservation {
            process,
            life,
            containment: number.and_then(|number| number.terms.containment),
        })
    }

    /// A token without a slot, into one life: what is taken in to be ended is nothing that anybody started, and does not
    /// count against what may be started.
    pub(crate) fn admit(&mut self, session: SessionId, life: Life) -> Result<Reservation, Refused> {
        if self.shut {
            return Err(Refused::ShutDown);
        }
        match self.numbers.get(&session) {
            Some(number) if number.life != life => return Err(Refused::SessionEnded),
            Some(number) if number.closed.is_some() => return Err(Refused::SessionEnding),
            Some(_) => {}
            None => return Err(Refused::SessionEnded),
        }
        self.last_process += 1;
        let process = ProcessId(self.last_process);
        self.tokens.insert(process, life);
        Ok(Reservation {
            process,
            life,
            containment: None,
        })
    }

    /// The lives that are not over, with those that nobody but the gate knows of yet.
    pub(crate) fn lives(&self) -> impl Iterator<Item = (SessionId, Life)> + '_ {
        self.numbers
            .iter()
            .map(|(&session, number)| (session, number.life))
    }

    fn open(&mut self, session: SessionId) -> Life {
        self.last_life += 1;
        let life = Life(self.last_life);
        self.numbers.insert(
            session,
            Number {
                life,
                closed: None,
                lived: false,
                terms: OpenTerms::default(),
            },
        );
        life
    }

    /// How many tokens were ever given out, if none of them is out now.
    pub(crate) fn census(&self) -> Option<u64> {
        self.tokens.is_empty().then_some(self.reservations)
    }

    /// A name for a process that was found. It has no slot: nobody asked for it.
    pub(crate) fn name_found(&mut self) -> ProcessId {
        self.last_process += 1;
        ProcessId(self.last_process)
    }

    // ---- the queue for slots

    /// Stands in the queue, first come first served.
    pub(crate) fn enqueue(&mut self, session: SessionId, life: Option<Life>) -> TicketId {
        self.last_ticket += 1;
        let ticket = TicketId(self.last_ticket);
        self.queue.push_back((ticket, session, life));
        ticket
    }

    /// Leaves the queue. `false` if the ticket was served already.
    pub(crate) fn leave(&mut self, ticket: TicketId) -> bool {
        let before = self.queue.len();
        self.queue.retain(|&(waiting, _, _)| waiting != ticket);
        self.queue.len() < before
    }

    /// Serves the tickets that can be served now, in their order. One that waits for its own session's slot does not
    /// hold up another session's.
    pub(crate) fn serve(&mut self) -> Vec<(TicketId, Result<Reservation, Refused>)> {
        let mut served = Vec::new();
        if self.queue.is_empty() {
            return served;
        }
        for (ticket, session, life) in std::mem::take(&mut self.queue) {
            match self.reserve(session, life) {
                Err(Refused::Full { .. } | Refused::SessionFull { .. }) => {
                    self.queue.push_back((ticket, session, life))
                }
                answer @ (Ok(_)
                | Err(
                    Refused::SessionEnding
                    | Refused::SessionEnded
                    | Refused::SessionInUse
                    | Refused::ShutDown,
                )) => served.push((ticket, answer)),
            }
        }
        served
    }

    // ---- tokens and slots

    /// Why the life that this token is for was closed, if it was.
    pub(crate) fn is_doomed(&self, session: SessionId, life: Life) -> bool {
        match self.numbers.get(&session) {
            Some(number) if number.life == life => number.closed.is_some(),
            // Over already, and perhaps alive again as another life.
            Some(_) | None => true,
        }
    }

    /// The spawn came to nothing.
    pub(crate) fn abort(&mut self, session: SessionId, process: ProcessId) {
        if let Some(&life) = self.tokens.get(&process) {
            self.release(life);
            self.dismiss(session, process);
        }
    }

    /// The same after its program had begun: what that may have started is the session's, which lives from now on.
    pub(crate) fn abort_begun(&mut self, session: SessionId, process: ProcessId) {
        if let Some(&life) = self.tokens.get(&process) {
            self.release(life);
            self.landed(session, process);
        }
    }

    /// The machine has not taken the process in. Its slot was given back.
    pub(crate) fn dismiss(&mut self, session: SessionId, process: ProcessId) {
        let Some(life) = self.tokens.remove(&process) else {
            return;
        };
        // The slot of one that has exited is free before the machine has heard of its birth.
        let unused = !self.slots.contains_key(&life) && self.tokens_of(life).is_empty();
        if let Some(number) = self.numbers.get(&session) {
            if unused && number.life == life && !number.lived && number.closed.is_none() {
                self.numbers.remove(&session);
            }
        }
    }

    /// The machine has taken the process in; its slot stays taken.
    pub(crate) fn landed(&mut self, session: SessionId, process: ProcessId) {
        let Some(life) = self.tokens.remove(&process) else {
            return;
        };
        if let Some(number) = self.numbers.get_mut(&session) {
            if number.life == life {
                number.lived = true;
            }
        }
    }

    /// A process of this life is confirmed dead: its slot is free.
    pub(crate) fn release(&mut self, life: Life) {
        let Some(used) = self.slots.get_mut(&life) else {
            return;
        };
        *used -= 1;
        self.taken -= 1;
        if *used == 0 {
            self.slots.remove(&life);
        }
    }

    // ---- what the machine decides

    /// Lets nothing more into a number. With `create`, one that does not live gets a life to be ended.
    pub(crate) fn close(
        &mut self,
        session: SessionId,
        create: bool,
        reason: Reason,
    ) -> Option<Closed> {
        if create && !self.numbers.contains_key(&session) {
            self.open(session);
        }
        let number = self.numbers.get_mut(&session)?;
        number.closed = Some(number.closed.unwrap_or(reason));
        number.lived = true;
        let life = number.life;
        Some(Closed {
            session,
            life,
            tokens: self.tokens_of(life),
        })
    }

    /// Lets nothing in any more.
    pub(crate) fn close_all(&mut self, reason: Reason) -> Vec<Closed> {
        self.shut = true;
        let sessions: Vec<SessionId> = self.numbers.keys().copied().collect();
        let mut closed: Vec<Closed> = sessions
            .into_iter()
            .filter_map(|session| self.close(session, false, reason))
            .collect();
        closed.sort_by_key(|gate| gate.session);
        closed
    }

    /// A life is over: the number may live again.
    pub(crate) fn reopen(&mut self, session: SessionId, life: Life) {
        if self
            .numbers
            .get(&session)
            .is_some_and(|number| number.life == life)
        {
            self.numbers.remove(&session);
        }
    }

    fn tokens_of(&self, life: Life) -> Vec<ProcessId> {
        let mut tokens: Vec<ProcessId> = self
            .tokens
            .iter()
            .filter(|&(_, &of)| of == life)
            .map(|(&process, _)| process)
            .collect();
        tokens.sort_unstable();
        tokens
    }

    /// How many slots are taken.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// How many numbers live.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn numbers(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);

    /// A child exits, its slot is given back, the next spawn fails: all before the machine has heard of the child's birth. The
    /// number was forgotten then, and lived twice at once.
    #[test]
    fn a_number_is_not_forgotten_while_a_birth_is_on_its_way() {
        let mut gate = Gate::new(Limits::NONE);
        let first = gate.reserve(SESSION, None).expect("nothing is closed");
        gate.release(first.life);
        let second = gate.reserve(SESSION, None).expect("nothing is closed");
        gate.abort(SESSION, second.process);
        gate.landed(SESSION, first.process);
        let third = gate.reserve(SESSION, None).expect("nothing is closed");
        assert_eq!(third.life, first.life);
    }

    #[test]
    fn a_number_whose_only_spawn_failed_is_forgotten() {
        let mut gate = Gate::new(Limits::NONE);
        let only = gate.reserve(SESSION, None).expect("nothing is closed");
        gate.abort(SESSION, only.process);
        assert_eq!((gate.numbers(), gate.taken()), (0, 0));
    }

    #[test]
    fn a_census_is_taken_between_spawns_alone() {
        let mut gate = Gate::new(Limits::NONE);
        assert_eq!(gate.census(), Some(0));
        let only = gate.reserve(SESSION, None).expect("nothing is closed");
        assert_eq!(gate.census(), None);
        gate.landed(SESSION, only.process);
        gate.name_found();
        assert_eq!(gate.census(), Some(1));
    }

    #[test]
    fn a_number_lives_once_and_is_not_opened_while_it_ends() {
        let mut gate = Gate::new(Limits::NONE);
        let terms = OpenTerms::default();
        let (_, life) = gate.open_session(Some(SESSION), terms).expect("it is free");
        assert_eq!(gate.lives().collect::<Vec<_>>(), [(SESSION, life)]);
        assert_eq!(gate.numbers(), 1);
        let again = gate.open_session(Some(SESSION), terms);
        assert_eq!(again, Err(Refused::SessionInUse));
        gate.close(SESSION, false, Reason::Host);
        let again = gate.open_session(Some(SESSION), terms);
        assert_eq!(again, Err(Refused::SessionEnding));
        gate.reopen(SESSION, life);
        assert_eq!(gate.lives().count(), 0);
        assert!(gate.open_session(Some(SESSION), terms).is_ok());
    }

    #[test]
    fn who_is_taken_in_to_be_ended_has_a_token_of_its_own_and_no_slot() {
        let mut gate = Gate::new(Limits::NONE.processes(1));
        let only = gate.reserve(SESSION, None).expect("nothing is closed");
        let met = [1, 2].map(|_| gate.admit(SESSION, only.life).expect("it lives").process);
        assert!(met[0] > only.process && met[1] > met[0], "{met:?}");
        assert_eq!(gate.taken(), 1);
        let other = Life(only.life.0 + 1);
        assert_eq!(gate.admit(SESSION, other), Err(Refused::SessionEnded));
        assert_eq!(
            gate.admit(SessionId(8), only.life),
            Err(Refused::SessionEnded)
        );
        let closed = gate.close(SESSION, false, Reason::Host).expect("it lives");
        assert_eq!(closed.tokens, [only.process, met[0], met[1]]);
        assert_eq!(gate.admit(SESSION, only.life), Err(Refused::SessionEnding));
    }

    #[test]
    fn a_queue_is_served_in_its_order_and_left_once() {
        let mut gate = Gate::new(Limits::NONE.processes(1));
        let only = gate.reserve(SESSION, None).expect("nothing is closed");
        let tickets = [1, 2, 3].map(|_| gate.enqueue(SESSION, None));
        assert!(gate.serve().is_empty(), "no slot is free");
        assert!(gate.leave(tickets[0]) && !gate.leave(tickets[0]));
        gate.abort(SESSION, only.process);
        let served = gate.serve();
        let [(ticket, Ok(_))] = served[..] else {
            panic!("{served:?}");
        };
        assert_eq!(ticket, tickets[1]);
        assert!(!gate.leave(ticket), "it was served");
        gate.close_all(Reason::Shutdown);
        assert_eq!(gate.serve(), [(tickets[2], Err(Refused::ShutDown))]);
    }
}

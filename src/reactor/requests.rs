//! The mailbox's messages, one by one: what each is to the machine, and who waits for its answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::cell::Cell;
use super::mailbox::{AllEnded, Ended, LifeCell, Message, Newborn};
use super::run::Reactor;
use crate::earlier::Inheritance;
use crate::error::Result;
use crate::event::EventKind;
use crate::machine::{Born, Input, OpenTerms, Opened, Refused, ReplyId, Request};
use crate::report::MemberReport;
use crate::session::{Life, ProcessId, SessionId};
use crate::session_options::SessionOptions;

/// Who waits for an answer.
pub(super) enum Sink {
    Done(Sender<Option<Result<()>>>),
    /// A wait for an empty session, with its number.
    Empty(u64, Sender<Option<Result<()>>>),
    Registered(Sender<Result<ProcessId>>),
    Ended(Ended),
    AllEnded(AllEnded),
    Member(Sender<Option<MemberReport>>),
}

impl Reactor {
    pub(super) fn message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Born(newborn) => self.born(newborn, now),
            Message::Aborted {
                process,
                life,
                begun,
            } => {
                let input = Input::Aborted {
                    process,
                    life,
                    begun,
                };
                self.input(input, now);
            }
            Message::Open {
                options,
                inheritance,
                reply,
            } => {
                // The caller waits, or has gone.
                drop(reply.send(self.open(*options, inheritance, now)));
            }
            Message::Session { session, reply } => {
                let cell = self
                    .machine
                    .life_of(session)
                    .map(|(life, label)| self.life_cell(session, life, label));
                // The caller waits, or has gone.
                drop(reply.send(cell));
            }
            Message::End {
                whom,
                policy,
                reason,
                to,
            } => {
                let reply = self.sink(Sink::Ended(to));
                self.request(
                    Request::End {
                        whom,
                        policy,
                        reason,
                        reply,
                    },
                    now,
                );
            }
            Message::Stop {
                process,
                policy,
                reply,
            } => {
                let reply = self.sink(Sink::Member(reply));
                self.request(
                    Request::Stop {
                        process,
                        policy,
                        reply,
                    },
                    now,
                );
            }
            Message::Signal {
                process,
                signal,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::Signal {
                        process,
                        signal,
                        reply,
                    },
                    now,
                );
            }
            Message::Detach { process, reply } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(Request::Detach { process, reply }, now);
            }
            Message::SignalSession {
                whom,
                signal,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::SignalSession {
                        whom,
                        signal,
                        reply,
                    },
                    now,
                );
            }
            Message::Touch {
                session,
                life,
                reply,
            } => {
                let reply = self.sink(Sink::Done(reply));
                self.request(
                    Request::Touch {
                        session,
                        life,
                        reply,
                    },
                    now,
                );
            }
            Message::WaitEmpty {
                session,
                life,
                wait,
                reply,
            } => {
                let reply = self.sink(Sink::Empty(wait, reply));
                self.request(
                    Request::WaitEmpty {
                        session,
                        life,
                        reply,
                    },
                    now,
                );
            }
            Message::Forget { life, wait } => self.forget(life, wait, now),
            Message::Shutdown { policy, reason, to } => {
                let reply = self.sink(Sink::AllEnded(to));
                self.request(
                    Request::Shutdown {
                        policy,
                        reason,
                        reply,
                    },
                    now,
                );
            }
            Message::HardenShutdown { policy } => {
                self.request(Request::HardenShutdown { policy }, now);
            }
            Message::Subscribe {
                mask,
                only,
                listener,
                capacity,
                done,
            } => {
                self.publisher.subscribe(mask, only, listener, capacity);
                self.forget_listeners();
                self.shared.set_news(&self.publisher);
                // In force. The caller waits for this, or has gone.
                let _or_gone = done.send(());
            }
            Message::LeaveAlone(pins) => self.watchlist.leave_alone(pins),
            Message::Announce { kinds, done } => {
                self.announce(&kinds, now);
                // The caller waits for this, or has gone.
                let _or_gone = done.send(());
            }
            Message::Ask(question) => question(&self.machine, &self.watchlist, now),
            Message::GoesOn { op } => self.input(Input::PassGoesOn { op }, now),
            Message::Done { op, outcome } => self.input(Input::Done { op, outcome }, now),
            Message::ExitSeen { process } => {
                self.input(Input::Ready { process }, now);
                self.shared.left_for_later.fetch_sub(1, Ordering::SeqCst);
            }
            Message::ChildEnded { pid } => {
                self.unclaimed = Some(pid);
                self.claim_child(now);
            }
            Message::Halt => {
                self.note_released();
                self.halted = true;
            }
        }
    }

    /// Does something about a child that has ended, once it is known whose it is.
    pub(super) fn claim_child(&mut self, now: Instant) {
        let Some(pid) = self.unclaimed else { return };
        if self.child_ended(pid, now) {
            self.unclaimed = None;
            if let Some(orphans) = &self.orphans {
                orphans.go_on();
            }
        }
    }

    fn announce(&mut self, kinds: &[EventKind], now: Instant) {
        for kind in kinds {
            self.journal.announce(kind);
            if self.publisher.announce(kind, now) {
                self.shared.set_news(&self.publisher);
            }
        }
    }

    /// Gives a session a life. Here, and not on the caller's thread: the gate and the machine hear of it together.
    fn open(
        &mut self,
        options: SessionOptions,
        inheritance: Inheritance,
        now: Instant,
    ) -> std::result::Result<Arc<LifeCell>, Refused> {
        let terms = OpenTerms {
            containment: options.containment,
            max_processes: options.max_processes,
        };
        let (session, life) = self.shared.gate.open_session(options.id, terms)?;
        if options.is_the_librarys {
            // Before anybody can see it in a list that is read here.
            self.shared.own_lives.insert(life);
        }
        let label = options.label.clone();
        let Inheritance {
            earlier,
            since,
            leaves,
        } = inheritance;
        let enclosed = !leaves.is_empty();
        self.shared.leaves.inherit(life, leaves);
        let opened = Opened {
            session,
            life,
            label: options.label,
            policy: options.stop_policy,
            earlier,
            since,
            enclosed,
            time_limit: options.time_limit,
            idle_limit: options.idle_limit,
        };
        // Before the input: a limit of zero ends the session at once, and its report is for this cell.
        let cell = self.life_cell(session, life, label);
        self.input(Input::Opened(opened), now);
        Ok(cell)
    }

    /// The cell that all handles of this life share.
    fn life_cell(
        &mut self,
        session: SessionId,
        life: Life,
        label: Option<Arc<str>>,
    ) -> Arc<LifeCell> {
        if let Some(cell) = self.life_cells.get(&life).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(LifeCell {
            session,
            life,
            label,
            report: Cell::default(),
        });
        self.life_cells.insert(life, Arc::downgrade(&cell));
        cell
    }

    /// The caller's time was over before the answer was there.
    fn forget(&mut self, life: Life, wait: u64, now: Instant) {
        let found = self.sinks.iter().find_map(|(&reply, sink)| match sink {
            Sink::Empty(of, _) if *of == wait => Some(reply),
            Sink::Empty(..)
            | Sink::Done(_)
            | Sink::Ended(_)
            | Sink::AllEnded(_)
            | Sink::Member(_)
            | Sink::Registered(_) => None,
        });
        if let Some(reply) = found {
            self.sinks.remove(&reply);
            self.request(Request::Forget { life, reply }, now);
        }
    }

    fn born(&mut self, newborn: Newborn, now: Instant) {
        let Newborn {
            core,
            at,
            since,
            raced,
            time_limit,
            reply,
        } = newborn;
        let (session, process) = (core.session, core.process);
        let born = Born {
            process: core.process,
            life: core.life,
            session: core.session,
            facts: Arc::clone(&core.facts),
            at,
            since,
            raced,
            time_limit,
            reply: reply.map(|reply| self.sink(Sink::Registered(reply))),
        };
        self.watchlist.insert(core);
        if let Some(orphans) = &self.orphans {
            orphans.wake();
        }
        self.input(Input::Born(born), now);
        // Until here its token was out: an end that came before would have waited for it. Where the machine did not
        // take it in, the token is gone already.
        self.shared.gate.landed(session, process);
    }

    fn request(&mut self, request: Request, now: Instant) {
        self.input(Input::Request(request), now);
    }

    fn sink(&mut self, sink: Sink) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.sinks.insert(reply, sink);
        reply
    }
}

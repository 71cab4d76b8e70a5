//! A day in the life of a registry: whatever has gone, nothing of it is kept.
//!
//! What is compared is all that the machine and the gate hold, as they print it: a table that somebody adds and forgets to
//! clear is in it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::engine::Machine;
use super::super::{
    Action, Born, Facts, Fate, Gate, Input, Looked, OpenTerms, Opened, Outcome, Passed, Reach,
    Relation, ReplyId, Request, Settings, Whom,
};
use crate::containment::Containment;
use crate::event::{Origin, Reason};
use crate::exit::{Exit, Status, StatusSource};
use crate::limits::Limits;
use crate::session::{Life, ProcessId, SessionId};
use crate::stop::StopPolicy;

const PROCESSES: u64 = 10_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// A machine and its gate, and a kernel in which a process is alive until it is said to be dead.
struct Host {
    machine: Machine,
    gate: Gate,
    now: Instant,
    dying: Option<ProcessId>,
    replies: u64,
}

impl Host {
    fn new(group_after_reap: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a first moment; from here on time is virtual"
        )]
        let now = Instant::now();
        let settings = Settings {
            subreaper: false,
            policy: StopPolicy::graceful(),
            group_after_reap,
            kept_reports: 4,
        };
        Self {
            machine: Machine::new(settings),
            gate: Gate::new(Limits::NONE.processes(10)),
            now,
            dying: None,
            replies: 0,
        }
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "all others have no outcome here"
            )]
            let outcome = match effect.action {
                Action::Look { process, .. } if self.dying == Some(process) => {
                    Outcome::Looked(Looked::Exited(self.exit()))
                }
                Action::Look { .. } => Outcome::Looked(Looked::Alive),
                Action::ProbeGroup { .. } => Outcome::GroupProbed { occupied: false },
                Action::Pass { .. } => Outcome::Passed(Passed {
                    fate: Fate::Complete,
                    calm: true,
                    rounds: 2,
                    ..Passed::default()
                }),
                Action::Signal { .. } => Outcome::Signalled(Ok(())),
                Action::CloseGate {
                    session,
                    create,
                    reason,
                } => Outcome::GateClosed(self.gate.close(session, create, reason)),
                Action::OpenGate { session, life } => {
                    self.gate.reopen(session, life);
                    continue;
                }
                _ => continue,
            };
            let op = effect.op;
            self.machine.handle(Input::Done { op, outcome }, self.now);
        }
    }

    fn exit(&self) -> Exit {
        Exit {
            status: Status::Code(0),
            source: StatusSource::Waited,
            asked: None,
            at: self.now,
            wall_clock: SystemTime::UNIX_EPOCH,
            lifetime: None,
            usage: None,
        }
    }

    fn reply(&mut self) -> ReplyId {
        self.replies += 1;
        ReplyId(self.replies)
    }

    fn open(&mut self, session: Option<SessionId>) -> (SessionId, Life) {
        let opened = self.gate.open_session(session, OpenTerms::default());
        let (session, life) = opened.expect("it does not live");
        self.input(Input::Opened(Opened {
            earlier: Vec::new(),
            since: None,
            enclosed: false,
            session,
            life,
            label: Some(Arc::from("a session with a name")),
            policy: Some(StopPolicy::stdio_server()),
            time_limit: Some(DAY * 2),
            idle_limit: Some(HOUR),
        }));
        (session, life)
    }

    fn born(&mut self, session: SessionId, life: Life) -> ProcessId {
        let reserved = self.gate.reserve(session, Some(life));
        let process = reserved.expect("there is a slot").process;
        let facts = Facts {
            // Numbers come back, as they do over a day.
            pid: u32::try_from(process.0 % 1000).expect("small") + 2,
            inode: Some(process.0),
            relation: Relation::Child,
            leads_group: true,
            origin: Origin::Spawned,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: false,
            label: Some(Arc::from("a process with a name")),
            command_line: Arc::from(["program".into()]),
        };
        self.input(Input::Born(Born {
            process,
            life,
            session,
            facts: Arc::new(facts),
            at: self.now,
            since: None,
            raced: false,
            time_limit: Some(HOUR),
            reply: None,
        }));
        self.gate.landed(session, process);
        process
    }

    fn exits(&mut self, process: ProcessId, life: Life) {
        self.dying = Some(process);
        self.input(Input::Ready { process });
        self.gate.release(life);
    }

    /// Lets time go by, with whatever is due on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.machine.next_deadline().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.input(Input::Timer);
        }
        self.now = until;
    }

    /// How much there is of it. Counters have as many digits as they need: a few bytes more in a day.
    fn size(&self) -> usize {
        format!("{:?} {:?}", self.machine, self.gate).len()
    }
}

#[track_caller]
fn assert_flat(early: usize, late: usize) {
    assert!(late < early + early / 10 + 64, "from {early} to {late}");
}

#[test]
fn ten_thousand_processes_in_one_session_over_a_day_leave_no_memory() {
    for group_after_reap in [true, false] {
        let mut host = Host::new(group_after_reap);
        let (session, life) = host.open(None);
        let patient = host.born(session, life);
        let mut early = 0;
        for n in 0..PROCESSES {
            let process = host.born(session, life);
            if n % 3 == 0 {
                let reply = host.reply();
                host.input(Input::Request(Request::Touch {
                    session,
                    life,
                    reply,
                }));
                let reply = host.reply();
                host.input(Input::Request(Request::WaitEmpty {
                    session,
                    life,
                    reply,
                }));
                host.input(Input::Request(Request::Forget { life, reply }));
            }
            host.pass(DAY / u32::try_from(PROCESSES).expect("small"));
            host.exits(process, life);
            if n == 100 {
                early = host.size();
            }
            // The one that stays is past its time after an hour, and will not die: it does not count here.
            if n == 300 {
                host.exits(patient, life);
            }
        }
        assert_flat(early, host.size());
        assert!(host.machine.members.is_empty() && host.machine.by_pid.is_empty());
        let reply = host.reply();
        host.input(Input::Request(Request::End {
            whom: Whom::Life(session, life),
            policy: None,
            reason: Reason::Host,
            reply,
        }));
        let report = host.machine.last_report(session).expect("it has ended");
        assert_eq!(report.gone_before(), PROCESSES + 1);
        assert_eq!(host.machine.deadlines.iter().count(), 0);
    }
}

#[test]
fn ten_thousand_sessions_over_a_day_leave_no_memory() {
    let mut host = Host::new(true);
    let mut early = 0;
    for n in 0..PROCESSES {
        let number = (n % 2 == 0).then_some(SessionId(n % 50));
        let (session, life) = host.open(number);
        let process = host.born(session, life);
        let idle = n % 5 == 0;
        if idle {
            // Its idle limit ends it.
            host.pass(HOUR);
        } else {
            let reply = host.reply();
            host.input(Input::Request(Request::End {
                whom: Whom::Life(session, life),
                policy: None,
                reason: Reason::Host,
                reply,
            }));
        }
        host.exits(process, life);
        host.pass(Duration::from_secs(9));
        if n == 100 {
            early = host.size();
        }
    }
    assert_flat(early, host.size());
    assert!(host.machine.lives.is_empty() && host.machine.current.is_empty());
    assert_eq!(host.machine.deadlines.iter().count(), 0);
    assert_eq!((host.gate.taken(), host.gate.numbers()), (0, 0));
}

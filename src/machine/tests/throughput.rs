//! How much the machine takes in, beside a bare map and an ordered set that hold as much.
//!
//! `cargo test --release --lib throughput -- --nocapture` prints it; in a debug build only a few run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::engine::Machine;
use super::super::{
    Action, Born, Facts, Fate, Input, Looked, Outcome, Passed, Reach, Relation, Settings,
};
use crate::containment::Containment;
use crate::event::Origin;
use crate::exit::{Exit, Status, StatusSource};
use crate::session::{Life, ProcessId, SessionId};
use crate::stop::StopPolicy;

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn clock() -> Instant {
    Instant::now()
}

/// Processes of the machine, each input with all its effects and their outcomes.
struct Run {
    machine: Machine,
    now: Instant,
    dead: bool,
    inputs: u64,
}

impl Run {
    fn input(&mut self, input: Input) {
        self.inputs += 1;
        self.machine.handle(input, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "all others have no outcome here"
            )]
            let outcome = match effect.action {
                Action::Look { .. } if self.dead => Outcome::Looked(Looked::Exited(self.exit())),
                Action::Look { .. } => Outcome::Looked(Looked::Alive),
                Action::ProbeGroup { .. } => Outcome::GroupProbed { occupied: false },
                Action::Pass { .. } => Outcome::Passed(Passed {
                    fate: Fate::Complete,
                    calm: true,
                    rounds: 2,
                    ..Passed::default()
                }),
                _ => continue,
            };
            self.inputs += 1;
            self.machine.handle(
                Input::Done {
                    op: effect.op,
                    outcome,
                },
                self.now,
            );
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

    fn born(&mut self, n: u64) {
        let facts = Facts {
            pid: u32::try_from(n).expect("few enough"),
            inode: Some(n),
            relation: Relation::Child,
            leads_group: true,
            origin: Origin::Spawned,
            containment: Containment::Group,
            reach: Reach::Group,
            in_a_members_group: false,
            label: None,
            command_line: Arc::from([]),
        };
        self.dead = false;
        self.input(Input::Born(Born {
            process: ProcessId(n),
            life: Life(n / 100),
            session: SessionId(n / 100),
            facts: Arc::new(facts),
            at: self.now,
            since: None,
            raced: false,
            time_limit: None,
            reply: None,
        }));
    }

    fn exits(&mut self, n: u64) {
        self.dead = true;
        self.input(Input::Ready {
            process: ProcessId(n),
        });
    }
}

/// Every process is replaced once: one exits, another is born.
fn measure(living: u64) -> (Duration, Duration, u64) {
    let settings = Settings {
        subreaper: false,
        policy: StopPolicy::graceful(),
        group_after_reap: true,
        kept_reports: 4,
    };
    let now = clock();
    let mut run = Run {
        machine: Machine::new(settings),
        now,
        dead: false,
        inputs: 0,
    };
    for n in 0..living {
        run.born(n);
    }
    run.inputs = 0;
    let began = clock();
    for n in 0..living {
        run.exits(n);
        run.born(living + n);
    }
    let ours = began.elapsed();

    let mut map: HashMap<u64, u64> = (0..living).map(|n| (n, n)).collect();
    let mut set: BTreeSet<(u64, u64)> = (0..living).map(|n| (n, n)).collect();
    let began = clock();
    for n in 0..living {
        assert!(map.remove(&n).is_some() && set.remove(&(n, n)));
        assert!(map.insert(living + n, n).is_none() && set.insert((living + n, n)));
    }
    let bare = began.elapsed();
    assert_eq!(run.machine.members.len() as u64, living);
    (ours, bare, run.inputs)
}

#[test]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn throughput() {
    let sizes: &[u64] = if cfg!(debug_assertions) {
        &[1_000]
    } else {
        &[100_000, 1_000_000]
    };
    for &living in sizes {
        let (ours, bare, inputs) = measure(living);
        let nanos = ours.as_nanos() / u128::from(inputs);
        println!(
            "{living} processes: {nanos} ns an input, {:.1} million inputs a second; a bare map and set: {} ns for each change",
            1e3 / nanos.max(1) as f64,
            bare.as_nanos() / u128::from(living * 2),
        );
    }
}

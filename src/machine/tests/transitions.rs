//! The table of transitions: what a process or a session is at, against what can happen to it. Random runs come through
//! every cell but those that are declared out of reach, and through none of these.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::super::engine::{Machine, Pending};
use super::super::life::LifeState;
use super::super::member::Sight;
use super::super::{Errno, Fate, Input, Looked, Outcome, Request, Whom};
use super::descendants::Sees;
use super::properties::op;
use super::world::{Op, Temper, Tier, World};
use crate::limits::Limits;
use crate::session::{Life, ProcessId};

/// What a process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// It is not known, or not any more.
    Unknown,
    Alive,
    /// Readable, not waitable.
    Held,
    /// Dead, and its status is waited for.
    Dead,
}

const AT: [At; 4] = [At::Unknown, At::Alive, At::Held, At::Dead];

/// What a session, or the one of a process, is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its number does not live.
    None,
    Open,
    /// Its end waits to hear who is there.
    Surveying,
    /// Before SIGKILL.
    Asking,
    Killing,
    /// Why somebody is still alive is being found out.
    Inspecting,
    /// Its end is over and left survivors.
    Lingering,
}

const STAGES: [Stage; 7] = [
    Stage::None,
    Stage::Open,
    Stage::Surveying,
    Stage::Asking,
    Stage::Killing,
    Stage::Inspecting,
    Stage::Lingering,
];

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Born,
    Ready,
    Stop,
    Signal,
    Detach,
    LookedAlive,
    LookedHeld,
    LookedDead,
    LookedExited,
    Signalled,
    NotPermitted,
    NoSuchProcess,
    InspectedWithCause,
    InspectedInVain,
    Noted,
}

const HAPPENS: [Happens; 15] = [
    Happens::Born,
    Happens::Ready,
    Happens::Stop,
    Happens::Signal,
    Happens::Detach,
    Happens::LookedAlive,
    Happens::LookedHeld,
    Happens::LookedDead,
    Happens::LookedExited,
    Happens::Signalled,
    Happens::NotPermitted,
    Happens::NoSuchProcess,
    Happens::InspectedWithCause,
    Happens::InspectedInVain,
    Happens::Noted,
];

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Befalls {
    End,
    SignalAll,
    Aborted,
    GateClosed,
    Populated,
    GroupEmpty,
    GroupOccupied,
    PassComplete,
    PassRefused,
    Timer,
    Shutdown,
}

const BEFALLS: [Befalls; 11] = [
    Befalls::End,
    Befalls::SignalAll,
    Befalls::Aborted,
    Befalls::GateClosed,
    Befalls::Populated,
    Befalls::GroupEmpty,
    Befalls::GroupOccupied,
    Befalls::PassComplete,
    Befalls::PassRefused,
    Befalls::Timer,
    Befalls::Shutdown,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Process(At, Stage, Happens),
    /// Its own stop is under way, whatever its session is at.
    Stopping(At, Happens),
    Session(Stage, Befalls),
}

/// The cells that a world has come through.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<Mutex<BTreeSet<Cell>>>);

impl Reached {
    /// Before the machine takes it in.
    pub(super) fn note(&self, machine: &Machine, input: &Input) {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match input {
            Input::Born(born) => {
                let stage = stage_of(machine, born.life);
                cells.insert(Cell::Process(At::Unknown, stage, Happens::Born));
            }
            Input::Ready { process } => {
                cells.extend(of_process(machine, *process, Happens::Ready));
            }
            Input::Aborted { life, .. } => {
                cells.insert(Cell::Session(stage_of(machine, *life), Befalls::Aborted));
            }
            Input::Populated { life } => {
                cells.insert(Cell::Session(stage_of(machine, *life), Befalls::Populated));
            }
            Input::Request(request) => {
                cells.extend(requested(machine, request));
            }
            Input::Timer => {
                let stages = machine.lives.values().map(stage);
                cells.extend(stages.map(|stage| Cell::Session(stage, Befalls::Timer)));
            }
            Input::Done { op, outcome } => {
                if let Some((_, pending)) = machine.pending.iter().find(|(of, _)| of == op) {
                    cells.extend(done(machine, pending, outcome));
                }
            }
            // Neither says anything of a session that was there before.
            Input::Opened(_) | Input::PassGoesOn { .. } => {}
        }
    }

    fn cells(&self) -> BTreeSet<Cell> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn stage_of(machine: &Machine, life: Life) -> Stage {
    machine.lives.get(&life).map_or(Stage::None, stage)
}

fn stage(state: &LifeState) -> Stage {
    let Some(end) = &state.end else {
        return if state.lingers {
            Stage::Lingering
        } else {
            Stage::Open
        };
    };
    if end.inspection.is_some() {
        Stage::Inspecting
    } else if end.search.as_ref().is_some_and(|search| !search.surveyed) {
        Stage::Surveying
    } else if end.ladder.is_killing() {
        Stage::Killing
    } else {
        Stage::Asking
    }
}

fn of_process(machine: &Machine, process: ProcessId, happens: Happens) -> Vec<Cell> {
    let Some(member) = machine.members.get(&process) else {
        return vec![Cell::Process(At::Unknown, Stage::None, happens)];
    };
    let at = match member.sight {
        Sight::Alive => At::Alive,
        Sight::Held { .. } => At::Held,
        Sight::Dead => At::Dead,
    };
    let stage = match (stage_of(machine, member.life), happens) {
        // An answer that is late is late, whatever has come in between.
        (stage, Happens::InspectedWithCause | Happens::InspectedInVain)
            if stage != Stage::Inspecting =>
        {
            Stage::Lingering
        }
        // What comes of a signal is taken in alike whatever the session is at.
        (_, Happens::Signalled | Happens::NotPermitted | Happens::NoSuchProcess) => Stage::Open,
        (stage, _) => stage,
    };
    let mut cells = vec![Cell::Process(at, stage, happens)];
    cells.extend(member.stop.as_ref().map(|_| Cell::Stopping(at, happens)));
    cells
}

fn requested(machine: &Machine, request: &Request) -> Vec<Cell> {
    let of = |whom: &Whom, befalls| {
        let life = match whom {
            Whom::Number(session) => machine.current.get(session),
            Whom::Life(_, life) => Some(life),
        };
        let stage = life.map_or(Stage::None, |life| stage_of(machine, *life));
        vec![Cell::Session(stage, befalls)]
    };
    match request {
        Request::End { whom, .. } => of(whom, Befalls::End),
        Request::SignalSession { whom, .. } => of(whom, Befalls::SignalAll),
        Request::Stop { process, .. } => of_process(machine, *process, Happens::Stop),
        Request::Signal { process, .. } => of_process(machine, *process, Happens::Signal),
        Request::Detach { process, .. } => of_process(machine, *process, Happens::Detach),
        Request::Shutdown { .. } => {
            let stages = machine.lives.values().map(stage);
            let cells = stages.map(|stage| Cell::Session(stage, Befalls::Shutdown));
            cells.collect()
        }
        Request::Touch { .. }
        | Request::WaitEmpty { .. }
        | Request::Forget { .. }
        | Request::HardenShutdown { .. } => Vec::new(),
    }
}

fn done(machine: &Machine, pending: &Pending, outcome: &Outcome) -> Vec<Cell> {
    match (pending, outcome) {
        (Pending::Look { process }, Outcome::Looked(looked)) => {
            let happens = match looked {
                Looked::Alive => Happens::LookedAlive,
                Looked::Held => Happens::LookedHeld,
                Looked::Dead => Happens::LookedDead,
                Looked::Exited(_) => Happens::LookedExited,
            };
            of_process(machine, *process, happens)
        }
        (Pending::Signal { process, .. }, Outcome::Signalled(result)) => {
            let happens = match result {
                Ok(()) => Happens::Signalled,
                Err(Errno::NotPermitted) => Happens::NotPermitted,
                Err(Errno::NoSuchProcess | Errno::Other(_)) => Happens::NoSuchProcess,
            };
            of_process(machine, *process, happens)
        }
        (Pending::Inspect { process }, Outcome::Inspected(cause)) => {
            let happens = match cause {
                Some(_) => Happens::InspectedWithCause,
                None => Happens::InspectedInVain,
            };
            of_process(machine, *process, happens)
        }
        (Pending::Detach { process, .. }, Outcome::Noted(_)) => {
            of_process(machine, *process, Happens::Noted)
        }
        (Pending::Probe { life, .. }, Outcome::GroupProbed { occupied }) => {
            let befalls = if *occupied {
                Befalls::GroupOccupied
            } else {
                Befalls::GroupEmpty
            };
            let mut stage = stage_of(machine, *life);
            if stage == Stage::Inspecting {
                // SIGKILL has been sent, and nothing else matters to a group.
                stage = Stage::Killing;
            }
            vec![Cell::Session(stage, befalls)]
        }
        (Pending::Pass, Outcome::Passed(passed)) => {
            let befalls = match passed.fate {
                Fate::Complete => Befalls::PassComplete,
                Fate::Refused | Fate::Late => Befalls::PassRefused,
            };
            let searched = |state: &&LifeState| {
                let end = state.end.as_ref();
                end.is_some_and(|end| end.search.is_some())
            };
            let stages = machine.lives.values().filter(searched).map(stage);
            stages.map(|stage| Cell::Session(stage, befalls)).collect()
        }
        (Pending::End { session, .. }, Outcome::GateClosed(_)) => {
            let life = machine.current.get(session);
            let stage = life.map_or(Stage::None, |life| stage_of(machine, *life));
            vec![Cell::Session(stage, Befalls::GateClosed)]
        }
        _ => Vec::new(),
    }
}

fn table() -> BTreeSet<Cell> {
    let mut cells = BTreeSet::new();
    for at in AT {
        for happens in HAPPENS {
            let in_sessions = STAGES.map(|stage| Cell::Process(at, stage, happens));
            cells.extend(in_sessions);
            cells.insert(Cell::Stopping(at, happens));
        }
    }
    for stage in STAGES {
        cells.extend(BEFALLS.map(|befalls| Cell::Session(stage, befalls)));
    }
    cells
}

/// Why a cell is out of reach, if it is.
fn out_of_reach(cell: Cell) -> Option<&'static str> {
    use Happens::{
        Born, InspectedInVain, InspectedWithCause, LookedAlive, LookedDead, LookedHeld,
        NoSuchProcess, NotPermitted, Noted, Signalled,
    };
    let why = match cell {
        Cell::Process(At::Unknown, stage, happens) => match (stage, happens) {
            (_, Born) => return None,
            (Stage::None, LookedAlive | LookedHeld | LookedDead | NotPermitted | Noted) => {
                "these answers are given at once, and who is asked about is known"
            }
            (Stage::None, NoSuchProcess) => "so is this one",
            (Stage::None, _) => return None,
            _ => "who is not known is in no session",
        },
        Cell::Stopping(At::Unknown, _) => "who is not known has no stop",
        Cell::Process(_, Stage::None, _) => "who is known is in a session that lives",
        Cell::Process(_, _, Born) | Cell::Stopping(_, Born) => "a process is born once",
        Cell::Process(_, _, NoSuchProcess) | Cell::Stopping(_, NoSuchProcess) => {
            "the exit of whoever is reaped is seen first; the worlds of kqueue come through it"
        }
        Cell::Process(at, stage, happens) => match (at, stage, happens) {
            (At::Held | At::Dead, _, LookedAlive) => "the dead do not live again",
            (At::Dead, _, LookedHeld) => "no tracer takes hold of who is dead to be waited for",
            (At::Alive, Stage::Open, Noted) => return None,
            (At::Alive | At::Held | At::Dead, _, Noted) => {
                "who is given up lives, in a session that is open"
            }
            (
                _,
                Stage::Open | Stage::Surveying | Stage::Asking | Stage::Killing,
                InspectedInVain | InspectedWithCause,
            ) => "an answer that is late is counted once",
            (_, stage, Signalled | NotPermitted) if stage != Stage::Open => {
                "what comes of a signal is counted once"
            }
            _ => return None,
        },
        Cell::Stopping(at, happens) => match (at, happens) {
            (At::Held | At::Dead, LookedAlive) => "the dead do not live again",
            (At::Dead, LookedHeld) => "no tracer takes hold of who is dead to be waited for",
            (_, Noted) => "who is being stopped is not given up",
            _ => return None,
        },
        Cell::Session(stage, befalls) => match (stage, befalls) {
            (
                Stage::None,
                Befalls::PassComplete | Befalls::PassRefused | Befalls::Timer | Befalls::Shutdown,
            ) => "this is noted of what there is",
            (Stage::Open | Stage::Lingering, Befalls::PassComplete | Befalls::PassRefused) => {
                "a pass serves what is being ended"
            }
            (
                Stage::Surveying | Stage::Asking | Stage::Killing | Stage::Inspecting,
                Befalls::GateClosed,
            ) => "a gate is closed once, and an end that is under way is joined without it",
            (Stage::Inspecting, Befalls::GroupEmpty | Befalls::GroupOccupied) => {
                "to a group it is the same as before"
            }
            (Stage::Lingering, Befalls::End | Befalls::SignalAll | Befalls::GateClosed) => {
                "a number whose end is over has no life"
            }
            _ => return None,
        },
    };
    Some(why)
}

/// Whatever happens, in two moods: one in which all goes its way, and one in which hardly anything dies or is answered.
fn happening(stubborn: bool) -> BoxedStrategy<Op> {
    let shutdown = (0..4_usize).prop_map(Op::Shutdown);
    if !stubborn {
        return prop_oneof![60 => op(), 1 => shutdown].boxed();
    }
    let temper = prop_oneof![
        Just(Temper::Asleep),
        Just(Temper::Foreign),
        Just(Temper::Deaf)
    ];
    let n = 0..6_usize;
    prop_oneof![
        4 => (0..2_u64).prop_map(Op::Reserve),
        4 => temper.clone().prop_map(Op::Born),
        3 => temper.prop_map(Op::Attach),
        1 => Just(Op::Abort),
        2 => (0..2_u64).prop_map(|session| Op::End(session, 0)),
        8 => Just(Op::Timer),
        3 => n.clone().prop_map(Op::Trace),
        3 => n.clone().prop_map(Op::ExitUnseen),
        2 => n.clone().prop_map(Op::Exit),
        4 => n.clone().prop_map(Op::Join),
        2 => n.clone().prop_map(Op::Populated),
        2 => (0..2_u64).prop_map(Op::SignalAll),
        6 => n.clone().prop_map(Op::Signal),
        4 => n.clone().prop_map(Op::Detach),
        2 => (n.clone(), 0..4_usize).prop_map(|(process, policy)| Op::Stop(process, policy)),
        2 => n.prop_map(Op::Ready),
        1 => Just(Op::Untrace),
        1 => any::<bool>().prop_map(Op::Inspected),
        3 => Just(Op::Passed(Sees::All)),
        2 => Just(Op::Passed(Sees::Nothing)),
        1 => shutdown,
    ]
    .boxed()
}

#[test]
fn every_cell_is_come_through_or_declared_out_of_reach() {
    /// So many runs at most; far fewer are enough.
    const RUNS: usize = 20_000;
    let (within, out): (BTreeSet<Cell>, BTreeSet<Cell>) = table()
        .into_iter()
        .partition(|cell| out_of_reach(*cell).is_none());
    let mut runner = TestRunner::deterministic();
    let reached = Reached::default();
    let mut runs = 0;
    while runs < RUNS && !within.is_subset(&reached.cells()) {
        let tier = Tier::ALL[runs % 4];
        let group_after_reap = runs % 8 < 4 || tier == Tier::Subreaper;
        let mut world = World::of_tier(Limits::NONE, group_after_reap, tier);
        world.prompt_passes = false;
        world.reached = Some(reached.clone());
        let ops = prop::collection::vec(happening(runs % 3 > 0), 0..100);
        for op in ops.new_tree(&mut runner).unwrap().current() {
            world.let_happen(op);
        }
        // What is promised of such runs, and that they come to their ends, the properties show.
        runs += 1;
    }
    let reached = reached.cells();
    println_cells(reached.len(), out.len(), runs);
    let missing: Vec<&Cell> = within.difference(&reached).collect();
    assert!(missing.is_empty(), "not come through: {missing:#?}");
    let unexpected = reached.intersection(&out);
    let unexpected: Vec<_> = unexpected.map(|cell| (cell, out_of_reach(*cell))).collect();
    assert!(
        unexpected.is_empty(),
        "come through, and not out of reach because: {unexpected:#?}"
    );
}

#[expect(clippy::print_stdout, reason = "seen with --nocapture")]
fn println_cells(reached: usize, out: usize, runs: usize) {
    println!("{reached} cells come through in {runs} runs, {out} out of reach");
}

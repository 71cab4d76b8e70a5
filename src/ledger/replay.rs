//! What the lines of a ledger mean together: which processes may still live.
//!
//! Pure: bytes in, [`State`] out. What is damaged is not believed, and costs no more than itself:
//!
//! * A last line without an end is a write that did not come to its end: it is cut off.
//! * A line whose checksum is wrong is left out; the next one begins behind its end. A damaged end of a line costs the two
//!   lines that it joins.
//! * A process whose intent is lost is known by its identity, one whose identity is lost by its marks. A process whose
//!   death is lost is looked for, and is not there. Only the loss of a detachment would do harm, hence it is written twice.
//! * Whatever concerns a registry whose host is of another boot is stale.
//! * A first line that is damaged is left out too. One that names another version is believed: of that one's lines some may
//!   be like ours, and what the others say would be lost.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{HEADER, Host, Identity, Record, is_of_another_version};
use crate::session::{Life, ProcessId, SessionId};

/// What may still live, by the numbers of the registries that wrote it down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) runs: BTreeMap<u64, Run>,
}

/// One registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Who it was; `None` where that line is damaged.
    pub(crate) host: Option<Host>,
    pub(crate) processes: BTreeMap<ProcessId, Noted>,
    /// All of it was given up.
    pub(crate) released: bool,
    /// Its lives that are not over, and their numbers.
    pub(crate) lives: BTreeMap<Life, SessionId>,
    /// The highest of its lives.
    pub(crate) last_life: Life,
}

/// One process that may still live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Where it belongs; `None` where that line is damaged.
    pub(crate) place: Option<(Life, SessionId)>,
    /// Which it is; `None` if it was about to be started when the host died.
    pub(crate) identity: Option<Identity>,
    /// It was given up.
    pub(crate) detached: bool,
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    Ledger {
        state: State,
        /// How many lines were left out.
        damaged: usize,
    },
    /// It is somebody else's file, or another version's.
    NotOurs,
}

/// Reads a whole file.
pub(crate) fn replay(bytes: &[u8]) -> Replayed {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let Some(header) = first.strip_suffix(b"\n") else {
        // Cut off within its first line: there never was a record in it.
        return if HEADER.as_bytes().starts_with(first) {
            Replayed::Ledger {
                state: State::default(),
                damaged: 0,
            }
        } else {
            Replayed::NotOurs
        };
    };
    if is_of_another_version(header) {
        return Replayed::NotOurs;
    }
    let mut state = State::default();
    let mut damaged = 0;
    let mut believed = header == HEADER.as_bytes();
    if !believed {
        damaged += 1;
    }
    for line in lines {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        match Record::decode(line) {
            Some(record) => {
                state.apply(&record);
                believed = true;
            }
            None => damaged += 1,
        }
    }
    if believed {
        Replayed::Ledger { state, damaged }
    } else {
        Replayed::NotOurs
    }
}

impl State {
    /// Takes in what happened next.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Host(host) => {
                let run = self.run(host.registry);
                run.host.get_or_insert_with(|| host.clone());
            }
            Record::Intent {
                registry,
                process,
                life,
                session,
            } => {
                let run = self.run(*registry);
                run.last_life = run.last_life.max(*life);
                run.lives.entry(*life).or_insert(*session);
                run.processes.entry(*process).or_default().place = Some((*life, *session));
            }
            Record::Alive {
                registry,
                process,
                identity,
            } => {
                let noted = self.run(*registry).processes.entry(*process).or_default();
                noted.identity = Some(*identity);
            }
            Record::Cancelled { registry, process } | Record::Gone { registry, process } => {
                if let Some(run) = self.runs.get_mut(registry) {
                    run.processes.remove(process);
                }
            }
            Record::Detached { registry, process } => {
                let noted = self.run(*registry).processes.entry(*process).or_default();
                noted.detached = true;
            }
            Record::Over { registry, life } => {
                if let Some(run) = self.runs.get_mut(registry) {
                    run.lives.remove(life);
                    let of_it = |noted: &Noted| noted.place.is_some_and(|(of, _)| of == *life);
                    run.processes
                        .retain(|_, noted| noted.detached || !of_it(noted));
                }
            }
            Record::Released { registry } => self.run(*registry).released = true,
            Record::Settled { registry } => {
                self.runs.remove(registry);
            }
        }
    }

    fn run(&mut self, registry: u64) -> &mut Run {
        self.runs.entry(registry).or_default()
    }

    /// Forgets what was before this boot. What is not known to be stays if it says that something is to be left alone.
    pub(crate) fn forget_other_boots(&mut self, boot: u128) {
        self.runs.retain(|_, run| match &run.host {
            Some(host) => host.boot == boot,
            None => run.spares_something(),
        });
    }

    /// The shortest history that leads here.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.runs
            .iter()
            .flat_map(|(&registry, run)| run.records(registry))
    }
}

impl Run {
    /// Whether something of it is to be left alone.
    pub(crate) fn spares_something(&self) -> bool {
        self.released || self.processes.values().any(|noted| noted.detached)
    }

    fn records(&self, registry: u64) -> impl Iterator<Item = Record> {
        let host = self.host.clone().map(Record::Host);
        let processes = self.processes.iter();
        let processes = processes.flat_map(move |(&process, noted)| {
            let intent = noted.place.map(|(life, session)| Record::Intent {
                registry,
                process,
                life,
                session,
            });
            let alive = noted.identity.map(|identity| Record::Alive {
                registry,
                process,
                identity,
            });
            // Twice: see above.
            let detached = noted
                .detached
                .then_some(Record::Detached { registry, process });
            [intent, alive, detached.clone(), detached]
                .into_iter()
                .flatten()
        });
        let released = self.released.then_some(Record::Released { registry });
        // Processes that never were, so that the lives are known.
        let life = move |life: Life, session| {
            let process = ProcessId(0);
            let intent = Record::Intent {
                registry,
                process,
                life,
                session,
            };
            [intent, Record::Cancelled { registry, process }]
        };
        let lives = self.lives.iter();
        let lives = lives.flat_map(move |(&of, &session)| life(of, session));
        // What was detached is of a life that is over by now, perhaps.
        let places = self.processes.values().filter_map(|noted| noted.place);
        let over = places.map(|(life, _)| life).chain([self.last_life]);
        let over = over.filter(|&life| life != Life(0) && !self.lives.contains_key(&life));
        let over: BTreeSet<Life> = over.collect();
        let over = over.into_iter().flat_map(move |of| {
            let over = Record::Over { registry, life: of };
            life(of, SessionId(0)).into_iter().chain([over])
        });
        host.into_iter()
            .chain(lives)
            .chain(processes)
            .chain(over)
            .chain(released.clone())
            .chain(released)
    }
}

/// Reads any bytes, as they are, behind a header, and as lines whose checksums are right: no change of a few bytes makes
/// one of those out of another.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut sealed = format!("{HEADER}\n").into_bytes();
    for line in bytes.split(|&byte| byte == b'\n') {
        sealed.extend(super::record::seal(line));
    }
    let behind_a_header = [HEADER.as_bytes(), b"\n", bytes].concat();
    // Where it is cut is up to the bytes as well.
    let cut = usize::from(bytes.last().copied().unwrap_or(0));
    for file in [bytes, &behind_a_header, &sealed] {
        if let Replayed::Ledger { state, .. } = replay(file) {
            a_beginning_is_read_as_one(file, &state, cut);
            what_is_read_is_written(file, &state);
        }
    }
}

/// A line that was cut off is none, and what the others mean is where the rest goes on from.
#[cfg(fuzzing)]
fn a_beginning_is_read_as_one(file: &[u8], whole: &State, cut: usize) {
    let cut = file.len() * cut / 256;
    let lines = file[..cut].iter().rposition(|&byte| byte == b'\n');
    let Some(end) = lines.map(|end| end + 1) else {
        return;
    };
    let Replayed::Ledger { mut state, damaged } = replay(&file[..end]) else {
        // What makes it a ledger comes later.
        return;
    };
    let begun = state.clone();
    assert_eq!(
        replay(&file[..cut]),
        Replayed::Ledger {
            state: begun,
            damaged
        }
    );
    for line in file[end..].split_inclusive(|&byte| byte == b'\n') {
        let record = line.strip_suffix(b"\n").and_then(Record::decode);
        record.iter().for_each(|record| state.apply(record));
    }
    assert_eq!(state, *whole);
}

/// The shortest history leads to the same, in every ledger that was ever written: ids and lives begin at 1.
#[cfg(fuzzing)]
fn what_is_read_is_written(file: &[u8], state: &State) {
    let mut text = format!("{HEADER}\n");
    state.records().for_each(|record| record.encode(&mut text));
    let again = replay(text.as_bytes());
    let Replayed::Ledger {
        state: mut again,
        damaged: 0,
    } = again
    else {
        panic!("what is written is read: {again:?}");
    };
    let lines = file.split(|&byte| byte == b'\n');
    let mut records = lines.filter_map(Record::decode);
    if records.any(|record| record.is_of_none()) {
        return;
    }
    let mut state = state.clone();
    for state in [&mut state, &mut again] {
        // A registry of which nothing is known any more need not be written down.
        state
            .runs
            .retain(|_, run| run.host.is_some() || !run.processes.is_empty() || run.released);
    }
    assert_eq!(again, state);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::any_record;
    use super::*;

    /// Of every run, in which process ids begin at 1.
    fn history() -> impl Strategy<Value = Vec<Record>> {
        let named = any_record().prop_filter("process 0 never is", |record| {
            !matches!(
                record,
                Record::Intent {
                    process: ProcessId(0),
                    ..
                } | Record::Alive {
                    process: ProcessId(0),
                    ..
                } | Record::Detached {
                    process: ProcessId(0),
                    ..
                }
            )
        });
        prop::collection::vec(named, 0..24)
    }

    fn after(history: &[Record]) -> State {
        let mut state = State::default();
        history.iter().for_each(|record| state.apply(record));
        state
    }

    fn file(history: impl IntoIterator<Item = Record>) -> String {
        let mut file = format!("{HEADER}\n");
        history
            .into_iter()
            .for_each(|record| record.encode(&mut file));
        file
    }

    fn read(bytes: &[u8]) -> (State, usize) {
        match replay(bytes) {
            Replayed::Ledger { state, damaged } => (state, damaged),
            Replayed::NotOurs => panic!("it is a ledger"),
        }
    }

    fn process(n: u64) -> (u64, ProcessId) {
        (7, ProcessId(n))
    }

    fn started(n: u64) -> [Record; 2] {
        let (registry, process) = process(n);
        [
            Record::Intent {
                registry,
                process,
                life: Life(n),
                session: SessionId(n),
            },
            Record::Alive {
                registry,
                process,
                identity: Identity {
                    pid: 100,
                    start: 0,
                    inode: n,
                },
            },
        ]
    }

    #[test]
    fn what_has_started_and_is_not_gone_may_live() {
        let mut history = [started(1), started(2), started(3), started(4)].concat();
        let (registry, process) = process(1);
        history.push(Record::Gone { registry, process });
        history.push(Record::Over {
            registry,
            life: Life(2),
        });
        let (registry, process) = self::process(3);
        history.push(Record::Detached { registry, process });
        let state = after(&history);
        let run = &state.runs[&7];
        let left: Vec<_> = run
            .processes
            .iter()
            .map(|(id, n)| (id.0, n.detached))
            .collect();
        assert_eq!(left, [(3, true), (4, false)]);
        assert_eq!(run.last_life, Life(4));
    }

    #[test]
    fn a_detached_process_outlives_its_life_in_the_ledger() {
        let (registry, process) = process(1);
        let over = Record::Over {
            registry,
            life: Life(1),
        };
        let mut history = started(1).to_vec();
        history.extend([Record::Detached { registry, process }, over]);
        assert!(after(&history).runs[&7].processes[&process].detached);
    }

    #[test]
    fn somebody_elses_file_is_not_taken_for_a_ledger() {
        for text in [
            "{\"a\": 1}\n",
            "procession ledger 2\n",
            "x",
            "\n",
            "a\nb\nc",
        ] {
            assert_eq!(replay(text.as_bytes()), Replayed::NotOurs, "{text:?}");
        }
        assert_eq!(read(b""), (State::default(), 0));
    }

    /// An older program in a newer one's place is told so, and does not write over what it does not understand.
    #[test]
    fn a_newer_versions_file_is_not_taken_for_a_damaged_one() {
        let ours = file(started(1));
        for version in ["0", "2", "10"] {
            let theirs = ours.replacen("ledger 1", &format!("ledger {version}"), 1);
            assert_eq!(
                replay(theirs.as_bytes()),
                Replayed::NotOurs,
                "version {version}"
            );
        }
    }

    #[test]
    fn a_damaged_header_costs_itself() {
        let mut bytes = file(started(1)).into_bytes();
        bytes[3] ^= 1;
        assert_eq!(read(&bytes), (after(&started(1)), 1));
    }

    #[test]
    fn lines_that_are_left_out_are_counted() {
        let mut bytes = file(started(1)).into_bytes();
        bytes.extend(b"nothing\n\nnothing\ncut o");
        assert_eq!(read(&bytes), (after(&started(1)), 3));
    }

    #[test]
    fn another_boot_makes_everything_stale_but_what_nobody_knows_the_boot_of() {
        let mut state = after(&started(1));
        state.forget_other_boots(1);
        assert_eq!(
            state,
            State::default(),
            "no host, and nothing to leave alone"
        );
        let (registry, process) = process(1);
        let mut state = after(&[Record::Detached { registry, process }]);
        state.forget_other_boots(1);
        assert!(state.runs[&7].processes[&process].detached);
    }

    proptest! {
        #[test]
        fn a_prefix_of_a_ledger_means_a_prefix_of_its_history(history in history(), at: prop::sample::Index) {
            let file = file(history.clone());
            let cut = at.index(file.len() + 1);
            let whole = file.as_bytes()[..cut].iter().filter(|&&byte| byte == b'\n').count();
            let (state, damaged) = read(&file.as_bytes()[..cut]);
            prop_assert_eq!(state, after(&history[..whole.saturating_sub(1)]));
            prop_assert_eq!(damaged, 0);
        }

        #[test]
        fn a_flipped_bit_costs_two_records_at_most(history in history(), at: prop::sample::Index, bit in 0..8) {
            prop_assume!(!history.is_empty());
            let file = file(history.clone());
            let mut bytes = file.clone().into_bytes();
            let at = HEADER.len() + 1 + at.index(bytes.len() - HEADER.len() - 1);
            bytes[at] ^= 1_u8 << bit;
            let hit = file.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() - 1;
            let (state, damaged) = read(&bytes);
            // A line's end that is none joins it with the next; the last line then has no end.
            let end = file.as_bytes()[at] == b'\n';
            let lost = if end { 2 } else { 1 };
            let mut left = history.clone();
            left.drain(hit..history.len().min(hit + lost));
            prop_assert_eq!(state, after(&left));
            prop_assert!(damaged <= 2);
        }

        #[test]
        fn the_shortest_history_leads_to_the_same(history in history()) {
            let state = after(&history);
            let (again, damaged) = read(file(state.records()).as_bytes());
            // A registry of which nothing is known any more need not be written down.
            let empty = |run: &Run| run.host.is_none() && run.processes.is_empty() && !run.released;
            let strip = |mut state: State| { state.runs.retain(|_, run| !empty(run)); state };
            prop_assert_eq!((strip(again), damaged), (strip(state), 0));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = replay(&bytes);
            let _ = replay(&[HEADER.as_bytes(), b"\n", &bytes].concat());
        }
    }
}

//! The file on a real disk.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::record::{Host, Identity, Record};
use super::replay::{Replayed, State, replay};
use super::store::{Clock, Ledger, Written};
use crate::error::{ErrorKind, Result};
use crate::session::{Life, ProcessId, SessionId};
use crate::{reactor, sys};

/// A directory of a test's own.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("procession-ledger-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("it is new");
        Self(path)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it is ours").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

const CLOCK: Clock = Clock {
    now: reactor::now,
    sleep_until: sys::nap,
};

thread_local! {
    static MOMENT: Cell<Instant> = Cell::new(reactor::now());
}

/// Whoever sleeps by it wakes at once, and it is later.
const VIRTUAL_CLOCK: Clock = Clock {
    now: || MOMENT.get(),
    sleep_until: |at| MOMENT.set(at),
};

const BOOT: u128 = 7;

fn host(registry: u64) -> Host {
    Host {
        registry,
        name: "tests".to_owned(),
        boot: BOOT,
        pid_namespace: 1,
        pid: 2,
        start: registry,
        inode: 4,
        limit_mark: None,
    }
}

fn open(path: &Path, registry: u64) -> Result<Ledger> {
    // What another test forks at this moment has the lock until its exec: it is waited for, as after a host's death.
    Ledger::open(path, host(registry), |_| true, CLOCK)
}

fn kind(opened: Result<Ledger>) -> ErrorKind {
    opened.expect_err("it is not to be had").kind()
}

fn started(registry: u64, n: u64) -> [Record; 2] {
    let process = ProcessId(n);
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

fn gone(registry: u64, n: u64) -> [Record; 2] {
    let process = ProcessId(n);
    let life = Life(n);
    [
        Record::Gone { registry, process },
        Record::Over { registry, life },
    ]
}

fn append(ledger: &Ledger, records: &[Record]) {
    assert!(matches!(ledger.append(records), Written::Done));
}

fn read(path: &Path) -> State {
    match replay(&fs::read(path).expect("it is there")) {
        Replayed::Ledger { state, damaged: 0 } => state,
        other @ (Replayed::Ledger { .. } | Replayed::NotOurs) => panic!("damaged: {other:?}"),
    }
}

#[test]
fn the_next_run_finds_what_the_last_one_wrote() {
    let directory = Directory::new();
    let first = open(&directory.ledger(), 1).expect("it is new");
    append(&first, &started(1, 1));
    append(&first, &started(1, 2));
    append(&first, &gone(1, 1));
    assert!(first.earlier().is_empty());
    drop(first);
    let second = open(&directory.ledger(), 2).expect("nobody holds it");
    let earlier = second.earlier();
    let [(1, run)] = &earlier[..] else {
        panic!("{earlier:?}");
    };
    assert_eq!(run.processes.keys().collect::<Vec<_>>(), [&ProcessId(2)]);
    append(&second, &[Record::Settled { registry: 1 }]);
    assert!(second.earlier().is_empty());
    assert_eq!(directory.names(), ["ledger"]);
    let mode = fs::metadata(directory.ledger()).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_host_is_refused_and_the_first_goes_on() {
    let directory = Directory::new();
    let first = open(&directory.ledger(), 1).expect("it is new");
    let began = MOMENT.get();
    let refused = Ledger::open(&directory.ledger(), host(2), |_| true, VIRTUAL_CLOCK);
    let refused = refused.expect_err("it is held");
    assert_eq!(refused.kind(), ErrorKind::LedgerInUse);
    assert_eq!(
        MOMENT.get() - began,
        Duration::from_secs(2),
        "it may be let go of"
    );
    assert_eq!(refused.pid(), Some(2), "it says whose it is");
    append(&first, &started(1, 1));
    assert_eq!(read(&directory.ledger()).runs[&1].processes.len(), 1);
}

#[test]
fn a_lock_whose_host_is_dead_is_waited_for() {
    let directory = Directory::new();
    let first = open(&directory.ledger(), 1).expect("it is new");
    let (held, waits) = std::sync::mpsc::channel();
    let second = std::thread::scope(|scope| {
        let path = directory.ledger();
        let opening = scope.spawn(move || {
            let told = std::cell::Cell::new(Some(held));
            let is_dead = |_: &Host| {
                if let Some(held) = told.take() {
                    held.send(()).expect("the test listens");
                }
                true
            };
            Ledger::open(&path, host(2), is_dead, CLOCK)
        });
        waits.recv().expect("it has looked");
        drop(first);
        opening.join().expect("it does not panic")
    });
    assert_eq!(second.expect("it was let go of").registry(), 2);
}

/// The crash safety of a write by enumeration: wherever it was cut off, the file means what was written before.
#[test]
fn a_file_that_is_cut_off_anywhere_means_what_it_said_until_there() {
    let directory = Directory::new();
    let path = directory.ledger();
    let first = open(&path, 1).expect("it is new");
    let mut history = vec![Record::Host(host(1))];
    for n in 1..=3 {
        history.extend(started(1, n));
    }
    history.extend(gone(1, 2));
    append(&first, &history[1..]);
    drop(first);
    let whole = fs::read(&path).expect("it is there");
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).expect("it is ours");
        let lines = whole[..length].iter().filter(|&&byte| byte == b'\n');
        let mut expected = State::default();
        let known = lines.count().saturating_sub(1);
        history[..known].iter().for_each(|one| expected.apply(one));
        let ledger = open(&path, 2).unwrap_or_else(|error| panic!("at {length}: {error}"));
        let earlier: Vec<_> = expected.runs.into_iter().collect();
        assert_eq!(ledger.earlier(), earlier, "at {length}");
    }
}

/// The same of a new file in the old one's place: until it has the name, the old one is as it was.
#[test]
fn what_a_crash_left_of_a_new_file_is_in_nobodys_way() {
    let directory = Directory::new();
    let path = directory.ledger();
    let first = open(&path, 1).expect("it is new");
    append(&first, &started(1, 1));
    drop(first);
    let whole = fs::read(&path).expect("it is there");
    let beside = directory.0.join("ledger.new");
    for length in 0..=whole.len() {
        fs::write(&path, &whole).expect("it is ours");
        fs::write(&beside, &whole[..length]).expect("it is ours");
        let ledger = open(&path, 2).expect("nobody holds it");
        assert_eq!(ledger.earlier().len(), 1, "at {length}");
        assert_eq!(directory.names(), ["ledger"], "at {length}");
    }
}

#[test]
fn another_boot_makes_everything_stale() {
    let directory = Directory::new();
    let first = open(&directory.ledger(), 1).expect("it is new");
    append(&first, &started(1, 1));
    drop(first);
    let after = Host {
        boot: BOOT + 1,
        ..host(2)
    };
    let second = Ledger::open(&directory.ledger(), after, |_| false, CLOCK);
    assert!(second.expect("nobody holds it").earlier().is_empty());
    assert_eq!(read(&directory.ledger()).runs.len(), 1);
}

#[test]
fn what_is_no_ledger_is_left_as_it_is() {
    let directory = Directory::new();
    let path = directory.ledger();
    fs::write(&path, "precious\n").expect("it is ours");
    assert_eq!(kind(open(&path, 1)), ErrorKind::LedgerUnusable);
    assert_eq!(fs::read(&path).expect("it is there"), b"precious\n");

    fs::remove_file(&path).expect("it is ours");
    fs::create_dir(&path).expect("it is ours");
    assert_eq!(kind(open(&path, 1)), ErrorKind::LedgerUnusable);
    for path in [
        "/dev/null",
        "/dev/full",
        "/proc/self/status",
        "/no/such/directory/ledger",
    ] {
        assert_eq!(
            kind(open(Path::new(path), 1)),
            ErrorKind::LedgerUnusable,
            "{path}"
        );
    }
}

#[test]
fn a_pipe_in_its_place_is_not_waited_for() {
    let directory = Directory::new();
    let made = std::process::Command::new("mkfifo")
        .arg(directory.ledger())
        .status();
    assert!(made.expect("mkfifo can be started").success());
    assert_eq!(
        kind(open(&directory.ledger(), 1)),
        ErrorKind::LedgerUnusable
    );
}

#[test]
fn a_link_leads_to_the_file_and_stays_a_link() {
    let directory = Directory::new();
    let link = directory.0.join("link");
    drop(open(&directory.ledger(), 1).expect("it is new"));
    std::os::unix::fs::symlink(directory.ledger(), &link).expect("it is new");
    let ledger = open(&link, 2).expect("nobody holds it");
    append(&ledger, &started(2, 1));
    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );
    assert_eq!(read(&directory.ledger()).runs[&2].processes.len(), 1);
}

#[test]
fn a_link_that_leads_nowhere_yet_stays_a_link() {
    let directory = Directory::new();
    let link = directory.0.join("link");
    std::os::unix::fs::symlink(directory.ledger(), &link).expect("it is new");
    let ledger = open(&link, 1).expect("the file is made");
    append(&ledger, &started(1, 1));
    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );
    assert_eq!(read(&directory.ledger()).runs[&1].processes.len(), 1);
}

/// A daemon leaves the directory that it was started in, and the file is replaced after that.
#[test]
fn a_path_from_here_is_meant_from_here_wherever_the_host_goes() {
    let directory = Directory::new();
    let ledger = directory.ledger();
    let here = std::env::current_dir().expect("there is one");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let from_here = up.join(ledger.strip_prefix("/").expect("it is absolute"));
    let opened = open(&from_here, 1).expect("it is new");
    let shown = format!("{opened:?}");
    assert!(shown.contains(&format!("path: {ledger:?}")), "{shown}");
}

/// Whoever may make links beside the ledger is not to choose what is overwritten.
#[test]
fn a_link_in_the_place_of_the_new_file_is_not_followed() {
    let directory = Directory::new();
    let precious = directory.0.join("precious");
    fs::write(&precious, "precious").expect("it is ours");
    let beside = directory.0.join("ledger.new");
    std::os::unix::fs::symlink(&precious, &beside).expect("it is new");
    assert_eq!(
        kind(open(&directory.ledger(), 1)),
        ErrorKind::LedgerUnusable
    );
    assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
    // It was in the way, and is not any more.
    drop(open(&directory.ledger(), 1).expect("it is free"));
}

/// What somebody else has put in its place is left as it is.
#[test]
fn a_file_that_was_taken_away_is_written_to_no_more() {
    type Way<'a> = (&'a str, &'a dyn Fn(&Path));
    let removed = |path: &Path| fs::remove_file(path).expect("it is ours");
    let replaced = |path: &Path| {
        let other = path.with_extension("other");
        fs::write(&other, "theirs").expect("it is ours");
        fs::rename(&other, path).expect("it is ours");
    };
    let cut_off = |path: &Path| fs::write(path, "").expect("it is ours");
    let with_its_directory = |path: &Path| {
        let directory = path.parent().expect("it is in one");
        fs::remove_dir_all(directory).expect("it is ours");
        fs::create_dir(directory).expect("it is ours");
    };
    let ways: [Way<'_>; 4] = [
        ("removed", &removed),
        ("replaced", &replaced),
        ("cut off", &cut_off),
        ("with its directory", &with_its_directory),
    ];
    for (how, way) in ways {
        let directory = Directory::new();
        let path = directory.ledger();
        let ledger = open(&path, 1).expect("it is new");
        append(&ledger, &started(1, 1));
        way(&path);
        let written = ledger.append(&started(1, 2));
        let Written::Failed(error) = written else {
            panic!("{how}: {written:?}");
        };
        assert_eq!(error.kind(), ErrorKind::LedgerUnusable, "{how}");
        let written = ledger.append(&started(1, 3));
        assert!(matches!(written, Written::NotTried), "{how}");
        ledger.tidy();
        if how == "replaced" {
            assert_eq!(fs::read(&path).expect("it is there"), b"theirs");
        }
    }
}

#[test]
fn a_file_that_has_grown_is_replaced_by_what_may_still_live() {
    let directory = Directory::new();
    let path = directory.ledger();
    let ledger = open(&path, 1).expect("it is new");
    append(&ledger, &started(1, 1));
    let mut longest = 0;
    for n in 2..20_000 {
        append(&ledger, &started(1, n));
        append(&ledger, &gone(1, n));
        ledger.tidy();
        if n % 100 == 0 {
            longest = longest.max(fs::metadata(&path).expect("it is there").len());
        }
    }
    assert!(longest > 900 << 10 && longest < 2 << 20, "{longest}");
    let state = read(&path);
    assert_eq!(state.runs[&1].processes.len(), 1);
    assert_eq!(state.runs[&1].last_life, Life(19_999));
    // It is locked as the first one was.
    let refused = Ledger::open(&path, host(2), |_| false, CLOCK);
    assert_eq!(kind(refused), ErrorKind::LedgerInUse);
}

/// Else it would be written anew for each mebibyte, however many processes live.
#[test]
fn a_file_that_is_long_because_much_lives_is_not_replaced_as_soon() {
    let directory = Directory::new();
    let path = directory.ledger();
    let inode = || fs::metadata(&path).expect("it is there").ino();
    let living = |range: std::ops::Range<u64>| -> Vec<Record> {
        range.flat_map(|n| started(1, n)).collect()
    };
    let first = open(&path, 1).expect("it is new");
    append(&first, &living(1..20_000));
    drop(first);
    let second = open(&path, 2).expect("nobody holds it");
    let (length, before) = (fs::metadata(&path).expect("it is there").len(), inode());
    append(&second, &living(20_000..40_000));
    second.tidy();
    let longer = fs::metadata(&path).expect("it is there").len();
    assert!(longer > length + (1 << 20) && longer < 4 * length);
    assert_eq!(inode(), before);
}

/// Some lives, and some was written since: many times as long as it need be, and grown by less than a mebibyte.
#[test]
fn a_file_that_has_not_grown_enough_is_not_replaced() {
    let directory = Directory::new();
    let path = directory.ledger();
    let there = || fs::metadata(&path).expect("it is there");
    let living = |registry, range: std::ops::Range<u64>| -> Vec<Record> {
        range.flat_map(|n| started(registry, n)).collect()
    };
    let first = open(&path, 1).expect("it is new");
    append(&first, &living(1, 1..1_000));
    drop(first);
    let second = open(&path, 2).expect("nobody holds it");
    let (length, inode) = (there().len(), there().ino());
    assert!(length > 100 << 10, "{length}");
    let mut n = 1_000;
    while there().len() < length + (950 << 10) {
        append(&second, &living(2, n..n + 100));
        n += 100;
    }
    assert!(there().len() > 4 * length && there().len() < length + (1 << 20));
    second.tidy();
    assert_eq!(there().ino(), inode);
}

#[test]
fn a_registry_that_is_over_gives_the_file_up_and_does_not_touch_it_again() {
    let directory = Directory::new();
    let path = directory.ledger();
    let first = open(&path, 1).expect("it is new");
    let much: Vec<Record> = (1..20_000).flat_map(|n| started(1, n)).collect();
    append(&first, &much);
    first.close();
    assert!(matches!(first.append(&much), Written::NotTried));
    let second = open(&path, 2).expect("nobody holds it");
    append(&second, &started(2, 1));
    let text = fs::read(&path).expect("it is there");
    first.tidy();
    assert_eq!(fs::read(&path).expect("it is there"), text);
}

/// Its holder has tidied up, and is gone: the lock is to be had, and the name means another file.
#[test]
fn what_has_the_name_is_gone_on_with_when_a_lock_was_waited_for() {
    let directory = Directory::new();
    let path = directory.ledger();
    let beside = directory.0.join("beside");
    drop(open(&beside, 3).expect("it is new"));
    let first = Cell::new(Some(open(&path, 1).expect("it is new")));
    let is_dead = |_: &Host| {
        if let Some(first) = first.take() {
            fs::rename(&beside, &path).expect("it is ours");
            drop(first);
        }
        true
    };
    let second = Ledger::open(&path, host(2), is_dead, CLOCK).expect("nobody holds it");
    append(&second, &started(2, 1));
    let runs = read(&path).runs;
    assert_eq!(runs.keys().copied().collect::<Vec<_>>(), [2, 3]);
}

/// Hunts a lock that is taken between another host's rename and its letting go of the file that had the name before.
#[test]
fn two_hosts_never_have_a_ledger_at_once() {
    const EAGER: Clock = Clock {
        sleep_until: |_| std::thread::yield_now(),
        ..CLOCK
    };
    let directory = Directory::new();
    let path = directory.ledger();
    let seconds = std::env::var("PROCESSION_RACE_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    let until = reactor::now() + Duration::from_secs(seconds.unwrap_or(1));
    let host_again_and_again = |registry: u64| {
        while reactor::now() < until {
            let ledger = Ledger::open(&path, host(registry), |_| true, EAGER);
            let ledger = ledger.expect("it is let go of at once");
            append(&ledger, &started(registry, 1));
            for _ in 0..3 {
                let run = &read(&path).runs[&registry];
                assert_eq!(run.processes.len(), 1, "somebody else has replaced it");
                std::thread::yield_now();
            }
            append(&ledger, &[Record::Settled { registry }]);
        }
    };
    std::thread::scope(|scope| {
        let again = &host_again_and_again;
        for registry in 1..=3 {
            scope.spawn(move || again(registry));
        }
    });
}

#[test]
fn ten_thousand_records_are_read_in_less_than_a_second() {
    let directory = Directory::new();
    let path = directory.ledger();
    let first = open(&path, 1).expect("it is new");
    for n in 1..=10_000 {
        append(&first, &started(1, n));
    }
    drop(first);
    let spent = || {
        let clock = rustix::time::ClockId::ThreadCPUTime;
        let spent = rustix::time::clock_gettime(clock);
        Duration::try_from(spent).expect("it is no negative time")
    };
    let began = spent();
    let second = open(&path, 2).expect("nobody holds it");
    assert_eq!(second.earlier()[0].1.processes.len(), 10_000);
    let took = spent() - began;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

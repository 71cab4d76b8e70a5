//! The file: locked, appended to, and replaced by a shorter one when it has grown.
//!
//! # The lock
//!
//! An exclusive `flock` on the file itself. It goes with the last descriptor of the open file, and so with the host, however
//! that ends. Two kinds of process can hold it a little longer: a child that the host forked and that has not come to its
//! exec yet, and one that never will. The first is waited for if the host that the file names is dead.
//!
//! # A new file in its place
//!
//! 1. Write it beside the old one, whose lock keeps everybody else away.
//! 2. Lock it.
//! 3. Rename it over the old one. Whoever has opened the old one by now and gets its lock finds that the name means
//!    another file, and begins again.
//!
//! Whatever happens before the third step leaves the old file as it is.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::record::{HEADER, Host, Record};
use super::replay::{Replayed, Run, State, replay};
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "open ledger";

/// How long a lock is waited for whose holder is dead: what it has forked is on its way to its exec.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(2);

/// How often the name may have come to mean another file before that is taken for a mistake.
const REPLACED: u32 = 100;

/// A file is not replaced before it has grown by this, nor before it is so many times as long as it need be.
const GROWN: u64 = 1 << 20;
const TIMES: u64 = 4;

/// The ledger of one registry.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    registry: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Until the registry is over: its handles may be there for longer.
    file: Option<File>,
    state: State,
    /// The lengths of the file, and when it was new.
    length: u64,
    length_when_new: u64,
    /// A write has failed, and nothing is written any more.
    failed: bool,
    line: String,
}

/// What a write came to.
#[derive(Debug)]
#[must_use]
pub(crate) enum Written {
    Done,
    /// The first write that failed: nothing will be written any more.
    Failed(Arc<Error>),
    /// It was not tried: an earlier one has failed, or the registry is over.
    NotTried,
}

/// How a clock is read and slept by: time is an argument.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: fn() -> Instant,
    pub(crate) sleep_until: fn(Instant),
}

impl Ledger {
    /// Takes the file for a registry, and makes it if there is none.
    ///
    /// `is_dead` says of a host in the file whether it is known to be dead.
    ///
    /// # Errors
    ///
    /// `LedgerInUse`, `LedgerUnusable`.
    pub(crate) fn open(
        path: &Path,
        host: Host,
        is_dead: impl Fn(&Host) -> bool,
        clock: Clock,
    ) -> Result<Self> {
        let registry = host.registry;
        let old = lock(path, is_dead, clock)?;
        // The file that a link leads to is replaced, not the link; and that one, wherever this program goes.
        let path = fs::canonicalize(path).map_err(|error| unusable(path, error))?;
        let mut state = match read(&old).map_err(|error| unusable(&path, error))? {
            Replayed::Ledger { state, damaged: _ } => state,
            Replayed::NotOurs => {
                return Err(
                    Error::new(ErrorKind::LedgerUnusable, OPERATION).with_detail(format!(
                        "{} is not empty, and no ledger of this version",
                        path.display()
                    )),
                );
            }
        };
        state.forget_other_boots(host.boot);
        state.apply(&Record::Host(host));
        let (file, length) = write_new(&path, &state).map_err(|error| unusable(&path, error))?;
        Ok(Self {
            path,
            registry,
            inner: Mutex::new(Inner {
                file: Some(file),
                state,
                length,
                length_when_new: length,
                failed: false,
                line: String::new(),
            }),
        })
    }

    /// Whose it is.
    pub(crate) fn registry(&self) -> u64 {
        self.registry
    }

    /// Writes records, in one call to the kernel. Nothing is synced.
    pub(crate) fn append(&self, records: &[Record]) -> Written {
        let mut inner = self.lock();
        let Inner {
            file,
            state,
            length,
            failed,
            line,
            ..
        } = &mut *inner;
        let Some(file) = file.as_mut().filter(|_| !*failed) else {
            return Written::NotTried;
        };
        line.clear();
        for record in records {
            record.encode(line);
            state.apply(record);
        }
        *length += line.len() as u64;
        let written = file.write_all(line.as_bytes());
        match written.and_then(|()| is_whole(file, *length)) {
            Ok(()) => Written::Done,
            Err(error) => {
                // A line may stand there in part. Whatever came behind it would be lost with it. And what somebody else has
                // made of the name is theirs.
                let error = Error::new(ErrorKind::LedgerUnusable, "write ledger")
                    .with_detail(format!(
                        "{} is not written to any more",
                        self.path.display()
                    ))
                    .with_source(error);
                *failed = true;
                Written::Failed(Arc::new(error))
            }
        }
    }

    /// Replaces a file that has grown. It takes as long as what may still live takes to write: not for the reactor.
    pub(crate) fn tidy(&self) {
        let mut inner = self.lock();
        let grown = inner.length - inner.length_when_new;
        let over = inner.failed || inner.file.is_none();
        if over || grown < GROWN || inner.length < TIMES * inner.length_when_new {
            return;
        }
        let Inner { state, .. } = &*inner;
        match write_new(&self.path, state) {
            Ok((file, length)) => {
                inner.file = Some(file);
                inner.length = length;
                inner.length_when_new = length;
            }
            // The old one is as good as before. It is tried again when it has grown as much again.
            Err(_no_room) => inner.length_when_new = inner.length,
        }
    }

    /// The registry is over: another one may have the file.
    pub(crate) fn close(&self) {
        self.lock().file = None;
    }

    /// What earlier registries wrote down, and nobody has settled.
    pub(crate) fn earlier(&self) -> Vec<(u64, Run)> {
        let inner = self.lock();
        let runs = inner.state.runs.iter();
        runs.filter(|&(&registry, _)| registry != self.registry)
            .map(|(&registry, run)| (registry, run.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two of its fields would come from memory that is not to be had, which aborts.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file and locks it, with the name still meaning it.
fn lock(path: &Path, is_dead: impl Fn(&Host) -> bool, clock: Clock) -> Result<File> {
    let mut until = None;
    let mut replaced = 0;
    loop {
        let file = open(path).map_err(|error| unusable(path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_named(&file, path) => return Ok(file),
            Err(Errno::INTR) => continue,
            Ok(()) if replaced < REPLACED => {
                replaced += 1;
                continue;
            }
            Ok(()) => {
                return Err(unusable(
                    path,
                    io::Error::other("it is replaced all the time"),
                ));
            }
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(unusable(path, errno.into())),
        }
        let holder = read(&file).ok().and_then(|replayed| last_host(&replayed));
        let in_use = || {
            let error = Error::new(ErrorKind::LedgerInUse, OPERATION);
            match &holder {
                Some(host) => error.with_pid(host.pid),
                None => error,
            }
        };
        // What is being written for the first time has no host yet.
        if holder.as_ref().is_some_and(|host| !is_dead(host)) {
            return Err(in_use().with_detail(path.display().to_string()));
        }
        let now = (clock.now)();
        let until = *until.get_or_insert(now + PATIENCE);
        if now >= until {
            return Err(in_use().with_detail(format!(
                "{}: a process that its host forked holds it",
                path.display()
            )));
        }
        (clock.sleep_until)(now + PAUSE);
    }
}

fn last_host(replayed: &Replayed) -> Option<Host> {
    match replayed {
        // The one that started last. Those before it had to be gone for it to get the lock.
        Replayed::Ledger { state, .. } => {
            let hosts = state.runs.values().filter_map(|run| run.host.as_ref());
            hosts.max_by_key(|host| host.start).cloned()
        }
        Replayed::NotOurs => None,
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags(OFlags::empty()))
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// So that a pipe or a terminal in the file's place is seen to be none, without waiting for anybody.
fn flags(more: OFlags) -> i32 {
    let all = OFlags::NONBLOCK | OFlags::NOCTTY | more;
    // They are the low bits of a positive number.
    i32::try_from(all.bits()).unwrap_or(0)
}

fn read(file: &File) -> io::Result<Replayed> {
    let mut bytes = Vec::new();
    let mut file = file;
    file.read_to_end(&mut bytes)?;
    Ok(replay(&bytes))
}

/// Whether all that was written is to be found: the file has a name, and is as long as it has to be.
fn is_whole(file: &File, length: u64) -> io::Result<()> {
    let Ok(there) = file.metadata() else {
        // A sandbox may refuse the question; nothing speaks against it.
        return Ok(());
    };
    if there.nlink() == 0 {
        Err(io::Error::other("it was removed or replaced"))
    } else if there.len() < length {
        Err(io::Error::other("it was cut off"))
    } else {
        Ok(())
    }
}

/// Whether the name still means this file.
fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// Writes a new file, locks it, and gives it the name. Says how long it is.
fn write_new(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let mut text = format!("{HEADER}\n");
    for record in state.records() {
        record.encode(&mut text);
    }
    let mut name = OsString::from(path);
    name.push(".new");
    let beside = PathBuf::from(name);
    let written = write_beside(&beside, path, text.as_bytes());
    if written.is_err() {
        // Nothing to be done about it if it stays: the next one is written over it.
        drop(fs::remove_file(&beside));
    }
    Ok((written?, text.len() as u64))
}

fn write_beside(beside: &Path, path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // Whoever can make links in this directory is not to choose what is overwritten.
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(beside)?;
    // What an earlier attempt left.
    file.set_len(0)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.write_all(text)?;
    fs::rename(beside, path)?;
    Ok(file)
}

fn unusable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::LedgerUnusable, OPERATION)
        .with_detail(path.display().to_string())
        .with_source(error)
}

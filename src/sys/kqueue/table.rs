//! All processes of the machine, and each of them, as far as reports and a search for descendants have to know them.
//!
//! For helper threads, never for the reactor.

use std::ffi::OsString;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::facilities::Facilities;
use super::pin::Pin;
use super::signal::is_taken;
use crate::limit_mark::Pair;
use crate::sys::system;
use crate::sys::unix::{self, current_pid, is_starved, to_pid};
use crate::sys::vocabulary::{
    Condition, Described, Limits, Listed, NamedLeaf, Newest, Offspring, OwnerIdentity, ProcessFacts,
};

/// What of a command line is kept for a report.
const REPORTED_LIST: usize = 64 << 10;

/// No limit here is free to hold a mark.
pub(crate) const LIMIT_OF_MARK: u32 = u32::MAX;

/// The processes of this machine that we may see.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    /// Who descends from whom, read when it is asked for and good until the next list.
    families: Mutex<Option<Vec<Offspring>>>,
}

impl ProcessTable {
    /// # Errors
    ///
    /// None.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            families: Mutex::new(None),
        })
    }

    /// All processes, by ascending pids, as they are at one moment.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what a sandbox says.
    pub(crate) fn list(&self, into: &mut Vec<Listed>) -> io::Result<()> {
        into.clear();
        *self.families.lock().unwrap_or_else(PoisonError::into_inner) = None;
        system::list(into)?;
        into.sort_unstable();
        into.dedup_by_key(|listed| listed.pid);
        Ok(())
    }

    /// Who is new: on macOS the youngest, on FreeBSD the number that was given last, unless they are given at random.
    pub(crate) fn newest(&self) -> Option<Newest> {
        system::newest()
    }

    /// Nobody counts them here.
    #[allow(clippy::unused_self, reason = "another back end reads it")]
    pub(crate) fn births(&self) -> Option<u64> {
        None
    }

    /// Limits that hold no mark: nobody's do here. `Gone` is told truly.
    pub(crate) fn limits(&self, pid: u32) -> Limits {
        match to_pid(pid) {
            Ok(number) if is_taken(number) => Limits::Read(Pair {
                soft: u64::MAX,
                hard: u64::MAX,
            }),
            Ok(_) | Err(_) => Limits::Gone,
        }
    }

    /// The same.
    pub(crate) fn limits_by_file(&self, pid: u32) -> Limits {
        self.limits(pid)
    }

    /// The process group; `None` for one that is gone.
    pub(crate) fn group(&self, pid: u32) -> Option<u32> {
        let group = system::group(to_pid(pid).ok()?).ok()?;
        Some(group).filter(|group| *group > 0)
    }

    /// Not asked for: see [`Facilities::tells_parents`](super::facilities::Facilities::tells_parents).
    #[allow(clippy::unused_self, reason = "another back end asks")]
    pub(crate) fn parent(&self, _pid: u32) -> Option<u32> {
        None
    }

    /// The children of a process. On macOS by its unique id: also those whom a tracer has taken for the time being.
    pub(crate) fn children(&self, pid: u32, into: &mut Vec<u32>) {
        let Some(key) = to_pid(pid).ok().and_then(system::parent_key) else {
            return;
        };
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let families = families.get_or_insert_with(|| {
            let mut all = Vec::new();
            // Whoever is not listed is not found as a child: there are other ways to be found.
            match system::offspring(&mut all) {
                Ok(()) => all,
                Err(_) => Vec::new(),
            }
        });
        let children = families.iter().filter(|one| one.parent == key);
        into.extend(children.map(|one| one.pid));
    }

    /// There are no cgroups.
    pub(crate) fn leaves(&self, _pid: u32) -> Vec<NamedLeaf> {
        Vec::new()
    }

    /// Where a process comes from. Hold a pin before, and see that it lives afterwards.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it is gone; `EPERM` where it is not ours to know.
    pub(crate) fn describe(&self, pid: u32) -> io::Result<Described> {
        system::describe(to_pid(pid)?)
    }

    /// The same: one call tells it all.
    ///
    /// # Errors
    ///
    /// Those of [`describe`](Self::describe).
    pub(crate) fn outline(&self, pid: u32) -> io::Result<Described> {
        self.describe(pid)
    }

    /// All that can be read about a process that is pinned, as [`read_process`] reads it. See that it lives afterwards.
    ///
    /// # Errors
    ///
    /// Those of `read_process`.
    pub(crate) fn read_process(&self, pin: &Pin, _: &Facilities) -> io::Result<ProcessFacts> {
        read_process(pin.pid())
    }

    /// Program and arguments; empty for a zombie, and for what is not ours to read.
    pub(crate) fn command_line(&self, pid: u32) -> Vec<OsString> {
        command_line(pid).unwrap_or_default()
    }

    /// Whether it has memory, as each program has until it exits; not of what is not ours to read.
    pub(crate) fn has_memory(&self, pid: u32) -> bool {
        !self.command_line(pid).is_empty()
    }

    /// Whether a process whose environment reads as empty is between two programs: that cannot be told here.
    #[expect(clippy::unused_self, reason = "elsewhere it is read")]
    pub(crate) fn is_executing(&self, _pid: u32) -> bool {
        false
    }

    /// The value of a variable as it was when the program began; `None` if it is not set, or not ours to read.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn variable(&self, pid: u32, name: &str) -> io::Result<Option<OsString>> {
        let strings = match to_pid(pid).and_then(system::strings) {
            Ok(strings) => strings,
            Err(error) if is_starved(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut all = strings.environ.variables();
        let found = all.find(|(key, _)| *key == name);
        Ok(found.map(|(_, value)| value.to_owned()))
    }
}

/// Reads what can be read about a process.
///
/// All of it is about one and the same process only if a pin was there before, and it still lives afterwards.
///
/// # Errors
///
/// `ESRCH` if there is no such process. What is merely not ours to read is left empty.
pub(crate) fn read_process(pid: u32) -> io::Result<ProcessFacts> {
    let number = to_pid(pid)?;
    let strings = system::strings(number).unwrap_or_default();
    let person = system::person(number)?;
    Ok(ProcessFacts {
        parent: Some(person.parent).filter(|parent| *parent != 0),
        args: strings.args,
        exe: system::executable(number),
        user: person.real_user,
        age: person.age,
        environ: strings.environ,
        state: person.condition.state,
    })
}

/// Reads the arguments of a process for a report, up to 64 KiB of them; empty for a zombie.
///
/// # Errors
///
/// `ESRCH` if there is no such process; `EPERM`, `EINVAL` where it is not ours to know.
pub(crate) fn command_line(pid: u32) -> io::Result<Vec<OsString>> {
    let mut args = system::strings(to_pid(pid)?)?.args;
    let mut room = REPORTED_LIST;
    args.retain(|arg| {
        room = room.saturating_sub(arg.len() + 1);
        room > 0
    });
    Ok(args)
}

/// Reads what keeps a process that was killed.
///
/// # Errors
///
/// As [`read_process`].
pub(crate) fn why_alive(pid: u32) -> io::Result<Condition> {
    Ok(system::person(to_pid(pid)?)?.condition)
}

/// Whether a process is this one, or its parent, or the parent's parent, and so on up to the first.
///
/// # Errors
///
/// As [`read_process`], for an ancestor that cannot be asked for its parent: then the answer is not known.
pub(crate) fn is_ancestor(pid: u32) -> io::Result<bool> {
    unix::is_ancestor(pid, parent_of)
}

/// This process, its parent, the parent's parent, and so on up to the first, as far as each can be asked for its own.
pub(crate) fn ancestors() -> Vec<u32> {
    unix::ancestors(parent_of)
}

/// The parent of a process, 0 for none.
fn parent_of(pid: u32) -> io::Result<u32> {
    Ok(system::describe(to_pid(pid)?)?.parent)
}

/// Reads who this process is. In a child that was forked without exec it is somebody else.
///
/// # Errors
///
/// What a sandbox says.
pub(crate) fn own_identity(_facilities: &Facilities) -> io::Result<OwnerIdentity> {
    let pid = current_pid();
    let number = to_pid(pid)?;
    Ok(OwnerIdentity {
        pid,
        start_ticks: system::describe(number)?.start_ticks,
        inode: system::presence(number).id().unwrap_or(0),
        boot: system::boot_id()?,
        pid_namespace: system::namespace(number),
    })
}

/// Marks a process that is pinned: there is nothing to mark it in.
///
/// # Errors
///
/// `Unsupported`.
pub(crate) fn mark_limit(_pid: u32, _mark: Pair) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The limit that this process has itself, and that would hold a mark.
///
/// # Errors
///
/// There is none: in a few words for people.
pub(crate) fn own_limit() -> Result<Pair, &'static str> {
    Err("only Linux has a resource limit that is free to hold a mark (RLIMIT_LOCKS)")
}

/// When a pinned process was started, on the clock of [`ticks_since_boot`].
///
/// # Errors
///
/// Those of [`ProcessTable::describe`].
pub(crate) fn start_of(pid: u32) -> io::Result<u64> {
    Ok(system::describe(to_pid(pid)?)?.start_ticks)
}

/// Whether orphans come to this process: it is the first one, or has asked for them.
pub(crate) fn adopts_orphans() -> bool {
    current_pid() == 1 || system::is_reaper()
}

/// Now, on the clock by which the kernel tells the starts of processes, and which no setting of the time changes.
pub(crate) fn ticks_since_boot() -> u64 {
    system::ticks()
}

/// So long in ticks of that clock.
pub(crate) fn ticks_in(time: Duration) -> u64 {
    system::ticks_in(time)
}

//! All processes of the machine, as far as a search for descendants has to know them.
//!
//! For helper threads, never for the reactor: a pass takes milliseconds, and `cmdline` and `environ` can hang.

#![expect(
    unsafe_code,
    reason = "rustix has no prlimit that only reads, and takes every group for one that has a number here"
)]

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::cgroup::Mounts;
use super::facilities::Facilities;
use super::info;
use super::parse::{
    Stat, invalid, parse_births, parse_children, parse_lacks_environment, parse_last_pid,
    parse_limits, parse_list, parse_name, parse_stat,
};
use super::pin::Pin;
use super::procfs::{read_facts, read_file, ticks_per_second};
use crate::limit_mark::Pair;
use crate::sys::unix::usage::in_ticks;
use crate::sys::unix::{current_pid, is_starved, to_pid};
use crate::sys::vocabulary::{
    Described, Environ, Limits, Listed, NamedLeaf, Newest, Parentage, ProcessFacts,
};

/// Of a command line, of an environment, of one of the short files.
const COMMAND_LINE: u64 = 64 << 10;
const ENVIRONMENT: u64 = 8 << 20;
const RECORD: u64 = 64 << 10;
/// Of the machine's own file, which has a line for each processor and a number for each interrupt.
const STATISTICS: u64 = 4 << 20;

/// Room for the entries of one call: about a thousand processes.
const LISTED_AT_ONCE: usize = 32 << 10;

/// `RLIMIT_LOCKS`, which the libc crate has under another type on each C library.
pub(crate) const LIMIT_OF_MARK: u32 = 10;

/// The processes that `/proc` shows.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    proc: OwnedFd,
    /// Where the kernel says which number it gave last.
    load: Option<OwnedFd>,
    /// Read when somebody asks for cgroups.
    mounts: OnceLock<Mounts>,
}

impl ProcessTable {
    /// Opens it: two descriptors.
    ///
    /// # Errors
    ///
    /// `ENOENT` without `/proc`, `Unsupported` if it belongs to another pid namespace; `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn open() -> io::Result<Self> {
        let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", dir, Mode::empty())?;
        let ours = readlinkat(&proc, "self", Vec::new())?;
        if ours.as_bytes() != current_pid().to_string().as_bytes() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "/proc belongs to another pid namespace",
            ));
        }
        let load = openat(
            &proc,
            "loadavg",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        Ok(Self {
            proc,
            load: load.ok(),
            mounts: OnceLock::new(),
        })
    }

    /// All processes, by ascending pids, as they are while this runs.
    ///
    /// What tells one from another with its number is the inode of its directory, which comes with the list and costs
    /// nothing. The kernel makes one for each process that is looked for, never gives its number to another one (but for
    /// one chance in 2^32, `get_next_ino`), and may forget it and make a new one.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn list(&self, into: &mut Vec<Listed>) -> io::Result<()> {
        into.clear();
        let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Of its own: the position in a directory belongs to the open file.
        let dir = openat(&self.proc, ".", dir, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); LISTED_AT_ONCE];
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            // 1 stands for one that could not be made, which is no name of anybody.
            let instance = Some(entry.ino()).filter(|ino| *ino > 1);
            let pid = pid_of(entry.file_name().to_bytes());
            into.extend(pid.map(|pid| Listed { pid, instance }));
        }
        Ok(())
    }

    /// The number that was given last, to a process or a thread; the next is a higher one, or a low one again.
    pub(crate) fn newest(&self) -> Option<Newest> {
        let mut text = [0; 128];
        let length = rustix::io::pread(self.load.as_ref()?, &mut text, 0).ok()?;
        parse_last_pid(text.get(..length)?).map(Newest::Given)
    }

    /// How many processes and threads were ever started on this machine, in all pid namespaces: the same number twice, and
    /// there was none in between. `None` where that is not told.
    pub(crate) fn births(&self) -> Option<u64> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let stat = openat(&self.proc, "stat", flags, Mode::empty()).ok()?;
        parse_births(&read_file(&stat, STATISTICS).ok()?)
    }

    /// The limit that holds the mark; `Refused` for a process of another user, unless we may do anything.
    pub(crate) fn limits(&self, pid: u32) -> Limits {
        match to_pid(pid) {
            Ok(raw) => read_limit(raw.as_raw_pid()),
            Err(_) => Limits::Gone,
        }
    }

    /// The same from its file, which shows it for every user's processes, and costs ten times as much.
    pub(crate) fn limits_by_file(&self, pid: u32) -> Limits {
        match self.read(pid, "limits", RECORD) {
            Ok(text) => match parse_limits(&text) {
                Some((soft, hard)) => Limits::Read(Pair { soft, hard }),
                None => Limits::Refused,
            },
            Err(error) if is_no_such(&error) => Limits::Gone,
            Err(_) => Limits::Refused,
        }
    }

    /// The process group; `None` for one that is gone or has a group outside of our pid namespace.
    pub(crate) fn group(&self, pid: u32) -> Option<u32> {
        let raw = to_pid(pid).ok()?.as_raw_pid();
        // SAFETY: the call takes a number and touches no memory.
        let group = unsafe { libc::getpgid(raw) };
        u32::try_from(group).ok().filter(|group| *group > 0)
    }

    /// The children of all threads of a process; none where the kernel does not tell (`CONFIG_PROC_CHILDREN`).
    pub(crate) fn children(&self, pid: u32, into: &mut Vec<u32>) {
        for thread in self.threads(pid) {
            if let Ok(text) = self.read(pid, &format!("task/{thread}/children"), ENVIRONMENT) {
                into.extend(parse_children(&text));
            }
        }
    }

    /// The threads of a process, which is one of them; none if it is gone.
    fn threads(&self, pid: u32) -> Vec<u32> {
        let task = format!("{pid}/task");
        let Ok(found) = statat(&self.proc, task.as_str(), AtFlags::empty()) else {
            return Vec::new();
        };
        // Two of the directory itself, and one for each thread.
        if found.st_nlink == 3 {
            // The first thread stays there until all others have gone.
            return vec![pid];
        }
        let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(threads) = openat(&self.proc, task, dir, Mode::empty()) else {
            return Vec::new();
        };
        let mut buffer = vec![MaybeUninit::uninit(); LISTED_AT_ONCE / 8];
        let mut entries = RawDir::new(threads, &mut buffer);
        let mut all = Vec::new();
        while let Some(Ok(entry)) = entries.next() {
            all.extend(pid_of(entry.file_name().to_bytes()));
        }
        all
    }

    /// Its parent, 0 if that lies outside of our pid namespace; `None` if it is gone, and where
    /// [nobody tells](Facilities::tells_parents).
    pub(crate) fn parent(&self, pid: u32) -> Option<u32> {
        let pidfd = pidfd_open(to_pid(pid).ok()?, PidfdFlags::empty()).ok()?;
        info::parent(pidfd.as_fd()).ok()
    }

    /// Where a process comes from. Hold a pin before, and see that it lives afterwards.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ESRCH`, if it is gone or hidden; `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn describe(&self, pid: u32) -> io::Result<Described> {
        let text = self.read(pid, "stat", RECORD)?;
        // Of a process that may not be read by others the files are root's.
        let user = statat(&self.proc, format!("{pid}"), AtFlags::empty())?.st_uid;
        described(&text, user)
    }

    /// The same from one file, with the file's owner for the user: root's are those of a process that may not be read by
    /// others as well.
    ///
    /// # Errors
    ///
    /// Those of [`describe`](Self::describe).
    pub(crate) fn outline(&self, pid: u32) -> io::Result<Described> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.proc, format!("{pid}/stat"), flags, Mode::empty())?;
        let user = fstat(&file)?.st_uid;
        described(&read_file(&file, RECORD)?, user)
    }

    /// The cgroups of sessions that a process is in, by their names, outermost first. None where that cannot be read.
    pub(crate) fn leaves(&self, pid: u32) -> Vec<NamedLeaf> {
        let cgroup = self.read(pid, "cgroup", RECORD).unwrap_or_default();
        self.mounts.get_or_init(Mounts::read).leaves(&cgroup)
    }

    /// All that can be read about a process that is pinned, as [`read_process`](super::read_process) reads it. May hang.
    /// See that it lives afterwards.
    ///
    /// # Errors
    ///
    /// Those of `read_process`.
    pub(crate) fn read_process(
        &self,
        pin: &Pin,
        facilities: &Facilities,
    ) -> io::Result<ProcessFacts> {
        let pid = pin.pid();
        // The longest of the files is not even written by the kernel where it tells the one thing more directly.
        let told = facilities
            .pidfd_info
            .then(|| info::real_user(pin.fd()).ok())
            .flatten();
        let file = |name: &str, limit| self.read(pid, name, limit);
        let exe = || readlinkat(&self.proc, format!("{pid}/exe"), Vec::new());
        read_facts(file, || Ok(exe()?), told)
    }

    /// Program and arguments; empty for a zombie. May hang.
    pub(crate) fn command_line(&self, pid: u32) -> Vec<OsString> {
        let line = self.read_of_any_thread(pid, "cmdline", COMMAND_LINE);
        parse_list(&line.unwrap_or_default())
    }

    /// Whether it has memory, as each program has until it exits. Cannot hang.
    pub(crate) fn has_memory(&self, pid: u32) -> bool {
        // The first number of each is how many pages it has.
        let has = |thread: u32| {
            let pages = self.read(pid, &format!("task/{thread}/statm"), RECORD);
            pages.is_ok_and(|pages| !pages.starts_with(b"0 "))
        };
        has(pid) || self.threads(pid).into_iter().any(has)
    }

    /// The value of a variable as it was when the program began; `None` if it is not set, or not ours to read. May hang.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`. `EAGAIN` while it is executing another program: from the moment at which the kernel gives
    /// it a new memory until that is filled (`exec_mmap` to `create_elf_tables`) it has no environment.
    pub(crate) fn variable(&self, pid: u32, name: &str) -> io::Result<Option<OsString>> {
        let read = || self.read_of_any_thread(pid, "environ", ENVIRONMENT);
        let environ = match read() {
            Ok(environ) if !environ.is_empty() => Ok(environ),
            Ok(_) if self.is_executing(pid) => return Err(Errno::AGAIN.into()),
            // It may have been at it until a moment ago.
            Ok(_) => read(),
            Err(error) => Err(error),
        };
        let environ = match environ {
            Ok(environ) => Environ::new(environ),
            Err(error) if is_starved(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut all = environ.variables();
        let found = all.find(|(key, _)| *key == name);
        Ok(found.map(|(_, value)| value.to_owned()))
    }

    /// Whether a process whose environment reads as empty is between two programs, as opposed to one that has none.
    pub(crate) fn is_executing(&self, pid: u32) -> bool {
        let Ok(text) = self.read(pid, "stat", RECORD) else {
            return false;
        };
        let has_memory = |stat: Stat| {
            let is_dead = matches!(stat.state, 'Z' | 'X');
            !is_dead && !stat.is_exiting && !stat.is_kernel_thread
        };
        parse_stat(&text).is_some_and(has_memory) && parse_lacks_environment(&text) == Some(true)
    }

    /// What all threads share, and the first one has no more if it has ended before the others.
    fn read_of_any_thread(&self, pid: u32, file: &str, limit: u64) -> io::Result<Vec<u8>> {
        let first = self.read(pid, file, limit);
        match &first {
            Ok(text) if !text.is_empty() => return first,
            Err(error) if is_starved(error) => return first,
            Ok(_) | Err(_) => {}
        }
        let others = self
            .threads(pid)
            .into_iter()
            .filter(|thread| *thread != pid);
        for thread in others {
            match self.read(pid, &format!("task/{thread}/{file}"), limit) {
                Ok(text) if !text.is_empty() => return Ok(text),
                Ok(_) | Err(_) => {}
            }
        }
        first
    }

    fn read(&self, pid: u32, file: &str, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.proc, format!("{pid}/{file}"), flags, Mode::empty())?;
        read_file(&file, limit)
    }
}

/// Marks a process that is pinned. It keeps what it has started before unmarked.
///
/// # Errors
///
/// `ESRCH` if it was reaped; `EPERM` if it runs as somebody else, or has a lower hard limit.
pub(crate) fn mark_limit(pid: u32, mark: Pair) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: mark.soft,
        rlim_max: mark.hard,
    };
    let pid = to_pid(pid)?.as_raw_pid();
    // SAFETY: the new limit is valid for reading, and the old one is not asked for.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            LIMIT_OF_MARK,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The limit that this process has itself, and that is to hold a mark.
///
/// # Errors
///
/// Why it cannot be read, for people: a sandbox may refuse `prlimit`.
pub(crate) fn own_limit() -> Result<Pair, &'static str> {
    // Not by rustix, which takes it for granted that a sandbox lets this through.
    match read_limit(0) {
        Limits::Read(pair) => Ok(pair),
        Limits::Refused | Limits::Gone => Err("this program's own limits cannot be read"),
    }
}

/// The limit that holds the mark, of the process with this number or, for 0, of this one.
fn read_limit(raw: libc::pid_t) -> Limits {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the new limit is absent, and the old one is written to memory that is valid for it. By number and not by
    // the C library's function, whose type for the resource differs.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            raw,
            LIMIT_OF_MARK,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    };
    if answer == 0 {
        return Limits::Read(Pair {
            soft: limit.rlim_cur,
            hard: limit.rlim_max,
        });
    }
    match Errno::from_io_error(&io::Error::last_os_error()) {
        Some(Errno::SRCH) => Limits::Gone,
        Some(_) | None => Limits::Refused,
    }
}

/// When a pinned process was started, in clock ticks since boot.
///
/// # Errors
///
/// Those of [`ProcessTable::open`] and [`ProcessTable::describe`].
pub(crate) fn start_of(pid: u32) -> io::Result<u64> {
    Ok(ProcessTable::open()?.describe(pid)?.start_ticks)
}

/// Whether orphans come to this process: it is the first of its pid namespace, or has asked for them.
pub(crate) fn adopts_orphans() -> bool {
    current_pid() == 1 || rustix::process::child_subreaper().is_ok_and(|asked| asked.is_some())
}

/// Now, in clock ticks since boot, as the kernel counts the starts of processes.
pub(crate) fn ticks_since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    let per_second = ticks_per_second();
    seconds * per_second + nanos * per_second / 1_000_000_000
}

/// So long in those clock ticks.
pub(crate) fn ticks_in(time: Duration) -> u64 {
    let per_second = u32::try_from(ticks_per_second()).unwrap_or(u32::MAX);
    in_ticks(time, 1_000_000_000, per_second)
}

fn described(text: &[u8], user: u32) -> io::Result<Described> {
    let stat = parse_stat(text).ok_or_else(|| invalid("stat"))?;
    Ok(Described {
        parent: stat.parent,
        group: stat.group,
        session: stat.session,
        parentage: Parentage::Untold,
        is_kernel_thread: stat.is_kernel_thread,
        is_exiting: stat.is_exiting,
        start_ticks: stat.start_ticks,
        is_zombie: stat.state == 'Z' && stat.threads <= 1,
        user,
        name: parse_name(text),
    })
}

fn is_no_such(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

/// The number that a directory of `/proc` has for its name, if it is that of a process or a thread.
pub(super) fn pid_of(name: &[u8]) -> Option<u32> {
    let first = name.first()?;
    if !first.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

//! One leaf: a cgroup that holds one life of a session.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, unlinkat};
use rustix::io::Errno;

use super::place::subdirectories;
use crate::sys::linux::parse::{parse_cgroup_list, parse_keyed, parse_number};
use crate::sys::vocabulary::LeafName;

/// Above the size of any list of pids and any file of statistics here.
const WHOLE: u64 = 16 << 20;
/// No nested cgroup is looked for deeper than this. The kernel's own bound is `cgroup.max.depth`.
const DEEPEST: usize = 256;

/// A cgroup of its own for one life of a session.
#[derive(Debug)]
pub(crate) struct Leaf {
    parent: Arc<OwnedFd>,
    name: String,
    directory: OwnedFd,
    /// What the kernel calls it.
    id: u64,
    procs: Arc<OwnedFd>,
    kill: OwnedFd,
    events: OwnedFd,
    freeze: OwnedFd,
    /// The reactor has been told to watch it.
    watched: AtomicBool,
    /// The directory is gone.
    removed: AtomicBool,
}

/// What the processes of a leaf have used, those that are gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeafUsage {
    pub(crate) cpu: Duration,
    /// With the memory controller alone.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
}

/// Who may write to `cgroup.procs` files: their owners, groups and modes.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors(pub(super) Vec<Door>);

/// Owner, group and mode of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

impl Doors {
    pub(super) fn add(&mut self, stat: &Stat) {
        self.0.push(Door {
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode,
        });
    }
}

/// Whether a user with these groups may write to a file.
pub(super) fn is_writable_by(door: &Door, user: u32, groups: &[u32]) -> bool {
    if user == 0 {
        return true;
    }
    if user == door.user {
        // An owner may give itself the right.
        return true;
    }
    if groups.contains(&door.group) {
        return door.mode & 0o020 != 0;
    }
    door.mode & 0o002 != 0
}

impl Leaf {
    /// Opens one that was made a moment ago.
    pub(super) fn open(parent: Arc<OwnedFd>, name: String) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&parent, &name, flags, Mode::empty())?;
        let open = |file: &str, flags: OFlags| {
            openat(&directory, file, flags | OFlags::CLOEXEC, Mode::empty())
        };
        let id = fstat(&directory)?.st_ino;
        let procs = Arc::new(open("cgroup.procs", OFlags::RDWR)?);
        let kill = open("cgroup.kill", OFlags::WRONLY)?;
        let events = open("cgroup.events", OFlags::RDONLY)?;
        let freeze = open("cgroup.freeze", OFlags::RDWR)?;
        Ok(Self {
            parent,
            name,
            directory,
            id,
            procs,
            kill,
            events,
            freeze,
            watched: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        })
    }

    /// Whether this is the name of its directory. No two have the same.
    pub(crate) fn is_named(&self, name: &LeafName) -> bool {
        self.name == name.to_string()
    }

    /// The number that names this cgroup in this boot.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What a process writes 0 to in order to enter.
    pub(crate) fn door(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.procs)
    }

    /// Moves a process that is pinned into it, with all of its threads. What it has started before stays where it is.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it is gone or a zombie, `EACCES` if it may not be moved, `ENODEV` if the leaf was removed.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        write(self.procs.as_fd(), pid.to_string().as_bytes())
    }

    /// Moves a process that is pinned out of it, to where the leaf is.
    ///
    /// # Errors
    ///
    /// Those of [`admit`](Self::admit).
    pub(crate) fn release(&self, pid: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = openat(&self.parent, "cgroup.procs", flags, Mode::empty())?;
        write(procs.as_fd(), pid.to_string().as_bytes())
    }

    /// Sends SIGKILL to all processes in it and below it, however they fork, frozen or not.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it was removed, `EOPNOTSUPP` for a threaded one.
    pub(crate) fn kill(&self) -> io::Result<()> {
        write(self.kill.as_fd(), b"1")
    }

    /// Lets the processes in it and below it go on, if somebody has frozen them.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it was removed.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        thaw_below(self.directory.as_fd(), DEEPEST)?;
        if self.read_number("frozen", &self.events)? || freezes(self.freeze.as_fd())? {
            write(self.freeze.as_fd(), b"0")?;
        }
        Ok(())
    }

    /// Whether a process that lives is in it or below it. Zombies do not count.
    ///
    /// Reading it takes back the readiness of [`events`](Self::events).
    ///
    /// # Errors
    ///
    /// `ENODEV` if it was removed.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        self.read_number("populated", &self.events)
    }

    fn read_number(&self, key: &str, file: &OwnedFd) -> io::Result<bool> {
        let mut text = [0; 256];
        let length = rustix::io::pread(file, &mut text, 0)?;
        let value = parse_keyed(text.get(..length).unwrap_or_default(), key);
        value
            .map(|value| value != 0)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The processes in it and below it. One may come twice, or be gone by now.
    pub(crate) fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        members_below(self.directory.as_fd(), DEEPEST, &mut members);
        members
    }

    /// Removes it, and the empty cgroups in it. Nothing is in it then, and nothing can get into it any more.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody is in it or below it; `EMFILE` where something is below it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.is_removed() {
            return Ok(());
        }
        match unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => {
                remove_below(self.directory.as_fd(), DEEPEST)?;
                unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR)?;
            }
            // Somebody has done it for us.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.removed.store(true, Ordering::SeqCst);
        Ok(())
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Whether this is the first time that this is asked.
    pub(crate) fn is_first_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::SeqCst)
    }

    /// What becomes ready, with `POLLPRI`, when it has become empty or is so no longer.
    pub(in crate::sys) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// What has been used in it until now.
    pub(crate) fn usage(&self) -> LeafUsage {
        let value = |file, key| parse_keyed(&read(self.directory.as_fd(), file).ok()?, key);
        let peak = read(self.directory.as_fd(), "memory.peak");
        LeafUsage {
            cpu: Duration::from_micros(value("cpu.stat", "usage_usec").unwrap_or(0)),
            peak_memory_bytes: peak.ok().and_then(|text| parse_number(&text)),
            oom_kills: value("memory.events", "oom_kill"),
        }
    }
}

/// Whether somebody lives in a cgroup of this name.
pub(super) fn populated(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let directory = open_directory(parent, name)?;
    let events = read(directory.as_fd(), "cgroup.events")?;
    parse_keyed(&events, "populated")
        .map(|populated| populated != 0)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn freezes(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut text = [0; 16];
    let length = rustix::io::pread(file, &mut text, 0)?;
    Ok(text
        .get(..length)
        .is_some_and(|text| text.starts_with(b"1")))
}

fn thaw_below(directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    each_below(directory, depth, &mut |nested| {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(freeze) = openat(nested, "cgroup.freeze", flags, Mode::empty()) else {
            return;
        };
        if matches!(freezes(freeze.as_fd()), Ok(true)) {
            // ENODEV: it was removed meanwhile. EACCES cannot be: the right of the one above suffices.
            drop(write(freeze.as_fd(), b"0"));
        }
    })
}

fn members_below(directory: BorrowedFd<'_>, depth: usize, into: &mut Vec<u32>) {
    // A threaded one (EOPNOTSUPP) has its processes in the list of its domain, which is this or is above.
    if let Ok(text) = read(directory, "cgroup.procs") {
        into.extend(parse_cgroup_list(&text));
    }
    if depth == 0 {
        return;
    }
    for name in subdirectories(directory).unwrap_or_default() {
        if let Ok(nested) = open_directory(directory, bytes(&name)) {
            members_below(nested.as_fd(), depth - 1, into);
        }
    }
}

/// Does something with each cgroup below one, those in the depth first.
fn each_below(
    directory: BorrowedFd<'_>,
    depth: usize,
    what: &mut impl FnMut(BorrowedFd<'_>),
) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    for name in subdirectories(directory)? {
        let Ok(nested) = open_directory(directory, bytes(&name)) else {
            // Removed meanwhile.
            continue;
        };
        each_below(nested.as_fd(), depth - 1, what)?;
        what(nested.as_fd());
    }
    Ok(())
}

fn remove_below(directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(Errno::BUSY.into());
    }
    for name in subdirectories(directory)? {
        let name = bytes(&name);
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => {
                remove_below(open_directory(directory, name)?.as_fd(), depth - 1)?;
                unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn bytes(name: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

fn read(directory: BorrowedFd<'_>, file: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(directory, file, flags, Mode::empty())?;
    let mut text = Vec::new();
    File::from(file).take(WHOLE).read_to_end(&mut text)?;
    Ok(text)
}

/// These files take a command in one write.
fn write(file: BorrowedFd<'_>, text: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::write(file, text) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_is_the_owner_the_group_or_all_and_always_the_super_user() {
        let door = |mode| Door {
            user: 7,
            group: 8,
            mode,
        };
        assert!(is_writable_by(&door(0o444), 0, &[]));
        assert!(is_writable_by(&door(0o444), 7, &[]));
        assert!(is_writable_by(&door(0o664), 9, &[8]));
        assert!(!is_writable_by(&door(0o644), 9, &[8]));
        assert!(
            !is_writable_by(&door(0o642), 9, &[8]),
            "the group's own bits count"
        );
        assert!(is_writable_by(&door(0o642), 9, &[10]));
        assert!(!is_writable_by(&door(0o644), 9, &[10]));
    }
}

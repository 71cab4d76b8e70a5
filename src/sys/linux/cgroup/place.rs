//! Where leaves are made, and those that dead owners have left there.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, RawDir, accessat, fstat, fstatfs, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;

use super::leaf::{Doors, Leaf, is_writable_by, populated};
use crate::session::{Life, SessionId};
use crate::sys::linux::facilities::Facilities;
use crate::sys::linux::parse::{UnifiedMount, parse_own_cgroup, parse_unified_mounts};
use crate::sys::linux::pin::{Pin, is_gone};
use crate::sys::linux::table::start_of;
use crate::sys::vocabulary::{LeafName, NamedLeaf, OwnerIdentity};

/// `CGROUP2_SUPER_MAGIC` of `statfs(2)`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The cgroup below which leaves are made.
#[derive(Debug)]
pub(crate) struct Cgroups {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    owner: OwnerIdentity,
    owner_name: String,
    registry: u64,
    /// Whoever may write to one of these may move a process from a leaf to somewhere else.
    doors: Doors,
}

impl Cgroups {
    /// Looks whether leaves can be made: in `parent`, or else in the cgroup that this program is in.
    ///
    /// Nothing is made. With [`try_out`](Self::try_out) it is known for certain.
    ///
    /// # Errors
    ///
    /// Why they cannot, for people.
    pub(crate) fn find(
        parent: Option<&Path>,
        (owner, owner_name): (OwnerIdentity, &str),
        registry: u64,
    ) -> Result<Self, String> {
        let path = match parent {
            Some(path) => path.to_owned(),
            None => own_cgroup()?,
        };
        let at = |what: &str, error: Errno| format!("{what} {}: {error}", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            openat(CWD, &path, flags, Mode::empty()).map_err(|error| at("cannot open", error))?;
        let kind = fstatfs(&directory).map_err(|error| at("cannot ask about", error))?;
        if u64::try_from(kind.f_type).ok() != Some(CGROUP2_MAGIC) {
            return Err(format!("{} is no cgroup of version 2", path.display()));
        }
        for file in [".", "cgroup.procs"] {
            accessat(&directory, file, Access::WRITE_OK, AtFlags::EACCESS)
                .map_err(|error| at("may not write to", error))?;
        }
        let doors = Doors::up_from(directory.as_fd()).map_err(|error| {
            format!(
                "cannot read who may write to {} and above: {error}",
                path.display()
            )
        })?;
        Ok(Self {
            directory: Arc::new(directory),
            path,
            owner,
            owner_name: owner_name.to_owned(),
            registry,
            doors,
        })
    }

    /// Makes a leaf and removes it again.
    ///
    /// # Errors
    ///
    /// Why there are none to be had, for people.
    pub(crate) fn try_out(&self) -> Result<(), String> {
        // No life has this ordinal.
        let leaf = self
            .leaf(Life(0), SessionId(0))
            .map_err(|error| format!("cannot make a cgroup in {}: {error}", self.path.display()))?;
        leaf.remove().map_err(|error| {
            format!(
                "cannot remove a cgroup from {}: {error}",
                self.path.display()
            )
        })
    }

    /// Makes the leaf of a life: a directory, and what it takes to kill and to watch it, opened now and not when it is
    /// needed: six descriptors.
    ///
    /// # Errors
    ///
    /// Those of `mkdir(2)` and `open(2)`; `ENOENT` before Linux 5.14, which has no `cgroup.kill`; `EAGAIN` for more
    /// cgroups than `cgroup.max.descendants` above allows.
    pub(crate) fn leaf(&self, life: Life, session: SessionId) -> io::Result<Leaf> {
        let owner = (&self.owner, self.owner_name.as_str());
        let name = LeafName::new(owner, self.registry, (life, session)).to_string();
        mkdirat(&self.directory, &name, Mode::from_raw_mode(0o755))?;
        match Leaf::open(Arc::clone(&self.directory), name.clone()) {
            Ok(leaf) => Ok(leaf),
            Err(error) => {
                // It is empty: it was made a moment ago.
                let _enoent_or_done = unlinkat(&self.directory, &name, AtFlags::REMOVEDIR);
                Err(error)
            }
        }
    }

    /// The leaves of other registries, and whether somebody lives in them.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub(crate) fn others(&self) -> io::Result<Vec<(NamedLeaf, bool)>> {
        let mut others = Vec::new();
        for bytes in subdirectories(self.directory.as_fd())? {
            let name = LeafName::parse(&bytes).filter(|name| name.registry != self.registry);
            if let Some(name) = name {
                let bytes = OsString::from_vec(bytes);
                let lived_in = populated(self.directory.as_fd(), &bytes).unwrap_or(false);
                let path = self.path.join(&bytes);
                others.push((NamedLeaf { name, path }, lived_in));
            }
        }
        Ok(others)
    }

    /// Removes the leaves that dead owners have left empty. One that still has a process in it is left as it is, and so is
    /// one about whose owner there is any doubt.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub(crate) fn clear_leftovers(&self, facilities: &Facilities) -> io::Result<()> {
        for name in subdirectories(self.directory.as_fd())? {
            let Some(leaf) = LeafName::parse(&name) else {
                continue;
            };
            if self.is_dead_owners(&leaf, facilities) {
                let name = OsString::from_vec(name);
                if matches!(populated(self.directory.as_fd(), &name), Ok(false)) {
                    // EBUSY: somebody has entered it meanwhile, or there is a cgroup in it. It is looked at another time.
                    let _ebusy_or_done = unlinkat(&self.directory, &name, AtFlags::REMOVEDIR);
                }
            }
        }
        Ok(())
    }

    /// Whether the owner that a name speaks of is provably gone.
    fn is_dead_owners(&self, leaf: &LeafName, facilities: &Facilities) -> bool {
        if leaf.pid_namespace != self.owner.pid_namespace {
            return false;
        }
        match Pin::open(leaf.pid, facilities) {
            Err(error) => is_gone(&error),
            Ok(pin) => match pin.identity().inode {
                Some(inode) if leaf.inode != 0 => inode != leaf.inode,
                // The same tick can have seen two processes of one number, but never a dead owner with another start.
                Some(_) | None => start_of(leaf.pid).is_ok_and(|start| start != leaf.start_ticks),
            },
        }
    }
}

/// The cgroup of version 2 that this process is in, as a path.
fn own_cgroup() -> Result<PathBuf, String> {
    let read =
        |file: &str| std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"));
    let own = parse_own_cgroup(&read("/proc/self/cgroup")?)
        .ok_or("this program is in no cgroup of version 2")?;
    let mounts = Mounts::parse(&read("/proc/self/mountinfo")?);
    if mounts.0.is_empty() {
        return Err("no cgroup hierarchy of version 2 is mounted".to_owned());
    }
    mounts.path_of(&own).ok_or_else(|| {
        format!(
            "the cgroup {} of this program is not below a mounted hierarchy",
            own.display()
        )
    })
}

/// Where hierarchies of version 2 are mounted.
#[derive(Debug)]
pub(in crate::sys::linux) struct Mounts(Vec<UnifiedMount>);

impl Mounts {
    /// As of now; none where that cannot be read.
    pub(in crate::sys::linux) fn read() -> Self {
        Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// From a `/proc/PID/mountinfo`.
    pub(in crate::sys::linux) fn parse(mountinfo: &[u8]) -> Self {
        Self(parse_unified_mounts(mountinfo))
    }

    /// Where a cgroup is, from how the kernel calls it.
    fn path_of(&self, cgroup: &Path) -> Option<PathBuf> {
        let (mount, below) = self.mount_of(cgroup)?;
        Some(mount.point.join(below))
    }

    /// The mount that shows a cgroup, and where it is below that.
    fn mount_of<'a>(&self, cgroup: &'a Path) -> Option<(&UnifiedMount, &'a Path)> {
        // Both are seen from our cgroup namespace. What is above its root begins with "..", and cannot be had.
        let is_above = |part| matches!(part, Component::ParentDir);
        if cgroup.components().any(is_above) {
            return None;
        }
        self.0.iter().find_map(|mount| {
            let below = cgroup.strip_prefix(&mount.root).ok()?;
            Some((mount, below))
        })
    }

    /// The leaves that a process is in, outermost first, from its `/proc/PID/cgroup`.
    pub(in crate::sys::linux) fn leaves(&self, cgroup: &[u8]) -> Vec<NamedLeaf> {
        let cgroup = parse_own_cgroup(cgroup);
        let Some((mount, below)) = cgroup.as_deref().and_then(|path| self.mount_of(path)) else {
            return Vec::new();
        };
        let path = mount.point.join(below);
        let named = |path: &Path| {
            let name = LeafName::parse(path.file_name()?.as_bytes())?;
            let path = path.to_owned();
            Some(NamedLeaf { name, path })
        };
        // Above the point are directories of anybody, whatever they are called.
        let cgroups = path.ancestors().take_while(|above| *above != mount.point);
        let mut leaves: Vec<_> = cgroups.filter_map(named).collect();
        leaves.reverse();
        leaves
    }
}

impl Leaf {
    /// Opens one that another registry has made.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is gone, `EACCES` if it is not ours to end; `EMFILE`.
    pub(crate) fn reopen(leaf: &NamedLeaf) -> io::Result<Self> {
        let parent = leaf.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, parent, flags, Mode::empty())?;
        let kind = fstatfs(&parent)?;
        if u64::try_from(kind.f_type).ok() != Some(CGROUP2_MAGIC) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::open(Arc::new(parent), leaf.name.to_string())
    }
}

/// The names of the directories in one.
pub(super) fn subdirectories(directory: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Of its own: the position belongs to the open file.
    let directory = openat(directory, ".", flags, Mode::empty())?;
    let mut buffer = vec![MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == rustix::fs::FileType::Directory && !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

impl Doors {
    /// Who may write to the `cgroup.procs` of a cgroup and of all above it that can be seen.
    fn up_from(directory: impl AsFd) -> io::Result<Self> {
        /// Deeper than any hierarchy.
        const DEEPEST: usize = 4096;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(directory, ".", flags, Mode::empty())?;
        let mut doors = Self::default();
        for _ in 0..DEEPEST {
            let file = openat(
                &at,
                "cgroup.procs",
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            doors.add(&fstat(&file)?);
            let above = openat(&at, "..", flags, Mode::empty())?;
            let is_cgroup = fstatfs(&above)
                .is_ok_and(|kind| u64::try_from(kind.f_type).ok() == Some(CGROUP2_MAGIC));
            let here = fstat(&at)?;
            let there = fstat(&above)?;
            // The mount's root, or one that is its own parent.
            if !is_cgroup || (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev) {
                return Ok(doors);
            }
            at = above;
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl Cgroups {
    /// Whether a process of this user and these groups could leave a leaf: it may write where it would go, and to what is
    /// above both.
    pub(crate) fn lets_out(&self, user: u32, groups: &[u32]) -> bool {
        self.doors
            .0
            .iter()
            .any(|door| is_writable_by(door, user, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: &str = "procession-12-34-56-78-00000000000000ff-9-7-x";

    fn leaves(point: &str, cgroup: &str) -> Vec<PathBuf> {
        let mount = format!("30 23 0:26 / {point} rw shared:9 - cgroup2 cgroup2 rw\n");
        let leaves = Mounts::parse(mount.as_bytes()).leaves(format!("0::{cgroup}\n").as_bytes());
        leaves.into_iter().map(|leaf| leaf.path).collect()
    }

    #[test]
    fn a_process_is_in_every_leaf_on_its_way_outermost_first() {
        let cgroup = format!("/a/{LEAF}/b/{LEAF}/c");
        let outer = PathBuf::from(format!("/sys/fs/cgroup/a/{LEAF}"));
        let inner = outer.join("b").join(LEAF);
        assert_eq!(leaves("/sys/fs/cgroup", &cgroup), [outer, inner]);
        assert_eq!(leaves("/sys/fs/cgroup", &format!("/../{LEAF}")).len(), 0);
    }

    /// A hierarchy can be mounted anywhere.
    #[test]
    fn what_is_called_like_a_leaf_and_is_no_cgroup_holds_nobody() {
        let point = format!("/mnt/{LEAF}");
        assert_eq!(leaves(&point, "/a").len(), 0);
        assert_eq!(leaves(&point, "/").len(), 0);
        let inside = Path::new(&point).join(LEAF);
        assert_eq!(leaves(&point, &format!("/{LEAF}")), [inside]);
    }
}

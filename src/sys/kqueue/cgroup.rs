//! There are no cgroups here: of these types there is no value, and what could be done with one is never done.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::facilities::Facilities;
use crate::session::{Life, SessionId};
use crate::sys::vocabulary::{LeafName, NamedLeaf, OwnerIdentity};

/// A place for cgroups.
#[derive(Debug)]
pub(crate) enum Cgroups {}

/// The cgroup of one life.
#[derive(Debug)]
pub(crate) enum Leaf {}

/// What a leaf's processes have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeafUsage {
    pub(crate) cpu: Duration,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
}

impl Cgroups {
    /// # Errors
    ///
    /// Always, for people.
    pub(crate) fn find(
        _parent: Option<&Path>,
        _owner: (OwnerIdentity, &str),
        _registry: u64,
    ) -> Result<Self, String> {
        Err("only Linux has cgroups".to_owned())
    }

    pub(crate) fn try_out(&self) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn clear_leftovers(&self, _facilities: &Facilities) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn lets_out(&self, _user: u32, _groups: &[u32]) -> bool {
        match *self {}
    }

    pub(crate) fn leaf(&self, _life: Life, _session: SessionId) -> io::Result<Leaf> {
        match *self {}
    }

    pub(crate) fn others(&self) -> io::Result<Vec<(NamedLeaf, bool)>> {
        match *self {}
    }
}

impl Leaf {
    /// # Errors
    ///
    /// Always.
    pub(crate) fn reopen(_leaf: &NamedLeaf) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn is_named(&self, _name: &LeafName) -> bool {
        match *self {}
    }

    pub(crate) fn id(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn door(&self) -> Arc<OwnedFd> {
        match *self {}
    }

    pub(crate) fn admit(&self, _pid: u32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn release(&self, _pid: u32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn thaw(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn members(&self) -> Vec<u32> {
        match *self {}
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn is_removed(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_first_watch(&self) -> bool {
        match *self {}
    }

    pub(crate) fn usage(&self) -> LeafUsage {
        match *self {}
    }
}

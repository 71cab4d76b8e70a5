//! What a registry was built with.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::capabilities::Capabilities;
use crate::contain::contain;
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::limit_mark::LimitMark;
use crate::registry::OnDrop;
use crate::stop::StopPolicy;
use crate::sys;
use crate::system_process::SystemProcess;

/// What a registry was built with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stop_policy: StopPolicy,
    pub(crate) containment: Containment,
    /// What this program is called in marks and in the ledger.
    pub(crate) name: String,
    /// Where it is written down what may live.
    pub(crate) ledger: Option<Ledger>,
    /// Whose mark processes get; none without the marker.
    pub(crate) owner: Option<Owner>,
    /// How descendants are marked besides.
    pub(crate) limit_mark: Option<LimitMark>,
    /// Tells this registry's mark from every other one.
    pub(crate) number: u64,
    /// Which descendants are left alone.
    pub(crate) spare: Option<Spare>,
    pub(crate) cgroups: CgroupPlan,
    /// Orphans come to this program, or why they do not.
    pub(crate) subreaper: std::result::Result<(), &'static str>,
    /// The host has said that all of its children are ours.
    pub(crate) consent: bool,
    pub(crate) event_capacity: usize,
    pub(crate) on_drop: OnDrop,
    pub(crate) capabilities: Capabilities,
}

impl Plan {
    /// Whether a tier can be had; the error says why not, and is still to be told for what it was asked.
    pub(crate) fn check_tier(&self, tier: Containment, operation: &'static str) -> Result<()> {
        let refuse = |kind, detail: String| Err(Error::new(kind, operation).with_detail(detail));
        match tier {
            Containment::Subreaper => match self.subreaper {
                Ok(()) => Ok(()),
                Err(why) if self.consent => refuse(
                    ErrorKind::Unsupported,
                    format!("the tier Subreaper is not to be had here: {why}"),
                ),
                Err(why) => refuse(
                    ErrorKind::InvalidInput,
                    format!("the tier Subreaper is not to be had: {why}"),
                ),
            },
            Containment::Cgroup => match self.cgroups.get() {
                Ok(_) => Ok(()),
                Err(why) => refuse(
                    ErrorKind::Unsupported,
                    format!("the tier Cgroup is not to be had here: {why}"),
                ),
            },
            Containment::Leader | Containment::Group => Ok(()),
        }
    }
}

/// Where cgroups are made. Looked for when the first is wanted: it takes a descriptor.
#[derive(Debug)]
pub(crate) struct CgroupPlan {
    parent: Option<PathBuf>,
    /// Whose leaves they are, or why that is not known.
    owner: std::result::Result<Owner, String>,
    registry: u64,
    found: OnceLock<std::result::Result<sys::Cgroups, String>>,
}

impl CgroupPlan {
    pub(crate) fn new(
        parent: Option<PathBuf>,
        owner: std::result::Result<Owner, String>,
        registry: u64,
    ) -> Self {
        Self {
            parent,
            owner,
            registry,
            found: OnceLock::new(),
        }
    }

    /// Looks whether there can be any, and keeps nothing.
    pub(crate) fn look(&self) -> std::result::Result<(), String> {
        self.find().map(drop)
    }

    /// Where they are made, or why they are not.
    pub(crate) fn get(&self) -> std::result::Result<&sys::Cgroups, &str> {
        let found = self.found.get_or_init(|| self.find());
        found.as_ref().map_err(String::as_str)
    }

    fn find(&self) -> std::result::Result<sys::Cgroups, String> {
        let owner = self.owner.clone()?;
        let owner = (owner.identity, owner.name.as_str());
        sys::Cgroups::find(self.parent.as_deref(), owner, self.registry)
    }
}

/// Whose processes carry our mark.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) identity: sys::OwnerIdentity,
}

/// Says of which descendants a host wants nothing to be done about.
#[derive(Clone)]
pub(crate) struct Spare(pub(crate) Arc<dyn Fn(&SystemProcess) -> bool + Send + Sync>);

impl Spare {
    /// What the host's code cannot decide about is left alone.
    pub(crate) fn says_yes(&self, process: &SystemProcess) -> bool {
        contain(|| (self.0)(process)).unwrap_or(true)
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare(..)")
    }
}

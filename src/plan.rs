//! What a registry was built with.

use std::fmt;
use std::sync::Arc;

use crate::capabilities::Capabilities;
use crate::containment::Containment;
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
    /// Whose mark processes get; none without the marker.
    pub(crate) owner: Option<Owner>,
    /// How descendants are marked besides.
    pub(crate) limit_mark: Option<LimitMark>,
    /// Tells this registry's mark from every other one.
    pub(crate) number: u64,
    /// Which descendants are left alone.
    pub(crate) spare: Option<Spare>,
    pub(crate) event_capacity: usize,
    pub(crate) on_drop: OnDrop,
    pub(crate) capabilities: Capabilities,
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

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare(..)")
    }
}

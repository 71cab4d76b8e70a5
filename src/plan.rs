//! What a registry was built with.

use crate::capabilities::Capabilities;
use crate::containment::Containment;
use crate::registry::OnDrop;
use crate::stop::StopPolicy;
use crate::sys;

/// What a registry was built with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stop_policy: StopPolicy,
    pub(crate) containment: Containment,
    /// Whose mark processes get; none without the marker.
    pub(crate) owner: Option<Owner>,
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

//! What a leaf is called: by its name a later run tells whose it is.

use std::fmt;

use crate::session::Life;
use crate::sys::vocabulary::OwnerIdentity;

const PREFIX: &str = "procession-";

/// The name of a leaf's directory: `procession-PID-START-INODE-PIDNS-REGISTRY-LIFE`.
///
/// The boot is not in it: no cgroup outlives that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafName {
    /// Who made it, in the pid namespace that is named next.
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// The inode of its pidfd; 0 where there was none.
    pub(crate) inode: u64,
    pub(crate) pid_namespace: u64,
    pub(crate) registry: u64,
    pub(crate) life: Life,
}

impl LeafName {
    pub(crate) fn new(owner: &OwnerIdentity, registry: u64, life: Life) -> Self {
        Self {
            pid: owner.pid,
            start_ticks: owner.start_ticks,
            inode: owner.inode,
            pid_namespace: owner.pid_namespace,
            registry,
            life,
        }
    }

    /// Understands the name of a directory; `None` for everybody else's.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        let mut fields = text.strip_prefix(PREFIX)?.split('-');
        let mut field = || fields.next();
        let parsed = Self {
            pid: field()?.parse().ok()?,
            start_ticks: field()?.parse().ok()?,
            inode: field()?.parse().ok()?,
            pid_namespace: field()?.parse().ok()?,
            registry: u64::from_str_radix(field()?, 16).ok()?,
            life: Life(field()?.parse().ok()?),
        };
        // One spelling, or it is not one of ours.
        (parsed.to_string() == text).then_some(parsed)
    }
}

impl fmt::Display for LeafName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            start_ticks,
            inode,
            pid_namespace,
            registry,
            life,
        } = self;
        write!(
            f,
            "{PREFIX}{pid}-{start_ticks}-{inode}-{pid_namespace}-{registry:016x}-{}",
            life.0
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_again(pid: u32, start_ticks: u64, inode: u64, pid_namespace: u64, registry: u64, life: u64) {
            let name = LeafName { pid, start_ticks, inode, pid_namespace, registry, life: Life(life) };
            prop_assert_eq!(LeafName::parse(name.to_string().as_bytes()), Some(name));
        }

        #[test]
        fn what_is_not_a_name_is_nobodys(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(LeafName::parse(&bytes), None);
        }
    }

    #[test]
    fn another_spelling_is_not_ours() {
        let good = "procession-12-34-56-78-00000000000000ff-9";
        assert!(LeafName::parse(good.as_bytes()).is_some());
        for bad in [
            "procession-012-34-56-78-00000000000000ff-9",
            "procession-12-34-56-78-00000000000000FF-9",
            "procession-12-34-56-78-00000000000000ff-9-1",
            "procession-12-34-56-78-00000000000000ff",
            "procession-+12-34-56-78-00000000000000ff-9",
            "procession-job.scope",
        ] {
            assert_eq!(LeafName::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

//! What a leaf is called: by its name a later run tells whose it is.
//!
//! ```text
//! procession-PID-START-INODE-PIDNS-REGISTRY-LIFE-SESSION-NAME
//! ```
//!
//! The fields are those of the variable of the [mark], written as there. `NAME` is left out with the hyphen
//! before it where the whole would be longer than the name of a directory may be.

use std::fmt;

use crate::mark;
use crate::session::{Life, SessionId};
use crate::sys::vocabulary::{LeafName, OwnerIdentity};

const PREFIX: &str = "procession-";

/// `NAME_MAX` of a cgroup's directory.
const LONGEST: usize = 255;

impl LeafName {
    pub(in crate::sys::linux) fn new(
        (owner, owner_name): (&OwnerIdentity, &str),
        registry: u64,
        (life, session): (Life, SessionId),
    ) -> Self {
        let mut name = Self {
            pid: owner.pid,
            start_ticks: owner.start_ticks,
            inode: owner.inode,
            pid_namespace: owner.pid_namespace,
            registry,
            life,
            session,
            owner_name: Some(mark::cut(owner_name, mark::MAX_NAME).to_owned()),
        };
        if name.to_string().len() > LONGEST {
            name.owner_name = None;
        }
        name
    }

    /// Understands the name of a directory; `None` for everybody else's.
    pub(in crate::sys::linux) fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        // The owner's name may have hyphens itself.
        let mut fields = text.strip_prefix(PREFIX)?.splitn(8, '-');
        let mut field = || fields.next();
        let parsed = Self {
            pid: field()?.parse().ok()?,
            start_ticks: field()?.parse().ok()?,
            inode: field()?.parse().ok()?,
            pid_namespace: field()?.parse().ok()?,
            registry: u64::from_str_radix(field()?, 16).ok()?,
            life: Life(field()?.parse().ok()?),
            session: SessionId(field()?.parse().ok()?),
            owner_name: field()
                .map(mark::decode_name)
                .map_or(Some(None), |name| name.map(Some))?,
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
            session,
            owner_name,
        } = self;
        write!(
            f,
            "{PREFIX}{pid}-{start_ticks}-{inode}-{pid_namespace}-{registry:016x}-{}-{session}",
            life.0
        )?;
        if let Some(name) = owner_name {
            let mut encoded = String::from("-");
            mark::encode_name(name, &mut encoded);
            f.write_str(&encoded)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner() -> impl Strategy<Value = OwnerIdentity> {
        (any::<u32>(), any::<[u64; 3]>()).prop_map(|(pid, [start_ticks, inode, pid_namespace])| {
            OwnerIdentity {
                pid,
                start_ticks,
                inode,
                boot: 0,
                pid_namespace,
            }
        })
    }

    proptest! {
        #[test]
        fn a_name_is_read_again_and_fits(owner in owner(), name: String, registry: u64, life: u64, session: u64) {
            let of = (Life(life), SessionId(session));
            let name = LeafName::new((&owner, &name), registry, of);
            let text = name.to_string();
            prop_assert!(text.len() <= LONGEST);
            prop_assert!(!text.contains('/'));
            prop_assert_eq!(LeafName::parse(text.as_bytes()), Some(name));
        }

        #[test]
        fn what_is_not_a_name_is_nobodys(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(LeafName::parse(&bytes), None);
        }
    }

    #[test]
    fn the_owners_name_may_have_hyphens_and_is_left_out_where_it_is_too_long() {
        let good = "procession-12-34-56-78-00000000000000ff-9-7-my-host%20";
        let parsed = LeafName::parse(good.as_bytes()).expect("it is one");
        assert_eq!(parsed.owner_name.as_deref(), Some("my-host "));
        let owner = OwnerIdentity {
            pid: u32::MAX,
            start_ticks: u64::MAX,
            inode: u64::MAX,
            boot: 0,
            pid_namespace: u64::MAX,
        };
        let of = (Life(u64::MAX), SessionId(u64::MAX));
        let plain = LeafName::new((&owner, &"x".repeat(64)), 1, of);
        assert!(plain.owner_name.is_some());
        assert_eq!(
            LeafName::new((&owner, &"ä".repeat(32)), 1, of).owner_name,
            None
        );
    }

    #[test]
    fn another_spelling_is_not_ours() {
        let good = "procession-12-34-56-78-00000000000000ff-9-7-x";
        assert!(LeafName::parse(good.as_bytes()).is_some());
        assert!(LeafName::parse(b"procession-12-34-56-78-00000000000000ff-9-7").is_some());
        for bad in [
            "procession-012-34-56-78-00000000000000ff-9-7-x",
            "procession-12-34-56-78-00000000000000FF-9-7-x",
            "procession-12-34-56-78-00000000000000ff-9-7-%78",
            "procession-12-34-56-78-00000000000000ff-9-7-%2",
            "procession-12-34-56-78-00000000000000ff-9",
            "procession-+12-34-56-78-00000000000000ff-9-7-x",
            "procession-job.scope",
        ] {
            assert_eq!(LeafName::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

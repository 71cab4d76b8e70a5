//! [`Capabilities`]: what this system lets the registry do, and why not.

use std::borrow::Cow;
use std::fmt;

/// What this system lets the registry do, and why not.
///
/// Everything is probed once, when the registry is built. What is missing is missing from what the
/// registry promises, not from its working: each part that can do without falls back to something
/// weaker, and the reports say so.
///
/// `Display` prints a line for each, without a newline at its end:
///
/// ```text
/// cgroup tier              no: may not write to /sys/fs/cgroup/init.scope: Permission denied (os error 13)
/// subreaper tier           no: it needs the host's consent, Builder::subreaper(true)
/// group signal after reap  yes
/// ```
///
/// # Examples
///
/// ```
/// use procession::{Capabilities, Capability};
///
/// // From `registry.capabilities()`.
/// let capabilities = Capabilities::from_parts([
///     (Capability::ForeignStatus, Ok(())),
///     (Capability::GroupSignalAfterReap, Err("the kernel is older than 6.9".into())),
/// ]);
/// assert!(capabilities.has(Capability::ForeignStatus));
/// assert_eq!(
///     capabilities.why_not(Capability::GroupSignalAfterReap),
///     Some("the kernel is older than 6.9")
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Capabilities {
    entries: Vec<(Capability, Verdict)>,
}

/// There, or why not.
type Verdict = Result<(), Cow<'static, str>>;

/// Something that a system may or may not offer.
///
/// `Display` prints it in lower case: `group signal after reap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// [`Containment::Cgroup`](crate::Containment::Cgroup) can be had. Linux 5.14, with a cgroup v2 that
    /// this host may write to.
    ///
    /// It is looked at and not tried: what only shows when a cgroup is made (a kernel before 5.14, `cgroup.max.descendants`)
    /// is told by [`Builder::build`](crate::Builder::build) for the registry's tier, and by a spawn for its own.
    CgroupTier,
    /// [`Containment::Subreaper`](crate::Containment::Subreaper) can be had. Linux 6.9 and FreeBSD, with the host's
    /// [consent](crate::Builder::subreaper).
    SubreaperTier,
    /// A group can be signalled after its leader was reaped, so that no zombie has to hold its
    /// number. Linux 6.9; FreeBSD where [`SubreaperTier`](Self::SubreaperTier) can be had.
    GroupSignalAfterReap,
    /// Descendants can be marked in a resource limit, which outlives a cleared environment. Linux.
    LimitMark,
    /// The exit status of a process that is not this host's child, or that someone else reaped.
    /// Linux 6.15, FreeBSD; macOS of whom this host may signal.
    ForeignStatus,
    /// [`Command`](crate::Command) does all that it has methods for, and a launch that hangs is ended with its session. Linux. On
    /// macOS and FreeBSD the reason names what is refused there, with [`Unsupported`](crate::ErrorKind::Unsupported).
    FullLaunch,
    /// Which processes may still live is written down, and found again by a later host of the same boot: there is a
    /// [ledger](crate::Builder::ledger), and it has not failed.
    DurableIdentity,
}

impl Capabilities {
    /// What was probed, in the order in which it is to be printed.
    pub(crate) fn new(entries: Vec<(Capability, Verdict)>) -> Self {
        Self { entries }
    }

    /// The same without one of them.
    pub(crate) fn without(mut self, capability: Capability, why: String) -> Self {
        for (candidate, verdict) in &mut self.entries {
            if *candidate == capability {
                *verdict = Err(Cow::Owned(why.clone()));
            }
        }
        self
    }

    /// Builds them, for a host's tests: each is there, or is not for a reason.
    pub fn from_parts<I>(entries: I) -> Self
    where
        I: IntoIterator<Item = (Capability, Result<(), String>)>,
    {
        let verdict =
            |(capability, there): (_, Result<(), String>)| (capability, there.map_err(Cow::Owned));
        Self::new(entries.into_iter().map(verdict).collect())
    }

    /// Whether the registry can do it.
    pub fn has(&self, capability: Capability) -> bool {
        self.why_not(capability).is_none()
    }

    /// Why the registry cannot do it, in a few words; `None` if it can.
    pub fn why_not(&self, capability: Capability) -> Option<&str> {
        let mut entries = self.entries.iter();
        match entries.find(|(candidate, _)| *candidate == capability) {
            Some((_, Ok(()))) => None,
            Some((_, Err(why))) => Some(why),
            None => Some("it was not looked for"),
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (capability, verdict)) in self.entries.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            // As wide as the longest name, so that two registries print alike.
            write!(f, "{newline}{capability:<23}  ")?;
            match verdict {
                Ok(()) => f.write_str("yes")?,
                Err(why) => write!(f, "no: {why}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CgroupTier => "cgroup tier",
            Self::SubreaperTier => "subreaper tier",
            Self::GroupSignalAfterReap => "group signal after reap",
            Self::LimitMark => "limit mark",
            Self::ForeignStatus => "foreign status",
            Self::FullLaunch => "full launch",
            Self::DurableIdentity => "durable identity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Capabilities {
        Capabilities::new(vec![
            (Capability::CgroupTier, Err("only Linux has cgroups".into())),
            (Capability::GroupSignalAfterReap, Ok(())),
        ])
    }

    #[test]
    fn what_is_there_has_no_reason_and_what_is_not_has_one() {
        let some = some();
        assert!(some.has(Capability::GroupSignalAfterReap));
        assert_eq!(
            some.why_not(Capability::CgroupTier),
            Some("only Linux has cgroups")
        );
    }

    #[test]
    fn what_was_not_probed_is_not_there() {
        assert!(!some().has(Capability::LimitMark));
        assert!(some().why_not(Capability::LimitMark).is_some());
    }

    #[test]
    fn they_print_as_an_aligned_list() {
        assert_eq!(
            some().to_string(),
            "cgroup tier              no: only Linux has cgroups\ngroup signal after reap  yes"
        );
    }
}

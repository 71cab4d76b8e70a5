//! [`Containment`]: how a process and its descendants are held together.

use std::fmt;

/// How a process and what it starts are held together, weakest first.
///
/// The order is the order of strength: `Leader < Group < Subreaper < Cgroup`. What a tier lets an
/// end claim is in [`Strength`](crate::Strength).
///
/// # Portability
///
/// [`Leader`](Self::Leader) and [`Group`](Self::Group) work everywhere.
/// [`Subreaper`](Self::Subreaper) and [`Cgroup`](Self::Cgroup) are Linux facilities that are not
/// offered yet: asking for exactly one of them is
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), and
/// [`Capabilities`](crate::Capabilities) says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Containment {
    /// The direct child alone, in the host's own process group.
    ///
    /// For children that need the terminal: sudo, ssh, an editor. Descendants are neither ended nor
    /// claimed.
    Leader,
    /// A process group of its own. The default.
    ///
    /// Signals reach every process that stayed in the group. At the end of the session those that
    /// left it are found by their [marks](crate::Builder::limit_mark), and ended with the rest. The
    /// terminal's Ctrl-C no longer reaches it: it goes to the foreground group alone.
    #[default]
    Group,
    /// The host is made a subreaper, so that orphaned descendants come to it and can be waited for.
    Subreaper,
    /// A cgroup (version 2) for each life of a session, from which a member cannot hide.
    Cgroup,
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leader => "leader",
            Self::Group => "group",
            Self::Subreaper => "subreaper",
            Self::Cgroup => "cgroup",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_order_of_strength() {
        let mut tiers = [
            Containment::Cgroup,
            Containment::Leader,
            Containment::Subreaper,
            Containment::Group,
        ];
        tiers.sort();
        assert_eq!(
            tiers.map(|t| t.to_string()),
            ["leader", "group", "subreaper", "cgroup"]
        );
        assert_eq!(Containment::default(), Containment::Group);
    }
}

//! [`Containment`]: how a process and its descendants are held together.

use std::fmt;

/// How a process and what it starts are held together, weakest first.
///
/// The order is the order of strength: `Leader < Group < Subreaper < Cgroup`. The tier is the registry's
/// ([`Builder::containment`](crate::Builder::containment)), a session's
/// ([`SessionOptions::containment`](crate::SessionOptions::containment)) or one spawn's
/// ([`SpawnOptions::containment`](crate::SpawnOptions::containment)). What a report claims of a session is what can be claimed
/// of the weakest of its processes.
///
/// | tier | needs | how | a clean report says |
/// | --- | --- | --- | --- |
/// | [`Leader`](Self::Leader) | | the process alone | [`Observed(Leader)`](crate::Means::Leader) |
/// | [`Group`](Self::Group) | the [`marker`](crate::Builder::marker) | a group of its own, and marks | [`Observed(MarkAndGroup)`](crate::Means::MarkAndGroup), or [`Observed(Group)`](crate::Means::Group) for what [`std::process::Command`] started |
/// | [`Subreaper`](Self::Subreaper) | Linux 6.9 or FreeBSD, the host's consent | the same, and orphans come to the host | [`Proven(NoChildren)`](crate::Proof::NoChildren) if the sessions that end are all there are, else [`Observed(Subreaper)`](crate::Means::Subreaper) |
/// | [`Cgroup`](Self::Cgroup) | Linux 5.14, a cgroup v2 that the host may write to | a cgroup for each life of a session | [`Proven(CgroupEmpty)`](crate::Proof::CgroupEmpty) of who cannot leave it, else [`Observed(Cgroup)`](crate::Means::Cgroup) |
///
/// Whatever the tier, what is adopted or attached is claimed alone, as under `Leader`, and lowers what its session's report
/// claims.
///
/// # Portability
///
/// [`Leader`](Self::Leader) and [`Group`](Self::Group) work everywhere; where there is no limit mark (macOS, FreeBSD) `Group` claims
/// [`Means::Group`](crate::Means::Group) at most. [`Subreaper`](Self::Subreaper) is there on Linux and FreeBSD, [`Cgroup`](Self::Cgroup) on
/// Linux alone: asking for exactly one of them where it cannot be had is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), and
/// [`Capabilities`](crate::Capabilities) says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Containment {
    /// The direct child alone, in the host's own process group.
    ///
    /// For children that need the terminal: sudo, ssh, an editor. Descendants are neither ended nor
    /// claimed: [`covers_descendants`](crate::SessionReport::covers_descendants) says no.
    ///
    /// What such a process leaves behind is nobody's. In a host that is a [`Subreaper`](Self::Subreaper) it comes to the host and
    /// is reaped when it exits; from then on no end of that registry is proven by `NoChildren`, and orphans that nothing
    /// names are left alone: they could be of those. The same goes for what was attached, and for what was adopted and leads no
    /// group.
    Leader,
    /// A process group of its own, and marks for what leaves it. The default.
    ///
    /// Signals reach every process that stayed in the group. At the end of the session those that
    /// left it are looked for among all processes of the machine, by a mark in the environment and one in a
    /// [resource limit](crate::Builder::limit_mark), by group and by parent, and ended with the rest, until a pass meets nobody new.
    ///
    /// What it does not hold: a program that leaves its group and its parent, clears its environment and lowers its
    /// limit is not found. Of what std's `Command` has started, the first children can be faster than the limit mark, which
    /// is set a moment after the start.
    ///
    /// The terminal's Ctrl-C no longer reaches it: it goes to the foreground group alone.
    #[default]
    Group,
    /// What [`Group`](Self::Group) does; and the host is made a subreaper, so that orphaned descendants come to it and can be
    /// waited for.
    ///
    /// The host has to say that all of its children are this registry's: see [`Builder::subreaper`](crate::Builder::subreaper). Without
    /// that, asking for this tier is [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    ///
    /// An orphan that carries a mark is ended with the session that it names. One that nothing names, because it has cut every
    /// tie, could be of any session. It is ended with the last one; an end beside others leaves it alone, and says
    /// [`Observed(Group)`](crate::Means::Group) for that. When the sessions that are ending are all there are, the end goes on until
    /// the host has no child left, which is the proof: no descendant can be anywhere else.
    ///
    /// On FreeBSD the host is made a reaper (`procctl(2)`). There the kernel keeps which child of the host a process descends
    /// from, so that no orphan is one that nothing names, and kills a child with all that it has started in one call, whatever
    /// it forks meanwhile; only
    /// what a child under `Leader` has left is nobody's.
    ///
    /// What it does not hold: beside other sessions, what `Group` does not hold either; on FreeBSD it holds that. And a descendant that has a
    /// subreaper of its own above it, started by a member, comes to the host only when that is gone.
    Subreaper,
    /// A cgroup (version 2) for each life of a session, from which a member cannot hide.
    ///
    /// It is made below [`Builder::cgroup_parent`](crate::Builder::cgroup_parent), or below the cgroup that the host is in, entered
    /// before exec, killed as a whole at the last rung, and removed when it is empty. That it could be removed is the proof.
    /// It costs six descriptors for each life. An end also tells what the session has
    /// [used](crate::SessionReport::usage).
    ///
    /// *Proven* is the end of who was launched by [`Command`](crate::Command), and so was born in it, as a user who may not write
    /// to the `cgroup.procs` of the parent or of a cgroup above that. Who may could move itself out: so could a member that runs
    /// as root, or as the owner of a delegated cgroup, which a host without privileges and its children are. Such members are
    /// looked for by their marks as well, as under [`Group`](Self::Group), and the end is observed. So is that of what
    /// std's `Command` has started: it is moved in a moment after its start, and what it has started before that stays outside.
    ///
    /// What it does not hold: a proven member that somebody outside, who has more rights, moves to another cgroup. It is not
    /// looked for anywhere else.
    ///
    /// A descendant that [`Builder::spare`](crate::Builder::spare) says yes to is moved out of the cgroup, to the parent, and lives on
    /// there.
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

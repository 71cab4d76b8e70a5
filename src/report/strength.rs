//! [`Strength`]: how an end knows that the members are gone, and what it knows of those that are
//! not.

use std::ffi::OsString;
use std::fmt;

use super::table;
use crate::session::ProcessId;

/// How an end knows that the members of a session are gone.
///
/// It is what holds for all of them: the weakest member counts, also one that was gone before the end. What each tier can claim
/// is at [`Containment`](crate::Containment).
///
/// `Display` prints `proven (cgroup empty)`, `observed (leader)` or `unconfirmed`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Strength {
    /// Nothing can be left: the kernel said so of all descendants at once.
    Proven(Proof),
    /// All that was known of is dead, by the kernel's word for each. By the means that is named
    /// nothing else was seen; what hides from that means may live.
    Observed(Means),
    /// Something is alive, or may be.
    Unconfirmed {
        /// What is known to be alive.
        survivors: Vec<Survivor>,
    },
}

impl Strength {
    /// The weaker of two, which is what holds for both together. Two sets of survivors are joined.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "what the members of a session can claim is joined before it becomes a strength"
        )
    )]
    pub(crate) fn weaker(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Unconfirmed { mut survivors },
                Self::Unconfirmed {
                    survivors: mut more,
                },
            ) => {
                survivors.append(&mut more);
                Self::Unconfirmed { survivors }
            }
            (one, other) if one.rank() <= other.rank() => one,
            (_, other) => other,
        }
    }

    /// The place in the order of strength, 0 for the weakest.
    fn rank(&self) -> u8 {
        match self {
            Self::Unconfirmed { .. } => 0,
            Self::Observed(means) => match means {
                Means::Leader => 1,
                Means::Group => 2,
                Means::MarkAndGroup => 3,
                Means::Subreaper => 4,
                Means::Cgroup => 5,
            },
            Self::Proven(proof) => match proof {
                Proof::Keeper => 6,
                Proof::NoChildren => 7,
                Proof::CgroupEmpty => 8,
            },
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven(proof) => write!(f, "proven ({proof})"),
            Self::Observed(means) => write!(f, "observed ({means})"),
            Self::Unconfirmed { .. } => f.write_str("unconfirmed"),
        }
    }
}

/// What proves that nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// The session's cgroup was empty and is removed, every member was born in it, and none could leave it.
    ///
    /// It says nothing of a member that somebody outside, who may write to `cgroup.procs` above it, has moved out.
    CgroupEmpty,
    /// The host, a subreaper, has no child left: ECHILD from `waitid` with `__WALL`, on FreeBSD besides an empty list of its
    /// descendants (`PROC_REAP_STATUS`). Only where the sessions that were ending were all that there were.
    NoChildren,
    /// The same, of a keeper process of the session. Nothing claims this: the name is for a tier that does not exist.
    Keeper,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CgroupEmpty => "cgroup empty",
            Self::NoChildren => "no children",
            Self::Keeper => "keeper",
        })
    }
}

/// By what means it was observed that nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Means {
    /// The session's cgroup is empty; a member may have been able to leave it, or was moved in a moment after its start. By
    /// the mark and by group nobody was seen outside.
    Cgroup,
    /// What [`MarkAndGroup`](Self::MarkAndGroup) and [`Group`](Self::Group) say, and every orphan that came to the host could be
    /// told to be of this session or of another.
    Subreaper,
    /// No process carries the session's mark, and no group of it is left; every member had the mark
    /// from birth. A `/proc` that hides other users' processes (hidepid) hides those of the session's that have changed their
    /// user as well.
    MarkAndGroup,
    /// The same, but somebody may lack the mark: what a member of std's [`Command`](std::process::Command) started within
    /// microseconds of its own start, everybody without a [limit mark](crate::Builder::limit_mark), or, under
    /// [`Subreaper`](crate::Containment::Subreaper), an orphan that nothing names.
    Group,
    /// The registered processes are dead. Of their descendants nothing is claimed.
    Leader,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cgroup => "cgroup",
            Self::Subreaper => "subreaper",
            Self::MarkAndGroup => "mark and group",
            Self::Group => "group",
            Self::Leader => "leader",
        })
    }
}

/// A process that is still alive after an end, and why.
///
/// `Display` prints `process 2, pid 4712, sleep 1000 (not permitted to signal it)`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Survivor {
    /// The registry's name for it.
    pub process: ProcessId,
    /// Its pid; 0 for [a spawn that has not come back](SurvivalCause::SpawnInFlight), which has
    /// none yet.
    pub pid: u32,
    /// Program and arguments, as far as they are known.
    pub command_line: Vec<OsString>,
    /// Why it is alive.
    pub cause: SurvivalCause,
}

impl Survivor {
    /// Builds a survivor, for a host's tests.
    pub fn from_parts(
        process: ProcessId,
        pid: u32,
        command_line: Vec<OsString>,
        cause: SurvivalCause,
    ) -> Self {
        Self {
            process,
            pid,
            command_line,
            cause,
        }
    }
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.process)?;
        if self.pid != 0 {
            let command = table::command(None, &self.command_line);
            write!(f, ", pid {}, {command}", self.pid)?;
        }
        write!(f, " ({})", self.cause)
    }
}

/// Why a process outlived SIGKILL and the time for its confirmation, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SurvivalCause {
    /// The kernel does not let this host signal it (EPERM): a set-uid program that changed its
    /// user.
    NotPermitted,
    /// It sleeps in the kernel where no signal reaches it (state D): a dead network file system, a
    /// parent in `vfork`.
    Uninterruptible,
    /// It is dead or dying, and its tracer holds it.
    Traced {
        /// The tracer's pid.
        by: u32,
    },
    /// Its tree went on forking faster than it could be looked at.
    StillForking,
    /// Its spawn had not come back when the end was over; it is killed when it does.
    SpawnInFlight,
    /// Nothing to be seen: the kernel is slow to bury it (a core dump, much memory), or will not
    /// say.
    Unknown,
}

impl fmt::Display for SurvivalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => f.pad("not permitted to signal it"),
            Self::Uninterruptible => f.pad("in uninterruptible sleep"),
            Self::Traced { by } => f.pad(&format!("held by its tracer, pid {by}")),
            Self::StillForking => f.pad("still forking"),
            Self::SpawnInFlight => f.pad("its spawn has not come back"),
            Self::Unknown => f.pad("cause unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weaker_of_two_holds_for_both_whatever_the_order() {
        let none = Strength::Unconfirmed { survivors: vec![] };
        let order = [
            none,
            Strength::Observed(Means::Leader),
            Strength::Observed(Means::Group),
            Strength::Observed(Means::MarkAndGroup),
            Strength::Observed(Means::Subreaper),
            Strength::Observed(Means::Cgroup),
            Strength::Proven(Proof::Keeper),
            Strength::Proven(Proof::NoChildren),
            Strength::Proven(Proof::CgroupEmpty),
        ];
        for (i, weak) in order.iter().enumerate() {
            for strong in &order[i..] {
                assert_eq!(&weak.clone().weaker(strong.clone()), weak);
                assert_eq!(&strong.clone().weaker(weak.clone()), weak);
            }
        }
    }

    #[test]
    fn the_survivors_of_two_are_all_named() {
        let one = |pid| {
            let survivor =
                Survivor::from_parts(ProcessId(1), pid, vec![], SurvivalCause::Uninterruptible);
            Strength::Unconfirmed {
                survivors: vec![survivor],
            }
        };
        match one(1).weaker(one(2)) {
            Strength::Unconfirmed { survivors } => {
                let pids: Vec<_> = survivors.iter().map(|s| s.pid).collect();
                assert_eq!(pids, [1, 2]);
            }
            other @ (Strength::Proven(_) | Strength::Observed(_)) => panic!("{other}"),
        }
    }

    #[test]
    fn a_survivor_is_named_with_its_cause() {
        let command_line = vec!["sh".into(), "-c".into(), "sleep 9".into()];
        let cause = SurvivalCause::Traced { by: 17 };
        let survivor = Survivor::from_parts(ProcessId(2), 4712, command_line, cause);
        assert_eq!(
            survivor.to_string(),
            "process 2, pid 4712, sh -c 'sleep 9' (held by its tracer, pid 17)"
        );

        let unborn = Survivor::from_parts(ProcessId(3), 0, vec![], SurvivalCause::SpawnInFlight);
        assert_eq!(
            unborn.to_string(),
            "process 3 (its spawn has not come back)"
        );
    }
}

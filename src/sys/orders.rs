//! What a native launch is told to do, and which of its steps failed: plain values for every back end.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{fmt, io};

/// What a child is to do before it becomes the program. Everything in it is checked: what remains to go wrong is the
/// kernel's to say.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The paths at which the program may be, tried in this order.
    pub(crate) programs: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    /// `NAME=VALUE`, each name once.
    pub(crate) environment: Vec<CString>,
    pub(crate) directory: Option<CString>,
    /// Makes ignored signals default again. Caught ones are, in any case: their handlers are gone.
    pub(crate) reset_ignored: bool,
    /// Empties the signal mask; otherwise the child has that of the thread which asked for it.
    pub(crate) mask: ChildMask,
    pub(crate) grouping: Grouping,
    pub(crate) nice: Option<i32>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) umask: Option<u32>,
    /// The `cgroup.procs` of the cgroup that it enters.
    pub(crate) cgroup: Option<Arc<OwnedFd>>,
    pub(crate) groups: Option<Vec<u32>>,
    /// Has no supplementary groups, if it may give them up.
    pub(crate) drop_groups: bool,
    pub(crate) gid: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) parent_death_signal: Option<i32>,
    /// What it has at which number; each number once.
    pub(crate) descriptors: Vec<Passed>,
    /// Closes what is neither standard nor passed.
    pub(crate) close_others: bool,
}

/// Which signals the program starts with blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ChildMask {
    #[default]
    Empty,
    /// A mask that was read by `signal_mask`.
    Set(u64),
}

/// Which group the child is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Its parent's.
    #[default]
    Inherit,
    /// One that has its number.
    Own,
    /// One that exists.
    Join(i32),
    /// One that has its number, in a session that has its number.
    OwnSession,
}

/// A resource limit, by the kernel's number for the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// A descriptor, and its number in the child.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) from: Arc<OwnedFd>,
    pub(crate) number: i32,
}

/// The steps of a launch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Memory for the child's stack.
    Stack,
    Clone,
    Signals,
    Group,
    Session,
    Limits,
    Nice,
    Umask,
    Cgroup,
    Groups,
    Gid,
    Uid,
    Directory,
    DeathSignal,
    /// The parent was gone before the parent-death signal could be asked for.
    #[allow(
        dead_code,
        reason = "only a launch that takes these steps one by one can tell"
    )]
    Parent,
    Descriptors,
    CloseOthers,
    Mask,
    Exec,
}

impl Step {
    #[allow(
        dead_code,
        reason = "the numbers of the steps, where child and parent tell each other by number"
    )]
    pub(crate) const ALL: [Self; 19] = [
        Self::Stack,
        Self::Clone,
        Self::Signals,
        Self::Group,
        Self::Session,
        Self::Limits,
        Self::Nice,
        Self::Umask,
        Self::Cgroup,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Directory,
        Self::DeathSignal,
        Self::Parent,
        Self::Descriptors,
        Self::CloseOthers,
        Self::Mask,
        Self::Exec,
    ];

    /// The call that a step is, as people know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stack => "mmap",
            Self::Clone => "clone",
            Self::Signals => "sigaction",
            Self::Group => "setpgid",
            Self::Session => "setsid",
            Self::Nice => "setpriority",
            Self::Umask => "umask",
            Self::Limits => "setrlimit",
            Self::Cgroup => "cgroup.procs",
            Self::Groups => "setgroups",
            Self::Gid => "setgid",
            Self::Uid => "setuid",
            Self::Directory => "chdir",
            Self::DeathSignal => "prctl",
            Self::Parent => "getppid",
            Self::Descriptors => "dup",
            Self::CloseOthers => "close_range",
            Self::Mask => "sigprocmask",
            Self::Exec => "exec",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The step that failed, and what the kernel said. Nothing of the child is left.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) error: io::Error,
}

//! What the kernel offers beyond the floor.

/// What the kernel offers beyond the floor of `pidfd_open`, `pidfd_send_signal` and `waitid(P_PIDFD)` (5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facilities {
    /// `PIDFD_SIGNAL_PROCESS_GROUP` (6.9): a group can be signalled through the pidfd of its leader, also after the
    /// leader was reaped.
    pub(crate) group_signal: bool,
    /// Pidfds are files of pidfs (6.9): the inode of one names its process uniquely for one boot.
    pub(crate) pidfs: bool,
    /// `PIDFD_GET_INFO` (6.13).
    pub(crate) pidfd_info: bool,
    /// `PIDFD_INFO_EXIT` (6.15): the status of a process that somebody else reaped.
    pub(crate) exit_info: bool,
}

impl Facilities {
    /// What a registry cannot do without.
    pub(crate) const FLOOR: &str = "Linux 5.4 and newer have it";
    /// Why there may be no [`group_signal`](Self::group_signal).
    pub(crate) const NO_GROUP_SIGNAL: &str = "PIDFD_SIGNAL_PROCESS_GROUP came with Linux 6.9";
    /// Why a launch does not do all that can be ordered: it does.
    pub(crate) const NO_FULL_LAUNCH: Option<&str> = None;
    /// Why there may be no [`exit_info`](Self::exit_info).
    pub(crate) const NO_EXIT_INFO: &str = "PIDFD_INFO_EXIT came with Linux 6.15";

    /// Whether each process tells who its parent is, at less cost than a parent its children.
    pub(crate) fn tells_parents(&self) -> bool {
        self.pidfd_info
    }

    /// Whether orphans of this process can be dealt with: every child of it is reaped as soon as it has ended, so that the
    /// group of one that was has to be in reach.
    ///
    /// # Errors
    ///
    /// Why not, for people.
    pub(crate) fn orphans(&self) -> Result<(), &'static str> {
        if self.group_signal {
            Ok(())
        } else {
            Err(Self::NO_GROUP_SIGNAL)
        }
    }
}

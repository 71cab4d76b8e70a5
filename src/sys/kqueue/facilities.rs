//! What the two kernels offer. Nothing of it varies between their versions that are supported.

use super::queue::Queue;
use crate::sys::system;
use crate::sys::vocabulary::{Mask, Unavailable};

/// What the kernel offers beyond the floor of `kqueue` with notes of exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facilities {
    /// Whether a group can be signalled after its leader was reaped: only where orphans come to this process on FreeBSD, which
    /// keeps the number for as long as anybody is left who descends from the leader. Else only the zombie keeps it.
    pub(crate) group_signal: bool,
    /// Whether that is not to be so.
    pub(super) is_masked: bool,
    /// A note tells the status of a process that is not our child, or that somebody else reaped.
    pub(crate) exit_info: bool,
}

impl Facilities {
    /// What a registry cannot do without.
    pub(crate) const FLOOR: &str = "macOS and FreeBSD have it";
    /// Why there is no [`group_signal`](Self::group_signal).
    pub(crate) const NO_GROUP_SIGNAL: &str = system::NO_GROUP_SIGNAL;
    /// Why a launch does not do all that can be ordered.
    pub(crate) const NO_FULL_LAUNCH: Option<&str> = Some(system::NO_FULL_LAUNCH);
    /// Why there may be no [`exit_info`](Self::exit_info).
    pub(crate) const NO_EXIT_INFO: &str = "it is masked";

    /// Whether each process tells who its parent is, at less cost than a parent its children: one list tells it of all.
    #[allow(clippy::unused_self, reason = "another back end has to know")]
    pub(crate) fn tells_parents(&self) -> bool {
        false
    }

    /// Whether orphans can come to this process.
    ///
    /// # Errors
    ///
    /// Why not, for people.
    pub(crate) fn orphans(&self) -> Result<(), &'static str> {
        match system::NO_ORPHANS {
            Some(why) => Err(why),
            None if self.is_masked => Err("it is masked"),
            None => Ok(()),
        }
    }
}

/// Tries the floor once. What `mask` names is treated as missing.
///
/// # Errors
///
/// [`Unavailable`] names the call that does not work.
pub(crate) fn probe(mask: Mask) -> Result<Facilities, Unavailable> {
    let refused = |errno| Unavailable {
        call: "kqueue",
        errno,
    };
    if mask.pidfd {
        return Err(refused(libc::ENOSYS));
    }
    // No descriptor to be had is a fault of this moment, and told by whoever needs one next.
    match Queue::new() {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            return Err(refused(libc::ENOSYS));
        }
        Err(_) => {}
    }
    let hidden = mask.exit_info || mask.pidfd_info;
    Ok(Facilities {
        group_signal: false,
        is_masked: mask.group_signal,
        exit_info: !hidden,
    })
}

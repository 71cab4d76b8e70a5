//! Children that nobody has started here, for a host that has said that every child of it is the registry's to wait for.

#![expect(
    unsafe_code,
    reason = "rustix does not tell which child a wait has found, and knows no other children than those of SIGCHLD"
)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::own::current_pid;
use crate::sys::platform;

/// Two that wait for all children would take them from each other.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Orphans of all descendants come to this process, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Subreaper {
    /// They came before.
    before: bool,
    /// Who asked: a copy in a forked child gives nothing up.
    owner: u32,
}

impl Subreaper {
    /// Asks for the orphans. `None`: somebody in this process has them already.
    ///
    /// # Errors
    ///
    /// `Unsupported` where they cannot be had.
    pub(crate) fn new() -> io::Result<Option<Self>> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        let before = platform::adopts_orphans_by_wish();
        let asked = if before {
            Ok(())
        } else {
            platform::ask_for_orphans()
        };
        match asked {
            Ok(()) => Ok(Some(Self {
                before,
                owner: current_pid(),
            })),
            Err(error) => {
                TAKEN.store(false, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        if self.owner == current_pid() {
            if !self.before {
                // It was taken by the same call. What has come to us stays.
                drop(platform::give_up_orphans());
            }
            TAKEN.store(false, Ordering::SeqCst);
        }
    }
}

/// Sleeps until a child of this process has ended that nobody has taken away, and says which; `None` if there are no children.
///
/// # Errors
///
/// None is known.
pub(crate) fn await_child() -> io::Result<Option<u32>> {
    wait(libc::P_ALL, 0_u32, libc::WNOWAIT)
        .map(|ended| ended.and_then(|pid| u32::try_from(pid).ok()))
}

/// Whether this process has no child, alive or not, as far as a wait can tell.
pub(in crate::sys) fn has_no_child() -> bool {
    let look = libc::WNOWAIT | libc::WNOHANG;
    matches!(wait(libc::P_ALL, 0_u32, look), Ok(None))
}

/// Takes away a child that has ended and that nobody holds. `false`: it lives, or is no child of ours.
///
/// # Errors
///
/// None is known.
pub(crate) fn bury(pid: u32) -> io::Result<bool> {
    let ended = wait(libc::P_PID, pid, libc::WNOHANG)?;
    Ok(ended.is_some_and(|pid| pid != 0))
}

/// The pid of a child that has ended; 0 if none has; `None` if there is none (`ECHILD`).
fn wait(
    kind: libc::idtype_t,
    id: impl Into<libc::id_t>,
    more: libc::c_int,
) -> io::Result<Option<libc::pid_t>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let id = id.into();
    let options = libc::WEXITED | platform::EVERY_CHILD | more;
    loop {
        // SAFETY: the pointer is valid for writing a `siginfo_t`.
        let answer = unsafe { libc::waitid(kind, id, info.as_mut_ptr(), options) };
        if answer == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            Some(Errno::CHILD) => return Ok(None),
            Some(_) | None => return Err(error),
        }
    }
    // SAFETY: it was zeroed, which is a valid `siginfo_t`, and what the kernel wrote since is one.
    let info = unsafe { info.assume_init() };
    // SAFETY: the field is the pid of SIGCHLD, or zero where nothing was found.
    Ok(Some(unsafe { info.si_pid() }))
}

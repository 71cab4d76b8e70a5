//! `PR_SET_CHILD_SUBREAPER`, and `waitid(P_ALL)`: children that nobody has started here.
//!
//! All of this is for a host that has said that every child of it is the registry's to wait for.

#![expect(
    unsafe_code,
    reason = "rustix has no flag for children that announce their end by another signal than SIGCHLD"
)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{child_subreaper, getpid, set_child_subreaper};

use super::facilities::Facilities;

/// Two that wait for all children would take them from each other.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Orphans of all descendants come to this process, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Subreaper {
    /// It was one before.
    before: bool,
    /// Who asked: a copy in a forked child gives nothing up.
    owner: u32,
}

impl Subreaper {
    /// Asks for the orphans (Linux 3.4). `None`: somebody in this process has them already.
    ///
    /// # Errors
    ///
    /// None is known.
    pub(crate) fn new() -> io::Result<Option<Self>> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        let asked = child_subreaper().and_then(|before| {
            set_child_subreaper(Some(getpid()))?;
            Ok(before.is_some())
        });
        match asked {
            Ok(before) => Ok(Some(Self {
                before,
                owner: crate::sys::unix::current_pid(),
            })),
            Err(error) => {
                TAKEN.store(false, Ordering::SeqCst);
                Err(error.into())
            }
        }
    }
}

impl Subreaper {
    /// What can be done where orphans come to this process: what could be done before.
    #[expect(
        clippy::unused_self,
        reason = "it is what elsewhere makes a difference"
    )]
    pub(crate) fn enables(&self, facilities: Facilities) -> Facilities {
        facilities
    }
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        if self.owner == crate::sys::unix::current_pid() {
            if !self.before {
                // It was set by the same call. What has come to us stays.
                let _no_error_is_known = set_child_subreaper(None);
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
    wait(libc::P_ALL, 0, libc::WNOWAIT).map(|ended| ended.and_then(|pid| u32::try_from(pid).ok()))
}

/// Whether this process has no child, alive or not, whatever signal it would announce its end by. Where orphans come to it
/// nobody descends from it then.
pub(crate) fn is_childless() -> bool {
    let look = libc::WNOWAIT | libc::WNOHANG;
    matches!(wait(libc::P_ALL, 0, look), Ok(None))
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
fn wait(kind: libc::idtype_t, id: u32, more: libc::c_int) -> io::Result<Option<libc::pid_t>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::__WALL | more;
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

//! Children that nobody has started here, for a host that has said that every child of it is the registry's to wait for.

#![expect(
    unsafe_code,
    reason = "rustix does not tell which child a wait has found"
)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::facilities::Facilities;
use super::meaning::Waited;
use super::wait::collect;
use crate::sys::system;
use crate::sys::unix::{current_pid, to_pid};

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
    /// Asks for the orphans. `None`: somebody in this process has them already.
    ///
    /// # Errors
    ///
    /// `Unsupported` on macOS, where all orphans are launchd's.
    pub(crate) fn new() -> io::Result<Option<Self>> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        let before = system::is_reaper();
        if !before {
            if let Err(error) = system::become_reaper() {
                TAKEN.store(false, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(Some(Self {
            before,
            owner: current_pid(),
        }))
    }
}

impl Subreaper {
    /// What can be done where orphans come to this process.
    #[expect(clippy::unused_self, reason = "it is what makes the difference")]
    pub(crate) fn enables(&self, facilities: Facilities) -> Facilities {
        Facilities {
            group_signal: facilities.orphans().is_ok(),
            ..facilities
        }
    }
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        if self.owner == current_pid() {
            if !self.before {
                // It was taken by the same call. What has come to us stays.
                drop(system::stop_being_reaper());
            }
            TAKEN.store(false, Ordering::SeqCst);
        }
    }
}

/// Who takes in the orphans of this process. The kernel says so: no trial is made.
///
/// # Errors
///
/// None is known.
pub(crate) fn adopter_of_orphans(_facilities: &Facilities) -> io::Result<u32> {
    system::adopter_of_orphans()
}

/// Sleeps until a child of this process has ended that nobody has taken away, and says which; `None` if there are no children.
///
/// # Errors
///
/// None is known.
pub(crate) fn await_child() -> io::Result<Option<u32>> {
    wait(0).map(|ended| ended.and_then(|pid| u32::try_from(pid).ok()))
}

/// Whether this process has no child, alive or not, and where the kernel lists them, nobody else who descends from it.
pub(crate) fn is_childless() -> bool {
    system::is_childless(matches!(wait(libc::WNOHANG), Ok(None)))
}

/// Takes away a child that has ended and that nobody holds. `false`: it lives, or is no child of ours.
///
/// # Errors
///
/// None is known.
pub(crate) fn bury(pid: u32) -> io::Result<bool> {
    match collect(to_pid(pid)?)? {
        Waited::Exit(_) => Ok(true),
        Waited::Nothing | Waited::NotOurs => Ok(false),
    }
}

/// The pid of a child that has ended; 0 if none has; `None` if there is none (`ECHILD`).
fn wait(more: libc::c_int) -> io::Result<Option<libc::pid_t>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOWAIT | more;
    loop {
        // SAFETY: the pointer is valid for writing a `siginfo_t`.
        let answer = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
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

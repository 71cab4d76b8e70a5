//! The parent's side of a launch.

#![expect(
    unsafe_code,
    reason = "clone, and a signal mask with the two signals that the C library leaves out"
)]

use std::io;
use std::sync::atomic::Ordering;

use libc::{c_int, c_void};

use super::child::child;
use super::script::Script;
use super::unborn::Unborn;
use crate::sys::linux::facilities::Facilities;
use crate::sys::linux::pin::Pin;
use crate::sys::linux::pin::sleep_on_alone;
use crate::sys::orders::{Fault, Orders, Step};

/// Starts a process. Sleeps until it has become the program that was ordered, or until that has failed; another thread
/// can end that by [`Unborn::doom`].
///
/// A child that somebody kills before it is a program cannot be told from a program that dies at once, and may have started
/// others before.
///
/// # Errors
///
/// The step that failed, and its errno. Nothing is left: the child was waited for.
///
/// `ECANCELED` of the clone: it was doomed before it began, and has done nothing.
///
/// `EMFILE`, `ENFILE` and `EAGAIN` of the clone: there was no child.
pub(crate) fn launch(
    orders: &Orders,
    unborn: &Unborn,
    facilities: &Facilities,
) -> Result<Pin, Fault> {
    let script = Script::new(orders, unborn.report());
    let pid = clone(&script, unborn).map_err(|error| Fault {
        step: Step::Clone,
        error,
    })?;
    let Some(pidfd) = unborn.take() else {
        // It is the first to take it, and a clone that succeeds has filled it in.
        return Err(Fault {
            step: Step::Clone,
            error: io::Error::from_raw_os_error(libc::EBADF),
        });
    };
    let pin = Pin::born(pidfd, pid, facilities);
    let report = unborn.report();
    let Some(step) = failed(report.step.load(Ordering::SeqCst)) else {
        return Ok(pin);
    };
    bury(&pin);
    Err(Fault {
        step,
        error: io::Error::from_raw_os_error(report.errno.load(Ordering::SeqCst)),
    })
}

fn failed(code: u32) -> Option<Step> {
    let index = usize::try_from(code.checked_sub(1)?).ok()?;
    Step::ALL.get(index).copied()
}

/// Waits for the end of a child that has said that it ends, and takes the zombie away.
fn bury(pin: &Pin) {
    // ENOMEM: the reap may then come too early, and leave a zombie.
    drop(sleep_on_alone(pin, None));
    // `false`, or an error: SIGCHLD is ignored, or somebody waits for every child of the host.
    drop(pin.reap());
}

fn clone(script: &Script<'_>, unborn: &Unborn) -> io::Result<u32> {
    let orders = script.orders;
    let mut flags = libc::CLONE_PIDFD | libc::CLONE_VFORK | libc::SIGCHLD;
    let changes_user = orders.uid.is_some() || orders.gid.is_some() || orders.groups.is_some();
    if !changes_user {
        flags |= libc::CLONE_VM;
    }
    let argument = std::ptr::from_ref(script).cast_mut().cast::<c_void>();
    let pidfd = unborn.report().pidfd.as_ptr();
    let blocked = AllBlocked::now()?;
    // SAFETY: the child has a stack of its own, which is mapped as long as `unborn` is. It gets the script, which it only
    // reads (but for atomics) and which outlives its use of our memory: with CLONE_VFORK the call returns when that is
    // over. It does only what may be done there, see `child`, and no handler of the host runs in it, since all signals
    // are blocked. The kernel writes the pidfd, an int, to where there is one. The last two arguments are not looked at
    // without flags that are not given.
    let pid = unsafe {
        libc::clone(
            child,
            unborn.stack(),
            flags,
            argument,
            pidfd,
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_int>(),
        )
    };
    // Before the mask is restored, and with it the host's handlers, who have an errno of their own.
    let error = io::Error::last_os_error();
    drop(blocked);
    u32::try_from(pid).map_err(|_| error)
}

/// All signals are blocked on this thread while this is there.
pub(in crate::sys::linux) struct AllBlocked(u64);

impl AllBlocked {
    /// # Errors
    ///
    /// Whatever a sandbox says; the kernel has none.
    pub(in crate::sys::linux) fn now() -> io::Result<Self> {
        set_mask(u64::MAX).map(Self)
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // What was possible a moment ago is so still.
        drop(set_mask(self.0));
    }
}

/// Sets this thread's mask, the two signals of the C library included, and returns what it was.
fn set_mask(mask: u64) -> io::Result<u64> {
    let mut before = 0_u64;
    // SAFETY: both are eight bytes, which is what the kernel is told, and live as long as the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    if answer == 0 {
        Ok(before)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether this is the thread that the program began with: what comes at its end comes at the program's, unless that thread
/// leaves before the others, as a C program's can (`pthread_exit(3)`).
pub(crate) fn is_first_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// The signals that this thread blocks.
pub(crate) fn signal_mask() -> u64 {
    let mut now = 0_u64;
    // SAFETY: there are eight bytes to be written to, and there is no new mask.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::null::<u64>(),
            &raw mut now,
            size_of::<u64>(),
        )
    };
    now
}

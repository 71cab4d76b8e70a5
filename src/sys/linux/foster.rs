//! Where the orphans of this process go, found out by making one.
//!
//! No file and no call says which ancestor has asked for orphans (`PR_SET_CHILD_SUBREAPER`). So a child is made that
//! makes a child and ends: whoever is the parent of the second one then is the one. Both share our memory, so that the cost
//! does not grow with it, and neither becomes a program; what was said in `launch` of a child before its exec holds
//! for all that they do.

#![expect(
    unsafe_code,
    reason = "clone, and memory that three processes share for a moment"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use libc::{c_int, c_void};

use super::facilities::Facilities;
use super::launch::AllBlocked;
use super::pin::Pin;
use super::pin::sleep_on_alone;

/// The frames of both are small, more without optimisation. No guard: neither calls anything that is not written here.
const STACK: usize = 32 * 1024;
const TOP: usize = 4096;
const WHOLE: usize = 2 * STACK + TOP;

/// How often the second child looks at its parent before it gives up. The first is at its end by then.
const LOOKS: u32 = 100_000;
/// How long the second child's end is waited for. Microseconds are usual; a tracer can hold it.
static PATIENCE: libc::timespec = libc::timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

#[repr(C)]
struct Trial {
    /// The second child's stack ends here.
    second_stack: *mut c_void,
    pidfd: AtomicI32,
    first: AtomicU32,
    /// Who has taken in the second child; 0 as long as that is not known.
    adopter: AtomicU32,
    /// Set to 0 by the kernel, with a wake-up, when the second child is gone and uses no memory any more.
    running: AtomicU32,
}

/// Makes an orphan, and says who has taken it in: the nearest ancestor that has asked for orphans, or the first process.
///
/// # Errors
///
/// Those of `mmap` and `clone`; `TimedOut` and `Other` if the orphan was held or killed by somebody.
pub(crate) fn adopter_of_orphans(facilities: &Facilities) -> io::Result<u32> {
    let memory = Memory::new()?;
    let trial = memory.trial();
    let blocked = AllBlocked::now()?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let argument = std::ptr::from_ref(trial).cast_mut().cast::<c_void>();
    // SAFETY: the child has a stack of its own, which is mapped until both children are gone, and gets the trial, which
    // lies in the same memory. With CLONE_VFORK the call returns when the first child has ended. All signals are
    // blocked, in both: no handler of the host runs in them. The kernel writes the pidfd, an int, to where there is one.
    let pid = unsafe {
        libc::clone(
            first,
            memory.first_stack(),
            flags,
            argument,
            trial.pidfd.as_ptr(),
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_int>(),
        )
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    let pid = u32::try_from(pid).map_err(|_refused| error)?;
    // SAFETY: the clone has succeeded, so the kernel has put a new descriptor there, which is nobody else's.
    let pidfd = unsafe { OwnedFd::from_raw_fd(trial.pidfd.load(Ordering::SeqCst)) };
    let pin = Pin::born(pidfd, pid, facilities);
    // ENOMEM: the reap may then come too early, and leave a zombie.
    drop(sleep_on_alone(&pin, None));
    // `false`, or an error: SIGCHLD is ignored, or somebody waits for every child of the host.
    drop(pin.reap());
    if !is_over(trial) {
        // The second child still uses the memory.
        std::mem::forget(memory);
        return Err(io::ErrorKind::TimedOut.into());
    }
    match trial.adopter.load(Ordering::SeqCst) {
        0 => Err(io::Error::other("the orphan did not get as far as to tell")),
        adopter => Ok(adopter),
    }
}

/// Waits until the second child is gone.
fn is_over(trial: &Trial) -> bool {
    loop {
        let running = trial.running.load(Ordering::SeqCst);
        if running == 0 {
            return true;
        }
        // SAFETY: the word is in memory that is mapped, and so is the time. Not a private futex: the wake-up comes from
        // the kernel, which makes no difference there.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_futex,
                trial.running.as_ptr(),
                libc::FUTEX_WAIT,
                running,
                &raw const PATIENCE,
            )
        };
        let error = io::Error::last_os_error();
        if answer != 0 && error.raw_os_error() == Some(libc::ETIMEDOUT) {
            return trial.running.load(Ordering::SeqCst) == 0;
        }
    }
}

/// The child: makes the second one, and ends.
extern "C" fn first(argument: *mut c_void) -> c_int {
    // SAFETY: it is the trial, whose memory stays mapped until both children are gone.
    let trial = unsafe { &*argument.cast::<Trial>() };
    trial.first.store(raw(libc::SYS_getpid), Ordering::SeqCst);
    trial.running.store(1, Ordering::SeqCst);
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // SAFETY: as for the first child: a stack of its own, the same argument, no handler. The kernel writes to the last
    // argument, an int, when the child is gone.
    let pid = unsafe {
        libc::clone(
            second,
            trial.second_stack,
            flags,
            argument,
            std::ptr::null_mut::<c_int>(),
            std::ptr::null_mut::<c_void>(),
            trial.running.as_ptr(),
        )
    };
    if pid < 0 {
        trial.running.store(0, Ordering::SeqCst);
    }
    0
}

/// The child's child: looks who its parent is once that is not the first child any more.
extern "C" fn second(argument: *mut c_void) -> c_int {
    // SAFETY: as in the first child.
    let trial = unsafe { &*argument.cast::<Trial>() };
    let first = trial.first.load(Ordering::SeqCst);
    let mut looks = 0;
    while looks < LOOKS {
        let parent = raw(libc::SYS_getppid);
        if parent != first {
            trial.adopter.store(parent, Ordering::SeqCst);
            break;
        }
        raw(libc::SYS_sched_yield);
        looks += 1;
    }
    0
}

/// A call without arguments that cannot fail, so that nobody's `errno` is touched.
fn raw(call: libc::c_long) -> u32 {
    // SAFETY: these calls take no argument and touch no memory.
    let answer = unsafe { libc::syscall(call) };
    u32::try_from(answer).unwrap_or(0)
}

/// Two stacks, and the trial above them.
struct Memory(NonNull<c_void>);

impl Memory {
    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), WHOLE, access, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory =
            NonNull::new(memory).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let memory = Self(memory);
        let trial = Trial {
            second_stack: memory.at(2 * STACK),
            pidfd: AtomicI32::new(-1),
            first: AtomicU32::new(0),
            adopter: AtomicU32::new(0),
            running: AtomicU32::new(0),
        };
        // SAFETY: the top is page-aligned, large enough, and nobody's yet.
        unsafe { memory.at(2 * STACK).cast::<Trial>().write(trial) };
        Ok(memory)
    }

    fn at(&self, offset: usize) -> *mut c_void {
        // SAFETY: all offsets are within the mapping.
        unsafe { self.0.as_ptr().byte_add(offset) }
    }

    /// Stacks grow downwards.
    fn first_stack(&self) -> *mut c_void {
        self.at(STACK)
    }

    fn trial(&self) -> &Trial {
        // SAFETY: it was written when the memory was made, and only its atomics change.
        unsafe { &*self.at(2 * STACK).cast::<Trial>() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and both children are gone: else it is forgotten instead.
        unsafe { libc::munmap(self.0.as_ptr(), WHOLE) };
    }
}

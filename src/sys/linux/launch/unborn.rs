//! A launch as it can be seen, and ended, while it is under way.

#![expect(
    unsafe_code,
    reason = "the child's stack and its report are memory that both processes map"
)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use libc::c_void;

use crate::sys::linux::signal::kill_unborn;

/// Below the stack, never to be touched. As large as the largest page that Linux has.
const GUARD: usize = 64 * 1024;
/// The child's frames are a few hundred bytes each, more without optimisation.
const STACK: usize = 64 * 1024;
/// Above the stack, for the report.
const TOP: usize = 4096;
const WHOLE: usize = GUARD + STACK + TOP;

/// No descriptor.
const NONE: i32 = -1;

/// What child and parent tell each other. In memory that both have, also where the child has a copy of all else.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Report {
    /// The child has begun: the clone has succeeded, and `pidfd` means it.
    pub(super) begun: AtomicBool,
    /// It is to end before it becomes anything.
    pub(super) doomed: AtomicBool,
    /// Written by the kernel, also by a clone that fails later.
    pub(super) pidfd: AtomicI32,
    /// The step that failed, counted from 1 in `Step::ALL`; 0 for none.
    pub(super) step: AtomicU32,
    pub(super) errno: AtomicI32,
}

/// A launch under way: a child that is not yet a program.
///
/// The thread that launches sleeps until that is over, and it may take long: an exec from a file system whose server is
/// gone. Any other thread can put an end to it by [`doom`](Self::doom).
#[derive(Debug)]
pub(crate) struct Unborn {
    memory: NonNull<c_void>,
    /// Whether the launching thread has taken the pidfd. Held while the number is used, so that it is not closed, and
    /// given to something else, in the meantime.
    taken: Mutex<bool>,
}

// SAFETY: the pointer is to memory of its own, of which only the atomics are reached through a shared reference; the stack
// is the child's alone.
unsafe impl Send for Unborn {}
// SAFETY: as above.
unsafe impl Sync for Unborn {}

impl Unborn {
    /// Room for one launch.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        // Shared, so that a child with a copy of the memory reports too.
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), WHOLE, access, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(memory) = NonNull::new(memory) else {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        };
        let unborn = Self {
            memory,
            taken: Mutex::new(false),
        };
        // SAFETY: the range is the lower end of the mapping, which nothing uses yet.
        let guarded = unsafe { libc::mprotect(memory.as_ptr(), GUARD, libc::PROT_NONE) };
        if guarded != 0 {
            return Err(io::Error::last_os_error());
        }
        unborn.report().pidfd.store(NONE, Ordering::SeqCst);
        Ok(unborn)
    }

    /// Makes it as good as new, for another launch: to map memory anew costs a third of a launch.
    pub(crate) fn renew(&mut self) {
        *self.taken.get_mut().unwrap_or_else(PoisonError::into_inner) = false;
        let report = self.report();
        report.begun.store(false, Ordering::SeqCst);
        report.doomed.store(false, Ordering::SeqCst);
        report.pidfd.store(NONE, Ordering::SeqCst);
        report.step.store(0, Ordering::SeqCst);
    }

    pub(super) fn report(&self) -> &Report {
        // SAFETY: the offset is within the mapping.
        let report = unsafe { self.memory.byte_add(GUARD + STACK) };
        // SAFETY: the mapping is there as long as `self`, begins at a page, and the offset is a multiple of 4096. It was
        // zeroed by the kernel, which is a valid value for each of the atomics, through which alone it is changed.
        unsafe { report.cast::<Report>().as_ref() }
    }

    /// Where the child's stack begins; it grows downwards.
    pub(super) fn stack(&self) -> *mut c_void {
        // SAFETY: the offset is within the mapping.
        let top = unsafe { self.memory.byte_add(GUARD + STACK) };
        top.as_ptr()
    }

    /// Ends the launch: if the child has begun it is killed, and if it has not it ends as its first act. Nothing happens
    /// if the launching thread has it already: what is done about a process from then on is done by its pin.
    pub(crate) fn doom(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let report = self.report();
        // The child sets `begun` and then reads `doomed`, here it is the other way round: one of the two sees the other.
        report.doomed.store(true, Ordering::SeqCst);
        if *taken || !report.begun.load(Ordering::SeqCst) {
            return;
        }
        let pidfd = report.pidfd.load(Ordering::SeqCst);
        if pidfd == NONE {
            return;
        }
        // SAFETY: the child has begun, so the kernel has given out this descriptor, and the thread that will own it is
        // kept from taking it by the lock.
        let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
        kill_unborn(pidfd);
    }

    /// Takes the pidfd of a child that the clone has made.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let pidfd = self.report().pidfd.load(Ordering::SeqCst);
        if std::mem::replace(&mut *taken, true) || pidfd == NONE {
            return None;
        }
        // SAFETY: the clone has succeeded, as the caller says, so the kernel has given out this descriptor for us alone;
        // that it is taken once was looked at in the line above.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Some(pidfd)
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours. The child has let go of it: the launching thread, which holds a share of `self`, has
        // slept until then. An error would leave it mapped.
        unsafe { libc::munmap(self.memory.as_ptr(), WHOLE) };
    }
}

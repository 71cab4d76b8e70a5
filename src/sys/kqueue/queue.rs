//! A kqueue of one process: what a pidfd is elsewhere.

#![expect(
    unsafe_code,
    reason = "the kernel keeps the numbers of descriptors that an event names, which rustix cannot see the end of"
)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::kqueue::{
    Event, EventFilter, EventFlags, ProcessEvents, UserDefinedFlags, UserFlags, kevent, kqueue,
};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::Pid;

use crate::exit::Status;
use crate::sys::system;
use crate::sys::unix::{current_pid, poll_now};

/// A kqueue that is closed only in the process that made it.
///
/// A child that is forked without exec does not inherit it: the number is free there, and soon some other file's. What
/// the child drops must not close that.
#[derive(Debug)]
pub(super) struct Queue {
    fd: ManuallyDrop<OwnedFd>,
    made_by: u32,
}

impl Queue {
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM` (on FreeBSD also the limit of kqueues).
    pub(super) fn new() -> io::Result<Self> {
        let fd = kqueue()?;
        // Not inherited by fork, but by what replaces this program.
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(Self::from(fd))
    }

    /// Another descriptor of the same kqueue.
    pub(super) fn duplicate(of: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::from(fcntl_dupfd_cloexec(of, 0)?))
    }

    fn from(fd: OwnedFd) -> Self {
        Self {
            fd: ManuallyDrop::new(fd),
            made_by: current_pid(),
        }
    }

    /// Asks for a note of the exit of whoever has this number, and says whether there was anybody who can still tell.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; on macOS whatever a sandbox says.
    pub(super) fn attach(&self, pid: Pid) -> io::Result<bool> {
        match self.attach_for(pid, system::EXIT_WITH_STATUS) {
            // The status is for its parent, and for who may signal it. That it has exited is for all.
            Err(Errno::ACCESS | Errno::PERM) => self.attach_for(pid, libc::NOTE_EXIT),
            answer => answer,
        }
        .or_else(|errno| match errno {
            Errno::SRCH => Ok(false),
            errno => Err(errno.into()),
        })
    }

    fn attach_for(&self, pid: Pid, notes: u32) -> Result<bool, Errno> {
        let flags = ProcessEvents::from_bits_retain(notes);
        let filter = EventFilter::Proc { pid, flags };
        let event = Event::new(filter, EventFlags::ADD, ptr::null_mut());
        self.change(&[event]).map(|()| true)
    }

    /// Makes it say for ever that the process has exited, whether or not a note comes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn mark(&self) -> io::Result<()> {
        // Without `CLEAR` it stays as it is however often it is seen.
        let filter = EventFilter::User {
            ident: 0,
            flags: UserFlags::TRIGGER,
            user_flags: UserDefinedFlags::new(0),
        };
        let event = Event::new(filter, EventFlags::ADD, ptr::null_mut());
        Ok(self.change(&[event])?)
    }

    /// Whether the exit was announced: by the note, or by [`mark`](Self::mark).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn is_marked(&self) -> io::Result<bool> {
        let seen = poll_now(&mut [PollFd::new(self, PollFlags::IN)])?;
        Ok(!seen.is_empty())
    }

    /// Takes the status out of the note, which can be done once; the exit stays announced.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: nothing was taken.
    pub(super) fn take_status(&self) -> io::Result<Option<Status>> {
        self.mark()?;
        let mut events = Vec::with_capacity(2);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        // SAFETY: there are no changes, so that no descriptor is named.
        unsafe { kevent(self, &[], buffer, Some(Duration::ZERO)) }?;
        let status = |event: &Event| {
            let EventFilter::Proc { flags, .. } = event.filter() else {
                return None;
            };
            system::status_of_note(flags.bits(), event.data())
        };
        Ok(events.iter().find_map(status))
    }

    /// Reports, under `data`, in this queue whenever the other one has something new.
    pub(super) fn watch(&self, other: &Self, data: u64) -> Result<(), Errno> {
        self.change(&[about(other, EventFlags::ADD | EventFlags::CLEAR, data)])
    }

    pub(super) fn unwatch(&self, other: &Self) -> Result<(), Errno> {
        self.change(&[about(other, EventFlags::DELETE, 0)])
    }

    pub(super) fn change(&self, changes: &[Event]) -> Result<(), Errno> {
        let mut nothing: [Event; 0] = [];
        // SAFETY: the descriptors that are named are open: their owners are borrowed by the callers. When one is closed,
        // the kernel forgets what was asked about it.
        match unsafe { kevent(self, changes, &mut nothing[..], None) } {
            // All changes are made before anything can be interrupted.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

fn about(queue: &Queue, flags: EventFlags, data: u64) -> Event {
    let key = usize::try_from(data).unwrap_or(usize::MAX);
    Event::new(
        EventFilter::Read(queue.fd.as_raw_fd()),
        flags,
        ptr::without_provenance_mut(key),
    )
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if current_pid() == self.made_by {
            // SAFETY: it is dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

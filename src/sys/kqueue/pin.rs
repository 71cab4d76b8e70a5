//! A process whose identity is held by a kqueue of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::facilities::Facilities;
use super::meaning::{
    First, Hold, Still, Waited, first_look, from_outside, hold, holds_its_number, is_vague,
    may_be_silent, still,
};
use super::queue::Queue;
use super::wait::{collect, peek};
use crate::exit::Status;
use crate::sys::system;
use crate::sys::unix::{sleep_until, timespec, to_pid};
use crate::sys::vocabulary::{Look, Relation};

/// How often a zombie that is about to be one is looked for before that is left to the next look. A process that has
/// announced its exit has a few instructions to go; each look lets the others run.
const SECOND_LOOKS: usize = 64;

/// How long it is waited for by who can wait: a second in all, for a process that closes many files.
const NAPS: usize = 500;
const NAP: Duration = Duration::from_millis(2);

/// What names a process: its number, and an id that is never given twice in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The number.
    pub(crate) pid: u32,
    /// The kernel's unique id (macOS), or when it was started (FreeBSD); `None` for one that was already on its way out.
    pub(crate) inode: Option<u64>,
}

/// A process that is held: by a kqueue with a note of its exit.
///
/// The note hangs on the process, not on its number, so that a look at it never meets another one. A signal goes to the
/// number all the same: that it is still this process's is asked just before. For a child that nobody else reaps nothing
/// can come in between, its zombie keeps the number; for any other process there are microseconds in which it would have
/// to exit, to be reaped, and its number to be given out again.
#[derive(Debug)]
pub(crate) struct Pin {
    queue: Queue,
    number: Pid,
    identity: Identity,
    /// The status in the note, once it was taken out.
    told: Mutex<Option<Option<Status>>>,
}

impl Pin {
    /// Takes hold of whatever process has this number now.
    ///
    /// For a child that nobody has reaped that is the child, alive or a zombie. For any other number the holder has to
    /// read, *after* this call, whether it is the process that was meant.
    ///
    /// # Errors
    ///
    /// [`is_gone`] errors if there is no such process. `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn open(pid: u32, _facilities: &Facilities) -> io::Result<Self> {
        let number = to_pid(pid)?;
        Self::attach(Queue::new()?, number)?.ok_or_else(|| Errno::SRCH.into())
    }

    /// Takes hold of a child that was started a moment ago, with a queue that was there before it. With SIGCHLD ignored it
    /// may be gone by now, which is as good as a pin of the dead.
    pub(super) fn born(queue: Queue, number: Pid) -> io::Result<Self> {
        if let Some(pin) = Self::attach(queue, number)? {
            return Ok(pin);
        }
        let queue = Queue::new()?;
        queue.mark()?;
        Ok(Self::new(queue, number, None))
    }

    /// `None`: there is no such process.
    fn attach(queue: Queue, number: Pid) -> io::Result<Option<Self>> {
        let before = system::presence(number);
        let attached = queue.attach(number)?;
        // After the note: an exit before it is found here, one after it is announced.
        let waited = peek(number)?;
        let after = system::presence(number);
        let id = match hold(attached, waited, before, after) {
            Hold::Watched(id) => Some(id),
            Hold::Ended(id) => {
                queue.mark()?;
                id
            }
            Hold::Gone => return Ok(None),
        };
        Ok(Some(Self::new(queue, number, id)))
    }

    fn new(queue: Queue, number: Pid, id: Option<u64>) -> Self {
        Self {
            queue,
            number,
            identity: Identity {
                pid: number.as_raw_nonzero().get().unsigned_abs(),
                inode: id,
            },
            told: Mutex::new(None),
        }
    }

    /// The number, which stays the process's own until it is reaped.
    pub(crate) fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// What names the process.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Looks whether the process lives, and if not, how it ended. Never blocks, never reaps. Usage is told of a zombie of ours
    /// (macOS: as far as it ran as our user, and without its memory).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn look(&self, relation: Relation, facilities: &Facilities) -> io::Result<Look> {
        // Before the wait: who has announced an exit is dead, and what the wait says is about that.
        let noted = self.queue.is_marked()?;
        let mut waited = peek(self.number)?;
        if waited == Waited::Nothing && noted {
            waited = self.wait_for_the_zombie()?;
        }
        let told = match waited {
            Waited::Exit(status) if is_vague(status) => self.told(facilities)?,
            Waited::Exit(_) | Waited::Nothing | Waited::NotOurs => None,
        };
        // The zombie is there until it is reaped, which is done here alone.
        let usage = match waited {
            Waited::Exit(_) => system::usage(self.number),
            Waited::Nothing | Waited::NotOurs => None,
        };
        match first_look(waited, noted, told, usage) {
            First::Settled(look) => Ok(look),
            First::AboutToBeWaitable => Ok(Look::Held),
            First::AskOutside => self.look_from_outside(relation, facilities),
        }
    }

    fn wait_for_the_zombie(&self) -> io::Result<Waited> {
        for _ in 0..SECOND_LOOKS {
            thread::yield_now();
            let waited = peek(self.number)?;
            if waited != Waited::Nothing {
                return Ok(waited);
            }
        }
        Ok(Waited::Nothing)
    }

    /// The same for a process that no wait of ours can collect.
    fn look_from_outside(&self, relation: Relation, facilities: &Facilities) -> io::Result<Look> {
        // In this order: an exit that was announced is older than what is seen of its number.
        let noted = self.queue.is_marked()?;
        let told = if noted { self.told(facilities)? } else { None };
        let mut still = still(self.identity.inode, system::presence(self.number));
        if may_be_silent(noted, still) && !system::is_listed(self.number)? {
            if self.queue.is_marked()? {
                // It has announced it meanwhile, and maybe with a status.
                return Ok(Look::Held);
            }
            still = Still::Reaped;
        }
        Ok(from_outside(noted, told, still, relation))
    }

    /// The status that was announced with the exit, if it was told to us.
    fn told(&self, facilities: &Facilities) -> io::Result<Option<Status>> {
        if !facilities.exit_info {
            return Ok(None);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match *told {
            Some(status) => Ok(status),
            None => {
                let status = self.queue.take_status()?;
                *told = Some(status);
                Ok(status)
            }
        }
    }

    /// Takes our zombie away, if it is one: from here on its number may be anybody's. `false` if there was nothing to
    /// reap: it lives, a tracer holds it, or it is not ours (any more).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reap(&self) -> io::Result<bool> {
        // Another child of the host may have the number, if somebody else has reaped this one.
        if !self.is_dead()? || !self.holds_its_number() {
            return Ok(false);
        }
        match collect(self.number)? {
            Waited::Exit(_) => Ok(true),
            Waited::Nothing | Waited::NotOurs => Ok(false),
        }
    }

    /// Whether the process has ended, reaped or not. For a process that is not our child this is the proof of death.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn is_dead(&self) -> io::Result<bool> {
        self.queue.is_marked()
    }

    /// Its parent, 0 for none, and the user that it runs as. `None` once it was reaped.
    pub(crate) fn parent_and_user(&self) -> Option<(u32, u32)> {
        let found = system::describe(self.number).ok()?;
        // After the reading: it was about this process.
        self.holds_its_number()
            .then_some((found.parent, found.user))
    }

    /// The number that names its cgroup: there are no cgroups.
    pub(crate) fn cgroup(&self) -> Option<u64> {
        None
    }

    /// Whether the process, alive or a zombie, still has its number: nobody else can have it then.
    pub(crate) fn holds_its_number(&self) -> bool {
        match self.queue.is_marked() {
            Ok(false) => true,
            Ok(true) => {
                let still = still(self.identity.inode, system::presence(self.number));
                let waited = peek(self.number).unwrap_or(Waited::NotOurs);
                holds_its_number(true, still, waited)
            }
            // ENOMEM: what is not known is not used.
            Err(_) => false,
        }
    }

    pub(super) fn number(&self) -> Pid {
        self.number
    }

    /// Readable once the process has ended.
    pub(in crate::sys) fn fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }
}

/// Whether this error of [`Pin::open`] says that there is no such process.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::SRCH)
}

/// Sleeps until the process has ended or the deadline has passed, with no reactor to think of. `true`: it has ended.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn sleep_on_alone(pin: &Pin, deadline: Option<Instant>) -> io::Result<bool> {
    if !sleep_until(&mut [PollFd::new(&pin.queue, PollFlags::IN)], deadline)? {
        return Ok(false);
    }
    // Whoever sleeps here reaps next, and a child announces its exit before there is something to be reaped. It is not
    // waited for if somebody traces it.
    for _ in 0..NAPS {
        if pin.wait_for_the_zombie()? != Waited::Nothing {
            break;
        }
        match poll(&mut [], Some(&timespec(NAP))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

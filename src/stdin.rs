//! [`Stdin`]: a child's standard input, shared and revocable.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::reactor::Core;
use crate::sys::{self, Revocation, Writable};

/// A writer to the standard input of a process.
///
/// Clones write to the same pipe. The `close_stdin` rung of a [`StopPolicy`](crate::StopPolicy), the exit of the
/// process and [`close`](Self::close) take it away from all of them: a writer that is blocked in a full pipe is woken
/// with [`BrokenPipe`](io::ErrorKind::BrokenPipe), and every later write says the same.
///
/// Dropping it leaves the pipe open; the registry holds it until the process has exited. A child that reads to the
/// end of its input therefore waits until `close` is called.
///
/// # Caveats
///
/// The pipe is put into nonblocking mode on our side when the first `Stdin` is made. The child's side is not
/// affected. In a child that the host forks without exec, `close` does nothing. A write blocks like that of any pipe; at the limit of open descriptors a write that would have to block
/// fails with the error of `eventfd(2)`.
#[derive(Clone, Debug)]
pub struct Stdin {
    core: Arc<Core>,
}

impl Stdin {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Closes the pipe: the process sees the end of its input.
    ///
    /// All clones lose it. Closing twice does nothing.
    pub fn close(&self) {
        // What wakes the writers is shared with the parent; the copy of the pipe goes with the child.
        if !self.core.shared.is_forked_copy() {
            self.core.stdin.close();
        }
    }
}

impl Write for Stdin {
    /// Writes as much as fits into the pipe, and waits while nothing does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.core.stdin.write(bytes)
    }

    /// There is no buffer: does nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Our end of the pipe, as long as nobody has closed or taken it.
#[derive(Debug)]
pub(crate) struct StdinPipe(Mutex<Option<End>>);

#[derive(Debug)]
struct End {
    /// Shared with the writers that are in a system call with it.
    pipe: Arc<OwnedFd>,
    /// Wakes the writers that wait for room; made by the first who has to.
    revocation: Option<Arc<Revocation>>,
    nonblocking: bool,
}

impl StdinPipe {
    pub(crate) fn new(stdin: Option<ChildStdin>) -> Self {
        let end = stdin.map(|stdin| End {
            pipe: Arc::new(OwnedFd::from(stdin)),
            revocation: None,
            nonblocking: false,
        });
        Self(Mutex::new(end))
    }

    /// Makes it ready to be shared. `false`: there is none, or no longer.
    pub(crate) fn share(&self) -> bool {
        match &mut *self.lock() {
            Some(end) if end.nonblocking => true,
            Some(end) => {
                end.nonblocking = sys::set_nonblocking(end.pipe.as_fd(), true).is_ok();
                end.nonblocking
            }
            None => false,
        }
    }

    /// Gives up the pipe, in blocking mode. `None` while a writer is inside it.
    pub(crate) fn take(&self) -> Option<ChildStdin> {
        let mut lock = self.lock();
        let end = lock.take()?;
        let nonblocking = end.nonblocking;
        match Arc::try_unwrap(end.pipe) {
            Ok(pipe) => {
                // Fcntl on a pipe that we hold does not fail; if it did, the host would meet WouldBlock.
                if nonblocking && sys::set_nonblocking(pipe.as_fd(), false).is_err() {
                    debug_assert!(false, "a pipe refused F_SETFL");
                }
                Some(ChildStdin::from(pipe))
            }
            Err(pipe) => {
                *lock = Some(End {
                    pipe,
                    revocation: end.revocation,
                    nonblocking,
                });
                None
            }
        }
    }

    /// Closes it, and wakes whoever waits for room. Does not wait for them: the descriptor is closed by the last.
    pub(crate) fn close(&self) {
        if let Some(end) = self.lock().take() {
            if let Some(revocation) = end.revocation {
                revocation.revoke();
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let pipe = match &*self.lock() {
                Some(end) => Arc::clone(&end.pipe),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            match rustix::io::write(&*pipe, bytes) {
                Ok(written) => return Ok(written),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let revocation = self.revocation()?;
            match sys::wait_writable(pipe.as_fd(), &revocation)? {
                Writable::Ready => {}
                Writable::Revoked => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    fn revocation(&self) -> io::Result<Arc<Revocation>> {
        let mut lock = self.lock();
        let Some(end) = &mut *lock else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match &end.revocation {
            Some(revocation) => Ok(Arc::clone(revocation)),
            None => {
                let revocation = Arc::new(Revocation::new()?);
                end.revocation = Some(Arc::clone(&revocation));
                Ok(revocation)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<End>> {
        // Replaced whole, never changed in part.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

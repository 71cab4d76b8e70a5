//! [`Collector`]: what a process says, drained while it runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::reactor::Core;
use crate::sys::{self, Revocation};

const OPERATION: &str = "collect output";

/// Bytes taken from a pipe in one call: what a pipe holds unless somebody made it larger.
const CHUNK: usize = 64 * 1024;

/// Bytes taken from a pipe after the exit, at most: what the largest pipe holds that an unprivileged process can make
/// (`/proc/sys/fs/pipe-max-size`, 1 MiB). A descendant that goes on writing is not listened to for longer.
const LAST_WORDS: usize = 1024 * 1024;

/// Drains the standard output and error of a process on a thread of its own, so that the process never stops in a full
/// pipe. Made by [`Process::collect_output`](crate::Process::collect_output).
///
/// Dropping it closes our ends of the pipes; a process that goes on writing gets SIGPIPE or `EPIPE`. In a child that the
/// host forks without exec it does nothing.
#[derive(Debug)]
#[must_use = "dropping it closes the pipes"]
pub struct Collector {
    core: Arc<Core>,
    stop: Arc<Revocation>,
    thread: Option<JoinHandle<io::Result<Output>>>,
}

/// What a process said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// From its standard output.
    pub stdout: Vec<u8>,
    /// From its standard error.
    pub stderr: Vec<u8>,
    /// It said more than was to be kept; what is here is the beginning.
    pub truncated: bool,
    /// Somebody (a descendant that it left behind) still holds one of its pipes, and may say more.
    pub still_open: bool,
}

impl Collector {
    /// Takes both pipes of a process, as far as they are there.
    pub(crate) fn start(core: &Arc<Core>, max_bytes: usize) -> Result<Self> {
        let system = |error: io::Error| {
            Error::new(ErrorKind::System, OPERATION)
                .with_pid(core.facts.pid)
                .with_source(error)
        };
        let stop = Arc::new(Revocation::new().map_err(system)?);
        let mut outputs = core.outputs();
        if outputs.stdout.is_none() && outputs.stderr.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION)
                .with_pid(core.facts.pid)
                .with_detail("neither output is a pipe, or both were taken"));
        }
        for fd in outputs.fds() {
            // Fcntl on a pipe that we hold does not fail.
            sys::set_nonblocking(fd, true).map_err(system)?;
        }
        // In a box of its own, so that it can be had back if there is no thread.
        let handed = Arc::new(Mutex::new(Some(std::mem::take(&mut *outputs))));
        let thread = std::thread::Builder::new()
            .name("procession-out".to_owned())
            .spawn({
                let (handed, stop) = (Arc::clone(&handed), Arc::clone(&stop));
                move || {
                    sys::block_all_signals();
                    let taken = handed.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let outputs = taken.unwrap_or_default();
                    let stdout = Stream::new(outputs.stdout.map(OwnedFd::from));
                    let stderr = Stream::new(outputs.stderr.map(OwnedFd::from));
                    drain([stdout, stderr], &stop, max_bytes)
                }
            });
        match thread {
            Ok(thread) => Ok(Self {
                core: Arc::clone(core),
                stop,
                thread: Some(thread),
            }),
            Err(error) => {
                let taken = handed.lock().unwrap_or_else(PoisonError::into_inner).take();
                *outputs = taken.unwrap_or_default();
                for fd in outputs.fds() {
                    // The host reads them as they were; it would meet `WouldBlock` if this failed.
                    sys::set_nonblocking(fd, false).map_err(system)?;
                }
                Err(system(error))
            }
        }
    }

    /// Waits until the process has exited, and returns what it said.
    ///
    /// Never waits for the end of a pipe that a descendant holds: what is in it at the exit is taken, and
    /// [`Output::still_open`] says that there may be more. What was said before a time-out or a kill is all there.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) and [`ReactorGone`](ErrorKind::ReactorGone) if it had not exited by then;
    /// [`System`](ErrorKind::System) if a pipe could not be read.
    pub fn finish(mut self) -> Result<Output> {
        if self.core.shared.is_forked_copy() {
            // The thread is in another process.
            let detail = "this is a copy of the registry in a forked child";
            return Err(Error::new(ErrorKind::ReactorGone, OPERATION).with_detail(detail));
        }
        // Without a deadline there is no time-out.
        self.core.wait(None)?;
        self.stop.revoke();
        let Some(thread) = self.thread.take() else {
            return Ok(Output::default());
        };
        let failed = || Error::new(ErrorKind::System, OPERATION).with_pid(self.core.facts.pid);
        match thread.join() {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(failed().with_source(error)),
            Err(_panic) => Err(failed().with_detail("its thread panicked")),
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if self.core.shared.is_forked_copy() {
            // The switch is shared with the parent, and so would its end be.
            std::mem::forget(self.thread.take());
            return;
        }
        // The thread takes what is there, and ends.
        self.stop.revoke();
    }
}

/// One of the two, as far as it was read.
struct Stream {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    truncated: bool,
}

/// What one read came to.
enum Read {
    Some(usize),
    Nothing,
    End,
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Self {
            pipe,
            kept: Vec::new(),
            truncated: false,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once. What is more than `max_bytes` is read too, and dropped: the process must not stop for it.
    fn read(&mut self, buffer: &mut [u8], max_bytes: usize) -> io::Result<Read> {
        let Some(pipe) = &self.pipe else {
            return Ok(Read::End);
        };
        let read = match rustix::io::read(pipe, &mut *buffer) {
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Read::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        if read == 0 {
            self.pipe = None;
            return Ok(Read::End);
        }
        let room = max_bytes.saturating_sub(self.kept.len());
        self.kept.extend(buffer.iter().take(read.min(room)));
        self.truncated |= read > room;
        Ok(Read::Some(read))
    }
}

/// Reads both to their ends, or until it is stopped and nothing is in them.
fn drain(mut streams: [Stream; 2], stop: &Revocation, max_bytes: usize) -> io::Result<Output> {
    let mut buffer = vec![0; CHUNK];
    let mut stopped = false;
    while !stopped && streams.iter().any(|stream| stream.pipe.is_some()) {
        let fds: Vec<_> = streams.iter().filter_map(Stream::fd).collect();
        let (spoke, revoked) = sys::wait_readable(&fds, stop)?;
        stopped = revoked;
        let open = streams.iter_mut().filter(|stream| stream.pipe.is_some());
        for (stream, _) in open.zip(spoke).filter(|(_, spoke)| *spoke) {
            match stream.read(&mut buffer, max_bytes)? {
                Read::Some(_) | Read::Nothing | Read::End => {}
            }
        }
    }
    for stream in &mut streams {
        let mut left = LAST_WORDS;
        while left > 0 {
            match stream.read(&mut buffer, max_bytes)? {
                Read::Some(read) => left = left.saturating_sub(read),
                Read::Nothing | Read::End => break,
            }
        }
    }
    let [stdout, stderr] = streams;
    Ok(Output {
        truncated: stdout.truncated || stderr.truncated,
        still_open: stdout.pipe.is_some() || stderr.pipe.is_some(),
        stdout: stdout.kept,
        stderr: stderr.kept,
    })
}

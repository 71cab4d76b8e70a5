//! The reactor's end, as something that a thread can sleep on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::own::{current_pid, set_nonblocking};
use crate::sys::platform;

/// The end that the reactor holds; dropping it wakes everyone who sleeps on the [`Lifeline`], now
/// and later.
///
/// A hang-up alone would not do: where the host forked without exec, the child holds a copy of the
/// writing end, and the pipe would not hang up before that child ends. So the drop writes a byte,
/// which nobody ever reads. In such a child the drop does nothing, or the parent would hear that
/// its reactor is gone.
#[derive(Debug)]
pub(crate) struct LifelineHolder {
    writer: OwnedFd,
    /// Keeps a reader, so that the byte never meets a broken pipe and its SIGPIPE.
    _line: Lifeline,
    made_by: u32,
}

/// The end that the waiters sleep on; readable for ever once the holder is gone. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lifeline {
    reader: Arc<OwnedFd>,
}

/// Makes a lifeline: two descriptors, closed on exec.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`.
pub(crate) fn lifeline() -> io::Result<(LifelineHolder, Lifeline)> {
    let (reader, writer) = platform::new_pipe()?;
    // Nobody reads, and the one byte fits: so that a mistake would be an error and not a hang.
    set_nonblocking(writer.as_fd(), true)?;
    let line = Lifeline {
        reader: Arc::new(reader),
    };
    let holder = LifelineHolder {
        writer,
        _line: line.clone(),
        made_by: current_pid(),
    };
    Ok((holder, line))
}

impl Lifeline {
    /// The descriptor to poll for readability.
    pub(in crate::sys) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for LifelineHolder {
    fn drop(&mut self) {
        if current_pid() == self.made_by {
            // The only byte that this pipe ever sees, and it has a reader: nothing can go wrong. If
            // it did all the same, the hang-up that follows would do in most hosts.
            let _written = rustix::io::write(&self.writer, &[1]);
        }
    }
}

//! `waitid(P_PID)`.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::meaning::Waited;
use crate::exit::Status;
use crate::signal::Signal;

/// Looks for the status and leaves it where it is.
///
/// # Errors
///
/// None is known, but for what a sandbox says.
pub(super) fn peek(pid: Pid) -> io::Result<Waited> {
    wait(pid, WaitIdOptions::NOWAIT)
}

/// Collects the status: the zombie is gone, and its number free.
pub(super) fn collect(pid: Pid) -> io::Result<Waited> {
    wait(pid, WaitIdOptions::empty())
}

fn wait(pid: Pid, more: WaitIdOptions) -> io::Result<Waited> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | more;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) => return Ok(Waited::Nothing),
            Ok(Some(found)) => return Ok(Waited::Exit(status_of(&found))),
            Err(Errno::CHILD) => return Ok(Waited::NotOurs),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_of(found: &WaitIdStatus) -> Status {
    if let Some(code) = found.exit_status() {
        // xnu puts more of what the program said above the eight bits, and only into the first answer.
        return Status::Code(code & 0xff);
    }
    match found.terminating_signal() {
        Some(signal) => Status::Signal {
            signal: Signal(signal),
            core_dumped: found.dumped(),
        },
        None => Status::Unknown,
    }
}

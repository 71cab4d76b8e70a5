//! Who this process is, for a mark that outlives it.

use std::io;

use super::facilities::Facilities;
use super::pin::Pin;
use super::procfs::{ProcDir, boot_id};
use crate::sys::unix::current_pid;
use crate::sys::vocabulary::OwnerIdentity;

/// Reads who this process is. In a child that was forked without exec it is somebody else.
///
/// # Errors
///
/// Those of opening and reading in `/proc`: it may be missing, or belong to another pid namespace.
pub(crate) fn own_identity(facilities: &Facilities) -> io::Result<OwnerIdentity> {
    let pid = current_pid();
    let inode = Pin::open(pid, facilities)?.identity().inode;
    let own = ProcDir::open(pid)?;
    Ok(OwnerIdentity {
        pid,
        start_ticks: own.stat()?.start_ticks,
        inode: inode.unwrap_or(0),
        boot: boot_id()?,
        pid_namespace: own.pid_namespace()?,
    })
}

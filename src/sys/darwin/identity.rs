//! Who has a number.

#![expect(unsafe_code, reason = "rustix has no proc_pidinfo")]

use std::ffi::{c_int, c_void};
use std::io;

use rustix::process::Pid;

use super::procargs::parse_uuid;
use crate::sys::kqueue::{Presence, sysctl};

/// `PROC_PIDUNIQIDENTIFIERINFO`, for every user's processes.
const UNIQUE_IDENTIFIER_INFO: c_int = 17;

/// `struct proc_uniqidentifierinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UniqueIdentifiers {
    program: [u8; 16],
    pub(super) unique_id: u64,
    /// That of whoever has forked it; in newer kernels that of the parent that it had at its last exec, if there was one.
    pub(super) parent_unique_id: u64,
    /// Another one with each program.
    pub(super) version: i32,
    /// The version of whoever has forked it, when it did; 0 before the kernel kept that.
    pub(super) parent_version: i32,
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<UniqueIdentifiers>() == 56);

/// Whether what is asked about may be a zombie. The kernel looks among the living first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    Living,
    Zombies,
}

/// Who has this number.
pub(in crate::sys) fn presence(pid: Pid) -> Presence {
    if let Ok(found) = unique_identifiers(pid, Among::Living) {
        return Presence::Alive(found.unique_id);
    }
    match unique_identifiers(pid, Among::Zombies) {
        Ok(found) => Presence::Dead(found.unique_id),
        Err(_) => Presence::Nobody,
    }
}

/// By what a process's children name it.
pub(in crate::sys) fn parent_key(pid: Pid) -> Option<u64> {
    presence(pid).id()
}

/// # Errors
///
/// `ESRCH` if there is no such process; `EPERM` from a sandbox.
pub(super) fn unique_identifiers(pid: Pid, among: Among) -> io::Result<UniqueIdentifiers> {
    let mut found = UniqueIdentifiers::default();
    // SAFETY: every bit pattern is a valid `UniqueIdentifiers`.
    unsafe { pid_info(pid, UNIQUE_IDENTIFIER_INFO, among, &mut found) }?;
    Ok(found)
}

/// `proc_pidinfo(2)`.
///
/// # Safety
///
/// Whatever bytes the kernel writes have to be a valid `T`, and the flavor has to be the one whose structure `T` is.
pub(super) unsafe fn pid_info<T>(
    pid: Pid,
    flavor: c_int,
    among: Among,
    into: &mut T,
) -> io::Result<()> {
    let size = c_int::try_from(size_of::<T>()).unwrap_or(0);
    let zombies_too = u64::from(among == Among::Zombies);
    let into = std::ptr::from_mut(into).cast::<c_void>();
    // SAFETY: `into` is valid for writing `size` bytes, which is all that the kernel writes.
    let written =
        unsafe { libc::proc_pidinfo(pid.as_raw_nonzero().get(), flavor, zombies_too, into, size) };
    match written {
        written if written == size && size > 0 => Ok(()),
        // It writes the whole, or says why it does not.
        written if written <= 0 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The random id of this boot.
///
/// # Errors
///
/// What a sandbox says.
pub(in crate::sys) fn boot_id() -> io::Result<u128> {
    let mut text = [0_u8; 64];
    let length = sysctl::named(c"kern.bootsessionuuid", &mut text)?;
    parse_uuid(text.get(..length).unwrap_or(&text)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// There are no namespaces of numbers.
pub(in crate::sys) fn namespace(_pid: Pid) -> u64 {
    0
}

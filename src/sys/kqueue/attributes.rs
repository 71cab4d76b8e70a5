//! The attributes and file actions of a `posix_spawn`.

#![expect(unsafe_code, reason = "rustix has no posix_spawn")]

use std::ffi::{CStr, c_char, c_int, c_short};
use std::io;
use std::mem::MaybeUninit;

use super::launch::Wanted;
use crate::sys::system;

unsafe extern "C" {
    /// macOS 10.15, FreeBSD 13.1.
    fn posix_spawn_file_actions_addchdir_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        directory: *const c_char,
    ) -> c_int;
}

/// What a child does with its descriptors and its directory.
pub(super) struct Actions(libc::posix_spawn_file_actions_t);

/// What a child is.
pub(super) struct Attributes {
    attributes: libc::posix_spawnattr_t,
    flags: c_short,
}

fn done(errno: c_int) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Actions {
    pub(super) fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: there is room for the actions.
        done(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: they were initialised.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    /// The child has a copy of `from` at `to`, which is another number.
    pub(super) fn duplicate(&mut self, from: c_int, to: c_int) -> io::Result<()> {
        // SAFETY: the actions are initialised.
        done(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, from, to) })
    }

    pub(super) fn enter(&mut self, directory: &CStr) -> io::Result<()> {
        // SAFETY: the actions are initialised, and the path ends with a NUL; it is copied.
        done(unsafe { posix_spawn_file_actions_addchdir_np(&mut self.0, directory.as_ptr()) })
    }

    /// Returns the flag that goes with it.
    pub(super) fn close_others(&mut self, wanted: &Wanted) -> io::Result<c_short> {
        // SAFETY: the actions are initialised.
        unsafe { system::close_others(&mut self.0, wanted) }.map_err(io::Error::from_raw_os_error)
    }

    pub(super) fn as_ptr(&self) -> *const libc::posix_spawn_file_actions_t {
        &raw const self.0
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they were initialised, and are not used afterwards. It cannot fail then.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

impl Attributes {
    pub(super) fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: there is room for the attributes.
        done(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        Ok(Self {
            // SAFETY: they were initialised.
            attributes: unsafe { attributes.assume_init() },
            flags: 0,
        })
    }

    /// 0: one of its own.
    pub(super) fn group(&mut self, group: libc::pid_t) -> io::Result<()> {
        // SAFETY: the attributes are initialised.
        done(unsafe { libc::posix_spawnattr_setpgroup(&mut self.attributes, group) })?;
        self.flag(libc::POSIX_SPAWN_SETPGROUP)
    }

    pub(super) fn default_signals(&mut self, signals: &libc::sigset_t) -> io::Result<()> {
        // SAFETY: the attributes and the set are initialised.
        done(unsafe { libc::posix_spawnattr_setsigdefault(&mut self.attributes, signals) })?;
        self.flag(libc::POSIX_SPAWN_SETSIGDEF)
    }

    pub(super) fn mask(&mut self, signals: &libc::sigset_t) -> io::Result<()> {
        // SAFETY: the attributes and the set are initialised.
        done(unsafe { libc::posix_spawnattr_setsigmask(&mut self.attributes, signals) })?;
        self.flag(libc::POSIX_SPAWN_SETSIGMASK)
    }

    pub(super) fn flag(&mut self, flag: impl TryInto<c_short>) -> io::Result<()> {
        let flag = flag
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.flags |= flag;
        // SAFETY: the attributes are initialised.
        done(unsafe { libc::posix_spawnattr_setflags(&mut self.attributes, self.flags) })
    }

    pub(super) fn as_ptr(&self) -> *const libc::posix_spawnattr_t {
        &raw const self.attributes
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialised, and are not used afterwards. It cannot fail then.
        unsafe { libc::posix_spawnattr_destroy(&mut self.attributes) };
    }
}

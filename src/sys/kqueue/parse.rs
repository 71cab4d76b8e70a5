//! What the kernel hands out about a process's memory, as values. Pure: bytes in, values out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::sys::vocabulary::Environ;

/// The arguments and the environment that a process was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sys) struct Strings {
    pub(in crate::sys) args: Vec<OsString>,
    pub(in crate::sys) environ: Environ,
}

/// A name in a field of fixed length, up to its NUL if it has one.
pub(in crate::sys) fn parse_name(field: &[u8]) -> OsString {
    owned(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// The items of a list, each of which ends with a NUL. One may be empty, also where it is the only one.
pub(in crate::sys) fn split(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let nothing = list.is_empty();
    let list = list.strip_suffix(&[0]).unwrap_or(list);
    list.split(|byte| *byte == 0).filter(move |_| !nothing)
}

pub(in crate::sys) fn owned(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

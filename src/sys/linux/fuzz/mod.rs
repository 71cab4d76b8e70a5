//! What the fuzzer does with the parsers of this back end, and with those of the others that compile here.

mod cgroup_files;
mod exits;
mod plain;
mod proc_files;
mod strings;

pub(crate) use cgroup_files::cgroup_files;
pub(crate) use exits::exits;
pub(crate) use proc_files::proc_files;
pub(crate) use strings::strings;

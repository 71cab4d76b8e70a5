//! A host whose sessions are in cgroups, or that is a subreaper, is killed: what it left is found all the same; and beside such
//! sessions sweeps and reapers leave their members alone.
use std::process::ExitCode;
pub(crate) fn main() -> ExitCode { crate::support::main(&[], &[]) }

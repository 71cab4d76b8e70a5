//! Every system call of a host's life, failed: what comes of it stands in a table.
//!
//! These tests are Linux's alone, and the tables those of x86-64: other architectures have other calls for the same.

mod support;

#[cfg(target_arch = "x86_64")]
support::tests_of_linux!("linux/every_call.rs");

#[cfg(not(target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    support::main(&[], &[])
}

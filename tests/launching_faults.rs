//! Native launches that fail: each says at which step, and leaves nothing.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/launching_faults.rs");

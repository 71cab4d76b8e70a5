//! A host whose sessions are in cgroups, or that is a subreaper, is killed: what it left is found all the same; and beside such
//! sessions sweeps and reapers leave their members alone.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/recovery_tiers.rs");

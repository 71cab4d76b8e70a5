//! A host is killed before and after each call to the kernel by which its ledger comes to be what it is.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/ledger_crashes.rs");

//! What `/proc` shows of a process hangs: nobody else waits for that, and it is told.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/hanging.rs");

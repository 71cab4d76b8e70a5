//! Kernels that are older than this one, and systems that show less: what is promised there, and what is said of it.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/kernels.rs");

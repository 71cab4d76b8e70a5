//! The tier `Subreaper`: orphans come to the host, and that it has no child left proves that nobody is left.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/tree_subreaper.rs");

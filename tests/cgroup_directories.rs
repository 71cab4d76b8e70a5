//! The directories of the tier `Cgroup`: where they can be made, and that none is left.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/cgroup_directories.rs");

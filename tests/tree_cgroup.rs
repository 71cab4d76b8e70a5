//! The tier `Cgroup`: a cgroup for each life, from which a member cannot hide. What is proven, and what is only observed.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/tree_cgroup.rs");

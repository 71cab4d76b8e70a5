//! Numbers that are given out again while everything else goes on: a stranger on the number of one that is gone is never
//! signalled.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/identity_under_fire.rs");

//! Everything that the library does, done at random and at once, beside a model that says what must hold.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/torture/mod.rs");

//! What is refused by the kernel at the worst moment: descriptors, forks, epoll, the reactor's own poll.
//!
//! These tests are Linux's alone.

mod support;

support::tests_of_linux!("linux/faults.rs");

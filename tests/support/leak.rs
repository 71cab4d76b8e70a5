//! What a test process held before the test, and whether it holds more after.

use super::harness::settle;
use super::platform::world;
use super::wait::holds_within;

/// What this process held before its test.
#[derive(Debug)]
pub(crate) struct Before {
    descriptors: Vec<String>,
    threads: usize,
    caught_signals: u64,
    blocked_signals: u64,
}

impl Before {
    pub(crate) fn now() -> Self {
        // The thread sanitizer starts a thread of its own with the first of the program's, and keeps it.
        if std::env::var_os("TSAN_OPTIONS").is_some() {
            std::thread::spawn(|| ()).join().expect("it does nothing");
            assert!(holds_within(settle(), || world::threads().len() == 2));
        }
        Self {
            descriptors: world::descriptors(),
            threads: world::threads().len(),
            caught_signals: world::own_signals("SigCgt"),
            blocked_signals: world::own_signals("SigBlk"),
        }
    }

    /// Panics if this process has more children, descriptors or threads than before, or other signal handling.
    pub(crate) fn assert_nothing_is_left(&self) {
        let clean = || {
            world::children().is_empty()
                && world::threads().len() == self.threads
                && world::descriptors().len() == self.descriptors.len()
        };
        if !holds_within(settle(), clean) {
            panic!(
                "left over: children {:?}, threads {:?} (were {}), descriptors {:?} (were {:?})",
                world::children(),
                world::threads(),
                self.threads,
                world::descriptors(),
                self.descriptors,
            );
        }
        assert_eq!(
            world::own_signals("SigCgt"),
            self.caught_signals,
            "signals caught"
        );
        assert_eq!(
            world::own_signals("SigBlk"),
            self.blocked_signals,
            "signals blocked"
        );
    }
}

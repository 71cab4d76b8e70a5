//! What the thread sanitizer is tried on, so that its silence about everything else says something.

#![expect(unsafe_code, reason = "there is no race without it")]

use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A value that is handed over by a flag.
struct HandedOver {
    value: UnsafeCell<u64>,
    is_there: AtomicBool,
}

// SAFETY: none. That the flag does not order what is behind it is the race that is to be found.
unsafe impl Sync for HandedOver {}

#[test]
#[ignore = "a data race, for the thread sanitizer to find"]
fn a_flag_that_orders_nothing_is_found() {
    let shared = HandedOver {
        value: UnsafeCell::new(0),
        is_there: AtomicBool::new(false),
    };
    // A whole that is shared, not the cell alone.
    let shared = &shared;
    // The end of a thread and the beginning of another are ordered by what both take from the system's library.
    let (both, last) = (&Barrier::new(2), &Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(move || {
            both.wait();
            // SAFETY: the other thread waits for the flag, which this processor may well show in time.
            unsafe { *shared.value.get() = 7 };
            shared.is_there.store(true, Ordering::Relaxed);
            last.wait();
        });
        scope.spawn(move || {
            both.wait();
            while !shared.is_there.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // SAFETY: as above.
            assert_eq!(unsafe { *shared.value.get() }, 7);
            last.wait();
        });
    });
}

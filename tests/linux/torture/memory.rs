//! How much memory this process has in use: its own allocator counts.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe; this one passes everything on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::numbers_in;

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system's allocator's, by the same layouts; what is counted has no part in it. What is
// provided, `realloc` and `alloc_zeroed`, goes by these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.dealloc(pointer, layout) };
    }
}

/// What a registry knows of each process of the machine, from one pass to the next, takes so much at most: a table has up to four
/// times as much room as it needs.
const OF_EACH_PROCESS: usize = 300;

/// The bytes that may be in use for that.
pub(super) fn for_the_machine() -> usize {
    numbers_in("/proc").len() * OF_EACH_PROCESS
}

/// The bytes that are in use now.
pub(super) fn in_use() -> usize {
    BYTES.load(Ordering::Relaxed)
}

//! What the benches share: the measured ways (each in a process of its own), the child, statistics and tables.
//!
//! Every way is a *worker*: this very program started again, so that one way's runtime, signal handlers and threads
//! never stand in another's way. The bench asks each worker for one sample in turn (ABAB), for as many rounds as it
//! wants, so that whatever else the machine does meets all of them.

pub mod kids;
pub mod procfs;
pub mod stats;
pub mod table;
pub mod ways;
pub mod worker;

/// Anything that goes wrong in a bench ends it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The monotonic clock in nanoseconds: the same numbers in every process.
pub fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither part is negative on a monotonic clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

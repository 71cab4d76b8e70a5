//! Drives the machine through a simulated world by operations that are read from the bytes, and checks every invariant
//! after each of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::machine(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

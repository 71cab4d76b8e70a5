//! Reads the bytes as how a process ended, as each call tells it: all agree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::exits(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

//! Reads the bytes as the value of the mark's variable: no bytes panic, and what was understood reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::mark(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

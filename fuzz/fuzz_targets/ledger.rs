//! Reads the bytes as a ledger: no bytes panic, and what was understood reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::ledger(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

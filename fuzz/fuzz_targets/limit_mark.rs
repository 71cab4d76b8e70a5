//! Reads the bytes as resource limits: a mark can be set wherever it is made, and is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::limit_mark(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

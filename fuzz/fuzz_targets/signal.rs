//! Reads the bytes as a signal's name: what is understood is one of its spellings, and what is a spelling is
//! understood.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::signal(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

//! Reads the bytes as a file of `/proc` about a process: each parser agrees with a plainer one, and reads what a kernel
//! writes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::proc_files(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

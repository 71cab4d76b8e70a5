//! Reads the bytes as a list of arguments or variables, in the forms of three kernels: as with `proc_files`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::strings(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

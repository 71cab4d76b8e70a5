//! Reads the bytes as what tells of cgroups, where they are and who is in them: as with `proc_files`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    procession::fuzzing::cgroup_files(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});

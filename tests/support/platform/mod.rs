//! What the tests need of the platform that they run on, and the only place of theirs that asks which one it is.

#[cfg(target_os = "linux")]
pub(crate) mod interpose;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod older;
#[cfg(target_os = "linux")]
mod refusal;
#[cfg(target_os = "linux")]
#[path = "procfs.rs"]
pub(crate) mod world;

#[cfg(target_os = "linux")]
pub(crate) use self::{
    linux::*,
    older::{be_on, have_no_proc, masked_on},
    refusal::{Refusal, refuse},
};

#[cfg(not(target_os = "linux"))]
mod kqueue;
#[cfg(not(target_os = "linux"))]
#[path = "ps.rs"]
pub(crate) mod world;

#[cfg(not(target_os = "linux"))]
pub(crate) use self::kqueue::*;

/// The code with which a test process ends that cannot be what it is here.
pub(crate) const SKIPPED: u8 = 77;

/// The `ps` that shows the environment.
#[cfg(target_os = "macos")]
pub(crate) const WITH_ENVIRONMENT: &str = "-E";
#[cfg(target_os = "freebsd")]
pub(crate) const WITH_ENVIRONMENT: &str = "-e";

/// The tests in a file of `tests/linux`.
#[cfg(target_os = "linux")]
macro_rules! tests_of_linux {
    ($file:literal) => {
        #[path = $file]
        mod tests_of_linux;

        fn main() -> std::process::ExitCode {
            tests_of_linux::main()
        }
    };
}

/// The tests in a file of `tests/linux`: none here.
#[cfg(not(target_os = "linux"))]
macro_rules! tests_of_linux {
    ($file:literal) => {
        fn main() -> std::process::ExitCode {
            crate::support::main(&[], &[])
        }
    };
}
pub(crate) use tests_of_linux;

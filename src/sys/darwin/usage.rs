//! `proc_pid_rusage`: what a process has used, also while it is a zombie, and when it was started.

#![expect(unsafe_code, reason = "rustix has none of these calls")]

use std::ffi::c_int;
use std::time::Duration;

use rustix::process::Pid;

use crate::exit::Usage;
use crate::sys::unix::usage::{in_ticks, of_ticks, together};

/// `struct mach_timebase_info`.
#[repr(C)]
struct Timebase {
    numerator: u32,
    denominator: u32,
}

unsafe extern "C" {
    /// The clock that stands still while the machine sleeps, which is that of `Instant`, in the processor's own ticks.
    fn mach_absolute_time() -> u64;
    /// How many nanoseconds such a tick takes.
    fn mach_timebase_info(info: *mut Timebase) -> c_int;
}

/// Now, on the clock of the starts.
pub(in crate::sys) fn ticks() -> u64 {
    // SAFETY: the call takes no argument and touches no memory.
    unsafe { mach_absolute_time() }
}

/// So long in ticks of that clock.
pub(in crate::sys) fn ticks_in(time: Duration) -> u64 {
    // It cannot fail with room for its answer.
    timebase().map_or(u64::MAX, |base| {
        in_ticks(time, base.numerator, base.denominator)
    })
}

fn timebase() -> Option<Timebase> {
    let mut base = Timebase {
        numerator: 0,
        denominator: 0,
    };
    // SAFETY: the structure is valid for writing.
    let answer = unsafe { mach_timebase_info(&raw mut base) };
    (answer == 0).then_some(base)
}

/// What a process and the children that it has waited for have used; only of our own user's processes, unless we may do
/// anything. How much memory it had at most is told by a wait that reaps, and by nothing before that.
pub(in crate::sys) fn usage(pid: Pid) -> Option<Usage> {
    let found = rusage(pid)?;
    let base = timebase()?;
    let time = |ticks| -> Duration { of_ticks(ticks, base.numerator, base.denominator) };
    let used = |user, system| Usage {
        user: time(user),
        system: time(system),
        max_rss_bytes: None,
    };
    Some(together(
        used(found.ri_user_time, found.ri_system_time),
        used(found.ri_child_user_time, found.ri_child_system_time),
    ))
}

/// When it was started; only of our own user's processes, unless we may do anything.
pub(super) fn start(pid: Pid) -> Option<u64> {
    rusage(pid).map(|found| found.ri_proc_start_abstime)
}

fn rusage(pid: Pid) -> Option<libc::rusage_info_v1> {
    // SAFETY: all zeros is a valid value of this structure of numbers.
    let mut found: libc::rusage_info_v1 = unsafe { std::mem::zeroed() };
    let into = (&raw mut found).cast::<libc::rusage_info_t>();
    let number = pid.as_raw_nonzero().get();
    // SAFETY: the flavor is that of the structure, which is valid for writing.
    let answer = unsafe { libc::proc_pid_rusage(number, libc::RUSAGE_INFO_V1, into) };
    (answer == 0).then_some(found)
}

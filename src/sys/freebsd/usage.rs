//! `wait6`: what a zombie has used, and it stays one.

#![expect(
    unsafe_code,
    reason = "rustix and the libc crate do not have this call"
)]

use std::ffi::c_int;
use std::mem::MaybeUninit;

use rustix::process::Pid;

use crate::exit::Usage;
use crate::sys::unix::usage::{bytes, duration, together};

/// `struct __wrusage`.
#[repr(C)]
struct WaitedUsage {
    own: libc::rusage,
    children: libc::rusage,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<WaitedUsage>() == 288);

unsafe extern "C" {
    fn wait6(
        kind: libc::idtype_t,
        id: libc::id_t,
        status: *mut c_int,
        options: c_int,
        usage: *mut WaitedUsage,
        info: *mut libc::siginfo_t,
    ) -> libc::pid_t;
}

/// What a zombie of ours and the children that it has waited for have used.
pub(in crate::sys) fn usage(pid: Pid) -> Option<Usage> {
    let number = pid.as_raw_nonzero().get();
    let mut found = MaybeUninit::<WaitedUsage>::zeroed();
    let mut status = 0;
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the two pointers are valid for writing what the call writes there, and the third may be null.
    let answer = unsafe {
        wait6(
            libc::P_PID,
            number.into(),
            &raw mut status,
            options,
            found.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    if answer != number {
        return None;
    }
    // SAFETY: it was zeroed, which is valid for these numbers, and filled in by the kernel.
    let found = unsafe { found.assume_init() };
    Some(together(of(&found.own), of(&found.children)))
}

fn of(told: &libc::rusage) -> Usage {
    Usage {
        user: duration(told.ru_utime.tv_sec, told.ru_utime.tv_usec),
        system: duration(told.ru_stime.tv_sec, told.ru_stime.tv_usec),
        max_rss_bytes: bytes(told.ru_maxrss),
    }
}

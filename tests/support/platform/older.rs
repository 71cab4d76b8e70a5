//! Kernels older than this one, and systems that show less: what a test process is to do without.
//!
//! What a filter can refuse is refused for real, to everything that the test starts as well. What no filter sees (the
//! file system of pidfds, a field of what an ioctl returns) is masked by the builder of each registry.

#![allow(
    unsafe_code,
    reason = "no safe crate has these calls, which exist to take away"
)]

use std::ffi::CStr;
use std::io;

use libc::{c_int, c_long};
use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use super::refusal::{Refusal, refuse};

/// A system on which tests can run.
#[derive(Clone, Copy, Debug)]
struct System {
    name: &'static str,
    /// The facilities that no filter can take away.
    masked: &'static [&'static str],
    become_it: fn(),
}

const SYSTEMS: [System; 8] = [
    System {
        name: "5.4",
        masked: &["pidfs", "exit_info"],
        become_it: be_5_4,
    },
    System {
        name: "5.14",
        masked: &["pidfs", "exit_info"],
        become_it: be_5_14,
    },
    System {
        name: "6.9",
        masked: &["exit_info"],
        become_it: be_6_9,
    },
    System {
        name: "6.13",
        masked: &["exit_info"],
        become_it: be_6_13,
    },
    System {
        name: "6.15",
        masked: &["info_list"],
        become_it: be_6_15,
    },
    System {
        name: "no-cgroup",
        masked: &[],
        become_it: have_no_cgroups,
    },
    System {
        name: "hidepid",
        masked: &[],
        become_it: see_own_processes_alone,
    },
    System {
        name: "sandbox",
        masked: &["pidfs", "exit_info"],
        become_it: be_in_an_old_sandbox,
    },
];

fn named(name: &str) -> System {
    let known = SYSTEMS.into_iter().find(|system| system.name == name);
    known.unwrap_or_else(|| panic!("no such system: {name:?}; known are {SYSTEMS:?}"))
}

/// Makes this thread, and whatever it starts, see a system of this name. There is no way back.
pub(crate) fn be_on(system: &str) {
    (named(system).become_it)();
}

/// What the builder of a registry is to mask there.
pub(crate) fn masked_on(system: &str) -> &'static [&'static str] {
    named(system).masked
}

/// Calls are numbered alike on all architectures since 5.1, in the order in which they came.
const AFTER_5_4: c_long = libc::SYS_close_range;
const AFTER_5_14: c_long = libc::SYS_process_mrelease;
const AFTER_6_9: c_long = 462;
const AFTER_6_13: c_long = 467;
const AFTER_6_15: c_long = 468;

/// `PIDFD_SIGNAL_PROCESS_GROUP` and its like.
const NO_SIGNAL_FLAGS: Refusal = Refusal::of_flags(libc::SYS_pidfd_send_signal, 3, u32::MAX);
/// `PIDFD_THREAD`.
const NO_THREAD_PIDFDS: Refusal = Refusal::of_flags(libc::SYS_pidfd_open, 1, libc::O_EXCL as u32);
/// `PIDFD_NONBLOCK` as well.
const NO_PIDFD_FLAGS: Refusal = Refusal::of_flags(libc::SYS_pidfd_open, 1, u32::MAX);
/// `PIDFD_GET_INFO`: its type and number. Its size, in the upper half, grows with the kernel.
const NO_INFO: Refusal = Refusal::of_value(libc::SYS_ioctl, libc::ENOTTY, 1, 0xffff, 0xff0b);

/// Without `cgroup.kill`, whose absence no filter can feign: without an answer to the question which file system that is.
fn be_5_4() {
    let no_kill = Refusal::always(libc::SYS_fstatfs, libc::ENOSYS);
    let newer = Refusal::from(AFTER_5_4, libc::ENOSYS);
    refuse(
        &[newer, NO_SIGNAL_FLAGS, NO_PIDFD_FLAGS, NO_INFO, no_kill],
        false,
    );
}

fn be_5_14() {
    let newer = Refusal::from(AFTER_5_14, libc::ENOSYS);
    refuse(&[newer, NO_SIGNAL_FLAGS, NO_THREAD_PIDFDS, NO_INFO], false);
}

fn be_6_9() {
    refuse(&[Refusal::from(AFTER_6_9, libc::ENOSYS), NO_INFO], false);
}

fn be_6_13() {
    refuse(&[Refusal::from(AFTER_6_13, libc::ENOSYS)], false);
}

fn be_6_15() {
    refuse(&[Refusal::from(AFTER_6_15, libc::ENOSYS)], false);
}

/// A container whose filter is older than its kernel: what it has never heard of is forbidden, not missing.
fn be_in_an_old_sandbox() {
    let unheard_of = Refusal::from(AFTER_5_4, libc::EPERM);
    let no_flags = Refusal::of_flags_with(libc::SYS_pidfd_send_signal, libc::EPERM, 3, u32::MAX);
    let no_info = Refusal::of_value(libc::SYS_ioctl, libc::EPERM, 1, 0xffff, 0xff0b);
    refuse(&[unheard_of, no_flags, no_info], false);
}

fn have_no_cgroups() {
    in_a_mount_namespace();
    // SAFETY: the path is a string; the call touches no other memory.
    let result = unsafe { libc::umount2(c"/sys/fs/cgroup".as_ptr(), libc::MNT_DETACH) };
    succeeded(result);
}

/// A `/proc` with hidepid, for somebody to whom that applies: not for the group that may look, which is root's if none is named.
fn see_own_processes_alone() {
    in_a_mount_namespace();
    mount(Some(c"proc"), c"/proc", 0, Some(c"hidepid=2,gid=65534"));
    remove_capability_from_bounding_set(CapabilitySet::SYS_PTRACE).expect("root may");
    let mut sets = capabilities(None).expect("capabilities can be read");
    for set in [
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
    ] {
        set.remove(CapabilitySet::SYS_PTRACE);
    }
    set_capabilities(None, sets).expect("capabilities can be given up");
}

/// Takes `/proc` away from this thread, and from what it starts.
pub(crate) fn have_no_proc() {
    in_a_mount_namespace();
    // SAFETY: the path is a string; the call touches no other memory.
    let result = unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) };
    succeeded(result);
}

/// What this thread mounts from here on, others do not see. Needs root.
fn in_a_mount_namespace() {
    // SAFETY: the call takes flags and touches no memory.
    succeeded(unsafe { libc::unshare(libc::CLONE_NEWNS) });
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE, None);
}

fn mount(kind: Option<&CStr>, on: &CStr, flags: libc::c_ulong, options: Option<&CStr>) {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all pointers are null or strings.
    let result = unsafe {
        libc::mount(
            pointer(kind),
            on.as_ptr(),
            pointer(kind),
            flags,
            pointer(options).cast(),
        )
    };
    succeeded(result);
}

#[track_caller]
fn succeeded(result: c_int) {
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

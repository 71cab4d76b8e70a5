//! Stands between a process and its kernel: sees each call of some that its threads make, and fails the one that is to fail.
//!
//! By the notifications of seccomp (5.0; the way round them 5.5), whose filter the process installs by itself. What it starts
//! inherits the filter; calls of others than the process itself are let through.

#![allow(
    unsafe_code,
    reason = "no safe crate has these calls, which exist to take away"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_long, c_ulong};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::refusal::{Refusal, install};
use crate::support::wait::{eventually, now};

/// The call that says that the next part of a scene begins. It asks, and changes nothing.
const MARKER: c_long = libc::SYS_personality;
const ASK: c_ulong = 0xffff_ffff;

const RECEIVE: c_ulong = 0xc050_2100;
const SEND: c_ulong = 0xc018_2101;
const LET_THROUGH: u32 = 1;

/// Lets somebody else decide about these calls of this thread and of those that it starts. Returns when that one is there.
pub(crate) fn be_watched(calls: &[c_long], tell: impl FnOnce(c_int)) {
    let free = File::open("/dev/null").expect("there is one").as_raw_fd();
    // The lowest that is free now: the one that the listener gets.
    tell(free);
    let all = calls.iter().copied().chain([MARKER]);
    let watched: Vec<_> = all.map(Refusal::decided_elsewhere).collect();
    let listener = install(&watched, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    assert_eq!(listener, c_long::from(free), "another descriptor");
    // Not answered before somebody listens.
    next_part();
    // SAFETY: the listener is ours and used by nobody else here; with it open the watcher's end would not be noticed.
    drop(unsafe { OwnedFd::from_raw_fd(free) });
}

/// Tells whoever watches that the next part begins.
pub(crate) fn next_part() {
    // SAFETY: the call asks, and touches no memory.
    unsafe { libc::syscall(MARKER, ASK) };
}

/// Which calls are to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) call: c_long,
    pub(crate) errno: c_int,
    /// The first that fails, from 1.
    pub(crate) first: u32,
    /// How many fail.
    pub(crate) times: u32,
}

/// Watches a process until it is gone. The fault is for the part between the second marker and the third. Says how often each
/// call was made in that part; `None` if it was not over in time.
pub(crate) fn watch(
    process: u32,
    listener: c_int,
    fault: Option<Fault>,
    limit: Duration,
) -> Option<BTreeMap<c_long, u32>> {
    let deadline = now() + limit;
    let watched = super::Pinned::open(process).expect("it lives");
    let listener = listener_of(&watched, listener);
    let mut counts = BTreeMap::new();
    let mut part = 0;
    loop {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return None;
        }
        let left = Timespec::try_from(left).expect("it fits");
        // Whatever it has left behind keeps the listener alive.
        let mut fds = [
            PollFd::new(&listener, PollFlags::IN),
            PollFd::from_borrowed_fd(watched.descriptor(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            return Some(counts);
        }
        let Some(call) = receive(&listener) else {
            continue;
        };
        let number = c_long::from(call.data.nr);
        let its_own = std::path::Path::new(&format!("/proc/{process}/task/{}", call.pid)).exists();
        let mut errno = 0;
        if number == MARKER && call.data.args[0] == ASK && its_own {
            part += 1;
        } else if its_own && part == 2 && !is_granted(process, &call) {
            let count = counts.entry(number).or_insert(0_u32);
            *count += 1;
            errno = fault
                .filter(|fault| fault.call == number)
                .filter(|fault| *count >= fault.first && *count - fault.first < fault.times)
                .map_or(0, |fault| fault.errno);
        }
        answer(&listener, call.id, errno);
    }
}

/// What no kernel refuses: to tell a process its own limits, to count up an eventfd. And what a scene says is to be heard.
fn is_granted(process: u32, call: &libc::seccomp_notif) -> bool {
    match c_long::from(call.data.nr) {
        libc::SYS_write => {
            let written = format!("/proc/{process}/fd/{}", call.data.args[0]);
            !std::fs::metadata(written).is_ok_and(|file| file.is_file())
        }
        libc::SYS_prlimit64 => call.data.args[0] == 0,
        _ => false,
    }
}

/// The listener of another process, once that has it.
fn listener_of(pinned: &super::Pinned, number: c_int) -> OwnedFd {
    let mut found = None;
    eventually("the process is watched", || {
        let pidfd = pinned.descriptor().as_raw_fd();
        // SAFETY: the call takes numbers and touches no memory.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) };
        if let Ok(copy) = c_int::try_from(copy) {
            if copy >= 0 {
                // SAFETY: the kernel has just made it for us.
                let copy = unsafe { OwnedFd::from_raw_fd(copy) };
                let link = std::fs::read_link(format!("/proc/self/fd/{}", copy.as_raw_fd()));
                if link.is_ok_and(|link| link.to_string_lossy().contains("seccomp")) {
                    found = Some(copy);
                }
            }
        }
        found.is_some()
    });
    found.expect("it was found")
}

/// The next call; `None` if whoever made it is gone.
fn receive(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    // SAFETY: all zeros is a valid notification, and what the kernel wants to be given.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which writes one notification.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut call) };
    (result == 0).then_some(call)
}

fn answer(listener: &OwnedFd, id: u64, errno: c_int) {
    let answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno,
        flags: if errno == 0 { LET_THROUGH } else { 0 },
    };
    // ENOENT: it was interrupted, and asks again or is gone.
    // SAFETY: the pointer is valid for the call, which reads one answer.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) };
    let error = io::Error::last_os_error().raw_os_error();
    assert!(result == 0 || error == Some(libc::ENOENT), "{error:?}");
}

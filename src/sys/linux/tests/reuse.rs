//! Numbers that come back. Made to, by telling the kernel which was the last; that needs root.

use super::support::*;
use crate::sys::*;

const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Starts processes until one has this number. Other tests start theirs at the same time.
fn with_pid(pid: u32, start: impl Fn() -> Actor) -> Option<Actor> {
    (0..1000).find_map(|_| {
        std::fs::write(LAST_PID, (pid - 1).to_string()).ok()?;
        Some(start()).filter(|actor| actor.pid() == pid)
    })
}

#[test]
fn a_stranger_with_a_reused_number_is_neither_signalled_nor_taken_for_the_old_one() {
    if !is_root() {
        return;
    }
    let mut old = Actor::leader("read line");
    let pin = old.pin();
    old.hang_up();
    old.steal_status();
    let Some(stranger) = with_pid(pin.pid(), || Actor::leader("read line")) else {
        return;
    };
    let theirs = stranger.pin();
    assert_eq!(theirs.pid(), pin.pid());
    if facilities().pidfs {
        assert_ne!(theirs.identity(), pin.identity());
    }

    let by_number = masked(Mask {
        group_signal: true,
        ..Mask::default()
    });
    for facilities in [facilities(), by_number] {
        let group = |reaped| Target::Group {
            leader: &pin,
            reaped,
        };
        for target in [Target::Process(&pin), group(false), group(true)] {
            send_signal(target, 9, &facilities).unwrap_err();
        }
    }
    assert!(pin.is_dead().unwrap());
    assert!(!theirs.is_dead().unwrap());
    assert!(!pin.reap().unwrap());
    assert_ne!(
        pin.look(Relation::Child, &facilities()).unwrap(),
        Look::Alive
    );
    assert_eq!(
        theirs.look(Relation::Child, &facilities()).unwrap(),
        Look::Alive
    );
}

/// What tells the process with this number from others that have it, in the list of all.
fn instance(table: &ProcessTable, pid: u32) -> Option<u64> {
    let mut listed = Vec::new();
    table.list(&mut listed).unwrap();
    let found = listed.binary_search_by_key(&pid, |listed| listed.pid);
    found.ok().and_then(|at| listed[at].instance)
}

#[test]
fn the_list_tells_a_process_from_the_next_with_its_number() {
    let table = ProcessTable::open().unwrap();
    let mut old = Actor::leader("read line");
    let pin = old.pin();
    let alive = instance(&table, pin.pid());
    assert!(alive.is_some());
    assert_eq!(instance(&table, pin.pid()), alive);
    old.hang_up();
    until_dead(&pin);
    // A zombie is still the one that it was.
    assert_eq!(instance(&table, pin.pid()), alive);
    if !is_root() {
        return;
    }
    old.steal_status();
    let Some(stranger) = with_pid(pin.pid(), || Actor::leader("read line")) else {
        return;
    };
    let theirs = instance(&table, stranger.pid());
    assert!(theirs.is_some());
    assert_ne!(theirs, alive);
}

/// A file handle of pidfs, as `name_to_handle_at(2)` fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

/// `FD_PIDFS_ROOT` (6.17).
const PIDFS_ROOT: i32 = -10002;

/// The handle of a pidfd; `None` before Linux 6.14.
#[expect(unsafe_code, reason = "rustix has no such call")]
fn handle_of(pin: &Pin) -> Option<Handle> {
    use std::os::fd::AsRawFd as _;
    let mut handle = Handle {
        bytes: 8,
        kind: 0,
        id: [0; 8],
    };
    let mut mount = 0;
    let (fd, of) = (pin.fd().as_raw_fd(), (&raw mut handle).cast());
    // SAFETY: the path is empty and ends, and the handle has room for as many bytes as it says.
    let answer = unsafe {
        libc::name_to_handle_at(fd, c"".as_ptr(), of, &raw mut mount, libc::AT_EMPTY_PATH)
    };
    (answer == 0).then_some(handle)
}

/// Opens the process that a handle means, by its inode.
#[expect(unsafe_code, reason = "rustix has no such call")]
fn open_handle(mut handle: Handle) -> std::io::Result<u64> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    // SAFETY: the handle is whole, and is only read.
    let fd = unsafe { libc::open_by_handle_at(PIDFS_ROOT, (&raw mut handle).cast(), 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed it out.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(rustix::fs::fstat(&fd)?.st_ino)
}

/// Why none is written down: where there are handles it is known from the inode, and opens nobody but whom number and
/// inode together open.
#[test]
fn a_pidfs_handle_is_the_inode_and_never_opens_a_stranger_on_the_number() {
    if !is_root() || !facilities().pidfs {
        return;
    }
    let mut old = Actor::leader("read line");
    let pin = old.pin();
    let inode = pin.identity().inode.unwrap();
    let Some(handle) = handle_of(&pin) else {
        return;
    };
    assert_eq!((handle.bytes, u64::from_ne_bytes(handle.id)), (8, inode));
    match open_handle(handle) {
        Ok(opened) => assert_eq!(opened, inode),
        // EBADF: there is no such root before 6.17.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return,
        Err(error) => panic!("{error}"),
    }
    old.hang_up();
    until_dead(&pin);
    // As by its number: a zombie is there.
    assert_eq!(open_handle(handle).unwrap(), inode);
    old.steal_status();
    let stale = |handle| open_handle(handle).unwrap_err().raw_os_error();
    assert_eq!(
        stale(handle),
        Some(libc::ESTALE),
        "the pin holds nothing up"
    );
    let Some(stranger) = with_pid(pin.pid(), || Actor::leader("read line")) else {
        return;
    };
    assert_eq!(stale(handle), Some(libc::ESTALE));
    assert_ne!(stranger.pin().identity().inode, Some(inode));
}

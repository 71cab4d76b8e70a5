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

//! What a look says in each state that a process can be in.

use super::support::*;
use crate::exit::{Status, StatusSource, Usage};
use crate::signal::Signal;
use crate::sys::*;

fn killed(signal: i32) -> Status {
    Status::Signal {
        signal: Signal(signal),
        core_dumped: false,
    }
}

fn status(look: Look) -> (Status, StatusSource, Option<Usage>) {
    match look {
        Look::Exited {
            status,
            source,
            usage,
        } => (status, source, usage),
        other @ (Look::Alive | Look::Held | Look::Dead) => panic!("it is {other:?}, not exited"),
    }
}

#[test]
fn a_child_is_alive_until_it_has_ended_and_then_its_code_is_told() {
    let mut child = Actor::shell("read line; exit 7");
    let pin = child.pin();
    assert_eq!(
        pin.look(Relation::Child, &facilities()).unwrap(),
        Look::Alive
    );
    assert!(!pin.is_dead().unwrap());

    child.hang_up();
    until_dead(&pin);

    let (code, source, usage) = status(pin.look(Relation::Child, &facilities()).unwrap());
    assert_eq!(code, Status::Code(7));
    assert_eq!(source, StatusSource::Waited);
    assert!(usage.unwrap().max_rss_bytes.unwrap() > 100 << 10);
    assert!(pin.is_dead().unwrap());
}

#[test]
fn a_look_does_not_reap() {
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    until_dead(&pin);
    for _ in 0..3 {
        assert_eq!(peek_child(child.pid()).unwrap(), ChildState::Waitable);
        let (code, ..) = status(pin.look(Relation::Child, &facilities()).unwrap());
        assert_eq!(code, Status::Code(0));
    }
}

#[test]
fn a_reap_takes_the_zombie_once() {
    let mut child = Actor::idle();
    let pin = child.pin();
    assert!(!pin.reap().unwrap(), "it lives");
    assert_eq!(peek_child(child.pid()).unwrap(), ChildState::Alive);

    child.hang_up();
    until_dead(&pin);

    assert!(pin.reap().unwrap());
    assert!(!pin.reap().unwrap(), "it was reaped");
    assert_eq!(peek_child(child.pid()).unwrap(), ChildState::NotOurChild);
    assert!(pin.is_dead().unwrap());
}

#[test]
fn a_child_that_a_signal_ended_is_reported_as_that_signal() {
    for signal in [1, 9, 15, 34, 64] {
        let child = Actor::idle();
        let pin = child.pin();
        send_signal(Target::Process(&pin), signal, &facilities()).unwrap();
        until_dead(&pin);
        let (how, source, _) = status(pin.look(Relation::Child, &facilities()).unwrap());
        assert_eq!((how, source), (killed(signal), StatusSource::Waited));
    }
}

#[test]
fn usage_counts_the_time_that_was_used() {
    let child = Actor::shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
    let pin = child.pin();
    until_dead(&pin);
    let usage = status(pin.look(Relation::Child, &facilities()).unwrap())
        .2
        .unwrap();
    assert!((usage.user + usage.system).as_millis() >= 5, "{usage:?}");
}

#[test]
fn a_stopped_child_is_alive() {
    let child = Actor::idle();
    let pin = child.pin();
    send_signal(Target::Process(&pin), 19, &facilities()).unwrap();
    eventually("it is stopped", || {
        matches!(why_alive(child.pid()).unwrap().state, 'T' | 't').then_some(())
    });
    assert_eq!(
        pin.look(Relation::Child, &facilities()).unwrap(),
        Look::Alive
    );
}

#[test]
fn a_status_that_somebody_else_collected_is_told_by_the_pidfd() {
    if !facilities().exit_info {
        return;
    }
    let mut child = Actor::shell("read line; exit 3");
    let pin = child.pin();
    child.hang_up();
    child.steal_status();
    for relation in [Relation::Child, Relation::Stranger] {
        assert_eq!(
            pin.look(relation, &facilities()).unwrap(),
            Look::Exited {
                status: Status::Code(3),
                source: StatusSource::PidfdInfo,
                usage: None,
            }
        );
    }
}

#[test]
fn a_status_that_somebody_else_collected_is_unknown_without_exit_info() {
    let mut child = Actor::shell("read line; exit 3");
    let pin = child.pin();
    child.hang_up();
    child.steal_status();
    let old_kernels = [
        Mask {
            exit_info: true,
            ..Mask::default()
        },
        Mask {
            pidfd_info: true,
            ..Mask::default()
        },
    ];
    for mask in old_kernels {
        for relation in [Relation::Child, Relation::Stranger] {
            let (how, source, usage) = status(pin.look(relation, &masked(mask)).unwrap());
            assert_eq!(how, Status::Unknown);
            assert_eq!(source, StatusSource::Unavailable);
            assert_eq!(usage, None);
        }
    }
}

/// A parent that reaps its child when it is told to: says the child's pid, hears "reap", says "reaped".
#[test]
#[ignore = "a part, played for other tests"]
fn keeper() {
    if !plays("keeper") {
        return;
    }
    let mut child = Actor::shell("read line; exit 5");
    say(&format!("child {}", child.pid()));
    assert!(hear());
    child.hang_up();
    until_dead(&child.pin());
    say("child is dead");
    assert!(hear());
    child.steal_status();
    say("child was reaped");
    hear();
}

#[test]
fn a_stranger_is_alive_then_dead_and_told_once_its_parent_has_reaped_it() {
    let modern = facilities();
    let mut keeper = Actor::part(module_path!(), "keeper");
    let pid = keeper.answer("child ").parse().unwrap();
    let pin = Pin::open(pid, &modern).unwrap();
    assert_eq!(pin.look(Relation::Stranger, &modern).unwrap(), Look::Alive);
    assert_eq!(peek_child(pid).unwrap(), ChildState::NotOurChild);

    keeper.tell("end it");
    keeper.answer("child is dead");
    if modern.exit_info {
        assert_eq!(pin.look(Relation::Stranger, &modern).unwrap(), Look::Dead);
    }
    let old = masked(Mask {
        exit_info: true,
        ..Mask::default()
    });
    assert_eq!(
        status(pin.look(Relation::Stranger, &old).unwrap()).0,
        Status::Unknown
    );
    assert!(!pin.reap().unwrap(), "its parent reaps it, not we");

    keeper.tell("reap it");
    keeper.answer("child was reaped");
    if modern.exit_info {
        let (how, source, _) = status(pin.look(Relation::Stranger, &modern).unwrap());
        assert_eq!(how, Status::Code(5));
        assert_eq!(source, StatusSource::PidfdInfo);
    }
    keeper.passed();
}

/// Ignores SIGCHLD, so that the kernel reaps its children by itself.
#[test]
#[ignore = "a part, played for other tests"]
fn host_that_ignores_its_children() {
    if !plays("host_that_ignores_its_children") {
        return;
    }
    ignore_sigchld();
    for round in 0..200 {
        let mut child = Actor::idle();
        let pin = child.pin();
        child.hang_up();
        let (how, source) = eventually("its end is told", || {
            match pin.look(Relation::Child, &facilities()).unwrap() {
                Look::Alive | Look::Held => None,
                Look::Dead => panic!("a child is not reaped by strangers"),
                Look::Exited { status, source, .. } => Some((status, source)),
            }
        });
        if facilities().exit_info {
            assert_eq!(
                (how, source),
                (Status::Code(0), StatusSource::PidfdInfo),
                "round {round}"
            );
        } else {
            assert_eq!((how, source), (Status::Unknown, StatusSource::Unavailable));
        }
    }
}

#[expect(
    unsafe_code,
    reason = "a signal's disposition is set by an unsafe call"
)]
fn ignore_sigchld() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

#[test]
fn where_sigchld_is_ignored_the_status_is_told_by_the_pidfd() {
    Actor::part(module_path!(), "host_that_ignores_its_children").passed();
}

/// Makes children that announce their end by no signal, as a host may by `clone`.
#[test]
#[ignore = "a part, played for other tests"]
fn host_with_a_silent_child() {
    if !plays("host_with_a_silent_child") {
        return;
    }
    let child = silent_child(6);
    let pin = Pin::open(child, &facilities()).unwrap();
    until_dead(&pin);
    let (how, source, _) = status(pin.look(Relation::Child, &facilities()).unwrap());
    assert_eq!((how, source), (Status::Code(6), StatusSource::Waited));
    assert!(pin.reap().unwrap());
}

#[expect(unsafe_code, reason = "std makes no such children")]
fn silent_child(code: libc::c_int) -> u32 {
    // SAFETY: without flags and without a stack it is a fork, and without a signal in the lowest byte a silent one. The
    // child below allocates nothing and takes no lock.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: it ends without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    u32::try_from(pid).unwrap()
}

#[test]
fn a_child_that_announces_its_end_by_no_signal_is_seen_and_reaped() {
    Actor::part(module_path!(), "host_with_a_silent_child").passed();
}

/// Hunts the exit between the two halves of a look: `waitid` finds nothing, then the pidfd is readable. A look that
/// believed both would say held.
#[test]
fn a_look_that_races_the_exit_says_alive_and_then_exited_and_nothing_between() {
    let facilities = facilities();
    let give_up = now() + race_budget();
    let mut rounds = 0;
    while now() < give_up {
        let mut child = Actor::idle();
        let pin = child.pin();
        child.hang_up();
        let status = eventually("it ends", || {
            match pin.look(Relation::Child, &facilities).unwrap() {
                Look::Alive => None,
                Look::Exited { status, .. } => Some(status),
                other @ (Look::Held | Look::Dead) => panic!("{other:?} after {rounds} rounds"),
            }
        });
        assert_eq!(status, Status::Code(0));
        rounds += 1;
    }
    assert!(rounds > 0);
}

#[test]
fn a_number_that_no_process_has_is_gone() {
    for nobody in [0, u32::MAX, i32::MAX as u32] {
        let error = Pin::open(nobody, &facilities()).unwrap_err();
        assert!(is_gone(&error), "{nobody}: {error}");
    }
    let mut child = Actor::idle();
    child.hang_up();
    child.steal_status();
    assert!(is_gone(&Pin::open(child.pid(), &facilities()).unwrap_err()));
}

#[test]
fn the_number_of_a_thread_is_no_process() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        wait.recv().unwrap_err();
    });
    let tid = told.recv().unwrap().as_raw_nonzero().get();
    let error = Pin::open(tid.unsigned_abs(), &facilities()).unwrap_err();
    assert!(is_gone(&error), "{error}");
    drop(done);
    thread.join().unwrap();
}

#[test]
fn a_zombie_can_be_pinned() {
    let mut child = Actor::idle();
    let first = child.pin();
    child.hang_up();
    until_dead(&first);
    let second = child.pin();
    assert_eq!(first.identity(), second.identity());
    assert!(second.is_dead().unwrap());
}

#[test]
fn an_identity_has_an_inode_where_the_kernel_has_unique_ones() {
    let (one, other) = (Actor::idle(), Actor::idle());
    if facilities().pidfs {
        assert_ne!(one.pin().identity().inode, other.pin().identity().inode);
    }
    let old = masked(Mask {
        pidfs: true,
        ..Mask::default()
    });
    let pin = Pin::open(one.pid(), &old).unwrap();
    assert_eq!(pin.identity().inode, None);
    assert_eq!(pin.identity().pid, one.pid());
}

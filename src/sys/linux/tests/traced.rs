//! A child that a tracer holds: dead, and not to be collected.

use super::support::*;
use crate::exit::{Status, StatusSource};
use crate::signal::Signal;
use crate::sys::*;

/// A debugger that takes hold of the process in the variable, and never waits for it.
#[test]
#[ignore = "a part, played for other tests"]
fn tracer() {
    if !plays("tracer") {
        return;
    }
    let pid = std::env::var("TRACEE").unwrap().parse().unwrap();
    say(if seize(pid) { "seized" } else { "refused" });
    hear();
}

#[expect(unsafe_code, reason = "rustix has no ptrace")]
fn seize(pid: libc::pid_t) -> bool {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE takes no memory of ours.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing) == 0 }
}

#[test]
fn a_killed_child_that_a_tracer_does_not_let_go_is_held_and_its_tracer_named() {
    let child = Actor::idle();
    let pin = child.pin();
    let mut tracer =
        Actor::start(part_command(module_path!(), "tracer").env("TRACEE", child.pid().to_string()));
    eventually("the tracer answers", || {
        why_alive(child.pid())
            .ok()
            .filter(|condition| condition.tracer == tracer.pid())
    });
    assert_eq!(
        pin.look(Relation::Child, &facilities()).unwrap(),
        Look::Alive
    );

    send_signal(Target::Process(&pin), 9, &facilities()).unwrap();
    until_dead(&pin);
    assert_eq!(
        pin.look(Relation::Child, &facilities()).unwrap(),
        Look::Held
    );
    assert!(!pin.reap().unwrap());
    assert_eq!(why_alive(child.pid()).unwrap().state, 'Z');

    // Its tracer's end lets it go, and the poll tells.
    let mut poller = Poller::new().unwrap();
    poller.watch().add(&pin, 1).unwrap();
    let mut ready = Vec::new();
    poller.wait(true, &mut ready).unwrap();
    assert_eq!(ready, [Ready::Process(1)], "it is dead");
    ready.clear();
    poller.wait(false, &mut ready).unwrap();
    assert_eq!(ready, [], "told once");

    tracer.hang_up();
    poller.arm(Some(now() + PATIENCE), now()).unwrap();
    poller.wait(true, &mut ready).unwrap();
    assert_eq!(ready, [Ready::Process(1)], "it can be collected");
    assert_eq!(
        pin.look(Relation::Child, &facilities())
            .map(without_usage)
            .unwrap(),
        (
            Status::Signal {
                signal: Signal(9),
                core_dumped: false
            },
            StatusSource::Waited
        )
    );
    poller.watch().remove(&pin).unwrap();
    tracer.passed();
}

fn without_usage(look: Look) -> (Status, StatusSource) {
    match look {
        Look::Exited { status, source, .. } => (status, source),
        other @ (Look::Alive | Look::Held | Look::Dead) => panic!("it is {other:?}"),
    }
}

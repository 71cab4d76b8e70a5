//! What only the inside can bring about: a reactor that panics.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use super::{Message, clock};
use crate::{
    Error, ErrorKind, EventMask, Limits, Registry, SessionOptions, SpawnOptions, StopPolicy,
};

/// Longer than anything here takes on any machine.
const WATCHDOG: Duration = Duration::from_secs(30);

/// One way to block; says how it ended.
type Wait = Box<dyn FnOnce() -> Option<Error> + Send>;

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

fn panic_inside(registry: &Registry) {
    let question = Box::new(|_: &_, _: &_, _| panic!("asked for by a test"));
    registry
        .0
        .shared
        .mail
        .send(Message::Ask(question))
        .expect("it is there to panic");
}

fn is_child(pid: u32) -> bool {
    crate::sys::peek_child(pid).expect("a child can be looked for")
        != crate::sys::ChildState::NotOurChild
}

/// Every way to block is entered before the panic: the policy never kills, the process never exits, the only slot is
/// taken. A waiter that had not yet begun to block finds the same.
#[test]
fn a_reactor_that_panics_leaves_nobody_waiting_and_the_drop_leaves_nothing_alive() {
    let registry = Registry::builder()
        .limits(Limits::NONE.processes(1))
        .build()
        .expect("a registry");
    let events = registry.subscribe_to(EventMask::EXITED);
    let session = registry
        .open_session(SessionOptions::new().id(1))
        .expect("a session");
    let process = registry.spawn(1, &mut sleeper()).expect("a process");
    let exits = process.exit_receiver();
    let patient = StopPolicy::wait_then_kill(Duration::MAX);
    let (answers, answered) = mpsc::channel::<(&str, Option<Error>)>();
    let waits: [(&'static str, Wait); 5] = [
        ("wait", {
            let process = process.clone();
            Box::new(move || process.wait().err())
        }),
        ("wait_empty", {
            let session = session.clone();
            Box::new(move || session.wait_empty().err())
        }),
        ("slot", {
            let registry = registry.clone();
            let options = SpawnOptions::new().slot_timeout(Duration::MAX);
            Box::new(move || registry.spawn_with(2, &mut sleeper(), &options).err())
        }),
        ("end", {
            let (session, patient) = (session.clone(), patient.clone());
            Box::new(move || session.end_with(&patient).err())
        }),
        ("stop", {
            let process = process.clone();
            Box::new(move || process.stop(&patient).err())
        }),
    ];
    let threads = waits.map(|(name, wait)| {
        let answers = answers.clone();
        std::thread::spawn(move || answers.send((name, wait())).expect("the test listens"))
    });
    panic_inside(&registry);
    for _ in &threads {
        let (name, error) = answered.recv_timeout(WATCHDOG).expect("nobody hangs");
        let kind = error.map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::ReactorGone), "{name}");
    }
    for thread in threads {
        thread.join().expect("it has answered");
    }
    assert!(exits.recv().is_err(), "nobody is left to tell the exit");
    assert!(
        events.receiver().recv().is_err(),
        "nobody is left to send events"
    );
    assert_eq!(
        registry.spawn(3, &mut sleeper()).unwrap_err().kind(),
        ErrorKind::ReactorGone
    );
    assert_eq!(
        registry.processes().unwrap_err().kind(),
        ErrorKind::ReactorGone
    );
    assert_eq!(process.kill().unwrap_err().kind(), ErrorKind::ReactorGone);
    assert!(is_child(process.pid()), "the panic itself kills nobody");
    drop(registry);
    assert!(!is_child(process.pid()), "killed and reaped by the drop");
}

/// Nobody listens for it and nothing else happens: it is not left for the moment at which the process exits.
#[test]
fn a_birth_is_taken_in_soon_after_it() {
    let registry = Registry::new().expect("a registry");
    let child = registry.spawn(1, &mut sleeper()).expect("there is `sleep`");
    let began = clock::now();
    while registry.0.shared.mail.has_unread() {
        assert!(began.elapsed() < WATCHDOG, "it lies in the mailbox");
        std::thread::yield_now();
    }
    drop(registry);
    assert!(!is_child(child.pid()));
}

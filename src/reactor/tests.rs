//! What only the inside can bring about: a reactor that panics, a sleeper that does not wake up.

use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::sleepers::Asleep;
use super::{Message, clock};
use crate::sys::Pin;
use crate::{
    Error, ErrorKind, EventMask, Limits, Process, Reason, Registry, SessionOptions, SpawnOptions,
    StopPolicy,
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

fn until_dead(pin: &Pin) {
    let until = clock::now() + WATCHDOG;
    let dead = crate::sys::sleep_on_alone(pin, Some(until));
    assert!(dead.expect("it can be slept on"));
}

/// A process that exits when its input is closed.
fn reader(registry: &Registry, session: u64) -> (Process, Arc<Pin>) {
    let mut command = Command::new("cat");
    let process = registry
        .spawn(session, command.stdin(Stdio::piped()))
        .expect("there is `cat`");
    let id = process.id();
    let core = registry
        .0
        .shared
        .read("test", move |_, watchlist| watchlist.get(id).cloned())
        .expect("it answers");
    let pin = core.and_then(|core| core.pin()).expect("it lives");
    (process, pin)
}

/// They have all exited, the crowd first, when the reactor looks.
#[test]
fn an_exit_that_nobody_asked_for_does_not_wait_for_a_crowd_that_is_ended() {
    let registry = Registry::new().expect("a registry");
    let events = registry.subscribe_to(EventMask::EXITED);
    let crowd: Vec<_> = (0..40).map(|_| reader(&registry, 1)).collect();
    let (other, other_pin) = reader(&registry, 2);
    let patient = StopPolicy::wait_then_kill(Duration::MAX);
    let ending = registry.begin_end_session(1, &patient).expect("it begins");
    let (go_on, hold) = mpsc::channel::<()>();
    let (held, is_held) = mpsc::channel();
    let question = Box::new(move |_: &_, _: &_, _| {
        held.send(()).expect("the test listens");
        // The test goes on, or has failed.
        hold.recv_timeout(WATCHDOG).ok();
    });
    let shared = &registry.0.shared;
    shared
        .mail
        .send(Message::Ask(question))
        .expect("it is there");
    is_held.recv_timeout(WATCHDOG).expect("it is asked");
    for (process, pin) in &crowd {
        drop(process.take_stdin());
        until_dead(pin);
    }
    drop(other.take_stdin());
    until_dead(&other_pin);
    go_on.send(()).expect("it is held");
    let first = events.receiver().recv_timeout(WATCHDOG);
    assert_eq!(first.expect("they exit").process(), Some(other.id()));
    assert!(ending.wait().expect("it ends").is_clean());
}

/// A process, and a thread that sleeps on it and is given no processor when it exits.
struct Neglected {
    registry: Registry,
    process: Process,
    pin: Arc<Pin>,
}

impl Neglected {
    fn new() -> Self {
        let registry = Registry::new().expect("a registry");
        let (process, pin) = reader(&registry, 1);
        Self {
            registry,
            process,
            pin,
        }
    }

    fn sleeps(&self) -> Asleep<'_> {
        let shared = &self.registry.0.shared;
        shared.sleepers.lie_down(self.process.id(), &self.pin)
    }

    /// It is dead when this returns.
    fn exit(&self) {
        drop(self.process.take_stdin());
        until_dead(&self.pin);
    }
}

#[test]
fn a_request_finds_what_exited_before_it_though_somebody_sleeps_on_it() {
    let scene = Neglected::new();
    let asleep = scene.sleeps();
    scene.exit();
    assert_eq!(scene.registry.processes().expect("it answers").len(), 0);
    drop(asleep);
    let scene = Neglected::new();
    let _asleep = scene.sleeps();
    scene.exit();
    let report = scene.registry.end_session(1).expect("it is ended");
    assert!(report.members().is_empty(), "it had gone before: {report}");
    let exit = scene.process.wait().expect("it has exited");
    assert_eq!(exit.asked(), None, "nothing was sent to what was dead");
}

#[test]
fn an_exit_that_somebody_waits_for_is_not_left_to_a_sleeper() {
    let masks = [EventMask::EXITED, EventMask::SESSIONS];
    for (sleeps_before, mask) in [true, false]
        .into_iter()
        .flat_map(|before| masks.map(|mask| (before, mask)))
    {
        let scene = Neglected::new();
        let before = sleeps_before.then(|| scene.sleeps());
        let events = scene.registry.subscribe_to(mask);
        let after = before.or_else(|| {
            // One round of the reactor more: it goes to sleep itself.
            scene.registry.processes().expect("it answers");
            Some(scene.sleeps())
        });
        scene.exit();
        let event = events.receiver().recv_timeout(WATCHDOG);
        event.expect("subscribed to");
        drop(after);
    }

    let scene = Neglected::new();
    let session = scene
        .registry
        .session(1)
        .expect("it answers")
        .expect("it is there");
    let (done, empty) = mpsc::channel();
    std::thread::scope(|scope| {
        let _asleep = scene.sleeps();
        scope.spawn(move || done.send(session.wait_empty().is_ok()));
        scene.exit();
        assert_eq!(empty.recv_timeout(WATCHDOG), Ok(true));
    });
}

/// The time is over while it sleeps: what exited before that has exited by itself.
#[test]
fn a_time_limit_is_kept_though_somebody_sleeps_on_the_process() {
    let registry = Registry::new().expect("a registry");
    let options = SpawnOptions::new().time_limit(Duration::from_millis(20));
    let process = registry
        .spawn_with(1, &mut sleeper(), &options)
        .expect("there is `sleep`");
    let exit = process
        .wait_timeout(WATCHDOG)
        .expect("it can be waited for");
    let asked = exit.expect("it is killed").asked();
    assert_eq!(asked.map(|(_, reason)| reason), Some(Reason::TimeLimit));
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

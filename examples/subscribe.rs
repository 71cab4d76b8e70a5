//! One loop over the registry's events and the host's own messages: `select!` over two channels.
//!
//! ```sh
//! cargo run --example subscribe
//! ```
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

use std::collections::HashSet;
use std::error::Error;
use std::process::Command;
use std::thread;
use std::time::Duration;

use procession::channel::{self, Sender};
use procession::{EventKind, EventMask, Registry};

/// What the rest of this host has to say to its main loop.
enum Message {
    Job(u64, &'static str),
    NoMoreJobs,
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new()?;
    let events = registry.subscribe_to(EventMask::EXITED);
    let (sender, messages) = channel::unbounded();
    let clients = thread::spawn(move || clients(&sender));

    let mut running = HashSet::new();
    let mut accepting = true;
    while accepting || !running.is_empty() {
        channel::select! {
            recv(messages) -> message => match message {
                Ok(Message::Job(session, script)) => {
                    let job = registry.spawn(session, Command::new("sh").args(["-c", script]))?;
                    println!("session {session}: {script:?} runs as process {}", job.id());
                    running.insert(job.id());
                }
                Ok(Message::NoMoreJobs) | Err(_) => accepting = false,
            },
            recv(events.receiver()) -> event => {
                // The channel closes with the registry, which is alive here.
                let event = event?;
                if let (EventKind::Exited(exit), Some(process)) = (event.kind(), event.process()) {
                    println!("event {}: process {process} {exit}", event.seq());
                    running.remove(&process);
                }
                if let EventKind::Lagged(lagged) = event.kind() {
                    // Events are lost, the state is not: what still runs is asked for.
                    println!("{} events were lost", lagged.missed());
                    running = registry.processes()?.into_iter().map(|p| p.id).collect();
                }
            },
            default(Duration::from_secs(20)) => return Err("nothing happened for 20 seconds".into()),
        }
    }

    clients.join().map_err(|_| "the clients panicked")?;
    // A loop that cannot block for the length of a ladder asks for the end and selects on its receiver.
    let ending = registry.begin_end_session(2, registry.stop_policy())?;
    channel::select! {
        recv(ending.receiver()) -> report => println!("{}", report?),
        default(Duration::from_secs(20)) => return Err("the end did not come".into()),
    }
    for report in registry.shutdown()? {
        println!("{report}");
    }
    Ok(())
}

/// Stands for the host's sockets, timers and users.
fn clients(host: &Sender<Message>) {
    let jobs = [
        Message::Job(1, "exit 0"),
        Message::Job(1, "sleep 0.2; exit 1"),
        Message::Job(2, "sleep 1; exit 2"),
        Message::Job(2, "kill -INT $$"),
        Message::NoMoreJobs,
    ];
    for job in jobs {
        if host.send(job).is_err() {
            // The host has left its loop, and what it left for is told elsewhere.
            return;
        }
    }
}

//! The main job: six sessions of real processes, ended one after the other, with the events as they arrive, a report for
//! each session, and at the end a look at what the system says. The exit code is 1 if anything is left.
//!
//! ```sh
//! cargo run --example end_session
//! ```
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

mod system;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use procession::{
    Event, EventKind, Process, Registry, SessionId, Signal, SpawnOptions, StopPolicy, Subscription,
};

use system::Seen;

const OBEDIENT: SessionId = SessionId::new(1);
const STUBBORN: SessionId = SessionId::new(2);
const STDIN: SessionId = SessionId::new(3);
const BY_ITSELF: SessionId = SessionId::new(4);
const OUTSIDE: SessionId = SessionId::new(5);
const CROWD: SessionId = SessionId::new(6);

const CROWD_SIZE: usize = 100;

/// What a session of this example is about.
fn title(session: SessionId) -> &'static str {
    match session {
        OBEDIENT => "obeys SIGTERM",
        STUBBORN => "ignores SIGTERM, so SIGKILL follows after the grace of one second",
        STDIN => "leaves when its standard input is closed",
        BY_ITSELF => "left by itself before the end, with a code",
        OUTSIDE => "was killed by a stranger",
        CROWD => "a hundred that ignore SIGTERM: one grace of half a second for all of them",
        _ => "",
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let registry = Registry::new()?;
    let events = registry.subscribe();
    let printer = thread::spawn(move || print_events(events));

    start_all(&registry)?;
    // Without believing the library.
    let before = ours(&system::processes()?);

    let term = |grace: u64| StopPolicy::new().signal(Signal::TERM, Duration::from_millis(grace));
    let mut clean = true;
    for (session, policy) in [
        (OBEDIENT, StopPolicy::graceful()),
        (STUBBORN, term(1000)),
        (STDIN, StopPolicy::stdio_server()),
        (BY_ITSELF, StopPolicy::graceful()),
        (OUTSIDE, StopPolicy::graceful()),
        (CROWD, term(500)),
    ] {
        // The printer shows the report, which comes with the last event of the session.
        clean &= registry.end_session_with(session, &policy)?.is_clean();
    }

    // The last registry closes the event channels: the printer's loop ends there.
    drop(registry);
    printer
        .join()
        .map_err(|_| "the thread that prints panicked")?;

    let now = system::processes()?;
    // Whoever the parent is by now.
    let same = |one: &Seen, seen: &Seen| one.pid == seen.pid && one.command == seen.command;
    let alive = |seen: &&Seen| !seen.is_zombie && before.iter().any(|one| same(one, seen));
    let left: Vec<&Seen> = now.iter().filter(alive).collect();
    let own = std::process::id();
    let children = now.iter().filter(|seen| seen.parent == own).count();
    println!(
        "\nthe system, before the ends: {} of ours alive",
        before.len()
    );
    println!(
        "the system, now: {} of ours alive {left:?}, {children} children of this process, zombies included",
        left.len(),
    );
    let nothing_left = clean && left.is_empty() && children == 0;
    Ok(if nothing_left {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts every process of the example, and returns when each is in the state that its session is about.
fn start_all(registry: &Registry) -> procession::Result<()> {
    let spawn = |session, label: &str, script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        registry.spawn_with(session, &mut command, &SpawnOptions::new().label(label))
    };
    // An ignored signal stays ignored over exec; the line says that it is ignored by now.
    let deaf = "trap '' TERM; echo up; exec sleep 300";

    spawn(OBEDIENT, "server", "exec sleep 300")?;
    spawn(OBEDIENT, "worker", "exec sleep 300")?;
    until_up(&spawn(STUBBORN, "deaf", deaf)?);
    spawn(STDIN, "filter", "exec cat")?;
    spawn(BY_ITSELF, "job", "exit 3")?.wait()?;

    let victim = spawn(OUTSIDE, "victim", "exec sleep 300")?;
    // In a session of its own: whoever kills the victim is not the library.
    let killer = spawn(OUTSIDE, "stranger", &format!("kill -USR1 {}", victim.pid()))?;
    killer.wait()?;
    victim.wait()?;

    let crowd = (1..=CROWD_SIZE)
        .map(|n| spawn(CROWD, &format!("deaf {n}"), deaf))
        .collect::<procession::Result<Vec<_>>>()?;
    crowd.iter().for_each(until_up);
    Ok(())
}

/// Waits for the line that says that a process is ready; a process that died before is as ready as it will be.
fn until_up(process: &Process) {
    if let Some(stdout) = process.take_stdout() {
        BufReader::new(stdout).lines().next();
    }
}

/// Prints what happens until the registry is gone.
fn print_events(events: Subscription) {
    let mut start = None;
    let mut crowd = Tally::default();
    for event in events {
        let start = *start.get_or_insert(event.at());
        let Some(what) = describe(event.kind()) else {
            continue;
        };
        if event.session() == Some(CROWD) && event.process().is_some() {
            crowd.add(&event, what);
            continue;
        }
        crowd.print(start);
        if let (EventKind::SessionEnding { .. }, Some(session)) = (event.kind(), event.session()) {
            println!("\n--- session {session}: {}", title(session));
        }
        println!("{} {what}", left(&event, event.label(), start));
        if let EventKind::SessionEnded(report) = event.kind() {
            print_report(&report.to_string());
        }
    }
}

/// The whole report, or its beginning where its rows are a hundred of a kind.
fn print_report(report: &str) {
    const SHOWN: usize = 8;
    for line in report.lines().take(SHOWN) {
        println!("{line}");
    }
    if let more @ 1.. = report.lines().count().saturating_sub(SHOWN) {
        println!("      ... and {more} more rows");
    }
}

/// When it was and whom it is about.
fn left(event: &Event, label: Option<&str>, start: Instant) -> String {
    let time = event.at().saturating_duration_since(start).as_secs_f64();
    let session = event.session().map_or(0, SessionId::as_u64);
    let pid = event.pid().map_or(String::new(), |pid| pid.to_string());
    let label = label.unwrap_or_default();
    format!("{time:7.3}s  session {session}  {pid:>8} {label:<10}")
}

/// One event in a few words; `None` for what this example does not show.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what later versions add is not shown either"
)]
fn describe(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::Started => "started".to_owned(),
        EventKind::Signalled { signal, reason } => format!("was sent {signal} ({reason})"),
        EventKind::Escalated { rung } => format!("still there: {rung} is next"),
        EventKind::Exited(exit) => exit.to_string(),
        EventKind::Survived { cause } => format!("SURVIVED: {cause:?}"),
        EventKind::SessionEnding { reason } => format!("ending ({reason})"),
        EventKind::SessionEnded(_) => "ended".to_owned(),
        EventKind::Lagged(lagged) => format!("{} events were lost", lagged.missed()),
        _ => return None,
    })
}

/// The crowd's events, counted: a hundred lines that say the same help nobody.
#[derive(Default)]
struct Tally(Vec<(String, usize, Event)>);

impl Tally {
    fn add(&mut self, event: &Event, what: String) {
        match self.0.iter_mut().find(|(seen, ..)| *seen == what) {
            Some((_, count, last)) => {
                *count += 1;
                *last = event.clone();
            }
            None => self.0.push((what, 1, event.clone())),
        }
    }

    fn print(&mut self, start: Instant) {
        for (what, count, last) in self.0.drain(..) {
            let who = format!("... x {count}");
            println!("{} {what}", left(&last, Some(&who), start));
        }
    }
}

/// Those who live and descend from this process.
fn ours(all: &[Seen]) -> Vec<Seen> {
    let mut families = vec![std::process::id()];
    let mut ours = Vec::new();
    while let Some(parent) = families.pop() {
        let children = all.iter().filter(|seen| seen.parent == parent);
        for child in children.filter(|child| !child.is_zombie) {
            families.push(child.pid);
            ours.push(child.clone());
        }
    }
    ours
}

//! Keeps services running: one that exits is started again, later and later while it goes on failing, and given up after
//! a few times. One loop over exits, timers and the host's own stop: one `select!`.
//!
//! ```sh
//! cargo run --example restart
//! ```
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use procession::channel;
use procession::{
    Event, EventKind, EventMask, Exit, ProcessId, Registry, Session, SessionOptions, SpawnOptions,
    StopPolicy,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Failures in a row after which a service is given up.
const PATIENCE: u32 = 5;
/// A service that has run for so long was well: its next failure counts as the first.
const WELL_AFTER: Duration = Duration::from_secs(1);
/// How long this host lives. Another one would live until a signal or a request.
const LIFE: Duration = Duration::from_secs(2);

/// One service, and what is known of its health.
struct Service {
    name: &'static str,
    script: &'static str,
    failures: u32,
    state: State,
}

enum State {
    Running(ProcessId),
    /// To be started again at this time.
    Due(Instant),
    GivenUp,
}

impl Service {
    fn new(name: &'static str, script: &'static str) -> Self {
        Self {
            name,
            script,
            failures: 0,
            state: State::GivenUp,
        }
    }

    fn start(&mut self, session: &Session) -> procession::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", self.script]);
        let label = SpawnOptions::new().label(self.name);
        let process = session.spawn_with(&mut command, &label)?;
        println!("{:<7} started, pid {}", self.name, process.pid());
        self.state = State::Running(process.id());
        Ok(())
    }

    /// Decides what comes after an exit: another start, later and later up to a limit, or none.
    fn exited(&mut self, exit: &Exit) {
        if exit.lifetime().is_some_and(|lived| lived >= WELL_AFTER) {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures == PATIENCE {
            println!("{:<7} {exit}, given up after {PATIENCE} times", self.name);
            self.state = State::GivenUp;
            return;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1));
        let pause = doubled.min(LONGEST_PAUSE);
        println!("{:<7} {exit}, again in {pause:?}", self.name);
        self.state = State::Due(exit.at() + pause);
    }

    fn due(&self) -> Option<Instant> {
        if let State::Due(at) = self.state {
            Some(at)
        } else {
            None
        }
    }

    fn runs(&self, process: Option<ProcessId>) -> bool {
        matches!(self.state, State::Running(ours) if Some(ours) == process)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new()?;
    let options = SessionOptions::new()
        .label("services")
        .stop_policy(StopPolicy::graceful());
    let session = registry.open_session(options)?;
    // Nothing but exits, and of this session alone: one channel for any number of services.
    let exits = session.subscribe_to(EventMask::EXITED);
    let stop = channel::after(LIFE);

    let mut services = [
        Service::new("steady", "exec sleep 1000"),
        Service::new("flaky", "sleep 0.3; exit 1"),
        Service::new("broken", "exit 7"),
    ];
    for service in &mut services {
        service.start(&session)?;
    }
    loop {
        let next = services.iter().filter_map(Service::due).min();
        let timer = next.map_or_else(channel::never, channel::at);
        channel::select! {
            recv(exits.receiver()) -> event => exited(&event?, &mut services),
            recv(timer) -> now => {
                let now = now?;
                for service in &mut services {
                    if service.due().is_some_and(|due| due <= now) {
                        service.start(&session)?;
                    }
                }
            }
            recv(stop) -> _ => break,
        }
    }

    let running = services
        .iter()
        .filter(|s| matches!(s.state, State::Running(_)));
    println!("stopping: {} still running", running.count());
    println!("{}", session.end()?.into_clean()?);
    Ok(())
}

/// Finds the service whose process it was.
fn exited(event: &Event, services: &mut [Service]) {
    let service = services.iter_mut().find(|s| s.runs(event.process()));
    if let (EventKind::Exited(exit), Some(service)) = (event.kind(), service) {
        service.exited(exit);
    }
}

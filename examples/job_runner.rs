//! Runs many jobs, a few at a time: their output is captured, each has a time limit, the first that fails ends all others.
//! Ctrl-C once asks everybody to leave and shows who is still there; Ctrl-C twice kills.
//!
//! ```sh
//! cargo run --example job_runner
//! cargo run --example job_runner -- bad         # one of them fails
//! cargo run --example job_runner -- late        # one of them takes too long
//! cargo run --example job_runner -- stubborn    # they ignore SIGTERM: press Ctrl-C twice
//! ```
//!
//! The exit code is 0 if all jobs succeeded, 1 if one failed, 130 after Ctrl-C.
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession::channel::{self, Receiver, Sender};
use procession::{
    Collector, ErrorKind, Exit, Limits, Output, Process, Reason, Registry, SpawnOptions, StopPolicy,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Jobs that run at once.
const AT_ONCE: usize = 3;
/// A job may run for so long. Its output until then is kept.
const TIME_LIMIT: Duration = Duration::from_secs(1);
/// Of each pipe of each job; what a job says beyond that is thrown away, and it is said that it was.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// All jobs: one session, ended as one.
const JOBS: u64 = 1;

const GOOD: [(&str, &str); 7] = [
    ("compile", "echo compiling; sleep 0.2"),
    ("lint", "echo 'warning: long line' >&2"),
    ("test a", "sleep 0.1; echo 12 tests passed"),
    ("test b", "sleep 0.3; echo 30 tests passed"),
    ("noisy", "yes | head -c 200000"),
    ("daemon", "echo left one behind; sleep 2 & exit 0"),
    ("docs", "echo done"),
];
const BAD: [(&str, &str); 4] = [
    ("slow", "echo waiting for a server; exec sleep 1000"),
    ("fine", "echo fine"),
    ("hangs", "trap '' TERM; sleep 1000 & wait; wait"),
    ("fails", "sleep 0.2; echo 'assertion failed' >&2; exit 101"),
];
const LATE: [(&str, &str); 2] = [
    ("quick", "echo quick"),
    ("late", "echo half way; exec sleep 1000"),
];
const STUBBORN: [(&str, &str); 3] = [
    (
        "deaf 1",
        "trap '' TERM; echo up; while :; do sleep 1000; done",
    ),
    (
        "deaf 2",
        "trap '' TERM; echo up; while :; do sleep 1000; done",
    ),
    ("polite", "echo up; exec sleep 1000"),
];

/// What the main loop hears of a job.
enum Message {
    Started(&'static str, u32),
    Finished(&'static str, Exit, Output),
    /// It could not be started or watched.
    Failed(&'static str, procession::Error),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let jobs: &[(&'static str, &'static str)] = match std::env::args().nth(1).as_deref() {
        None | Some("good") => &GOOD,
        Some("bad") => &BAD,
        Some("late") => &LATE,
        Some("stubborn") => &STUBBORN,
        Some(other) => return Err(format!("no such jobs: {other}").into()),
    };
    let registry = Registry::builder()
        .limits(Limits::NONE.processes(AT_ONCE))
        .stop_policy(StopPolicy::graceful())
        .build()?;
    let (interrupts, signals, listener) = listen()?;
    let (tell, messages) = channel::unbounded();
    let starter = start_all(registry.clone(), jobs, tell);

    let mut missing = jobs.len();
    let mut code = 0;
    while missing > 0 && code == 0 {
        channel::select! {
            recv(messages) -> message => match message? {
                Message::Started(name, pid) => println!("{name:<8} started, pid {pid}"),
                Message::Finished(name, exit, output) => {
                    missing -= 1;
                    show(name, &exit, &output);
                    if !exit.success() {
                        println!("{name} failed: ending all others");
                        code = 1;
                    }
                }
                Message::Failed(name, error) => {
                    println!("{name} could not be run: {error}");
                    code = 1;
                }
            },
            recv(interrupts) -> _ => {
                println!("Ctrl-C: ending {missing} jobs; once more kills them");
                code = 130;
            }
        }
    }

    let policy = if code == 1 {
        // Nobody is interested in them any more. The confirmation has its time first: five seconds, unless said otherwise.
        StopPolicy::graceful()
            .confirm_within(Duration::from_secs(1))
            .within(Duration::from_secs(2))
    } else {
        registry.stop_policy().clone()
    };
    end(&registry, &interrupts, &policy)?;
    // Told by now that there is no registry any more.
    starter
        .join()
        .map_err(|_| "the thread that starts panicked")?;
    for message in &messages {
        if let Message::Finished(name, exit, output) = message {
            show(name, &exit, &output);
        }
    }
    signals.close();
    listener
        .join()
        .map_err(|_| "the thread that listens panicked")?;
    Ok(ExitCode::from(code))
}

/// Ends all jobs, with progress, and in haste if asked once more. They may all have gone, and have left somebody behind.
fn end(
    registry: &Registry,
    interrupts: &Receiver<()>,
    policy: &StopPolicy,
) -> Result<(), Box<dyn Error>> {
    let shutdown = registry.begin_shutdown(policy)?;
    loop {
        channel::select! {
            recv(shutdown.receiver()) -> report => match report {
                Ok(report) => println!("{}", report.into_clean()?),
                // Disconnected after the last.
                Err(_) => break,
            },
            recv(interrupts) -> _ => {
                println!("Ctrl-C again: killing");
                shutdown.harden(&StopPolicy::immediate())?;
            },
            recv(channel::after(Duration::from_millis(500))) -> _ => {
                for session in shutdown.remaining()? {
                    println!("still running: {}", session.processes);
                }
            }
        }
    }
    Ok(())
}

/// Starts one job after the other, each as soon as there is a slot for it. Ends when all are started, or nothing can be.
fn start_all(
    registry: Registry,
    jobs: &'static [(&'static str, &'static str)],
    tell: Sender<Message>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        thread::scope(|scope| {
            for &(name, script) in jobs {
                let (process, collector) = match start(&registry, name, script) {
                    Ok(started) => started,
                    // The others are being ended, for a reason that the main loop knows.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::ShutDown | ErrorKind::SessionEnding
                        ) =>
                    {
                        return;
                    }
                    Err(error) => return say(&tell, Message::Failed(name, error)),
                };
                say(&tell, Message::Started(name, process.pid()));
                let tell = &tell;
                scope.spawn(move || {
                    let finished = finish(&process, collector);
                    say(
                        tell,
                        match finished {
                            Ok((exit, output)) => Message::Finished(name, exit, output),
                            Err(error) => Message::Failed(name, error),
                        },
                    );
                });
            }
        });
    })
}

fn start(
    registry: &Registry,
    name: &'static str,
    script: &str,
) -> procession::Result<(Process, Collector)> {
    let options = SpawnOptions::new()
        .label(name)
        .time_limit(TIME_LIMIT)
        .slot_timeout(Duration::MAX);
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = registry.spawn_with(JOBS, &mut command, &options)?;
    // Before the pipes can be full.
    let collector = process.collect_output(OUTPUT_LIMIT)?;
    Ok((process, collector))
}

/// Waits for the exit, and never for whoever still holds a pipe.
fn finish(process: &Process, collector: Collector) -> procession::Result<(Exit, Output)> {
    let output = collector.finish()?;
    Ok((process.wait()?, output))
}

fn say(tell: &Sender<Message>, message: Message) {
    // The main loop holds the other end until this thread is joined.
    drop(tell.send(message));
}

fn show(name: &str, exit: &Exit, output: &Output) {
    let why = match exit.asked() {
        Some((_, Reason::TimeLimit)) => " (it took too long)",
        Some(_) => " (it was ended)",
        None => "",
    };
    println!("{name:<8} {exit}{why}");
    for (stream, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().take(3) {
            println!("         {stream} | {line}");
        }
    }
    if output.truncated {
        println!("         it said more than {OUTPUT_LIMIT} bytes");
    }
    if output.still_open {
        println!("         it left somebody behind, who holds its output");
    }
}

/// A channel that gets a message for each Ctrl-C or SIGTERM.
fn listen() -> std::io::Result<(Receiver<()>, Handle, JoinHandle<()>)> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let (sender, interrupts) = channel::unbounded();
    let listener = thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    Ok((interrupts, handle, listener))
}

//! A host of agents: numbered conversations, each a session with an agent and the tool that the agent has started; a reaper
//! that ends the conversations that are closed; and at its start an end of what an earlier run left behind, by recovery, and of
//! what never had a mark, by a rule.
//!
//! ```sh
//! cargo run --example agent_host             # the whole story, with a host that is killed and started again
//! cargo run --example agent_host -- serve    # the host alone: open 7, close 7, list, and the end of input
//! ```
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

mod system;

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use procession::{
    EventKind, EventMask, OrphanRule, Reaper, ReaperOptions, Registry, SessionOptions, Signal,
    StopPolicy, Subscription, SystemProcess,
};

/// Whatever a conversation starts has this in its environment, and so has what that starts: it says, for a rule, which of
/// several hosts on this machine it belongs to. The arguments say it too, for a look at what the system shows.
const HOST: &str = "AGENT_HOST";

/// How long a closed conversation may go on before the reaper sees to it.
const INTERVAL: Duration = Duration::from_millis(200);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => story(),
        ["serve"] => serve("by hand"),
        ["serve", name] => serve(name),
        ["agent", "--conversation", _, "of", name] => agent(name),
        ["tool", "of", _] => tool(),
        _ => Err("usage: agent_host [serve [NAME]]".into()),
    }
}

// ---- the host

/// What the host is about: the conversations that are open. It is the only truth about them; the registry has the processes.
type Open = Arc<Mutex<HashSet<u64>>>;

fn serve(name: &str) -> Result<ExitCode> {
    let scratch = scratch(name);
    fs::create_dir_all(&scratch)?;
    let registry = Registry::builder()
        // What this run and the next have in common. Two hosts of one name do not touch each other's while they live.
        .owner_name(format!("agent-host {name}"))
        .ledger(scratch.join("ledger"))
        .stop_policy(StopPolicy::new().signal(Signal::TERM, Duration::from_secs(2)))
        .build()?;
    let events = EventMask::SESSIONS | EventMask::ORPHANS | EventMask::REAPER;
    let events = registry.subscribe_to(events);
    let teller = thread::spawn(move || tell(events));

    recover(&registry)?;
    clear(&registry, name)?;
    let open = Open::default();
    let reaper = reap(&registry, name, &open)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        command(&registry, name, &open, &line?)?;
    }

    println!("end of input: closing everything");
    // First the reaper: what it does not begin any more, the shutdown ends.
    reaper.stop();
    let reports = registry.shutdown()?;
    drop(registry);
    teller
        .join()
        .map_err(|_| "the thread that tells panicked")?;
    let clean = reports.iter().all(procession::SessionReport::is_clean);
    println!("closed, {}", if clean { "clean" } else { "NOT CLEAN" });
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the ledger is. A service has a directory of its own below `/run`.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("agent_host {name}"))
}

/// Ends what an earlier run left, which was killed and could not do it itself.
fn recover(registry: &Registry) -> Result<()> {
    let report = registry.recover()?;
    println!("{report}");
    if !report.is_clean() {
        return Err("something of the earlier run does not die".into());
    }
    Ok(())
}

/// Ends what recovery cannot know: what was started by an older version, say, that marked nothing.
fn clear(registry: &Registry, name: &str) -> Result<()> {
    // With a process its child loses its parent, and is an orphan only then: until nothing is found.
    loop {
        let report = registry.sweep(&left_behind(name))?;
        if report.found() == 0 {
            println!("no orphans");
            return Ok(());
        }
        println!("{report}");
        if !report.is_clean() {
            return Err("an orphan does not die".into());
        }
    }
}

/// The rule of the host: its parent is gone, and it is of a conversation of ours. Each of the two alone would not do. Who has
/// no parent any more can be anybody's daemon, and what is of a conversation can be of one that goes on; not even a second
/// host of this name has to fear it: what carries the mark of a program that lives is left alone.
fn left_behind(name: &str) -> OrphanRule {
    let name = name.to_owned();
    let of_ours = OrphanRule::matching("of our conversations", move |process| {
        is_of_host(process, &name)
    });
    OrphanRule::reparented().and(of_ours)
}

/// Compares values, and searches in none: `1` is no beginning of `10` here.
fn is_of_host(process: &SystemProcess, name: &str) -> bool {
    process.env(HOST).is_some_and(|host| host == name)
}

/// Ends, from now on, the conversations that are not open any more, and what was left without a parent meanwhile.
fn reap(registry: &Registry, name: &str, open: &Open) -> Result<Reaper> {
    let options = ReaperOptions::every(INTERVAL).sweep(left_behind(name));
    let open = Arc::clone(open);
    // If a thread panicked with the table in its hands nobody knows what is in it: nothing is ended for that.
    Ok(registry.start_reaper(options, move || Some(open.lock().ok()?.clone()))?)
}

fn command(registry: &Registry, name: &str, open: &Open, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
    let table = || open.lock().map_err(|_| "the table is lost");
    match (words.next(), number(words.next())) {
        (Some("open"), Some(conversation)) => {
            // In this order: the reaper ends what it finds in the registry and not in the table.
            table()?.insert(conversation);
            start(registry, name, conversation)?;
        }
        (Some("close"), Some(conversation)) => {
            table()?.remove(&conversation);
            println!("conversation {conversation} is closed");
        }
        (Some("list"), None) => list(registry)?,
        (_, _) => println!("open NUMBER, close NUMBER, list"),
    }
    Ok(())
}

fn start(registry: &Registry, name: &str, conversation: u64) -> Result<()> {
    let options = SessionOptions::new()
        .id(conversation)
        .label(format!("conversation {conversation}"));
    let session = registry.open_session(options)?;
    let mut agent = Command::new(std::env::current_exe()?);
    agent.args(["agent", "--conversation", &conversation.to_string()]);
    agent.args(["of", name]);
    // What a person reads in the reports.
    agent.arg0("agent_host");
    agent.env(HOST, name).stdin(Stdio::null());
    let agent = session.spawn(agent.stdout(Stdio::piped()))?;
    // It says when its tool runs.
    if let Some(stdout) = agent.take_stdout() {
        BufReader::new(stdout).lines().next();
    }
    println!("conversation {conversation} is open, agent {}", agent.pid());
    Ok(())
}

fn list(registry: &Registry) -> Result<()> {
    for session in registry.sessions()? {
        println!(
            "conversation {}: {} processes, {:.1}s",
            session.id,
            session.processes,
            session.age.as_secs_f64()
        );
    }
    Ok(())
}

/// Says what happened, as it happens, until the registry is gone.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what later versions add is not shown"
)]
fn tell(events: Subscription) {
    for event in events {
        match event.kind() {
            // What recovery and a sweep end is in a session too, and they have reports of their own.
            EventKind::SessionEnded(_) if matches!(event.label(), Some("sweep" | "recovery")) => {}
            EventKind::SessionEnded(report) => println!("{report}"),
            EventKind::OrphanFound(_) | EventKind::OrphanEnded(_) => println!("{event}"),
            EventKind::ReaperPassed(report) if report.skipped() => println!("{event}"),
            _ => {}
        }
    }
}

/// An agent: starts a tool, says so, and waits for it.
fn agent(name: &str) -> Result<ExitCode> {
    let mut tool = Command::new(std::env::current_exe()?);
    let mut tool = tool.args(["tool", "of", name]).spawn()?;
    println!("ready");
    tool.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// A tool: takes its time.
fn tool() -> Result<ExitCode> {
    thread::park_timeout(Duration::from_secs(300));
    Ok(ExitCode::SUCCESS)
}

// ---- the story

/// Starts the host, lets it work, kills it, and starts it again.
fn story() -> Result<ExitCode> {
    let name = format!("story {}", std::process::id());
    let _scratch = Scratch(scratch(&name));
    println!("--- a host with three conversations, of which one is closed");
    let mut host = Running::start(&name)?;
    for line in ["open 1", "open 10", "open 42"] {
        host.order(line, "is open")?;
    }
    host.order("close 1", "conversation 1 is closed")?;
    host.until("session 1 \"conversation 1\" (reaper)")?;
    println!(
        "    the system: {} processes of it alive",
        living(&name)?.len()
    );

    println!("--- it is killed with SIGKILL, and can do nothing about it");
    host.child.kill()?;
    host.child.wait()?;
    println!(
        "    the system: {} processes of it alive",
        living(&name)?.len()
    );

    println!("--- and there is an orphan that no registry has ever marked");
    let before = living(&name)?.len();
    Command::new("sh")
        .args(["-c", "exec >/dev/null 2>&1; \"$0\" tool of \"$1\" &"])
        .arg(std::env::current_exe()?)
        .arg(&name)
        .env(HOST, &name)
        .status()?;
    // The shell has forked it, and does not wait until it is that program.
    for _ in 0..1000 {
        if living(&name)?.len() > before {
            break;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    println!(
        "    the system: {} processes of it alive",
        living(&name)?.len()
    );

    println!("--- it is started again");
    let mut host = Running::start(&name)?;
    println!(
        "    the system: {} processes of it alive",
        living(&name)?.len()
    );
    host.order("open 10", "is open")?;
    println!("--- and stopped as it should be");
    drop(host.child.stdin.take());
    host.until("closed, ")?;
    let status = host.child.wait()?;

    let left = living(&name)?;
    println!(
        "--- the system: {} processes of it alive {left:?}",
        left.len()
    );
    Ok(if status.success() && left.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A directory that is gone when the story is over.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is not there if no host has come so far.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The host, as another program sees it.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(name: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("its output is a pipe")?;
        let lines = BufReader::new(stdout).lines();
        let mut host = Self { child, lines };
        host.until("ready")?;
        Ok(host)
    }

    fn order(&mut self, line: &str, answer: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or("its input is open")?;
        writeln!(stdin, "{line}")?;
        self.until(answer)
    }

    /// Shows what it says until it says this.
    fn until(&mut self, what: &str) -> Result<()> {
        for line in &mut self.lines {
            let line = line?;
            println!("    {line}");
            if line.contains(what) {
                return Ok(());
            }
        }
        Err(format!("the host ended before it said {what:?}").into())
    }
}

/// The living processes that a host of this name has brought about.
fn living(name: &str) -> Result<Vec<u32>> {
    let its = format!(" of {name}");
    let all = system::processes()?.into_iter();
    let living = all.filter(|seen| !seen.is_zombie && seen.command.ends_with(&its));
    Ok(living.map(|seen| seen.pid).collect())
}

//! What a wrapper leaves behind, and how much of it each containment tier ends: a stubborn server, a double-forked daemon, an
//! escapee with a session of its own, a small fork bomb, a grandchild that holds the standard output. All of them are
//! this program, started again in a role; each has a connection to this one, which
//! ends with it: they are counted by that, not by what the library says.
//!
//! ```sh
//! cargo run --example process_tree
//! cargo run --example process_tree -- /sys/fs/cgroup/delegated    # where cgroups may be made
//! ```
//!
//! What the weakest tier leaves, as it says that it does, this program ends itself. The exit code is 1 if anything is
//! left after that, or if a tier left what its report says is gone.
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use procession::channel::{self, Receiver};
use procession::{
    Builder, Containment, ErrorKind, Process, Registry, SessionReport, Signal, StopPolicy,
};

/// After this every process of the tree leaves by itself, whatever became of this program.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_millis(300);
const SESSION: u64 = 1;

/// Each of the bomb starts two more, down to so many generations.
const GENERATIONS: u32 = 4;
const BOMB_SIZE: usize = (1 << (GENERATIONS + 1)) - 1;

const TIERS: [Containment; 4] = [
    Containment::Leader,
    Containment::Group,
    Containment::Subreaper,
    Containment::Cgroup,
];

/// Who is in the tree, what is special about it, and how many there are of it.
const CAST: [(&str, &str, usize); 6] = [
    ("wrapper", "the child of this program; obeys SIGTERM", 1),
    ("server", "ignores SIGTERM, stays in the wrapper's group", 1),
    (
        "daemon",
        "forked twice: a session of its own, no environment, its parent is gone",
        1,
    ),
    ("escapee", "a session of its own", 1),
    (
        "holder",
        "holds the wrapper's standard output, its parent is gone",
        1,
    ),
    (
        "bomb",
        "each starts two more, to a depth of four",
        BOMB_SIZE,
    ),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [word, socket, role, rest @ ..] if word == "role" => {
            play(Path::new(socket), role, rest.first().map(String::as_str))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let policy = StopPolicy::new().signal(Signal::TERM, GRACE).kill();
    let size: usize = CAST.iter().map(|(.., count)| count).sum();
    println!("The tree, {size} processes, ended by {policy}:\n");
    for (name, what, count) in CAST {
        println!("  {count:>2}  {name:<8} {what}");
    }
    let mut runs = Vec::new();
    for tier in TIERS {
        let builder = builder(tier, args.first().map(String::as_str));
        runs.push((tier, run(builder, &policy, size)?));
    }
    print_fates(&runs);
    print_ends(&runs);
    let good = |run: &Run| match run {
        Run::NotHere(_) => true,
        Run::Ended(ended) => ended.kept_its_word() && ended.nothing_left,
    };
    Ok(if runs.iter().all(|(_, run)| good(run)) {
        println!("\nNothing is left of any of them.");
        ExitCode::SUCCESS
    } else {
        println!("\nSomething is left that should not be.");
        ExitCode::FAILURE
    })
}

/// What came of one tier.
enum Run {
    /// Why it does not work here.
    NotHere(String),
    Ended(Ended),
}

struct Ended {
    report: SessionReport,
    /// Everybody, with whether it was alive when the report was there.
    members: Vec<(Member, bool)>,
    /// Whether the wrapper's standard output had ended then.
    output_ended: bool,
    /// After this program has ended what was left over: everybody is dead, and the pipe that all of them held has ended.
    nothing_left: bool,
}

impl Ended {
    fn left_over(&self) -> usize {
        self.members.iter().filter(|(_, alive)| *alive).count()
    }

    /// What is alive was not claimed to be dead.
    fn kept_its_word(&self) -> bool {
        let claimed = self.report.is_clean() && self.report.covers_descendants();
        !claimed || (self.left_over() == 0 && self.output_ended)
    }
}

/// A process of the tree, held by its connection. It never says more than who it is; the end comes with its death.
struct Member {
    name: String,
    pid: u32,
    connection: UnixStream,
}

impl Member {
    fn is_alive(&self) -> io::Result<bool> {
        self.connection.set_nonblocking(true)?;
        let alive = self.is_connected();
        self.connection.set_nonblocking(false)?;
        alive
    }

    fn outlives(&self, limit: Duration) -> io::Result<bool> {
        self.connection.set_read_timeout(Some(limit))?;
        self.is_connected()
    }

    fn is_connected(&self) -> io::Result<bool> {
        loop {
            let error = match (&self.connection).read(&mut [0]) {
                Ok(read) => return Ok(read > 0),
                Err(error) => error,
            };
            let silent = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
            if silent.contains(&error.kind()) {
                return Ok(true);
            }
            if error.kind() == io::ErrorKind::ConnectionReset {
                return Ok(false);
            }
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Has it leave, as all of them do when nobody listens to them.
    fn dismiss(&self) -> io::Result<()> {
        match self.connection.shutdown(Shutdown::Write) {
            // It has left just now.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

/// Where the processes of the tree connect to.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new() -> io::Result<Self> {
        let name = format!("process_tree-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path)?;
        Ok(Self { path, listener })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody has tidied up there.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// The set-up of a registry for this tier.
fn builder(tier: Containment, cgroup: Option<&str>) -> Builder {
    // All children of this program are the registry's, so it may take all orphans.
    let builder = Registry::builder()
        .containment(tier)
        .subreaper(tier == Containment::Subreaper);
    match cgroup {
        Some(directory) => builder.cgroup_parent(directory),
        None => builder,
    }
}

/// Grows the tree under this tier, ends it, and looks who is left.
fn run(builder: Builder, policy: &StopPolicy, size: usize) -> Result<Run, Box<dyn Error>> {
    let registry = match builder.build() {
        Ok(registry) => registry,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Run::NotHere(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    // Launched natively: in its tier before its first instruction.
    let mut command = procession::Command::new(std::env::current_exe()?);
    let socket = Socket::new()?;
    command.arg("role").arg(&socket.path).arg("wrapper");
    command.stdin(procession::Stdio::null());
    command.stdout(procession::Stdio::piped());
    command.stderr(procession::Stdio::piped());
    let wrapper = registry.spawn(SESSION, &mut command)?;
    let (members, output, all_gone) = await_tree(&wrapper, &socket, size)?;

    let report = registry.end_session_with(SESSION, policy)?;
    let mut looked = Vec::new();
    for member in members {
        let alive = member.is_alive()?;
        looked.push((member, alive));
    }
    // The reader needs a moment to be told; a holder that lives holds it for much longer.
    let output_ended = is_told(&output, GRACE);
    for (member, alive) in &looked {
        if *alive {
            member.dismiss()?;
        }
    }
    let ended = is_told(&all_gone, PATIENCE);
    let mut nothing_left = ended;
    for (member, _) in &looked {
        nothing_left &= !member.outlives(PATIENCE)?;
    }
    Ok(Run::Ended(Ended {
        report,
        members: looked,
        output_ended,
        nothing_left,
    }))
}

/// Returns when all have said that they are up, with two ends: that of the wrapper's standard output, and that of its
/// standard error, which all of them hold.
#[expect(clippy::type_complexity, reason = "three things that are used once")]
fn await_tree(
    wrapper: &Process,
    socket: &Socket,
    size: usize,
) -> Result<(Vec<Member>, Receiver<()>, Receiver<()>), Box<dyn Error>> {
    let mut stdout = wrapper.take_stdout().ok_or("no stdout")?;
    let mut stderr = wrapper.take_stderr().ok_or("no stderr")?;
    let output = when_over(move || {
        // It says nothing. What counts is when nobody is left who could.
        io::copy(&mut stdout, &mut io::sink()).unwrap_or_default();
    });
    let all_gone = when_over(move || {
        io::copy(&mut stderr, &mut io::sink()).unwrap_or_default();
    });
    let (tell, come) = channel::unbounded();
    let listener = socket.listener.try_clone()?;
    thread::spawn(move || {
        for connection in listener.incoming().take(size) {
            tell.send(connection).unwrap_or_default();
        }
    });
    let mut members = Vec::new();
    while members.len() < size {
        let connection = come
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("only {} of {size} have come up", members.len()))??;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(&connection).read_line(&mut line)?;
        let (name, pid) = line
            .trim_end()
            .split_once(' ')
            .ok_or_else(|| line.clone())?;
        members.push(Member {
            name: name.to_owned(),
            pid: pid.parse()?,
            connection,
        });
    }
    Ok((members, output, all_gone))
}

/// Runs something on a thread of its own. The channel is disconnected when it is over.
fn when_over(run: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (over, told) = channel::bounded(0);
    thread::spawn(move || {
        run();
        drop(over);
    });
    told
}

fn is_told(over: &Receiver<()>, limit: Duration) -> bool {
    matches!(
        over.recv_timeout(limit),
        Err(channel::RecvTimeoutError::Disconnected)
    )
}

/// How each role ended, tier beside tier.
fn print_fates(runs: &[(Containment, Run)]) {
    print!("\n{:<12}", "");
    for (tier, _) in runs {
        print!("{:<20}", tier.to_string());
    }
    println!();
    for (name, _, count) in CAST {
        print!("{name:<12}");
        for (_, run) in runs {
            let fate = match run {
                Run::NotHere(_) => String::from("-"),
                Run::Ended(ended) => fate(ended, name, count),
            };
            print!("{fate:<20}");
        }
        println!();
    }
    print!("{:<12}", "its output");
    for (_, run) in runs {
        let output = match run {
            Run::NotHere(_) => "-",
            Run::Ended(ended) if ended.output_ended => "ended",
            Run::Ended(_) => "HELD OPEN",
        };
        print!("{output:<20}");
    }
    println!();
}

/// How the processes of one role ended, in a few characters.
fn fate(ended: &Ended, name: &str, count: usize) -> String {
    let mut fates: Vec<(String, usize)> = Vec::new();
    for (member, alive) in ended.members.iter().filter(|(it, _)| it.name == name) {
        let reported = ended.report.members().iter();
        let how = match reported.rev().find(|it| it.pid() == member.pid) {
            _ if *alive => String::from("ALIVE"),
            Some(it) => it.how().to_string(),
            None => String::from("gone"),
        };
        match fates.iter_mut().find(|(seen, _)| *seen == how) {
            Some((_, times)) => *times += 1,
            None => fates.push((how, 1)),
        }
    }
    let texts: Vec<String> = fates
        .into_iter()
        .map(|(how, times)| match (count, times) {
            (1, _) => how,
            _ => format!("{times} {how}"),
        })
        .collect();
    texts.join(", ")
}

/// One line for each tier.
fn print_ends(runs: &[(Containment, Run)]) {
    println!(
        "\n{:<10}{:>9}  {:<26}{:<13}LEFT OVER",
        "TIER", "TOOK", "STRENGTH", "DESCENDANTS"
    );
    for (tier, run) in runs {
        let ended = match run {
            Run::NotHere(why) => {
                println!("{:<10}{:>9}  {why}", tier.to_string(), "not here");
                continue;
            }
            Run::Ended(ended) => ended,
        };
        let claimed = if ended.report.covers_descendants() {
            "claimed"
        } else {
            "not claimed"
        };
        let left = match (ended.left_over(), ended.nothing_left) {
            (0, true) => String::from("nothing"),
            (left, true) => format!("{left}, which this program then ended itself"),
            (left, false) => format!("{left}, AND SOMEBODY IS STILL THERE"),
        };
        let took = format!("{:.1} ms", ended.report.took().as_secs_f64() * 1e3);
        let strength = ended.report.strength().to_string();
        println!(
            "{:<10}{took:>9}  {strength:<26}{claimed:<13}{left}",
            tier.to_string()
        );
    }
}

/// What this program does when it is one of the tree.
fn play(socket: &Path, role: &str, argument: Option<&str>) -> Result<(), Box<dyn Error>> {
    match (role, argument) {
        ("wrapper", _) => {
            let started = [
                start(socket, &["server"], false)?,
                start(socket, &["escapee"], false)?,
                start(socket, &["bomb", "0"], false)?,
            ];
            // They leave when they have started theirs: so these become orphans.
            for middle in [
                start(socket, &["leaves", "daemon"], false)?,
                start(socket, &["leaves", "holder"], true)?,
            ] {
                let mut middle = middle;
                middle.wait()?;
            }
            stay(socket, "wrapper")?;
            drop(started);
        }
        ("server", _) => {
            // Somebody else's decision to leave, which nobody looks at.
            let asked = Arc::default();
            signal_hook::flag::register(signal_hook::consts::SIGTERM, asked)?;
            stay(socket, "server")?;
        }
        ("leaves", Some("daemon")) => {
            rustix::process::setsid()?;
            drop(
                own(socket, &["daemon"])?
                    .env_clear()
                    .stdout(Stdio::null())
                    .spawn()?,
            );
        }
        ("leaves", Some(whom)) => drop(start(socket, &[whom], true)?),
        ("escapee", _) => {
            rustix::process::setsid()?;
            stay(socket, "escapee")?;
        }
        ("bomb", Some(generation)) => {
            let generation: u32 = generation.parse()?;
            let next = (generation + 1).to_string();
            let fuses = if generation < GENERATIONS { 2 } else { 0 };
            let started = (0..fuses)
                .map(|_| start(socket, &["bomb", &next], false))
                .collect::<io::Result<Vec<_>>>()?;
            stay(socket, "bomb")?;
            drop(started);
        }
        ("daemon" | "holder", _) => stay(socket, role)?,
        _ => return Err(format!("there is no role {role}").into()),
    }
    Ok(())
}

/// This program in a role.
fn own(socket: &Path, role: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("role").arg(socket).args(role);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Starts a role, which holds the standard error of this one, and the standard output only where that is its part.
fn start(socket: &Path, role: &[&str], holds_output: bool) -> io::Result<Child> {
    let mut command = own(socket, role)?;
    if !holds_output {
        command.stdout(Stdio::null());
    }
    command.spawn()
}

/// Says who it is, and stays until nobody listens, or for its lifetime.
fn stay(socket: &Path, role: &str) -> io::Result<()> {
    let mut connection = UnixStream::connect(socket)?;
    writeln!(connection, "{role} {}", std::process::id())?;
    connection.set_read_timeout(Some(LIFETIME))?;
    // Nothing ever comes: it is the end, or the time.
    connection.read_exact(&mut [0]).unwrap_or_default();
    Ok(())
}

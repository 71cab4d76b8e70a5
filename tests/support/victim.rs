//! A host that is killed, what it leaves, and the next run that finds it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::LazyLock;

use procession::{
    Containment, Process, RecoveryReport, Registry, SpawnOptions, StopPolicy, SystemProcess,
};

use super::adversary::{assert_abandoned, await_abandoned};
use super::harness::TOKEN;
use super::pipes::{pipe, role};
use super::platform::Pinned;
use super::platform::world::status_field;
use super::reports::Works as _;
use super::roles::{await_end_of_input, say};
use super::scratch::Scratch;
use super::tree::native;
use super::wait::eventually;

/// The owner's name of all hosts of one test, but for those that are somebody else: other tests have hosts, too.
pub(crate) fn name() -> &'static str {
    static NAME: LazyLock<String> =
        LazyLock::new(|| format!("recovery-{}", std::env::var(TOKEN).unwrap_or_default()));
    &NAME
}

pub(crate) fn builder(name: &str, ledger: &str) -> procession::Builder {
    let builder = super::builder().owner_name(name);
    if ledger == "-" {
        builder
    } else {
        builder.ledger(ledger)
    }
}

/// A host that does what its arguments say, one after the other, and stays until its input ends:
///
/// | argument | what |
/// | --- | --- |
/// | `unmarked`, `unlimited`, `spares`, `cgroup`, `subreaper` | how its registry is built: without marks, without those in a limit, sparing daemons, of a tier |
/// | `std:ROLE`, `native:ROLE` | starts a role in a session of its own, the first in session 1, by std's command or natively |
/// | `N=std:ROLE`, `N=native:ROLE`, `N=leader:ROLE` | the same in this session; the last one under the tier `Leader` |
/// | `ROLE,ARGUMENT,..` | a role with arguments |
/// | `end=N`, `detach=N` | ends this session; gives up what was started in it last |
/// | `then` | says that it is up, and waits for a line |
/// | `stays` | stays whatever its input does |
pub(crate) fn victim() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut builder = builder(&arguments[0], &arguments[1]);
    if says("unmarked") {
        builder = builder.marker(false);
    }
    if says("unlimited") {
        builder = builder.limit_mark(false);
    }
    if says("spares") {
        let daemon =
            |process: &SystemProcess| process.args().iter().any(|arg| arg == "role:daemon");
        builder = builder.spare(daemon);
    }
    if says("cgroup") {
        builder = builder.containment(Containment::Cgroup);
    }
    if says("subreaper") {
        builder = builder.subreaper(true).containment(Containment::Subreaper);
    }
    let registry = builder.build().works();
    let mut script = Script {
        registry,
        session: 0,
        latest: HashMap::new(),
    };
    arguments[2..].iter().for_each(|what| script.run(what));
    say("up");
    if says("stays") {
        loop {
            std::thread::park();
        }
    }
    await_end_of_input();
}

/// What a host is told to do.
struct Script {
    registry: Registry,
    session: u64,
    latest: HashMap<u64, Process>,
}

impl Script {
    fn run(&mut self, what: &str) {
        if what == "then" {
            say("up");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("a pipe");
            return;
        }
        match (what.split_once('='), what.split_once(':')) {
            (Some(("end", session)), _) => {
                let policy = StopPolicy::immediate();
                let ended = self.registry.end_session_with(number(session), &policy);
                drop(ended.works());
            }
            (Some(("detach", session)), _) => {
                self.latest[&number(session)].detach().works();
            }
            (Some((session, what)), _) => self.start(number(session), what),
            (None, Some(_)) => {
                self.session += 1;
                self.start(self.session, what);
            }
            (None, None) => {}
        }
    }

    fn start(&mut self, session: u64, what: &str) {
        let (how, program) = what.split_once(':').expect("how and what");
        let mut words = program.split(',');
        let program = words.next().expect("a role");
        let args: Vec<&str> = words.collect();
        let leader = SpawnOptions::new().containment(Containment::Leader);
        let registry = &self.registry;
        let started = match how {
            "std" => registry.spawn(session, role(program).args(args)),
            "native" => registry.spawn(session, native(program).args(args)),
            "leader" => registry.spawn_with(session, native(program).args(args), &leader),
            other => panic!("nothing is started {other}"),
        };
        self.latest.insert(session, started.works());
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a session's number")
}

/// A host and the pipe that all that it starts holds.
pub(crate) struct Host {
    pub(crate) child: Child,
    pub(crate) output: BufReader<File>,
    pub(crate) pids: Vec<u32>,
}

impl Host {
    /// Starts one, and returns when it and all that it starts are up: so many of these say their pids.
    pub(crate) fn start(name: &str, ledger: &str, what: &[&str]) -> Self {
        let mut command = role("victim");
        command.args([name, ledger]).args(what);
        let mut host = Self::of(&mut command);
        let parts = what.split(|what| *what == "then");
        for (at, part) in parts.enumerate() {
            if at > 0 {
                host.proceed();
            }
            let programs = part.iter().filter(|what| what.contains(':')).count();
            host.await_up(host.pids.len() + programs);
        }
        let forgetful = |what: &&&str| what.contains("thorough") || what.contains("vanishing");
        let forgetful = what.iter().filter(forgetful).count();
        eventually("those that forget have forgotten", || {
            let has = |pid: &&u32| status_field(pid, "Name").is_some_and(|name| name == "sleep");
            host.pids.iter().filter(has).count() == forgetful
        });
        host
    }

    pub(crate) fn of(command: &mut std::process::Command) -> Self {
        let (output, writer) = pipe();
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::from(writer))
            .spawn()
            .expect("a role can be started");
        // The command holds the pipe too.
        command.stdout(Stdio::null());
        Self {
            child,
            output: BufReader::new(output),
            pids: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self
            .output
            .read_line(&mut line)
            .expect("a pipe can be read");
        assert!(read > 0, "the host ended without saying what it had to");
        line.trim_end().to_owned()
    }

    pub(crate) fn await_up(&mut self, programs: usize) {
        let mut up = false;
        while !up || self.pids.len() < programs {
            match self.line().as_str() {
                "up" => up = true,
                "ready" => {}
                pid => self.pids.push(pid.parse().expect("a role says its pid")),
            }
        }
    }

    /// Lets it go on behind its `then`.
    pub(crate) fn proceed(&mut self) {
        let input = self.child.stdin.as_mut().expect("it is a pipe");
        input.write_all(b"\n").expect("it waits for it");
    }

    /// The one that said its pid as this many after the first.
    #[track_caller]
    pub(crate) fn pinned(&self, at: usize) -> Pinned {
        Pinned::open(self.pids[at]).expect("it lives")
    }

    /// SIGKILL, to it alone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    #[track_caller]
    pub(crate) fn assert_gone(&mut self) {
        assert_abandoned(self.output.get_mut());
    }

    /// What is left of it is ended by the pid that it said.
    pub(crate) fn clear_away(mut self) {
        if self.child.try_wait().expect("it is our child").is_none() {
            self.kill();
        }
        for pid in std::mem::take(&mut self.pids) {
            if let Ok(pinned) = Pinned::open(pid) {
                pinned.kill();
            }
        }
        await_abandoned(self.output.get_mut());
    }
}

/// A path for a ledger of this test's own.
pub(crate) fn scratch() -> Scratch {
    Scratch::new("ledger", b"", 0o600)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("it is ours")
}

pub(crate) fn recover_as(name: &str, ledger: &str) -> (Registry, RecoveryReport) {
    let registry = builder(name, ledger)
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover().works();
    (registry, report)
}

#[track_caller]
pub(crate) fn clean(report: &RecoveryReport) {
    assert!(report.is_clean(), "not clean:\n{report}");
}

/// What was detached is for its parent to bury.
pub(crate) fn bury(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(pid, options).expect("it is our child");
}

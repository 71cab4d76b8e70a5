//! Real daemons and trees, started as their users start them, under every tier that works here.
//!
//! Several of them fork twice, call `setsid`, close what they were given, overwrite their environment or change their user.
//! Each runs in a directory of its own and listens there, on no port. That is also how its processes are known without
//! the library: by a path below it in their arguments, their environment, their open files, or as where they are.
//!
//! | tier | guaranteed | not |
//! | --- | --- | --- |
//! | `Leader` | the launched process is dead | everything else: what has daemonised lives on, and the report claims nothing |
//! | `Group`, launched by us | all of them are dead: none takes its limit mark off | it is observed, not proven: one could |
//! | `Group`, by std's command | all that were marked in time are dead | nginx, which overwrites its environment, if it forks before the limit is set: seen on a busy machine |
//! | `Subreaper` | all are dead, whatever they have done to themselves | it is proven only if all children of the host are ended |
//! | `Cgroup`, launched by us | the same | it is proven only if nobody in it may move itself out |
//! | `Cgroup`, by std's command | all that were moved in time are dead | nginx, as under `Group` |

mod support;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use procession::{
    Builder, Command, Containment, ErrorKind, Means, Proof, Registry, SessionReport, Signal,
    StopPolicy, Strength,
};

use support::{
    LONG_ENOUGH, Pinned, Works, clean, eventually, holds_within, numbers_in, program, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(nginx_is_ended_with_its_session).needs_program("nginx"),
            test!(redis_is_ended_with_its_session).needs_program("redis-server"),
            test!(postgres_is_ended_with_its_session).needs_program("pg_ctl"),
            test!(tmux_is_ended_with_its_session).needs_program("tmux"),
            test!(ssh_agent_is_ended_with_its_session).needs_program("ssh-agent"),
            test!(gpg_agent_is_ended_with_its_session).needs_program("gpg-connect-agent"),
            test!(dbus_is_ended_with_its_session).needs_program("dbus-daemon"),
            test!(gunicorn_is_ended_with_its_session).needs_program("gunicorn"),
            test!(chromium_is_ended_with_its_session).needs_program("chromium"),
        ],
        &[],
    )
}

// ---------------------------------------------------------------- the programs

/// Two workers, which have another user than the master where that is root.
fn nginx_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "nginx",
        prepare: |home| {
            fs::write(home.join("conf"), nginx_configuration(home)).expect("it is ours");
        },
        arguments: |home| words(&["-p", &text(home), "-c", &text(&home.join("conf"))]),
        is_up: |home| home.join("pid").exists(),
        processes: 3,
        ..Daemon::default()
    });
}

fn nginx_configuration(home: &Path) -> String {
    let home = home.display();
    format!(
        "worker_processes 2;
         pid {home}/pid;
         error_log {home}/error.log;
         events {{ worker_connections 16; }}
         http {{
             access_log off;
             client_body_temp_path {home}/body;
             proxy_temp_path {home}/proxy;
             fastcgi_temp_path {home}/fastcgi;
             uwsgi_temp_path {home}/uwsgi;
             scgi_temp_path {home}/scgi;
             server {{ listen unix:{home}/socket; }}
         }}
        "
    )
}

fn redis_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "redis-server",
        arguments: |home| {
            let home = text(home);
            let socket = format!("{home}/socket");
            let mut arguments = words(&["--daemonize", "yes", "--port", "0", "--save", ""]);
            arguments.extend(words(&["--dir", &home, "--unixsocket", &socket]));
            arguments.extend(words(&["--logfile", &format!("{home}/log")]));
            arguments
        },
        is_up: |home| home.join("socket").exists(),
        ..Daemon::default()
    });
}

/// `pg_ctl` returns when the server is up, and is gone before the session ends. The server refuses to run as root.
fn postgres_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "pg_ctl",
        prepare: |home| {
            let data = text(&home.join("data"));
            let mut command = std::process::Command::new(program("initdb").expect("beside pg_ctl"));
            command.args(["-D", &data, "-A", "trust", "--no-sync", "-E", "UTF8"]);
            command.args(["--locale", "C"]).current_dir(home);
            if let Some(user) = somebody_else() {
                command.uid(user).gid(user);
            }
            let made = command.output().expect("it can be started");
            assert!(made.status.success(), "{made:?}");
        },
        arguments: |home| {
            let options = format!("-c listen_addresses= -k {}", home.display());
            let mut arguments = words(&["start", "-w", "-D", &text(&home.join("data"))]);
            arguments.extend(words(&["-l", &text(&home.join("log")), "-o", &options]));
            arguments
        },
        is_up: |home| home.join(".s.PGSQL.5432").exists(),
        processes: 4,
        user: somebody_else(),
        only_asked: true,
        ..Daemon::default()
    });
}

/// A server, and what runs in it on a terminal of its own.
fn tmux_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "tmux",
        arguments: |home| {
            let socket = text(&home.join("socket"));
            let mut arguments = words(&["-S", &socket, "-f", "/dev/null", "new-session", "-d"]);
            arguments.extend(words(&["-c", &text(home), "sleep 60; sleep 60"]));
            arguments
        },
        is_up: |home| home.join("socket").exists(),
        processes: 2,
        ..Daemon::default()
    });
}

fn ssh_agent_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "ssh-agent",
        arguments: |home| words(&["-s", "-a", &text(&home.join("socket"))]),
        is_up: |home| home.join("socket").exists(),
        ..Daemon::default()
    });
}

/// Nobody starts this one by hand: the first program that needs it does.
fn gpg_agent_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "gpg-connect-agent",
        arguments: |home| words(&["--homedir", &text(home), "/bye"]),
        is_up: |home| home.join("S.gpg-agent").exists(),
        ..Daemon::default()
    });
}

fn dbus_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "dbus-daemon",
        arguments: |home| {
            let address = format!("--address=unix:path={}/socket", home.display());
            words(&["--session", "--fork", "--nopidfile", &address])
        },
        is_up: |home| home.join("socket").exists(),
        ..Daemon::default()
    });
}

fn gunicorn_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "gunicorn",
        prepare: |home| {
            let application =
                "def app(environ, answer):\n    answer('200 OK', [])\n    return []\n";
            fs::write(home.join("application.py"), application).expect("it is ours");
        },
        arguments: |home| {
            let bind = format!("unix:{}/socket", home.display());
            let mut arguments = words(&["--daemon", "--workers", "2", "--chdir", &text(home)]);
            arguments.extend(words(&["--pid", &text(&home.join("pid")), "--bind", &bind]));
            arguments.extend(words(&["application:app"]));
            arguments
        },
        is_up: |home| home.join("pid").exists() && home.join("socket").exists(),
        processes: 3,
        ..Daemon::default()
    });
}

/// No daemon, but a tree: zygotes, renderers, and crash handlers that are to outlive it.
fn chromium_is_ended_with_its_session() {
    under_every_tier(&Daemon {
        program: "chromium",
        arguments: |home| {
            let profile = format!("--user-data-dir={}/profile", home.display());
            let mut arguments = words(&["--headless", "--no-sandbox", "--disable-gpu"]);
            arguments.extend(words(&["--disable-dev-shm-usage", "--no-first-run"]));
            arguments.extend(words(&[
                "--remote-debugging-port=0",
                &profile,
                "about:blank",
            ]));
            arguments
        },
        is_up: |home| home.join("profile/DevToolsActivePort").exists(),
        processes: 4,
        stays: true,
        ..Daemon::default()
    });
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Nobody, where we are root.
fn somebody_else() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(65_534)
}

// ---------------------------------------------------------------- how they are started and ended

/// How a program is started, and what it is then.
struct Daemon {
    program: &'static str,
    prepare: fn(&Path),
    arguments: fn(&Path) -> Vec<String>,
    is_up: fn(&Path) -> bool,
    /// At least so many are there when it is up.
    processes: usize,
    user: Option<u32>,
    /// The process that is launched is one of them, and does not leave when the others are up.
    stays: bool,
    /// It leaves something in the kernel if it is killed.
    only_asked: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            program: "",
            prepare: |_| {},
            arguments: |_| Vec::new(),
            is_up: |_| false,
            processes: 1,
            user: None,
            stays: false,
            only_asked: false,
        }
    }
}

/// By whom it is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Us,
    Std,
}

fn under_every_tier(daemon: &Daemon) {
    let tiers = [
        (Containment::Leader, By::Us),
        (Containment::Group, By::Us),
        (Containment::Group, By::Std),
        (Containment::Subreaper, By::Us),
        (Containment::Subreaper, By::Std),
        (Containment::Cgroup, By::Us),
        (Containment::Cgroup, By::Std),
    ];
    // What leaves nothing behind when it is asked can have one directory for all of its lives, and is prepared once.
    let lasting = daemon.only_asked.then(|| Home::new(daemon));
    let asked = StopPolicy::new().signal(Signal::TERM, Duration::from_secs(5));
    let killed = StopPolicy::immediate();
    for (tier, by) in tiers {
        match builder(tier).build() {
            Ok(registry) => {
                if let Some(home) = &lasting {
                    under(&registry, (tier, by, &asked), daemon, home);
                    continue;
                }
                for policy in [&asked, &killed] {
                    under(&registry, (tier, by, policy), daemon, &Home::new(daemon));
                }
            }
            Err(error) => {
                let not_here = error.kind() == ErrorKind::Unsupported;
                assert!(not_here && tier > Containment::Group, "{tier}: {error}");
                tell(format_args!("{tier}: {error}"));
            }
        }
    }
}

/// The set-up of a registry for this tier.
fn builder(tier: Containment) -> Builder {
    support::builder()
        .containment(tier)
        .subreaper(tier == Containment::Subreaper)
}

fn under(
    registry: &Registry,
    (tier, by, policy): (Containment, By, &StopPolicy),
    daemon: &Daemon,
    home: &Home,
) {
    let log = File::create(home.path.join("said")).expect("it is ours");
    let arguments = (daemon.arguments)(&home.path);
    let found = program(daemon.program).expect("else this test is skipped");
    let launched = match by {
        By::Us => {
            let mut command = Command::new(found);
            command.args(&arguments).current_dir(&home.path);
            command
                .env("HOME", &home.path)
                .stdin(procession::Stdio::null());
            command.stdout(procession::Stdio::from(
                log.try_clone().expect("a descriptor"),
            ));
            command.stderr(procession::Stdio::from(log));
            if let Some(user) = daemon.user {
                command.uid(user).gid(user);
            }
            registry.spawn(1, &mut command)
        }
        By::Std => {
            let mut command = std::process::Command::new(found);
            command.args(&arguments).current_dir(&home.path);
            command
                .env("HOME", &home.path)
                .stdin(std::process::Stdio::null());
            command.stdout(log.try_clone().expect("a descriptor"));
            command.stderr(log);
            if let Some(user) = daemon.user {
                command.uid(user).gid(user);
            }
            registry.spawn(1, &mut command)
        }
    };
    let leader = launched.works();
    let pinned = home.await_all(daemon);
    if !daemon.stays {
        eventually("what was launched has left", || {
            leader.try_wait().works().is_some()
        });
    }
    let report = clean(registry.end_session_with(1, policy).works());
    let living: Vec<&Pinned> = pinned.iter().filter(|pinned| !pinned.is_dead()).collect();
    tell(format_args!(
        "{tier}, by {by:?}, {policy}: {} were there, {} live\n{report}\n",
        pinned.len(),
        living.len()
    ));
    let strength = report.strength();
    let mut as_promised = is_as_promised(strength, tier, by);
    if tier == Containment::Leader {
        // Not guaranteed, and not claimed. A tree may follow its leader all the same.
        as_promised &= !report.covers_descendants();
        // One that had work for a moment alone, as at the start of a database, may have left by itself.
        as_promised &= daemon.stays || !living.is_empty();
    } else {
        as_promised &= report.covers_descendants();
        let mut left = home.processes();
        if by == By::Std && tier != Containment::Subreaper {
            // Limit and cgroup are set a moment after the start. On a busy machine a daemon may be on its way by then;
            // whoever also overwrites its environment has nothing left that could be seen.
            left.retain(|&pid| is_marked(pid));
        }
        as_promised &= left.is_empty();
    }
    let described = home.describe(&report);
    living.iter().for_each(|pinned| end(pinned));
    home.end_all();
    assert!(as_promised, "{tier}, by {by:?}, {policy}: {described}");
}

fn is_as_promised(strength: &Strength, tier: Containment, by: By) -> bool {
    match (tier, by) {
        (Containment::Leader, _) => *strength == Strength::Observed(Means::Leader),
        (Containment::Group, By::Us) => *strength == Strength::Observed(Means::MarkAndGroup),
        (Containment::Group, By::Std) => *strength == Strength::Observed(Means::Group),
        // This process has no other children. But an orphan that cannot be attributed, as a worker of another user, might
        // have been one.
        (Containment::Subreaper, _) => matches!(
            strength,
            Strength::Proven(Proof::NoChildren) | Strength::Observed(Means::Subreaper)
        ),
        // A member that is root, or is moved in after its start, may be elsewhere.
        (Containment::Cgroup, _) => matches!(
            strength,
            Strength::Proven(Proof::CgroupEmpty) | Strength::Observed(Means::Cgroup)
        ),
        _ => false,
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown with a test that fails: what went before"
)]
fn tell(what: impl std::fmt::Display) {
    eprintln!("{what}");
}

/// As its user would: asked first, so that it takes away what it has in the kernel.
fn end(pinned: &Pinned) {
    // It may be gone since it was looked at.
    if pinned.send(rustix::process::Signal::TERM).is_ok()
        && !pinned.dies_within(Duration::from_secs(5))
    {
        pinned.kill();
    }
}

// ---------------------------------------------------------------- whose processes they are

/// A directory that a daemon has for itself, and by which its processes are known.
struct Home {
    path: PathBuf,
    /// Who was there before it, by number and start: there may be thousands, and they are not looked at again and again.
    before: HashSet<(u32, String)>,
}

impl Home {
    fn new(daemon: &Daemon) -> Self {
        // Short: paths of sockets are.
        let name = format!("procession-{}", std::process::id());
        let home = Self {
            path: std::env::temp_dir().join(name),
            before: numbers_in("/proc").into_iter().map(started).collect(),
        };
        fs::create_dir(&home.path).expect("it is not there yet");
        fs::set_permissions(&home.path, fs::Permissions::from_mode(0o700)).expect("it is ours");
        if let Some(user) = daemon.user {
            chown(&home.path, Some(user), Some(user)).expect("root may");
        }
        (daemon.prepare)(&home.path);
        home
    }

    /// Returns when it is up, and all of its processes, held.
    fn await_all(&self, daemon: &Daemon) -> Vec<Pinned> {
        let (mut last, mut in_a_row) = (Vec::new(), 0);
        let up = holds_within(LONG_ENOUGH, || {
            let now = self.processes();
            let settled =
                now == last && (daemon.is_up)(&self.path) && now.len() >= daemon.processes;
            in_a_row = if settled { in_a_row + 1 } else { 0 };
            last = now;
            in_a_row > 5
        });
        let said = fs::read_to_string(self.path.join("said")).unwrap_or_default();
        assert!(up, "not up: {last:?} of {}\n{said}", daemon.processes);
        let pin = |&pid: &u32| Pinned::open(pid).ok();
        last.iter().filter_map(pin).collect()
    }

    /// Whoever lives and has to do with this directory.
    fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        let mut all = numbers_in("/proc");
        all.retain(|&pid| pid != own && !self.before.contains(&started(pid)) && self.is_of_it(pid));
        all
    }

    fn is_of_it(&self, pid: u32) -> bool {
        let at = |what: &str| format!("/proc/{pid}/{what}");
        let mentions = |file: &str| {
            let bytes = fs::read(at(file)).unwrap_or_default();
            let home = self.path.as_os_str().as_bytes();
            bytes.windows(home.len()).any(|part| part == home)
        };
        let is_below =
            |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(&self.path));
        // The dead, and those who are gone since the listing, have none of these.
        let open = fs::read_dir(at("fd")).into_iter().flatten().flatten();
        mentions("cmdline")
            || mentions("environ")
            || is_below(at("cwd").into())
            || open.map(|entry| entry.path()).any(is_below)
    }

    fn describe(&self, report: &SessionReport) -> String {
        let mut text = format!("{report}\nthere now:\n");
        for pid in self.processes() {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
            let mark = limits.lines().find(|line| line.contains("file locks"));
            let command = command.replace('\0', " ");
            let _ = writeln!(text, "  {pid} {command}\n    {}", mark.unwrap_or_default());
        }
        text + &fs::read_to_string(self.path.join("said")).unwrap_or_default()
    }

    /// Ends whoever is still there, and takes the directory away.
    fn end_all(&self) {
        eventually("nobody of it is left", || {
            let left = self.processes();
            let pinned = left.iter().filter_map(|&pid| Pinned::open(pid).ok());
            // Looked at once more, now that it is held.
            let held: Vec<Pinned> = pinned.filter(|it| self.is_of_it(it.pid())).collect();
            held.iter().for_each(end);
            left.is_empty()
        });
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Of a test that fails as well, which has something else to say.
        let removed = fs::remove_dir_all(&self.path);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// A process by its number and when it was started, in clock ticks.
fn started(pid: u32) -> (u32, String) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let start = after_name.split_whitespace().nth(19).unwrap_or_default();
    (pid, start.to_owned())
}

/// Whether a process has a limit mark, of anybody's.
fn is_marked(pid: u32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.contains("file locks"));
    line.is_some_and(|line| !line.contains("unlimited"))
}

//! For embedders: seven hosts, and what each of them wants from this crate.
//!
//! This page holds no code of the library. `examples/stdio_server.rs`, `examples/job_runner.rs`, `examples/restart.rs` and
//! `examples/agent_host.rs` are whole small hosts to begin from; what follows is what differs from host to host, and
//! what goes wrong if a host does not know it.
//!
//! | host | session | tier | policy | pipes |
//! | --- | --- | --- | --- | --- |
//! | [MCP client](#an-mcp-client) | a conversation | `Group` | `stdio_server()` | it reads stdout itself, stderr goes to a file |
//! | [test runner](#a-test-runner) | a test | `Group` | TERM, a short grace | `collect_output` |
//! | [agent host](#an-agent-host) | an agent's turn or workspace | up to `Cgroup`; an editor at the terminal `Leader` | TERM, idle limit | `collect_output` with a small limit |
//! | [build tool](#a-build-tool) | the build | `Group` | `graceful()`, hardened by a second Ctrl-C | `collect_output` |
//! | [language-server manager](#a-language-server-manager) | a workspace | `Group` | its own goodbye, then close stdin, TERM | it reads stdout itself |
//! | [CI agent as pid 1](#a-ci-agent-as-pid-1) | a job | `Cgroup`, or `Subreaper` | TERM within the job's time | to a file |
//! | [daemon with a deadline](#a-daemon-with-a-deadline) | a tenant | up to `Cgroup` | `within` what the init system leaves | its own |
//!
//! `Group` is the default tier. [`Containment::Leader`] is for what has to stay in the terminal's own group: an
//! editor, `sudo`, `ssh`; what those start is neither ended nor claimed. Under `Group` the end of a session finds what
//! its processes have started, also where that has left their groups (a daemon, `setsid`), and ends it with the rest:
//! [`SessionReport::leftovers`] names it. It is found by marks that a program can take off if it means to; where that
//! matters, one of two tiers holds it faster.
//!
//! * [`Containment::Cgroup`], where the host has a cgroup to itself: a service with `Delegate=yes`, a container with a writable
//!   `/sys/fs/cgroup`, anything that runs as root. Each session has its own, so that it does not matter what else the host does.
//!   For a proof, launch by [`Command`] as another user than root and than the owner of the cgroup
//!   ([`Command::uid`]); else the end is observed, which still takes a fork bomb in one go.
//! * [`Containment::Subreaper`], where the host starts nothing but by this registry and sessions end together or one after
//!   another: an agent that runs a job, and is pid 1 of a container perhaps. It needs no right at all, and proves the end of the
//!   last session, for std's [`Command`](std::process::Command) too.
//!
//! Both may be missing on the next machine. [`Builder::containment_up_to`] takes the best that there is, and the report says
//! which claim came of it; [`Builder::containment`] takes this one or fails, for hosts that would rather not run. A tier can also be
//! [a session's](SessionOptions::containment). `examples/process_tree` runs the same hard tree under all four and prints what
//! each one leaves.
//!
//! A daemon that is shared, and is to outlive the session
//! that happened to start it (`gpg-agent`, a build server), is left alone by [`Builder::spare`]. Under `Cgroup` it is moved out
//! of the session's cgroup for that.
//!
//! # What is the same for all
//!
//! One [`Registry`] for the program. It is a handle: clone it to where it is needed, or hand out a
//! [`downgrade`](Registry::downgrade)d one. Its last drop ends everything at once, without grace; a host that wants
//! to be polite calls [`shutdown`](Registry::shutdown) before.
//!
//! A **session** is what is ended together. Take the number from what the host already has (a connection, a job); or
//! take a [`Session`] handle from [`Registry::open_session`], which picks a number itself, carries the label, the
//! policy and the limits, and never means a later life of the same number.
//!
//! ```
//! use procession::{Registry, SessionOptions, Signal, StopPolicy};
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let options = SessionOptions::new()
//!     .label("job 7")
//!     .stop_policy(StopPolicy::new().signal(Signal::TERM, Duration::from_secs(1)));
//! {
//!     // Ended where this block is left, by `?` and by a panic too.
//!     let job = registry.open_session(options)?.end_on_drop();
//!     job.spawn(Command::new("sleep").arg("1000"))?;
//! }
//! assert!(registry.sessions()?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! **What blocks**: `wait`, `stop`, `end*`, `shutdown`, `retain_sessions`, `wait_empty`, [`Collector::finish`], a
//! write to a full [`Stdin`], a spawn with a [`slot_timeout`](SpawnOptions::slot_timeout), and the drop of a
//! [`SessionGuard`] and of the last registry. A main loop that may not block begins an end and selects on its
//! receiver: [`Session::begin_end`], [`Registry::begin_shutdown`], [`Process::exit_receiver`].
//!
//! **Exits** come in three ways. Events are for a loop that looks after many, and may be lost (and are counted) where
//! it does not read. `wait` and `exit_receiver` are for one process and cannot be lost. Reports are for sessions, and
//! the last ones are kept: [`Registry::last_report`] has what a limit ended while nobody listened. [`Exit::asked`]
//! tells a crash from an end: it is `None` if this registry had nothing done to it.
//!
//! # Who drains pipes
//!
//! Nobody, unless it is said who. A child that writes into a pipe which nobody reads stops in it when some 64 KiB are
//! in there: for ever, and quietly. It costs nothing, delays no other, and can be ended like any other; but it does
//! not get on. For each output choose one:
//!
//! * [`Process::collect_output`]: one thread drains both pipes and keeps so many bytes of each.
//! * [`Process::take_stdout`] and [`take_stderr`](Process::take_stderr): the host reads, and goes on reading.
//! * a file, the host's own (`Stdio::inherit`), or `Stdio::null()`.
//!
//! A descendant may hold a pipe long after the exit. So an exit never waits for the end of a pipe, and a host that
//! waits for the end of a pipe waits for that descendant: wait for the exit, or end the session first.
//!
//! ```
//! use procession::Registry;
//! use std::process::{Command, Stdio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let mut command = Command::new("sh");
//! command.args(["-c", "echo hello; sleep 5 &"]);
//! let child = registry.spawn(1, command.stdout(Stdio::piped()))?;
//! let output = child.collect_output(1 << 20)?.finish()?; // not five seconds later
//! assert_eq!(output.stdout, b"hello\n");
//! assert!(output.still_open, "the sleep holds it");
//! assert!(registry.end_session(1)?.is_clean()); // it is in the group, and goes with it
//! # Ok(())
//! # }
//! ```
//!
//! # Orphans
//!
//! There are three kinds, and each has its own answer.
//!
//! * *The host lives, the session is not needed any more*, and somebody forgot to end it. A
//!   [reaper](Registry::start_reaper) asks the host from time to time which sessions are, and ends the others. Name a
//!   session in the host's table first and begin it then.
//! * *The host is dead*, killed with SIGKILL perhaps, and could end nothing. Its next run does, by
//!   [recovery](#after-a-crash), and needs no rule for that.
//! * *Nothing is known of it*: it carries no mark, or the mark of a host that nobody starts again. For these there are
//!   [sweeps](Registry::sweep) by a rule, at the start of a host and in each pass of its reaper.
//!
//! A rule of old is "its parent is pid 1, and its command line contains the name of our server". It ends strangers: an
//! editor with that name in a file's path, the server of another user's host, session 10 for session 1. It misses
//! orphans that came to a subreaper (`systemd --user`, `tini`) instead of pid 1. And where the host itself is pid 1, in a
//! container, it ends all that the host has just started. The same, so that none of this happens:
//!
//! ```
//! use procession::{OrphanRule, Registry, Signal, StopPolicy, SystemProcess};
//! use std::time::Duration;
//!
//! /// What this host starts, and nothing else: each argument is compared as a whole.
//! fn is_our_server(process: &SystemProcess) -> bool {
//!     let args = process.args();
//!     args.len() == 3
//!         && args[0] == "/opt/agent/server"
//!         && args[1] == "--session"
//!         && args[2].to_str().is_some_and(|number| number.parse::<u64>().is_ok())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let rule = OrphanRule::reparented() // to pid 1 or to a subreaper; never where that cannot be told
//!     .and(OrphanRule::matching("our server", is_our_server))
//!     .stop_policy(StopPolicy::new().signal(Signal::TERM, Duration::from_secs(2)));
//!
//! // First what would be ended, and why; then, if that is what was meant, the end.
//! println!("{}", registry.sweep(&rule.clone().dry_run())?);
//! let report = registry.sweep(&rule)?;
//! assert!(report.is_clean(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! What a rule matches is left alone all the same if it belongs to somebody: to a session that lives, of this registry or
//! of another program that does. It is ended like a session: by a ladder, through a pidfd, and counted when the kernel says
//! that it is dead.
//!
//! `examples/agent_host.rs` is a host with numbered conversations, a reaper, and recovery and a sweep at its start, that is
//! killed and started again.
//!
//! # An MCP client
//!
//! A server for each conversation, which speaks line by line over its pipes and leaves when its input ends.
//!
//! * Policy: [`StopPolicy::stdio_server`]. Its first rung closes what [`Process::stdin`] writes to, under whoever is
//!   writing: a thread that is stuck in a full pipe gets [`BrokenPipe`](std::io::ErrorKind::BrokenPipe). What was
//!   taken out by [`Process::take_stdin`] the rung cannot close, and the server then burns the two seconds.
//! * Dropping a [`Stdin`] closes nothing; [`Stdin::close`] does.
//! * Give stderr a file or the host's own. A server that logs into a pipe which nobody reads stops in the middle of a
//!   conversation.
//! * `npx` and its like are wrappers: the server is their child. It is ended with them, in their group or out of it.
//!
//! ```
//! use procession::{Registry, SessionOptions, StopPolicy};
//! use std::io::{BufRead, BufReader, Write};
//! use std::process::{Command, Stdio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let options = SessionOptions::new().stop_policy(StopPolicy::stdio_server());
//! let conversation = registry.open_session(options)?;
//! let mut command = Command::new("cat");
//! let server = conversation.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
//! let mut answers = BufReader::new(server.take_stdout().ok_or("a pipe")?).lines();
//!
//! writeln!(server.stdin().ok_or("a pipe")?, "ping")?;
//! assert_eq!(answers.next().transpose()?.as_deref(), Some("ping"));
//! assert!(conversation.end()?.is_clean());
//! assert!(server.wait()?.success(), "it left at the end of its input");
//! # Ok(())
//! # }
//! ```
//!
//! # A test runner
//!
//! A session for each test, as many at once as there are cores, a time limit for each.
//!
//! * [`Limits::processes`] with [`SpawnOptions::slot_timeout`]`(Duration::MAX)` is the queue: threads that spawn wait
//!   for a slot, first come first served. A slot is free when the death is confirmed.
//! * [`SpawnOptions::time_limit`] stops the test's process and its group; [`SessionOptions::time_limit`] ends the
//!   whole session. The exit's [`asked`](Exit::asked) has the reason [`TimeLimit`](Reason::TimeLimit), and what the
//!   test said before that is kept.
//! * A test that leaves something behind shows in [`Output::still_open`] and in the report's
//!   [`leftovers`](SessionReport::leftovers), and what it left goes with the session.
//!
//! ```
//! use procession::{Limits, Reason, Registry, SpawnOptions};
//! use std::process::{Command, Stdio};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::builder().limits(Limits::NONE.processes(8)).build()?;
//! let options = SpawnOptions::new()
//!     .label("tests::hangs")
//!     .slot_timeout(Duration::MAX)
//!     .time_limit(Duration::from_millis(200));
//! let mut command = Command::new("sh");
//! command.args(["-c", "echo so far, so good; exec sleep 1000"]);
//! let test = registry.spawn_with(1, command.stdout(Stdio::piped()), &options)?;
//! let output = test.collect_output(1 << 20)?.finish()?;
//! let exit = test.wait()?;
//! assert!(matches!(exit.asked(), Some((_, Reason::TimeLimit))));
//! assert_eq!(output.stdout, b"so far, so good\n");
//! # Ok(())
//! # }
//! ```
//!
//! # An agent host
//!
//! Starts whatever an agent thinks of, for hours, in workspaces that come and go.
//!
//! * [`SessionOptions::idle_limit`] ends a workspace that nobody uses; [`Session::touch`] and each spawn begin it
//!   anew. What its processes do does not count as use.
//! * [`SessionOptions::max_processes`] for one that starts too much. Descendants are not counted.
//! * [`Builder::containment_up_to`]`(Containment::Cgroup)`: an agent is not hostile, and what it starts may well be.
//! * [`Registry::end_sessions_except`] with the workspaces that the host still knows. The sessions are listed before
//!   the first of them is asked for, so that one which begins meanwhile is not ended. [`Registry::start_reaper`] does
//!   that from time to time, and sweeps for [orphans](#orphans).
//! * An interactive command at the host's terminal: [`SpawnOptions::containment`]`(Containment::Leader)`. In a group
//!   of its own it would be stopped at its first read from the terminal. The price: what it leaves behind is not
//!   ended with it.
//! * Say in the log what a report says. [`SessionReport::into_clean`] makes an error of one that names survivors.
//!
//! ```
//! use procession::{Containment, Registry, SessionOptions, SpawnOptions};
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let open = |name: &str| {
//!     let options = SessionOptions::new().label(name).max_processes(16);
//!     registry.open_session(options.idle_limit(Duration::from_secs(1800)))
//! };
//! let (kept, closed) = (open("kept")?, open("closed")?);
//! kept.spawn(Command::new("sleep").arg("1000"))?;
//! let at_the_terminal = SpawnOptions::new().containment(Containment::Leader);
//! let editor = kept.spawn_with(&mut Command::new("true"), &at_the_terminal)?;
//! assert!(editor.wait()?.success());
//!
//! for report in registry.end_sessions_except([&kept])? {
//!     println!("{}", report.into_clean()?);
//! }
//! assert!(closed.report()?.is_some() && kept.report()?.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! # A build tool
//!
//! One session, many jobs, fail fast, and a person at the keyboard. `examples/job_runner.rs` is one.
//!
//! * Ctrl-C goes to the terminal's group, which the children are not in: the host hears it alone. A host without a
//!   handler dies of it **and leaves its children alive**. So catch SIGINT, SIGTERM and SIGHUP (`signal-hook` into a
//!   channel), and call [`Registry::begin_shutdown`].
//! * The second Ctrl-C is [`Shutdown::harden`]`(&StopPolicy::immediate())`. [`Shutdown::remaining`] is for "waiting
//!   for 3 jobs".
//! * [`std::process::exit`] runs no destructor: leave `main` by returning an [`ExitCode`](std::process::ExitCode), or
//!   shut down first.
//! * [`Status::shell_code`] is what a shell would exit with.
//!
//! ```
//! use procession::{Registry, Signal, StopPolicy};
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let job = registry.spawn(1, Command::new("sh").args(["-c", "trap '' TERM; sleep 1000"]))?;
//! // The first Ctrl-C.
//! let patient = StopPolicy::new().signal(Signal::TERM, Duration::from_secs(60));
//! let shutdown = registry.begin_shutdown(&patient)?;
//! // The second.
//! shutdown.harden(&StopPolicy::immediate())?;
//! for report in shutdown.receiver() {
//!     println!("{report}");
//! }
//! assert!(matches!(job.wait()?.status().shell_code(), Some(137 | 143)));
//! # Ok(())
//! # }
//! ```
//!
//! # A language-server manager
//!
//! A few servers for each workspace that live for days, are restarted when they crash, and want a goodbye in their
//! own protocol.
//!
//! * The goodbye is the host's: it writes `shutdown` and `exit`, and then ends the session by a ladder whose first
//!   rung is [`wait`](StopPolicy::wait) or [`close_stdin`](StopPolicy::close_stdin). Who has left by then is not
//!   troubled by the rest.
//! * To wait for any of many: [`Session::subscribe_to`]`(EventMask::EXITED)`, or crossbeam's
//!   [`Select`](crate::channel::Select) over exit receivers. `examples/restart.rs` has the back-off.
//! * A crash: [`Exit::asked`] is `None` and [`Exit::success`] is false.
//! * End a crashed server's session before it is started again, or start it in a new one: what it left behind goes
//!   with it.
//!
//! ```
//! use procession::{Registry, Signal, StopPolicy};
//! use procession::channel::Select;
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let servers = [
//!     registry.spawn(1, Command::new("sleep").arg("1000"))?,
//!     registry.spawn(1, Command::new("sh").args(["-c", "exit 70"]))?,
//! ];
//! let exits: Vec<_> = servers.iter().map(|server| server.exit_receiver()).collect();
//! let mut select = Select::new();
//! exits.iter().for_each(|exit| {
//!     select.recv(exit);
//! });
//! let ready = select.select();
//! let index = ready.index();
//! let exit = ready.recv(&exits[index])?;
//! assert_eq!((index, exit.code(), exit.asked()), (1, Some(70), None)); // crashed
//!
//! let goodbye = StopPolicy::new()
//!     .wait(Duration::from_millis(100)) // "exit" has been written
//!     .close_stdin(Duration::from_millis(100))
//!     .signal(Signal::TERM, Duration::from_secs(2));
//! assert!(registry.end_session_with(1, &goodbye)?.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! # A CI agent as pid 1
//!
//! Runs strangers' jobs in a container, as its first process.
//!
//! * Orphans of the whole container become its children, zombies when they die. With [`Builder::subreaper`] the registry reaps
//!   them, and [`Containment::Subreaper`] ends them with the last job: what a job has left, however it hides, and what was left by
//!   somebody who was put into the container from outside. The price: the agent starts nothing by any other way, and one
//!   agent with many jobs at once proves the end of the last of them alone. Without it this crate reaps no child that it was not
//!   given: let a small init (`docker run --init`) be pid 1.
//! * [`Containment::Cgroup`] is better for many jobs at once, if the container has a cgroup that may be written to.
//! * Pid 1 has no default signal handlers: without one, SIGTERM does nothing at all, and the container's end is a
//!   SIGKILL for everybody.
//! * Output to a file: a job may write gigabytes, and must not stop when the agent is busy.
//! * A job's time is [`SessionOptions::time_limit`]. A job that daemonises is found and ended with its session under every
//!   tier but `Leader`. One that means to hide, and takes off both marks, is ended by these two tiers alone.
//!
//! ```standalone_crate
//! use procession::{
//!     Containment, EventKind, EventMask, Reason, Registry, SessionOptions, Signal, StopPolicy,
//! };
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::builder()
//!     .subreaper(true)
//!     .containment_up_to(Containment::Subreaper)
//!     .build()?;
//! let options = SessionOptions::new()
//!     .label("job 4711")
//!     .stop_policy(StopPolicy::new().signal(Signal::TERM, Duration::from_secs(1)))
//!     .time_limit(Duration::from_millis(200));
//! let job = registry.open_session(options)?;
//! let events = job.subscribe_to(EventMask::SESSIONS);
//! let _script = job.spawn(Command::new("sleep").arg("1000"))?;
//! // Disconnected after its end.
//! let last = events.receiver().iter().last().ok_or("it has ended")?;
//! if let EventKind::SessionEnded(report) = last.kind() {
//!     assert_eq!((report.reason(), report.is_clean()), (Reason::TimeLimit, true));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A daemon with a deadline
//!
//! Its init system gives it so many seconds after SIGTERM, and then kills it: its children as well, if they are in
//! its cgroup, and mid-sentence.
//!
//! * [`StopPolicy::within`] makes a ladder fit: the confirmation has its time first (five seconds, unless
//!   [`confirm_within`](StopPolicy::confirm_within) says otherwise), then the first rungs, and the last are cut. So
//!   `graceful().within(4 s)` has no grace at all: say how much of the time the confirmation may have.
//! * All sessions end at once: [`StopPolicy::longest`] is the time for everybody, not for each.
//! * What did not die is named in the reports. Exit all the same: nobody can do more.
//! * Each process costs one descriptor, and under `Cgroup` each session six. Compare the soft limit (`ulimit -n`, often 1,024) with what the daemon may
//!   start.
//!
//! ```
//! use procession::{Registry, StopPolicy};
//! use std::process::Command;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! for tenant in 1..=3 {
//!     registry.spawn(tenant, Command::new("sleep").arg("1000"))?;
//! }
//! let left = Duration::from_secs(10);
//! let policy = StopPolicy::graceful()
//!     .confirm_within(Duration::from_secs(1))
//!     .within(left - Duration::from_secs(2)); // to say goodbye in
//! assert_eq!(policy.longest(), Duration::from_secs(6));
//! let stuck: Vec<_> = registry
//!     .shutdown_with(&policy)?
//!     .into_iter()
//!     .filter_map(|report| report.into_clean().err())
//!     .collect();
//! assert!(stuck.is_empty(), "{stuck:?}");
//! # Ok(())
//! # }
//! ```
//!
//! # After a crash
//!
//! A host that dies has no time to end anything. Its next run does that, with two lines at its start:
//!
//! ```
//! use procession::Registry;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ledger = std::env::temp_dir().join(format!("procession-guide-{}", std::process::id()));
//! let registry = Registry::builder()
//!     .owner_name("agent-host")
//!     .ledger(&ledger)
//!     .build()?;
//! let report = registry.recover()?;
//! assert!(report.is_clean(), "{report}");
//! # std::fs::remove_file(&ledger)?;
//! # Ok(())
//! # }
//! ```
//!
//! * The [`owner_name`](Builder::owner_name) is what the two runs have in common: nothing of another name is touched. Without
//!   one it is the name of the executable's file, which an installer may change.
//! * An owner is dead if its pid, start and pidfd say so, and not because it does not answer. Two hosts of one name that run
//!   at once leave each other's processes alone.
//! * The ledger belongs in a directory that outlives the program and not the boot, such as `/run`. It is worth having: without it
//!   a process that has cleared its environment is found only as long as another one of that run still has its own, and
//!   nothing can be [detached](Process::detach). It adds about one in a hundred to a spawn.
//! * A second host with the same file is refused with [`LedgerInUse`](ErrorKind::LedgerInUse), which names the first one's pid.
//! * [`RecoveryPolicy::Adopt`] takes over instead: the sessions come back under their numbers, without pipes. That suits a
//!   host that restarts itself and whose children do not talk to it.
//! * What [`left_alone`](RecoveryReport::left_alone) lists is for a person to look at.
//! * What was in a cgroup of the dead host is found by that, whatever it has done to its marks, and the cgroup is removed. One
//!   that was left empty is seen only below the parent that the next run has as well. What a dead subreaper's host has left, and no mark
//!   names, is not found: its orphans went elsewhere when it died.
//! * What [`spare`](Builder::spare) says yes to is left alone: a shared daemon outlives the host that happened to start it.
//! * A number that lived again is told apart: the report says `7#1` and `7#2`, and of what is taken over the last life keeps
//!   the number.
//! * A child that is to die at once with its host gets a [`parent_death_signal`](Command::parent_death_signal). It reaches that
//!   child and nothing that it has started.
//!
//! # What a host must not do
//!
//! | it does | what happens |
//! | --- | --- |
//! | `waitpid(-1)`, or `waitpid` for a pid that it gave away | it is survived: one `Exited` all the same; the status is known on Linux 6.15 and newer, else [`Status::Unknown`] |
//! | ignore SIGCHLD, or set `SA_NOCLDWAIT` | the same; and a child that dies before it could be looked at is `Unknown` everywhere |
//! | `Child::wait` on what it gave to [`adopt`](Registry::adopt) | it does not compile: the `Child` is gone. One that was waited for before comes back with [`AlreadyExited`](ErrorKind::AlreadyExited) |
//! | `kill` by a pid that it remembers | whoever has the number now is hit. [`Process::signal`] hits this process or nobody |
//! | `std::process::exit`, `abort`, a panic with `panic = "abort"`, a registry in a `static` | no drop: the children live on |
//! | die of SIGINT, SIGTERM or SIGKILL | the children live on; the next run [finds them](#after-a-crash) |
//! | start children from a thread that blocks signals | std's inherit the mask: SIGTERM does nothing, and each end comes to SIGKILL. What [`Command`] starts has an empty one |
//! | `pre_exec`, `uid`, `groups` on std's `Command` | it works, and each spawn copies the host's page tables: slow in a large host. [`Command`] needs that for another user alone |
//! | start a process past a registry with [`subreaper(true)`](Builder::subreaper) | its exit is taken away, and it is ended with the last session |
//! | not read a pipe | the child stops in it; see [above](#who-drains-pipes) |
//! | not read a [`Subscription`] | the newest events are lost, and [`Lagged`] counts them; nobody is delayed |
//! | fork without exec, and go on | the copy does nothing: its drops end nothing, its calls say [`ReactorGone`](ErrorKind::ReactorGone) |
//! | exec itself | the children live on; the descriptors are closed |
//! | call a blocking method from the loop that a child waits for | that host waits for itself: use the receivers |
//! | ignore a report | the compiler says so: it names what is still alive |
//!
//! # Tests of a host
//!
//! Every value that this crate hands out can be made without a process: [`Exit::from_parts`],
//! [`SessionReport::from_parts`], [`Event::from_parts`], [`Error::from_parts`], [`SystemProcess::from_parts`] and so
//! on.
//!
//! ```
//! use procession::{Exit, Reason, Signal, Status};
//! use std::time::Instant;
//!
//! /// What the host under test decides.
//! fn is_restarted(exit: &Exit) -> bool {
//!     exit.asked().is_none() && !exit.success()
//! }
//!
//! let crash = Exit::from_parts(Status::Code(70), None, Instant::now());
//! let asked = Some((Signal::TERM, Reason::Host));
//! let ended = Exit::from_parts(Status::Code(143), asked, Instant::now());
//! assert!(is_restarted(&crash) && !is_restarted(&ended));
//! ```

#[expect(unused_imports, reason = "the names that the page links to")]
use crate::*;

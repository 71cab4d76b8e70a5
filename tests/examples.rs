//! The examples, run as a reader runs them: what they print, how they exit, and that they leave nobody behind.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use support::{Lines, TOKEN, eventually, status_field, test};

fn main() -> ExitCode {
    // Once, in the process that starts the tests: whoever asks for these tests alone has old examples, or none.
    if std::env::var_os(TOKEN).is_none() {
        build();
    }
    support::main(
        &[
            test!(end_session_ends_everybody_and_finds_nobody_left),
            test!(subscribe_hears_of_every_exit),
            test!(stdio_server_talks_notices_a_crash_and_ends_by_eof),
            test!(job_runner_captures_the_output_of_all_jobs),
            test!(job_runner_ends_all_jobs_when_one_fails),
            test!(job_runner_ends_a_job_that_takes_too_long_and_keeps_what_it_said),
            test!(job_runner_leaves_its_jobs_time_after_one_interrupt_and_none_after_two),
            test!(agent_host_ends_what_it_left_when_it_was_killed),
            test!(restart_waits_longer_each_time_and_gives_up),
            test!(process_tree_leaves_nobody_and_says_what_each_tier_leaves),
        ],
        &[],
    )
}

/// The directory of this profile's executables.
fn directory() -> PathBuf {
    let own = std::env::current_exe().expect("an executable has a path");
    let deps = own.parent().expect("it is in a directory");
    deps.parent().expect("and that in the profile's").to_owned()
}

fn build() {
    let directory = directory();
    let name = directory.file_name().and_then(|name| name.to_str());
    let profile = match name {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--offline", "--examples"])
        .args(["--profile", profile, "--target-dir"])
        .arg(directory.parent().expect("a target directory"))
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "the examples do not build");
}

/// An example that runs, and what it prints.
struct Running {
    child: Child,
    lines: Lines,
    so_far: Vec<String>,
}

impl Running {
    fn start(example: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(directory().join("examples").join(example))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example was built");
        let lines = Lines::new(child.stdout.take().expect("a pipe"));
        Self {
            child,
            lines,
            so_far: Vec::new(),
        }
    }

    /// The next line that contains this.
    #[track_caller]
    fn until(&mut self, what: &str) -> String {
        while let Some(line) = self.lines.next() {
            self.so_far.push(line);
            let line = &self.so_far[self.so_far.len() - 1];
            if line.contains(what) {
                return line.clone();
            }
        }
        panic!("it never said {what:?}, but:\n{}", self.so_far.join("\n"));
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), Signal::INT).expect("our child");
    }

    /// All that it said, and its exit code.
    fn finish(mut self) -> (String, Option<i32>) {
        while let Some(line) = self.lines.next() {
            self.so_far.push(line);
        }
        let status = self.child.wait().expect("our child");
        (self.so_far.join("\n"), status.code())
    }
}

/// Runs an example to its end, and looks for these in what it says, in this order.
#[track_caller]
fn says(example: &str, arguments: &[&str], code: i32, wanted: &[&str]) -> String {
    let (text, exit) = Running::start(example, arguments).finish();
    assert_eq!(exit, Some(code), "\n{text}");
    let mut rest = &text[..];
    for what in wanted {
        let Some((_, after)) = rest.split_once(what) else {
            panic!("no {what:?} in the rest of:\n{text}");
        };
        rest = after;
    }
    text
}

fn end_session_ends_everybody_and_finds_nobody_left() {
    says(
        "end_session",
        &[],
        0,
        &[
            "session 2",
            "still there: SIGKILL is next",
            "100 members",
            "the system, before the ends: 10",
            "the system, now: 0 of ours alive [], 0 children",
        ],
    );
}

fn subscribe_hears_of_every_exit() {
    let text = says("subscribe", &[], 0, &["runs as process", "session 1"]);
    for what in [
        "exited with code 0",
        "exited with code 1",
        "exited with code 2",
        "killed by SIGINT",
    ] {
        assert!(text.contains(what), "no {what:?} in:\n{text}");
    }
}

fn stdio_server_talks_notices_a_crash_and_ends_by_eof() {
    let text = says(
        "stdio_server",
        &[],
        0,
        &[
            "alice < hello, from alice? I am process",
            "bob < hello, from bob? I am process",
            "bob ! crashed: killed by SIGSEGV",
            "\"bob\": clean, no members (1 gone before)",
            "bob ! has a new server",
            "bob < goodbye, too?",
            "\"alice\": clean, 1 member",
            "close stdin  exited with code 0",
            "\"bob\": clean, 1 member",
            "close stdin  exited with code 0",
        ],
    );
    assert!(!text.contains("SIGTERM"), "nobody had to be asked:\n{text}");
}

fn job_runner_captures_the_output_of_all_jobs() {
    let text = says("job_runner", &[], 0, &["session 1 (shutdown): clean"]);
    for what in [
        "out | compiling",
        "err | warning: long line",
        "out | 30 tests passed",
        "it said more than 65536 bytes",
        "it left somebody behind, who holds its output",
        "(1 left over, 7 gone before)",
    ] {
        assert!(text.contains(what), "no {what:?} in:\n{text}");
    }
}

fn job_runner_ends_all_jobs_when_one_fails() {
    let wanted = [
        "fails    exited with code 101",
        "err | assertion failed",
        "fails failed: ending all others",
        "session 1 (shutdown): clean, 3 members (1 left over, 2 gone before)",
    ];
    let text = says("job_runner", &["bad"], 1, &wanted);
    for what in [
        "slow     killed by SIGTERM (asked: SIGTERM, shutdown)",
        "out | waiting for a server",
        "hangs    killed by SIGKILL (asked: SIGKILL, shutdown)",
    ] {
        assert!(text.contains(what), "no {what:?} in:\n{text}");
    }
}

fn job_runner_ends_a_job_that_takes_too_long_and_keeps_what_it_said() {
    let wanted = [
        "late     killed by SIGTERM (asked: SIGTERM, time limit) (it took too long)",
        "out | half way",
        "late failed: ending all others",
        "(2 gone before)",
    ];
    says("job_runner", &["late"], 1, &wanted);
}

fn job_runner_leaves_its_jobs_time_after_one_interrupt_and_none_after_two() {
    let mut runner = Running::start("job_runner", &["stubborn"]);
    for name in ["deaf 1", "deaf 2", "polite"] {
        let line = runner.until(&format!("{name:<8} started, pid "));
        let pid = line.rsplit(' ').next().expect("a pid").to_owned();
        eventually("it ignores what it is to ignore", || {
            let ignored = status_field(&pid, "SigIgn").unwrap_or_default();
            let ignored = u64::from_str_radix(&ignored, 16).unwrap_or_default();
            name == "polite" || ignored & (1 << (Signal::TERM.as_raw() - 1)) != 0
        });
    }
    runner.interrupt();
    runner.until("Ctrl-C: ending 3 jobs");
    // With what each of them sleeps in.
    runner.until("still running: 4");
    runner.interrupt();
    runner.until("Ctrl-C again: killing");
    runner.until("session 1 (shutdown): clean, 5 members (2 left over)");
    let (text, code) = runner.finish();
    assert_eq!(code, Some(130), "\n{text}");
    for what in [
        "deaf 1   killed by SIGKILL (asked: SIGKILL, shutdown)",
        "polite   killed by SIGTERM (asked: SIGTERM, shutdown)",
    ] {
        assert!(text.contains(what), "no {what:?} in:\n{text}");
    }
}

fn agent_host_ends_what_it_left_when_it_was_killed() {
    let wanted = [
        "recovery: ",
        "no orphans",
        "conversation 42 is open",
        "session 1 \"conversation 1\" (reaper): clean",
        "the system: 4 processes of it alive",
        "killed with SIGKILL",
        "the system: 4 processes of it alive",
        "the system: 5 processes of it alive",
        "started again",
        "recovery: 4 ended",
        "sweep: 1 found, 1 ended",
        "reparented and of our conversations",
        "no orphans",
        "the system: 0 processes of it alive",
        "conversation 10 is open",
        "session 10 \"conversation 10\" (shutdown): clean",
        "closed, clean",
        "the system: 0 processes of it alive []",
    ];
    says("agent_host", &[], 0, &wanted);
}

fn restart_waits_longer_each_time_and_gives_up() {
    let text = says(
        "restart",
        &[],
        0,
        &[
            "broken  exited with code 7, again in 50ms",
            "broken  exited with code 7, again in 100ms",
            "broken  exited with code 7, again in 200ms",
            "broken  exited with code 7, again in 400ms",
            "broken  exited with code 7, given up after 5 times",
            "stopping: ",
            "\"services\": clean",
        ],
    );
    assert_eq!(text.matches("steady  started").count(), 1, "\n{text}");
    assert!(text.contains("flaky   exited with code 1, again in 50ms"));
}

fn process_tree_leaves_nobody_and_says_what_each_tier_leaves() {
    let wanted = [
        "36 processes, ended by SIGTERM 300ms, SIGKILL",
        "wrapper     SIGTERM             SIGTERM",
        "server      ALIVE               SIGKILL",
        "daemon      ALIVE               SIGTERM",
        "bomb        31 ALIVE            31 SIGTERM",
        "its output  HELD OPEN           ended",
        "not claimed  35, which this program then ended itself",
        "observed (mark and group) claimed      nothing",
        "subreaper",
        "cgroup",
        "Nothing is left of any of them.",
    ];
    let text = says("process_tree", &[], 0, &wanted);
    // A tier works here, or it is said why not.
    let ends = text.split("LEFT OVER").nth(1).expect("a table");
    for line in ends.lines().filter(|line| !line.starts_with("leader")) {
        let fine = line.ends_with("nothing") || line.contains("not here") || !line.contains(" ms");
        assert!(fine, "{line}");
    }
}

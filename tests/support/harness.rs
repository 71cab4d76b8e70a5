//! Runs each test in a process of its own, and looks after it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use procession::{Builder, Capability, Containment};

use super::leak::Before;
use super::platform::{Pinned, SKIPPED, world};
use super::wait::{holds_within, ms};
use super::{platform, programs, roles};

/// The variable whose value every process of one test carries.
pub(crate) const TOKEN: &str = "PROCESSION_TEST_TOKEN";

/// The variable that adds the tests which are to fail.
pub(crate) const HIDDEN_TOO: &str = "PROCESSION_TESTS_THAT_FAIL";

/// The variable that names the system which all tests are to see.
const OLDER_KERNEL: &str = "PROCESSION_OLDER_KERNEL";

/// The oldest kernel that is supported.
const OLDEST: &str = "5.4";

/// The variable that says how many milliseconds what is on its way out may take.
const SETTLE_VARIABLE: &str = "PROCESSION_SETTLE_MS";

/// How long a test may take before it is taken for hung. Raised by an environment variable for long race tests.
const WATCHDOG: Duration = Duration::from_secs(60);

/// How long what is on its way out may take: a dropped registry's helper at its last record, or what was killed with
/// its group and waits for its new parent to bury it.
pub(crate) fn settle() -> Duration {
    let text = std::env::var(SETTLE_VARIABLE).ok();
    let said = text.and_then(|text| text.parse().ok());
    said.map_or(Duration::from_secs(10), Duration::from_millis)
}

/// One test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    name: &'static str,
    body: fn(),
    /// Why it cannot run here, if it cannot.
    skipped: Option<&'static str>,
    /// Fails on purpose: it is there only for a test of this harness, which asks for it by a variable.
    hidden: bool,
    /// The system that it is to see, whatever all the others see.
    system: Option<&'static str>,
    /// What it is about. Where that is not to be had, it is skipped.
    needs: Option<Capability>,
    /// It reads what `/proc` shows of other users' processes.
    looks_at_others: bool,
    /// After how long it is taken for hung, if nothing else is said.
    watchdog: Duration,
}

impl Test {
    pub(crate) fn new(name: &'static str, body: fn()) -> Self {
        Self {
            name,
            body,
            skipped: None,
            hidden: false,
            system: None,
            needs: None,
            looks_at_others: false,
            watchdog: WATCHDOG,
        }
    }

    /// The same test on the oldest kernel; where this one is as old, the same test again.
    pub(crate) fn on_an_older_kernel(mut self) -> Self {
        self.name = format!("{}_on_an_older_kernel", self.name).leak();
        self.system = Some(OLDEST);
        self
    }

    /// The same test on a system of this name; see [`platform::be_on`].
    pub(crate) fn on(mut self, system: &'static str) -> Self {
        let suffix = system.replace(['.', '-'], "_");
        self.name = format!("{}_on_{suffix}", self.name).leak();
        self.system = Some(system);
        self
    }

    /// It is to fail, and to be seen to fail.
    pub(crate) fn is_to_fail(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// It may take that much longer than others.
    pub(crate) fn takes_longer_by(mut self, time: Duration) -> Self {
        self.watchdog += time;
        self
    }

    /// It needs the super-user, and is skipped by name for anybody else.
    pub(crate) fn needs_root(mut self) -> Self {
        if !rustix::process::geteuid().is_root() {
            self.skipped = Some("needs root");
        }
        self
    }

    /// It needs a cgroup that this program may write to, and is skipped by name where there is none.
    pub(crate) fn needs_cgroups(self) -> Self {
        self.needs(Capability::CgroupTier)
    }

    /// It looks at processes of other users, and is skipped by name where `/proc` hides them.
    pub(crate) fn looks_at_others(mut self) -> Self {
        self.looks_at_others = true;
        self
    }

    /// It is about this, and is skipped by name where a registry says that it is not to be had.
    pub(crate) fn needs(mut self, capability: Capability) -> Self {
        self.needs = Some(capability);
        self
    }

    /// It reads below `/proc` what only Linux has there, and is skipped by name elsewhere.
    pub(crate) fn needs_proc(mut self) -> Self {
        if !std::path::Path::new("/proc/self/stat").exists() {
            self.skipped = Some("needs a /proc as Linux has it");
        }
        self
    }

    /// It is about the mark in a resource limit, and is skipped by name where there is no limit for it.
    pub(crate) fn needs_limit_marks(mut self) -> Self {
        if !platform::HAS_LIMIT_MARKS {
            self.skipped = Some("needs a resource limit that can hold a mark");
        }
        self
    }

    /// It asks of a launch what `posix_spawn` cannot do, and is skipped by name where that is what launches.
    pub(crate) fn needs_launches_by_clone(mut self) -> Self {
        if !platform::LAUNCHES_BY_CLONE {
            self.skipped = Some("needs launches that are not by posix_spawn");
        }
        self
    }

    /// It runs this program, and is skipped by name where that is not installed.
    pub(crate) fn needs_program(mut self, program: &str) -> Self {
        if programs::program(program).is_none() {
            self.skipped = Some(format!("{program} is not installed").leak());
        }
        self
    }

    /// It does what a machine's owner has to agree to first, by setting this variable.
    pub(crate) fn needs_consent(mut self, variable: &str, why: &'static str) -> Self {
        if std::env::var_os(variable).is_none() {
            self.skipped = Some(why);
        }
        self
    }
}

/// A program that a test starts: what this executable does when it is started under this name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// The `main` of every test file.
pub(crate) fn main(tests: &[Test], own_roles: &[Role]) -> ExitCode {
    if std::env::var_os(TOKEN).is_some() {
        let what = std::env::args().nth(1).unwrap_or_default();
        if let Some(name) = what.strip_prefix("role:") {
            return play(name, own_roles);
        }
        if let Some(name) = what.strip_prefix("test:") {
            return run_here(name, tests);
        }
    }
    let all = std::env::var_os(HIDDEN_TOO).is_some();
    let shown = tests.iter().filter(|test| all || !test.hidden);
    let trials = shown.map(|&test| trial(test)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn play(name: &str, own_roles: &[Role]) -> ExitCode {
    let role = own_roles
        .iter()
        .chain(roles::ALL)
        .find(|role| role.name == name);
    let role = role.unwrap_or_else(|| panic!("there is no role {name:?}"));
    (role.run)();
    ExitCode::SUCCESS
}

/// Runs the body of a test in this process, which is there for it alone.
fn run_here(name: &str, tests: &[Test]) -> ExitCode {
    let test = tests.iter().find(|test| test.name == name);
    let test = test.unwrap_or_else(|| panic!("there is no test {name:?}"));
    // Whatever the test runner was started with is not for the processes that the tests count descriptors of.
    platform::keep_inherited_descriptors();
    if let Some(system) = system() {
        platform::be_on(&system);
    }
    let hidden = test.looks_at_others && !platform::shows_others();
    let hidden = hidden.then(|| "needs to see the processes of other users".to_owned());
    if let Some(why) = hidden.or_else(|| test.needs.and_then(why_not)) {
        // The last line is what the test is said to be skipped for.
        let said = writeln!(std::io::stderr(), "{why}");
        said.expect("the runner of the test listens");
        return ExitCode::from(SKIPPED);
    }
    let before = Before::now();
    // A body that panicked has said why already; what it left is ended by the process that watches this one.
    match catch_unwind(AssertUnwindSafe(|| {
        (test.body)();
        before.assert_nothing_is_left();
    })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The name of the system that this process and what it starts see.
fn system() -> Option<String> {
    let named = std::env::var(OLDER_KERNEL).ok();
    named.filter(|name| !name.is_empty())
}

/// The builder of a registry on the system that this process sees.
pub(crate) fn builder() -> Builder {
    let masked = system().map_or(&[][..], |name| platform::masked_on(&name));
    let builder = procession::Registry::builder();
    masked
        .iter()
        .fold(builder, |builder, name| builder.without_facility(name))
}

/// Why this is not to be had, if it is not. The host agrees to whatever it takes.
fn why_not(needed: Capability) -> Option<String> {
    let consenting = builder().subreaper(needed == Capability::SubreaperTier);
    let registry = consenting.containment_up_to(Containment::Cgroup).build();
    let registry = registry.expect("this kernel has what a registry needs");
    let why = registry.capabilities().why_not(needed).map(str::to_owned);
    why.map(|why| format!("needs what is not to be had here: {why}"))
}

fn trial(test: Test) -> Trial {
    match test.skipped {
        Some(why) => Trial::ignorable_test(test.name, move || Ok(Completion::ignored_with(why))),
        None => Trial::ignorable_test(test.name, move || watch(test)),
    }
}

/// Starts a test in a process of its own, and comes back when nothing of it is left.
fn watch(test: Test) -> Result<Completion, Failed> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let token = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    // A file, not a pipe: reading a pipe to its end would wait for whoever was left behind with it.
    let mut said = platform::anonymous_file();
    let mut child = begin(test, &token, &said).expect("a test process can be started");
    let pinned = Pinned::open(child.id()).expect("our child can be pinned");
    let limit = std::env::var("PROCESSION_WATCHDOG_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit = limit.map_or(test.watchdog, Duration::from_secs);
    let mut wrong = String::new();
    if !pinned.dies_within(limit) {
        let _ = write!(
            wrong,
            "{} hangs: not over after {limit:?}\n{}",
            test.name,
            world::describe(&token)
        );
        pinned.kill();
    }
    let status = child.wait().expect("our child can be waited for");
    // It has come to need what this platform does not have.
    let skipped = wrong.is_empty() && status.code() == Some(SKIPPED.into());
    if !status.success() && wrong.is_empty() && !skipped {
        let _ = writeln!(wrong, "{}: {status}", test.name);
    }
    end_what_is_left(&token, &mut wrong);
    if wrong.is_empty() && !skipped {
        return Ok(Completion::Completed);
    }
    let mut output = Vec::new();
    said.rewind()
        .and_then(|()| said.read_to_end(&mut output))
        .expect("the file can be read");
    let output = String::from_utf8_lossy(&output);
    if wrong.is_empty() {
        let why = output.lines().next_back();
        return Ok(Completion::ignored_with(
            why.unwrap_or("needs what this platform does not have"),
        ));
    }
    Err(format!("{wrong}{output}").into())
}

fn begin(test: Test, token: &str, said: &File) -> std::io::Result<Child> {
    let own = std::env::current_exe()?;
    let mut command = Command::new(own);
    command.arg(format!("test:{}", test.name)).env(TOKEN, token);
    command.env("RUST_BACKTRACE", "0");
    if let Some(system) = test.system {
        command.env(OLDER_KERNEL, system);
    }
    // In a group of its own, so that a signal that goes astray does not reach the test runner.
    command.process_group(0).stdin(Stdio::null());
    command
        .stdout(OwnedFd::from(said.try_clone()?))
        .stderr(OwnedFd::from(said.try_clone()?));
    command.spawn()
}

/// Ends what carries the token, and says that it was there.
fn end_what_is_left(token: &str, wrong: &mut String) {
    // What died with its group is gone from /proc when its new parent has reaped it.
    if holds_within(settle(), || world::carriers(token).is_empty()) {
        return;
    }
    let _ = write!(wrong, "left behind:\n{}", world::describe(token));
    // What forks meanwhile is met in the next round.
    for _ in 0..100 {
        let left = world::carriers(token);
        if left.is_empty() {
            return;
        }
        for pid in left {
            // Pinned first and read again after: the number may have gone to somebody else.
            if let Ok(pinned) = Pinned::open(pid) {
                if world::carries_token(pid, token) {
                    pinned.kill();
                    pinned.dies_within(ms(500));
                }
            }
        }
    }
}

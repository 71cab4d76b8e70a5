//! Native launches beside std's: what both can, the child sees the same.

mod support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use procession::{Command, Containment, Launch, Process, Registry, SpawnOptions, Stdio};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use support::{
    Scratch, Works, close, descriptors, own_signals, registry, role, role_of, say, status_field,
    test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(what_both_can_is_the_same_by_both).needs_proc(),
            test!(a_script_without_an_interpreter_is_an_error_by_both),
            test!(an_environment_with_names_twice_is_the_same_by_both),
        ],
        &[role_of!(tells_everything)],
    )
}

/// Like `role`, launched natively.
fn native(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("an executable has a path"));
    command.arg(format!("role:{name}")).stdin(Stdio::null());
    command
}

/// What a child says until its output ends.
fn output(child: &Process) -> String {
    let mut text = Vec::new();
    let mut output = child.take_stdout().expect("its output is a pipe");
    output.read_to_end(&mut text).expect("a pipe can be read");
    assert!(child.wait().works().success(), "it failed");
    String::from_utf8_lossy(&text).into_owned()
}

/// Everything that a program can see of how it was started.
fn tells_everything() {
    let mut text = String::new();
    for arg in std::env::args_os() {
        let _ = writeln!(text, "arg {arg:?}");
    }
    for variable in std::env::vars_os().collect::<BTreeMap<_, _>>() {
        let _ = writeln!(text, "env {variable:?}");
    }
    let _ = writeln!(text, "cwd {:?}", std::env::current_dir());
    for field in [
        "SigBlk",
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "Seccomp",
        "CapEff",
        "Cpus_allowed",
    ] {
        let _ = writeln!(text, "{field} {:?}", status_field("self", field));
    }
    // Without the two that glibc's posix_spawn leaves ignored, and keeps for itself.
    let _ = writeln!(text, "SigIgn {:x}", own_signals("SigIgn"));
    for open in descriptors() {
        // Pipes differ in their numbers.
        let _ = writeln!(text, "fd {}", open.split('[').next().unwrap_or_default());
    }
    // Without the one that holds the mark: it is there from a native launch's birth, and a moment later by std.
    let limits = fs::read_to_string("/proc/self/limits").expect("limits can be read");
    for limit in limits
        .lines()
        .filter(|line| !line.starts_with("Max file locks"))
    {
        let _ = writeln!(text, "{limit}");
    }
    let own = rustix::process::getpid();
    let _ = writeln!(text, "leads {}", rustix::process::getpgrp() == own);
    // 0 where its leader is outside of our pid namespace, which rustix does not know of.
    let _ = writeln!(text, "session {}", support::own_session());
    let _ = writeln!(
        text,
        "nice {:?}",
        rustix::process::getpriority_process(None)
    );
    say(text);
}

/// What both kinds of command can be told.
#[derive(Clone, Debug)]
struct Common {
    args: Vec<OsString>,
    arg0: Option<OsString>,
    set: BTreeMap<OsString, OsString>,
    removed: bool,
    cleared: bool,
    directory: Option<&'static str>,
    error: u8,
    leader_tier: bool,
}

/// The same calls by the same names on either.
macro_rules! told {
    ($command:expr, $stdio:ident, $common:expr) => {{
        let (mut command, common) = ($command, $common);
        if let Some(arg0) = &common.arg0 {
            command.arg0(arg0);
        }
        if common.cleared {
            command.env_clear();
            command.env(
                support::TOKEN,
                std::env::var(support::TOKEN).expect("every test has one"),
            );
        }
        if common.removed {
            command.env_remove("HOME");
        }
        command.args(&common.args).envs(&common.set);
        if let Some(directory) = common.directory {
            command.current_dir(directory);
        }
        match common.error {
            0 => command.stderr($stdio::null()),
            1 => command.stderr($stdio::piped()),
            2 => command.stderr(File::open("/dev/zero").expect("there is one")),
            _ => command.stderr($stdio::inherit()),
        };
        command.stdin($stdio::null()).stdout($stdio::piped());
        command
    }};
}

fn common() -> impl Strategy<Value = Common> {
    let word = || {
        prop::collection::vec(1..=255_u8, 0..20)
            .prop_map(|bytes| OsStr::from_bytes(&bytes).to_owned())
    };
    let name = "[A-Z_][A-Z0-9_]{0,8}".prop_map(|name| OsString::from(format!("T_{name}")));
    let directory = prop_oneof![
        Just(None),
        Just(Some("/")),
        Just(Some("/proc")),
        Just(Some("/usr"))
    ];
    (
        prop::collection::vec(word(), 0..5),
        // A role reads its own name as text.
        prop::option::of("[^\0]{0,10}".prop_map(OsString::from)),
        prop::collection::btree_map(name, word(), 0..5),
        any::<bool>(),
        any::<bool>(),
        directory,
        0..4_u8,
        any::<bool>(),
    )
        .prop_map(
            |(args, arg0, set, removed, cleared, directory, error, leader_tier)| Common {
                args,
                arg0,
                set,
                removed,
                cleared,
                directory,
                error,
                leader_tier,
            },
        )
}

/// argv, environment, descriptors, directory, mask, groups and limits: what a program can see, it sees the same.
fn what_both_can_is_the_same_by_both() {
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio as StdStdio;
    let registry = registry();
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    // The library's own: one that a child must not have.
    let _private = File::open("/dev/null").expect("there is one");
    let told = |command: &mut dyn FnMut(&SpawnOptions) -> Process, common: &Common| {
        let tier = if common.leader_tier {
            Containment::Leader
        } else {
            Containment::Group
        };
        output(&command(&SpawnOptions::new().containment(tier)))
    };
    runner
        .run(&common(), |common| {
            let mut by_std = told!(role("tells_everything"), StdStdio, &common);
            let mut by_us = told!(native("tells_everything"), Stdio, &common);
            let by_std = told(
                &mut |options| spawned(&registry, &mut by_std, options),
                &common,
            );
            let by_us = told(
                &mut |options| spawned(&registry, &mut by_us, options),
                &common,
            );
            prop_assert_eq!(by_std, by_us);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    close(&registry, 1);
}

fn spawned(registry: &Registry, command: &mut impl Launch, options: &SpawnOptions) -> Process {
    registry
        .spawn_with(1, command, options)
        .expect("a role can be started")
}

fn a_script_without_an_interpreter_is_an_error_by_both() {
    let registry = registry();
    let script = Scratch::new("script", b"exit 0\n", 0o755);
    let by_std = registry.spawn(1, &mut std::process::Command::new(script.path()));
    let by_us = registry.spawn(1, &mut Command::new(script.path()));
    let errno = |launched: procession::Result<Process>| {
        launched
            .expect_err("nobody says what runs it")
            .raw_os_error()
    };
    assert_eq!(errno(by_std), Some(libc::ENOEXEC));
    assert_eq!(errno(by_us), Some(libc::ENOEXEC));
    close(&registry, 1);
}

/// As an environment can be made by whoever starts the host.
fn an_environment_with_names_twice_is_the_same_by_both() {
    let own = std::env::vars().map(|(name, value)| format!("{name}={value}"));
    support::replace_environment(
        std::iter::once("TWICE=first".to_owned())
            .chain(own)
            .chain(["TWICE=last".to_owned()]),
    );
    let registry = registry();
    let mut by_std = role("tells_everything");
    by_std.stdout(std::process::Stdio::piped());
    let by_std = output(&spawned(&registry, &mut by_std, &SpawnOptions::new()));
    let mut by_us = native("tells_everything");
    let by_us = spawned(
        &registry,
        by_us.stdout(Stdio::piped()),
        &SpawnOptions::new(),
    );
    assert_eq!(output(&by_us), by_std);
    let mut env = Command::new("/usr/bin/env");
    let env = spawned(&registry, env.stdout(Stdio::piped()), &SpawnOptions::new());
    let said = output(&env);
    let twice: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("TWICE"))
        .collect();
    assert_eq!(twice, ["TWICE=last"]);
    close(&registry, 1);
}

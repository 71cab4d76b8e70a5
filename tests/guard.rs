//! The harness itself: a test that hangs, or leaves something behind, is seen to fail.

mod support;

use std::fs::File;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use procession::Capability;

use support::{carries_environment, numbers_in, role, role_of, test};

/// What the processes of a run inside a test can be told by.
const INSIDE: &str = "PROCESSION_RUN_INSIDE";

fn main() -> ExitCode {
    support::main(
        &[
            test!(leaving_nothing).is_to_fail(),
            test!(leaving_a_descriptor).is_to_fail(),
            test!(leaving_a_thread).is_to_fail(),
            test!(leaving_a_child).is_to_fail(),
            test!(leaving_a_zombie).is_to_fail(),
            test!(leaving_an_orphan).is_to_fail(),
            test!(hanging).is_to_fail(),
            test!(an_older_kernel_is_taken_for_one).on_an_older_kernel(),
            test!(a_test_that_leaves_nothing_passes),
            test!(a_test_that_leaves_a_descriptor_fails),
            test!(a_test_that_leaves_a_thread_fails),
            test!(a_test_that_leaves_a_child_fails),
            test!(a_test_that_leaves_a_zombie_fails),
            test!(a_test_that_leaves_an_orphan_fails),
            test!(a_test_that_hangs_is_ended_with_all_that_it_started),
        ],
        &[role_of!(parent_of_an_orphan)],
    )
}

fn leaving_nothing() {}

fn leaving_a_descriptor() {
    std::mem::forget(File::open("/dev/null").expect("there is one"));
}

fn leaving_a_thread() {
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
}

#[expect(clippy::zombie_processes, reason = "left on purpose")]
fn leaving_a_child() {
    role("obedient").spawn().expect("a role can be started");
}

#[expect(clippy::zombie_processes, reason = "left on purpose")]
fn leaving_a_zombie() {
    let child = role("exits")
        .arg("0")
        .spawn()
        .expect("a role can be started");
    support::Pinned::open(child.id())
        .expect("our child")
        .assert_dies();
}

#[expect(clippy::zombie_processes, reason = "left on purpose")]
fn parent_of_an_orphan() {
    role("obedient").spawn().expect("a role can be started");
}

fn leaving_an_orphan() {
    let status = role("parent_of_an_orphan").status();
    assert!(status.expect("a role can be started").success());
}

fn hanging() {
    leaving_a_child();
    loop {
        thread::park();
    }
}

/// Runs one of the tests above as the test runner does. Returns what it says if it fails.
fn failure_of(name: &str) -> Option<String> {
    let mark = format!("{}-{name}", std::process::id());
    let mut command = Command::new(std::env::current_exe().expect("an executable has a path"));
    command.args(["--exact", name]).stdin(Stdio::null());
    command.env_remove(support::TOKEN).env(INSIDE, &mark);
    command
        .env(support::HIDDEN_TOO, "1")
        .env("PROCESSION_SETTLE_MS", "100");
    command.env("PROCESSION_WATCHDOG_SECONDS", "1");
    let output = command.output().expect("a test runner can be started");
    let left = numbers_in("/proc");
    let left = left
        .into_iter()
        .filter(|&pid| carries_environment(pid, &format!("{INSIDE}={mark}")));
    assert_eq!(left.collect::<Vec<_>>(), [0_u32; 0], "not ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("1 passed") || said.contains("1 failed"),
        "not one test:\n{said}"
    );
    (!output.status.success()).then_some(said)
}

#[track_caller]
fn assert_fails(name: &str, word: &str) {
    let said = failure_of(name).expect("it has passed");
    assert!(
        said.contains(name) && said.contains(word),
        "{word:?} is missing in:\n{said}"
    );
}

fn an_older_kernel_is_taken_for_one() {
    let registry = support::registry();
    for missing in [Capability::GroupSignalAfterReap, Capability::ForeignStatus] {
        assert!(
            !registry.capabilities().has(missing),
            "{}",
            registry.capabilities()
        );
        assert!(registry.capabilities().why_not(missing).is_some());
    }
}

fn a_test_that_leaves_nothing_passes() {
    assert_eq!(failure_of("leaving_nothing"), None);
}

fn a_test_that_leaves_a_descriptor_fails() {
    assert_fails("leaving_a_descriptor", "/dev/null");
}

fn a_test_that_leaves_a_thread_fails() {
    assert_fails("leaving_a_thread", "(were 1)");
}

fn a_test_that_leaves_a_child_fails() {
    assert_fails("leaving_a_child", "role:obedient");
}

fn a_test_that_leaves_a_zombie_fails() {
    assert_fails("leaving_a_zombie", "children [");
}

fn a_test_that_leaves_an_orphan_fails() {
    assert_fails("leaving_an_orphan", "left behind");
}

fn a_test_that_hangs_is_ended_with_all_that_it_started() {
    assert_fails("hanging", "hangs: not over after 1s");
}

//! Who is on its way out, or half dead: it has no environment to be named by any more, or its first thread has none, and is
//! not gone.

mod support;

use std::process::ExitCode;

use procession::{Registry, StopPolicy};

use support::adversary::{headless_daemon, large_daemon, large_parent};
use support::tree::{Tree, native_tree, tree};
use support::{
    LONG_ENOUGH, Pinned, Works, builder, clean, eventually, holds_within, role_of, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(who_exits_slowly_is_not_called_gone_before_it_is_dead).needs_proc(),
            test!(whose_parent_exits_slowly_is_ended_and_not_taken_for_a_stranger).needs_proc(),
            test!(a_daemon_without_its_first_thread_is_ended_with_its_session).needs_proc(),
        ],
        &[
            role_of!(large_daemon),
            role_of!(large_parent),
            role_of!(headless_daemon),
        ],
    )
}

/// So often a moment is missed at most that was to be caught.
const TRIES: usize = 20;

/// Each way to start one, each kind of mark, and whether its leader is still there. `become_that` says of each whether it has
/// become what it was to be; if it has not, another one is started.
fn each_way(name: &str, become_that: impl Fn(&mut Tree, u32, &Pinned) -> bool) {
    for limit_mark in [false, true] {
        let registry = builder().limit_mark(limit_mark).build().works();
        for by in [tree, native_tree] {
            for stays in ["stays", "leaves"] {
                let caught = (0..TRIES).any(|_| {
                    let mut tree = by(&registry, 1, name, &[stays]);
                    tree.await_ready();
                    let pid = tree.number();
                    let daemon = Pinned::open(pid).expect("it lives");
                    let is_that = become_that(&mut tree, pid, &daemon);
                    assert_ended(&registry, &mut tree, &daemon);
                    is_that
                });
                assert!(caught, "{TRIES} were dead before they were looked at");
            }
        }
    }
}

#[track_caller]
fn assert_ended(registry: &Registry, tree: &mut Tree, daemon: &Pinned) {
    let report = registry.end_session_with(1, &StopPolicy::immediate());
    let report = clean(report.works());
    assert!(daemon.is_dead(), "\n{report}");
    tree.assert_gone();
}

fn has_no_memory(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
}

/// It has neither environment nor command line while its memory is taken away, and still holds what it has open.
fn who_exits_slowly_is_not_called_gone_before_it_is_dead() {
    each_way("large_daemon", |_, pid, daemon| begins_to_exit(pid, daemon));
}

fn begins_to_exit(pid: u32, pinned: &Pinned) -> bool {
    pinned.kill();
    holds_within(LONG_ENOUGH, || has_no_memory(pid) || pinned.is_dead());
    !pinned.is_dead()
}

/// As long as its parent is there, which cannot be told from any other, its mark may have been put on a stranger.
fn whose_parent_exits_slowly_is_ended_and_not_taken_for_a_stranger() {
    each_way("large_parent", |tree, _, _| {
        let pid = tree.number();
        let parent = Pinned::open(pid).expect("it lives");
        begins_to_exit(pid, &parent)
    });
}

/// Its files below `/proc` are those of a zombie, but for those of its other threads.
fn a_daemon_without_its_first_thread_is_ended_with_its_session() {
    each_way("headless_daemon", |_, pid, daemon| {
        eventually("its first thread is gone", || {
            support::state(pid) == Some('Z')
        });
        assert!(!daemon.is_dead(), "another thread goes on");
        true
    });
}

//! Who is on its way out, or half dead: it has no environment to be named by any more, or its first thread has none, and is
//! not gone.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use procession::{Registry, StopPolicy};

use support::adversary::{
    await_abandoned, executes_again, executes_for_ever, headless_daemon, is_orphaned_by_the_end,
    large_daemon, large_markless_companion, large_older_companion, large_parent,
};
use support::tree::{Tree, native_tree, tree};
use support::{
    LONG_ENOUGH, Pinned, Works, builder, clean, eventually, holds_within, now, registry, role_of,
    test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(who_exits_slowly_is_not_called_gone_before_it_is_dead).needs_proc(),
            test!(whose_parent_exits_slowly_is_ended_and_not_taken_for_a_stranger).needs_proc(),
            test!(a_daemon_without_its_first_thread_is_ended_with_its_session).needs_proc(),
            test!(who_is_named_by_nothing_but_a_daemons_group_is_dead_after_a_clean_report)
                .needs_limit_marks(),
            test!(who_is_orphaned_by_the_end_is_ended_or_reported).needs_limit_marks(),
            test!(who_executes_other_programs_all_the_time_is_ended).needs_proc(),
        ],
        &[
            role_of!(large_daemon),
            role_of!(large_parent),
            role_of!(headless_daemon),
            role_of!(large_markless_companion),
            role_of!(large_older_companion),
            role_of!(is_orphaned_by_the_end),
            role_of!(executes_for_ever),
            role_of!(executes_again),
        ],
    )
}

/// So many are ended: of what is to be caught a birth anywhere on the machine may get in the way.
const ENDS: usize = 10;

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

/// It goes with the group, and is known to have gone: whose group that is turns out as late as in the first look.
fn who_is_named_by_nothing_but_a_daemons_group_is_dead_after_a_clean_report() {
    let registry = registry();
    for _ in 0..ENDS {
        for role in ["large_markless_companion", "large_older_companion"] {
            let mut tree = native_tree(&registry, 1, role, &[]);
            tree.await_ready();
            let companion = Pinned::open(tree.number()).expect("it lives");
            assert_ended(&registry, &mut tree, &companion);
        }
    }
}

/// In the first look its parent is a stranger, and it a claim; then that one leaves.
fn who_is_orphaned_by_the_end_is_ended_or_reported() {
    let registry = registry();
    for _ in 0..ENDS {
        let mut tree = native_tree(&registry, 1, "is_orphaned_by_the_end", &[]);
        tree.await_ready();
        let orphan = Pinned::open(tree.number()).expect("it lives");
        let report = clean(
            registry
                .end_session_with(1, &StopPolicy::immediate())
                .works(),
        );
        let claimed = report
            .claims()
            .iter()
            .any(|claim| claim.pid == orphan.pid());
        assert!(orphan.is_dead() || claimed, "\n{report}");
        orphan.kill();
        await_abandoned(tree.output.get_mut());
    }
}

/// While the kernel hands over from one program to the next there is no environment that could name it.
fn who_executes_other_programs_all_the_time_is_ended() {
    const TIMES: usize = 20;
    const BUDGET: Duration = Duration::from_secs(20);
    let began = now();
    for limit_mark in [false, true] {
        let registry = builder().limit_mark(limit_mark).build().works();
        for by in [tree, native_tree] {
            for at in 0..TIMES {
                // Once each way in any case.
                if at > 0 && now() - began > BUDGET {
                    break;
                }
                let mut tree = by(&registry, 1, "executes_for_ever", &["leaves"]);
                tree.await_ready();
                let daemon = Pinned::open(tree.number()).expect("it lives");
                tree.leader.wait().works();
                assert_ended(&registry, &mut tree, &daemon);
            }
        }
    }
}

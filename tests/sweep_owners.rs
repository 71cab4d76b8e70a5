//! Sweeps: whose a process is that a rule matches, and who has taken it in.

mod support;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use procession::{Containment, LeftAloneReason, OrphanRule, Registry, SpawnOptions, StopPolicy};

use support::adversary::{daemon, executes_again, executes_for_ever, is_abandoned};
use support::orphans::{abandoned, end, leaves, of_role, orphan, pids, reason_for};
use support::platform::become_user;
use support::tree::tree;
use support::{
    LONG_ENOUGH, Lines, Pinned, Works, await_end_of_input, builder, clean, eventually, host, now,
    pipe, registry, role, role_of, say, start, status_field, take_in_orphans, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_rule_for_everything_matches_neither_host_nor_ancestors_nor_what_is_registered)
                .looks_at_others(),
            test!(an_ancestor_beyond_a_hidden_one_is_never_matched)
                .needs_root()
                .on("hidepid"),
            test!(other_users_are_left_alone_unless_it_is_said)
                .looks_at_others()
                .needs_root(),
            test!(what_a_living_session_has_started_is_left_alone),
            test!(who_executes_other_programs_all_the_time_is_left_alone_all_the_time).needs_proc(),
            test!(what_a_session_left_that_is_over_is_an_orphan),
            test!(the_processes_of_another_host_are_orphans_once_that_is_dead),
            test!(an_orphan_under_a_subreaper_is_found),
            test!(the_first_process_of_a_container_has_children_that_are_no_orphans).needs_root(),
            test!(the_trial_for_who_takes_in_orphans_leaves_nothing),
        ],
        &[
            role_of!(leaves),
            role_of!(other_host),
            role_of!(subreaper),
            role_of!(hidden),
            role_of!(told_to_sweep),
            role_of!(first_process),
            role_of!(sweeper),
            role_of!(daemon),
            role_of!(executes_for_ever),
            role_of!(executes_again),
        ],
    )
}

/// A host with a registry of its own: starts a daemon in session 5, says its pid, and stays.
fn other_host() {
    let registry = registry();
    let (output, writer) = pipe();
    let mut command = role("daemon");
    command.arg("leaves").stdout(Stdio::from(writer));
    registry.spawn(5, &mut command).works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    say("ready");
    say(lines.line());
    await_end_of_input();
}

/// Takes in orphans, has one, and starts a host that sweeps. Says what that says.
fn subreaper() {
    take_in_orphans();
    let (mut child, control, mut lines) = host(role("leaves").arg("obedient"));
    let orphan = lines.number();
    child.wait().expect("it is our child");
    let parent = status_field(orphan, "PPid").expect("it lives");
    assert_eq!(parent, std::process::id().to_string());
    let (mut child, sweeper, mut lines) = host(&mut role("sweeper"));
    say("ready");
    say(orphan);
    for _ in 0..2 {
        say(lines.line());
    }
    drop((sweeper, control));
    child.wait().expect("it is our child");
    await_end_of_input();
}

/// The first process of a pid namespace, with a session, a child of its own, and an orphan that came to it.
fn first_process() {
    assert_eq!(std::process::id(), 1);
    let registry = registry();
    let (member, _lines) = start(&registry, 1, &mut role("obedient"));
    let (mut child, control, _its_lines) = host(&mut role("obedient"));
    let (mut gone, _orphans, mut lines) = host(role("leaves").arg("obedient"));
    let orphan = lines.number();
    gone.wait().expect("it is our child");
    assert_eq!(status_field(orphan, "PPid").as_deref(), Some("1"));
    let report = registry.sweep(&abandoned("obedient")).works();
    say("ready");
    say(report.found());
    say(registry
        .sweep(&of_role("obedient").dry_run())
        .works()
        .found());
    say(u32::from(member.try_wait().works().is_none()));
    say(u32::from(child.try_wait().expect("our child").is_none()));
    drop(control);
    drop(registry);
}

/// A host that sweeps for abandoned obedient processes, and says how many it has found and ended.
fn sweeper() {
    let registry = registry();
    let report = registry.sweep(&abandoned("obedient")).works();
    say("ready");
    say(report.found());
    say(report.ended());
}

fn a_rule_for_everything_matches_neither_host_nor_ancestors_nor_what_is_registered() {
    let registry = registry();
    let (member, _lines) = start(&registry, 1, &mut role("obedient"));
    let (stranger, _input, _its_lines) = host(&mut role("obedient"));
    let everything = OrphanRule::matching("everything", |_| true).any_user();
    let report = registry.sweep(&everything.dry_run()).works();
    let all: HashSet<u32> = pids(&report).into_iter().collect();
    assert!(all.contains(&stranger.id()), "\n{report}");
    assert!(!all.contains(&member.pid()) && !all.contains(&1));
    let mut ancestor = std::process::id();
    while ancestor != 0 {
        assert!(!all.contains(&ancestor), "{ancestor}\n{report}");
        let parent = status_field(ancestor, "PPid").expect("it lives");
        ancestor = parent.parse().expect("a pid");
    }
    for orphan in report.orphans() {
        let process = orphan.process();
        // The kernel's own have neither; and what has changed its user is somebody's all the same.
        assert!(
            !process.args().is_empty() || process.exe().is_some() || process.parent().is_some(),
            "{process:?}"
        );
        assert_ne!(process.parent(), Some(2), "{process:?}");
    }
    assert!(report.looked_at() >= report.found());
    end(stranger);
}

/// Starts a host, and is then hidden from it.
fn hidden() {
    let (mut child, control, mut lines) = host(&mut role("told_to_sweep"));
    become_user(61234);
    say("ready");
    // Who it is that stands beyond this one.
    let parent = std::os::unix::process::parent_id();
    let mut control = control;
    writeln!(control, "{parent}").expect("it listens");
    say(lines.line());
    child.wait().expect("it is our child");
}

/// Says whether a rule for everything would match the process whose number it reads.
fn told_to_sweep() {
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe");
    let pid = line.trim_end().parse().expect("a pid");
    assert!(
        status_field(pid, "Name").is_some(),
        "it is to be seen from here"
    );
    let parent = std::os::unix::process::parent_id();
    assert!(status_field(parent, "Name").is_none(), "and this one not");
    let everything = OrphanRule::matching("everything", |_| true).any_user();
    let report = registry().sweep(&everything.dry_run()).works();
    say(pids(&report).contains(&pid));
}

fn an_ancestor_beyond_a_hidden_one_is_never_matched() {
    let (mut between, _control, mut lines) = host(&mut role("hidden"));
    assert_eq!(lines.line(), "false");
    between.wait().expect("it is our child");
}

fn other_users_are_left_alone_unless_it_is_said() {
    let registry = registry();
    let other = orphan("changes-user", &["65534"]);
    let rule = abandoned("changes-user");
    let report = registry.sweep(&rule).works();
    assert_eq!(report.found(), 0, "\n{report}");
    assert!(!other.is_dead());
    let policy = StopPolicy::immediate();
    let report = registry.sweep(&rule.any_user().stop_policy(policy)).works();
    assert_eq!(pids(&report), [other.pid], "\n{report}");
    assert_eq!(report.orphans()[0].process().user(), 65534);
    assert!(other.is_dead());
}

/// A daemon in a session of this registry.
fn with_a_daemon(registry: &Registry, options: &SpawnOptions) -> (Pinned, u32, File) {
    let (output, writer) = pipe();
    let mut command = role("daemon");
    command.arg("leaves").stdout(Stdio::from(writer));
    let leader = registry.spawn_with(5, &mut command, options).works();
    drop(command);
    let mut lines = Lines::new(output.try_clone().expect("a descriptor"));
    lines.expect("ready");
    let pid = lines.number();
    leader.wait().works();
    (Pinned::open(pid).expect("it lives"), pid, output)
}

fn what_a_living_session_has_started_is_left_alone() {
    let registry = registry();
    let (daemon, pid, mut output) = with_a_daemon(&registry, &SpawnOptions::new());
    let report = registry.sweep(&abandoned("daemon")).works();
    assert_eq!(report.found(), 0, "\n{report}");
    let reason = reason_for(&report, pid);
    assert_eq!(reason, LeftAloneReason::InSession(5.into()));
    assert!(!daemon.is_dead());
    drop(clean(registry.end_session(5).works()));
    assert!(is_abandoned(&mut output, LONG_ENOUGH));
}

/// The environment names its session, and between two programs there is none.
fn who_executes_other_programs_all_the_time_is_left_alone_all_the_time() {
    const SWEEPS: usize = 200;
    /// It ends by itself after some time.
    const BUDGET: Duration = Duration::from_secs(4);
    let registry = builder().limit_mark(false).build().works();
    let mut tree = tree(&registry, 5, "executes_for_ever", &["leaves"]);
    tree.await_ready();
    let pid = tree.number();
    let daemon = Pinned::open(pid).expect("it lives");
    let rule = OrphanRule::matching("that one", move |process| process.pid() == pid);
    let began = now();
    for _ in 0..SWEEPS {
        let report = registry.sweep(&rule).works();
        assert_eq!(report.found(), 0, "\n{report}");
        assert!(!daemon.is_dead(), "\n{report}");
        if now() - began > BUDGET {
            break;
        }
    }
    drop(clean(registry.end_session(5).works()));
    tree.assert_gone();
}

fn what_a_session_left_that_is_over_is_an_orphan() {
    let registry = registry();
    // Whose descendants are no members.
    let options = SpawnOptions::new().containment(Containment::Leader);
    let (daemon, pid, mut output) = with_a_daemon(&registry, &options);
    let report = registry.sweep(&abandoned("daemon")).works();
    let reason = reason_for(&report, pid);
    assert_eq!(reason, LeftAloneReason::InSession(5.into()));
    drop(clean(registry.end_session(5).works()));
    assert!(!daemon.is_dead());
    let report = registry.sweep(&abandoned("daemon")).works();
    assert_eq!((report.found(), report.ended()), (1, 1), "\n{report}");
    assert!(daemon.is_dead() && is_abandoned(&mut output, LONG_ENOUGH));
}

fn the_processes_of_another_host_are_orphans_once_that_is_dead() {
    let registry = registry();
    let (mut other, _input, mut lines) = host(&mut role("other_host"));
    let pid = lines.number();
    let daemon = Pinned::open(pid).expect("it lives");
    let report = registry.sweep(&abandoned("daemon")).works();
    assert_eq!(report.found(), 0, "\n{report}");
    let reason = reason_for(&report, pid);
    assert_eq!(reason, LeftAloneReason::OwnerLives { pid: other.id() });
    assert!(!daemon.is_dead());
    // Dead, and a zombie until it is waited for.
    other.kill().expect("it is our child");
    eventually("it is dead", || support::state(other.id()) == Some('Z'));
    let report = registry.sweep(&abandoned("daemon")).works();
    assert_eq!((report.found(), report.ended()), (1, 1), "\n{report}");
    assert!(daemon.is_dead());
    other.wait().expect("it is our child");
}

/// The predecessor looked for a parent with the number 1, and missed these.
fn an_orphan_under_a_subreaper_is_found() {
    let (mut reaper, control, mut lines) = host(&mut role("subreaper"));
    let orphan = lines.number();
    let pinned = Pinned::open(orphan);
    assert_eq!((lines.number(), lines.number()), (1, 1));
    assert!(pinned.is_err() || pinned.is_ok_and(|pinned| pinned.is_dead()));
    drop(control);
    reaper.wait().expect("it is our child");
}

/// The predecessor ended its own active sessions where it was pid 1.
fn the_first_process_of_a_container_has_children_that_are_no_orphans() {
    let own = std::env::current_exe().expect("an executable has a path");
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    let (mut container, control, mut lines) = host(command.arg(own).arg("role:first_process"));
    assert_eq!(lines.number(), 0, "reparented, as far as it can be told");
    assert_eq!(
        lines.number(),
        2,
        "the child and the orphan, by a rule that asks for less"
    );
    assert_eq!((lines.number(), lines.number()), (1, 1), "both live");
    drop(control);
    container.wait().expect("it is our child");
}

fn the_trial_for_who_takes_in_orphans_leaves_nothing() {
    let registry = registry();
    let nobody = OrphanRule::matching("nobody", |_| false);
    for _ in 0..20 {
        let report = registry.sweep(&nobody).works();
        assert_eq!(report.found(), 0);
    }
    assert_eq!(support::children(), [0; 0]);
}

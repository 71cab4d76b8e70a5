//! A host whose sessions are in cgroups, or that is a subreaper, is killed: what it left is found all the same; and beside such
//! sessions sweeps and reapers leave their members alone.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use procession::{
    Builder, Containment, LeftAloneReason, OrphanRule, ReaperOptions, RecoveryPolicy,
    RecoveryReport, Registry, StopPolicy, SweepReport,
};

use crate::support::adversary::{
    cgroup_of, daemon, lingers, own_cgroup, thorough_daemon, unmarked_comet, vanishing_daemon,
};
use crate::support::tree::{Tree, has_forgotten, native, native_tree};
use crate::support::victim::{Host, builder, clean, name, recover_as, scratch, text, victim};
use crate::support::{
    Pinned, Rounds, Works, eventually, let_pass, ms, role, role_of, say, start,
    test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(what_a_killed_host_left_in_cgroups_is_ended_and_they_are_removed).needs_cgroups(),
            test!(a_host_of_the_tier_recovers_them_as_well).needs_cgroups(),
            test!(a_comet_without_a_mark_is_ended_with_the_cgroup_that_it_is_in).needs_cgroups(),
            test!(the_cgroup_of_a_host_that_lives_is_left_alone).needs_cgroups(),
            test!(the_cgroup_of_a_host_of_another_name_is_left_alone).needs_cgroups(),
            test!(a_host_in_the_cgroup_of_the_dead_one_spares_itself).needs_cgroups(),
            test!(cgroups_within_a_cgroup_are_ended_with_it).needs_cgroups(),
            test!(a_cgroup_is_taken_over_with_its_processes).needs_cgroups(),
            test!(who_is_spared_keeps_the_cgroup_and_the_others_are_ended).needs_cgroups(),
            test!(two_hosts_at_once_recover_the_same_cgroups).needs_cgroups(),
            test!(a_contained_host_killed_at_any_moment_leaves_nothing).needs_cgroups(),
            test!(what_a_killed_subreaper_left_is_known_by_its_marks),
            test!(a_sweep_and_a_reaper_leave_a_cgroups_members_alone).needs_cgroups(),
            test!(a_sweep_leaves_the_members_of_another_hosts_cgroup_alone_while_that_lives)
                .needs_cgroups(),
            test!(a_sweep_and_a_reaper_leave_a_subreapers_orphans_alone),
        ],
        &[
            role_of!(victim),
            role_of!(heir_within),
            role_of!(forgotten_comet),
            role_of!(restless),
            role_of!(lingers),
            role_of!(daemon),
            role_of!(thorough_daemon),
            role_of!(vanishing_daemon),
            role_of!(unmarked_comet),
        ],
    )
}

/// Members of all kinds. Of the last one only the cgroup tells whose it is.
const ALL: [&str; 5] = [
    "cgroup",
    "native:lingers",
    "std:daemon",
    "native:thorough_daemon",
    "native:vanishing_daemon",
];

fn contained(name: &str) -> Builder {
    builder(name, "-")
        .containment(Containment::Cgroup)
        .stop_policy(StopPolicy::immediate())
}

/// The cgroups of what a host has started. What std's command has started may have forked before it was moved, and then
/// that child is where the host is.
fn leaves(host: &Host) -> Vec<PathBuf> {
    let pids = host.pids.iter();
    let all = pids.map(|pid| cgroup_of(&pid.to_string()));
    let leaves: Vec<PathBuf> = all.filter(|cgroup| *cgroup != own_cgroup()).collect();
    assert!(leaves.len() + 1 >= host.pids.len(), "{leaves:?}");
    leaves
}

#[track_caller]
fn assert_removed(leaves: &[PathBuf], report: &RecoveryReport) {
    for leaf in leaves {
        assert!(!leaf.exists(), "{} is left\n{report}", leaf.display());
    }
}

/// A process lets go of its pipes before it leaves its cgroup.
fn await_empty(leaves: &[PathBuf]) {
    let is_empty = |leaf: &PathBuf| {
        let events = fs::read_to_string(leaf.join("cgroup.events")).unwrap_or_default();
        // Somebody else who was built meanwhile has removed it.
        events.contains("populated 0") || !leaf.exists()
    };
    eventually("they are empty", || leaves.iter().all(is_empty));
}

fn everything_is_ended(registry: &Registry, mut host: Host) {
    let leaves = leaves(&host);
    host.kill();
    let report = registry.recover().works();
    clean(&report);
    assert_eq!(report.ended(), 4, "{report}");
    assert!(report.to_string().contains("cgroup"), "{report}");
    host.assert_gone();
    assert_removed(&leaves, &report);
}

fn what_a_killed_host_left_in_cgroups_is_ended_and_they_are_removed() {
    let host = Host::start(name(), "-", &ALL);
    let registry = builder(name(), "-").stop_policy(StopPolicy::immediate());
    everything_is_ended(&registry.build().works(), host);
}

fn a_host_of_the_tier_recovers_them_as_well() {
    let ledger = scratch();
    let host = Host::start(name(), text(ledger.path()), &ALL);
    // By the default ladder: who obeys SIGTERM does.
    let registry = builder(name(), "-").containment(Containment::Cgroup);
    everything_is_ended(&registry.build().works(), host);
}

/// Becomes a comet of which nothing tells whose it is.
fn forgotten_comet() {
    let mut comet = role("unmarked_comet");
    let error = comet.arg("leaves").env_remove("PROCESSION_MARK").exec();
    panic!("a role can be started: {error}");
}

/// Hardly any of its generations is met alive. The cgroup is met.
fn a_comet_without_a_mark_is_ended_with_the_cgroup_that_it_is_in() {
    let what = [name(), "-", "cgroup", "native:forgotten_comet"];
    let mut host = Host::of(role("victim").args(what));
    let mut said = [host.line(), host.line()];
    said.sort();
    assert_eq!(said, ["ready", "up"]);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    host.assert_gone();
}

// ---- who is not touched

fn the_cgroup_of_a_host_that_lives_is_left_alone() {
    let host = Host::start(name(), "-", &ALL);
    let leaves = leaves(&host);
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    let alive = |at| !host.pinned(at).is_dead();
    assert!((0..4).all(alive), "{report}");
    assert!(leaves.iter().all(|leaf| leaf.exists()), "{report}");
    host.clear_away();
    await_empty(&leaves);
    drop(contained(name()).build().works());
    assert_removed(&leaves, &report);
}

fn the_cgroup_of_a_host_of_another_name_is_left_alone() {
    let other = format!("not-{}", name());
    let mut host = Host::start(&other, "-", &ALL);
    let leaves = leaves(&host);
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    assert!((0..4).all(|at| !host.pinned(at).is_dead()), "{report}");
    let (_other, report) = recover_as(&other, "-");
    clean(&report);
    host.assert_gone();
    assert_removed(&leaves, &report);
}

/// In the session of a host that dies: recovers once that has happened, and says what came of it.
fn heir_within() {
    let registry = contained(name()).build().works();
    registry.spawn(1, &mut native("vanishing_daemon")).works();
    // Before anybody can know that it is there: the host is killed then.
    let parent = std::os::unix::process::parent_id();
    say(std::process::id());
    eventually("its host is dead", || {
        std::os::unix::process::parent_id() != parent
    });
    let report = registry.recover().works();
    say(format!("ended {}", report.ended()));
    let left = registry.end_session(1).works();
    say(format!("left {}", left.leftovers().count()));
    drop(registry);
    say("over");
}

fn a_host_in_the_cgroup_of_the_dead_one_spares_itself() {
    let what = ["cgroup", "1=std:heir_within", "1=native:vanishing_daemon"];
    let mut host = Host::of(role("victim").args([name(), "-"]).args(what));
    host.await_up(3);
    let forgetful = |pid: &&u32| has_forgotten(**pid);
    eventually("both have forgotten", || {
        host.pids.iter().filter(forgetful).count() == 2
    });
    let leaf = cgroup_of(&host.pids[0].to_string());
    host.kill();
    let said: Vec<String> = (0..3).map(|_| host.line()).collect();
    // Of the dead one's own there is the daemon beside it; the other one is its own, and is ended with its session.
    assert_eq!(said, ["ended 1", "left 1", "over"]);
    eventually("nobody is left", || {
        crate::support::adversary::is_abandoned(host.output.get_mut(), ms(0))
    });
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 0, "{report}");
    assert_removed(&[leaf], &report);
}

// ---- cgroups in cgroups, and taken over

fn cgroups_within_a_cgroup_are_ended_with_it() {
    let inner = format!(
        "1=native:victim,{},-,cgroup,native:vanishing_daemon,stays",
        name()
    );
    let mut host = Host::of(role("victim").args([name(), "-", "cgroup", &inner]));
    host.await_up(1);
    let pids = host.pids.clone();
    eventually("it has forgotten", || has_forgotten(pids[0]));
    let leaf = cgroup_of(&host.pids[0].to_string());
    let outer = leaf.parent().expect("it is in another").to_owned();
    host.kill();
    let (_registry, report) = recover_as(name(), "-");
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
    assert_removed(&[leaf, outer], &report);
}

fn a_cgroup_is_taken_over_with_its_processes() {
    let what = [
        "cgroup",
        "1=native:vanishing_daemon",
        "1=native:lingers",
        "2=native:lingers",
    ];
    let mut host = Host::start(name(), "-", &what);
    let leaves = leaves(&host);
    host.kill();
    let registry = contained(name()).build().works();
    let report = registry.recover_with(RecoveryPolicy::Adopt).works();
    let adopted = report.adopted();
    let numbers: Vec<u64> = adopted.iter().map(|(id, _)| id.as_u64()).collect();
    assert_eq!(numbers, [1, 2], "{report}");
    assert_eq!(registry.session_processes(1).works().len(), 2, "{report}");
    // What is started from here on has a cgroup of its own, in the same session.
    let (more, _lines) = start(&registry, 1, &mut role("obedient"));
    let another = cgroup_of(&more.pid().to_string());
    assert!(!leaves.contains(&another));
    let again = registry.recover().works();
    assert_eq!(again.ended(), 0, "{again}");
    let ended = registry.end_session(1).works();
    assert!(ended.is_clean() && ended.members().len() == 3, "\n{ended}");
    assert!(!another.exists());
    // In the order in which they said their pids: not that of their sessions.
    let there = leaves.iter().filter(|leaf| leaf.exists()).count();
    assert_eq!(there, 1, "that of session 2");
    assert!(registry.end_session(2).works().is_clean());
    host.assert_gone();
    assert_removed(&leaves, &report);
}

fn who_is_spared_keeps_the_cgroup_and_the_others_are_ended() {
    let what = [
        "cgroup",
        "1=native:daemon",
        "1=native:vanishing_daemon",
        "1=native:lingers",
    ];
    let mut host = Host::start(name(), "-", &what);
    let leaves = leaves(&host);
    host.kill();
    let registry = contained(name())
        .spare(|process| process.args().iter().any(|arg| arg == "role:daemon"))
        .build()
        .works();
    let report = registry.recover().works();
    assert_eq!(report.ended(), 2, "{report}");
    // Beside what other programs have on this machine.
    let left = report.left_alone().iter().map(|one| one.pid());
    let spared: Vec<u32> = left.filter(|pid| host.pids.contains(pid)).collect();
    assert_eq!(spared.len(), 1, "{report}");
    assert!(Pinned::open(spared[0]).is_ok_and(|one| !one.is_dead()));
    assert!(leaves[0].exists(), "{report}");
    let (_registry, report) = recover_as(name(), "-");
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
    assert_removed(&leaves, &report);
}

/// One of them removes what the other holds.
fn two_hosts_at_once_recover_the_same_cgroups() {
    for _ in 0..5 {
        let mut host = Host::start(name(), "-", &ALL);
        let leaves = leaves(&host);
        host.kill();
        let reports: Vec<RecoveryReport> = std::thread::scope(|scope| {
            let both = [0, 1].map(|_| scope.spawn(|| recover_as(name(), "-").1));
            both.map(|one| one.join().expect("it does not panic"))
                .into()
        });
        reports.iter().for_each(clean);
        assert_removed(&leaves, &reports[0]);
        host.assert_gone();
    }
}

/// Starts and ends without a pause, until it is killed. Nothing that it starts keeps a mark.
fn restless() {
    let registry = contained(name()).build().works();
    say("up");
    for session in 0.. {
        let session = session % 4;
        registry
            .spawn(session, &mut native("vanishing_daemon"))
            .works();
        registry.spawn(session, &mut native("daemon")).works();
        if session == 3 {
            drop(registry.end_session(0).works());
        }
    }
}

fn a_contained_host_killed_at_any_moment_leaves_nothing() {
    for round in Rounds::new() {
        let mut host = Host::of(&mut role("restless"));
        while host.line() != "up" {}
        let_pass(ms(round * 7 % 40));
        let below = cgroup_of("self");
        let prefix = format!("procession-{}-", host.child.id());
        host.kill();
        let (_registry, report) = recover_as(name(), "-");
        clean(&report);
        let gone = crate::support::adversary::is_abandoned(host.output.get_mut(), ms(0));
        assert!(gone, "round {round}:\n{report}");
        let entries = fs::read_dir(below).expect("it can be read").flatten();
        let is_its = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&prefix);
        let left = entries.filter(|entry| is_its(&entry.file_name())).count();
        assert_eq!(left, 0, "round {round}:\n{report}");
    }
}

// ---- the tier Subreaper

/// Its orphans went elsewhere when it died. One that has taken off every mark is nobody's then.
fn what_a_killed_subreaper_left_is_known_by_its_marks() {
    let ledger = scratch();
    let what = [
        "subreaper",
        "native:lingers",
        "std:daemon",
        "native:thorough_daemon",
        "then",
        "native:vanishing_daemon",
    ];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    let unmarked = host.pinned(3);
    host.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 3, "{report}");
    assert!(!unmarked.is_dead(), "nothing says whose it is\n{report}");
    host.clear_away();
    // A subreaper recovers what another one has left: nothing of it is a child of its.
    let mut host = Host::start(name(), "-", &what[..3]);
    host.kill();
    let registry = builder(name(), "-")
        .subreaper(true)
        .containment(Containment::Subreaper)
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    let report = registry.recover().works();
    clean(&report);
    assert_eq!(report.ended(), 2, "{report}");
    host.assert_gone();
}

// ---- sweeps and reapers beside such sessions

/// A daemon without a mark in session 1, of which the first process stays.
fn vanished(registry: &Registry) -> (Tree, Pinned) {
    let mut tree = native_tree(registry, 1, "vanishing_daemon", &["stays"]);
    tree.await_ready();
    let pid = tree.number();
    eventually("it has forgotten", || has_forgotten(pid));
    (tree, Pinned::open(pid).expect("it lives"))
}

fn this_one(pid: u32) -> OrphanRule {
    OrphanRule::matching("this one", move |process| process.pid() == pid)
}

#[track_caller]
fn assert_left_alone(report: &SweepReport, pinned: &Pinned, reason: LeftAloneReason) {
    assert_eq!(report.found(), 0, "\n{report}");
    assert!(!pinned.is_dead(), "\n{report}");
    let left = report.left_alone();
    let left = left.iter().find(|left| left.pid == pinned.pid());
    assert_eq!(left.map(|left| left.reason), Some(reason), "\n{report}");
}

/// What a sweep of the host's and one of a reaper's do about it.
fn nobody_sweeps(registry: &Registry, pinned: &Pinned, reason: LeftAloneReason) {
    let rule = this_one(pinned.pid());
    let report = registry.sweep(&rule).works();
    assert_left_alone(&report, pinned, reason);
    let options = ReaperOptions::every(Duration::MAX).sweep(rule);
    let reaper = registry.start_reaper(options, || Some(vec![1_u64])).works();
    let report = reaper.run_now().works();
    let swept = report.swept().expect("it has a rule");
    assert_left_alone(swept, pinned, reason);
    assert_eq!(report.ended(), 0, "\n{report}");
}

fn a_sweep_and_a_reaper_leave_a_cgroups_members_alone() {
    let registry = contained(name()).build().works();
    let (mut tree, pinned) = vanished(&registry);
    let rule = OrphanRule::reparented().and(this_one(pinned.pid()));
    let report = registry.sweep(&rule).works();
    assert_left_alone(&report, &pinned, LeftAloneReason::InSession(1.into()));
    nobody_sweeps(&registry, &pinned, LeftAloneReason::InSession(1.into()));
    drop(crate::support::clean(registry.end_session(1).works()));
    tree.assert_gone();
}

fn a_sweep_leaves_the_members_of_another_hosts_cgroup_alone_while_that_lives() {
    let registry = crate::support::registry();
    let mut host = Host::start(name(), "-", &["cgroup", "native:vanishing_daemon"]);
    let leaves = leaves(&host);
    let pinned = host.pinned(0);
    let lives = LeftAloneReason::OwnerLives {
        pid: host.child.id(),
    };
    nobody_sweeps(&registry, &pinned, lives);
    host.kill();
    let report = registry.sweep(&this_one(pinned.pid())).works();
    assert_eq!(report.ended(), 1, "\n{report}");
    assert!(pinned.is_dead());
    host.assert_gone();
    await_empty(&leaves);
    drop(contained(name()).build().works());
    assert!(!leaves[0].exists());
}

/// Nothing tells of which session it is: not of none, as long as one lives.
fn a_sweep_and_a_reaper_leave_a_subreapers_orphans_alone() {
    let registry = crate::support::builder()
        .subreaper(true)
        .containment(Containment::Subreaper)
        .build()
        .works();
    let (mut tree, pinned) = vanished(&registry);
    nobody_sweeps(&registry, &pinned, LeftAloneReason::MayBeInSession);
    drop(crate::support::clean(registry.end_session(1).works()));
    assert!(pinned.is_dead());
    tree.assert_gone();
}


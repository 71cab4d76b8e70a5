//! The tier `Cgroup`: a cgroup for each life, from which a member cannot hide. What is proven, and what is only observed.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use procession::{
    Capability, Command, Containment, How, Means, Proof, Registry, Rung, SessionOptions, SessionReport,
    Signal, SpawnOptions, StopPolicy, Strength,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::adversary::{
    await_abandoned, cgroup_of, comet, daemon, fork_bomb, leaves_below, leaves_its_cgroup, lingers,
    nests_a_cgroup, own_cgroup, thorough_daemon, unmarked_comet, vanishing_daemon,
    wrapper_of_a_deaf_server,
};
use crate::support::tree::{Tree, cgroup_host, contained, native, native_tree, native_tree_of, tree};
use crate::support::{
    builder, Lines, Pinned, Works, clean, close, close_with, eventually, ms, pipe, role,
    role_of, say, start, test,
};

/// Nobody's user and group, with no rights to any cgroup.
const NOBODY: u32 = 65_534;

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(who_cannot_leave_is_proven_to_be_gone).looks_at_others()
                .needs_root()
                .needs_cgroups(),
            test!(who_could_leave_is_only_observed_to_be_gone).needs_cgroups(),
            test!(a_daemon_without_any_mark_is_ended).needs_cgroups(),
            test!(comets_are_dead_with_a_proof)
                .needs_root()
                .needs_cgroups(),
            test!(a_fork_bomb_is_ended_in_one_go).needs_cgroups(),
            test!(a_wrapper_that_obeys_while_its_server_does_not_is_escalated).needs_cgroups(),
            test!(a_nested_cgroup_is_ended_and_removed_as_well)
                .needs_root()
                .needs_cgroups(),
            test!(who_is_frozen_is_thawed_to_hear_the_signal)
                .needs_root()
                .needs_cgroups(),
            test!(who_is_frozen_is_killed).looks_at_others().needs_root().needs_cgroups(),
            test!(who_was_moved_out_is_found_by_its_mark_and_nothing_is_proven)
                .needs_root()
                .needs_cgroups(),
            test!(a_member_that_leaves_a_delegated_cgroup_is_ended_and_nothing_is_proven)
                .needs_root()
                .needs_cgroups(),
            test!(an_end_without_a_free_descriptor_is_proven_all_the_same)
                .needs_root()
                .needs_cgroups(),
            test!(of_who_is_outside_nothing_is_claimed_without_a_free_descriptor)
                .needs_root()
                .needs_cgroups(),
            test!(a_session_says_what_its_processes_have_used).needs_cgroups(),
            test!(who_is_spared_is_moved_out_and_lives).needs_cgroups(),
            test!(twenty_sessions_end_at_once_each_with_its_own).needs_cgroups(),
            test!(a_session_may_have_a_tier_of_its_own).needs_cgroups(),
            test!(a_number_that_lives_again_has_another_cgroup).needs_cgroups(),
            test!(a_registry_inside_a_session_ends_its_own_and_is_ended_with_it)
                .needs_root()
                .needs_cgroups(),
            test!(members_looks_into_the_cgroup).needs_cgroups(),
        ],
        &[
            role_of!(comet),
            role_of!(daemon),
            role_of!(fork_bomb),
            role_of!(leaves_its_cgroup),
            role_of!(lingers),
            role_of!(nests_a_cgroup),
            role_of!(thorough_daemon),
            role_of!(unmarked_comet),
            role_of!(vanishing_daemon),
            role_of!(wrapper_of_a_deaf_server),
            role_of!(cgroup_host),
            role_of!(daemon_once_moved),
            role_of!(delegated_host),
        ],
    )
}

/// A role that runs as somebody who has no right to any cgroup.
fn as_nobody(name: &str, args: &[&str]) -> Command {
    let mut command = native(name);
    command.args(args).uid(NOBODY).gid(NOBODY);
    command
}

fn proven() -> Strength {
    Strength::Proven(Proof::CgroupEmpty)
}

fn observed() -> Strength {
    Strength::Observed(Means::Cgroup)
}

/// The directory of a member's cgroup.
fn leaf_of(tree: &Tree) -> PathBuf {
    cgroup_of(&tree.leader.pid().to_string())
}

fn who_cannot_leave_is_proven_to_be_gone() {
    let registry = contained();
    assert!(registry.capabilities().has(Capability::CgroupTier));
    for name in ["daemon", "thorough_daemon", "vanishing_daemon"] {
        let mut tree = native_tree_of(&registry, 1, as_nobody(name, &["stays"]));
        tree.await_ready();
        let daemon = tree.number();
        let leaf = leaf_of(&tree);
        assert_eq!(cgroup_of(&daemon.to_string()), leaf);
        let report = clean(registry.end_session(1).works());
        tree.assert_gone();
        assert_eq!(report.strength(), &proven(), "\n{report}");
        assert!(report.covers_descendants());
        let found = report.leftovers().any(|member| member.pid() == daemon);
        assert!(found, "\n{report}");
        assert!(!leaf.exists(), "{} is left", leaf.display());
    }
}

/// What std starts is moved in a moment after its start; what it forks before that stays outside.
fn daemon_once_moved() {
    let is_inside = || cgroup_of("self") != cgroup_of(&std::os::unix::process::parent_id().to_string());
    eventually("it is moved", is_inside);
    daemon();
}

/// The super-user can move itself to any other cgroup, and what std started was moved in a moment late.
fn who_could_leave_is_only_observed_to_be_gone() {
    let registry = contained();
    for by in [tree, native_tree] {
        let mut tree = by(&registry, 1, "daemon_once_moved", &["leaves"]);
        tree.await_ready();
        let leaf = cgroup_of(&tree.number().to_string());
        let report = clean(registry.end_session(1).works());
        tree.assert_gone();
        assert_eq!(report.strength(), &observed(), "\n{report}");
        assert!(report.covers_descendants());
        assert!(!leaf.exists(), "{} is left", leaf.display());
    }
}

fn a_daemon_without_any_mark_is_ended() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "vanishing_daemon", &["leaves"]);
    tree.await_ready();
    tree.leader.wait().works();
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    assert!(report.leftovers().count() >= 1, "\n{report}");
    assert_eq!(report.gone_before(), 1);
}

fn comets_are_dead_with_a_proof() {
    let said = std::env::var("PROCESSION_COMETS").ok();
    let comets = said.and_then(|text| text.parse().ok()).unwrap_or(20);
    let registry = contained();
    for round in 0..comets {
        let stays = if round % 2 == 0 { "stays" } else { "leaves" };
        let name = if round % 4 < 2 {
            "comet"
        } else {
            "unmarked_comet"
        };
        let mut tree = native_tree_of(&registry, 1, as_nobody(name, &[stays]));
        tree.await_ready();
        let report = registry.end_session_with(1, &StopPolicy::immediate());
        let report = clean(report.works());
        tree.assert_gone();
        assert_eq!(report.strength(), &proven(), "\n{report}");
    }
}

fn a_fork_bomb_is_ended_in_one_go() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "fork_bomb", &["4", "scatter"]);
    for _ in 0..64 {
        tree.await_ready();
    }
    let report = registry.end_session_with(1, &StopPolicy::immediate());
    let report = clean(report.works());
    tree.assert_gone();
    assert!(report.members().len() > 64, "\n{report}");
}

fn a_wrapper_that_obeys_while_its_server_does_not_is_escalated() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "wrapper_of_a_deaf_server", &[]);
    tree.await_ready();
    let server = tree.number();
    let policy = StopPolicy::new().signal(Signal::TERM, ms(50)).kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    tree.assert_gone();
    let of = |pid| {
        let of_it = report.members().iter().find(|member| member.pid() == pid);
        of_it.map(procession::MemberReport::how)
    };
    let obeyed = Some(How::At(Rung::Signal(Signal::TERM)));
    assert_eq!(of(tree.leader.pid()), obeyed, "\n{report}");
    assert_eq!(of(server), Some(How::At(Rung::Kill)), "\n{report}");
}

fn a_nested_cgroup_is_ended_and_removed_as_well() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "nests_a_cgroup", &[]);
    tree.await_ready();
    let nested = tree.number();
    let leaf = leaf_of(&tree);
    assert!(cgroup_of(&nested.to_string()).starts_with(&leaf));
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    assert!(!leaf.exists(), "{} is left", leaf.display());
    assert_eq!(report.members().len(), 2, "\n{report}");
}

fn freeze(leaf: &Path) {
    fs::write(leaf.join("cgroup.freeze"), "1").expect("it can be frozen");
    let frozen = || {
        let events = fs::read_to_string(leaf.join("cgroup.events")).unwrap_or_default();
        events.contains("frozen 1")
    };
    eventually("it is frozen", frozen);
}

fn who_is_frozen_is_thawed_to_hear_the_signal() {
    let registry = contained();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    freeze(&cgroup_of(&child.pid().to_string()));
    let report = clean(registry.end_session(1).works());
    let how = report.members()[0].how();
    assert_eq!(how, How::At(Rung::Signal(Signal::TERM)), "\n{report}");
}

fn who_is_frozen_is_killed() {
    let registry = contained();
    let mut tree = native_tree_of(&registry, 1, as_nobody("daemon", &["stays"]));
    tree.await_ready();
    freeze(&leaf_of(&tree));
    close_with(&registry, 1, &StopPolicy::immediate());
    tree.assert_gone();
}

fn who_was_moved_out_is_found_by_its_mark_and_nothing_is_proven() {
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let daemon = tree.number();
    let outside = own_cgroup().join("cgroup.procs");
    fs::write(outside, daemon.to_string()).expect("the super-user may");
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    assert_eq!(report.strength(), &observed(), "\n{report}");
}

/// A directory that belongs to a user without privileges, as systemd delegates it.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Self {
        let path = own_cgroup().join(format!("procession-test-{}", std::process::id()));
        fs::create_dir(&path).expect("the super-user may");
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            chown(path.join(file), Some(NOBODY), Some(NOBODY)).expect("the super-user may");
        }
        Self(path)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                fs::remove_dir(entry.path()).expect("it is empty");
            }
        }
        fs::remove_dir(&self.0).expect("it is empty");
    }
}

/// The host of a user without privileges, in a cgroup that was delegated to it.
fn delegated_host() {
    assert!(!rustix::process::geteuid().is_root());
    let parent = own_cgroup();
    let sibling = parent.join("sibling");
    fs::create_dir(&sibling).expect("it was delegated");
    let registry = contained();
    let mut tree = native_tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let daemon = Pinned::open(tree.number()).expect("it lives");
    let report = clean(registry.end_session(1).works());
    assert!(daemon.is_dead());
    assert_eq!(report.strength(), &observed(), "\n{report}");
    // One that leaves for a sibling, which its user may write to.
    let to = sibling.to_str().expect("a path of ours").to_owned();
    let mut tree = native_tree(&registry, 1, "leaves_its_cgroup", &[&to]);
    tree.await_ready();
    let refugee = tree.number();
    assert_eq!(cgroup_of(&refugee.to_string()), sibling);
    let refugee = Pinned::open(refugee).expect("it lives");
    let report = clean(registry.end_session(1).works());
    assert!(refugee.is_dead(), "\n{report}");
    assert_eq!(report.strength(), &observed(), "\n{report}");
    fs::remove_dir(&sibling).expect("it is empty");
    say("as it should be");
}

fn a_member_that_leaves_a_delegated_cgroup_is_ended_and_nothing_is_proven() {
    let delegated = Delegated::new();
    let registry = crate::support::registry();
    let (output, writer) = pipe();
    let mut command = native("delegated_host");
    command.uid(NOBODY).gid(NOBODY);
    command.stdout(procession::Stdio::from(writer));
    // It starts in there, as in a session that systemd has set up.
    let home = fs::read_to_string("/proc/self/cgroup").expect("it can be read");
    let before = own_cgroup();
    fs::write(delegated.0.join("cgroup.procs"), "0").expect("the super-user may");
    let host = registry.spawn(1, &mut command).works();
    fs::write(before.join("cgroup.procs"), "0").expect("the super-user may");
    assert_eq!(
        fs::read_to_string("/proc/self/cgroup").expect("it can be read"),
        home
    );
    drop(command);
    Lines::new(output).expect("as it should be");
    assert!(host.wait().works().success());
    close(&registry, 1);
}

/// Ends session 1 while no descriptor is to be had.
fn end_without_a_descriptor(registry: &Registry) -> SessionReport {
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, none).expect("a limit may be lowered");
    let report = registry.end_session_with(1, &StopPolicy::immediate());
    setrlimit(Resource::Nofile, before).expect("and raised again");
    clean(report.works())
}

fn an_end_without_a_free_descriptor_is_proven_all_the_same() {
    let registry = contained();
    let mut tree = native_tree_of(&registry, 1, as_nobody("daemon", &["stays"]));
    tree.await_ready();
    let report = end_without_a_descriptor(&registry);
    tree.assert_gone();
    assert_eq!(report.strength(), &proven(), "\n{report}");
}

/// Whoever had left was looked for in vain, and the report said the same as if nobody had been seen: the torture found it.
fn of_who_is_outside_nothing_is_claimed_without_a_free_descriptor() {
    let registry = contained();
    let own = own_cgroup();
    let mut tree = tree(&registry, 1, "leaves_its_cgroup", &[&own.to_string_lossy()]);
    tree.await_ready();
    let outside = Pinned::open(tree.number()).expect("it lives");
    let report = end_without_a_descriptor(&registry);
    assert!(!outside.is_dead());
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader), "\n{report}");
    assert!(!report.covers_descendants());
    outside.kill();
    await_abandoned(tree.output.get_mut());
}

fn a_session_says_what_its_processes_have_used() {
    let registry = contained();
    let mut command = Command::new("sh");
    command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
    let busy = registry.spawn(1, &mut command).works();
    assert!(busy.wait().works().success());
    let report = clean(registry.end_session(1).works());
    let used = report.usage().expect("the cgroup counts");
    assert!(used.cpu > ms(0), "{used:?}");
    // Elsewhere it is what the exits tell.
    let registry = crate::support::registry();
    let busy = registry.spawn(1, &mut command).works();
    assert!(busy.wait().works().success());
    let report = clean(registry.end_session(1).works());
    let used = report.usage().expect("its exit tells");
    assert!(used.cpu > ms(0) && !used.complete, "{used:?}");
}

fn who_is_spared_is_moved_out_and_lives() {
    let registry = builder()
        .containment(Containment::Cgroup)
        .spare(|process| process.args().iter().any(|arg| arg == "role:daemon"))
        .build()
        .works();
    let mut tree = native_tree(&registry, 1, "daemon", &["leaves"]);
    tree.await_ready();
    let daemon = tree.number();
    let pinned = Pinned::open(daemon).expect("it lives");
    tree.leader.wait().works();
    let report = clean(registry.end_session(1).works());
    assert!(!pinned.is_dead(), "\n{report}");
    assert!(
        report.claims().iter().any(|claim| claim.pid == daemon),
        "\n{report}"
    );
    pinned.kill();
    await_abandoned(tree.output.get_mut());
}

fn twenty_sessions_end_at_once_each_with_its_own() {
    let registry = contained();
    let mut trees: Vec<Tree> = (1..=20)
        .map(|session| {
            let mut tree = native_tree(&registry, session, "daemon", &["stays"]);
            tree.await_ready();
            tree
        })
        .collect();
    let reports = registry.shutdown_with(&StopPolicy::immediate()).works();
    assert_eq!(reports.len(), 20);
    for report in reports {
        assert_eq!(clean(report).members().len(), 2);
    }
    trees.iter_mut().for_each(Tree::assert_gone);
    assert_eq!(leaves_below(&own_cgroup()), 0);
}

fn a_session_may_have_a_tier_of_its_own() {
    let registry = crate::support::registry();
    let options = SessionOptions::new().containment(Containment::Cgroup);
    let session = registry.open_session(options).works();
    let child = session.spawn(&mut native("lingers")).works();
    assert_ne!(cgroup_of(&child.pid().to_string()), own_cgroup());
    // Another tier for one process: the weakest counts.
    let one = SpawnOptions::new().containment(Containment::Group);
    let other = session.spawn_with(&mut native("lingers"), &one).works();
    assert_eq!(cgroup_of(&other.pid().to_string()), own_cgroup());
    let report = clean(session.end().works());
    let weakest = Strength::Observed(Means::MarkAndGroup);
    assert_eq!(report.strength(), &weakest, "\n{report}");
}

fn a_number_that_lives_again_has_another_cgroup() {
    let registry = contained();
    let mut before = None;
    for _ in 0..3 {
        let (child, _lines) = start(&registry, 1, &mut role("obedient"));
        let leaf = cgroup_of(&child.pid().to_string());
        close(&registry, 1);
        assert!(!leaf.exists());
        assert_ne!(before.replace(leaf.clone()), Some(leaf));
    }
}

fn a_registry_inside_a_session_ends_its_own_and_is_ended_with_it() {
    let registry = contained();
    let (output, writer) = pipe();
    // In its cgroup from birth: it looks for its own at once.
    let mut command = native("cgroup_host");
    let input = procession::Stdio::piped();
    command.stdin(input).stdout(procession::Stdio::from(writer));
    let host = registry.spawn(1, &mut command).works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let inner = Pinned::open(lines.number()).expect("it lives");
    let leaf = PathBuf::from(lines.line());
    let outer = cgroup_of(&host.pid().to_string());
    assert!(leaf.starts_with(&outer) && leaf != outer);
    close_with(&registry, 1, &StopPolicy::immediate());
    assert!(inner.is_dead() && !outer.exists());
}

fn members_looks_into_the_cgroup() {
    let registry = contained();
    let session = registry.open_session(SessionOptions::new()).works();
    let (output, writer) = pipe();
    let mut command = native("vanishing_daemon");
    command
        .arg("leaves")
        .stdout(procession::Stdio::from(writer));
    session.spawn(&mut command).works().wait().works();
    drop(command);
    let mut lines = Lines::new(output);
    lines.expect("ready");
    let daemon = lines.number();
    let members = session.members().works();
    assert!(
        members.iter().any(|member| member.pid == daemon),
        "{members:?}"
    );
    let pinned = Pinned::open(daemon).expect("who only looks ends nobody");
    drop(clean(session.end().works()));
    assert!(pinned.is_dead());
}


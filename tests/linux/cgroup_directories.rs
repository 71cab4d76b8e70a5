//! The directories of the tier `Cgroup`: where they can be made, and that none is left.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use procession::{Capability, Command, Containment, ErrorKind, SpawnOptions};

use crate::support::adversary::{cgroup_of, daemon, leaves_below, lingers, own_cgroup};
use crate::support::tree::{cgroup_host, contained, native, native_tree, tree};
use crate::support::{
    Pinned, Works, builder, close, descriptors, eventually, host, role, role_of, start, test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(what_a_dead_host_left_empty_is_removed_and_a_living_ones_is_not).needs_cgroups(),
            test!(a_host_whose_own_cgroup_was_killed_before_can_launch)
                .needs_root()
                .needs_cgroups(),
            test!(a_failed_spawn_leaves_no_cgroup).needs_cgroups(),
            test!(a_directory_that_is_no_cgroup_is_refused_by_name),
            test!(up_to_a_tier_is_what_there_is),
        ],
        &[role_of!(cgroup_host), role_of!(daemon), role_of!(lingers)],
    )
}

/// A host that has a session, and says where.
fn what_a_dead_host_left_empty_is_removed_and_a_living_ones_is_not() {
    let (mut dead, control, mut lines) = host(&mut role("cgroup_host"));
    let child = Pinned::open(lines.number()).expect("it lives");
    let left = PathBuf::from(lines.line());
    let (mut alive, second, mut lines) = host(&mut role("cgroup_host"));
    let other = Pinned::open(lines.number()).expect("it lives");
    let kept = PathBuf::from(lines.line());
    dead.kill().expect("our child");
    dead.wait().expect("our child");
    // Its process lives on: the cgroup is not empty.
    drop(contained());
    assert!(left.exists());
    child.kill();
    child.assert_dies();
    let empty = || {
        let events = fs::read_to_string(left.join("cgroup.events")).unwrap_or_default();
        events.contains("populated 0")
    };
    eventually("it is empty", empty);
    drop(contained());
    assert!(!left.exists(), "{} is left", left.display());
    assert!(kept.exists(), "the cgroup of a living host was removed");
    drop(second);
    drop(control);
    assert!(alive.wait().expect("our child").success());
    assert!(other.is_dead() && !kept.exists());
}

/// A clone into a new cgroup is born killed where the caller sits in one that was ever killed. A write has no such trap.
fn a_host_whose_own_cgroup_was_killed_before_can_launch() {
    let killed = own_cgroup().join(format!("procession-killed-{}", std::process::id()));
    fs::create_dir(&killed).expect("the super-user may");
    fs::write(killed.join("cgroup.kill"), "1").expect("nobody is in it");
    let before = own_cgroup();
    fs::write(killed.join("cgroup.procs"), "0").expect("the super-user may");
    for by in [tree, native_tree] {
        let registry = contained();
        let mut tree = by(&registry, 1, "daemon", &["stays"]);
        tree.await_ready();
        close(&registry, 1);
        tree.assert_gone();
    }
    fs::write(before.join("cgroup.procs"), "0").expect("the super-user may");
    fs::remove_dir(killed).expect("it is empty");
}

fn a_failed_spawn_leaves_no_cgroup() {
    let registry = contained();
    let parent = own_cgroup();
    let open = descriptors();
    assert_eq!(leaves_below(&parent), 0);
    for _ in 0..3 {
        let missing = registry.spawn(1, &mut Command::new("/nowhere/at/all"));
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::SpawnFailed);
        let missing = registry.spawn(1, &mut std::process::Command::new("/nowhere/at/all"));
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::SpawnFailed);
    }
    assert_eq!(leaves_below(&parent), 0);
    assert_eq!(descriptors(), open);
    // One that fails beside another that lives takes nothing away from that.
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    drop(
        registry
            .spawn(1, &mut Command::new("/nowhere/at/all"))
            .unwrap_err(),
    );
    assert_eq!(leaves_below(&parent), 1);
    assert!(cgroup_of(&child.pid().to_string()).starts_with(&parent));
    close(&registry, 1);
    assert_eq!(leaves_below(&parent), 0);
}

fn a_directory_that_is_no_cgroup_is_refused_by_name() {
    let elsewhere = std::env::temp_dir();
    let refused = builder()
        .containment(Containment::Cgroup)
        .cgroup_parent(&elsewhere)
        .build();
    let error = refused.expect_err("it is no cgroup");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let name = elsewhere.display().to_string();
    assert!(error.to_string().contains(&name), "{error}");
    let refused = builder()
        .containment(Containment::Cgroup)
        .cgroup_parent("/nowhere/at/all")
        .build();
    assert!(
        refused
            .expect_err("it is not there")
            .to_string()
            .contains("/nowhere/at/all")
    );
    // Asked for as the best that there is, it is not there, and says why.
    let registry = builder()
        .containment_up_to(Containment::Cgroup)
        .cgroup_parent(&elsewhere)
        .build()
        .works();
    let why = registry.capabilities().why_not(Capability::CgroupTier);
    assert!(why.is_some_and(|why| why.contains(&name)), "{why:?}");
    let process = registry.spawn(1, &mut native("lingers")).works();
    let listed = registry.processes().works();
    assert_eq!(listed[0].containment, Containment::Group);
    assert_eq!(listed[0].id, process.id());
    let cgroup = SpawnOptions::new().containment(Containment::Cgroup);
    let error = registry
        .spawn_with(1, &mut native("lingers"), &cgroup)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    close(&registry, 1);
}

fn up_to_a_tier_is_what_there_is() {
    let best = builder()
        .containment_up_to(Containment::Cgroup)
        .build()
        .works();
    best.spawn(1, &mut native("lingers")).works();
    let there = if best.capabilities().has(Capability::CgroupTier) {
        Containment::Cgroup
    } else {
        Containment::Group
    };
    assert_eq!(best.processes().works()[0].containment, there);
    close(&best, 1);
}

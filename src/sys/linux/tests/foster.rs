//! Where orphans go, on the real kernel. Who is a subreaper, and who is the first process, is tried by the integration
//! tests, which have processes to spare.

use std::process::Command;

use super::support::*;
use crate::sys::*;

#[test]
fn orphans_go_to_an_ancestor_that_is_alive() {
    let facilities = probe(Mask::default()).unwrap();
    let adopter = adopter_of_orphans(&facilities).unwrap();
    assert_ne!(adopter, current_pid());
    assert!(is_ancestor(adopter).unwrap(), "{adopter}");
}

/// Hunts for a trial that ends before its orphan does, and takes its memory away under it.
#[test]
fn trials_at_once_do_not_get_into_each_others_way() {
    let facilities = probe(Mask::default()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let first = adopter_of_orphans(&facilities).unwrap();
                for _ in 0..200 {
                    assert_eq!(adopter_of_orphans(&facilities).unwrap(), first);
                }
            });
        }
    });
}

/// It comes back as another program under a debugger: the trial leaves no child that a host could meet in a wait.
#[test]
fn a_trial_leaves_no_child() {
    let facilities = probe(Mask::default()).unwrap();
    adopter_of_orphans(&facilities).unwrap();
    // A child of ours is there to be found, and nobody else.
    let mut command = Command::new("cat");
    let child = Actor::start(&mut command);
    let mut children = Vec::new();
    let table = ProcessTable::open().unwrap();
    table.children(current_pid(), &mut children);
    assert!(children.contains(&child.pid()));
}

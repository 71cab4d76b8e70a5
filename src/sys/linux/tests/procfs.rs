//! What is read in `/proc`, against what is known.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::support::*;
use crate::sys::vocabulary::Condition;
use crate::sys::*;

#[test]
fn a_process_is_read_as_it_was_started() {
    let mut command = Command::new("cat");
    command
        .args(["-", ""])
        .env_clear()
        .env("A", "1")
        .env("B", "x=y\n");
    let child = Actor::start(&mut command);
    let facts = eventually("it has become cat", || {
        let facts = read_process(child.pid()).unwrap();
        (facts.args == ["cat", "-", ""]).then_some(facts)
    });
    assert_eq!(facts.parent, Some(current_pid()));
    assert!(facts.exe.is_some());
    assert_eq!(facts.user, rustix::process::getuid().as_raw());
    assert!(facts.age < PATIENCE, "{:?}", facts.age);
    let has = |name: &str, value: &str| {
        facts
            .environ
            .variables()
            .any(|one| one == (name.as_ref(), value.as_ref()))
    };
    assert!(has("A", "1") && has("B", "x=y\n"));
    assert_eq!(facts.args, command_line(child.pid()).unwrap());
}

#[test]
fn a_zombie_can_be_read_and_has_no_arguments() {
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    until_dead(&pin);
    let facts = read_process(child.pid()).unwrap();
    assert_eq!(facts.state, 'Z');
    assert!(facts.args.is_empty() && facts.environ == Environ::default() && facts.exe.is_none());
    assert_eq!(command_line(child.pid()).unwrap(), [""; 0]);
    assert_eq!(
        why_alive(child.pid()).unwrap(),
        Condition {
            state: 'Z',
            tracer: 0
        }
    );
}

#[test]
fn a_process_that_is_gone_is_an_error_that_says_so() {
    let mut child = Actor::idle();
    child.hang_up();
    child.steal_status();
    let pid = child.pid();
    let errors = [
        read_process(pid).unwrap_err(),
        command_line(pid).unwrap_err(),
        why_alive(pid).unwrap_err(),
    ];
    for error in errors {
        assert!(is_gone(&error), "{error}");
    }
}

#[test]
fn the_first_process_has_no_parent() {
    assert_eq!(read_process(1).unwrap().parent, None);
}

#[test]
fn ancestors_are_this_process_its_parent_and_the_first_and_nobody_else() {
    let child = Actor::idle();
    assert!(is_ancestor(current_pid()).unwrap());
    assert!(is_ancestor(std::os::unix::process::parent_id()).unwrap());
    assert!(is_ancestor(1).unwrap());
    assert!(!is_ancestor(child.pid()).unwrap());
    assert!(!is_ancestor(u32::MAX).unwrap());
    let all = ancestors();
    assert_eq!(
        all[..2],
        [current_pid(), std::os::unix::process::parent_id()]
    );
    assert_eq!(all.last(), Some(&1));
}

#[test]
fn the_own_identity_is_ours_and_stays() {
    let identity = own_identity(&facilities()).unwrap();
    assert_eq!(identity.pid, current_pid());
    assert_ne!(identity.boot, 0);
    assert_ne!(identity.pid_namespace, 0);
    assert_eq!(facilities().pidfs, identity.inode != 0);
    assert_eq!(own_identity(&facilities()).unwrap(), identity);

    let old = masked(Mask {
        pidfs: true,
        ..Mask::default()
    });
    assert_eq!(own_identity(&old).unwrap().inode, 0);
}

#[test]
fn a_program_may_call_itself_what_it_likes() {
    let dir = std::env::temp_dir().join(format!("procession-names-{}", current_pid()));
    std::fs::create_dir(&dir).unwrap();
    let cat = ["/bin/cat", "/usr/bin/cat"]
        .into_iter()
        .find(|cat| Path::new(cat).exists());
    for name in ["a) R 1 (b", "new\nline", ") ) )", "Uid:\t7", "\\n"] {
        // Not a copy: another test that forks while it is written would keep it from being run.
        let program = dir.join(name);
        symlink(cat.unwrap(), &program).unwrap();
        let child = Actor::start(&mut Command::new(&program));
        let facts = read_process(child.pid()).unwrap();
        let called = std::fs::read(format!("/proc/{}/comm", child.pid())).unwrap();
        assert_eq!(called.strip_suffix(b"\n"), Some(name.as_bytes()));
        assert_eq!(facts.parent, Some(current_pid()), "{name:?}");
        assert_eq!(facts.user, rustix::process::getuid().as_raw());
        std::fs::remove_file(&program).unwrap();
    }
    std::fs::remove_dir(&dir).unwrap();
}

#[test]
fn whoever_is_born_is_counted_process_or_thread() {
    let table = ProcessTable::open().unwrap();
    let births = || table.births().expect("Linux counts them");
    let before = births();
    std::thread::spawn(|| {}).join().unwrap();
    let between = births();
    assert!(before < between);
    drop(Actor::idle());
    assert!(between < births());
}

#[test]
fn a_process_tells_its_parent_until_it_is_reaped() {
    let table = ProcessTable::open().unwrap();
    if !facilities().tells_parents() {
        return;
    }
    let mut child = Actor::idle();
    assert_eq!(table.parent(child.pid()), Some(current_pid()));
    child.hang_up();
    child.steal_status();
    assert_eq!(table.parent(child.pid()), None);
}

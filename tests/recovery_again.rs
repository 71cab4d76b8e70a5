//! Recovery beside all else that a registry does: twice, by two threads, under a reaper, and of what was taken over.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use procession::{
    ErrorKind, LeftAloneReason, OrphanRule, ReaperOptions, Reason, RecoveryPolicy, Signal,
    StopPolicy, WeakRegistry,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::adversary::{daemon, is_abandoned, is_copy, linger, lingers};
use support::orphans::reason_for;
use support::platform::become_user;
use support::victim::{Host, builder, clean, name, recover_as, scratch, text, victim};
use support::{
    LONG_ENOUGH, Rounds, Scratch, Works, argument, asleep, eventually, give_up_the_right_to_kill,
    ignore_signal, ms, role, role_of, say, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_recoverys_session_is_none_of_the_hosts),
            test!(a_reaper_leaves_a_recovery_to_itself),
            test!(a_second_recovery_waits_for_the_first),
            test!(a_recovery_from_within_a_recovery_is_refused),
            test!(what_was_taken_over_starts_is_its_sessions),
            test!(what_was_taken_over_starts_is_its_sessions_also_without_a_variable)
                .needs_limit_marks(),
            test!(who_outlived_a_recovery_is_not_forgotten_by_the_next).needs_root(),
            test!(who_was_taken_over_is_not_forgotten_by_the_next_recovery),
            test!(more_than_there_are_descriptors_is_ended_in_batches),
            test!(one_descriptor_that_is_left_is_no_sign_that_nobody_is),
        ],
        &[
            role_of!(victim),
            role_of!(deaf),
            role_of!(another_user),
            role_of!(starts_later),
            role_of!(heir),
            role_of!(crowd),
            role_of!(lingers),
            role_of!(daemon),
        ],
    )
}

// ---- roles

/// Says its pid, and does not hear SIGTERM.
fn deaf() {
    ignore_signal(libc::SIGTERM);
    lingers();
}

/// Says its pid, and is a user's that nothing on the machine runs as.
fn another_user() {
    say("ready");
    say(std::process::id());
    become_user(61234);
    linger();
}

/// Says its pid, starts a daemon once there is a file of this name, and stays. The second argument says whether
/// that keeps its variable.
fn starts_later() {
    say("ready");
    say(std::process::id());
    let go = PathBuf::from(argument(0));
    eventually("it is told to", || go.exists());
    let mut command = role("daemon");
    if argument(1) == "bare" {
        command.env_remove("PROCESSION_MARK");
    }
    let mut first = command.spawn().expect("a role can be started");
    first.wait().expect("it is our child");
    linger();
}

/// Becomes so many, each in a session of its own, and says its pid.
fn crowd() {
    let count: u32 = argument(0).parse().expect("a number");
    for _ in 1..count {
        if is_copy() {
            rustix::process::setsid().expect("it leads no group");
            linger();
        }
    }
    lingers();
}

/// Takes over what is left, recovers once more, says what came of both, and stays until it is killed.
fn heir() {
    let registry = builder(&argument(0), &argument(1)).build().works();
    let taken_over = registry.recover_with(RecoveryPolicy::Adopt).works();
    let again = registry.recover().works();
    let (taken_over, ended) = (taken_over.adopted().len(), again.ended());
    say(format!("{taken_over} taken over, then {ended} ended"));
    linger();
}

// ---- whose its sessions are

/// From their first moment: who lists sessions while one is opened for a recovery does not see it.
fn a_recoverys_session_is_none_of_the_hosts() {
    let registry = builder(name(), "-")
        .stop_policy(StopPolicy::immediate())
        .build()
        .works();
    std::thread::scope(|scope| {
        let recovers = scope.spawn(|| {
            for _ in Rounds::new() {
                let mut host = Host::start(name(), "-", &["std:lingers", "native:daemon"]);
                host.kill();
                let report = registry.recover().works();
                clean(&report);
                assert_eq!(report.ended(), 2, "{report}");
                let reasons = report.sessions().iter().map(|session| session.reason());
                assert!(reasons.eq([Reason::Recovery]), "{report}");
                host.assert_gone();
            }
        });
        while !recovers.is_finished() {
            let ended = registry.retain_sessions(|_| false).works();
            assert!(ended.is_empty(), "{ended:?}");
        }
        recovers.join().expect("it works");
    });
}

fn a_reaper_leaves_a_recovery_to_itself() {
    let mut host = Host::start(name(), "-", &["std:deaf"]);
    host.kill();
    let patient = StopPolicy::new().signal(Signal::TERM, ms(300)).kill();
    let registry = builder(name(), "-").stop_policy(patient).build().works();
    let strict = ReaperOptions::every(ms(1)).stop_policy(StopPolicy::immediate());
    let _reaper = registry
        .start_reaper(strict, || Some(Vec::<u64>::new()))
        .works();
    let report = registry.recover().works();
    clean(&report);
    assert!(report.took() >= ms(300), "{report}");
    assert_eq!(report.sessions()[0].reason(), Reason::Recovery, "{report}");
    host.assert_gone();
}

// ---- twice

/// What the first one is still ending is nothing that the second could call gone.
fn a_second_recovery_waits_for_the_first() {
    let mut host = Host::start(name(), "-", &["std:deaf"]);
    host.kill();
    let patient = StopPolicy::new().signal(Signal::TERM, ms(3000)).kill();
    let registry = builder(name(), "-").stop_policy(patient).build().works();
    std::thread::scope(|scope| {
        let (first, _) = asleep(scope, || registry.recover().works());
        eventually("it has begun to end it", || {
            !registry.sessions().works().is_empty()
        });
        let second = registry.recover().works();
        clean(&second);
        assert_eq!(second.ended(), 0, "{second}");
        host.assert_gone();
        let first = first.join().expect("it works");
        assert_eq!(first.ended(), 1, "{first}");
    });
}

fn a_recovery_from_within_a_recovery_is_refused() {
    let mut host = Host::start(name(), "-", &["std:lingers"]);
    host.kill();
    let own: Arc<OnceLock<WeakRegistry>> = Arc::default();
    let within = Arc::clone(&own);
    let refused: Arc<OnceLock<Option<ErrorKind>>> = Arc::default();
    let told = Arc::clone(&refused);
    let registry = builder(name(), "-")
        .stop_policy(StopPolicy::immediate())
        .spare(move |_| {
            let registry = within.get().and_then(WeakRegistry::upgrade);
            let inner = registry.expect("it is there").recover();
            let kind = inner.err().map(|error| error.kind());
            told.set(kind).expect("it is asked once");
            false
        })
        .build()
        .works();
    drop(own.set(registry.downgrade()));
    let report = registry.recover().works();
    clean(&report);
    assert_eq!(refused.get(), Some(&Some(ErrorKind::InvalidInput)));
    host.assert_gone();
}

// ---- of what was taken over

/// Its mark is a dead owner's, and its session lives.
fn stays_with_its_session(how: &str) {
    let go = Scratch::unique("go");
    let path = text(go.path()).to_owned();
    std::fs::remove_file(&path).expect("it is ours");
    let what = format!("native:starts_later,{path},{how}");
    let mut host = Host::start(name(), "-", &[&what, "then", "native:lingers"]);
    host.kill();
    // Where others fork for ever it takes its time to see that none of them is of this session.
    let policy = StopPolicy::immediate().confirm_within(LONG_ENOUGH);
    let registry = builder(name(), "-").stop_policy(policy).build().works();
    let report = registry.recover_with(RecoveryPolicy::Adopt).works();
    assert_eq!(report.adopted().len(), 2, "{report}");

    std::fs::write(&path, "").expect("it is ours");
    while host.pids.len() < 3 {
        let line = host.line();
        host.pids.extend(line.parse::<u32>());
    }
    let pid = host.pids[2];
    let daemon = host.pinned(2);
    let again = registry.recover().works();
    assert_eq!(again.ended(), 0, "{again}");
    assert!(again.left_alone().is_empty(), "{again}");
    let again = registry.recover_with(RecoveryPolicy::Adopt).works();
    assert!(again.adopted().is_empty(), "{again}");
    let rule = OrphanRule::matching("it", move |process| process.pid() == pid);
    let swept = registry.sweep(&rule).works();
    assert_eq!(swept.found(), 0, "{swept}");
    let reason = reason_for(&swept, pid);
    assert_eq!(reason, LeftAloneReason::InSession(1.into()), "{swept}");
    assert!(!daemon.is_dead());

    // It is found and ended with the others of its session, and nobody else is.
    let report = registry.end_session(1).works();
    assert!(report.is_clean(), "\n{report}");
    assert!(daemon.is_dead(), "\n{report}");
    assert!(!host.pinned(1).is_dead(), "\n{report}");
    assert!(registry.end_session(2).works().is_clean());
    host.assert_gone();
}

fn what_was_taken_over_starts_is_its_sessions() {
    stays_with_its_session("marked");
}

fn what_was_taken_over_starts_is_its_sessions_also_without_a_variable() {
    stays_with_its_session("bare");
}

/// Of who has lost every mark only the ledger tells: it is settled when nobody of it is left, and not before.
fn who_outlived_a_recovery_is_not_forgotten_by_the_next() {
    let ledger = scratch();
    let what = ["unmarked", "std:another_user"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let pinned = host.pinned(0);
    std::thread::scope(|scope| {
        let powerless = scope.spawn(|| {
            give_up_the_right_to_kill();
            let policy = StopPolicy::immediate().confirm_within(ms(100));
            let registry = builder(name(), text(ledger.path()))
                .stop_policy(policy)
                .build()
                .works();
            let report = registry.recover().works();
            assert_eq!(report.survivors().count(), 1, "{report}");
            let again = registry.recover().works();
            assert_eq!(again.ended(), 0, "{again}");
        });
        powerless.join().expect("it works");
    });
    assert!(!pinned.is_dead());
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
}

fn who_was_taken_over_is_not_forgotten_by_the_next_recovery() {
    let ledger = scratch();
    let what = ["unmarked", "std:lingers"];
    let mut host = Host::start(name(), text(ledger.path()), &what);
    host.kill();
    let mut heir = Host::of(role("heir").args([name(), text(ledger.path())]));
    assert_eq!(heir.line(), "1 taken over, then 0 ended");
    heir.kill();
    let (_registry, report) = recover_as(name(), text(ledger.path()));
    clean(&report);
    assert_eq!(report.ended(), 1, "{report}");
    host.assert_gone();
}

// ---- few descriptors

/// Has this process open no more than so many files beyond those that it has open.
fn leave_descriptors(more: u64) -> Rlimit {
    let open = std::fs::read_dir("/dev/fd").expect("it can be listed");
    let names = open.flatten().map(|entry| entry.file_name());
    let mut taken: Vec<u64> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    taken.sort_unstable();
    // It is numbers that are limited, and those that are open need not be the first. One was for the list itself, and is free.
    let mut limit = more;
    for number in taken {
        limit += u64::from(number <= limit);
    }
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(limit),
        ..before
    };
    setrlimit(Resource::Nofile, few).expect("a soft limit may be lowered");
    before
}

fn more_than_there_are_descriptors_is_ended_in_batches() {
    // Half of them is more than there is; and half of them is enough.
    for descriptors in [40, 200] {
        let mut host = Host::start(name(), "-", &["native:crowd,250"]);
        host.kill();
        let registry = builder(name(), "-")
            .stop_policy(StopPolicy::immediate())
            .build()
            .works();
        let before = leave_descriptors(descriptors);
        let report = registry.recover().works();
        setrlimit(Resource::Nofile, before).expect("its hard limit is as it was");
        // With so few it may not be able to tell that nobody is left.
        assert!(report.ended() > 0, "{report}");
        // They would go by themselves, later.
        assert!(is_abandoned(host.output.get_mut(), ms(2000)));
    }
}

/// What is held takes the last descriptors but a few, and with those nothing can be read of the others.
fn one_descriptor_that_is_left_is_no_sign_that_nobody_is() {
    for more in [1, 2, 3, 5] {
        let mut host = Host::start(name(), "-", &["unlimited", "std:lingers", "std:lingers"]);
        host.kill();
        let registry = builder(name(), "-")
            .stop_policy(StopPolicy::immediate())
            .build()
            .works();
        let before = leave_descriptors(more);
        let recovered = registry.recover();
        setrlimit(Resource::Nofile, before).expect("its hard limit is as it was");
        match recovered {
            // What it says is true.
            Ok(report) => assert!(
                report.ended() == 2 || !report.is_clean(),
                "{more} descriptors\n{report}"
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::System, "{more}: {error}"),
        }
        drop(registry.recover().works());
        // They would go by themselves, later.
        assert!(is_abandoned(host.output.get_mut(), ms(2000)));
    }
}

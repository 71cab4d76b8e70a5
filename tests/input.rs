//! Bad input: a clear error or the right answer, and nothing left over.

mod support;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use procession::{
    ErrorKind, EventMask, How, Limits, Registry, Rung, Signal, SpawnOptions, StopPolicy,
};

use support::{
    Pinned, Works, builder, children, clean, close, close_with, descriptors, drain, ms,
    only_member, registry, role, start, status_field, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(pid_zero_pid_one_and_impossible_pids_are_refused),
            test!(the_host_and_its_ancestors_are_refused),
            test!(a_pid_that_nobody_has_is_refused),
            test!(a_zombie_is_not_taken_for_a_living_process),
            test!(a_thread_is_not_a_process),
            test!(a_policy_without_rungs_is_immediate),
            test!(what_stands_after_sigkill_is_not_reached),
            test!(an_empty_program_is_an_error),
            test!(a_nul_in_a_program_or_an_argument_is_an_error),
            test!(an_argument_list_that_is_too_long_is_an_error),
            test!(impossible_signals_are_refused),
            test!(empty_names_are_refused_or_legal),
            test!(a_limit_of_no_processes_lets_none_in),
            test!(an_event_capacity_of_any_size_is_legal_and_costs_nothing_in_advance),
            test!(an_event_capacity_of_zero_is_an_error_or_works),
            test!(ten_thousand_sessions_are_ended_one_by_one),
            test!(ten_thousand_sessions_that_never_began_leave_nothing),
        ],
        &[],
    )
}

/// Tries to attach a pid, which must be refused before anything happens.
#[track_caller]
fn refused(registry: &Registry, pid: u32) -> ErrorKind {
    let error = registry
        .attach(1, pid, |_| true)
        .expect_err("nothing that could be ended");
    assert!(!error.to_string().is_empty());
    assert!(registry.processes().works().is_empty());
    error.kind()
}

fn pid_zero_pid_one_and_impossible_pids_are_refused() {
    let registry = registry();
    let before = descriptors();
    for pid in [0, 1] {
        assert_eq!(
            refused(&registry, pid),
            ErrorKind::InvalidInput,
            "pid {pid}"
        );
    }
    // As a signed number -1, and the least one: what kill takes for everybody, and for a group.
    for pid in [u32::MAX, i32::MIN.unsigned_abs(), i32::MAX.unsigned_abs()] {
        let kind = refused(&registry, pid);
        assert!(
            matches!(kind, ErrorKind::InvalidInput | ErrorKind::NoSuchProcess),
            "pid {pid}: {kind:?}"
        );
    }
    assert_eq!(descriptors(), before);
}

fn the_host_and_its_ancestors_are_refused() {
    let registry = registry();
    assert_eq!(
        refused(&registry, std::process::id()),
        ErrorKind::InvalidInput
    );
    let mut pid = std::process::id();
    let mut count = 0;
    while let Some(parent) = status_field(pid, "PPid")
        .and_then(|text| text.parse().ok())
        .filter(|&pid| pid != 0)
    {
        assert_eq!(
            refused(&registry, parent),
            ErrorKind::InvalidInput,
            "ancestor {parent}"
        );
        pid = parent;
        count += 1;
    }
    assert!(count > 0);
    close_with(&registry, 1, &StopPolicy::immediate());
}

fn a_pid_that_nobody_has_is_refused() {
    let registry = registry();
    let mut child = role("exits")
        .arg("0")
        .spawn()
        .expect("a role can be started");
    child.wait().expect("our child");
    // It is the next one's only after all others have been given out.
    assert_eq!(refused(&registry, child.id()), ErrorKind::NoSuchProcess);
}

fn a_zombie_is_not_taken_for_a_living_process() {
    let registry = registry();
    let mut child = role("exits")
        .arg("3")
        .spawn()
        .expect("a role can be started");
    Pinned::open(child.id()).expect("our child").assert_dies();
    match registry.attach(1, child.id(), |_| true) {
        // Its exit is known, or nothing is; but it does not live.
        Ok(attached) => {
            let exit = attached
                .wait_timeout(support::LONG_ENOUGH)
                .works()
                .expect("it is dead");
            assert!(exit.code().is_none_or(|code| code == 3), "{exit}");
        }
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::AlreadyExited | ErrorKind::NoSuchProcess),
                "{error}"
            );
        }
    }
    assert_eq!(
        child.wait().expect("its status is still ours").code(),
        Some(3)
    );
    close(&registry, 1);
}

fn a_thread_is_not_a_process() {
    let registry = registry();
    let thread = support::threads()
        .into_iter()
        .find(|&thread| thread != std::process::id());
    let kind = refused(&registry, thread.expect("the reactor is a thread"));
    assert!(
        matches!(kind, ErrorKind::InvalidInput | ErrorKind::NoSuchProcess),
        "{kind:?}"
    );
}

fn a_policy_without_rungs_is_immediate() {
    assert_eq!(StopPolicy::new(), StopPolicy::immediate());
    let registry = registry();
    let (_child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let report = clean(registry.end_session_with(1, &StopPolicy::new()).works());
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
}

fn what_stands_after_sigkill_is_not_reached() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::SIGNALLED);
    let (_child, _lines) = start(&registry, 1, &mut role("ignores-term"));
    let policy = StopPolicy::new()
        .kill()
        .signal(Signal::TERM, Duration::MAX)
        .close_stdin(Duration::MAX)
        .kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    assert_eq!(drain(&events).len(), 1);
}

/// Tries to start a command that cannot be started.
#[track_caller]
fn cannot_start(registry: &Registry, command: &mut Command) -> procession::Error {
    let before = descriptors();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let error = registry
        .spawn(1, command)
        .expect_err("it cannot be started");
    assert!(registry.processes().works().is_empty());
    assert!(children().is_empty());
    assert_eq!(descriptors(), before);
    error
}

fn an_empty_program_is_an_error() {
    let registry = registry();
    let error = cannot_start(&registry, &mut Command::new(""));
    assert!(
        matches!(
            error.kind(),
            ErrorKind::InvalidInput | ErrorKind::SpawnFailed
        ),
        "{error}"
    );
    close(&registry, 1);
}

fn a_nul_in_a_program_or_an_argument_is_an_error() {
    let registry = registry();
    let nul = OsString::from_vec(b"tr\0ue".to_vec());
    for command in [
        &mut Command::new(&nul),
        Command::new("true").arg(&nul),
        Command::new("true").env("A", &nul),
    ] {
        let error = cannot_start(&registry, command);
        assert!(
            matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::SpawnFailed
            ),
            "{error}"
        );
    }
    close(&registry, 1);
}

fn an_argument_list_that_is_too_long_is_an_error() {
    let registry = registry();
    let error = cannot_start(&registry, Command::new("true").arg("x".repeat(64 << 20)));
    assert_eq!(
        (error.kind(), error.raw_os_error()),
        (ErrorKind::SpawnFailed, Some(libc::E2BIG)),
        "{error}"
    );
    close(&registry, 1);
}

fn impossible_signals_are_refused() {
    for number in [0, -1, 65, i32::MAX, i32::MIN] {
        let error = Signal::try_from(number).expect_err("there is no such signal");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
    for name in ["", "SIG", "SIGNOTHING", "0", "TERM\0", "65"] {
        assert_eq!(
            name.parse::<Signal>()
                .expect_err("there is no such signal")
                .kind(),
            ErrorKind::InvalidInput
        );
    }
    assert_eq!(
        "SIGTERM".parse::<Signal>().expect("there is one"),
        Signal::TERM
    );
    assert_eq!(Signal::try_from(9).expect("there is one"), Signal::KILL);
}

fn empty_names_are_refused_or_legal() {
    let nameless = builder().owner_name("").build().map(drop);
    assert_eq!(
        nameless.expect_err("a mark needs a name").kind(),
        ErrorKind::InvalidInput
    );
    let registry = builder().thread_name("").build().expect("a registry");
    let options = SpawnOptions::new().label("");
    let child = registry
        .spawn_with(1, role("exits").arg("0"), &options)
        .expect("a role can be started");
    assert_eq!(child.label(), Some(""));
    child.wait().works();
    close(&registry, 1);
    let nul = builder().thread_name("a\0b").build();
    // No thread can have that name: an error or another name, but no panic.
    drop(nul);
}

fn a_limit_of_no_processes_lets_none_in() {
    let registry = builder()
        .limits(Limits::NONE.processes(0))
        .build()
        .expect("a registry");
    assert_eq!(
        cannot_start(&registry, role("exits").arg("0")).kind(),
        ErrorKind::LimitReached
    );
    close(&registry, 1);
}

fn an_event_capacity_of_any_size_is_legal_and_costs_nothing_in_advance() {
    for capacity in [1 << 40, usize::MAX - 1, usize::MAX] {
        let registry = builder()
            .event_capacity(capacity)
            .kept_reports(usize::MAX)
            .build()
            .expect("it is a number");
        let events = registry.subscribe();
        let child = registry
            .spawn(1, role("exits").arg("0"))
            .expect("a role can be started");
        child.wait().works();
        close(&registry, 1);
        assert!(drain(&events).len() >= 4);
        assert!(registry.last_report(1).works().is_some());
    }
}

fn an_event_capacity_of_zero_is_an_error_or_works() {
    match builder().event_capacity(0).build() {
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        Ok(registry) => {
            let events = registry.subscribe();
            let child = registry
                .spawn(1, role("exits").arg("0"))
                .expect("a role can be started");
            child.wait().works();
            close(&registry, 1);
            assert!(drain(&events).len() <= 2);
        }
    }
}

fn ten_thousand_sessions_are_ended_one_by_one() {
    let registry = registry();
    for session in 0..10_000_u64 {
        let report = clean(registry.end_session(session).works());
        assert!(report.members().is_empty());
    }
    assert!(registry.sessions().works().is_empty());
    let endings: Vec<_> = (0..10_000_u64)
        .map(|session| {
            registry
                .begin_end_session(session, &StopPolicy::immediate())
                .works()
        })
        .collect();
    for ending in endings {
        assert!(clean(ending.wait().works()).members().is_empty());
    }
}

/// A spawn that failed has begun no session: nothing is kept of ten thousand of them.
fn ten_thousand_sessions_that_never_began_leave_nothing() {
    let registry = registry();
    let (_child, _lines) = start(&registry, 0, &mut role("obedient"));
    // It fails before anything is forked, which ten thousand times would take a loaded machine a minute.
    let mut failed = Command::new(OsString::from_vec(b"tr\0ue".to_vec()));
    for session in 1..=10_000_u64 {
        registry
            .spawn(session, &mut failed)
            .expect_err("no program has that name");
    }
    let left = registry.sessions().works();
    assert_eq!(left.len(), 1, "{left:?}");
    let reports = registry
        .shutdown_with(&StopPolicy::immediate().confirm_within(ms(5_000)))
        .works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
}

//! The ledger, as a host meets it: kept, refused, failing; and what is given up.

mod support;

use std::process::{ExitCode, Stdio};

use procession::{
    Builder, Capability, Command, ErrorKind, EventKind, EventMask, OnDrop, Process, Registry,
    StopPolicy,
};
use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};

use support::{
    Forked, Lines, Pinned, Scratch, TOKEN, Works, builder, close, drain, ignore_signal, pipe, role,
    run_in_fork, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_ledger_makes_identities_durable),
            test!(a_second_registry_is_refused_until_the_first_is_gone),
            test!(a_ledger_that_cannot_be_used_is_an_error_at_the_start),
            test!(a_disk_that_is_full_is_told_once_and_everything_goes_on),
            test!(a_ledger_that_was_taken_away_is_told_once_and_everything_goes_on),
            test!(a_spawn_that_fails_is_cancelled),
            test!(what_is_gone_is_written_down_so),
            test!(a_clean_end_leaves_nothing_to_recover),
            test!(detaching_needs_a_ledger_or_no_marks),
            test!(without_marks_a_process_is_detached_without_a_ledger),
            test!(one_that_was_detached_is_told_once_and_its_slot_is_free),
            test!(one_that_has_exited_cannot_be_detached),
            test!(what_a_detached_process_starts_is_left_alone_with_it),
            test!(on_drop_detach_with_a_ledger_leaves_everything),
            test!(a_copy_in_a_forked_child_writes_nothing),
        ],
        &[],
    )
}

fn scratch() -> Scratch {
    Scratch::new("ledger", b"", 0o600)
}

fn kept(ledger: &Scratch) -> Builder {
    // Other tests have hosts, too.
    let name = std::env::var(TOKEN).expect("the test's own");
    builder()
        .owner_name(name)
        .stop_policy(StopPolicy::immediate())
        .ledger(ledger.path())
}

fn text(ledger: &Scratch) -> String {
    std::fs::read_to_string(ledger.path()).expect("it is text")
}

/// The kinds of its records, in order.
fn kinds(ledger: &Scratch) -> Vec<String> {
    let text = text(ledger);
    let records = text.lines().skip(1);
    let kind = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
    records.map(kind).collect()
}

#[track_caller]
fn kind(built: procession::Result<Registry>) -> ErrorKind {
    built.expect_err("it is not to be had").kind()
}

/// What was detached is for its parent to end and to bury.
fn clear_away(pid: u32) {
    Pinned::open(pid).expect("it is our child").kill();
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    waitpid(pid, WaitOptions::empty()).expect("it is our child");
}

fn a_ledger_makes_identities_durable() {
    let ledger = scratch();
    let durable = |registry: &Registry| registry.capabilities().has(Capability::DurableIdentity);
    assert!(durable(&kept(&ledger).build().works()));
    assert!(!durable(&builder().build().works()));
}

fn a_second_registry_is_refused_until_the_first_is_gone() {
    let ledger = scratch();
    let first = kept(&ledger).build().works();
    let refused = kept(&ledger).build().expect_err("it is held");
    assert_eq!(refused.kind(), ErrorKind::LedgerInUse);
    assert_eq!(refused.pid(), Some(std::process::id()));
    drop(first);
    drop(kept(&ledger).build().works());
}

fn a_ledger_that_cannot_be_used_is_an_error_at_the_start() {
    for path in ["/", "/dev/full", "/proc/self/status", "/no/such/directory"] {
        let built = builder().ledger(path).build();
        assert_eq!(kind(built), ErrorKind::LedgerUnusable, "{path}");
    }
}

fn a_disk_that_is_full_is_told_once_and_everything_goes_on() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let events = registry.subscribe_to(EventMask::LEDGER);
    start(&registry, 1, &mut role("obedient"));
    assert!(drain(&events).is_empty());

    // Where a file may not grow the kernel sends a signal, too.
    ignore_signal(libc::SIGXFSZ);
    let before = getrlimit(Resource::Fsize);
    let full = Rlimit {
        current: Some(text(&ledger).len() as u64 + 10),
        ..before
    };
    setrlimit(Resource::Fsize, full).expect("a soft limit may be lowered");
    let (process, _lines) = start(&registry, 2, &mut role("obedient"));
    start(&registry, 3, &mut role("obedient"));
    let refused = process.detach().expect_err("it cannot be written down");
    assert_eq!(refused.kind(), ErrorKind::LedgerUnusable);
    setrlimit(Resource::Fsize, before).expect("its hard limit is as it was");

    let capabilities = registry.capabilities();
    assert!(
        !capabilities.has(Capability::DurableIdentity),
        "{capabilities}"
    );
    for session in 1..=3 {
        close(&registry, session);
    }
    let told = drain(&events);
    assert_eq!(told.len(), 1, "{told:?}");
    let EventKind::NotDurable(error) = told[0].kind() else {
        panic!("{told:?}");
    };
    assert_eq!(error.kind(), ErrorKind::LedgerUnusable);
    assert!(error.raw_os_error().is_some());
    drop(registry);
    // What was written in part is cut off.
    let report = kept(&ledger).build().works().recover().works();
    assert!(report.is_clean(), "{report}");
}

fn a_ledger_that_was_taken_away_is_told_once_and_everything_goes_on() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let events = registry.subscribe_to(EventMask::LEDGER);
    start(&registry, 1, &mut role("obedient"));
    assert!(drain(&events).is_empty());
    // The first has to go before there is another file of the name.
    std::fs::remove_file(ledger.path()).expect("it is ours");
    std::fs::write(ledger.path(), "theirs").expect("it is ours");
    start(&registry, 2, &mut role("obedient"));
    start(&registry, 3, &mut role("obedient"));
    let why = registry.capabilities();
    let why = why.why_not(Capability::DurableIdentity);
    assert!(why.is_some_and(|why| why.contains("ledger")), "{why:?}");
    for session in 1..=3 {
        close(&registry, session);
    }
    let told = drain(&events);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(text(&ledger), "theirs");
}

fn a_spawn_that_fails_is_cancelled() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let mut missing = std::process::Command::new("/no/such/program");
    let failed = registry.spawn(1, &mut missing).expect_err("there is none");
    assert_eq!(failed.kind(), ErrorKind::SpawnFailed);
    let failed = registry.spawn(1, &mut Command::new("/no/such/program"));
    assert_eq!(
        failed.map_err(|error| error.kind()).err(),
        Some(ErrorKind::SpawnFailed)
    );
    assert_eq!(
        kinds(&ledger),
        ["host", "intent", "cancel", "intent", "cancel"]
    );
}

fn what_is_gone_is_written_down_so() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    let child = role("obedient")
        .stdout(Stdio::null())
        .spawn()
        .expect("a role");
    registry
        .adopt(1, child)
        .map_err(|refused| refused.into_parts().0)
        .works();
    assert_eq!(
        kinds(&ledger),
        ["host", "intent", "alive", "intent", "alive"]
    );
    assert!(text(&ledger).contains(&format!(" {} ", process.pid())));
    close(&registry, 1);
    assert_eq!(kinds(&ledger)[5..], ["gone", "gone", "over"]);
}

fn a_clean_end_leaves_nothing_to_recover() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    start(&registry, 1, &mut role("obedient"));
    drop(registry);
    assert_eq!(kinds(&ledger).last().map(String::as_str), Some("settled"));
    let registry = kept(&ledger).build().works();
    assert_eq!(
        kinds(&ledger),
        ["host"],
        "the first one is not there any more"
    );
    let report = registry.recover().works();
    assert!(
        report.is_clean() && report.sessions().is_empty(),
        "{report}"
    );
}

// ---- what is given up

fn detached(process: &Process) -> u32 {
    process.detach().works();
    process.pid()
}

fn detaching_needs_a_ledger_or_no_marks() {
    let registry = builder().build().works();
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    let refused = process.detach().expect_err("its mark says otherwise");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(process.try_wait().works().is_none(), "it is held as before");
    close(&registry, 1);
    let built = builder().on_drop(OnDrop::Detach).build();
    assert_eq!(kind(built), ErrorKind::InvalidInput);
}

fn without_marks_a_process_is_detached_without_a_ledger() {
    let registry = builder().marker(false).build().works();
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    let pid = detached(&process);
    close(&registry, 1);
    drop(registry);
    clear_away(pid);
}

fn one_that_was_detached_is_told_once_and_its_slot_is_free() {
    let ledger = scratch();
    let limits = procession::Limits::NONE.processes(1);
    let registry = kept(&ledger).limits(limits).build().works();
    let events = registry.subscribe_to(EventMask::EXITED | EventMask::SESSIONS);
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    let receiver = process.exit_receiver();
    let pid = detached(&process);
    assert!(receiver.recv().is_err(), "nothing will be told");
    for refused in [process.kill(), process.detach(), process.wait().map(drop)] {
        let error = refused.expect_err("it is none of the registry's");
        assert_eq!(error.kind(), ErrorKind::NoSuchProcess, "{error}");
    }
    assert!(registry.process(process.id()).works().is_none());
    start(&registry, 2, &mut role("obedient"));
    close(&registry, 2);
    clear_away(pid);
    let told = drain(&events);
    let of_it = told
        .iter()
        .filter(|event| event.process() == Some(process.id()));
    let kinds: Vec<_> = of_it.map(|event| event.kind().to_string()).collect();
    assert_eq!(kinds, ["detached"], "{told:?}");
}

fn one_that_has_exited_cannot_be_detached() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let process = registry.spawn(1, role("exits").arg("3")).works();
    // The kernel says so before the reactor does.
    assert_eq!(process.wait().works().code(), Some(3));
    let refused = process.detach().expect_err("it is dead");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExited);
    close(&registry, 1);
}

fn what_a_detached_process_starts_is_left_alone_with_it() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    let (output, writer) = pipe();
    let mut lines = Lines::new(output);
    let mut command = role("keeps-a-child");
    command.stdin(Stdio::piped()).stdout(Stdio::from(writer));
    let process = registry.spawn(1, &mut command).works();
    command.stdout(Stdio::null());
    lines.expect("ready");
    let child = lines.number();
    let control = process.take_stdin();
    let pid = detached(&process);
    // Another one in the same session has its end looked for what it left.
    start(&registry, 1, &mut role("obedient"));
    close(&registry, 1);
    let alive = |pid| Pinned::open(pid).is_ok_and(|one| !one.is_dead());
    assert!(alive(pid) && alive(child), "both carry the session's marks");
    let report = registry.recover().works();
    assert_eq!(report.ended(), 0, "{report}");
    // The child leaves when its input has ended.
    let child = Pinned::open(child).expect("it lives");
    drop(control);
    clear_away(pid);
    child.assert_dies();
}

fn on_drop_detach_with_a_ledger_leaves_everything() {
    let ledger = scratch();
    let registry = kept(&ledger).on_drop(OnDrop::Detach).build().works();
    let (process, _lines) = start(&registry, 1, &mut role("obedient"));
    drop(registry);
    let registry = kept(&ledger).build().works();
    let report = registry.recover().works();
    assert_eq!(report.ended(), 0, "{report}");
    let alive = Pinned::open(process.pid()).is_ok_and(|one| !one.is_dead());
    assert!(alive);
    clear_away(process.pid());
}

fn a_copy_in_a_forked_child_writes_nothing() {
    let ledger = scratch();
    let registry = kept(&ledger).build().works();
    start(&registry, 1, &mut role("obedient"));
    let before = text(&ledger);
    let forked = run_in_fork(|| {
        assert!(registry.spawn(1, &mut role("obedient")).is_err());
    });
    assert_eq!(forked, Forked::Exited(0));
    assert_eq!(text(&ledger), before);
    close(&registry, 1);
}

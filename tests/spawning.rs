//! Starting processes: what the child gets, what the host keeps, and what happens to a start that an end overtakes.

mod support;

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};

use procession::{
    Capability, Containment, ErrorKind, Origin, Process, Registry, SpawnOptions, StopPolicy,
};
use rustix::process::{Pid, getpgid, getpgrp};

use support::{
    Lines, Works, await_end_of_input, builder, children, clean, close, close_with, descriptors,
    drain, registry, role, role_of, say, start, test,
};

const MARK: &str = "PROCESSION_MARK";

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_program_that_cannot_be_started_is_named_and_nothing_else_happened),
            test!(a_failed_spawn_leaves_no_descriptor),
            test!(a_failed_spawn_holds_no_slot),
            test!(the_command_is_given_back_as_it_was),
            test!(a_value_of_the_hosts_own_is_put_back),
            test!(a_child_carries_the_mark).needs_proc(),
            test!(a_registry_inside_a_session_nests_its_mark),
            test!(a_registry_without_the_marker_leaves_the_environment_alone),
            test!(a_child_leads_a_group_of_its_own_unless_the_leader_tier_was_asked_for),
            test!(a_tier_that_cannot_be_had_is_an_error_or_fallen_short_of),
            test!(a_child_inherits_no_descriptor_and_no_signal_handling_of_the_library),
            test!(standard_streams_are_handed_out_once),
            test!(a_shared_stdin_can_be_closed_by_the_host),
            test!(megabytes_written_to_stdin_arrive),
            test!(megabytes_written_to_a_stdin_that_was_taken_arrive),
            test!(a_label_is_carried_everywhere),
        ],
        &[role_of!(nested_host)],
    )
}

fn a_program_that_cannot_be_started_is_named_and_nothing_else_happened() {
    let registry = registry();
    let events = registry.subscribe();
    let mut in_no_path = Command::new("no-such-program-in-the-path");
    in_no_path.env("PATH", "/no/such/directory");
    let mut nowhere = Command::new("true");
    nowhere.current_dir("/no/such/directory");
    let cases = [
        (
            Command::new("/no/such/program"),
            "/no/such/program",
            libc::ENOENT,
        ),
        (in_no_path, "no-such-program-in-the-path", libc::ENOENT),
        (Command::new("/etc/passwd"), "/etc/passwd", libc::EACCES),
        (Command::new("/tmp"), "/tmp", libc::EACCES),
        (nowhere, "true", libc::ENOENT),
    ];
    for (mut command, program, errno) in cases {
        let error = registry.spawn(4, &mut command).expect_err(program);
        assert_eq!(
            (error.kind(), error.raw_os_error()),
            (ErrorKind::SpawnFailed, Some(errno)),
            "{error}"
        );
        assert_eq!(
            error.program().map(OsString::from),
            Some(OsString::from(program))
        );
        assert_eq!(error.session().map(|session| session.as_u64()), Some(4));
        assert!(error.to_string().contains(program), "{error}");
        let io = std::io::Error::from(error);
        assert!(io.to_string().contains(program), "{io}");
    }
    assert!(registry.processes().works().is_empty());
    assert!(children().is_empty(), "a zombie is left");
    let report = clean(registry.end_session(4).works());
    assert_eq!(
        (report.members().len(), report.gone_before()),
        (0, 0),
        "\n{report}"
    );
    assert!(drain(&events).iter().all(|event| event.process().is_none()));
}

fn a_failed_spawn_leaves_no_descriptor() {
    let registry = registry();
    let before = descriptors();
    for _ in 0..50 {
        let mut command = Command::new("/no/such/program");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        registry
            .spawn(1, &mut command)
            .expect_err("there is no such program");
    }
    assert_eq!(descriptors(), before);
}

fn a_failed_spawn_holds_no_slot() {
    let registry = builder()
        .limits(procession::Limits::NONE.processes(1))
        .build()
        .expect("a registry");
    for _ in 0..5 {
        let error = registry
            .spawn(1, &mut Command::new("/no/such/program"))
            .expect_err("there is no such program");
        assert_eq!(error.kind(), ErrorKind::SpawnFailed);
    }
    let (_child, _lines) = start(&registry, 1, &mut role("obedient"));
    close(&registry, 1);
}

fn environment(command: &Command) -> Vec<(OsString, Option<OsString>)> {
    command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(OsString::from)))
        .collect()
}

/// What a command that the library is done with says of the variable, started without the library.
fn told_without_us(command: &mut Command) -> String {
    let output = command
        .stdout(Stdio::piped())
        .output()
        .expect("a role can be started");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

fn the_command_is_given_back_as_it_was() {
    let registry = registry();
    let mut command = role("tells-variable");
    command
        .arg(MARK)
        .env("OTHER", "value")
        .env_remove("ANOTHER")
        .stdout(Stdio::null());
    let before = environment(&command);
    assert!(
        registry
            .spawn(1, &mut command)
            .expect("a role can be started")
            .wait()
            .expect("it exits")
            .success()
    );
    assert_eq!(
        environment(&command)
            .iter()
            .filter(|(_, value)| value.is_some())
            .count(),
        1
    );
    assert!(
        before.iter().all(|one| environment(&command).contains(one)),
        "{:?}",
        environment(&command)
    );
    assert_eq!(told_without_us(&mut command), "not set");

    let mut hopeless = Command::new("/no/such/program");
    registry
        .spawn(1, &mut hopeless)
        .expect_err("there is no such program");
    assert!(
        environment(&hopeless)
            .iter()
            .all(|(name, value)| name != MARK || value.is_none())
    );
}

fn a_value_of_the_hosts_own_is_put_back() {
    let registry = registry();
    let mut command = role("tells-variable");
    command.arg(MARK).env(MARK, "of the host's own");
    command.stdout(Stdio::null());
    assert!(
        registry
            .spawn(1, &mut command)
            .expect("a role can be started")
            .wait()
            .expect("it exits")
            .success()
    );
    assert_eq!(told_without_us(&mut command), "of the host's own");
}

/// The mark that a child of this registry carries.
fn mark_told(registry: &Registry, session: u64) -> String {
    let mut command = role("tells-variable");
    let child = registry
        .spawn(session, command.arg(MARK).stdout(Stdio::piped()))
        .expect("a role can be started");
    let mark = Lines::new(child.take_stdout().expect("a pipe")).line();
    assert!(child.wait().works().success());
    mark
}

fn a_child_carries_the_mark() {
    let registry = builder()
        .owner_name("the tests")
        .build()
        .expect("a registry");
    let (first, second) = (mark_told(&registry, 42), mark_told(&registry, 43));
    let fields: Vec<_> = first.split(',').collect();
    let [
        version,
        name,
        pid,
        start,
        inode,
        boot,
        namespace,
        registry_number,
        life,
        session,
    ] = fields[..]
    else {
        panic!("not ten fields: {first}");
    };
    assert_eq!((version, name, session), ("1", "the%20tests", "42"));
    assert_eq!(pid, std::process::id().to_string());
    for number in [start, inode, namespace, life] {
        assert!(number.parse::<u64>().is_ok(), "{number:?} in {first}");
    }
    assert!(
        boot.len() == 32 && u128::from_str_radix(boot, 16).is_ok(),
        "{first}"
    );
    assert!(
        registry_number.len() == 16 && u64::from_str_radix(registry_number, 16).is_ok(),
        "{first}"
    );
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat can be read");
    let after_name = &stat[stat.rfind(')').expect("a name in brackets") + 2..];
    assert_eq!(
        after_name.split(' ').nth(19),
        Some(start),
        "field 22 is the start time"
    );
    // The same owner and registry, another life of another session.
    let other: Vec<_> = second.split(',').collect();
    assert_eq!((&other[..8], other[9]), (&fields[..8], "43"));
    assert_ne!(other[8], life);
}

/// Lives in a session of somebody else's registry, and has one of its own.
fn nested_host() {
    let registry = registry();
    say("ready");
    say(std::env::var(MARK).expect("it was started in a session"));
    say(mark_told(&registry, 2));
    await_end_of_input();
}

fn a_registry_inside_a_session_nests_its_mark() {
    let registry = registry();
    let (_child, mut lines) = start(&registry, 1, role("nested_host").stdin(Stdio::piped()));
    let (outer, inner) = (lines.line(), lines.line());
    let own = inner
        .strip_prefix(&outer)
        .and_then(|rest| rest.strip_prefix(';'));
    let own = own.unwrap_or_else(|| panic!("{inner:?} does not begin with {outer:?}"));
    assert_eq!(own.split(',').count(), 10, "{own}");
    assert!(own.ends_with(",2"), "{own}");
    close_with(&registry, 1, &StopPolicy::stdio_server());
}

fn a_registry_without_the_marker_leaves_the_environment_alone() {
    let registry = builder().marker(false).build().expect("a registry");
    assert_eq!(mark_told(&registry, 1), "not set");
}

fn group_of(pid: u32) -> u32 {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    getpgid(pid)
        .expect("it lives")
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

fn a_child_leads_a_group_of_its_own_unless_the_leader_tier_was_asked_for() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    assert_eq!(group_of(child.pid()), child.pid());
    let options = SpawnOptions::new().containment(Containment::Leader);
    let alone = registry
        .spawn_with(1, &mut role("obedient"), &options)
        .expect("a role can be started");
    assert_eq!(
        group_of(alone.pid()),
        getpgrp().as_raw_nonzero().get().unsigned_abs()
    );
    let all = registry.session_processes(1).works();
    let tier_of = |id| {
        all.iter()
            .find(|info| info.id == id)
            .map(|info| info.containment)
    };
    assert_eq!(tier_of(child.id()), Some(Containment::Group));
    assert_eq!(tier_of(alone.id()), Some(Containment::Leader));
    close_with(&registry, 1, &StopPolicy::immediate());
}

fn a_tier_that_cannot_be_had_is_an_error_or_fallen_short_of() {
    for (tier, capability) in [
        (Containment::Cgroup, Capability::CgroupTier),
        (Containment::Subreaper, Capability::SubreaperTier),
    ] {
        let fallen = builder()
            .containment_up_to(tier)
            .build()
            .expect("the best that works here");
        if fallen.capabilities().has(capability) {
            continue;
        }
        assert!(
            fallen
                .capabilities()
                .why_not(capability)
                .is_some_and(|why| !why.is_empty())
        );
        let (child, _lines) = start(&fallen, 1, &mut role("obedient"));
        assert_eq!(
            fallen.processes().works()[0].containment,
            Containment::Group
        );
        let options = SpawnOptions::new().containment(tier);
        let error = fallen
            .spawn_with(1, &mut role("obedient"), &options)
            .expect_err("it cannot be had");
        // What is missing is the host's consent, or something of the system.
        let expected = if tier == Containment::Subreaper {
            ErrorKind::InvalidInput
        } else {
            ErrorKind::Unsupported
        };
        assert_eq!(error.kind(), expected);
        child.kill().expect("it lives");
        close(&fallen, 1);
        let error = builder()
            .containment(tier)
            .build()
            .map(drop)
            .expect_err("it cannot be had");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Unsupported | ErrorKind::InvalidInput
            ),
            "{error}"
        );
    }
}

fn a_child_inherits_no_descriptor_and_no_signal_handling_of_the_library() {
    let registry = registry();
    let _events = registry.subscribe();
    let (_other, _lines) = start(&registry, 1, role("obedient").stdin(Stdio::piped()));
    let told = |arguments: &[&str], with_us: bool| {
        let mut command = role(arguments[0]);
        command
            .args(&arguments[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut text = String::new();
        if with_us {
            let child = registry
                .spawn(1, &mut command)
                .expect("a role can be started");
            child
                .take_stdout()
                .expect("a pipe")
                .read_to_string(&mut text)
                .expect("text");
            assert!(child.wait().expect("it exits").success());
        } else {
            text = String::from_utf8(command.output().expect("a role can be started").stdout)
                .expect("text");
        }
        text
    };
    let descriptors = told(&["tells-descriptors"], true);
    assert_eq!(descriptors.lines().count(), 3, "{descriptors}");
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let arguments = ["tells-status", field];
        assert_eq!(told(&arguments, true), told(&arguments, false), "{field}");
    }
    close(&registry, 1);
}

fn standard_streams_are_handed_out_once() {
    let registry = registry();
    let mut command = Command::new("sh");
    command.args(["-c", "read word; echo out $word; echo err $word >&2"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = registry.spawn(1, &mut command).expect("there is a shell");
    let (mut input, output) = (
        child.take_stdin().expect("a pipe"),
        child.take_stdout().expect("a pipe"),
    );
    let errors = child.take_stderr().expect("a pipe");
    assert!(
        child.take_stdin().is_none()
            && child.take_stdout().is_none()
            && child.take_stderr().is_none()
    );
    input.write_all(b"hello\n").expect("it reads");
    assert_eq!(
        (Lines::new(output).line(), Lines::new(errors).line()),
        ("out hello".into(), "err hello".into())
    );
    assert!(child.wait().works().success());
    let bare = registry
        .spawn(1, role("exits").arg("0").stdin(Stdio::null()))
        .expect("a role can be started");
    assert!(bare.stdin().is_none() && bare.take_stdin().is_none() && bare.take_stdout().is_none());
    bare.wait().works();
}

fn a_shared_stdin_can_be_closed_by_the_host() {
    let registry = registry();
    let (child, _lines) = start(
        &registry,
        1,
        role("until-eof").arg("2").stdin(Stdio::piped()),
    );
    let (mut one, other) = (
        child.stdin().expect("a pipe"),
        child.stdin().expect("the same pipe"),
    );
    one.write_all(b"words\n").expect("it reads");
    one.flush().expect("it reads");
    other.close();
    assert_eq!(child.wait().works().code(), Some(2));
    assert!(one.write(b"late\n").is_err());
}

/// Many times what a pipe holds, to a reader that is slower than its writer.
const MEGABYTES: usize = 8 << 20;

/// Starts a child that says how many bytes it has read.
fn counting_child(registry: &Registry) -> (Process, Lines) {
    let mut command = Command::new("wc");
    command
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let child = registry.spawn(1, &mut command).expect("there is `wc`");
    let lines = Lines::new(child.take_stdout().expect("a pipe"));
    (child, lines)
}

fn megabytes_written_to_stdin_arrive() {
    let registry = registry();
    let (child, mut lines) = counting_child(&registry);
    let mut stdin = child.stdin().expect("a pipe");
    stdin.write_all(&vec![b'x'; MEGABYTES]).expect("it reads");
    stdin.close();
    assert_eq!(lines.line().trim(), MEGABYTES.to_string());
    assert!(child.wait().works().success());
}

fn megabytes_written_to_a_stdin_that_was_taken_arrive() {
    let registry = registry();
    let (child, mut lines) = counting_child(&registry);
    let mut stdin = child.take_stdin().expect("a pipe");
    // It blocks, as a host expects of what std gives it, and does not say WouldBlock.
    stdin.write_all(&vec![b'x'; MEGABYTES]).expect("it reads");
    drop(stdin);
    assert_eq!(lines.line().trim(), MEGABYTES.to_string());
    assert!(child.wait().works().success());
}

fn a_label_is_carried_everywhere() {
    let registry = registry();
    let options = SpawnOptions::new().label("language server");
    let child = registry
        .spawn_with(1, &mut role("obedient"), &options)
        .expect("a role can be started");
    assert_eq!(
        (child.label(), child.origin()),
        (Some("language server"), Origin::Spawned)
    );
    assert_eq!(
        registry.processes().works()[0].label.as_deref(),
        Some("language server")
    );
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert_eq!(report.members()[0].label(), Some("language server"));
    assert!(report.to_string().contains("language server"), "\n{report}");
}

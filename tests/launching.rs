//! Native launches: what the child gets, and what std's could not get without a fork.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use procession::{
    Capability, Command, Containment, ErrorKind, Process, Registry, Resource, Signal, SpawnOptions,
    Stdio,
};

use support::{
    Lines, Pinned, Refusal, Works, close, closes_ranges, host, ignore_signal, own_signals, pipe,
    refuse, registry, role, role_of, say, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(the_command_can_be_inspected_and_used_again),
            test!(the_program_is_searched_for_in_the_childs_path),
            test!(a_child_leads_a_session_or_a_group_or_joins_one).needs_proc(),
            test!(signals_are_reset_unless_the_host_says_otherwise).needs_proc(),
            test!(descriptors_get_the_numbers_that_they_were_given).needs_proc(),
            test!(other_descriptors_are_closed_on_request).needs_proc(),
            test!(limits_niceness_and_umask_are_the_childs_alone).needs_launches_by_clone(),
            test!(a_launch_does_all_that_it_is_told_or_the_capabilities_say_why_not),
            test!(a_user_is_changed_also_where_groups_may_not_be)
                .needs_launches_by_clone()
                .needs_root(),
            test!(another_user_is_a_childs_own)
                .needs_launches_by_clone()
                .needs_root(),
            test!(the_parents_death_is_the_childs).needs_launches_by_clone(),
            test!(the_end_of_the_calling_thread_is_not_the_parents_death).needs_launches_by_clone(),
            test!(pipes_end_where_std_ends_them),
            test!(the_mark_is_there_and_nests),
        ],
        &[role_of!(host_with_a_death_signal)],
    )
}

/// Like `role`, launched natively.
fn native(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("an executable has a path"));
    command.arg(format!("role:{name}")).stdin(Stdio::null());
    command
}

/// A shell that says something about itself.
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// What a child says until its output ends.
#[track_caller]
fn said_by(registry: &Registry, command: &mut Command) -> String {
    let child = registry
        .spawn(1, command.stdout(Stdio::piped()))
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    output(&child)
}

fn output(child: &Process) -> String {
    let mut text = Vec::new();
    let mut output = child.take_stdout().expect("its output is a pipe");
    output.read_to_end(&mut text).expect("a pipe can be read");
    assert!(child.wait().works().success(), "it failed");
    String::from_utf8_lossy(&text).into_owned()
}

fn the_command_can_be_inspected_and_used_again() {
    let registry = registry();
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $A$B; pwd"])
        .env("A", "x")
        .env("B", "y")
        .env_remove("C")
        .current_dir("/usr");
    assert_eq!(command.get_program(), "sh");
    let args: Vec<_> = command.get_args().collect();
    assert_eq!(args, ["-c", "echo $A$B; pwd"]);
    let changes: Vec<_> = command.get_envs().collect();
    let (x, y) = (OsStr::new("x"), OsStr::new("y"));
    assert_eq!(
        changes,
        [
            ("A".as_ref(), Some(x)),
            ("B".as_ref(), Some(y)),
            ("C".as_ref(), None)
        ]
    );
    assert_eq!(command.get_current_dir(), Some("/usr".as_ref()));
    for _ in 0..3 {
        assert_eq!(said_by(&registry, &mut command), "xy\n/usr\n");
    }
    let listed = registry.spawn(1, &mut command).works();
    drop(listed);
    close(&registry, 1);
}

// ---- where the program is

/// A directory of this test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("procession-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("it is new");
        Self(path)
    }

    fn script(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

fn the_program_is_searched_for_in_the_childs_path() {
    let registry = registry();
    let (first, second) = (Directory::new("first"), Directory::new("second"));
    second.script("only-here", "#!/bin/sh\necho second $0\n", 0o755);
    let path = format!("/no/such:{}:{}", first.0.display(), second.0.display());
    let mut command = Command::new("only-here");
    let missing = registry
        .spawn(1, &mut command)
        .expect_err("it is not in ours");
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    let found = second.0.join("only-here");
    let expected = format!("second {}\n", found.display());
    assert_eq!(said_by(&registry, command.env("PATH", &path)), expected);
    // What may not be run is passed over for what may, and is the answer if that is all.
    first.script("only-here", "#!/bin/sh\necho first\n", 0o644);
    assert_eq!(said_by(&registry, &mut command), expected);
    fs::remove_file(&found).expect("it is ours");
    let denied = registry
        .spawn(1, &mut command)
        .expect_err("it may not be run");
    assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
    // An empty entry is the directory that the child is in.
    second.script("only-here", "#!/bin/sh\necho second $0\n", 0o755);
    command.env("PATH", "").current_dir(&second.0);
    assert!(said_by(&registry, &mut command).starts_with("second "));
    command.env_remove("PATH");
    assert!(registry.spawn(1, &mut command).is_err());
    close(&registry, 1);
}

// ---- groups

const WHO: &str =
    "read -r pid comm state parent group session rest < /proc/self/stat; echo $pid $group $session";

fn numbers(text: &str) -> Vec<u32> {
    let number = |word: &str| word.parse().expect("a number");
    text.split_whitespace().map(number).collect()
}

fn a_child_leads_a_session_or_a_group_or_joins_one() {
    let registry = registry();
    let own = numbers(&said_by(
        &registry,
        shell(WHO).containment(Containment::Leader),
    ));
    let ours = rustix::process::getpgrp()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    assert_eq!(own[1], ours, "under Leader it stays in ours");
    let led = numbers(&said_by(&registry, &mut shell(WHO)));
    assert_eq!((led[0] == led[1], led[2]), (true, own[2]));
    let apart = numbers(&said_by(&registry, shell(WHO).new_session(true)));
    assert_eq!((apart[1], apart[2]), (apart[0], apart[0]));
    // One joins the other's group, where nothing says that it has its own.
    let leader = registry
        .spawn(1, native("obedient").stdout(Stdio::null()))
        .works();
    let group = i32::try_from(leader.pid()).expect("a pid fits");
    let mut join = shell(WHO);
    join.process_group(group).containment(Containment::Leader);
    assert_eq!(numbers(&said_by(&registry, &mut join))[1], leader.pid());
    let refused = [
        shell(WHO)
            .process_group(group)
            .containment(Containment::Group)
            .take_error(&registry),
        shell(WHO)
            .process_group(group)
            .new_session(true)
            .take_error(&registry),
        shell(WHO).process_group(-1).take_error(&registry),
    ];
    assert_eq!(refused, [ErrorKind::InvalidInput; 3]);
    // What the spawn says goes before what the command says.
    let leader_tier = SpawnOptions::new().containment(Containment::Leader);
    let child = registry
        .spawn_with(
            1,
            shell(WHO)
                .containment(Containment::Group)
                .stdout(Stdio::piped()),
            &leader_tier,
        )
        .works();
    assert_eq!(numbers(&output(&child))[1], ours);
    close(&registry, 1);
}

trait TakeError {
    fn take_error(&mut self, registry: &Registry) -> ErrorKind;
}

impl TakeError for Command {
    fn take_error(&mut self, registry: &Registry) -> ErrorKind {
        registry.spawn(1, self).expect_err("it is refused").kind()
    }
}

// ---- signals

fn signal_sets(text: &str) -> BTreeMap<String, u64> {
    let set = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let is_one = name.starts_with("Sig") && name != "SigQ";
        is_one.then(|| {
            (
                name.to_owned(),
                u64::from_str_radix(value.trim(), 16).unwrap_or(1),
            )
        })
    };
    text.lines().filter_map(set).collect()
}

fn signals_are_reset_unless_the_host_says_otherwise() {
    let registry = registry();
    ignore_signal(libc::SIGUSR1);
    let caught = support::Interrupting::by(libc::SIGUSR2);
    assert_ne!(own_signals("SigCgt") & 1 << (libc::SIGUSR2 - 1), 0);
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status");
    let said = || {
        let blocked = thread::scope(|scope| {
            let run = || {
                support::block_signal(libc::SIGHUP);
                said_by(
                    &registry,
                    Command::new("cat")
                        .arg("/proc/self/status")
                        .reset_signal_mask(false),
                )
            };
            scope.spawn(run).join().expect("no panic")
        });
        signal_sets(&blocked)
    };
    let hup = 1 << (libc::SIGHUP - 1);
    assert_eq!(said()["SigBlk"], hup, "the caller's mask, and nothing else");
    let plain = signal_sets(&said_by(&registry, &mut cat));
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(plain[set], 0, "{set}");
    }
    let kept = signal_sets(&said_by(&registry, cat.reset_ignored_signals(false)));
    // Whoever has started this test may have ignored more.
    let ignored = own_signals("SigIgn");
    for signal in [libc::SIGUSR1, libc::SIGPIPE] {
        assert_ne!(ignored & 1 << (signal - 1), 0, "{signal}");
    }
    // glibc's posix_spawn, by which this test was started, leaves two ignored that it keeps for itself.
    let of_the_c_library = 0b11 << 31;
    assert_eq!(
        (kept["SigIgn"] & !of_the_c_library, kept["SigCgt"]),
        (ignored & !of_the_c_library, 0)
    );
    drop(caught);
    close(&registry, 1);
}

// ---- descriptors

fn memory(text: &str) -> File {
    let mut file = support::anonymous_file();
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

fn descriptors_get_the_numbers_that_they_were_given() {
    let registry = registry();
    // Two that have each other's number, one that has its own, and a standard stream.
    let (a, b, c) = (memory("a"), memory("b"), memory("c"));
    let (at_a, at_b, at_c) = (a.as_raw_fd(), b.as_raw_fd(), c.as_raw_fd());
    let dup = |file: &File| file.as_fd().try_clone_to_owned().expect("a descriptor");
    let d = dup(&a);
    let mut command = shell(&format!(
        "cat /proc/self/fd/{at_a} /proc/self/fd/{at_b} /proc/self/fd/{at_c} /proc/self/fd/99"
    ));
    command
        .descriptor(a, at_b)
        .descriptor(b, at_a)
        .descriptor(c, at_c)
        .descriptor(d, 99);
    for _ in 0..2 {
        assert_eq!(said_by(&registry, &mut command), "baca");
    }
    let refused = [
        shell("")
            .descriptor(memory(""), 7)
            .descriptor(memory(""), 7)
            .take_error(&registry),
        shell("").descriptor(memory(""), 0).take_error(&registry),
        shell("").descriptor(memory(""), -1).take_error(&registry),
    ];
    assert_eq!(refused, [ErrorKind::InvalidInput; 3]);
    close(&registry, 1);
}

fn other_descriptors_are_closed_on_request() {
    let registry = registry();
    let inherited = File::open("/dev/zero").expect("there is one");
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).expect("it is open");
    let lists = || {
        let mut command = Command::new("ls");
        command.arg("/proc/self/fd").stdin(Stdio::null());
        command
    };
    let number = inherited.as_raw_fd().to_string();
    let said = said_by(&registry, &mut lists());
    assert!(said.lines().any(|line| line == number), "{said}");
    let mut closing = lists();
    closing
        .close_other_descriptors(true)
        .descriptor(memory("x"), 40);
    if !closes_ranges() {
        // Before 5.9 nothing is started that would have more than it is to have. An old sandbox forbids it instead.
        let error = registry.spawn(1, &mut closing).expect_err("it cannot");
        let errno = error.raw_os_error();
        assert!(matches!(errno, Some(libc::ENOSYS | libc::EPERM)), "{error}");
        assert!(error.to_string().contains("close_range"), "{error}");
        close(&registry, 1);
        return;
    }
    // The standard streams, the one that was passed, and the one that ls looks with.
    let said = said_by(&registry, &mut closing);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["0", "1", "2", "3", "40"]);
    close(&registry, 1);
}

// ---- limits and users

fn limits_niceness_and_umask_are_the_childs_alone() {
    let registry = registry();
    let before = fs::read_to_string("/proc/self/limits").expect("limits can be read");
    let niceness = rustix::process::getpriority_process(None);
    let mut command = shell("ulimit -Sn; ulimit -Hn; ulimit -c; umask; nice");
    command
        .rlimit(Resource::Descriptors, Some(77), Some(88))
        .rlimit(Resource::CoreSize, Some(5), Some(5))
        .rlimit(Resource::CoreSize, Some(0), Some(0))
        .umask(0o027)
        .nice(19);
    assert_eq!(said_by(&registry, &mut command), "77\n88\n0\n0027\n19\n");
    let after = fs::read_to_string("/proc/self/limits").expect("limits can be read");
    assert_eq!(before, after);
    assert_eq!(rustix::process::getpriority_process(None), niceness);
    let refused = [
        shell("")
            .rlimit(Resource::CpuSeconds, Some(2), Some(1))
            .take_error(&registry),
        shell("").nice(20).take_error(&registry),
        shell("").umask(0o1000).take_error(&registry),
    ];
    assert_eq!(refused, [ErrorKind::InvalidInput; 3]);
    close(&registry, 1);
}

/// `posix_spawn` has no umask.
fn a_launch_does_all_that_it_is_told_or_the_capabilities_say_why_not() {
    let registry = registry();
    let mut command = shell("umask");
    command.umask(0o027).stdout(Stdio::piped());
    let why_not = registry
        .capabilities()
        .why_not(Capability::FullLaunch)
        .map(str::to_owned);
    match registry.spawn(1, &mut command) {
        Ok(child) => {
            assert_eq!(why_not, None);
            assert_eq!(output(&child), "0027\n");
            close(&registry, 1);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let why_not = why_not.expect("it is refused");
            assert!(why_not.contains("umask"), "{why_not}");
            assert!(support::children().is_empty(), "nothing was started");
        }
    }
}

/// As root in a container that has lost the right to change groups.
fn a_user_is_changed_also_where_groups_may_not_be() {
    use std::os::unix::process::CommandExt as _;
    let registry = registry();
    let fields = "grep -E '^(Uid|Groups):' /proc/self/status";
    let said = thread::scope(|scope| {
        let launches = scope.spawn(|| {
            refuse(&[Refusal::of_groups(libc::EPERM)], false);
            let mut by_us = shell(fields);
            let mut by_std = std::process::Command::new("/bin/sh");
            by_std.args(["-c", fields]).uid(61_234);
            by_std.stdout(std::process::Stdio::piped());
            let by_std = registry.spawn(1, &mut by_std).works();
            (said_by(&registry, by_us.uid(61_234)), output(&by_std))
        });
        launches.join().expect("both are started")
    });
    assert_eq!(said.0, said.1);
    assert!(said.0.contains("61234"), "{}", said.0);
    close(&registry, 1);
}

/// A child that changed its user in our memory would take from us the right to look at ourselves.
fn another_user_is_a_childs_own() {
    use std::os::unix::process::CommandExt as _;
    let registry = registry();
    let fields = "grep -E '^(Uid|Gid|Groups):' /proc/self/status";
    let own = fs::metadata("/proc/self/status")
        .expect("it is there")
        .uid();
    let mut by_us = shell(fields);
    by_us.uid(61_234).gid(61_233).current_dir("/");
    let mut by_std = std::process::Command::new("/bin/sh");
    by_std
        .args(["-c", fields])
        .uid(61_234)
        .gid(61_233)
        .current_dir("/");
    by_std.stdout(std::process::Stdio::piped());
    let by_std = registry.spawn(1, &mut by_std).works();
    assert_eq!(said_by(&registry, &mut by_us), output(&by_std));
    by_us.groups([61_232, 61_231]);
    let said = said_by(&registry, &mut by_us);
    assert!(said.contains("Groups:\t61231 61232"), "{said}");
    by_us
        .parent_death_signal(Signal::KILL)
        .new_session(true)
        .nice(-3);
    assert_eq!(said_by(&registry, &mut by_us), said);
    assert!(support::is_dumpable());
    assert_eq!(
        fs::metadata("/proc/self/status")
            .expect("it is there")
            .uid(),
        own
    );
    close(&registry, 1);
}

// ---- the parent's death

/// A host whose only member is to die with it, and says which that is.
fn host_with_a_death_signal() {
    let registry = registry();
    // From a thread that is gone by the time: what counts is the program.
    let child = thread::scope(|scope| {
        let run = || {
            let mut command = native("ignores-term");
            command
                .stdout(Stdio::piped())
                .parent_death_signal(Signal::KILL);
            command.new_session(true);
            registry.spawn(1, &mut command).works()
        };
        scope.spawn(run).join().expect("no panic")
    });
    Lines::new(child.take_stdout().expect("its output is a pipe")).expect("ready");
    say("ready");
    say(child.pid());
    support::await_end_of_input();
}

fn the_parents_death_is_the_childs() {
    let (mut parent, _control, mut lines) = host(&mut role("host_with_a_death_signal"));
    let child = Pinned::open(lines.number()).expect("it lives");
    assert!(!child.is_dead());
    parent.kill().expect("it is ours");
    parent.wait().expect("it is ours");
    child.assert_dies();
}

fn the_end_of_the_calling_thread_is_not_the_parents_death() {
    let registry = registry();
    let spawn = || {
        let mut command = native("until-eof");
        command
            .arg("5")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.parent_death_signal(Signal::KILL);
        let child = registry.spawn(1, &mut command).works();
        Lines::new(child.take_stdout().expect("its output is a pipe")).expect("ready");
        child
    };
    let mut children = vec![spawn()];
    // The first thread ends with the program: it needs no other.
    assert_eq!(support::threads().len(), 2, "the test, the reactor");
    children.extend(
        (0..4).map(|_| thread::scope(|scope| scope.spawn(spawn).join().expect("no panic"))),
    );
    for child in &children {
        drop(child.take_stdin());
        assert_eq!(child.wait().works().code(), Some(5));
    }
    // Of a registry that nobody asks for such a thing there is one thread.
    assert_eq!(
        support::threads().len(),
        3,
        "the test, the reactor, one that launches"
    );
    close(&registry, 1);
}

// ---- pipes and the mark

fn pipes_end_where_std_ends_them() {
    let registry = registry();
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for death_signal in [false, true] {
        if death_signal {
            cat.parent_death_signal(Signal::KILL);
        }
        let child = registry.spawn(1, &mut cat).works();
        let mut stdin = child.stdin().expect("it is a pipe");
        stdin.write_all(b"all of it").expect("cat reads");
        stdin.close();
        assert_eq!(output(&child), "all of it");
        let mut said = String::new();
        let mut stderr = child.take_stderr().expect("it is a pipe");
        stderr
            .read_to_string(&mut said)
            .expect("a pipe can be read");
        assert_eq!(said, "");
    }
    // A pipe of the host's, and one of another child's.
    let (reader, writer) = pipe();
    let first = registry
        .spawn(1, shell("echo through").stdout(writer))
        .works();
    assert_eq!(
        said_by(&registry, Command::new("cat").stdin(reader)),
        "through\n"
    );
    assert!(first.wait().works().success());
    close(&registry, 1);
}

fn the_mark_is_there_and_nests() {
    let registry = registry();
    let mut command = shell("echo $PROCESSION_MARK");
    let said = said_by(&registry, &mut command);
    assert!(
        said.starts_with("1,") && said.trim_end().ends_with(",1"),
        "{said}"
    );
    assert!(!said.contains(';'), "{said}");
    let said = said_by(&registry, command.env("PROCESSION_MARK", "9,outer"));
    assert!(said.starts_with("9,outer;1,"), "{said}");
    let said = said_by(&registry, command.env_clear());
    assert!(
        said.starts_with("1,"),
        "the environment is cleared, the mark is not: {said}"
    );
    assert_eq!(command.get_envs().count(), 0);
    close(&registry, 1);
}

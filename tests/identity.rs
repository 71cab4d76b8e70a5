//! Who is who: pids that come back, processes that are not ours, and processes that are registered already.

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

use procession::{
    Containment, ErrorKind, EventMask, How, Means, Origin, Registry, Rung, Signal, Status,
    StatusSource, StopPolicy, Strength,
};
use rustix::process::WaitOptions;

use support::{
    LONG_ENOUGH, Lines, Pinned, Works, clean, close, close_with, descriptors, drain, eventually,
    exits_of, host, is_our_child, member, ms, only_member, registry, role, start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_stranger_with_the_pid_of_a_dead_child_is_never_signalled)
                .needs_proc()
                .needs_root(),
            test!(a_stranger_with_the_pid_of_a_dead_child_is_never_signalled)
                .needs_proc()
                .needs_root()
                .on_an_older_kernel(),
            test!(a_stranger_with_the_pid_of_a_stolen_child_is_never_signalled)
                .needs_proc()
                .needs_root(),
            test!(a_stranger_with_the_pid_of_an_attached_process_is_never_signalled)
                .needs_proc()
                .needs_root(),
            test!(a_pid_that_comes_back_is_another_process_of_the_registry)
                .needs_proc()
                .needs_root(),
            test!(an_adopted_child_is_ended_and_reaped),
            test!(an_adopted_childs_group_is_ended_only_if_it_leads_one),
            test!(an_adopted_childs_group_is_ended_only_if_it_leads_one).on_an_older_kernel(),
            test!(a_zombie_that_is_adopted_has_its_exit_told),
            test!(a_child_that_was_waited_for_is_given_back),
            test!(a_child_that_is_refused_is_given_back_alive),
            test!(an_attached_process_is_ended_and_left_to_its_parent),
            test!(an_attached_process_is_ended_and_left_to_its_parent).on_an_older_kernel(),
            test!(an_attached_processs_group_is_never_signalled),
            test!(an_attached_process_that_exits_by_itself_is_told_once),
            test!(an_attached_process_that_exits_by_itself_is_told_once).on_an_older_kernel(),
            test!(an_attached_process_that_nobody_reaps_is_known_to_be_dead),
            test!(an_attached_process_that_nobody_reaps_is_known_to_be_dead).on_an_older_kernel(),
            test!(an_attached_process_is_read_before_it_is_believed),
            test!(a_process_that_is_attached_twice_is_registered_once),
            test!(those_that_were_given_up_and_are_dead_hold_few_descriptors).needs_proc(),
            test!(a_process_belongs_to_one_session),
            test!(sessions_do_not_touch_each_other),
            test!(the_hosts_own_group_is_never_signalled),
        ],
        &[],
    )
}

/// A process that has nothing to do with any registry, under a pid of our choice.
fn stranger_with_pid(pid: u32) -> Child {
    for _ in 0..2_000 {
        // The next process gets the next number, unless somebody else on the machine is faster.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .expect("root may choose pids");
        let mut command = role("obedient");
        let mut child = command
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a role can be started");
        if child.id() == pid {
            Lines::new(child.stdout.take().expect("a pipe")).expect("ready");
            return child;
        }
        bury(child);
    }
    panic!("pid {pid} could not be had");
}

/// Ends a child that the library has nothing to do with, and checks that it had lived until now.
fn bury(mut child: Child) {
    assert!(
        child.try_wait().expect("our child").is_none(),
        "{} was ended by somebody",
        child.id()
    );
    child.kill().expect("it lives");
    child.wait().expect("our child");
}

/// Everything that a host can do to a process that is gone.
fn do_the_worst(registry: &Registry, gone: &procession::Process) {
    for signal in [Signal::TERM, Signal::KILL] {
        assert_eq!(
            gone.signal(signal).expect_err("it is gone").kind(),
            ErrorKind::AlreadyExited
        );
    }
    assert_eq!(
        gone.kill().expect_err("it is gone").kind(),
        ErrorKind::AlreadyExited
    );
    assert_eq!(
        gone.stop(&StopPolicy::immediate())
            .expect("nothing to stop")
            .how(),
        How::AlreadyGone
    );
    // Whether there is such a session any more or not, nobody is to be signalled.
    drop(registry.signal_session(1, Signal::KILL));
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert_eq!(report.members().len(), 0, "\n{report}");
}

fn a_stranger_with_the_pid_of_a_dead_child_is_never_signalled() {
    let registry = registry();
    let child = registry
        .spawn(1, role("exits").arg("0"))
        .expect("a role can be started");
    child.wait().works();
    eventually("it is reaped", || !is_our_child(child.pid()));
    let stranger = stranger_with_pid(child.pid());
    do_the_worst(&registry, &child);
    bury(stranger);
}

fn a_stranger_with_the_pid_of_a_stolen_child_is_never_signalled() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    Pinned::open(child.pid()).expect("it lives").kill();
    // Somebody takes the status as soon as it is there, so that the number is free before the registry has looked.
    let _ = rustix::process::wait(WaitOptions::empty());
    eventually("it is reaped", || !is_our_child(child.pid()));
    let stranger = stranger_with_pid(child.pid());
    child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("it has exited");
    do_the_worst(&registry, &child);
    bury(stranger);
}

fn a_stranger_with_the_pid_of_an_attached_process_is_never_signalled() {
    let registry = registry();
    let (mut other, _control, _lines) = host(&mut role("obedient"));
    let attached = registry.attach(1, other.id(), |_| true).expect("it lives");
    other.kill().expect("it lives");
    other.wait().expect("our child");
    let stranger = stranger_with_pid(attached.pid());
    attached
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("it has exited");
    do_the_worst(&registry, &attached);
    bury(stranger);
}

fn a_pid_that_comes_back_is_another_process_of_the_registry() {
    let registry = registry();
    let first = registry
        .spawn(1, role("exits").arg("0"))
        .expect("a role can be started");
    first.wait().works();
    eventually("it is reaped", || !is_our_child(first.pid()));
    let second = registry
        .adopt(1, stranger_with_pid(first.pid()))
        .expect("it is our child");
    assert_eq!(first.pid(), second.pid());
    assert_ne!(first.id(), second.id());
    assert_eq!(
        first.kill().expect_err("it is gone").kind(),
        ErrorKind::AlreadyExited
    );
    assert!(second.try_wait().works().is_none());
    assert!(first.wait().expect("it is known").success());
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert_eq!(only_member(&report).process(), second.id());
    assert_eq!(
        second.wait().expect("it is known").signal(),
        Some(Signal::KILL)
    );
}

/// A child that was started without the library.
fn std_child(command: &mut Command) -> Child {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("a role can be started");
    Lines::new(child.stdout.take().expect("a pipe")).expect("ready");
    child
}

fn an_adopted_child_is_ended_and_reaped() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let child = role("exits-after-a-line")
        .arg("0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let adopted = registry
        .adopt(1, child.expect("a role can be started"))
        .expect("it is our child");
    assert_eq!(
        (adopted.origin(), adopted.session().as_u64()),
        (Origin::Adopted, 1)
    );
    let mut lines = Lines::new(adopted.take_stdout().expect("its pipes come with it"));
    lines.expect("ready");
    assert!(adopted.stdin().is_some());
    let policy = StopPolicy::new().signal(Signal::TERM, LONG_ENOUGH).kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    assert_eq!(
        member(&report, &adopted).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
    assert!(!is_our_child(adopted.pid()), "not reaped");
    assert_eq!(drain(&events).len(), 2);
    assert_eq!(lines.next(), None);
}

fn an_adopted_childs_group_is_ended_only_if_it_leads_one() {
    for leads in [true, false] {
        let registry = registry();
        let mut command = role("keeps-a-child");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if leads {
            command.process_group(0);
        }
        let mut child = command.spawn().expect("a role can be started");
        let control = child.stdin.take().expect("a pipe");
        let mut lines = Lines::new(child.stdout.take().expect("a pipe"));
        lines.expect("ready");
        let other = Pinned::open(lines.number()).expect("it lives");
        let adopted = registry.adopt(1, child).expect("it is our child");
        let report = clean(
            registry
                .end_session_with(1, &StopPolicy::immediate())
                .works(),
        );
        assert_eq!(member(&report, &adopted).how(), How::At(Rung::Kill));
        assert_eq!(report.leftovers().count(), usize::from(leads), "\n{report}");
        assert!(
            !report.covers_descendants(),
            "what left it before nobody has marked"
        );
        assert!(
            !leads || other.is_dead(),
            "alive after a clean report:\n{report}"
        );
        assert!(
            leads || !other.is_dead(),
            "the host's own group was signalled"
        );
        drop(control);
        other.assert_dies();
    }
}

fn a_zombie_that_is_adopted_has_its_exit_told() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let child = role("exits")
        .arg("12")
        .spawn()
        .expect("a role can be started");
    Pinned::open(child.id()).expect("our child").assert_dies();
    let adopted = registry
        .adopt(1, child)
        .expect("it is our child, and not waited for");
    assert_eq!(adopted.wait().works().code(), Some(12));
    close(&registry, 1);
    let told = drain(&events);
    assert_eq!(
        (told.len(), exits_of(&told, &adopted).len()),
        (2, 1),
        "{told:?}"
    );
    assert!(!is_our_child(adopted.pid()), "not reaped");
}

fn a_child_that_was_waited_for_is_given_back() {
    let registry = registry();
    let mut child = role("exits")
        .arg("1")
        .spawn()
        .expect("a role can be started");
    child.wait().expect("our child");
    let pid = child.id();
    let refused = registry
        .adopt(1, child)
        .expect_err("there is nobody to adopt");
    let kind = refused.error().kind();
    assert!(
        matches!(kind, ErrorKind::AlreadyExited | ErrorKind::NoSuchProcess),
        "{refused}"
    );
    let (error, mut child) = refused.into_parts();
    assert_eq!((error.pid(), child.id()), (Some(pid), pid));
    assert_eq!(child.wait().expect("std remembers").code(), Some(1));
    assert!(registry.sessions().works().is_empty());
}

fn a_child_that_is_refused_is_given_back_alive() {
    let registry = registry();
    let reports = registry.shutdown().works();
    assert!(reports.is_empty());
    let refused = registry
        .adopt(1, std_child(&mut role("obedient")))
        .expect_err("it has been shut down");
    assert_eq!(refused.error().kind(), ErrorKind::ShutDown);
    bury(refused.into_parts().1);
}

fn an_attached_process_is_ended_and_left_to_its_parent() {
    let registry = registry();
    let mut other = std_child(&mut role("ignores-term"));
    let attached = registry
        .attach(1, other.id(), |process| process.pid() == other.id())
        .expect("it lives");
    assert_eq!(
        (attached.origin(), attached.pid()),
        (Origin::Attached, other.id())
    );
    let policy = StopPolicy::new().signal(Signal::TERM, ms(50)).kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    assert_eq!(report.strength(), &Strength::Observed(Means::Leader));
    // It was not given to the registry, which therefore has not taken its status away.
    let status = other.wait().expect("its status is still ours");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    assert_ne!(
        attached.wait().expect("it is known").code(),
        Some(0),
        "an invented 0"
    );
}

fn an_attached_processs_group_is_never_signalled() {
    let registry = registry();
    let mut command = role("keeps-a-child");
    let (mut leader, control, mut lines) = host(command.process_group(0));
    let other = Pinned::open(lines.number()).expect("it lives");
    registry.attach(1, leader.id(), |_| true).expect("it lives");
    close_with(&registry, 1, &StopPolicy::immediate());
    leader.wait().expect("our child");
    assert!(
        !other.is_dead(),
        "the group of an attached process was signalled"
    );
    drop(control);
    other.assert_dies();
}

fn an_attached_process_that_exits_by_itself_is_told_once() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::EXITED);
    let (mut other, control, _lines) = host(role("until-eof").arg("21"));
    let attached = registry.attach(1, other.id(), |_| true).expect("it lives");
    drop(control);
    assert_eq!(other.wait().expect("our child").code(), Some(21));
    let exit = attached
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("it has exited");
    // Where the kernel does not tell the status of other people's children, none is invented.
    assert!(
        exit.code() == Some(21) || exit.source() == StatusSource::Unavailable,
        "{exit:?}"
    );
    close(&registry, 1);
    assert_eq!(exits_of(&drain(&events), &attached), [exit]);
}

fn an_attached_process_that_nobody_reaps_is_known_to_be_dead() {
    let registry = registry();
    // The parent is alive, and will never wait for it.
    let (mut parent, _control, mut lines) = host(&mut role("keeps-a-child"));
    let attached = registry
        .attach(1, lines.number(), |_| true)
        .expect("it lives");
    let report = clean(
        registry
            .end_session_with(1, &StopPolicy::immediate())
            .works(),
    );
    assert_eq!(only_member(&report).how(), How::At(Rung::Kill));
    let exit = attached
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("it is dead");
    assert!(
        exit.signal() == Some(Signal::KILL) || exit.status() == Status::Unknown,
        "{exit}"
    );
    assert_eq!(
        support::state(attached.pid()),
        Some('Z'),
        "the precondition does not hold"
    );
    parent.kill().expect("it lives");
    parent.wait().expect("our child");
}

fn an_attached_process_is_read_before_it_is_believed() {
    let registry = registry();
    let other = std_child(
        role("obedient")
            .arg("an argument")
            .env("SOME_VARIABLE", "its value"),
    );
    let mut seen = false;
    let refused = registry.attach(1, other.id(), |process| {
        seen = true;
        assert_eq!(
            (process.pid(), process.parent()),
            (other.id(), Some(std::process::id()))
        );
        assert_eq!(
            process.args()[1..],
            ["role:obedient", "an argument"].map(std::ffi::OsString::from)
        );
        assert!(process.command_line().contains("an argument"));
        assert_eq!(
            process.env("SOME_VARIABLE").as_deref(),
            Some(std::ffi::OsStr::new("its value"))
        );
        assert_eq!(process.exe(), std::env::current_exe().ok().as_deref());
        assert_eq!(process.user(), rustix::process::geteuid().as_raw());
        assert!(process.age() < LONG_ENOUGH * 2, "{:?}", process.age());
        false
    });
    assert_eq!(
        refused.expect_err("the predicate said no").kind(),
        ErrorKind::NotTheProcess
    );
    assert!(seen);
    assert!(registry.processes().works().is_empty());
    close(&registry, 1);
    bury(other);
}

fn a_process_that_is_attached_twice_is_registered_once() {
    let registry = registry();
    let events = registry.subscribe_to(EventMask::STARTED | EventMask::EXITED);
    let mut other = std_child(&mut role("obedient"));
    let first = registry.attach(1, other.id(), |_| true).expect("it lives");
    let second = registry
        .attach(1, other.id(), |_| true)
        .expect("it is in this session");
    assert_eq!(first.id(), second.id());
    let (spawned, _lines) = start(&registry, 1, &mut role("obedient"));
    let again = registry
        .attach(1, spawned.pid(), |_| true)
        .expect("it is in this session");
    assert_eq!(
        (again.id(), again.origin()),
        (spawned.id(), Origin::Spawned)
    );
    assert_eq!(registry.processes().works().len(), 2);
    close_with(&registry, 1, &StopPolicy::immediate());
    other.wait().expect("our child");
    assert_eq!(drain(&events).len(), 4);
}

fn a_process_belongs_to_one_session() {
    let registry = registry();
    let (child, _lines) = start(&registry, 1, &mut role("obedient"));
    let refused = registry
        .attach(2, child.pid(), |_| true)
        .expect_err("it is in session 1");
    assert_eq!(
        (refused.kind(), refused.pid()),
        (ErrorKind::AlreadyRegistered, Some(child.pid()))
    );
    assert_eq!(refused.operation(), "attach");
    close_with(&registry, 2, &StopPolicy::immediate());
    assert!(
        child.try_wait().works().is_none(),
        "ended with a session that it is not in"
    );
    close_with(&registry, 1, &StopPolicy::immediate());
}

fn sessions_do_not_touch_each_other() {
    let registry = registry();
    let all: Vec<_> = (0..10)
        .map(|n| (n % 5, start(&registry, n % 5, &mut role("obedient"))))
        .collect();
    registry
        .signal_session(4, Signal::TERM)
        .expect("it has members");
    for ended in [0, 1, 2] {
        let report = clean(
            registry
                .end_session_with(ended, &StopPolicy::immediate())
                .works(),
        );
        assert_eq!(report.members().len(), 2, "\n{report}");
        for (session, (child, _lines)) in &all {
            let gone = child.try_wait().works().is_some();
            assert!(
                gone || *session > ended,
                "a member of session {session} outlived the end of {ended}"
            );
            assert!(
                !gone || *session <= ended || *session == 4,
                "session {session} was ended with {ended}"
            );
        }
    }
    for (_, (child, _lines)) in all.iter().filter(|(session, _)| *session == 4) {
        assert_eq!(
            child.wait().expect("it was signalled").signal(),
            Some(Signal::TERM)
        );
    }
    close_with(&registry, 3, &StopPolicy::immediate());
}

/// In a shell's `a | host`, `a` and the host are of one group: what ends `a` must not end the host.
fn the_hosts_own_group_is_never_signalled() {
    let registry = registry();
    let witness = std_child(&mut role("obedient"));
    let adopted = std_child(&mut role("ignores-term"));
    let mut attached = std_child(&mut role("ignores-term"));
    let (adopted_pid, attached_pid) = (adopted.id(), attached.id());
    registry.adopt(1, adopted).expect("it is our child");
    registry
        .attach(1, attached_pid, |_| true)
        .expect("it lives");
    let policy = StopPolicy::new()
        .signal(Signal::TERM, ms(50))
        .signal(Signal::HUP, LONG_ENOUGH)
        .kill();
    let report = clean(registry.end_session_with(1, &policy).works());
    assert_eq!(report.members().len(), 2, "\n{report}");
    assert!(!is_our_child(adopted_pid), "not reaped");
    attached.wait().expect("our child");
    bury(witness);
}

/// Also where no pass ever looks for them.
fn those_that_were_given_up_and_are_dead_hold_few_descriptors() {
    let builder = support::builder().containment(Containment::Leader);
    let registry = builder.build().works();
    let before = descriptors().len();
    for _ in 0..100 {
        let (mut child, input, _lines) = host(&mut role("obedient"));
        let attached = registry.attach(1, child.id(), |_| true).works();
        attached.detach().works();
        child.kill().expect("our child");
        child.wait().expect("our child");
        drop(input);
    }
    let after = descriptors().len();
    assert!(after <= before + 10, "{before} and {after} descriptors");
}

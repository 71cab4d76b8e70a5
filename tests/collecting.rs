//! What processes say, drained while they run.

mod support;

use std::cell::Cell;
use std::io::Read as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use procession::{
    Capability, Collector, ErrorKind, Output, Process, Reason, Registry, Signal, SpawnOptions,
    StopPolicy,
};

use support::{
    LONG_ENOUGH, Pinned, Rounds, Works, close, close_with, controlled, eventually, host, ms,
    registry, role, run_in_fork, test, threads,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(output_is_collected_without_waiting_for_a_descendant_that_holds_the_pipe),
            test!(output_beyond_the_limit_is_dropped_and_said_to_be),
            test!(exactly_the_limit_is_not_truncated),
            test!(a_limit_of_zero_keeps_nothing_and_reads_everything),
            test!(both_pipes_are_drained_on_one_thread),
            test!(one_pipe_is_collected_where_the_other_is_the_hosts),
            test!(bytes_that_are_no_text_are_kept_as_they_are),
            test!(what_was_said_before_a_time_limit_is_kept),
            test!(what_was_said_before_the_registry_was_dropped_is_kept),
            test!(the_last_words_before_an_exit_are_never_missed),
            test!(a_descendant_that_goes_on_writing_does_not_hold_up_finish),
            test!(many_are_collected_at_once),
            test!(a_collector_that_is_dropped_closes_the_pipes),
            test!(a_copy_of_a_collector_in_a_forked_child_closes_nothing),
            test!(a_survivor_of_a_shutdown_has_no_output_and_hangs_nobody),
        ],
        &[],
    )
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Starts a script with both outputs piped.
#[track_caller]
fn speaker(registry: &Registry, script: &str) -> Process {
    let mut command = shell(script);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    registry.spawn(1, &mut command).works()
}

#[track_caller]
fn said(collector: Collector) -> Output {
    collector.finish().works()
}

fn output_is_collected_without_waiting_for_a_descendant_that_holds_the_pipe() {
    let registry = registry();
    let child = speaker(&registry, "echo out; sleep 1000 & echo $! >&2; exit 3");
    let output = said(child.collect_output(1 << 20).works());
    assert_eq!(output.stdout, b"out\n");
    let holder = String::from_utf8_lossy(&output.stderr);
    let holder = holder.trim().parse().expect("its pid");
    let holder = Pinned::open(holder).expect("it lives");
    assert!(output.still_open && !output.truncated);
    assert_eq!(child.wait().works().code(), Some(3));
    close(&registry, 1);
    let capabilities = registry.capabilities();
    if !capabilities.has(Capability::GroupSignalAfterReap) {
        // The group of a leader that left before the end is out of reach on such a kernel.
        holder.kill();
    }
    holder.assert_dies();
}

fn output_beyond_the_limit_is_dropped_and_said_to_be() {
    let registry = registry();
    let child = speaker(&registry, "head -c 1000000 /dev/zero");
    let output = said(child.collect_output(1000).works());
    assert_eq!(output.stdout.len(), 1000);
    assert!(output.truncated && !output.still_open);
    let again = child.collect_output(1).expect_err("they were taken");
    assert_eq!(again.kind(), ErrorKind::InvalidInput);
}

fn exactly_the_limit_is_not_truncated() {
    let registry = registry();
    for (limit, truncated) in [(3, true), (4, false), (usize::MAX, false)] {
        let child = speaker(&registry, "printf abcd; printf efgh >&2");
        let output = said(child.collect_output(limit).works());
        assert_eq!(output.truncated, truncated, "{output:?}");
        // For each of the two.
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (limit.min(4), limit.min(4))
        );
    }
}

fn a_limit_of_zero_keeps_nothing_and_reads_everything() {
    let registry = registry();
    let child = speaker(&registry, "head -c 1000000 /dev/zero; exit 4");
    let output = said(child.collect_output(0).works());
    assert!(output.stdout.is_empty() && output.truncated);
    assert_eq!(child.wait().works().code(), Some(4), "it did not stop");
}

fn both_pipes_are_drained_on_one_thread() {
    let registry = registry();
    let before = threads().len();
    // Each pipe is filled far beyond what it holds before the other gets a byte.
    let script =
        "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; read go";
    let mut command = shell(script);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = registry.spawn(1, &mut command).works();
    let collector = child.collect_output(1 << 20).works();
    eventually("one thread is there for both", || {
        threads().len() == before + 1
    });
    child.stdin().expect("a pipe").close();
    let output = said(collector);
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (600_000, 300_000)
    );
    assert!(!output.truncated && !output.still_open);
    // It is joined before the output is there, and still listed for a moment after that.
    eventually("it is gone", || threads().len() == before);
}

fn one_pipe_is_collected_where_the_other_is_the_hosts() {
    let registry = registry();
    let child = speaker(&registry, "echo out; echo err >&2");
    let mut stdout = child.take_stdout().expect("a pipe");
    let output = said(child.collect_output(100).works());
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b""[..], &b"err\n"[..])
    );
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("a pipe");
    assert_eq!(text, "out\n");

    let mut silent = shell("exit 0");
    let child = registry.spawn(1, silent.stdin(Stdio::null())).works();
    let error = child.collect_output(100).expect_err("there is no pipe");
    assert_eq!(
        (error.kind(), error.pid()),
        (ErrorKind::InvalidInput, Some(child.pid()))
    );
}

fn bytes_that_are_no_text_are_kept_as_they_are() {
    let registry = registry();
    let child = speaker(&registry, r"printf '\000\377\n\200'");
    assert_eq!(
        said(child.collect_output(100).works()).stdout,
        [0, 255, b'\n', 128]
    );
}

fn what_was_said_before_a_time_limit_is_kept() {
    let registry = registry();
    let mut command = shell("trap '' TERM; echo so far; exec sleep 1000");
    let options = SpawnOptions::new().time_limit(ms(300));
    let session = procession::SessionOptions::new()
        .id(1)
        .stop_policy(StopPolicy::immediate());
    let session = registry.open_session(session).works();
    let child = session
        .spawn_with(command.stdout(Stdio::piped()), &options)
        .works();
    let output = said(child.collect_output(100).works());
    assert_eq!(output.stdout, b"so far\n");
    let exit = child.wait().works();
    assert_eq!(exit.asked(), Some((Signal::KILL, Reason::TimeLimit)));
}

fn what_was_said_before_the_registry_was_dropped_is_kept() {
    let registry = registry();
    let (input, control) = support::pipe();
    let mut command = shell("echo first; read go; exit 0");
    command.stdin(input).stdout(Stdio::piped());
    let child = registry.spawn(1, &mut command).works();
    let collector = child.collect_output(100).works();
    child.kill().works();
    drop((registry, control));
    // Whatever was said by then: `finish` comes back, with or without a registry.
    let output = said(collector);
    assert!(b"first\n".starts_with(&output.stdout[..]), "{output:?}");
}

/// Hunts for an exit that is seen before the bytes that were written before it.
fn the_last_words_before_an_exit_are_never_missed() {
    let registry = registry();
    for round in Rounds::new() {
        let child = speaker(&registry, &format!("echo {round}; echo {round} >&2"));
        let output = said(child.collect_output(100).works());
        let expected = format!("{round}\n").into_bytes();
        assert_eq!(
            (&output.stdout, &output.stderr),
            (&expected, &expected),
            "round {round}"
        );
        assert!(!output.still_open, "round {round}");
    }
}

fn a_descendant_that_goes_on_writing_does_not_hold_up_finish() {
    let registry = registry();
    let child = speaker(&registry, "yes & exit 0");
    let output = said(child.collect_output(1 << 16).works());
    assert!(output.still_open, "it writes on");
    assert!(output.stdout.len() <= 1 << 16);
    // Nobody reads it any more: it has SIGPIPE, or is ended with its group.
    close_with(&registry, 1, &StopPolicy::immediate());
}

fn many_are_collected_at_once() {
    let registry = registry();
    let collectors: Vec<_> = (0..40)
        .map(|n| {
            let script = format!("head -c 200000 /dev/zero; echo {n} >&2");
            (n, speaker(&registry, &script))
        })
        .map(|(n, child)| (n, child.collect_output(1 << 20).works()))
        .collect();
    thread::scope(|scope| {
        for (n, collector) in collectors {
            scope.spawn(move || {
                let output = said(collector);
                assert_eq!(output.stdout.len(), 200_000);
                assert_eq!(output.stderr, format!("{n}\n").into_bytes());
            });
        }
    });
}

fn a_collector_that_is_dropped_closes_the_pipes() {
    let registry = registry();
    let child = speaker(&registry, "exec yes");
    drop(child.collect_output(100).works());
    let exit = child
        .wait_timeout(LONG_ENOUGH)
        .works()
        .expect("nobody reads what it says");
    assert_eq!(
        (exit.signal(), exit.asked()),
        (Some(Signal::PIPE), None),
        "{exit}"
    );
}

fn a_copy_of_a_collector_in_a_forked_child_closes_nothing() {
    let registry = registry();
    let (input, control) = support::pipe();
    let mut command = shell("read go; echo after the fork");
    command.stdin(input).stdout(Stdio::piped());
    let child = registry.spawn(1, &mut command).works();
    for finishes in [false, true] {
        let mut command = shell("read go; echo after the fork");
        let (input, control) = support::pipe();
        command.stdin(input).stdout(Stdio::piped());
        let child = registry.spawn(1, &mut command).works();
        let collector = Cell::new(Some(child.collect_output(100).works()));
        // Its thread sleeps in a poll before there is a copy of it.
        eventually("the thread sleeps", || {
            let thread = support::thread_named("procession-out");
            support::state(thread) == Some('S')
        });
        let forked = run_in_fork(|| {
            let copy = collector.take().expect("a copy");
            if finishes {
                let error = copy.finish().expect_err("its thread is elsewhere");
                assert_eq!(error.kind(), ErrorKind::ReactorGone);
            } else {
                drop(copy);
            }
        });
        assert_eq!(forked, support::Forked::Exited(0));
        drop(control);
        let output = said(collector.into_inner().expect("ours"));
        assert_eq!(output.stdout, b"after the fork\n");
    }
    drop(control);
    assert!(child.wait_timeout(LONG_ENOUGH).works().is_some());
}

fn a_survivor_of_a_shutdown_has_no_output_and_hangs_nobody() {
    let registry = registry();
    let (child, _control, _lines) =
        controlled(&registry, 1, role("obedient").stderr(Stdio::piped()));
    let collector = child.collect_output(100).works();
    let pinned = Pinned::open(child.pid()).expect("it lives");
    let (mut tracer, control, _tracer_lines) =
        host(role("tracer").args([child.pid().to_string(), "before-exit".to_owned()]));
    let reports = registry
        .shutdown_with(&StopPolicy::immediate().confirm_within(ms(100)))
        .works();
    assert_eq!(
        reports.iter().filter(|report| !report.is_clean()).count(),
        1
    );
    let error = collector.finish().expect_err("it has not exited");
    assert_eq!(error.kind(), ErrorKind::ShutDown);
    drop(control);
    assert!(tracer.wait().expect("our child").success());
    pinned.assert_dies();
    // Whoever shuts down with survivors has its zombie to bury: nobody else may.
    let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
}

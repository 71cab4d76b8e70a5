//! Who never stands still under the tier `Group`: comets, which fork, leave their child and exit for ever, and machines on
//! which processes come and go all the time. What is not confirmed is said to be still forking.

mod support;

use std::process::{ExitCode, Stdio};

use procession::{Registry, SessionReport, StopPolicy, SurvivalCause};

use support::adversary::{await_abandoned, comet, daemon};
use support::strangers::Bystanders;
use support::tree::{native_tree, tree};
use support::{
    LONG_ENOUGH, Pinned, Works, builder, clean, holds_within, ms, registry, role, role_of, say,
    start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(comets_are_dead_after_a_clean_report),
            test!(comets_that_only_their_environment_names_are_dead_after_a_clean_report),
            test!(a_comet_of_which_only_the_dead_are_seen_is_not_called_gone),
            test!(comets_among_bystanders_are_dead_after_a_clean_report),
            test!(a_machine_on_which_processes_come_and_go_all_the_time_is_no_excuse),
            test!(where_no_pass_is_quiet_a_leader_that_is_dead_and_kept_is_no_news),
            test!(where_no_pass_is_quiet_a_leader_that_is_dead_and_kept_is_no_news).on("5.14"),
        ],
        &[role_of!(comet), role_of!(daemon), role_of!(churn)],
    )
}

#[track_caller]
fn end_now(registry: &Registry, session: u64) -> SessionReport {
    let report = registry.end_session_with(session, &StopPolicy::immediate());
    clean(report.works())
}

/// How many comets each test hunts; the whole hunt is two hundred.
fn comets() -> usize {
    let said = std::env::var("PROCESSION_COMETS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn hunt_comets(registry: &Registry) {
    let (mut ended, mut unsettled) = (0, 0);
    for round in 0..comets() {
        let stays = if round % 2 == 0 { "stays" } else { "leaves" };
        let by = if round % 4 < 2 { tree } else { native_tree };
        let mut tree = by(registry, 1, "comet", &[stays]);
        tree.await_ready();
        let report = registry
            .end_session_with(1, &StopPolicy::immediate())
            .works();
        if report.is_clean() {
            assert!(report.claims().is_empty(), "\n{report}");
            tree.assert_gone();
            ended += 1;
        } else {
            let cause = report.survivors()[0].cause;
            assert_eq!(cause, SurvivalCause::StillForking, "\n{report}");
            unsettled += 1;
            let again = registry.end_session_with(1, &StopPolicy::immediate());
            drop(again.works());
            await_abandoned(tree.output.get_mut());
        }
    }
    assert!(ended > unsettled, "{ended} ended, {unsettled} got away");
    // What was not settled is not forgotten.
    drop(registry.end_session(1).works());
}

fn comets_are_dead_after_a_clean_report() {
    hunt_comets(&registry());
}

fn comets_that_only_their_environment_names_are_dead_after_a_clean_report() {
    hunt_comets(&builder().limit_mark(false).build().works());
}

/// Before SIGKILL nothing is chased, and hardly one of it is met alive: only its dead say that there is somebody.
fn a_comet_of_which_only_the_dead_are_seen_is_not_called_gone() {
    let registry = builder().limit_mark(false).build().works();
    for _ in 0..3 {
        let mut tree = tree(&registry, 1, "comet", &["leaves"]);
        tree.await_ready();
        let policy = StopPolicy::wait_then_kill(ms(2_000));
        let report = registry.end_session_with(1, &policy).works();
        if report.is_clean() {
            tree.assert_gone();
        } else {
            await_abandoned(tree.output.get_mut());
            drop(registry.end_session(1).works());
        }
    }
}

fn comets_among_bystanders_are_dead_after_a_clean_report() {
    let crowd = Bystanders::start(200);
    hunt_comets(&registry());
    crowd.assert_alive_and_end();
}

/// Starts programs that end at once, one after the other, until its input ends.
fn churn() {
    say("ready");
    let over = std::thread::spawn(support::await_end_of_input);
    while !over.is_finished() {
        let mut child = std::process::Command::new("/usr/bin/true")
            .stdin(Stdio::null())
            .spawn()
            .expect("a program");
        assert!(
            child.wait().expect("our child").success(),
            "it was signalled"
        );
    }
    say("nobody was signalled");
}

/// No pass is quiet there. What forks all the time is ended all the same or said to be still forking, and what does not
/// is ended and confirmed.
fn a_machine_on_which_processes_come_and_go_all_the_time_is_no_excuse() {
    let registry = registry();
    let churners: Vec<_> = (0..2).map(|_| support::host(&mut role("churn"))).collect();
    for _ in 0..5 {
        let (leader, mut lines) = start(&registry, 1, role("daemon").arg("leaves"));
        let daemon = Pinned::open(lines.number()).expect("it lives");
        leader.wait().works();
        let report = end_now(&registry, 1);
        assert!(daemon.is_dead(), "\n{report}");
    }
    let (_leader, _lines) = start(&registry, 2, role("comet").arg("stays"));
    let report = registry
        .end_session_with(2, &StopPolicy::immediate())
        .works();
    if !report.is_clean() {
        let causes = report.survivors().iter().map(|survivor| survivor.cause);
        let still = |cause| cause == SurvivalCause::StillForking;
        assert!(causes.into_iter().all(still), "\n{report}");
    }
    for (mut child, control, mut lines) in churners {
        drop(control);
        lines.expect("nobody was signalled");
        assert!(child.wait().expect("our child").success());
    }
    // What was still forking is chased once more; it comes to its own end as well.
    assert!(holds_within(LONG_ENOUGH, || {
        let again = registry.end_session_with(2, &StopPolicy::immediate());
        again.works().is_clean()
    }));
}

/// Before Linux 6.9 a dead leader is kept until the end is over, for the sake of its group's number. Each pass meets it, and
/// it carries the mark; that is no sign of anybody else.
fn where_no_pass_is_quiet_a_leader_that_is_dead_and_kept_is_no_news() {
    // With so many a pass takes longer than a program of the churners lives.
    let crowd = Bystanders::start(1000);
    let churners: Vec<_> = (0..3).map(|_| support::host(&mut role("churn"))).collect();
    let registry = registry();
    let mut tree = native_tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let report = registry.end_session_with(1, &StopPolicy::immediate());
    crowd.assert_alive_and_end();
    for (mut child, control, mut lines) in churners {
        drop(control);
        lines.expect("nobody was signalled");
        assert!(child.wait().expect("our child").success());
    }
    drop(clean(report.works()));
    tree.assert_gone();
}

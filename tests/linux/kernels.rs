//! Kernels that are older than this one, and systems that show less: what is promised there, and what is said of it.
//!
//! With `PROCESSION_OLDER_KERNEL` all other tests run on each of them as well.

use std::process::{ExitCode, Stdio};
use std::thread;

use procession::{
    Capability, Containment, ErrorKind, EventMask, Means, OrphanRule, Registry, Signal, StatusSource, StopPolicy,
    Strength,
};

use crate::support::adversary::daemon;
use crate::support::tree::{native_tree, tree};
use crate::support::{
    Scratch, Works, builder, clean, close, drain, exits_of, have_no_proc, pipe,
    registry, role, role_of, start, test,
};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[
            test!(the_oldest_kernel_is_taken_for_what_it_is).on("5.4"),
            test!(without_pidfs_and_all_after_it).on("5.14"),
            test!(without_the_ioctl).on("6.9"),
            test!(without_the_status_of_strangers).on("6.13"),
            test!(what_the_kernel_does_not_list_is_found_by_trying).on("6.15"),
            test!(without_cgroups).on("no-cgroup").needs_root(),
            test!(a_sandbox_forbids_what_it_has_never_heard_of).on("sandbox"),
            test!(where_others_are_hidden_our_own_are_found)
                .on("hidepid")
                .needs_root(),
            test!(without_a_subreaper_the_next_tier_is_taken_and_named).on("5.4"),
            test!(without_proc_processes_are_ended_and_no_more_is_claimed).needs_root(),
            test!(without_proc_there_is_no_ledger_and_nothing_is_swept).needs_root(),
        ],
        &[role_of!(daemon)],
    )
}

/// What a registry says is not to be had here, of what a kernel decides.
fn missing(registry: &Registry) -> Vec<Capability> {
    use Capability::*;
    let all = [GroupSignalAfterReap, LimitMark, ForeignStatus];
    let capabilities = registry.capabilities();
    let missing = all.into_iter().filter(|&one| !capabilities.has(one));
    missing.collect()
}

/// A child of each launcher is told of once and ended with what it left behind, whatever this kernel has.
fn sessions_work(registry: &Registry) {
    let events = registry.subscribe_to(EventMask::EXITED);
    for by in [tree, native_tree] {
        let mut tree = by(registry, 1, "daemon", &["stays"]);
        tree.await_ready();
        let report = registry.end_session_with(1, &StopPolicy::immediate());
        let report = clean(report.works());
        tree.assert_gone();
        assert!(report.covers_descendants(), "\n{report}");
    }
    let (child, _lines) = start(registry, 1, &mut role("obedient"));
    close(registry, 1);
    assert_eq!(exits_of(&drain(&events), &child).len(), 1);
}

fn the_oldest_kernel_is_taken_for_what_it_is() {
    let registry = registry();
    use Capability::*;
    assert_eq!(missing(&registry), [GroupSignalAfterReap, ForeignStatus]);
    assert!(!registry.capabilities().has(CgroupTier));
    sessions_work(&registry);
}

fn without_pidfs_and_all_after_it() {
    let registry = registry();
    use Capability::*;
    assert_eq!(missing(&registry), [GroupSignalAfterReap, ForeignStatus]);
    sessions_work(&registry);
}

fn without_the_ioctl() {
    let registry = registry();
    assert_eq!(missing(&registry), [Capability::ForeignStatus]);
    sessions_work(&registry);
}

fn without_the_status_of_strangers() {
    without_the_ioctl();
}

fn what_the_kernel_does_not_list_is_found_by_trying() {
    let registry = registry();
    assert_eq!(missing(&registry), []);
    sessions_work(&registry);
}

fn a_sandbox_forbids_what_it_has_never_heard_of() {
    let registry = registry();
    use Capability::*;
    assert_eq!(missing(&registry), [GroupSignalAfterReap, ForeignStatus]);
    let (child, _lines) = start(&registry, 1, role("until-eof").arg("7").stdin(Stdio::piped()));
    drop(child.take_stdin());
    let exit = child.wait().works();
    assert_eq!(
        (exit.code(), exit.source()),
        (Some(7), StatusSource::Waited)
    );
    sessions_work(&registry);
}

fn without_cgroups() {
    let tier = Containment::Cgroup;
    let refused = builder().containment(tier).build().map(drop);
    let error = refused.expect_err("there are none");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("cgroup"), "{error}");
    let registry = builder().containment_up_to(tier).build().works();
    let why = registry.capabilities().why_not(Capability::CgroupTier);
    assert!(why.is_some_and(|why| why.contains("cgroup")), "{why:?}");
    sessions_work(&registry);
}

fn where_others_are_hidden_our_own_are_found() {
    assert!(
        !std::path::Path::new("/proc/1").exists(),
        "nothing is hidden"
    );
    sessions_work(&registry());
}

fn without_a_subreaper_the_next_tier_is_taken_and_named() {
    let consenting = || builder().subreaper(true);
    let tier = Containment::Subreaper;
    let error = consenting().containment(tier).build().map(drop);
    let error = error.expect_err("a group without its leader is out of reach");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("Linux 6.9"), "{error}");
    let registry = consenting().containment_up_to(tier).build().works();
    let why = registry.capabilities().why_not(Capability::SubreaperTier);
    assert!(why.is_some_and(|why| why.contains("Linux 6.9")), "{why:?}");
    let mut tree = native_tree(&registry, 1, "daemon", &["stays"]);
    tree.await_ready();
    let report = clean(registry.end_session(1).works());
    tree.assert_gone();
    assert_eq!(
        report.strength(),
        &Strength::Observed(Means::MarkAndGroup),
        "\n{report}"
    );
}

/// Runs something on a thread that has no `/proc`, and neither have the threads and the processes that it starts.
fn in_a_world_without_proc<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let without = || {
        have_no_proc();
        run()
    };
    thread::scope(|scope| scope.spawn(without).join()).expect("it did not panic")
}

fn without_proc_processes_are_ended_and_no_more_is_claimed() {
    let (mut std, mut obedient) = (role("ignores-term"), role("obedient"));
    let program = std.get_program().to_owned();
    let (input, control) = pipe();
    in_a_world_without_proc(move || {
        let registry = registry();
        let why = registry.capabilities().why_not(Capability::LimitMark);
        assert!(why.is_some_and(|why| why.contains("/proc")), "{why:?}");
        let events = registry.subscribe_to(EventMask::EXITED);
        let (stubborn, _stubborn) = start(&registry, 1, &mut std);
        let (child, _lines) = start(&registry, 1, &mut obedient);
        let mut native = procession::Command::new(program);
        let native = native.args(["role:until-eof", "3"]).stdin(input);
        let native = registry.spawn(1, native).works();
        drop(control);
        assert_eq!(native.wait().works().code(), Some(3));
        let policy = StopPolicy::new().signal(Signal::TERM, crate::support::ms(100));
        let report = registry.end_session_with(1, &policy.kill()).works();
        assert!(report.survivors().is_empty(), "\n{report}");
        // Whoever has left the group cannot be looked for, and so it says.
        assert!(!report.covers_descendants(), "\n{report}");
        let claimed = Strength::Observed(Means::Leader);
        assert_eq!(report.strength(), &claimed, "\n{report}");
        let told = drain(&events);
        for process in [&stubborn, &child, &native] {
            assert_eq!(exits_of(&told, process).len(), 1, "{told:?}");
        }
    });
}

fn without_proc_there_is_no_ledger_and_nothing_is_swept() {
    let ledger = Scratch::new("ledger", b"", 0o600);
    in_a_world_without_proc(|| {
        let built = builder().ledger(ledger.path()).build().map(drop);
        let error = built.expect_err("a ledger names its host");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("/proc"), "{error}");
        let registry = registry();
        let failed = [
            registry.recover().map(drop),
            registry.sweep(&OrphanRule::reparented()).map(drop),
        ];
        for error in failed.map(|done| done.expect_err("nobody can be seen")) {
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            assert!(error.to_string().contains("the list of all processes"), "{error}");
        }
    });
}

//! Launches by their orders: what has no public way in yet, and what has to be stopped in the middle.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::support::*;
use crate::exit::Status;
use crate::sys::*;

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Orders for a shell that runs a script, and where it can be read what that says.
fn shell(script: &str) -> (Orders, File) {
    let (reader, writer) = pipe().unwrap();
    let orders = Orders {
        programs: vec![text("/bin/sh")],
        argv: ["sh", "-c", script].map(text).to_vec(),
        descriptors: vec![Passed {
            from: Arc::new(writer),
            number: 1,
        }],
        ..Orders::default()
    };
    (orders, File::from(reader))
}

fn ended(pin: &Pin) -> Status {
    until_dead(pin);
    let looked = pin.look(Relation::Child, &facilities()).unwrap();
    assert!(pin.reap().unwrap());
    match looked {
        Look::Exited { status, .. } => status,
        Look::Alive | Look::Held | Look::Dead => panic!("{looked:?}"),
    }
}

/// Launches what says something and exits.
fn said_by((orders, mut reader): (Orders, File)) -> String {
    let unborn = Unborn::new().unwrap();
    let born = launch(&orders, &unborn, &facilities()).unwrap();
    drop(orders);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(ended(&born), Status::Code(0));
    said
}

#[test]
fn a_limit_that_the_kernel_only_keeps_is_there_before_the_program_is() {
    const LOCKS: u32 = 10;
    let (mut orders, reader) = shell("exec grep 'Max file locks' /proc/self/limits");
    orders.limits.push(Limit {
        resource: LOCKS,
        soft: 4711,
        hard: 1 << 62,
    });
    let said = said_by((orders, reader));
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words[3..5], ["4711", "4611686018427387904"]);
}

#[test]
fn what_was_doomed_before_it_began_runs_nothing() {
    let (orders, mut reader) = shell("echo it ran");
    let unborn = Unborn::new().unwrap();
    unborn.doom();
    let fault = launch(&orders, &unborn, &facilities()).unwrap_err();
    drop(orders);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    let errno = fault.error.raw_os_error();
    assert_eq!((fault.step, errno), (Step::Clone, Some(libc::ECANCELED)));
}

#[test]
fn what_is_doomed_after_it_was_handed_over_lives() {
    let (orders, _reader) = shell("read -r line");
    let (input, control) = pipe().unwrap();
    let mut orders = orders;
    orders.descriptors.push(Passed {
        from: Arc::new(input),
        number: 0,
    });
    let unborn = Unborn::new().unwrap();
    let born = launch(&orders, &unborn, &facilities()).unwrap();
    drop(orders);
    unborn.doom();
    assert!(!born.is_dead().unwrap());
    drop(control);
    assert_eq!(ended(&born), Status::Code(1));
}

#[test]
fn the_pin_of_a_birth_names_the_process_as_one_that_is_opened_does() {
    let (orders, _reader) = shell("exec sleep 1000");
    for mask in [
        Mask::default(),
        Mask {
            pidfs: true,
            ..Mask::default()
        },
    ] {
        let facilities = masked(mask);
        let unborn = Unborn::new().unwrap();
        let born = launch(&orders, &unborn, &facilities).unwrap();
        let opened = Pin::open(born.pid(), &facilities).unwrap();
        assert_eq!(born.identity(), opened.identity());
        send_signal(Target::Process(&born), libc::SIGKILL, &facilities).unwrap();
        ended(&born);
    }
}

// ---- cgroups

/// A cgroup (version 2) of a test's own, where one can be made. Removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        })?;
        let path = root.join(format!("procession-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn procs(&self) -> Option<Arc<OwnedFd>> {
        let file = File::options()
            .write(true)
            .open(self.0.join("cgroup.procs"));
        Some(Arc::new(file.ok()?.into()))
    }

    fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        eventually("the cgroup is empty", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn a_cgroup_is_entered_before_exec() {
    let Some(cgroup) = Cgroup::new("enter") else {
        return skipped("no cgroup (version 2) can be made here");
    };
    let (mut orders, reader) = shell("cat /proc/self/cgroup");
    orders.cgroup = cgroup.procs();
    let said = said_by((orders, reader));
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    assert!(
        said.lines()
            .any(|line| line.starts_with("0::") && line.ends_with(name)),
        "{said}"
    );
}

#[test]
fn a_cgroup_that_does_not_let_it_in_is_named() {
    let (mut orders, _reader) = shell("echo it ran");
    orders.cgroup = Some(Arc::new(File::open("/dev/null").unwrap().into()));
    let unborn = Unborn::new().unwrap();
    let fault = launch(&orders, &unborn, &facilities()).unwrap_err();
    assert_eq!(fault.step, Step::Cgroup);
    assert_eq!(fault.error.raw_os_error(), Some(libc::EBADF));
}

/// A frozen cgroup holds whoever enters it, in the middle of the launch and in no system call.
#[test]
fn a_launch_that_is_frozen_on_its_way_can_be_ended() {
    let Some(cgroup) = Cgroup::new("frozen") else {
        return skipped("no cgroup (version 2) can be made here");
    };
    if fs::write(cgroup.0.join("cgroup.freeze"), "1").is_err() {
        return skipped("no cgroup can be frozen here (Linux 5.2)");
    }
    // With memory of its own, as for another user, and with ours.
    for groups in [None, Some(vec![])] {
        let (mut orders, mut reader) = shell("echo it ran");
        orders.cgroup = cgroup.procs();
        if !rustix::process::geteuid().is_root() && groups.is_some() {
            continue;
        }
        orders.groups = groups;
        let unborn = Arc::new(Unborn::new().unwrap());
        std::thread::scope(|scope| {
            let launching = scope.spawn({
                let unborn = Arc::clone(&unborn);
                move || launch(&orders, &unborn, &facilities())
            });
            eventually("it has entered", || {
                (!cgroup.members().is_empty()).then_some(())
            });
            assert!(!launching.is_finished());
            unborn.doom();
            let born = launching.join().unwrap().unwrap();
            assert!(
                matches!(ended(&born), Status::Signal { signal, .. } if signal.as_raw() == libc::SIGKILL)
            );
        });
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}

#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// All that can be asked for in one launch, and each of the failures once, without any call that an instrument might not
/// know: for valgrind, see `.ci/run`.
#[test]
fn a_launch_by_the_oldest_means_with_all_that_can_be_asked_for() {
    const OLDEST: Facilities = Facilities {
        group_signal: false,
        pidfs: false,
        pidfd_info: false,
        exit_info: false,
    };
    let mut unborn = Unborn::new().unwrap();
    for failing in [false, true, false] {
        let (mut orders, mut reader) = shell("umask; pwd; exit 3");
        orders.environment = vec![text("PATH=/bin:/usr/bin"), text("A=B")];
        orders.directory = Some(text(if failing { "/no/such/directory" } else { "/" }));
        orders.programs = vec![text("/no/such/program"), text("/bin/sh")];
        orders.grouping = Grouping::OwnSession;
        orders.reset_ignored = true;
        orders.umask = Some(0o27);
        orders.nice = Some(1);
        orders.limits.push(Limit {
            resource: 4,
            soft: 0,
            hard: 0,
        });
        orders.parent_death_signal = Some(libc::SIGKILL);
        orders.close_others = true;
        let launched = launch(&orders, &unborn, &OLDEST);
        drop(orders);
        match launched {
            Err(Fault { step, error }) => {
                assert!(failing, "{step}: {error}");
                assert_eq!(step, Step::Directory);
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
            }
            Ok(born) => {
                assert!(!failing);
                let mut said = String::new();
                reader.read_to_string(&mut said).unwrap();
                assert_eq!(said, "0027\n/\n");
                assert!(sleep_on_alone(&born, None).unwrap());
                let looked = born.look(Relation::Child, &OLDEST).unwrap();
                assert!(
                    matches!(
                        looked,
                        Look::Exited {
                            status: Status::Code(3),
                            ..
                        }
                    ),
                    "{looked:?}"
                );
                assert!(born.reap().unwrap());
            }
        }
        unborn.renew();
    }
}

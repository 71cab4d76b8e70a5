//! The one door through which signals leave: what it lets through, and what it refuses.

use std::io;
use std::process::Command;

use super::support::*;
use crate::sys::unix::own_group;
use crate::sys::*;

fn by_number() -> Facilities {
    masked(Mask {
        group_signal: true,
        ..Mask::default()
    })
}

/// A group of three, of which the last line tells that all are there. It ends when nobody holds its stdout.
fn group_of_three() -> Actor {
    let mut leader = Actor::leader("sleep 60 & sleep 60 & echo started; wait");
    assert_eq!(leader.line(), "started");
    leader
}

#[test]
fn a_process_is_signalled_alone() {
    let mut leader = Actor::leader("sleep 60 & echo $!; wait");
    let member: u32 = leader.line().parse().unwrap();
    let member = Pin::open(member, &facilities()).unwrap();
    let pin = leader.pin();

    send_signal(Target::Process(&pin), 9, &facilities()).unwrap();
    until_dead(&pin);
    assert!(!member.is_dead().unwrap());

    send_signal(Target::Process(&member), 9, &facilities()).unwrap();
    until_dead(&member);
}

#[test]
fn a_group_is_signalled_whole_by_the_pidfd_and_by_its_number() {
    for facilities in [facilities(), by_number()] {
        let mut leader = group_of_three();
        let group = Target::Group {
            leader: &leader.pin(),
            reaped: false,
        };
        send_signal(group, 15, &facilities).unwrap();
        assert_eq!(leader.rest(), "", "the last one has closed its stdout");
    }
}

#[test]
fn a_group_is_reached_after_its_leader_was_reaped_where_the_kernel_can() {
    let mut leader = group_of_three();
    let pin = leader.pin();
    send_signal(Target::Process(&pin), 9, &facilities()).unwrap();
    until_dead(&pin);
    assert!(pin.reap().unwrap());
    let group = Target::Group {
        leader: &pin,
        reaped: true,
    };

    let refused = send_signal(group, 15, &by_number()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);

    if facilities().group_signal {
        send_signal(group, 15, &facilities()).unwrap();
        assert_eq!(leader.rest(), "");
    }
}

/// The caller believes that the leader is still there, but another thread of the host has reaped it. The number could be
/// anybody's.
#[test]
fn a_group_whose_leader_was_stolen_is_not_signalled_by_its_number() {
    let mut leader = Actor::leader("sleep 60 & echo $!; wait");
    let member: u32 = leader.line().parse().unwrap();
    let member = Pin::open(member, &facilities()).unwrap();
    let pin = leader.pin();
    send_signal(Target::Process(&pin), 9, &facilities()).unwrap();
    leader.steal_status();

    let group = Target::Group {
        leader: &pin,
        reaped: false,
    };
    let refused = send_signal(group, 9, &by_number()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(!member.is_dead().unwrap());
    send_signal(Target::Process(&member), 9, &facilities()).unwrap();
}

#[test]
fn an_empty_group_and_a_process_that_was_reaped_say_esrch() {
    let mut child = Actor::leader("read line");
    let pin = child.pin();
    child.hang_up();
    child.steal_status();
    let process = send_signal(Target::Process(&pin), 9, &facilities()).unwrap_err();
    assert_eq!(process.raw_os_error(), Some(libc::ESRCH));
    if facilities().group_signal {
        let group = Target::Group {
            leader: &pin,
            reaped: true,
        };
        let error = send_signal(group, 9, &facilities()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}

#[test]
fn a_process_that_leads_no_group_gives_no_group_to_signal() {
    let child = Actor::idle();
    assert!(!leads_group(child.pid()).unwrap());
    for facilities in [facilities(), by_number()] {
        let group = Target::Group {
            leader: &child.pin(),
            reaped: false,
        };
        let error = send_signal(group, 9, &facilities).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
    assert!(!child.pin().is_dead().unwrap());
}

#[test]
fn a_leader_leads_its_group() {
    let child = Actor::leader("read line");
    assert!(leads_group(child.pid()).unwrap());
    assert_eq!(
        leads_group(0).unwrap_err().raw_os_error(),
        Some(libc::ESRCH)
    );
}

#[test]
fn a_signal_that_does_not_exist_is_einval() {
    let child = Actor::leader("read line");
    let pin = child.pin();
    let group = Target::Group {
        leader: &pin,
        reaped: false,
    };
    for facilities in [facilities(), by_number()] {
        for target in [Target::Process(&pin), group] {
            for signal in [-1, 65, i32::MAX] {
                let error = send_signal(target, signal, &facilities).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            }
        }
    }
}

#[test]
fn init_and_this_process_are_refused_alone_and_as_a_group() {
    for pid in [1, current_pid()] {
        let pin = Pin::open(pid, &facilities()).unwrap();
        let group = |reaped| Target::Group {
            leader: &pin,
            reaped,
        };
        for facilities in [facilities(), by_number()] {
            for target in [Target::Process(&pin), group(false), group(true)] {
                // Signal 0 is refused too, and could do no harm if it were not.
                let refused = send_signal(target, 0, &facilities).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
            }
        }
    }
}

/// A member of a group that a shell leads: its own group is refused, and not by way of its own number.
#[test]
#[ignore = "a part, played for other tests"]
fn member_of_a_group() {
    if !plays("member_of_a_group") {
        return;
    }
    let leader = own_group();
    assert_ne!(leader, current_pid());
    let pin = Pin::open(leader, &facilities()).unwrap();
    for facilities in [facilities(), by_number()] {
        for reaped in [false, true] {
            let group = Target::Group {
                leader: &pin,
                reaped,
            };
            let refused = send_signal(group, 9, &facilities).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
            assert!(refused.to_string().contains("group of this process"));
        }
        // Its leader alone is another process, as the `a` of `a | host` is.
        send_signal(Target::Process(&pin), 0, &facilities).unwrap();
    }
}

#[test]
fn the_group_that_this_process_is_in_is_refused_and_its_leader_alone_is_not() {
    let part = part_command(module_path!(), "member_of_a_group");
    let program = part.get_program().to_owned();
    let arguments: Vec<_> = part.get_args().map(ToOwned::to_owned).collect();
    let mut shell = Command::new("sh");
    // The command after it keeps the shell from putting the part in its own place.
    shell
        .args(["-c", "\"$@\"; exit $?", "sh"])
        .arg(program)
        .args(arguments);
    shell.envs(
        part.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    Actor::start(&mut shell).passed();
}

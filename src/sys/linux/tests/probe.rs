//! What the probe finds, and what it is told not to find.

use super::support::*;
use crate::sys::*;

#[test]
fn without_pidfds_the_probe_names_the_call() {
    let refused = probe(Mask {
        pidfd: true,
        ..Mask::default()
    })
    .unwrap_err();
    assert_eq!(refused.call, "pidfd_open");
    assert_eq!(refused.errno, libc::ENOSYS);
    assert!(refused.to_string().starts_with("pidfd_open is refused: "));
}

#[test]
fn a_masked_facility_is_missing_and_the_others_are_as_they_were() {
    let all = facilities();
    let without = |mask| probe(mask).unwrap();
    assert_eq!(
        without(Mask {
            group_signal: true,
            ..Mask::default()
        }),
        Facilities {
            group_signal: false,
            ..all
        }
    );
    assert_eq!(
        without(Mask {
            pidfs: true,
            ..Mask::default()
        }),
        Facilities {
            pidfs: false,
            ..all
        }
    );
    assert_eq!(
        without(Mask {
            exit_info: true,
            ..Mask::default()
        }),
        Facilities {
            exit_info: false,
            ..all
        }
    );
    assert_eq!(
        without(Mask {
            pidfd_info: true,
            ..Mask::default()
        }),
        Facilities {
            pidfd_info: false,
            exit_info: false,
            ..all
        }
    );
}

#[test]
fn what_came_later_implies_what_came_before() {
    let found = facilities();
    assert!(!found.exit_info || found.pidfd_info);
    assert!(!found.pidfd_info || found.group_signal);
    assert!(!found.group_signal || found.pidfs || cfg!(target_pointer_width = "32"));
}

/// The probe of `exit_info` against the fact: a child that was reaped, and what the pidfd says of it.
#[test]
fn exit_info_is_found_exactly_where_it_works() {
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    child.steal_status();
    let told = super::super::info::exit_status(pin.fd()).is_some();
    assert_eq!(facilities().exit_info, told);
}

#[test]
fn probing_again_finds_the_same() {
    let first = facilities();
    for _ in 0..100 {
        assert_eq!(facilities(), first);
    }
}

/// A version is no way to find out, but a good way to notice that the probe never says yes.
#[test]
fn a_new_kernel_offers_all_of_it() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return;
    };
    if (major, minor) >= (6, 15) {
        let all = Facilities {
            group_signal: true,
            pidfs: cfg!(target_pointer_width = "64"),
            pidfd_info: true,
            exit_info: true,
        };
        assert_eq!(facilities(), all);
    }
}

//! What `procctl` tells a reaper of its descendants, and what that means. Pure: answers in, decisions out, on every platform.
//!
//! A reaper is who has asked for the orphans of all that descends from it. The kernel keeps of each of those which child of
//! the reaper it descends from, its *subtree*, whoever its parent is by now; and it gives that child's number to nobody else
//! as long as one of them is left, reaped or not. So a number in the list of descendants means the last child that had it.

use std::mem;

/// `struct procctl_reaper_pidinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawDescendant {
    pub(super) pid: i32,
    pub(super) subtree: i32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 15],
}

/// `struct procctl_reaper_pids`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RawList {
    pub(super) count: u32,
    pub(super) reserved: [u32; 15],
    pub(super) descendants: *mut RawDescendant,
}

/// `REAPER_PIDINFO_VALID`: the kernel has filled it in.
const VALID: u32 = 0x1;
/// `REAPER_PIDINFO_REAPER`: it has asked for orphans itself, and has a list of its own.
const REAPER: u32 = 0x4;

/// Somebody who descends from this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sys) struct Descendant {
    pub(in crate::sys) pid: u32,
    /// The child of this process from which it descends; it itself, if it is one that was started here.
    pub(in crate::sys) of: u32,
    /// Those who descend from it are in a list of its own.
    pub(in crate::sys) is_reaper: bool,
}

/// Room for a list of which the kernel has counted so many: there may be more by the time it is made.
pub(super) fn room(counted: usize) -> usize {
    counted + counted / 4 + 64
}

/// What the kernel has written; `None` if there may be more than there was room for.
pub(super) fn read(list: &[RawDescendant]) -> Option<Vec<Descendant>> {
    let filled = list.iter().take_while(|one| one.flags & VALID != 0);
    let all: Vec<Descendant> = filled
        .filter_map(|one| {
            Some(Descendant {
                pid: u32::try_from(one.pid).ok()?,
                of: u32::try_from(one.subtree).ok()?,
                is_reaper: one.flags & REAPER != 0,
            })
        })
        .collect();
    let last = list.last().copied().unwrap_or_default();
    (last.flags & VALID == 0).then_some(all)
}

/// Who descends from a reaper that is a descendant itself, in terms of the reaper above it.
pub(super) fn below(reaper: Descendant, its: Vec<Descendant>) -> impl Iterator<Item = Descendant> {
    its.into_iter().map(move |one| Descendant {
        of: reaper.of,
        ..one
    })
}

/// Whether nobody descends from this process any more. `no_child`: a wait for any child says that there is none. `listed`: how
/// many descendants the kernel counts, where it could be asked.
///
/// A wait does not see a child that was made with a descriptor (`pdfork`), which counts; and the list lacks who was a child
/// before this process has asked for orphans.
pub(super) fn is_nobody_left(no_child: bool, listed: Option<usize>) -> bool {
    no_child && listed == Some(0)
}

/// Whether the group that a child of this process has led, and that was reaped since, is still its group: one who descends
/// from it is in it. Its number is nobody else's then.
///
/// If somebody has the number itself it was given out again, and nobody is left of the one who had it before. So the caller
/// has to know of all who had it since and are gone.
pub(super) fn is_group_there(all: &[Descendant], members: &[u32], leader: u32) -> bool {
    if all.iter().any(|one| one.pid == leader) || members.contains(&leader) {
        return false;
    }
    all.iter()
        .any(|one| one.of == leader && members.contains(&one.pid))
}

/// Whether all that descends from this child, reaped or not, may be signalled by its number.
///
/// `registered`: the child with this number that the caller means is there still, as a zombie at least. Without it the number
/// must be nobody's.
pub(super) fn is_tree_there(all: &[Descendant], child: u32, registered: bool) -> bool {
    let taken = all.iter().any(|one| one.pid == child);
    taken == registered && all.iter().any(|one| one.of == child)
}

// As `sys/procctl.h` has them on machines of 64 bits, by its documentation.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<RawDescendant>() == 72);
    assert!(size_of::<RawList>() == 72);
    assert!(mem::offset_of!(RawDescendant, flags) == 8);
    assert!(mem::offset_of!(RawList, descendants) == 64);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pid: i32, subtree: i32, flags: u32) -> RawDescendant {
        RawDescendant {
            pid,
            subtree,
            flags,
            ..RawDescendant::default()
        }
    }

    fn one(pid: u32, of: u32) -> Descendant {
        Descendant {
            pid,
            of,
            is_reaper: false,
        }
    }

    #[test]
    fn the_list_ends_where_the_kernel_has_stopped() {
        let list = [
            raw(7, 7, VALID | 0x2),
            raw(9, 7, VALID | REAPER),
            raw(0, 0, 0),
            raw(3, 3, VALID),
        ];
        let nested = Descendant {
            is_reaper: true,
            ..one(9, 7)
        };
        let list = read(&list[..3]).expect("there was room");
        assert_eq!(list, [one(7, 7), nested]);
        assert_eq!(read(&[]), Some(Vec::new()));
    }

    #[test]
    fn a_list_without_room_to_spare_is_not_believed() {
        assert_eq!(read(&[raw(7, 7, VALID)]), None);
        assert!(room(0) > 0 && room(1000) > 1000);
    }

    #[test]
    fn who_descends_from_a_reaper_below_descends_from_its_ancestor() {
        let reaper = Descendant {
            is_reaper: true,
            ..one(9, 7)
        };
        let all: Vec<_> = below(reaper, vec![one(11, 11), one(12, 11)]).collect();
        assert_eq!(all, [one(11, 7), one(12, 7)]);
    }

    /// Each of the two misses somebody: see the function.
    #[test]
    fn it_takes_the_wait_and_the_list_to_say_that_nobody_is_left() {
        assert!(is_nobody_left(true, Some(0)));
        for (no_child, listed) in [
            (false, Some(0)),
            (true, Some(1)),
            (true, None),
            (false, None),
        ] {
            assert!(!is_nobody_left(no_child, listed), "{no_child} {listed:?}");
        }
    }

    #[test]
    fn a_reaped_leader_has_its_group_as_long_as_one_of_its_own_is_in_it() {
        let all = [one(8, 7), one(9, 7), one(20, 20)];
        assert!(is_group_there(&all, &[9], 7));
        // They have left it; others have joined it, of whom it is not known which group they mean.
        assert!(!is_group_there(&all, &[], 7));
        assert!(!is_group_there(&all, &[20], 7));
    }

    #[test]
    fn a_number_that_was_given_out_again_is_not_the_reaped_leaders() {
        let all = [one(7, 7), one(8, 7)];
        assert!(!is_group_there(&all, &[7, 8], 7));
        // Also to somebody who does not descend from this process.
        assert!(!is_group_there(&[one(8, 7)], &[7, 8], 7));
        assert!(!is_tree_there(&all, 7, false));
    }

    #[test]
    fn a_tree_is_that_of_the_child_that_is_meant() {
        assert!(is_tree_there(&[one(7, 7), one(8, 7)], 7, true));
        assert!(is_tree_there(&[one(8, 7)], 7, false));
        assert!(!is_tree_there(&[one(8, 7)], 7, true));
        assert!(!is_tree_there(&[one(8, 3)], 7, false));
    }
}

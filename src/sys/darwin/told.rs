//! What the answers of `proc_info` mean. Pure: answers in, decisions out, on every platform.

use crate::sys::vocabulary::Parentage;

/// Whether a list has everybody in it. `count`: its length; `room`: how many it could have held; `before` and `after`: how many
/// the kernel would have made room for then.
///
/// The kernel counts its processes, makes room for 20 more, and only then takes the lock of their list: what does not fit is left
/// out without a word, the oldest first. So a list that is as long as that room is not believed.
pub(super) fn is_whole(count: usize, room: usize, before: usize, after: usize) -> bool {
    count < room && count < before && count < after
}

/// A version as a name: none is 0.
pub(super) fn incarnation(version: i32) -> Option<u64> {
    let name = u32::from_ne_bytes(version.to_ne_bytes());
    Some(u64::from(name)).filter(|name| *name != 0)
}

/// Two ids of a process: the one that it keeps, and one that is new with each program. 0 where the latter is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) unique_id: u64,
    pub(super) version: i32,
}

/// How a process came to its parent. `of`: the unique id that it names as its parent's; `born_of`: the version that the one had who
/// has forked it, 0 before the kernel kept that.
///
/// The unique id alone does not tell: in newer kernels an exec makes the process anew, as a child of the parent that it has by then.
/// Who was orphaned before it executed another program names launchd as if it came from there. The version is what it was.
/// That another parent than launchd has another version now says nothing: it may have executed something since.
pub(super) fn parentage(of: u64, born_of: i32, parent: Incarnation, is_launchd: bool) -> Parentage {
    if of != parent.unique_id {
        return Parentage::TakenIn;
    }
    if !is_launchd || (born_of != 0 && born_of == parent.version) {
        return Parentage::Born;
    }
    if born_of == 0 || parent.version == 0 {
        Parentage::Hidden
    } else {
        Parentage::TakenIn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_fills_what_the_kernel_has_made_room_for_is_not_believed() {
        // Five hundred processes, nobody comes or goes.
        assert!(is_whole(500, 584, 520, 520));
        // Our room was too small; the kernel's was, before or after others ended.
        assert!(!is_whole(584, 584, 600, 600));
        assert!(!is_whole(520, 584, 520, 560));
        assert!(!is_whole(520, 584, 540, 520));
    }

    #[test]
    fn every_version_but_0_is_a_name() {
        assert_eq!(incarnation(0), None);
        assert_eq!(incarnation(7), Some(7));
        // The kernel's counter has come halfway round.
        assert_eq!(incarnation(-1), Some(u64::from(u32::MAX)));
    }

    #[test]
    fn whose_parent_has_another_id_was_taken_in() {
        let parent = Incarnation {
            unique_id: 7,
            version: 30,
        };
        for (born_of, is_launchd) in [(0, true), (30, true), (30, false), (31, false)] {
            assert_eq!(
                parentage(8, born_of, parent, is_launchd),
                Parentage::TakenIn
            );
        }
    }

    #[test]
    fn a_living_parent_that_is_named_has_forked_it_whatever_it_executed_since() {
        let parent = Incarnation {
            unique_id: 7,
            version: 30,
        };
        for born_of in [0, 29, 30] {
            assert_eq!(parentage(7, born_of, parent, false), Parentage::Born);
        }
    }

    /// It has lost its parent first, and has executed another program then.
    #[test]
    fn an_orphan_that_names_launchd_as_its_parent_did_not_come_from_there() {
        let launchd = Incarnation {
            unique_id: 1,
            version: 2,
        };
        assert_eq!(parentage(1, 977, launchd, true), Parentage::TakenIn);
        assert_eq!(parentage(1, 2, launchd, true), Parentage::Born);
        // Older kernels do not tell the version: it can be either.
        assert_eq!(parentage(1, 0, launchd, true), Parentage::Hidden);
    }
}

//! What does not change about a process as long as it lives: a pass has it from the passes before.

use crate::limit_mark::Pair;
use crate::machine::IdMap;
use crate::sys::{Limits, Listed};

/// What passes have learned, of no more processes than the last of them has listed. A number's next owner is another
/// [instance](Listed::instance), and begins with nothing.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    known: IdMap<u32, Known>,
}

#[derive(Debug)]
struct Known {
    instance: u64,
    /// In clock ticks since boot.
    start_ticks: Option<u64>,
    /// What its file says, which takes long to write. Nobody puts a mark on another user's process later.
    limits_by_file: Option<Pair>,
}

/// The table has room for so many times as many as there are, at most.
const ROOM: usize = 4;

impl Lasting {
    /// Forgets those that are not there any more, once they are worth it, and gives back the room of a time when there were
    /// many.
    pub(super) fn retain(&mut self, listed: &[Listed]) {
        if self.known.len() > listed.len() {
            self.known.retain(|pid, known| {
                let found = listed.binary_search_by_key(pid, |listed| listed.pid);
                found.is_ok_and(|at| listed[at].instance == Some(known.instance))
            });
        }
        if self.known.capacity() / ROOM > listed.len() {
            self.known.shrink_to(listed.len() * 2);
        }
    }

    /// When it was started, in clock ticks since boot; read if nobody has before.
    pub(super) fn start_ticks(
        &mut self,
        listed: Listed,
        read: impl FnOnce() -> Option<u64>,
    ) -> Option<u64> {
        let Some(known) = self.of(listed) else {
            return read();
        };
        if known.start_ticks.is_none() {
            known.start_ticks = read();
        }
        known.start_ticks
    }

    /// What the file of another user's process says of its limits.
    pub(super) fn limits_by_file(
        &mut self,
        listed: Listed,
        read: impl FnOnce() -> Limits,
    ) -> Limits {
        let Some(known) = self.of(listed) else {
            return read();
        };
        if let Some(limits) = known.limits_by_file {
            return Limits::Read(limits);
        }
        let limits = read();
        if let Limits::Read(limits) = limits {
            known.limits_by_file = Some(limits);
        }
        limits
    }

    fn of(&mut self, listed: Listed) -> Option<&mut Known> {
        let instance = listed.instance?;
        let new = || Known {
            instance,
            start_ticks: None,
            limits_by_file: None,
        };
        let known = self.known.entry(listed.pid).or_insert_with(new);
        if known.instance != instance {
            *known = new();
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pid: u32, instance: u64) -> Listed {
        Listed {
            pid,
            instance: Some(instance),
        }
    }

    #[test]
    fn it_is_asked_once_for_each_process_and_again_for_the_next_with_its_number() {
        let mut lasting = Lasting::default();
        assert_eq!(lasting.start_ticks(listed(7, 1), || Some(10)), Some(10));
        assert_eq!(lasting.start_ticks(listed(7, 1), || Some(11)), Some(10));
        assert_eq!(lasting.start_ticks(listed(7, 2), || Some(12)), Some(12));
        // The first one is gone: it is not remembered beside the second.
        assert_eq!(lasting.start_ticks(listed(7, 1), || Some(13)), Some(13));
    }

    #[test]
    fn what_was_not_told_is_asked_again() {
        let mut lasting = Lasting::default();
        assert_eq!(lasting.start_ticks(listed(7, 1), || None), None);
        assert_eq!(lasting.start_ticks(listed(7, 1), || Some(10)), Some(10));
        let untold = Listed {
            pid: 8,
            instance: None,
        };
        assert_eq!(lasting.start_ticks(untold, || Some(1)), Some(1));
        assert_eq!(lasting.start_ticks(untold, || Some(2)), Some(2));
    }

    #[test]
    fn who_is_not_listed_any_more_is_forgotten() {
        let mut lasting = Lasting::default();
        for pid in 1..=3 {
            lasting.start_ticks(listed(pid, 1), || Some(10));
        }
        lasting.retain(&[listed(1, 1), listed(3, 2)]);
        let of = |lasting: &mut Lasting, pid| lasting.start_ticks(listed(pid, 1), || Some(20));
        assert_eq!(of(&mut lasting, 1), Some(10));
        assert_eq!(of(&mut lasting, 2), Some(20));
        assert_eq!(of(&mut lasting, 3), Some(20));
    }

    #[test]
    fn the_room_for_many_goes_with_them() {
        let mut lasting = Lasting::default();
        for pid in 1..=5000 {
            lasting.start_ticks(listed(pid, 1), || Some(10));
        }
        let left: Vec<Listed> = (1..=100).map(|pid| listed(pid, 1)).collect();
        lasting.retain(&left);
        assert!(lasting.known.capacity() <= ROOM * left.len());
        assert_eq!(lasting.start_ticks(left[7], || None), Some(10));
    }
}

//! The members by their ids.

use super::ids::IdMap;
use super::member::Member;
use crate::session::ProcessId;

/// All members that have not been seen to exit.
///
/// Each in a box: a table that grows by doubling is half empty on the average, and a member is large.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(IdMap<ProcessId, Box<Member>>);

impl Members {
    pub(crate) fn get(&self, process: &ProcessId) -> Option<&Member> {
        self.0.get(process).map(AsRef::as_ref)
    }

    pub(crate) fn get_mut(&mut self, process: &ProcessId) -> Option<&mut Member> {
        self.0.get_mut(process).map(AsMut::as_mut)
    }

    pub(crate) fn contains_key(&self, process: &ProcessId) -> bool {
        self.0.contains_key(process)
    }

    pub(crate) fn insert(&mut self, process: ProcessId, member: Member) {
        self.0.insert(process, Box::new(member));
    }

    pub(crate) fn remove(&mut self, process: &ProcessId) -> Option<Member> {
        self.0.remove(process).map(|member| *member)
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ProcessId, &Member)> {
        self.0
            .iter()
            .map(|(process, member)| (process, member.as_ref()))
    }

    #[cfg(any(test, fuzzing, debug_assertions))]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

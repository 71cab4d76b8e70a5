//! What a command changes in the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Changes to the environment that is inherited.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    cleared: bool,
    /// `None`: removed.
    variables: BTreeMap<OsString, Option<OsString>>,
}

impl Changes {
    pub(super) fn set(&mut self, name: &OsStr, value: &OsStr) {
        let value = Some(value.to_owned());
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn remove(&mut self, name: &OsStr) {
        if self.cleared {
            self.variables.remove(name);
        } else {
            self.variables.insert(name.to_owned(), None);
        }
    }

    pub(super) fn clear(&mut self) {
        self.cleared = true;
        self.variables.clear();
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_deref()))
    }

    /// What the child gets, as the environment of this process is now: each name once, in no order.
    pub(super) fn capture(&self) -> Vec<(OsString, OsString)> {
        let mut all = Vec::new();
        if !self.cleared {
            all.extend(std::env::vars_os().filter(|(name, _)| !self.variables.contains_key(name)));
        }
        let set = self.variables.iter();
        all.extend(set.filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        all
    }
}

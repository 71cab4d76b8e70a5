//! What a command changes in the environment.

use std::collections::{BTreeMap, HashSet};
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
            keep_the_last(&mut all);
        }
        let set = self.variables.iter();
        all.extend(set.filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        all
    }
}

/// Whoever has started this program may have given it a name twice: the last value counts, as with std.
fn keep_the_last(variables: &mut Vec<(OsString, OsString)>) {
    let mut names = HashSet::with_capacity(variables.len());
    let last: Vec<bool> = variables
        .iter()
        .rev()
        .map(|(name, _)| names.insert(name))
        .collect();
    let mut last = last.into_iter().rev();
    variables.retain(|_| last.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_that_is_there_twice_the_last_value_counts() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            let pair = |&(name, value): &(&str, &str)| (name.into(), value.into());
            list.iter().map(pair).collect()
        };
        let mut variables = pairs(&[("A", "1"), ("B", "2"), ("A", "3"), ("C", ""), ("A", "4")]);
        keep_the_last(&mut variables);
        assert_eq!(variables, pairs(&[("B", "2"), ("C", ""), ("A", "4")]));
    }
}

//! What is read about a process, but for its strings.

use std::time::Duration;

use crate::sys::vocabulary::Condition;

/// Who runs a process, for how long, and what it does.
#[derive(Clone, Copy, Debug)]
pub(in crate::sys) struct Person {
    /// 0 for none.
    pub(in crate::sys) parent: u32,
    pub(in crate::sys) real_user: u32,
    pub(in crate::sys) age: Duration,
    pub(in crate::sys) condition: Condition,
}

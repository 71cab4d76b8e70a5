//! The part of the back end that is decisions alone, for the tests of a platform that has another back end.

// Whether all of it is used is seen where it is.
#![allow(
    dead_code,
    reason = "the tests do not use every function of what they test a part of"
)]

mod meaning;
mod parse;
mod paths;
mod refusals;
#[cfg(test)]
pub(crate) mod simulated;

#[cfg(test)]
mod meaning_tests;

pub(super) use parse::{Strings, owned, parse_name, split};

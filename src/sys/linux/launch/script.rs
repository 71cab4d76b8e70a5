//! What is prepared for the child, so that it need not think.

use std::ffi::{CString, c_char};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicI32;

use super::unborn::Report;
use crate::sys::orders::{ChildMask, Orders};

/// The orders in the form in which the kernel takes them.
pub(super) struct Script<'a> {
    pub(super) orders: &'a Orders,
    /// Ends with a null pointer, as do the next.
    pub(super) argv: Vec<*const c_char>,
    pub(super) environment: Vec<*const c_char>,
    pub(super) mask: u64,
    /// The process that launches.
    pub(super) parent: i32,
    pub(super) moves: Vec<Move>,
    /// Above every number that a descriptor is moved to.
    pub(super) clear: i32,
    /// The descriptors that are closed, from and up to which.
    pub(super) closed: Vec<(u32, u32)>,
    pub(super) report: &'a Report,
}

/// A descriptor on its way.
pub(super) struct Move {
    /// Where it is. The child writes here when it has put it aside.
    pub(super) from: AtomicI32,
    pub(super) to: i32,
    /// Another one is moved to where it is: it has to be put aside first.
    pub(super) in_the_way: bool,
}

impl<'a> Script<'a> {
    pub(super) fn new(orders: &'a Orders, report: &'a Report) -> Self {
        let numbers = || orders.descriptors.iter().map(|passed| passed.number);
        let moves = orders.descriptors.iter().map(|passed| {
            let from = passed.from.as_raw_fd();
            Move {
                from: AtomicI32::new(from),
                to: passed.number,
                in_the_way: from != passed.number && numbers().any(|number| number == from),
            }
        });
        Self {
            argv: pointers(&orders.argv),
            environment: pointers(&orders.environment),
            mask: match orders.mask {
                ChildMask::Empty => 0,
                ChildMask::Set(mask) => mask,
            },
            parent: i32::try_from(std::process::id()).unwrap_or(0),
            moves: moves.collect(),
            clear: numbers().max().unwrap_or(0).max(2).saturating_add(1),
            closed: if orders.close_others {
                gaps(numbers().collect())
            } else {
                Vec::new()
            },
            orders,
            report,
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// The ranges, above the standard streams, that none of these numbers is in.
fn gaps(mut kept: Vec<i32>) -> Vec<(u32, u32)> {
    kept.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = 3;
    for number in kept
        .into_iter()
        .filter_map(|number| u32::try_from(number).ok())
    {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = next.max(number.saturating_add(1));
    }
    gaps.push((next, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_what_is_neither_standard_nor_passed() {
        assert_eq!(gaps(vec![]), [(3, u32::MAX)]);
        assert_eq!(gaps(vec![0, 1, 2]), [(3, u32::MAX)]);
        assert_eq!(gaps(vec![7, 3, 4]), [(5, 6), (8, u32::MAX)]);
        assert_eq!(gaps(vec![5, 2]), [(3, 4), (6, u32::MAX)]);
    }
}

//! What decides at random, and the same for the same seed.

use std::time::Duration;

use crate::support::ms;

/// Random numbers by `SplitMix64`: good enough, and a line long.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The numbers of this seed; of each part of a run its own.
    pub(super) fn new(seed: u64, part: u64) -> Self {
        let mut mixed = Self(seed ^ part.wrapping_mul(0xa076_1d64_78bd_642f));
        Self(mixed.number())
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.number() % most
    }

    pub(super) fn one_in(&mut self, how_many: u64) -> bool {
        self.below(how_many) == 0
    }

    /// One of them. There has to be one.
    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let index = self.below(all.len() as u64);
        &all[usize::try_from(index).expect("it is an index")]
    }

    /// A while of so many milliseconds, or less.
    pub(super) fn up_to(&mut self, milliseconds: u64) -> Duration {
        ms(self.below(milliseconds + 1))
    }
}

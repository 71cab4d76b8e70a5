//! Numbers that are never used twice, and the map that they are keys of.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// One effect that has an outcome. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OpId(pub(crate) u64);

/// One caller who waits for an answer. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReplyId(pub(crate) u64);

/// A map keyed by numbers that we hand out ourselves.
///
/// Nobody outside chooses the keys that matter, so the hash need not resist an attacker, and looking one up is most
/// of what the machine does. Its iteration order means nothing: whatever has an order is kept in a `BTreeSet`.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// The same without values.
pub(crate) type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Multiplies by an odd constant (Fibonacci hashing) and folds the high bits down, since the table takes both ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher as _, Hash};

    use super::super::deadlines::Wake;
    use super::*;
    use crate::session::Life;

    /// Of a hash the table takes the low bits for the place and the seven highest to tell apart who is in it.
    fn assert_spread<K: Hash>(keys: impl Iterator<Item = K>) {
        let hashes = BuildHasherDefault::<IdHasher>::default();
        let hashes: Vec<u64> = keys.map(|key| hashes.hash_one(key)).collect();
        assert_eq!(hashes.len(), 4_096);
        let distinct = |part: fn(u64) -> u64| {
            let parts: HashSet<u64> = hashes.iter().map(|&hash| part(hash)).collect();
            parts.len()
        };
        assert_eq!(distinct(|hash| hash), 4_096);
        assert!(distinct(|hash| hash & 0xfff) > 2_000);
        assert_eq!(distinct(|hash| hash >> 57), 128);
    }

    #[test]
    fn numbers_in_a_row_are_spread_over_a_table() {
        assert_spread(0..4_096_u32);
        assert_spread(0..4_096_u64);
        assert_spread((0..4_096).map(|n: u64| n << 32));
        assert_spread((0..4_096).map(|n| Wake::End(Life(n))));
        assert_spread((0..4_096_u16).map(u16::to_be_bytes));
    }
}

//! The mark's second part: a resource limit that says which session of which registry a process descends from.
//!
//! `RLIMIT_LOCKS` has not limited anything since Linux 2.4.25, but the kernel still stores it, hands it on over fork,
//! exec, `setsid` and `setuid`, and shows it (`getrlimit(2)`, `prlimit(2)`, `/proc/PID/limits`). So it stays with a daemon
//! that clears its environment, leaves its group and closes every descriptor. It is no fence: a program may lower it
//! (`ulimit -x`), and may lower that of another process of its user to the same value.
//!
//! # Layout
//!
//! Of the two numbers of a limit a registry uses one:
//!
//! | level | number | bits from the top |
//! | --- | --- | --- |
//! | outermost registry | hard, and soft with it | `01`, 38 of the registry, 24 of the life |
//! | a registry inside another's session | soft | `001`, 37 of the registry, 24 of the life |
//!
//! The inner number is always below the outer one, as a soft limit has to be. A third level writes over the second's,
//! which then has the variable alone. Marks are compared by equality, never by range. After 2^24 lives the registry's
//! bits are others.

use crate::session::Life;

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// How one registry marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitMark {
    registry: u64,
    level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Outermost,
    /// Under this hard limit, which is another registry's mark.
    Within(u64),
}

const LIFE_BITS: u32 = 24;
const OUTER_TAG: u64 = 1 << 62;
const INNER_TAG: u64 = 1 << 61;

impl LimitMark {
    /// How a registry marks whose host has this limit itself.
    ///
    /// # Errors
    ///
    /// Why it cannot, for people.
    pub(crate) fn new(own: Pair, registry: u64) -> Result<Self, &'static str> {
        let level = if usize::BITS < u64::BITS {
            return Err("a limit has 32 bits on this machine, too few for a mark");
        } else if own.hard >= OUTER_TAG << 1 {
            Level::Outermost
        } else if own.hard >= OUTER_TAG {
            Level::Within(own.hard)
        } else {
            return Err("this program's own hard limit of file locks (ulimit -x) is too low");
        };
        Ok(Self { registry, level })
    }

    /// How a registry marked that was the outermost.
    pub(crate) fn outermost(registry: u64) -> Self {
        let level = Level::Outermost;
        Self { registry, level }
    }

    /// How a registry marked whose host had another one's mark as its hard limit; `None` for a number that is no mark.
    pub(crate) fn within(hard: u64, registry: u64) -> Option<Self> {
        let level = Level::Within(hard);
        (OUTER_TAG..OUTER_TAG << 1)
            .contains(&hard)
            .then_some(Self { registry, level })
    }

    /// How a registry marked that was inside another one's session, whichever that was. It cannot say what `of` a life is.
    pub(crate) fn inner(registry: u64) -> Self {
        let level = Level::Within(OUTER_TAG);
        Self { registry, level }
    }

    /// Whether this is the mark of a registry inside another's session.
    pub(crate) fn is_inner(soft: u64) -> bool {
        (INNER_TAG..INNER_TAG << 1).contains(&soft)
    }

    /// Whether there is any registry's mark in this limit.
    pub(crate) fn is_any(limit: Pair) -> bool {
        (OUTER_TAG..OUTER_TAG << 1).contains(&limit.hard) || Self::is_inner(limit.soft)
    }

    /// The life that a number names, if it is this registry's; `last` is one of the highest.
    pub(crate) fn life_of(self, value: u64, last: Life) -> Option<Life> {
        let within = value & ((1 << LIFE_BITS) - 1);
        let epochs = 0..=(last.0 >> LIFE_BITS) + 1;
        let mut lives = epochs.map(|epoch| Life((epoch << LIFE_BITS) | within));
        lives.find(|&life| self.value(life) == value)
    }

    /// The hard limit of its host, if that was another registry's mark.
    pub(crate) fn hard_above(self) -> Option<u64> {
        match self.level {
            Level::Outermost => None,
            Level::Within(hard) => Some(hard),
        }
    }

    /// What the processes of this life get.
    pub(crate) fn of(self, life: Life) -> Pair {
        let soft = self.value(life);
        let hard = match self.level {
            Level::Outermost => soft,
            Level::Within(hard) => hard,
        };
        Pair { soft, hard }
    }

    /// The number that names this life.
    pub(crate) fn value(self, life: Life) -> u64 {
        let within = life.0 & ((1 << LIFE_BITS) - 1);
        let registry = mixed(self.registry, life.0 >> LIFE_BITS);
        match self.level {
            Level::Outermost => OUTER_TAG | ((registry >> 26) << LIFE_BITS) | within,
            Level::Within(_) => INNER_TAG | ((registry >> 27) << LIFE_BITS) | within,
        }
    }

    /// Whether this is the mark of some life of this registry, among the first 2^24.
    pub(crate) fn is_of_this_registry(self, carried: u64) -> bool {
        carried >> LIFE_BITS == self.value(Life(0)) >> LIFE_BITS
    }

    /// The number in which a process with this limit would have our mark.
    pub(crate) fn read(self, limit: Pair) -> u64 {
        match self.level {
            Level::Outermost => limit.hard,
            Level::Within(_) => limit.soft,
        }
    }
}

/// Whether a limit holds a mark that a process has not from whoever has `own` as well.
pub(crate) fn marks(limit: Pair, own: Pair) -> bool {
    let outer = (OUTER_TAG..OUTER_TAG << 1).contains(&limit.hard) && limit.hard != own.hard;
    let inner = (INNER_TAG..OUTER_TAG).contains(&limit.soft) && limit.soft != own.soft;
    outer || inner
}

/// All bits of the registry's number, other ones for each epoch (the finalizer of SplitMix64, a bijection).
fn mixed(registry: u64, epoch: u64) -> u64 {
    let mut bits = registry.wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Marks as a registry does whose host has any limit, and reads any limit.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let mut source = crate::fuzzing::Source::new(data);
    let (one, two) = (source.u64(), source.u64());
    let own = Pair {
        soft: one.min(two),
        hard: one.max(two),
    };
    let (registry, life) = (source.u64(), Life(source.u64()));
    let any = Pair {
        soft: source.u64(),
        hard: source.u64(),
    };
    let tag = |number: u64| number.leading_zeros();
    assert_eq!(
        LimitMark::is_any(any),
        tag(any.hard) == 1 || tag(any.soft) == 2
    );
    assert!(!marks(any, any), "what is one's own says nothing");
    assert!(!marks(any, own) || LimitMark::is_any(any));
    let Ok(mark) = LimitMark::new(own, registry) else {
        assert!(tag(own.hard) > 1, "there is room below {own:x?}");
        return;
    };
    let pair = mark.of(life);
    // It can be set without a privilege, and is read again.
    assert!(pair.soft <= pair.hard && pair.hard <= own.hard, "{pair:x?}");
    assert_eq!(mark.read(pair), mark.value(life));
    assert_eq!(mark.value(life) & 0xff_ffff, life.0 & 0xff_ffff);
    assert!(LimitMark::is_any(pair));
    assert_eq!(marks(pair, own), mark.read(pair) != mark.read(own));
    let first = Life(life.0 & 0xff_ffff);
    assert!(mark.is_of_this_registry(mark.value(first)));
    let last = Life(life.0 & 0x1fff_ffff);
    assert_eq!(mark.life_of(mark.value(last), last), Some(last));
    // As it is written down, and from what is carried alone.
    let again = match mark.hard_above() {
        None => LimitMark::outermost(registry),
        Some(hard) => {
            let inner = LimitMark::inner(registry);
            assert_eq!(inner.value(life), mark.value(life));
            assert!(LimitMark::is_inner(pair.soft) && pair.hard == hard);
            LimitMark::within(hard, registry).expect("it is somebody's mark")
        }
    };
    assert_eq!(again, mark);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNLIMITED: Pair = Pair {
        soft: u64::MAX,
        hard: u64::MAX,
    };

    fn outermost(registry: u64) -> LimitMark {
        LimitMark::new(UNLIMITED, registry).expect("nothing is set")
    }

    #[test]
    fn a_limit_that_somebody_has_set_low_holds_no_mark() {
        for hard in [0, 7, 1 << 40, INNER_TAG, OUTER_TAG - 1] {
            let own = Pair { soft: 0, hard };
            assert!(LimitMark::new(own, 1).is_err(), "{hard:x}");
        }
    }

    /// Marks are read by later versions, out of the limits of what still lives. This test does not change.
    #[test]
    fn the_layout_is_fixed() {
        let registry = 0x0123_4567_89ab_cdef;
        let (outer, inner) = (outermost(registry), LimitMark::inner(registry));
        for (life, of_outer, of_inner) in [
            (3, 0x6cb0_1639_3a00_0003, 0x3658_0b1c_9d00_0003),
            ((5 << 24) + 3, 0x4050_133a_4500_0003, 0x2028_099d_2200_0003),
        ] {
            assert_eq!(outer.value(Life(life)), of_outer);
            assert_eq!(inner.value(Life(life)), of_inner);
        }
        // The first number that SplitMix64 gives from a seed of 0.
        assert_eq!(mixed(0, 1), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn a_mark_is_told_by_its_first_bits() {
        for (soft, is_inner) in [
            (0, false),
            (INNER_TAG - 1, false),
            (INNER_TAG, true),
            (OUTER_TAG - 1, true),
            (OUTER_TAG, false),
            (u64::MAX, false),
        ] {
            assert_eq!(LimitMark::is_inner(soft), is_inner, "{soft:x}");
            let unlimited = Pair {
                soft,
                hard: u64::MAX,
            };
            assert_eq!(LimitMark::is_any(unlimited), is_inner, "{soft:x}");
        }
        for (hard, is_outer) in [
            (0, false),
            (OUTER_TAG - 1, false),
            (OUTER_TAG, true),
            ((1 << 63) - 1, true),
            (1 << 63, false),
            (u64::MAX, false),
        ] {
            let limit = Pair { soft: 0, hard };
            assert_eq!(LimitMark::is_any(limit), is_outer, "{hard:x}");
            let within = LimitMark::within(hard, 1);
            assert_eq!(within.is_some(), is_outer, "{hard:x}");
            assert!(within.is_none_or(|mark| mark.hard_above() == Some(hard)));
        }
    }

    #[test]
    fn a_life_is_read_out_of_its_mark_up_to_the_epoch_behind_the_last_that_is_known() {
        let epoch = 1 << LIFE_BITS;
        for mark in [outermost(7), LimitMark::inner(7)] {
            for life in [1, 2, 0xab_cdef, epoch - 1, epoch, 2 * epoch + 5] {
                let value = mark.value(Life(life));
                assert_eq!(mark.life_of(value, Life(life)), Some(Life(life)));
            }
            let later = Life(2 * epoch + 5);
            let value = mark.value(later);
            assert_eq!(mark.life_of(value, Life(epoch)), Some(later));
            assert_eq!(mark.life_of(value, Life(epoch - 1)), None);
            assert!(!mark.is_of_this_registry(value), "only the first epoch");
            assert!(mark.is_of_this_registry(mark.value(Life(epoch - 1))));
            let other = outermost(8).value(Life(1));
            assert_eq!(mark.life_of(other, Life(1)), None);
        }
    }

    /// A mark that both have is no difference, whichever of the two numbers it is in.
    #[test]
    fn what_was_inherited_marks_nobody() {
        let unmarked = Pair {
            soft: 1 << 40,
            hard: u64::MAX,
        };
        let outer = outermost(7).of(Life(1));
        let inner = LimitMark::new(outer, 8).expect("it is a mark").of(Life(1));
        for (limit, own, marked) in [
            (unmarked, UNLIMITED, false),
            (UNLIMITED, outer, false),
            (outer, UNLIMITED, true),
            (outer, outer, false),
            (inner, outer, true),
            (inner, inner, false),
            (outer, inner, false),
        ] {
            assert_eq!(marks(limit, own), marked, "{limit:x?} beside {own:x?}");
        }
    }

    proptest! {
        #[test]
        fn a_registry_inside_another_marks_below_it_and_leaves_its_mark_alone(
            outer: u64, inner: u64, third: u64, lives: [u64; 3],
        ) {
            let outer = outermost(outer);
            let first = outer.of(Life(lives[0]));
            prop_assert_eq!(first.hard >> 62, 1);
            let inner = LimitMark::new(first, inner).unwrap();
            let second = inner.of(Life(lives[1]));
            prop_assert_eq!(second.soft >> 61, 1);
            prop_assert!(second.soft < second.hard);
            prop_assert_eq!(outer.read(second), outer.value(Life(lives[0])));
            prop_assert_eq!(inner.read(second), inner.value(Life(lives[1])));
            let third = LimitMark::new(second, third).unwrap().of(Life(lives[2]));
            prop_assert_eq!(outer.read(third), outer.value(Life(lives[0])));
        }

        #[test]
        fn two_lives_of_one_registry_have_two_marks(registry: u64, life in 0..u64::MAX - (1 << 25), apart in 1..1_u64 << 24) {
            let mark = outermost(registry);
            prop_assert_ne!(mark.value(Life(life)), mark.value(Life(life + apart)));
            // After as many as there are bits for, the registry has other ones.
            prop_assert_ne!(mark.value(Life(life)), mark.value(Life(life + (1 << 24))));
        }

        #[test]
        fn a_mark_is_told_from_a_limit_and_from_ones_own(registry: u64, life in 0..1_u64 << 24) {
            let outer = outermost(registry);
            let marked = outer.of(Life(life));
            prop_assert!(marks(marked, UNLIMITED));
            prop_assert!(!marks(UNLIMITED, UNLIMITED) && !marks(marked, marked));
            prop_assert!(outer.is_of_this_registry(outer.read(marked)));
            let inner = LimitMark::new(marked, !registry).unwrap().of(Life(1));
            prop_assert!(marks(inner, marked));
        }

        #[test]
        fn what_nobody_has_marked_is_nobodys(registry: u64, life: u64) {
            let mark = outermost(registry);
            prop_assert_ne!(mark.read(UNLIMITED), mark.value(Life(life)));
        }
    }
}

//! Calling the host's code, which may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call of the host's comes to; `None` if it panics.
///
/// What it panics with is the host's too, and is dropped with the same care.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Option<T> {
    let payload = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => return Some(value),
        Err(payload) => payload,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // It has had its chance.
        std::mem::forget(again);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Explodes;

    impl Drop for Explodes {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_panic_is_none_whatever_it_panics_with() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| -> u32 { panic!("on purpose") }), None);
        assert_eq!(contain(|| -> u32 { std::panic::panic_any(Explodes) }), None);
    }
}

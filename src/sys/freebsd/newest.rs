//! Which number was given last.

use crate::sys::kqueue::sysctl;
use crate::sys::vocabulary::Newest;

/// `kern.lastpid`, to a process: the next is a higher one, or a low one again. `None` where numbers are given at random
/// (`kern.randompid`), or a jail does not say.
pub(in crate::sys) fn newest() -> Option<Newest> {
    let number = |name| {
        let mut value = [0; 4];
        let length = sysctl::named(name, &mut value).ok()?;
        (length == value.len()).then_some(i32::from_ne_bytes(value))
    };
    // Up to so much is added each time.
    if number(c"kern.randompid")? != 0 {
        return None;
    }
    Some(Newest::Given(u32::try_from(number(c"kern.lastpid")?).ok()?))
}

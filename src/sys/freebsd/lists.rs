//! What `sysctl` hands out on FreeBSD, as values. Pure: bytes in, values out.

use std::ffi::OsString;

use crate::sys::kqueue::{owned, split};

/// Splits a list whose items each end with a NUL.
pub(in crate::sys) fn parse_list(list: &[u8]) -> Vec<OsString> {
    split(list).map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::kqueue::parse_name;

    #[test]
    fn lists_keep_their_empty_items() {
        assert_eq!(parse_list(b""), Vec::<OsString>::new());
        assert_eq!(parse_list(b"a\0\0b\0"), ["a", "", "b"]);
    }

    #[test]
    fn a_name_ends_at_its_nul_or_fills_its_field() {
        assert_eq!(parse_name(b"sleep\0\0\0"), "sleep");
        assert_eq!(parse_name(b"full"), "full");
    }
}

//! What `sysctl` hands out on macOS, as values. Pure: bytes in, values out.

use crate::sys::kqueue::{Strings, owned, split};
use crate::sys::vocabulary::Environ;

/// Parses the answer of `KERN_PROCARGS2`: how many arguments there are (an `int`), the path of the program, NULs up to the
/// next boundary, the arguments, the variables, and then strings of the loader's after an empty one.
///
/// A program may have written over all of it but the number.
pub(in crate::sys) fn parse_procargs(answer: &[u8]) -> Option<Strings> {
    let (count, rest) = answer.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let end_of_path = rest.iter().position(|byte| *byte == 0)?;
    let rest = rest.get(end_of_path..)?;
    let begin = rest
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(rest.len());
    let mut strings = split(rest.get(begin..)?);
    // No more than there is room for, whatever the number says.
    let args = strings.by_ref().take(count).map(owned).collect();
    let mut environ = Vec::new();
    for variable in strings.take_while(|variable| !variable.is_empty()) {
        environ.extend_from_slice(variable);
        environ.push(0);
    }
    let environ = Environ::new(environ);
    Some(Strings { args, environ })
}

/// Parses the 32 digits of a UUID, which hyphens divide.
pub(in crate::sys) fn parse_uuid(text: &[u8]) -> Option<u128> {
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'-' | b'\n' | 0))
        .collect();
    let digits = std::str::from_utf8(&digits).ok()?;
    let all_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all_hex.then(|| u128::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(count: i32, text: &[u8]) -> Vec<u8> {
        let mut answer = count.to_ne_bytes().to_vec();
        answer.extend_from_slice(text);
        answer
    }

    #[test]
    fn arguments_are_counted_and_variables_follow_them() {
        let text = b"/bin/sh\0\0\0\0sh\0-c\0\0A=1\0B=x=y\0\0executable_path=/bin/sh\0\0";
        let parsed = parse_procargs(&answer(3, text)).expect("it is as it should be");
        // An argument may be empty.
        assert_eq!(parsed.args, ["sh", "-c", ""]);
        assert_eq!(parsed.environ, Environ::new(b"A=1\0B=x=y\0".to_vec()));
    }

    #[test]
    fn a_number_of_arguments_that_is_too_large_or_negative_does_no_harm() {
        let parsed = parse_procargs(&answer(i32::MAX, b"/a\0\0a\0b\0")).expect("a path is there");
        assert_eq!(parsed.args, ["a", "b"]);
        assert_eq!(parse_procargs(&answer(-1, b"/a\0a\0")), None);
        assert_eq!(parse_procargs(b"\x01"), None);
        assert_eq!(parse_procargs(&answer(1, b"no end")), None);
    }

    #[test]
    fn a_process_without_arguments_has_none() {
        let parsed = parse_procargs(&answer(0, b"/a\0\0\0")).expect("a path is there");
        assert_eq!(parsed, Strings::default());
    }

    #[test]
    fn a_session_of_the_machine_is_named_by_a_uuid() {
        let text = b"01234567-89AB-CDEF-0123-456789ABCDEF\0";
        assert_eq!(
            parse_uuid(text),
            Some(0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF)
        );
        assert_eq!(parse_uuid(b"01234567"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _parsed = parse_procargs(&bytes);
            let _parsed = parse_uuid(&bytes);
        }
    }
}

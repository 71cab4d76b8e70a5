//! Words and numbers in the plainest way, for second parsers that share nothing with the first ones.

/// The words of a text, between any white space of ASCII; `None` if it is no text.
pub(super) fn words(text: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    let words = text.split([' ', '\t', '\n', '\x0c', '\r']);
    let words = words.filter(|word| !word.is_empty());
    Some(words.map(str::to_owned).collect())
}

/// A number that is not negative. The standard library takes a plus before it.
pub(super) fn number(word: &str) -> Option<u64> {
    let digits = word.strip_prefix('+').unwrap_or(word);
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A number that a process can have, as far as its type goes.
pub(super) fn pid(word: &str) -> Option<u32> {
    number(word)?.try_into().ok()
}

/// The number of a group or a session; what is negative stands for none.
pub(super) fn group(word: &str) -> Option<u32> {
    match word.strip_prefix('-') {
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => (number(digits)? <= 1 << 31).then_some(0),
        None => pid(word).filter(|group| *group < 1 << 31),
    }
}

/// A word of one character.
pub(super) fn letter(word: &str) -> Option<char> {
    match *word.chars().collect::<Vec<_>>() {
        [letter] => Some(letter),
        _ => None,
    }
}

/// What follows the first line's beginning that is this.
pub(super) fn after<'a>(text: &'a [u8], beginning: &str) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        if line.starts_with(beginning.as_bytes()) {
            return Some(&line[beginning.len()..]);
        }
        rest = &rest[end? + 1..];
    }
}

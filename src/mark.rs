//! The mark's variable: how a process's environment says which session of which registry it
//! descends from.
//!
//! A registry puts [`VARIABLE`] into the environment of what it starts, and descendants inherit it.
//! It is read back from the environment of running processes, by this host and by a later one, so
//! the format is fixed:
//!
//! ```text
//! PROCESSION_MARK = token *( ";" token )                    outermost first
//! token = "1," NAME "," PID "," START "," INODE "," BOOT "," PIDNS "," REGISTRY "," LIFE "," SESSION
//! ```
//!
//! | field | what | written as |
//! | --- | --- | --- |
//! | `1` | the version of this format | |
//! | `NAME` | the owner's name, for people | `A-Z a-z 0-9 . _ -`, all else percent-encoded; at most 64 bytes before that |
//! | `PID`, `START`, `INODE`, `BOOT`, `PIDNS` | the owner's identity: pid, start time in clock ticks, pidfs inode (0: none), boot id, inode of its pid namespace | decimal, `BOOT` as 32 hexadecimal digits |
//! | `REGISTRY` | the registry's random number | 16 hexadecimal digits |
//! | `LIFE` | the ordinal of one life of the session | decimal |
//! | `SESSION` | the session's number, for people | decimal |
//!
//! Every value has one spelling (no leading zeros, no signs, hexadecimal digits in lower case,
//! percent codes in upper case), so that tokens can be compared as bytes. A registry inside
//! another's session adds its token behind those that it inherits.
//!
//! Whatever else stands in the variable is another version's, or someone's mistake. It is kept as
//! it is: an older crate in the middle must not lose the mark of a newer one outside.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::session::{Life, SessionId};

/// The variable's name.
pub(crate) const VARIABLE: &str = "PROCESSION_MARK";

/// How many tokens are kept, foreign ones included.
pub(crate) const MAX_TOKENS: usize = 8;

/// How long an owner's name may be, in bytes before it is encoded.
pub(crate) const MAX_NAME: usize = 64;

/// How long a token that is not ours to understand may be. Ours is at most 376 bytes; together with
/// [`MAX_TOKENS`] this bounds what a stranger's environment can make us carry.
const MAX_FOREIGN: usize = 512;

/// One registry's mark: who owns the process that carries it, and by which life of which session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) owner_name: String,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) inode: u64,
    pub(crate) boot: u128,
    pub(crate) pid_namespace: u64,
    pub(crate) registry: u64,
    pub(crate) life: Life,
    pub(crate) session: SessionId,
}

impl Token {
    /// The token as it stands in the variable. A name that is too long is cut at a character's
    /// boundary.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::from("1,");
        encode_name(cut(&self.owner_name, MAX_NAME), &mut text);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            ",{},{},{},{:032x},{},{:016x},{},{}",
            self.pid,
            self.start,
            self.inode,
            self.boot,
            self.pid_namespace,
            self.registry,
            self.life.0,
            self.session.0
        );
        text
    }

    /// Understands a token of this version, in its one spelling.
    fn decode(entry: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(entry).ok()?;
        let mut fields = text.strip_prefix("1,")?.split(',');
        let mut field = || fields.next();
        let token = Self {
            owner_name: decode_name(field()?)?,
            pid: decimal(field()?)?.try_into().ok()?,
            start: decimal(field()?)?,
            inode: decimal(field()?)?,
            boot: hexadecimal(field()?, 32)?,
            pid_namespace: decimal(field()?)?,
            registry: hexadecimal(field()?, 16)?.try_into().ok()?,
            life: Life(decimal(field()?)?),
            session: SessionId(decimal(field()?)?),
        };
        field().is_none().then_some(token)
    }
}

/// What stands in the variable: the tokens of nested registries, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(Vec<Entry>);

/// One token, understood or not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Ours(Token),
    /// Another version's token or garbage, kept verbatim.
    Foreign(Vec<u8>),
}

impl Mark {
    /// Reads the variable's value. Never fails: what is not understood is kept, what cannot be kept
    /// is left out.
    ///
    /// Left out are empty entries, entries with a NUL (no environment can hold one) or of more than
    /// 512 bytes, and what is over eight.
    pub(crate) fn parse(value: &[u8]) -> Self {
        let mut mark = Self::default();
        for bytes in value.split(|byte| *byte == b';') {
            if let Some(token) = Token::decode(bytes) {
                mark.push_entry(Entry::Ours(token));
            } else if !bytes.is_empty() && bytes.len() <= MAX_FOREIGN && !bytes.contains(&0) {
                mark.push_entry(Entry::Foreign(bytes.to_vec()));
            }
        }
        mark
    }

    /// Adds the token of a registry inside all the others.
    ///
    /// Where eight are there, the second one goes. The newcomer has to stay: nobody else knows its
    /// processes. The outermost has to stay: its session holds all that is further in. One between
    /// them can best be missed, and the outermost of those has the most others beneath it that
    /// still find their own.
    pub(crate) fn push(&mut self, token: Token) {
        self.push_entry(Entry::Ours(token));
    }

    fn push_entry(&mut self, entry: Entry) {
        if self.0.len() >= MAX_TOKENS {
            self.0.remove(1);
        }
        self.0.push(entry);
    }

    /// The tokens that are understood, outermost first.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Ours(token) => Some(token),
            Entry::Foreign(_) => None,
        })
    }

    /// The variable's value.
    pub(crate) fn encode(&self) -> OsString {
        let mut value = Vec::new();
        for entry in &self.0 {
            if !value.is_empty() {
                value.push(b';');
            }
            match entry {
                Entry::Ours(token) => value.extend_from_slice(token.encode().as_bytes()),
                Entry::Foreign(bytes) => value.extend_from_slice(bytes),
            }
        }
        OsString::from_vec(value)
    }
}

/// The variable's value for a process that is started with `token` where `inherited` is the value
/// it would have without.
pub(crate) fn nest(inherited: Option<&OsStr>, token: &Token) -> OsString {
    let mut mark = inherited.map_or_else(Mark::default, |value| Mark::parse(value.as_bytes()));
    mark.push(token.clone());
    mark.encode()
}

/// The longest beginning of at most `max` bytes that ends between two characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

pub(crate) fn encode_name(name: &str, to: &mut String) {
    for byte in name.bytes() {
        if is_plain(byte) {
            to.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

pub(crate) fn decode_name(text: &str) -> Option<String> {
    let mut name = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let byte = (upper_digit(bytes.next()?)? << 4) | upper_digit(bytes.next()?)?;
                // A plain character has one spelling, and this is not it.
                (!is_plain(byte)).then_some(byte)?
            }
            byte => is_plain(byte).then_some(byte)?,
        });
    }
    if name.len() > MAX_NAME {
        return None;
    }
    String::from_utf8(name).ok()
}

fn upper_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A number without sign and leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    canonical.then(|| text.parse().ok())?
}

/// A number of exactly so many hexadecimal digits in lower case.
pub(crate) fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let canonical = text.len() == digits && text.bytes().all(is_digit);
    canonical.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(registry: u64) -> Token {
        Token {
            owner_name: String::from("ci agent"),
            pid: 4711,
            start: 123_456,
            inode: 789,
            boot: 0xab,
            pid_namespace: 4_026_531_836,
            registry,
            life: Life(3),
            session: SessionId(7),
        }
    }

    fn registries(mark: &Mark) -> Vec<u64> {
        mark.tokens().map(|t| t.registry).collect()
    }

    /// The format is read by other hosts and by later versions. This test changes with the version
    /// number, or never.
    #[test]
    fn the_format_is_fixed() {
        assert_eq!(
            token(0x2a).encode(),
            "1,ci%20agent,4711,123456,789,000000000000000000000000000000ab,4026531836,000000000000002a,3,7"
        );
        assert_eq!(VARIABLE, "PROCESSION_MARK");
    }

    #[test]
    fn a_nested_registry_adds_its_token_behind_the_inherited_ones() {
        let outer = nest(None, &token(1));
        let inner = nest(Some(&outer), &token(2));
        let mark = Mark::parse(inner.as_bytes());
        assert_eq!(registries(&mark), [1, 2]);
        assert_eq!(mark.tokens().next(), Some(&token(1)));
    }

    #[test]
    fn another_versions_token_survives_nesting_as_it_is() {
        let inherited = OsStr::from_bytes(b"2,new,stuff=%zz;\xff\xfe");
        let value = nest(Some(inherited), &token(1));
        assert!(value.as_bytes().starts_with(b"2,new,stuff=%zz;\xff\xfe;1,"));
        assert_eq!(registries(&Mark::parse(value.as_bytes())), [1]);
    }

    #[test]
    fn of_nine_the_outermost_and_the_innermost_stay() {
        let mut value = None;
        for registry in 1..=10 {
            value = Some(nest(value.as_deref(), &token(registry)));
        }
        let mark = Mark::parse(value.unwrap_or_default().as_bytes());
        assert_eq!(registries(&mark), [1, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_second_spelling_is_not_ours() {
        let good = token(1).encode();
        assert!(Token::decode(good.as_bytes()).is_some());
        for (from, to) in [
            ("1,ci", "01,ci"),
            ("1,ci", "1,%63i"),
            ("%20", "%2"),
            ("%20", " "),
            ("%20", "%ff"),
            ("4711", "04711"),
            ("4711", "+4711"),
            ("4711", ""),
            ("4711", "4294967296"),
            ("00ab", "00AB"),
            ("00ab", "ab"),
            (",3,7", ",3"),
            (",3,7", ",3,7,8"),
            (",3,7", ",3,18446744073709551616"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Token::decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let mut long = token(1);
        long.owner_name = "ä".repeat(40);
        long.owner_name.insert(0, 'x');
        let read = Token::decode(long.encode().as_bytes()).map(|t| t.owner_name);
        assert_eq!(read, Some(format!("x{}", "ä".repeat(31))));
    }

    #[test]
    fn the_longest_token_is_bounded() {
        let longest = Token {
            owner_name: " ".repeat(MAX_NAME),
            pid: u32::MAX,
            start: u64::MAX,
            inode: u64::MAX,
            boot: u128::MAX,
            pid_namespace: u64::MAX,
            registry: u64::MAX,
            life: Life(u64::MAX),
            session: SessionId(u64::MAX),
        };
        assert!(longest.encode().len() <= 376, "{}", longest.encode().len());
        assert_eq!(Token::decode(longest.encode().as_bytes()), Some(longest));
    }

    #[test]
    fn what_no_environment_can_hold_or_should_carry_is_left_out() {
        let huge = "x".repeat(MAX_FOREIGN + 1);
        let value = format!(";;a\0b;{huge};kept;");
        assert_eq!(Mark::parse(value.as_bytes()).encode(), "kept");
    }

    prop_compose! {
        fn any_token()(
            name in prop::collection::vec(any::<char>(), 0..16),
            pid: u32, start: u64, inode: u64, boot: u128, pid_namespace: u64, registry: u64, life: u64, session: u64,
        ) -> Token {
            Token {
                owner_name: name.into_iter().collect(), pid, start, inode, boot, pid_namespace, registry,
                life: Life(life), session: SessionId(session),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tokens in prop::collection::vec(any_token(), 0..=MAX_TOKENS)) {
            let mut value = None;
            for token in &tokens {
                value = Some(nest(value.as_deref(), token));
            }
            let mark = Mark::parse(value.unwrap_or_default().as_bytes());
            prop_assert_eq!(mark.tokens().cloned().collect::<Vec<_>>(), tokens);
        }

        #[test]
        fn any_bytes_are_read_and_the_second_reading_changes_nothing(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b';'), Just(b','), Just(b'1')], 0..1200),
        ) {
            let once = Mark::parse(&bytes);
            let encoded = once.encode();
            prop_assert!(encoded.len() <= MAX_TOKENS * (MAX_FOREIGN + 1));
            prop_assert_eq!(Mark::parse(encoded.as_bytes()), once);
        }

        #[test]
        fn a_damaged_token_is_kept_verbatim_or_means_what_it_says(
            token in any_token(), at: prop::sample::Index, byte in 1..=255_u8,
        ) {
            let mut bytes = token.encode().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assume!(!bytes.contains(&b';') && !bytes.is_empty());
            prop_assert_eq!(Mark::parse(&bytes).encode().into_vec(), bytes);
        }
    }
}

//! Lists of strings: arguments and environments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::fuzzing::Source;
use crate::sys::kqueue::{self, Strings};
use crate::sys::linux::parse::{parse_boot_id, parse_list};
use crate::sys::lists;
use crate::sys::procargs::{parse_procargs, parse_uuid};
use crate::sys::vocabulary::Environ;

/// Reads one of them: any bytes, and what a kernel would write for strings that are taken from them.
pub(crate) fn strings(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => list(data),
        1 => environ(data),
        2 => {
            any_procargs(data);
            written_procargs(data);
        }
        _ => fields(data),
    }
}

/// The list that a kernel writes: each item, and a NUL behind it.
fn written(items: &[OsString]) -> Vec<u8> {
    let ends = |item: &OsString| [item.as_bytes(), b"\0"].concat();
    items.iter().flat_map(ends).collect()
}

/// Any bytes are a list, of which only the last NUL may have been missing.
fn list(data: &[u8]) {
    let items = parse_list(data);
    let again = written(&items);
    let with_its_end = [data, b"\0"].concat();
    assert!(again == data || again == with_its_end, "{items:?}");
    assert_eq!(lists::parse_list(data), items, "the kernels write alike");
    // A beginning of it has the same items, of which the last may be cut.
    let cut = usize::from(data.first().copied().unwrap_or(0)).min(data.len());
    let begun = parse_list(&data[..cut]);
    if let Some((last, before)) = begun.split_last() {
        assert_eq!(items[..before.len()], *before);
        assert!(items[before.len()].as_bytes().starts_with(last.as_bytes()));
    }
}

fn environ(data: &[u8]) {
    let mut plain = Vec::new();
    for variable in data.split(|byte| *byte == 0) {
        // The first character is of the name, whichever it is.
        if let Some(equals) = (1..variable.len()).find(|at| variable[*at] == b'=') {
            plain.push((&variable[..equals], &variable[equals + 1..]));
        }
    }
    let environ = Environ::new(data.to_vec());
    let read = environ.variables();
    let read: Vec<_> = read
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    assert_eq!(read, plain);
    // What is put behind a whole one is found behind it.
    let mut source = Source::new(data);
    let word = |bytes: &[u8], but: &[u8]| {
        let bytes = bytes.iter().copied();
        OsString::from_vec(bytes.filter(|byte| !but.contains(byte)).collect())
    };
    let mut name = word(source.bytes(20), b"\0=");
    let value = word(source.bytes(20), b"\0");
    if name.is_empty() {
        name.push("=");
    }
    let mut grown = Environ::new([data, b"\0"].concat());
    grown.push(&name, &value);
    let grown: Vec<_> = grown.variables().collect();
    assert_eq!(grown.len(), plain.len() + 1);
    assert_eq!(grown.last(), Some(&(&*name, &*value)));
}

/// No more arguments than the number says, and all of them and the variables in the order of the bytes.
fn any_procargs(data: &[u8]) {
    let Some(Strings { args, environ }) = parse_procargs(data) else {
        return;
    };
    let count = i32::from_ne_bytes([data[0], data[1], data[2], data[3]]);
    assert!(i32::try_from(args.len()).is_ok_and(|args| args <= count));
    let variables = environ.variables();
    let variables =
        variables.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let mut rest = &data[4..];
    for item in args.into_iter().map(OsString::into_vec).chain(variables) {
        let at = rest
            .windows(item.len().max(1))
            .position(|window| window == item);
        match at {
            Some(at) => rest = &rest[at + item.len()..],
            None => assert!(item.is_empty(), "{item:?} stands there"),
        }
    }
}

fn written_procargs(data: &[u8]) {
    let mut source = Source::new(data);
    let word = |source: &mut Source<'_>| {
        let bytes = source.bytes(12).iter().copied();
        OsString::from_vec(bytes.filter(|byte| *byte != 0).collect())
    };
    let path = word(&mut source);
    let padding = usize::from(source.byte() % 8);
    let count = source.byte() % 5;
    let mut args: Vec<OsString> = (0..count).map(|_| word(&mut source)).collect();
    // What an empty first one would be cannot be told from what fills up the path.
    if let Some(first) = args.first_mut().filter(|first| first.is_empty()) {
        *first = "x".into();
    }
    let names = (0..source.byte() % 5).map(|n| format!("V{n}"));
    let variables: Vec<_> = names
        .map(|name| (OsString::from(name), word(&mut source)))
        .collect();
    let lines: Vec<OsString> = variables
        .iter()
        .map(|(name, value)| {
            [name.as_os_str(), OsStr::new("="), value]
                .into_iter()
                .collect()
        })
        .collect();
    let answer = [
        &i32::from(count).to_ne_bytes()[..],
        path.as_bytes(),
        &vec![0; padding + 1],
        &written(&args),
        &written(&lines),
        b"\0executable_path=/bin/x\0ptr_munge=\0",
    ];
    let read = parse_procargs(&answer.concat()).expect("it is as the kernel writes it");
    // Without arguments and variables the loader's strings cannot be told from arguments; the number tells.
    assert_eq!(read.args, args);
    if !args.is_empty() || !lines.is_empty() {
        let read: Vec<_> = read.environ.variables().collect();
        let expected: Vec<_> = variables
            .iter()
            .map(|(n, v)| (n.as_os_str(), v.as_os_str()))
            .collect();
        assert_eq!(read, expected);
    }
}

/// Fields of fixed length, and ids.
fn fields(data: &[u8]) {
    let name = kqueue::parse_name(data);
    assert!(data.starts_with(name.as_bytes()) && !name.as_bytes().contains(&0));
    assert!(data.get(name.len()).is_none_or(|byte| *byte == 0));
    let uuid = parse_uuid(data);
    if let Some(id) = parse_boot_id(data) {
        assert!(
            uuid.is_none_or(|uuid| uuid == id),
            "both are the same digits"
        );
    }
    let mut source = Source::new(data);
    let id = u128::from(source.u64()) << 64 | u128::from(source.u64());
    let digits = format!("{id:032X}");
    let (begin, end) = digits.split_at(usize::from(source.byte() % 33));
    assert_eq!(
        parse_uuid(format!("{begin}-{end}\n\0").as_bytes()),
        Some(id)
    );
}

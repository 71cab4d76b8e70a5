//! Where cgroups are, who is in them, what they are called.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::plain;
use crate::fuzzing::Source;
use crate::session::{Life, SessionId};
use crate::sys::linux::cgroup::Mounts;
use crate::sys::linux::parse::{
    UnifiedMount, parse_cgroup_list, parse_keyed, parse_number, parse_own_cgroup,
    parse_unified_mounts,
};
use crate::sys::vocabulary::{LeafName, OwnerIdentity};

/// No directory of a cgroup has a longer name.
const NAME_MAX: usize = 255;

/// Reads one of them: any bytes, and what the kernel would write for values that are taken from them.
pub(crate) fn cgroup_files(data: &[u8]) {
    let Some((file, data)) = data.split_first() else {
        return;
    };
    let source = Source::new(data);
    match file % 6 {
        0 => own_cgroup(data),
        1 => {
            assert_eq!(parse_unified_mounts(data), plain_mounts(data));
            written_mounts(source);
        }
        2 => list(data),
        3 => {
            for key in ["populated", "frozen", "usage_usec", "oom_kill"] {
                assert_eq!(parse_keyed(data, key), plain_keyed(data, key));
            }
            written_keyed(source);
        }
        4 => leaf_name(data),
        _ => leaves(data),
    }
}

/// Kernels let no cgroup have a name with a newline in it.
fn own_cgroup(data: &[u8]) {
    let plain = plain::after(data, "0::").map(|path| Path::new(OsStr::from_bytes(path)));
    assert_eq!(parse_own_cgroup(data).as_deref(), plain);
    let path: Vec<u8> = data.iter().copied().filter(|byte| *byte != b'\n').collect();
    let text = [b"4:memory:/a\n1:name=systemd:/b\n0::/", &path[..], b"\n"].concat();
    let expected = [b"/", &path[..]].concat();
    assert_eq!(
        parse_own_cgroup(&text).as_deref(),
        Some(Path::new(OsStr::from_bytes(&expected)))
    );
}

/// Fields 4 and 5, and what follows the hyphen.
fn plain_mounts(text: &[u8]) -> Vec<UnifiedMount> {
    let mut mounts = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = String::from_utf8(line.to_vec()) else {
            continue;
        };
        let fields: Vec<&str> = line.split(' ').collect();
        // A hyphen between two fields is one, at the beginning of the line or at its end is none.
        let hyphen = (1..fields.len().saturating_sub(1)).find(|at| fields[*at] == "-");
        let Some(hyphen) = hyphen else { continue };
        let escaped = fields[..hyphen].iter().any(|field| field.contains('\\'));
        if fields[hyphen + 1] == "cgroup2"
            && !escaped
            && hyphen >= 5
            && fields[3].starts_with('/')
            && fields[4].starts_with('/')
        {
            mounts.push(UnifiedMount {
                root: fields[3].into(),
                point: fields[4].into(),
            });
        }
    }
    mounts
}

fn written_mounts(mut source: Source<'_>) {
    let mut text = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..4 {
        let (root, point) = (path(&mut source), path(&mut source));
        let kind = ["cgroup2", "cgroup", "proc"][usize::from(source.byte() % 3)];
        let optional = ["", "shared:9 ", "shared:9 master:1 "][usize::from(source.byte() % 3)];
        text.extend_from_slice(format!("{} 23 0:26 ", source.u32()).as_bytes());
        text.extend(escaped(&root));
        text.push(b' ');
        text.extend(escaped(&point));
        text.extend_from_slice(format!(" rw,nosuid {optional}- {kind} none rw\n").as_bytes());
        // Passed over, as told where they are parsed.
        let is_plain = |path: &[u8]| escaped(path) == path && std::str::from_utf8(path).is_ok();
        if kind == "cgroup2" && is_plain(&root) && is_plain(&point) {
            expected.push(UnifiedMount {
                root: OsStr::from_bytes(&root).into(),
                point: OsStr::from_bytes(&point).into(),
            });
        }
    }
    assert_eq!(parse_unified_mounts(&text), expected);
}

/// Any path: NULs are in none.
fn path(source: &mut Source<'_>) -> Vec<u8> {
    let bytes = source.bytes(40).iter().copied();
    [b'/']
        .into_iter()
        .chain(bytes.filter(|b| *b != 0))
        .collect()
}

/// As the kernel writes a path (`seq_path` with " \t\n\\").
fn escaped(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            _ => escaped.push(*byte),
        }
    }
    escaped
}

fn list(data: &[u8]) {
    let plain: Vec<u32> = plain::words(data)
        .unwrap_or_default()
        .iter()
        .filter_map(|word| plain::pid(word))
        .filter(|pid| *pid != 0)
        .collect();
    assert_eq!(parse_cgroup_list(data), plain);
    let mut source = Source::new(data);
    let pids: Vec<u32> = (0..8).map(|_| source.u32()).collect();
    let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
    let seen: Vec<u32> = pids.into_iter().filter(|pid| *pid != 0).collect();
    assert_eq!(parse_cgroup_list(text.as_bytes()), seen);
}

fn plain_keyed(text: &[u8], key: &str) -> Option<u64> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    for line in text.split('\n') {
        let Some(value) = line.strip_prefix(key) else {
            continue;
        };
        let number = value
            .strip_prefix(' ')
            .and_then(|value| plain::number(value.trim()));
        if number.is_some() {
            return number;
        }
    }
    None
}

fn written_keyed(mut source: Source<'_>) {
    // One key begins like another.
    let keys = ["oom", "oom_kill", "oom_group_kill", "populated", "frozen"];
    let numbers = keys.map(|_| source.u64());
    let lines = keys.iter().zip(numbers);
    let text: String = lines
        .map(|(key, number)| format!("{key} {number}\n"))
        .collect();
    for (key, number) in keys.iter().zip(numbers) {
        assert_eq!(parse_keyed(text.as_bytes(), key), Some(number));
    }
    assert_eq!(parse_keyed(text.as_bytes(), "oom_"), None);
    let peak = format!("{}\n", numbers[0]);
    assert_eq!(parse_number(peak.as_bytes()), Some(numbers[0]));
}

fn leaf_name(data: &[u8]) {
    if let Some(name) = LeafName::parse(data) {
        assert_eq!(name.to_string().as_bytes(), data, "there is one spelling");
    }
    assert_eq!(parse_number(data), plain_peak(data));
    let name = some_leaf_name(&mut Source::new(data));
    let text = name.to_string();
    assert!(text.len() <= NAME_MAX && !text.contains('/'));
    assert_eq!(LeafName::parse(text.as_bytes()), Some(name));
    // What the kernel says behind the name of a cgroup that was removed.
    assert_eq!(LeafName::parse((text + " (deleted)").as_bytes()), None);
}

fn plain_peak(text: &[u8]) -> Option<u64> {
    plain::number(String::from_utf8(text.to_vec()).ok()?.trim())
}

fn some_leaf_name(source: &mut Source<'_>) -> LeafName {
    let owner = OwnerIdentity {
        pid: source.u32(),
        start_ticks: source.u64(),
        inode: source.u64(),
        boot: 0,
        pid_namespace: source.u64(),
    };
    let (registry, life, session) = (source.u64(), source.u64(), source.u64());
    let owner_name = String::from_utf8_lossy(source.bytes(80)).into_owned();
    LeafName::new(
        (&owner, &owner_name),
        registry,
        (Life(life), SessionId(session)),
    )
}

/// In which leaves a process is: those on its way, outermost first, and nothing that is no cgroup.
fn leaves(data: &[u8]) {
    let mut source = Source::new(data);
    let mounts = Mounts::parse(b"30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n");
    let mut cgroup = PathBuf::from("/");
    let mut expected = Vec::new();
    for _ in 0..4 {
        if source.byte() % 2 == 0 {
            cgroup.push("job.scope");
            continue;
        }
        let name = some_leaf_name(&mut source);
        cgroup.push(name.to_string());
        let below = cgroup.strip_prefix("/").unwrap_or(&cgroup);
        expected.push((name, Path::new("/sys/fs/cgroup").join(below)));
    }
    let text = format!("0::{}\n", cgroup.display());
    let found = mounts.leaves(text.as_bytes());
    let found: Vec<_> = found
        .into_iter()
        .map(|leaf| (leaf.name, leaf.path))
        .collect();
    assert_eq!(found, expected);
    any_leaves(data);
}

/// The same of any two files, one behind the other with a NUL between them.
fn any_leaves(data: &[u8]) {
    let mut files = data.splitn(2, |byte| *byte == 0);
    let mounted = files.next().unwrap_or_default();
    let leaves = Mounts::parse(mounted).leaves(files.next().unwrap_or_default());
    let points = parse_unified_mounts(mounted);
    for leaf in &leaves {
        let file_name = leaf.path.file_name().map(OsStr::as_bytes);
        assert_eq!(file_name, Some(leaf.name.to_string().as_bytes()));
        assert!(
            points
                .iter()
                .any(|mount| leaf.path != mount.point && leaf.path.starts_with(&mount.point)),
            "{} is below where cgroups are",
            leaf.path.display()
        );
    }
    for two in leaves.windows(2) {
        assert!(two[1].path.starts_with(&two[0].path), "outermost first");
    }
}

//! The text of `/proc` as values. Pure: bytes in, values out, `None` for what is not as it should be.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: char,
    pub(super) parent: u32,
    /// 0 if it lies outside of our pid namespace.
    pub(super) group: u32,
    /// 0 if it lies outside of our pid namespace.
    pub(super) session: u32,
    pub(super) is_kernel_thread: bool,
    pub(super) is_exiting: bool,
    /// How many threads there are; 1 of a zombie.
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
}

/// `PF_KTHREAD` and `PF_EXITING` among the flags in `/proc/PID/stat`, which are those of the first thread.
const KERNEL_THREAD: u64 = 0x0020_0000;
const EXITING: u64 = 0x0000_0004;

/// What `/proc/PID/status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcStatus {
    pub(super) state: char,
    /// The process that the thread belongs to; of a process itself its own number.
    pub(super) process: u32,
    /// The *thread* that traces it, or 0.
    pub(super) tracer: u32,
    /// The real user.
    pub(super) user: u32,
}

/// Parses `/proc/PID/stat`.
///
/// The second field is the program's name in parentheses, and programs choose their names: it may hold spaces, newlines
/// and parentheses. What follows it is numbers and one letter, so the name ends at the last closing parenthesis.
pub(super) fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    // In the manual's numbering the first of these is field 3.
    let mut fields = rest.split_ascii_whitespace();
    let state = one_letter(fields.next()?)?;
    let parent = fields.next()?.parse().ok()?;
    let group: i32 = fields.next()?.parse().ok()?;
    let session: i32 = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(9 - 7)?.parse().ok()?;
    let threads = fields.nth(20 - 10)?.parse().ok()?;
    let start_ticks = fields.nth(22 - 21)?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        group: group.try_into().unwrap_or(0),
        session: session.try_into().unwrap_or(0),
        is_kernel_thread: flags & KERNEL_THREAD != 0,
        is_exiting: flags & EXITING != 0,
        threads,
        start_ticks,
    })
}

/// Whether `/proc/PID/stat` knows no end of the environment in the memory of a process: it has no memory, or a new one that is
/// not filled yet. `None` before Linux 3.5.
pub(super) fn parse_lacks_environment(stat: &[u8]) -> Option<bool> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let code: u64 = fields.nth(26 - 3)?.parse().ok()?;
    let environment_ends: u64 = fields.nth(51 - 27)?.parse().ok()?;
    // Who may not read it sees 0 for the end of the environment, and 1 for the start of the code.
    Some(environment_ends == 0 && code != 1)
}

/// The program's name in `/proc/PID/stat`, of which the kernel keeps 15 bytes, also of a zombie.
pub(super) fn parse_name(stat: &[u8]) -> OsString {
    let open = stat.iter().position(|byte| *byte == b'(');
    let close = stat.iter().rposition(|byte| *byte == b')');
    let name = match (open, close) {
        (Some(open), Some(close)) => stat.get(open + 1..close).unwrap_or_default(),
        (None, _) | (_, None) => &[],
    };
    OsString::from_vec(name.to_vec())
}

/// Parses the soft and the hard limit of file locks in `/proc/PID/limits`.
pub(super) fn parse_limits(limits: &[u8]) -> Option<(u64, u64)> {
    let line = limits
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Max file locks"))?;
    let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut number = || match numbers.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((number()?, number()?))
}

/// Parses `/proc/PID/task/TID/children`.
pub(super) fn parse_children(children: &[u8]) -> Vec<u32> {
    let text = std::str::from_utf8(children).unwrap_or_default();
    text.split_ascii_whitespace()
        .map_while(|pid| pid.parse().ok())
        .collect()
}

/// Parses what `/proc/loadavg` says last: the number that was given last.
pub(super) fn parse_last_pid(load: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(load).ok()?;
    text.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Parses what `/proc/stat` says of the processes and threads that were started since the machine was. Zero is what is told
/// where nobody counts.
pub(super) fn parse_births(stat: &[u8]) -> Option<u64> {
    let line = stat
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"processes "))?;
    let births = std::str::from_utf8(line).ok()?.parse().ok()?;
    Some(births).filter(|births| *births > 0)
}

/// Parses `/proc/PID/status`, where the kernel escapes newlines in the program's name: a line is a line.
pub(super) fn parse_status(status: &[u8]) -> Option<ProcStatus> {
    let field = |name: &str| {
        status
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes()))
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|value| value.split_ascii_whitespace().next())
    };
    Some(ProcStatus {
        state: one_letter(field("State:")?)?,
        process: field("Tgid:")?.parse().ok()?,
        tracer: field("TracerPid:")?.parse().ok()?,
        // Four of them: real, effective, saved, and that of the file system.
        user: field("Uid:")?.parse().ok()?,
    })
}

/// Where a cgroup hierarchy of version 2 is mounted, and which of its cgroups is at the top there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnifiedMount {
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
}

/// Parses `/proc/self/cgroup` for the cgroup of version 2.
pub(super) fn parse_own_cgroup(cgroup: &[u8]) -> Option<PathBuf> {
    let path = cgroup
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))?;
    Some(OsString::from_vec(path.to_vec()).into())
}

/// Parses `/proc/self/mountinfo` for the hierarchies of version 2. A path with spaces is escaped there; such a mount is
/// passed over.
pub(super) fn parse_unified_mounts(mounts: &[u8]) -> Vec<UnifiedMount> {
    let one = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (place, kind) = line.split_once(" - ")?;
        if kind.split(' ').next()? != "cgroup2" || place.contains('\\') {
            return None;
        }
        let mut fields = place.split(' ').skip(3);
        let mut path = || fields.next().filter(|path| path.starts_with('/'));
        Some(UnifiedMount {
            root: path()?.into(),
            point: path()?.into(),
        })
    };
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(one)
        .collect()
}

/// Parses `cgroup.procs`. What lies outside of our pid namespace is 0 there, and left out.
pub(super) fn parse_cgroup_list(list: &[u8]) -> Vec<u32> {
    let text = std::str::from_utf8(list).unwrap_or_default();
    let pids = text.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok())
        .filter(|pid| *pid != 0)
        .collect()
}

/// The number behind a key in a file of lines `KEY NUMBER`.
pub(super) fn parse_keyed(text: &[u8], key: &str) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// Parses a file of one number, as `memory.peak` is.
pub(super) fn parse_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Splits a list whose items each end with a NUL. An item may be empty, and so may the list. A program that wrote over its
/// arguments may have left the last one without its NUL, or a row of NULs behind it; they are given as they are.
pub(super) fn parse_list(list: &[u8]) -> Vec<OsString> {
    let list = list
        .strip_suffix(&[0])
        .map_or_else(|| (!list.is_empty()).then_some(list), Some);
    list.map_or_else(Vec::new, |list| {
        list.split(|byte| *byte == 0)
            .map(|item| OsString::from_vec(item.to_vec()))
            .collect()
    })
}

/// Parses the 32 digits of `/proc/sys/kernel/random/boot_id`, which hyphens divide.
pub(super) fn parse_boot_id(id: &[u8]) -> Option<u128> {
    let digits: Vec<u8> = id
        .trim_ascii()
        .iter()
        .copied()
        .filter(|byte| *byte != b'-')
        .collect();
    let digits = std::str::from_utf8(&digits).ok()?;
    let all_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all_hex.then(|| u128::from_str_radix(digits, 16).ok())?
}

/// The error for a file of `/proc` that a parser refused.
pub(super) fn invalid(file: &'static str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's {file} is not as it is documented"),
    )
}

fn one_letter(word: &str) -> Option<char> {
    let mut letters = word.chars();
    letters.next().filter(|_| letters.as_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::vocabulary::Environ;
    use proptest::prelude::*;

    const STAT: &str = " S 17 4321 4321 0 -1 4194560 123 0 0 0 1 2 0 0 20 0 1 0 987654 2727936 223 \
                        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";
    const FOUND: Stat = Stat {
        state: 'S',
        parent: 17,
        group: 4321,
        session: 4321,
        is_kernel_thread: false,
        is_exiting: false,
        threads: 1,
        start_ticks: 987_654,
    };

    #[test]
    fn limits_are_numbers_or_unlimited() {
        let limits = b"Limit  Soft Limit  Hard Limit  Units\n\
                       Max address space         unlimited            unlimited            bytes\n\
                       Max file locks            7                    unlimited            locks\n";
        assert_eq!(parse_limits(limits), Some((7, u64::MAX)));
        assert_eq!(parse_limits(b"Max file locks 7"), None);
        assert_eq!(parse_limits(b"Max file size 7 7 bytes"), None);
    }

    #[test]
    fn children_and_the_last_number_are_read() {
        assert_eq!(parse_children(b"17 4321 "), [17, 4321]);
        assert_eq!(parse_children(b""), []);
        assert_eq!(parse_last_pid(b"0.20 0.18 0.12 1/80 11206\n"), Some(11_206));
        assert_eq!(parse_last_pid(b"0.20 0.18"), None);
        assert_eq!(
            parse_births(b"intr 1 2\nctxt 9\nprocesses 75512\n"),
            Some(75_512)
        );
        assert_eq!(parse_births(b"ctxt 9\nprocesses 0\n"), None);
        assert_eq!(parse_births(b"ctxt 9\nprocs_running 2\n"), None);
    }

    #[test]
    fn cgroups_are_found_where_they_are_mounted() {
        let own = b"4:memory:/a\n0::/user.slice/x y\n";
        assert_eq!(parse_own_cgroup(own), Some("/user.slice/x y".into()));
        assert_eq!(parse_own_cgroup(b"4:memory:/a\n"), None);
        let mounts = b"30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n\
            41 31 0:38 /a /mnt rw,relatime - cgroup2 none rw\n\
            42 31 0:38 / /x\\040y rw - cgroup2 none rw\n\
            43 31 0:39 / /y rw - cgroup cgroup rw,memory\n\
            44 31 0:38 a /z rw - cgroup2 none rw\n";
        let mount = |root: &str, point: &str| UnifiedMount {
            root: root.into(),
            point: point.into(),
        };
        let expected = [mount("/", "/sys/fs/cgroup"), mount("/a", "/mnt")];
        assert_eq!(parse_unified_mounts(mounts), expected);
    }

    #[test]
    fn the_files_of_a_cgroup_are_lists_and_keyed_numbers() {
        assert_eq!(parse_cgroup_list(b"17\n0\n4321\n"), [17, 4321]);
        let events = b"populated 1\nfrozen 0\n";
        assert_eq!(parse_keyed(events, "populated"), Some(1));
        assert_eq!(parse_keyed(events, "frozen"), Some(0));
        assert_eq!(parse_keyed(events, "oom"), None);
        assert_eq!(parse_keyed(b"populated x\n", "populated"), None);
        assert_eq!(parse_number(b"1048576\n"), Some(1 << 20));
        assert_eq!(parse_number(b"max\n"), None);
    }

    #[test]
    fn a_name_ends_at_the_last_parenthesis() {
        assert_eq!(parse_name(b"1 (a) b)) S 1"), "a) b)");
        assert_eq!(parse_name(b"1 no name"), "");
    }

    #[test]
    fn a_stat_is_parsed_whatever_the_program_is_called() {
        for name in [
            "cat", "", "a b", ") Z 1 1", "x)", "(((", "a\nb", ") R 1 (", ")\n) D 0",
        ] {
            let stat = format!("4321 ({name}){STAT}");
            assert_eq!(parse_stat(stat.as_bytes()), Some(FOUND), "{name:?}");
        }
        let stat = [b"4321 (\xff\x00\xfe)", STAT.as_bytes()].concat();
        assert_eq!(parse_stat(&stat), Some(FOUND), "a name that is no text");
    }

    #[test]
    fn a_thread_of_the_kernel_says_so() {
        let thread = STAT.replace("4194560", "2129984");
        let stat = parse_stat(format!("2 (kthreadd){thread}").as_bytes());
        assert!(stat.is_some_and(|stat| stat.is_kernel_thread));
    }

    #[test]
    fn a_process_that_exits_says_so() {
        let exiting = STAT.replace("4194560", "4194564");
        let stat = parse_stat(format!("4321 (cat){exiting}").as_bytes());
        assert!(stat.is_some_and(|stat| stat.is_exiting && !stat.is_kernel_thread));
    }

    #[test]
    fn who_has_no_environment_this_moment_is_told_from_who_may_not_be_read() {
        let whole = |environment: &str| {
            let places = format!("140 150 160 170 180 {environment} 0\n");
            format!(
                "4321 (a) b){}",
                STAT.replace("17 1 0 0 0 0 0\n", "17 1 0 0 0 0 0 ") + &places
            )
        };
        for (ends, code, told) in [
            ("200 201", "4096", false),
            ("200 200", "4096", false),
            ("0 0", "0", true),
            // Not ours to read.
            ("0 0", "1", false),
        ] {
            let stat = whole(ends).replace("18446744073709551615 1 1", &format!("184 {code} 9"));
            assert_eq!(
                parse_lacks_environment(stat.as_bytes()),
                Some(told),
                "{stat}"
            );
        }
        // An older kernel's.
        let stat = format!("4321 (cat){STAT}");
        assert_eq!(parse_lacks_environment(stat.as_bytes()), None);
        let own = std::fs::read("/proc/self/stat").unwrap();
        assert_eq!(parse_lacks_environment(&own), Some(false));
    }

    #[test]
    fn a_stat_that_is_cut_short_is_refused() {
        let stat = format!("4321 (cat){STAT}");
        let needed = stat.find("987654").unwrap();
        for length in 0..needed {
            assert_eq!(parse_stat(&stat.as_bytes()[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_status_is_parsed_and_its_name_is_not_believed() {
        let status = b"Name:\tState:\\nUid:\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t4321\n\
            Pid:\t4322\nPPid:\t17\nTracerPid:\t99\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n";
        assert_eq!(
            parse_status(status),
            Some(ProcStatus {
                state: 't',
                process: 4321,
                tracer: 99,
                user: 1000,
            })
        );
    }

    #[test]
    fn a_status_without_one_of_its_lines_is_refused() {
        let lines = [
            "State:\tS (x)",
            "Tgid:\t4",
            "TracerPid:\t0",
            "Uid:\t1\t1\t1\t1",
        ];
        assert!(parse_status(lines.join("\n").as_bytes()).is_some());
        for missing in 0..lines.len() {
            let mut lines = lines.to_vec();
            lines.remove(missing);
            assert_eq!(parse_status(lines.join("\n").as_bytes()), None);
        }
    }

    #[test]
    fn a_list_keeps_empty_items_and_does_without_the_last_nul() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"", &[]),
            (b"\0", &[""]),
            (b"cat\0-\0", &["cat", "-"]),
            (b"cat\0\0-\0\0", &["cat", "", "-", ""]),
            (b"nginx: worker", &["nginx: worker"]),
            (b"a\0b", &["a", "b"]),
        ];
        for (bytes, items) in cases {
            assert_eq!(parse_list(bytes), items, "{bytes:?}");
        }
        assert_eq!(parse_list(b"\xff\0")[0].as_encoded_bytes(), b"\xff");
    }

    #[test]
    fn an_environment_is_names_and_values_and_the_rest_is_left_out() {
        let environ = b"A=1\0B=\0C=x=y\0rubbish\0\0==::=\0=\0D=\xff\0E=5";
        let environ = Environ::new(environ.to_vec());
        let text: Vec<_> = environ
            .variables()
            .map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        let text: Vec<_> = text
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            text,
            [
                ("A", "1"),
                ("B", ""),
                ("C", "x=y"),
                ("=", "::="),
                ("D", "\u{fffd}"),
                ("E", "5")
            ]
        );
        assert_eq!(Environ::default().variables().count(), 0);
    }

    #[test]
    fn a_boot_id_is_128_bits() {
        assert_eq!(
            parse_boot_id(b"00112233-4455-6677-8899-aabbccddeeff\n"),
            Some(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)
        );
        let too_long = b"00112233-4455-6677-8899-aabbccddeeff0";
        let not_hex = b"+0112233-4455-6677-8899-aabbccddeeff";
        for refused in [&b""[..], b"-", b"0011", too_long, not_hex] {
            assert_eq!(parse_boot_id(refused), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse_stat(&bytes), parse_status(&bytes), parse_boot_id(&bytes));
            let _ = (parse_list(&bytes), parse_name(&bytes));
            let _ = Environ::new(bytes.clone()).variables().count();
            let _ = (parse_limits(&bytes), parse_children(&bytes), parse_last_pid(&bytes));
            let _ = parse_births(&bytes);
        }

        #[test]
        fn a_list_is_what_was_written(items in proptest::collection::vec("[^\0]{0,5}", 0..9)) {
            let bytes: String = items.iter().map(|item| format!("{item}\0")).collect();
            let items: Vec<OsString> = items.into_iter().map(OsString::from).collect();
            prop_assert_eq!(parse_list(bytes.as_bytes()), items);
        }

        #[test]
        fn any_name_leaves_a_stat_readable(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let stat = [b"1 (", &name[..], b")", STAT.as_bytes()].concat();
            prop_assert_eq!(parse_stat(&stat), Some(FOUND));
        }
    }
}

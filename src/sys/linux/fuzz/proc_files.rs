//! `/proc/PID/stat` and its neighbours.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::plain;
use crate::fuzzing::Source;
use crate::sys::linux::parse::{
    ProcStatus, Stat, parse_births, parse_boot_id, parse_children, parse_lacks_environment,
    parse_last_pid, parse_limits, parse_name, parse_stat, parse_status,
};
use crate::sys::linux::table::pid_of;

/// The letters for the state of a process, on any kernel.
const STATES: &[u8; 13] = b"RSDTtXxZPIKWN";

/// How long a name may be that a program has chosen: `TASK_COMM_LEN` without the NUL.
const LONGEST_NAME: usize = 15;

/// Reads one of them: any bytes, and what the kernel would write for values that are taken from them.
pub(crate) fn proc_files(data: &[u8]) {
    let Some((file, data)) = data.split_first() else {
        return;
    };
    let source = Source::new(data);
    match file % 8 {
        0 => {
            assert_eq!(parse_stat(data), plain_stat(data));
            assert_eq!(parse_lacks_environment(data), plain_lacks_environment(data));
            written_stat(source);
        }
        1 => {
            assert_eq!(parse_status(data), plain_status(data));
            written_status(source);
        }
        2 => {
            assert_eq!(parse_limits(data), plain_limits(data));
            written_limits(source);
        }
        3 => {
            assert_eq!(parse_children(data), plain_children(data));
            written_children(source);
        }
        4 => {
            assert_eq!(parse_last_pid(data), plain_last_pid(data));
            written_last_pid(source);
        }
        5 => boot_id(data),
        6 => directory_name(data),
        _ => {
            assert_eq!(parse_births(data), plain_births(data));
            written_births(source);
        }
    }
}

/// The fields by the manual's numbers.
fn plain_stat(text: &[u8]) -> Option<Stat> {
    let name_ends = (0..text.len()).rev().find(|at| text[*at] == b')')?;
    let words = plain::words(&text[name_ends + 1..])?;
    let field = |number: usize| words.get(number - 3).map(String::as_str);
    let flags = plain::number(field(9)?)?;
    Some(Stat {
        state: plain::letter(field(3)?)?,
        parent: plain::pid(field(4)?)?,
        group: plain::group(field(5)?)?,
        session: plain::group(field(6)?)?,
        is_kernel_thread: flags >> 21 & 1 == 1,
        is_exiting: flags >> 2 & 1 == 1,
        threads: plain::number(field(20)?)?,
        start_ticks: plain::number(field(22)?)?,
    })
}

fn plain_lacks_environment(text: &[u8]) -> Option<bool> {
    let name_ends = (0..text.len()).rev().find(|at| text[*at] == b')')?;
    let words = plain::words(&text[name_ends + 1..])?;
    let field = |number: usize| plain::number(words.get(number - 3)?);
    let (code, environment_ends) = (field(26)?, field(51)?);
    Some(code != 1 && environment_ends == 0)
}

fn written_stat(mut source: Source<'_>) {
    let name: Vec<u8> = name(&mut source);
    let state = STATES[usize::from(source.byte()) % STATES.len()];
    let (pid, parent, flags) = (source.u32(), source.u32(), source.u32());
    // Of what is being reaped the kernel writes -1.
    let mut group = || source.i32().max(-1);
    let (group, session) = (group(), group());
    let (threads, start_ticks) = (source.u64(), source.u64());
    let begin = [format!("{pid} (").as_bytes(), &name, b") "].concat();
    let middle = format!(
        "{} {parent} {group} {session} 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 {threads} 0 ",
        char::from(state)
    );
    let end = format!("{start_ticks} 2727936 223 18446744073709551615 1 1 0 0 17 1 0 0 0\n");
    let text = [&begin, middle.as_bytes(), end.as_bytes()].concat();
    let expected = Stat {
        state: char::from(state),
        parent,
        group: u32::try_from(group).unwrap_or(0),
        session: u32::try_from(session).unwrap_or(0),
        is_kernel_thread: flags & 0x0020_0000 != 0,
        is_exiting: flags & 0x0000_0004 != 0,
        threads,
        start_ticks,
    };
    assert_eq!(parse_stat(&text), Some(expected));
    assert_eq!(parse_name(&text), OsStr::from_bytes(&name));
    // A program's name is too short to hold all the fields that come before the start.
    let needed = begin.len() + middle.len();
    let cut = usize::from(source.byte()) % (needed + 1);
    assert_eq!(parse_stat(&text[..cut]), None, "cut at {cut}");
}

/// What a program may be called: any bytes but NULs.
fn name(source: &mut Source<'_>) -> Vec<u8> {
    let bytes = source.bytes(LONGEST_NAME).iter();
    bytes.copied().filter(|byte| *byte != 0).collect()
}

fn plain_status(text: &[u8]) -> Option<ProcStatus> {
    let word = |beginning: &str| {
        plain::words(plain::after(text, beginning)?)?
            .into_iter()
            .next()
    };
    Some(ProcStatus {
        state: plain::letter(&word("State:")?)?,
        process: plain::pid(&word("Tgid:")?)?,
        tracer: plain::pid(&word("TracerPid:")?)?,
        user: plain::pid(&word("Uid:")?)?,
    })
}

fn written_status(mut source: Source<'_>) {
    // As the kernel does, so that a line is a line.
    let escaped = name(&mut source).into_iter().flat_map(|byte| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        byte => vec![byte],
    });
    let expected = ProcStatus {
        state: char::from(STATES[usize::from(source.byte()) % STATES.len()]),
        process: source.u32(),
        tracer: source.u32(),
        user: source.u32(),
    };
    let ProcStatus {
        state,
        process,
        tracer,
        user,
    } = expected;
    let rest = format!(
        "\nUmask:\t0022\nState:\t{state} (sleeping)\nTgid:\t{process}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\n\
         TracerPid:\t{tracer}\nUid:\t{user}\t{}\t{}\t{}\nGid:\t5\t5\t5\t5\n",
        source.u32(),
        source.u32(),
        source.u32(),
        source.u32(),
        source.u32()
    );
    let name: Vec<u8> = escaped.collect();
    let text = [b"Name:\t", &name[..], rest.as_bytes()].concat();
    assert_eq!(parse_status(&text), Some(expected));
}

fn plain_limits(text: &[u8]) -> Option<(u64, u64)> {
    let words = plain::words(plain::after(text, "Max file locks")?)?;
    let limit = |word: &String| match &**word {
        "unlimited" => Some(u64::MAX),
        word => plain::number(word),
    };
    Some((limit(words.first()?)?, limit(words.get(1)?)?))
}

fn written_limits(mut source: Source<'_>) {
    let (soft, hard) = (source.u64(), source.u64());
    let number = |limit: u64| match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    let rows = [
        ("Max file size", source.u64(), source.u64(), "bytes"),
        ("Max file locks", soft, hard, "locks"),
        ("Max pending signals", source.u64(), source.u64(), "signals"),
    ];
    for (name, soft, hard, unit) in rows {
        let (soft, hard) = (number(soft), number(hard));
        text += &format!("{name:<25} {soft:<20} {hard:<20} {unit:<10}\n");
    }
    assert_eq!(parse_limits(text.as_bytes()), Some((soft, hard)));
}

/// Up to the first word that is none.
fn plain_children(text: &[u8]) -> Vec<u32> {
    let mut children = Vec::new();
    for word in plain::words(text).unwrap_or_default() {
        let Some(pid) = plain::pid(&word) else { break };
        children.push(pid);
    }
    children
}

fn written_children(mut source: Source<'_>) {
    let mut children = Vec::new();
    let mut text = String::new();
    while !source.is_empty() && children.len() < 16 {
        let child = source.u32();
        children.push(child);
        text += &format!("{child} ");
        assert_eq!(parse_children(text.as_bytes()), children);
        // Cut within its last number it has no further one, and all others.
        let cut = &text.as_bytes()[..text.len() - 2];
        let (read, before) = (parse_children(cut), children.len() - 1);
        assert_eq!(read[..before], children[..before]);
        assert!(read.len() <= children.len());
    }
}

fn plain_last_pid(text: &[u8]) -> Option<u32> {
    plain::pid(plain::words(text)?.get(4)?)
}

fn written_last_pid(mut source: Source<'_>) {
    let pid = source.u32();
    let (running, all) = (source.u32(), source.u32());
    let load = |source: &mut Source<'_>| format!("{}.{:02}", source.u32(), source.byte() % 100);
    let loads = [(); 3].map(|()| load(&mut source)).join(" ");
    let text = format!("{loads} {running}/{all} {pid}\n");
    assert_eq!(parse_last_pid(text.as_bytes()), Some(pid));
}

fn plain_births(text: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"processes ";
    let named = |at: &usize| text[*at..].starts_with(NAME) && (*at == 0 || text[at - 1] == b'\n');
    let at = (0..text.len()).find(named)? + NAME.len();
    let digits: Vec<u8> = text[at..]
        .iter()
        .copied()
        .take_while(|byte| *byte != b'\n')
        .collect();
    let births = plain::number(&String::from_utf8(digits).ok()?)?;
    (births > 0).then_some(births)
}

fn written_births(mut source: Source<'_>) {
    let processors: String = (0..source.byte() % 9)
        .map(|n| format!("cpu{n} {} {}\n", source.u32(), source.u32()))
        .collect();
    let interrupts: String = (0..source.byte()).map(|n| format!(" {n}")).collect();
    let births = u64::from(source.u32());
    let text =
        format!("{processors}intr{interrupts}\nctxt 9\nprocesses {births}\nprocs_running 2\n");
    let told = (births > 0).then_some(births);
    assert_eq!(parse_births(text.as_bytes()), told);
}

fn boot_id(data: &[u8]) {
    if let Some(id) = parse_boot_id(data) {
        let digits: Vec<u8> = data
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .collect();
        assert_eq!(digits, format!("{id:032x}").as_bytes());
    }
    let mut source = Source::new(data);
    let id = u128::from(source.u64()) << 64 | u128::from(source.u64());
    let digits = format!("{id:032x}");
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    let text = parts.join("-") + "\n";
    assert_eq!(parse_boot_id(text.as_bytes()), Some(id));
    let cut = usize::from(source.byte()) % 36;
    assert_eq!(parse_boot_id(&text.as_bytes()[..cut]), None);
}

/// The directories of processes have digits alone, all others something else.
fn directory_name(data: &[u8]) {
    if let Some(pid) = pid_of(data) {
        assert!(data.iter().all(u8::is_ascii_digit));
        let text = String::from_utf8_lossy(data).into_owned();
        assert_eq!(plain::pid(&text), Some(pid));
    }
    let pid = Source::new(data).u32();
    assert_eq!(pid_of(pid.to_string().as_bytes()), Some(pid));
}

//! What the system says of its processes, so that an example need not believe the library: `/proc` where it is as on Linux,
//! and `ps` elsewhere.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// A process, as the system shows it to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    #[allow(dead_code, reason = "not every example asks for it")]
    pub(crate) parent: u32,
    /// Dead, and not reaped.
    pub(crate) is_zombie: bool,
    /// Program and arguments, with blanks between them.
    pub(crate) command: String,
}

/// All processes of the machine, this one among them.
pub(crate) fn processes() -> io::Result<Vec<Seen>> {
    if Path::new("/proc/self/stat").exists() {
        from_proc()
    } else {
        from_ps()
    }
}

fn from_proc() -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Unreadable means gone since the listing.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&arguments).replace('\0', " ");
        all.extend(parse_stat(&stat, command.trim_end().to_owned()));
    }
    Ok(all)
}

/// `PID (NAME) STATE PARENT ...`, and the name can have anything in it.
fn parse_stat(stat: &str, command: String) -> Option<Seen> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some(Seen {
        pid: pid.parse().ok()?,
        is_zombie: fields.next()? == "Z",
        parent: fields.next()?.parse().ok()?,
        command,
    })
}

fn from_ps() -> io::Result<Vec<Seen>> {
    let ps = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "stat="])
        .args(["-o", "args="])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let itself = ps.id();
    let output = ps.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let all = text.lines().filter_map(parse_line);
    Ok(all.filter(|seen| seen.pid != itself).collect())
}

fn parse_line(line: &str) -> Option<Seen> {
    let mut fields = line.split_whitespace();
    Some(Seen {
        pid: fields.next()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        is_zombie: fields.next()?.starts_with('Z'),
        command: fields.collect::<Vec<_>>().join(" "),
    })
}

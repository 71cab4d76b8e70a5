//! Once over all processes: by a sweep, by reading what a sweep needs and nothing else, and by what else there is.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use procession::{OrphanRule, Registry};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::{Sample, unknown};
use crate::{Outcome, clock};

/// Goes over all processes, and says how many it has seen.
type Look = Box<dyn FnMut() -> Outcome<u64>>;

/// There are at least so many processes.
pub(super) fn find(name: &str, processes: usize) -> Outcome<Sample> {
    let mut look = look(name)?;
    let least = processes as u64;
    Ok(Box::new(move || {
        let start = clock();
        let seen = look()?;
        let took = clock() - start;
        if seen < least {
            return Err(format!("it has seen {seen} of {least}").into());
        }
        Ok(vec![took, 0])
    }))
}

fn look(name: &str) -> Outcome<Look> {
    match name {
        "read-stat" => Ok(reading(&["stat"], false)),
        "read-all" => Ok(reading(&["cmdline", "environ", "status", "stat"], true)),
        "procession-reparented" => {
            let registry = Registry::new()?;
            let rule = OrphanRule::reparented().and(OrphanRule::matching("nobody", |_| false));
            Ok(Box::new(move || {
                Ok(registry.sweep(&rule)?.looked_at() as u64)
            }))
        }
        "procession-all" => {
            let registry = Registry::new()?;
            let seen = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&seen);
            let rule = OrphanRule::matching("nobody", move |process| {
                counted.fetch_add(1, Ordering::Relaxed);
                process
                    .args()
                    .iter()
                    .any(|arg| arg == "what nobody is called")
            });
            Ok(Box::new(move || {
                seen.store(0, Ordering::Relaxed);
                let report = registry.sweep(&rule)?;
                assert_eq!(report.found(), 0);
                Ok(seen.load(Ordering::Relaxed))
            }))
        }
        "ps" => Ok(Box::new(ps)),
        "psutil" => {
            let mut psutil = Psutil::start()?;
            Ok(Box::new(move || psutil.look()))
        }
        "sysinfo" => Ok(Box::new(sysinfo_look())),
        _ => Err(unknown(name)),
    }
}

/// The files of each process, one after the other, into one buffer.
fn reading(files: &'static [&'static str], exe: bool) -> Look {
    let mut buffer = vec![0; 8 << 20];
    Box::new(move || {
        let mut seen = 0;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            for file in files {
                // It may be gone, or not ours to read.
                if let Ok(mut file) = File::open(format!("/proc/{pid}/{file}")) {
                    while file.read(&mut buffer).is_ok_and(|read| read > 0) {}
                }
            }
            if exe {
                std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            }
            seen += 1;
        }
        Ok(seen)
    })
}

fn ps() -> Outcome<u64> {
    let output = Command::new("ps")
        .args(["-ww", "-e", "-o", "pid,ppid,user,etime,args"])
        .stdin(Stdio::null())
        .output()?;
    let lines = output.stdout.split(|&byte| byte == b'\n').count();
    Ok(lines as u64)
}

/// Python's psutil, asked for the same. The interpreter is there already: its start is not what is measured.
struct Psutil {
    python: Child,
    /// Until it is dropped with its python.
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

const PSUTIL: &str = "\
import psutil, sys
wanted = ['ppid', 'cmdline', 'environ', 'exe', 'uids', 'create_time', 'status']
for _ in sys.stdin:
    print(sum(1 for _ in psutil.process_iter(wanted)), flush=True)
";

/// Whether there is a python with it here, or why not.
pub fn find_psutil() -> Result<(), String> {
    let found = Command::new("python3")
        .args(["-c", "import psutil"])
        .stdin(Stdio::null())
        .output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        Ok(_) => Err("python3 has no psutil".to_owned()),
        Err(error) => Err(format!("there is no python3: {error}")),
    }
}

impl Psutil {
    fn start() -> Outcome<Self> {
        let mut python = Command::new("python3")
            .args(["-c", PSUTIL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = python.stdin.take();
        let answers = python.stdout.take().ok_or("its output is a pipe")?;
        Ok(Self {
            python,
            ask,
            answers: BufReader::new(answers),
        })
    }

    fn look(&mut self) -> Outcome<u64> {
        let ask = self.ask.as_mut().ok_or("its input is a pipe")?;
        ask.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }
}

impl Drop for Psutil {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.ask.take());
        self.python.wait().ok();
    }
}

fn sysinfo_look() -> impl FnMut() -> Outcome<u64> {
    || {
        let mut system = System::new();
        let what = ProcessRefreshKind::nothing()
            .with_cmd(UpdateKind::Always)
            .with_environ(UpdateKind::Always)
            .with_exe(UpdateKind::Always)
            .with_user(UpdateKind::Always)
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        Ok(system.processes().len() as u64)
    }
}

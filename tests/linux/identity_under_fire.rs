//! A process of a session is gone, reaped by us or by somebody else, and a stranger has its number: between its exit and its
//! reap, its reap and the look at it, the look and the signal. Whatever the registry does at that moment, the stranger is not
//! signalled. It is stopped before that, so that SIGCONT would show as well.
//!
//! In a pid namespace of its own, where nobody else takes the numbers, and with a host that is its first process.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::thread;

use procession::{Registry, Signal, StopPolicy};
use rustix::process::{Pid, Signal as Raw, WaitOptions, kill_process, waitpid};

use crate::support::{Lines, Works, eventually, is_our_child, ms, pipe, registry, role_of, say, test};

pub(crate) fn main() -> ExitCode {
    crate::support::main(
        &[test!(a_stranger_on_a_reused_number_is_never_signalled)
            .looks_at_others()
            .needs_root()
            .needs_program("unshare")],
        &[role_of!(arena)],
    )
}

/// Each way of reuse so often; all of it is ten thousand rounds.
fn rounds() -> u64 {
    let said = std::env::var("PROCESSION_IDENTITY_ROUNDS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

fn a_stranger_on_a_reused_number_is_never_signalled() {
    let (output, writer) = pipe();
    let mut arena = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().expect("an executable has a path"))
        .arg("role:arena")
        .arg(rounds().to_string())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .expect("unshare is there");
    let mut lines = Lines::new(output);
    lines.expect("over");
    let met: u64 = lines.line().parse().expect("a count");
    assert!(arena.wait().expect("our child").success());
    assert!(met * 2 > rounds(), "only {met} numbers could be had");
}

/// The first process of its pid namespace: what is orphaned in there comes to it.
fn arena() {
    let rounds: u64 = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .expect("a count");
    let registry = registry();
    let mut met = 0;
    for round in 0..rounds {
        let stranger = match round % 5 {
            0 => after_the_reap(&registry),
            1 => stolen_while_it_is_ended(&registry, round),
            2 => of_a_leader_whose_group_is_left(&registry),
            3 => of_a_descendant_while_it_is_looked_for(&registry),
            _ => of_an_attached_one_while_it_is_stopped(&registry),
        };
        if let Some(stranger) = stranger {
            stranger.assert_untouched(round);
            met += 1;
        }
        bury_orphans();
    }
    drop(registry);
    say("over");
    say(met.to_string());
}

/// It has nothing to do with any registry, and leads a group.
struct Stranger(Child);

impl Stranger {
    /// One with this number, as soon as that is free.
    fn at(number: u32) -> Option<Self> {
        for _ in 0..100 {
            let before = (number - 1).to_string();
            std::fs::write("/proc/sys/kernel/ns_last_pid", before).expect("root may choose pids");
            let mut child = sleeper().process_group(0).spawn().expect("a sleeper");
            if child.id() == number {
                let pid = pid_of(number);
                kill_process(pid, Raw::STOP).expect("our child");
                waitpid(Some(pid), WaitOptions::UNTRACED).expect("our child");
                return Some(Self(child));
            }
            end(&mut child);
        }
        None
    }

    fn assert_untouched(mut self, round: u64) {
        let pid = pid_of(self.0.id());
        let options = WaitOptions::NOHANG | WaitOptions::CONTINUED | WaitOptions::UNTRACED;
        let changed = waitpid(Some(pid), options).expect("our child");
        assert!(changed.is_none(), "round {round}: it was signalled: {changed:?}");
        end(&mut self.0);
    }
}

fn sleeper() -> Command {
    let mut command = Command::new("/bin/sleep");
    command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn end(child: &mut Child) {
    child.kill().expect("our child");
    child.wait().expect("our child");
}

fn pid_of(number: u32) -> Pid {
    let raw = i32::try_from(number).expect("a pid");
    Pid::from_raw(raw).expect("a pid")
}

/// What has come to us and is dead. The registry's own are none of these.
fn bury_orphans() {
    for number in crate::support::children() {
        let pid = pid_of(number);
        let _or_gone = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Exited, told and reaped. Then everything that a host can do.
fn after_the_reap(registry: &Registry) -> Option<Stranger> {
    let gone = registry.spawn(1, Command::new("/bin/true").stdin(Stdio::null())).works();
    gone.wait().works();
    eventually("it is reaped", || !is_our_child(gone.pid()));
    let stranger = Stranger::at(gone.pid())?;
    gone.signal(Signal::KILL).expect_err("it is gone");
    gone.kill().expect_err("it is gone");
    drop(gone.stop(&StopPolicy::immediate()));
    drop(registry.signal_session(1, Signal::KILL));
    drop(registry.end_session_with(1, &StopPolicy::immediate()).works());
    Some(stranger)
}

/// Killed, reaped by somebody else, and replaced while its session is being ended.
fn stolen_while_it_is_ended(registry: &Registry, round: u64) -> Option<Stranger> {
    let stolen = registry.spawn(1, &mut sleeper()).works();
    let number = stolen.pid();
    let policy = if round % 2 == 0 {
        StopPolicy::immediate()
    } else {
        StopPolicy::new().signal(Signal::TERM, ms(2)).kill()
    };
    both(
        || {
            // Nobody but this thread gives the number out again.
            let _or_gone = kill_process(pid_of(number), Raw::KILL);
            let _or_gone = waitpid(Some(pid_of(number)), WaitOptions::empty());
            Stranger::at(number)
        },
        || drop(registry.end_session_with(1, &policy).works()),
    )
}

/// A leader has exited, and the last of its group goes: the group's number is free as well.
fn of_a_leader_whose_group_is_left(registry: &Registry) -> Option<Stranger> {
    let (output, writer) = pipe();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep 1000 >/dev/null & echo $!"]);
    let leader = registry.spawn(1, shell.stdin(Stdio::null()).stdout(writer)).works();
    drop(shell);
    let left = number_from(output);
    leader.wait().works();
    let number = leader.pid();
    both(
        || {
            let _or_gone = kill_process(pid_of(left), Raw::KILL);
            let _or_gone = waitpid(Some(pid_of(left)), WaitOptions::empty());
            Stranger::at(number)
        },
        || {
            let policy = StopPolicy::new().signal(Signal::TERM, ms(1)).kill();
            drop(registry.end_session_with(1, &policy).works());
        },
    )
}

/// A descendant that has left the group dies and is reaped while passes look for it.
fn of_a_descendant_while_it_is_looked_for(registry: &Registry) -> Option<Stranger> {
    let (output, writer) = pipe();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "setsid sleep 1000 >/dev/null & echo $!; exec >/dev/null; wait"]);
    registry.spawn(1, shell.stdin(Stdio::null()).stdout(writer)).works();
    drop(shell);
    let number = number_from(output);
    both(
        || {
            let _or_gone = kill_process(pid_of(number), Raw::KILL);
            Stranger::at(number)
        },
        || drop(registry.end_session_with(1, &StopPolicy::immediate()).works()),
    )
}

/// A process that is not the registry's is taken away by its parent while it is stopped.
fn of_an_attached_one_while_it_is_stopped(registry: &Registry) -> Option<Stranger> {
    let mut child = sleeper().spawn().expect("a sleeper");
    let number = child.id();
    let attached = registry.attach(1, number, |_| true).works();
    let stranger = both(
        || {
            end(&mut child);
            Stranger::at(number)
        },
        || {
            let policy = StopPolicy::new().signal(Signal::TERM, ms(1)).kill();
            drop(attached.stop(&policy));
            drop(attached.signal(Signal::TERM));
        },
    );
    drop(registry.end_session_with(1, &StopPolicy::immediate()).works());
    stranger
}

/// Both at once.
fn both(
    replace: impl FnOnce() -> Option<Stranger> + Send,
    act: impl FnOnce(),
) -> Option<Stranger> {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let replaced = scope.spawn(|| {
            start.wait();
            replace()
        });
        start.wait();
        act();
        replaced.join().expect("it does not panic")
    })
}

fn number_from(output: File) -> u32 {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a pipe");
    line.trim().parse().expect("a pid")
}

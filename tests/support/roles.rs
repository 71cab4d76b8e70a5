//! The programs that all test files start: each breaks somebody's supervisor.

use std::io::{Read as _, Write as _, stderr, stdin, stdout};
use std::process::{Stdio, exit};

use rustix::process::{Signal, getpid, kill_process};

use super::harness::Role;
use super::pipes::{Lines, pipe, role};
use super::platform::world;
use super::{platform, raw};

pub(crate) const ALL: &[Role] = &[
    Role {
        name: "obedient",
        run: obedient,
    },
    Role {
        name: "ignores-term",
        run: ignores_term,
    },
    Role {
        name: "never-finishes-handling-term",
        run: never_finishes_handling_term,
    },
    Role {
        name: "until-eof",
        run: until_eof,
    },
    Role {
        name: "ignores-eof",
        run: ignores_eof,
    },
    Role {
        name: "exits-after-a-line",
        run: exits_after_a_line,
    },
    Role {
        name: "exits",
        run: exits,
    },
    Role {
        name: "stops-itself",
        run: stops_itself,
    },
    Role {
        name: "chatty",
        run: chatty,
    },
    Role {
        name: "leaves-a-child",
        run: leaves_a_child,
    },
    Role {
        name: "keeps-a-child",
        run: keeps_a_child,
    },
    Role {
        name: "holder",
        run: holder,
    },
    Role {
        name: "tracer",
        run: tracer,
    },
    Role {
        name: "vfork-parent",
        run: vfork_parent,
    },
    Role {
        name: "changes-user",
        run: changes_user,
    },
    Role {
        name: "tells-variable",
        run: tells_variable,
    },
    Role {
        name: "tells-descriptors",
        run: tells_descriptors,
    },
    Role {
        name: "tells-status",
        run: tells_status,
    },
];

/// An argument after the role's name.
pub(crate) fn argument(index: usize) -> String {
    std::env::args()
        .nth(2 + index)
        .unwrap_or_else(|| panic!("this role needs argument {index}"))
}

fn number(index: usize) -> i32 {
    argument(index).parse().expect("a number")
}

/// Says a line in one write, so that the lines of many on one pipe do not mix.
pub(crate) fn say(what: impl std::fmt::Display) {
    let line = format!("{what}\n");
    // A reader that has gone is a test that has ended.
    if stdout()
        .write_all(line.as_bytes())
        .and_then(|()| stdout().flush())
        .is_err()
    {
        exit(3);
    }
}

/// Reads standard input to its end.
pub(crate) fn await_end_of_input() {
    let mut rest = Vec::new();
    // An input that cannot be read has ended as far as a role is concerned.
    let _ = stdin().read_to_end(&mut rest);
}

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Does what signals say.
fn obedient() {
    say("ready");
    for_ever();
}

fn ignores_term() {
    raw::ignore_signal(libc::SIGTERM);
    say("ready");
    for_ever();
}

fn never_finishes_handling_term() {
    raw::never_finish_handling(libc::SIGTERM);
    say("ready");
    for_ever();
}

/// Leaves with a code at the end of its input, and for nothing else.
fn until_eof() {
    raw::ignore_signal(libc::SIGTERM);
    say("ready");
    await_end_of_input();
    exit(number(0));
}

/// Reads its input to the end and stays.
fn ignores_eof() {
    say("ready");
    await_end_of_input();
    say("end of input");
    for_ever();
}

fn exits_after_a_line() {
    say("ready");
    let mut line = String::new();
    stdin().read_line(&mut line).expect("a line");
    exit(number(0));
}

fn exits() {
    exit(number(0));
}

/// Stops itself by this signal.
fn stops_itself() {
    let signal = Signal::from_named_raw(number(0)).expect("a signal");
    say("ready");
    kill_process(getpid(), signal).expect("we may stop ourselves");
    for_ever();
}

/// Fills whatever its output is.
fn chatty() {
    say("ready");
    loop {
        say("and another thing");
    }
}

/// Starts a child in its own group that holds its input and output, says the child's pid, and exits.
fn leaves_a_child() {
    let child = start_holder(None);
    say("ready");
    say(child);
    exit(number(0));
}

/// Starts a child in its own group, says its pid, and stays; both ignore SIGTERM. With an argument the child belongs
/// to that user.
fn keeps_a_child() {
    raw::ignore_signal(libc::SIGTERM);
    let child = start_holder(std::env::args().nth(2));
    say("ready");
    say(child);
    for_ever();
}

#[expect(
    clippy::zombie_processes,
    reason = "it outlives the role that starts it, on purpose"
)]
fn start_holder(user: Option<String>) -> u32 {
    let (reader, writer) = pipe();
    let mut command = role("holder");
    command.args(user);
    let holder = command
        .stdin(Stdio::inherit())
        .stderr(writer)
        .spawn()
        .expect("a role can be started");
    drop(command);
    Lines::new(reader).expect("ready");
    holder.id()
}

/// Holds its output until its input ends. Says that it is ready on its standard error: the output is its parent's.
fn holder() {
    raw::ignore_signal(libc::SIGTERM);
    if let Some(user) = std::env::args().nth(2) {
        become_user(&user);
    }
    stderr().write_all(b"ready\n").expect("somebody listens");
    await_end_of_input();
}

/// Traces the process that is its first argument until its own input ends, and never waits for it. The second says
/// whether it holds it as a zombie or before it has exited.
fn tracer() {
    platform::seize(number(0), argument(1) == "before-exit");
    say("ready");
    await_end_of_input();
}

/// Has a child that runs in its memory until the input ends.
fn vfork_parent() {
    raw::ignore_signal(libc::SIGTERM);
    say("ready");
    platform::be_a_vfork_parent();
    for_ever();
}

/// Becomes another user, and leaves at the end of its input.
fn changes_user() {
    raw::ignore_signal(libc::SIGTERM);
    become_user(&argument(0));
    say("ready");
    await_end_of_input();
}

fn become_user(id: &str) {
    platform::become_user(id.parse().expect("a user's number"));
}

/// Says what a variable of its environment holds.
fn tells_variable() {
    say(std::env::var(argument(0)).unwrap_or_else(|_| "not set".to_owned()));
}

fn tells_descriptors() {
    for descriptor in world::descriptors() {
        say(descriptor);
    }
}

/// Says one field of its `/proc/self/status`.
fn tells_status() {
    say(world::status_field("self", &argument(0)).expect("the kernel has this field"));
}

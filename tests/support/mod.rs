//! What every integration test stands on.
//!
//! Each test runs in a process of its own, in a process group of its own, so that it may count descriptors and
//! threads, lower limits, ignore SIGCHLD or lose a signal without a neighbour noticing. That process compares, after
//! the test's body, what it holds with what it held before; the process that started it looks for anything that
//! carries the test's token in its environment, ends it, and fails the test for it.
//!
//! The programs that the tests start are *roles* of the same executable: `role("ignores-term")` is a command that
//! runs it again. A role says by a line on its standard output that it has reached the state that it stands for, so
//! that no test has to guess.
//!
//! What a platform has for its own is in `platform`, the only place of the tests that asks which one this is. A test that comes
//! to need what its platform lacks is skipped then, by name; what is Linux's altogether is in `tests/linux`.
//!
//! # Variables
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PROCESSION_RACE_SECONDS` | how long each race test hunts; 1 |
//! | `PROCESSION_WATCHDOG_SECONDS` | after how long a test is taken for hung, and ended; 60 |
//! | `PROCESSION_TORTURE_SECONDS` | how long the torture takes, at least; 5 |
//! | `PROCESSION_TORTURE_SEED` | what it does, a number; another one each time |
//! | `PROCESSION_CROWD` | how many processes exit at once; 1,000 |
//! | `PROCESSION_OLDER_KERNEL` | what every test is to see: a kernel of `5.4`, `5.14`, `6.9`, `6.13` or `6.15`, a system with `no-cgroup`, |
//! | | one with `hidepid`, or an old `sandbox`; see `platform/older.rs` |
//! | `PROCESSION_FAULT_OCCURRENCES` | how many of a call's first occurrences are failed in turn; 1 |
//! | `PROCESSION_WRITE_FAULTS` | if set, what comes of that is written to the tables of `tests/faults` |
//! | `PROCESSION_SHOW_FAULTS` | if set, what comes of it is said at length |
//! | `PROCESSION_MOVE_CLOCK` | if set, the test that moves the machine's clock runs |

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "no test file uses all of it"
)]

pub(crate) mod adversary;
mod harness;
mod leak;
pub(crate) mod orphans;
mod pipes;
pub(crate) mod platform;
mod programs;
mod raw;
pub(crate) mod reaping;
mod reports;
mod roles;
mod scratch;
pub(crate) mod strangers;
pub(crate) mod tree;
pub(crate) mod victim;
mod wait;

pub(crate) use self::harness::{HIDDEN_TOO, Role, TOKEN, Test, builder, main, settle};
pub(crate) use self::pipes::{Crowd, Lines, controlled, host, pipe, role, sleeper, start};
pub(crate) use self::platform::world::{
    carries_environment, children, descriptors, is_our_child, numbers_in, own_signals, state,
    status_field, switches, thread_named, threads,
};
pub(crate) use self::platform::{
    Pinned, Refusal, anonymous_file, closes_ranges, descent_is_kept, end_lease,
    give_up_the_right_to_kill, have_no_proc, is_dumpable, lease, move_wall_clock, needs_orphans,
    refuse, set_locks, shrink_pipe, take_in_orphans, taker_of_orphans, tests_of_linux,
};
pub(crate) use self::programs::program;
pub(crate) use self::raw::{
    Forked, Interrupting, block_signal, close_inherited, hold_before_exec, ignore_children,
    ignore_signal, inherit_everything, own_session, replace_environment, run_in_fork, set_variable,
    unblock_signal,
};
pub(crate) use self::reports::{
    Works, clean, close, close_with, drain, exits_of, is_exit, member, next_event, only_member,
    registry, rungs, survivor,
};
pub(crate) use self::roles::{argument, await_end_of_input, say};
pub(crate) use self::scratch::Scratch;
pub(crate) use self::wait::{
    LONG_ENOUGH, Rounds, asleep, eventually, holds_within, let_pass, ms, now,
};

/// A test, named like its function.
macro_rules! test {
    ($name:ident) => {
        crate::support::Test::new(stringify!($name), $name)
    };
}
pub(crate) use test;

/// A role of this test file, beside those that all of them share.
macro_rules! role_of {
    ($name:ident) => {
        crate::support::Role {
            name: stringify!($name),
            run: $name,
        }
    };
}
pub(crate) use role_of;

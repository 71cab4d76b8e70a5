//! Start processes from a synchronous program, and never leave one behind.
//!
//! Processes belong to *sessions*. [`Registry::end_session`] blocks until every process of a session is confirmed gone,
//! and its report says how each of them ended and how that is known. Exits and kills arrive on a channel. There is no
//! async runtime: one thread sleeps until the kernel says that a process has exited.
//!
//! ```
//! use std::process::Command;
//! use procession::{EventMask, Registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new()?;
//! let events = registry.subscribe_to(EventMask::EXITED);
//!
//! // Session 7: the number is the host's own, a conversation, a job, a build.
//! let server = registry.spawn(7, Command::new("sleep").arg("60"))?;
//!
//! // SIGTERM, five seconds, SIGKILL; and it does not return before the process is gone.
//! let report = registry.end_session(7)?;
//! println!("{report}");
//! assert!(report.is_clean());
//! assert_eq!(server.wait()?.signal(), Some(procession::Signal::TERM));
//! assert_eq!(events.receiver().recv()?.process(), Some(server.id()));
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! | to | use |
//! | --- | --- |
//! | start, adopt, attach | [`Registry::spawn`], [`Registry::adopt`], [`Registry::attach`] |
//! | launch with a session, limits, descriptors, another user | [`Command`], beside [`std::process::Command`] |
//! | wait for one process | [`Process::wait`], [`Process::wait_timeout`], [`Process::exit_receiver`] |
//! | end one process and its group | [`Process::stop`] |
//! | end a session | [`Registry::end_session`]; [`Registry::begin_end_session`] where one cannot block |
//! | say how to end | [`StopPolicy`], a ladder of close stdin, signals, SIGKILL, confirmation |
//! | hear of everything | [`Registry::subscribe_to`], with `select!` of [`channel`] |
//! | hold one life of a session | [`Registry::open_session`], with a label, a policy and limits of its own; [`Session::end_on_drop`] |
//! | write to a child | [`Process::stdin`], which the ladder can close under its writers |
//! | keep what a child says | [`Process::collect_output`] |
//! | bound what is started | [`Limits`], [`SpawnOptions::slot_timeout`] |
//! | end what nobody needs any more, and orphans | [`Registry::start_reaper`], [`Registry::sweep`] by an [`OrphanRule`] |
//! | hold descendants faster | [`Containment`], by [`Builder::containment_up_to`]; [`Registry::capabilities`] says what there is |
//! | leave a shared daemon alone | [`Builder::spare`] |
//! | look | [`Registry::processes`], [`Registry::sessions`], [`Session::members`], [`Registry::last_report`] |
//! | end what an earlier run left | [`Registry::recover`], best with a [`Builder::ledger`] |
//! | let a process go | [`Process::detach`], [`OnDrop::Detach`] |
//! | end everything | [`Registry::shutdown`], [`Registry::begin_shutdown`] with progress, or drop the last [`Registry`] |
//!
//! The [`guide`] goes through seven hosts, from an MCP client to a daemon with a deadline.
//!
//! # What is promised
//!
//! The page [`guarantees`] names the tests that hold each of these.
//!
//! 1. A process leaves the registry only when the kernel says that it is dead: never because a signal was sent, a time
//!    has passed, or an `errno` looked like it.
//! 2. `end_session` returns a clean report only when no process of the session lives, at the
//!    [strength](Strength) that the report states. What does not die is reported by name and [cause](SurvivalCause),
//!    stays tracked, is killed again by the next end of its number, and its late exit is still delivered.
//! 3. On Linux no signal is sent to a process whose identity is not held at that moment, by its pidfd or by being our own
//!    child that nobody has reaped. A recycled pid is never signalled; nor is pid 1, this process, or its own group.
//! 4. There is exactly one [`Exited`](EventKind::Exited) for each process, also when someone else reaped it, when SIGCHLD is
//!    ignored, or when it died before we looked.
//! 5. Grace is absolute, on the monotonic clock, and one for the whole session. A second caller joins the end; a
//!    stricter one shortens it. What exited within its grace is not escalated, also when we look late.
//! 6. A session that is ending accepts no new process: a spawn that raced the end fails, and its child is ended with the rest.
//! 7. Between two exits the library costs no CPU, but for the deadlines and the reaper's interval that were asked for.
//! 8. Ending what is registered needs no new descriptor and no fork: it works at `EMFILE` and `EAGAIN`. Looking for descendants
//!    does need some; without, their groups are signalled, and the report claims less.
//! 9. A failed spawn leaves nothing: no zombie, no record, no event, no descriptor.
//! 10. Nothing in here installs a signal handler, changes the signal mask of the host's threads for longer than a spawn,
//!     raises a limit, calls `waitpid(-1)`, or reaps a child that it was not given; except under [`Builder::subreaper`], where
//!     the host has handed over all of its children.
//! 11. After the host forks without exec, the copy in the child does nothing.
//! 12. The host's death is covered as far as the kernel allows ([`Command::parent_death_signal`]), and what is left is found by
//!     [`recover`](Registry::recover) in the next run.
//!
//! # What is not
//!
//! * *Descendants are held as fast as their [tier](Containment) holds them*, and each report says how fast that was. Under
//!   [`Group`](Containment::Group), the default, they are found by what they carry: an end signals the group of each process, and
//!   looks through all processes of the machine for what has left it, by a mark in the environment and one in a resource limit
//!   ([`Builder::limit_mark`]), by group and by parent. What is found is ended and confirmed like a registered process, and that
//!   is no proof: [`Observed(MarkAndGroup)`](Means::MarkAndGroup), or [`Observed(Group)`](Means::Group) for what std's `Command` has
//!   started, whose first children can be faster than the second mark. It finds the careless and does not hold the hostile: a
//!   program that leaves its group and its parent, clears its environment and lowers its limit is not found.
//! * *A mark can be put on somebody else.* A program may set the limit mark of its session on another process of its user. What has
//!   that mark alone is left alone, as a [claim](SessionReport::claims), unless it looks like an orphan of the session in all
//!   other ways too: an orphan of pid 1 that is younger than the session cannot be told from a daemon of it, and is ended.
//! * *A proof has conditions.* [`Cgroup`](Containment::Cgroup) proves the end of what [`Command`] has launched as a user who cannot write
//!   to the `cgroup.procs` of the leaf's parent and above, and not of members that run as root, or as the owner of a delegated
//!   cgroup. Somebody outside with more rights who moves a member out is not held. [`Subreaper`](Containment::Subreaper) proves the
//!   end of the last sessions of a host that has no other children.
//! * *Not all have descendants that count.* Under [`Containment::Leader`], for what was attached or adopted, and under `Group` without
//!   [`Builder::marker`], a report claims the registered processes alone: [`Observed(Leader)`](Means::Leader), and
//!   [`SessionReport::covers_descendants`] says no.
//! * What a member asks somebody else to start (a daemon that was there before, `systemd-run`, a container's engine) is no
//!   descendant.
//! * A process in uninterruptible sleep does not die of SIGKILL before it wakes, and one that changed its user may not be
//!   signalled by us: the report names both as [survivors](SessionReport::survivors).
//! * SIGKILL to this program itself leaves its processes as they are. The next run finds them by
//!   [`recover`](Registry::recover): by the mark that names their owner, in the variable `PROCESSION_MARK` and in a resource
//!   limit, and by a [ledger](Builder::ledger) if there is one. What leaves doubt is left alone, and reported: an owner in
//!   another pid namespace, a limit mark that nothing ties to its owner. What has lost every mark, and what was being started
//!   with std's `Command` at that very moment and loses its environment before it is looked for, is not found.
//! * Nobody drains pipes unasked: [`Process::collect_output`] does, or take them and read them, or do not ask for them.
//!
//! # What a host must not do
//!
//! * Wait for a child that it gave away, or call `waitpid(-1)`. It is survived: where the kernel tells (Linux 6.15) the status
//!   is known all the same, elsewhere it is [`Status::Unknown`].
//! * Ignore SIGCHLD, or set `SA_NOCLDWAIT`. It is survived in the same way.
//! * Start children past a registry that has its consent to be a [subreaper](Builder::subreaper): it takes their exits away, and
//!   ends them with its last session.
//! * Ignore signals that children are to heed: what std's `Command` starts inherits that, SIGPIPE aside, and becomes stubborn. What
//!   [`Command`] starts does not.
//!
//! # Platforms
//!
//! Linux 5.4 and newer, with no feature flags; newer kernels add what [`Registry::capabilities`] lists: cgroups that can be killed
//! (5.14), the subreaper tier (6.9), the status of what others reaped (6.15). A process that is held costs one descriptor, and the
//! cgroup of a session six, to be set against the usual soft limit of 1,024.
//!
//! macOS (10.15) and FreeBSD (13.1) have a back end on kqueue. Nothing has been run there yet: it is type-checked on Linux, and what it
//! decides about the kernel's answers is tested and simulated there. Less can be promised: a process that is not a child is checked just
//! before each signal and not pinned ([`Registry::attach`]), there is no limit to hold a mark, no cgroup tier and on macOS no subreaper
//! tier, and [`Command`] refuses what `posix_spawn` cannot do. In return both kernels keep whom a process descends from, macOS by unique
//! ids, FreeBSD under the subreaper tier: who has cleared its environment is found by that; not so on newer kernels of macOS who
//! executes another program after its parent has exited, unless it was seen before. On macOS the environment of the system's own
//! programs (`/bin/sh`, `/bin/sleep`) is shown to nobody: where such a one is all that a killed host has left, only a
//! [ledger](Builder::ledger) finds it. Other platforms do not compile.
//!
//! # Anatomy
//!
//! ```text
//!    Registry, Process, Ending, Subscription      handles: they send requests and read results
//!             |  requests                               ^  answers, events
//!             v                                         |
//!    reactor/   one thread: the only place with a clock, a poll and side effects
//!      |  Input + now            ^ Effect                    |
//!      v                         |                           v
//!    machine/   pure: no clock, no thread, no I/O        sys/   mechanism, no policy     ledger/   what outlives
//!               decides everything                                                                the host
//! ```
//!
//! `machine/` can be read and tested without a process: its tests explore every reachable state of small worlds. `sys/mod.rs` says what
//! a back end has to provide. Spawning happens on the caller's thread (`birth`), against a small table of
//! tokens and slots (`machine/gate.rs`) that only the machine opens and closes. Descendants are looked for on a helper's thread
//! (`reactor/pass/`), which tells the machine what it has met. The ledger (`ledger/`) is a file of records and what they mean together;
//! it is written around a spawn and after an exit, and read by `recovery/`; `sweep/` and `reaper/` see to orphans while the host
//! lives. The library logs under the target `procession`, on a
//! thread of its own.

mod birth;
mod builder;
mod capabilities;
mod collect;
mod command;
mod contain;
mod containment;
mod cradles;
mod earlier;
mod ending;
mod error;
mod event;
mod exit;
mod foster;
mod info;
mod launch;
mod launch_threads;
mod leaves;
mod ledger;
mod limit_mark;
mod limits;
mod machine;
mod mark;
mod orphan_rule;
mod orphans;
mod own_lives;
mod plan;
mod process;
mod reactor;
mod reaper;
mod recovery;
mod registry;
mod report;
mod session;
mod session_handle;
mod session_options;
mod shutdown;
mod signal;
mod spawn_options;
mod stdin;
mod stop;
mod subscription;
mod sweep;
mod sys;
mod system_process;

pub mod guarantees;
pub mod guide;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

/// The README is compiled, and its example run, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// The crossbeam-channel whose `Receiver` this crate hands out, for `procession::channel::select!`.
pub use crossbeam_channel as channel;

pub use self::builder::Builder;
pub use self::capabilities::{Capabilities, Capability};
pub use self::collect::{Collector, Output};
pub use self::command::{Command, Resource, Stdio};
pub use self::containment::Containment;
pub use self::ending::Ending;
pub use self::error::{AdoptError, Error, ErrorKind, Result};
pub use self::event::{Event, EventKind, EventMask, Lagged, Origin, Reason};
pub use self::exit::{Exit, SessionUsage, Status, StatusSource, Usage};
pub use self::info::{ProcessInfo, ProcessState, SessionInfo};
pub use self::launch::Launch;
pub use self::limits::Limits;
pub use self::orphan_rule::OrphanRule;
pub use self::process::Process;
pub use self::reaper::{Reaper, ReaperOptions};
pub use self::recovery::RecoveryPolicy;
pub use self::registry::{OnDrop, Registry, WeakRegistry};
pub use self::report::{
    How, LeftAlone, LeftAloneReason, Means, MemberReport, Orphan, OrphanFate, Proof, ReaperReport,
    RecoveryReport, SessionReport, SkipReason, Strength, SurvivalCause, Survivor, SweepReport,
    Unclean,
};
pub use self::session::{ProcessId, SessionId};
pub use self::session_handle::{Session, SessionGuard};
pub use self::session_options::SessionOptions;
pub use self::shutdown::Shutdown;
pub use self::signal::Signal;
pub use self::spawn_options::SpawnOptions;
pub use self::stdin::Stdin;
pub use self::stop::{Rung, StopPolicy};
pub use self::subscription::Subscription;
pub use self::system_process::SystemProcess;

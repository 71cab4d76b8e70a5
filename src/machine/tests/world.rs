//! A simulated kernel, gate and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::super::engine::Machine;
use super::super::{Answer, Gate, Notice, OpId, Reach, Relation, ReplyId, Settings, Target};
use super::descendants::{FlightSim, Sees};
use crate::limits::Limits;
use crate::session::{Life, ProcessId, SessionId};
use crate::signal::Signal;
use crate::stop::StopPolicy;

/// What a process makes of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Temper {
    /// SIGTERM and SIGKILL make it ready to exit.
    Obedient,
    /// Only SIGKILL does.
    Deaf,
    /// Not even that, until [`Op::Wake`]: it sleeps uninterruptibly.
    Asleep,
    /// It runs as somebody else: EPERM.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    Alive,
    /// It has exited, and its parent has not reaped it.
    Zombie,
    /// Reaped: by us, or by somebody else.
    Gone,
}

/// How the processes of a world are contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    Group,
    Subreaper,
    /// In cgroups that they can leave.
    Cgroup,
    /// In cgroups that they cannot leave.
    Contained,
}

impl Tier {
    pub(super) const ALL: [Self; 4] = [Self::Group, Self::Subreaper, Self::Cgroup, Self::Contained];

    pub(super) fn has_leaves(self) -> bool {
        matches!(self, Self::Cgroup | Self::Contained)
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Group => Reach::Group,
            Self::Subreaper => Reach::Subreaper,
            Self::Cgroup => Reach::Cgroup,
            Self::Contained => Reach::Contained,
        }
    }
}

/// A process as the kernel knows it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Proc {
    pub(super) session: SessionId,
    pub(super) life: Life,
    pub(super) temper: Temper,
    pub(super) body: Body,
    pub(super) relation: Relation,
    /// A tracer keeps it from being waited for.
    pub(super) traced: bool,
    /// Its exit has not been handed to the machine yet.
    pub(super) unseen: bool,
    /// How it ends where the kernel has no pidfds.
    #[cfg(test)]
    pub(super) xnu: Option<crate::sys::simulated::Simulated>,
    pub(super) leads_group: bool,
    /// Somebody else is in its group.
    pub(super) company: bool,
    pub(super) pinned: bool,
    /// Nobody has told the machine of it.
    pub(super) hidden: bool,
    /// It was given up.
    pub(super) detached: bool,
    /// A pass has told the machine of it.
    pub(super) found: bool,
    /// It is in the cgroup of its life.
    pub(super) inside: bool,
    /// What the subscribers have heard of it.
    pub(super) started: u32,
    pub(super) exited: u32,
    /// SIGKILLs in the end that is under way.
    pub(super) kills: u32,
    /// Stops of this process that were asked for; each may kill once more.
    pub(super) stops: u32,
    /// A SIGKILL is allowed from here on; set by whoever asks for an end.
    pub(super) killable: bool,
}

impl Proc {
    /// The machine has it.
    pub(super) fn is_watched(&self) -> bool {
        self.exited == 0 && !self.hidden && !self.detached
    }

    /// It was there before, and belongs to somebody else.
    pub(super) fn is_attached(&self) -> bool {
        self.relation == Relation::Stranger && !self.found && !self.hidden
    }

    /// It has had its last instruction.
    pub(super) fn die(&mut self) {
        self.body = Body::Zombie;
        self.unseen = !self.hidden && !self.detached;
        #[cfg(test)]
        if let Some(xnu) = &mut self.xnu {
            // That is announced later, and after that only it can be waited for.
            xnu.begin_exit();
            self.unseen = false;
        }
    }
}

/// One thing that happens in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A thread takes a token.
    Reserve(u64),
    /// The oldest spawn under way comes back.
    Born(Temper),
    /// The same, of a process that is not ours.
    Attach(Temper),
    /// The oldest spawn under way fails.
    Abort,
    /// The n-th living process exits, and the machine hears of it.
    Exit(usize),
    /// It exits, and the machine hears of it before the next thing that happens.
    ExitUnseen(usize),
    /// Somebody else takes its status away.
    Steal(usize),
    /// A tracer lays hands on the n-th living process.
    Trace(usize),
    /// All tracers let go.
    Untrace,
    /// What sleeps uninterruptibly wakes, and dies of what was sent to it.
    Wake,
    /// Parents that are not us reap their zombies.
    ForeignReap,
    End(u64, usize),
    Stop(usize, usize),
    Signal(usize),
    /// The n-th living process is given up.
    Detach(usize),
    SignalAll(u64),
    Shutdown(usize),
    Harden(usize),
    /// The clock moves to the next deadline.
    Timer,
    /// The clock moves, and nothing is due.
    Pause(u16),
    /// The oldest inspection is answered.
    Inspected(bool),
    /// The n-th living process starts one that nobody is told of.
    Fork(usize),
    /// The n-th living process leaves its cgroup.
    Leave(usize),
    /// The pass that is under way is over.
    Passed(Sees),
    /// The pass that is under way takes long.
    GoesOn,
    /// Somebody joins the group of the n-th living process.
    Join(usize),
    /// The kernel says that there is something to see about the cgroup of the n-th life.
    Populated(usize),
    /// Readiness that says nothing new.
    Ready(usize),
    /// An outcome for nothing that was asked.
    Stray(u64),
}

/// The policies that the operations name.
pub(super) fn policy(n: usize) -> StopPolicy {
    let second = Duration::from_secs(1);
    match n % 4 {
        0 => StopPolicy::immediate().confirm_within(second),
        1 => StopPolicy::new()
            .signal(Signal::TERM, 2 * second)
            .confirm_within(second),
        2 => StopPolicy::new()
            .close_stdin(second)
            .signal(Signal::TERM, second)
            .confirm_within(3 * second),
        _ => StopPolicy::wait_then_kill(Duration::MAX).confirm_within(Duration::MAX),
    }
}

/// The world, and the machine in it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) gate: Gate,
    pub(super) procs: BTreeMap<ProcessId, Proc>,
    pub(super) tier: Tier,
    /// The lives whose cgroups are gone.
    pub(super) removed: BTreeSet<Life>,
    pub(super) now: Instant,
    #[cfg(test)]
    pub(super) born_at: Instant,
    pub(super) spawning: Vec<(ProcessId, Life, SessionId)>,
    pub(super) inspections: Vec<OpId>,
    /// Exits are handed in while the members of a session are signalled.
    pub(super) meanwhile: bool,
    /// Passes are over as soon as they begin: nobody hides in this world.
    pub(super) prompt_passes: bool,
    pub(super) flight: Option<FlightSim>,
    pub(super) answers: BTreeMap<ReplyId, Option<Answer>>,
    /// The earliest SIGKILL that anybody asked for in the end that is under way, by number.
    pub(super) kill_from: BTreeMap<SessionId, Instant>,
    pub(super) stop_from: BTreeMap<ProcessId, Instant>,
    pub(super) notices: Vec<(Instant, Notice)>,
    pub(super) sent: Vec<(Instant, ProcessId, Signal, Target)>,
    pub(super) finished: bool,
    /// An end was asked for while everything was being shut down, which does not wait for it.
    pub(super) too_late: bool,
    pub(super) next_reply: u64,
    /// Which cells of the table of transitions it has come through, if that is wanted.
    #[cfg(test)]
    pub(super) reached: Option<super::transitions::Reached>,
    /// What comes back from the next spawn, where the kernel has no pidfds.
    #[cfg(test)]
    pub(super) next_is: Option<crate::sys::simulated::Simulated>,
}

impl World {
    #[cfg(test)]
    pub(super) fn new(limits: Limits, group_after_reap: bool) -> Self {
        Self::of_tier(limits, group_after_reap, Tier::Group)
    }

    pub(super) fn of_tier(limits: Limits, group_after_reap: bool, tier: Tier) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a first moment; from here on time is virtual"
        )]
        let now = Instant::now();
        let settings = Settings {
            policy: policy(1),
            group_after_reap,
            kept_reports: 4,
            subreaper: tier == Tier::Subreaper,
        };
        Self {
            machine: Machine::new(settings),
            gate: Gate::new(limits),
            procs: BTreeMap::new(),
            tier,
            removed: BTreeSet::new(),
            now,
            #[cfg(test)]
            born_at: now,
            spawning: Vec::new(),
            inspections: Vec::new(),
            meanwhile: false,
            prompt_passes: tier == Tier::Group,
            flight: None,
            answers: BTreeMap::new(),
            kill_from: BTreeMap::new(),
            stop_from: BTreeMap::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            finished: false,
            too_late: false,
            next_reply: 0,
            #[cfg(test)]
            reached: None,
            #[cfg(test)]
            next_is: None,
        }
    }

    /// How much time has gone by.
    #[cfg(test)]
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.born_at
    }

    pub(super) fn alive(&self) -> Vec<ProcessId> {
        let alive =
            |(&process, proc): (&ProcessId, &Proc)| (proc.body == Body::Alive).then_some(process);
        self.procs.iter().filter_map(alive).collect()
    }

    /// One of those that there are handles to: the living first, and then those that have exited.
    pub(super) fn nth_told(&self, n: usize) -> Option<ProcessId> {
        let told = self.procs.iter().filter(|(_, proc)| !proc.hidden);
        let (living, dead): (Vec<_>, Vec<_>) = told.partition(|(_, proc)| proc.body == Body::Alive);
        let told = living.into_iter().chain(dead);
        let told: Vec<ProcessId> = told.map(|(&process, _)| process).collect();
        Some(told[n.checked_rem(told.len())?])
    }

    pub(super) fn nth_alive(&self, n: usize) -> Option<ProcessId> {
        let alive = self.alive();
        if alive.is_empty() {
            None
        } else {
            Some(alive[n % alive.len()])
        }
    }

    pub(super) fn next_reply(&mut self) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.answers.insert(reply, None);
        reply
    }

    pub(super) fn proc(&mut self, process: ProcessId) -> &mut Proc {
        self.procs
            .get_mut(&process)
            .expect("a process of this world")
    }
}

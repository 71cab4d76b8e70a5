//! The search for what the members of a session have started: when to look through the processes of the machine, and
//! what it means that nothing was found.
//!
//! A *pass* goes over all processes once, off the reactor's thread, and serves every end that is under way. What it
//! finds becomes a member, held by a pin of its own. One pass that finds nothing proves little: what forks and exits all
//! the time can be met by none of its steps. So it takes two passes that are *quiet* (nobody was met, alive or freshly
//! dead, and no process vanished between being listed and being looked at), or on a machine that is too busy for that
//! many passes in a row that met nothing that is marked, alive or dead. One is enough if nobody was born meanwhile, and it
//! need not look at anybody if nobody was born since the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Action;
use super::deadlines::Wake;
use super::engine::{Machine, Pending};
use super::hunt::{AT_ONE_MOMENT, Enclosure, Fate, Hunt, Passed, Seen};
use super::ids::OpId;
use super::ladder::Ladder;
use super::life::LifeState;
use super::member::{Member, Reach, Scope, Sight};
use crate::event::Origin;
use crate::exit::SessionUsage;
use crate::report::{SurvivalCause, Survivor};
use crate::session::{Life, ProcessId};

/// How long the first rung of an end waits to hear who is there at all.
pub(super) const SURVEY_PATIENCE: Duration = Duration::from_millis(250);
/// How much longer than its policy says an end looks for what it has not seen, when nobody that it knows of lives.
pub(super) const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// After this without a sign of life a pass is not waited for: something below `/proc` hangs.
const PASS_PATIENCE: Duration = Duration::from_secs(2);
/// So many passes without anything marked stand for two quiet ones.
const UNMARKED_PASSES: u8 = 16;
/// So many passes in a row that could not be made are the last.
const FAILED_PASSES: u8 = 3;
/// The pause after a pass that was not quiet doubles up to this, ...
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// ... or this, once SIGKILL has been sent.
const LONGEST_PAUSE_OF_A_KILL: Duration = Duration::from_millis(10);
/// So many passes in a row that find a cgroup empty, and cannot remove it, are enough.
const EMPTY_PASSES: u8 = 3;
/// So often it is looked again whether a subreaper has no child left, when all else is quiet: who is dead may not be
/// taken away yet.
const PROOF_TRIES: u8 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The search within one end.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The first pass is over, or was waited for in vain.
    pub(super) surveyed: bool,
    /// Until when the first rung waits for it.
    pub(super) survey_until: Option<Instant>,
    /// The policy's time is over, and nobody is known to live: until when it is looked on.
    pub(super) last_until: Option<Instant>,
    quiet: u8,
    unmarked: u8,
    failed: u8,
    pause: Duration,
    /// Alive, and not ours to end.
    pub(super) claims: Vec<Survivor>,
    /// Who was found last.
    pub(super) latest: Option<(ProcessId, u32, Arc<[OsString]>)>,
    /// Where it is looked.
    pub(super) scope: Scope,
    enclosure: Option<Enclosure>,
    /// Passes in a row that found the cgroup empty and could not remove it.
    empty: u8,
    /// This program has no child, and so no descendant.
    pub(super) childless: bool,
    /// Somebody whom no mark names has come to this program as an orphan.
    pub(super) unattributed: bool,
    /// That there is no child would prove it: it is waited a little for what is dead to be taken away.
    wants_proof: bool,
    proof_tries: u8,
    /// What was used in the cgroup.
    pub(super) usage: Option<SessionUsage>,
}

/// What is established about the inside of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Unknown,
    Empty,
    Removed,
}

/// What a search has established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Established {
    /// Somebody may be there.
    Nothing,
    /// Nobody is there.
    Gone,
    /// It cannot be looked.
    Blind,
}

/// A soft rung is not skipped for the sake of knowing who is there: of the time until SIGKILL a quarter is given to that.
fn survey_patience(ladder: &Ladder, now: Instant) -> Duration {
    match ladder.grace(now) {
        Some(grace) if !grace.is_zero() => SURVEY_PATIENCE.min(grace / 4),
        Some(_) | None => SURVEY_PATIENCE,
    }
}

impl Search {
    pub(super) fn new(scope: Scope, ladder: &Ladder, now: Instant) -> Self {
        Self {
            surveyed: false,
            survey_until: now.checked_add(survey_patience(ladder, now)),
            ..Self::without_survey(scope)
        }
    }

    /// The rungs that are taken already were taken without it.
    pub(super) fn without_survey(scope: Scope) -> Self {
        Self {
            surveyed: true,
            survey_until: None,
            last_until: None,
            quiet: 0,
            unmarked: 0,
            failed: 0,
            pause: FIRST_PAUSE,
            claims: Vec::new(),
            latest: None,
            scope,
            enclosure: None,
            empty: 0,
            childless: false,
            unattributed: false,
            wants_proof: false,
            proof_tries: 0,
            usage: None,
        }
    }

    /// Both taken together: outside as well as inside of a cgroup.
    pub(super) fn established(&self) -> Established {
        if self.childless {
            return Established::Gone;
        }
        let inside = match self.inside() {
            Inside::Empty | Inside::Removed => Established::Gone,
            Inside::Unknown if !self.scope.enclosed => Established::Gone,
            Inside::Unknown if self.failed >= FAILED_PASSES => Established::Blind,
            Inside::Unknown => Established::Nothing,
        };
        match (self.around(), inside) {
            (Established::Nothing, _) | (_, Established::Nothing) => Established::Nothing,
            (Established::Blind, _) | (_, Established::Blind) => Established::Blind,
            (Established::Gone, Established::Gone) => Established::Gone,
        }
    }

    pub(super) fn inside(&self) -> Inside {
        match self.enclosure {
            Some(Enclosure::Removed) => Inside::Removed,
            Some(Enclosure::Empty) if self.empty >= EMPTY_PASSES => Inside::Empty,
            Some(Enclosure::Empty | Enclosure::Populated) | None => Inside::Unknown,
        }
    }

    pub(super) fn around(&self) -> Established {
        if !self.scope.everywhere {
            return Established::Gone;
        }
        let waits = self.wants_proof && self.proof_tries < PROOF_TRIES;
        if waits && self.failed < FAILED_PASSES {
            Established::Nothing
        } else if self.quiet >= AT_ONE_MOMENT || self.unmarked >= UNMARKED_PASSES {
            Established::Gone
        } else if self.failed >= FAILED_PASSES {
            Established::Blind
        } else {
            Established::Nothing
        }
    }

    /// Takes in what a pass has seen of this life. `counts`: nobody of it was on its way when it began. Says how long the
    /// next one has to wait.
    fn take(&mut self, seen: &Seen, pass: &Passed, counts: bool, killing: bool) -> Duration {
        self.surveyed = true;
        self.take_enclosure(seen);
        self.childless |= pass.childless;
        self.unattributed = seen.unattributed;
        if pass.fate != Fate::Complete {
            self.quiet = 0;
            self.unmarked = 0;
            self.failed = self
                .failed
                .saturating_add(u8::from(pass.fate == Fate::Refused));
            return self.next_pause(killing);
        }
        self.failed = 0;
        let rounds = if counts {
            pass.rounds.saturating_sub(seen.inhabited)
        } else {
            0
        };
        let calm = pass.calm && !seen.living && !seen.freshly_dead;
        self.quiet = if calm {
            self.quiet.saturating_add(rounds)
        } else {
            0
        };
        let unmarked = !seen.living && !seen.marked;
        self.unmarked = if unmarked {
            self.unmarked.saturating_add(rounds)
        } else {
            0
        };
        self.claims.clone_from(&seen.claims);
        let waits = self.wants_proof && self.quiet >= AT_ONE_MOMENT && !self.childless;
        self.proof_tries = self.proof_tries.saturating_add(u8::from(waits));
        if calm && !waits {
            Duration::ZERO
        } else if pass.calm && !seen.living && !waits {
            // They have died since the last look, and that is all: it is not waited for more.
            FIRST_PAUSE
        } else {
            self.next_pause(killing)
        }
    }

    fn take_enclosure(&mut self, seen: &Seen) {
        let Some(enclosure) = seen.enclosure else {
            return;
        };
        self.enclosure = Some(enclosure);
        self.empty = match enclosure {
            Enclosure::Empty => self.empty.saturating_add(1),
            Enclosure::Populated | Enclosure::Removed => 0,
        };
        self.usage = seen.usage.or(self.usage);
    }

    fn next_pause(&mut self, killing: bool) -> Duration {
        let longest = if killing {
            LONGEST_PAUSE_OF_A_KILL
        } else {
            LONGEST_PAUSE
        };
        let pause = self.pause.min(longest);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }
}

/// The pass that is under way, and the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passes {
    flight: Option<Flight>,
    /// Who wants one, and from when on.
    wanted: BTreeMap<Life, Instant>,
}

#[derive(Clone, Debug)]
struct Flight {
    op: OpId,
    /// The lives that it serves, and whether nobody of them was on its way when it began.
    lives: BTreeMap<Life, bool>,
    /// No other session is there.
    alone: bool,
    /// Those for which it is out of date already.
    stale: BTreeSet<Life>,
    late_at: Option<Instant>,
}

impl Passes {
    /// When [`Wake::Pass`] is to come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.flight {
            Some(flight) => flight.late_at,
            None => self.wanted.values().min().copied(),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn nobody_wants_one(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl Machine {
    /// Asks for a pass, unless one is under way for this life or has its time.
    pub(super) fn ensure_pass(&mut self, life: Life, now: Instant) {
        let flight = self.passes.flight.as_ref();
        if flight.is_some_and(|flight| flight.lives.contains_key(&life)) {
            return;
        }
        self.passes.wanted.entry(life).or_insert(now);
        self.start_pass(now);
    }

    /// Something has happened to this life that the pass under way does not know of: there is another one at once.
    pub(super) fn renew_pass(&mut self, life: Life, now: Instant) {
        match &mut self.passes.flight {
            Some(flight) if flight.lives.contains_key(&life) => {
                flight.stale.insert(life);
            }
            Some(_) | None => {
                self.passes.wanted.insert(life, now);
                self.start_pass(now);
            }
        }
    }

    /// The last that was known has gone: the next pass need not wait its time.
    pub(super) fn hasten_pass(&mut self, life: Life, now: Instant) {
        if let Some(at) = self.passes.wanted.get_mut(&life) {
            *at = now.min(*at);
            self.start_pass(now);
        }
    }

    /// The cgroup of a life is empty now, or is so no longer.
    pub(super) fn populated(&mut self, life: Life, now: Instant) {
        let has = |(&candidate, state): (&Life, &LifeState)| {
            let open = state
                .end
                .as_ref()
                .is_some_and(|end| end.established() == Established::Nothing);
            let its = candidate == life || state.taken_over.contains(&life);
            (open && its).then_some(candidate)
        };
        if let Some(life) = self.lives.iter().find_map(has) {
            self.renew_pass(life, now);
        }
    }

    /// Somebody has turned up: what was seen before of its life says nothing any more.
    pub(super) fn reopen_search(&mut self, process: ProcessId) {
        let Some(member) = self.members.get(&process) else {
            return;
        };
        let state = self.lives.get_mut(&member.life);
        let end = state.and_then(|state| state.end.as_mut());
        if let Some(search) = end.and_then(|end| end.search.as_mut()) {
            let command_line = Arc::clone(&member.facts.command_line);
            search.latest = Some((process, member.facts.pid, command_line));
            search.quiet = 0;
            search.unmarked = 0;
            search.enclosure = None;
            search.childless = false;
            search.proof_tries = 0;
        }
    }

    /// Nothing more is to be known about this life.
    pub(super) fn forget_passes(&mut self, life: Life) {
        self.passes.wanted.remove(&life);
        self.set_pass_deadline();
    }

    fn set_pass_deadline(&mut self) {
        let at = self.passes.deadline();
        self.deadlines.set(Wake::Pass, at);
    }

    /// Begins the next pass, if one is due and none is under way.
    fn start_pass(&mut self, now: Instant) {
        let due = self.passes.wanted.values().any(|&at| at <= now);
        if self.passes.flight.is_some() || !due {
            self.set_pass_deadline();
            return;
        }
        self.passes.wanted.clear();
        let mut lives = BTreeMap::new();
        let mut hunts = Vec::new();
        for (&life, state) in &self.lives {
            if state.end.as_ref().is_some_and(|end| end.search.is_some()) {
                lives.insert(life, state.tokens.is_empty());
                hunts.push(self.hunt(life, state));
            }
        }
        if hunts.is_empty() {
            self.set_pass_deadline();
            return;
        }
        hunts.sort_by_key(|hunt| hunt.life);
        let others = |(life, state): (&Life, &LifeState)| {
            !lives.contains_key(life) && !state.lingers && !state.is_empty()
        };
        let alone = !self.leaves_strays && !self.lives.iter().any(others);
        hunts.iter_mut().for_each(|hunt| hunt.alone = alone);
        let op = self.ask(Action::Pass { hunts }, Pending::Pass);
        self.passes.flight = Some(Flight {
            op,
            lives,
            alone,
            stale: BTreeSet::new(),
            late_at: now.checked_add(PASS_PATIENCE),
        });
        self.set_pass_deadline();
    }

    /// What is to be searched for on behalf of this life.
    fn hunt(&self, life: Life, state: &LifeState) -> Hunt {
        let members: Vec<(ProcessId, &Member)> = state
            .members
            .iter()
            .filter_map(|&process| Some((process, self.members.get(&process)?)))
            .collect();
        let led = members
            .iter()
            .filter(|(_, member)| member.facts.leads_group);
        let gone = state.remnants.iter().map(|remnant| remnant.leader);
        let parents = members.iter().filter(|(_, member)| member.is_searched());
        let end = state.end.as_ref();
        Hunt {
            life,
            session: state.session,
            marks: std::iter::once(life)
                .chain(state.taken_over.iter().copied())
                .collect(),
            earlier: state.earlier.clone(),
            since: state.since.unwrap_or(0),
            marked_late: state.reach != Some(Reach::MarkAndGroup),
            survey: end
                .and_then(|end| end.search.as_ref())
                .is_none_or(|search| !search.surveyed),
            scope: state.scope,
            reach: state.reach.unwrap_or(Reach::Leader),
            ending: end.is_some(),
            alone: false,
            kill: end
                .filter(|end| end.ladder.is_killing())
                .map(|end| end.reason),
            leaders: led.map(|&(process, _)| process).chain(gone).collect(),
            parents: parents.map(|&(process, _)| process).collect(),
            members: members.iter().map(|&(process, _)| process).collect(),
        }
    }

    /// The same for somebody who only wants to see: nothing is killed.
    pub(crate) fn look_around(&self, life: Life) -> Option<Hunt> {
        let state = self
            .lives
            .get(&life)
            .filter(|state| !state.lingers && state.is_searched())?;
        Some(Hunt {
            kill: None,
            ..self.hunt(life, state)
        })
    }

    /// Whether a process of this life is known that has not been seen dead, or is on its way.
    pub(super) fn anybody_lives(&self, state: &LifeState) -> bool {
        let lives = |process: &ProcessId| {
            self.members
                .get(process)
                .is_some_and(|member| !member.is_found_dead())
        };
        !state.tokens.is_empty() || state.members.iter().any(lives)
    }

    /// A pass is over.
    pub(super) fn passed(&mut self, passed: &Passed, now: Instant) {
        let Some(flight) = self.passes.flight.take() else {
            return;
        };
        let nothing = Seen::default();
        for (&life, &counts) in &flight.lives {
            let Some(state) = self.lives.get(&life) else {
                continue;
            };
            let anybody = self.anybody_lives(state);
            let proves = self.settings.subreaper && state.reach >= Some(Reach::Subreaper);
            let Some(end) = self
                .lives
                .get_mut(&life)
                .and_then(|state| state.end.as_mut())
            else {
                continue;
            };
            let killing = end.ladder.is_killing();
            let Some(search) = &mut end.search else {
                continue;
            };
            let seen = passed.seen.get(&life).unwrap_or(&nothing);
            search.wants_proof = flight.alone && proves;
            let pause = search.take(seen, passed, counts, killing);
            let open = search.established() == Established::Nothing;
            // Whoever lives and is known ends the pause by exiting. After SIGKILL it is looked for what escapes it.
            if open && flight.stale.contains(&life) {
                self.passes.wanted.insert(life, now);
            } else if open && (!anybody || (killing && seen.living)) {
                let at = now.checked_add(pause).unwrap_or(now);
                self.passes.wanted.insert(life, at);
            }
        }
        for life in flight.lives.into_keys() {
            self.advance_end(life, now);
        }
        self.start_pass(now);
    }

    /// There is much to look at, or little time on a busy machine: it is not late before it falls silent.
    pub(super) fn pass_goes_on(&mut self, op: OpId, now: Instant) {
        let flight = self.passes.flight.as_mut();
        if let Some(flight) = flight.filter(|flight| flight.op == op) {
            flight.late_at = now.checked_add(PASS_PATIENCE);
            self.set_pass_deadline();
        }
    }

    /// The next pass is due, or the one that is under way late.
    pub(super) fn pass_due(&mut self, now: Instant) {
        let late = self
            .passes
            .flight
            .as_ref()
            .filter(|flight| flight.late_at.is_some_and(|at| at <= now));
        let Some(flight) = late else {
            self.start_pass(now);
            return;
        };
        let op = flight.op;
        self.forget_op(op);
        self.act(Action::AbandonPass);
        self.passed(&Passed::default(), now);
    }
}

impl Member {
    /// Dead, found by a search or left by an earlier run: nobody has to wait for what its parent does about it.
    pub(super) fn is_found_dead(&self) -> bool {
        self.sight == Sight::Dead && matches!(self.facts.origin, Origin::Found | Origin::Recovered)
    }
}

/// What stands in a report for those that were never still enough to be held.
pub(super) fn still_forking(search: &Search) -> Survivor {
    let (process, pid, command_line) = match &search.latest {
        Some((process, pid, command_line)) => (*process, *pid, command_line.to_vec()),
        None => (ProcessId(0), 0, Vec::new()),
    };
    Survivor {
        process,
        pid,
        command_line,
        cause: SurvivalCause::StillForking,
    }
}

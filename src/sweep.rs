//! A sweep: goes over all processes for those that a rule takes for orphans, and ends them.
//!
//! One thread [scans](scan) and the caller's looks on: it collects what was found, ends it, and leaves a thread behind
//! that hangs. What is to be ended is held by its pidfd from before it was read, is taken into a session of its own as a
//! stranger, and is ended there as everything is: the same ladder, the same confirmation, the same report.

mod owner;
mod scan;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::owner::Owners;
use self::scan::{Finding, Progress, Scan, Scanner, Stage};
use crate::birth;
use crate::containment::Containment;
use crate::earlier::Inheritance;
use crate::ending::Ending;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventKind, Reason};
use crate::foster::Foster;
use crate::machine::Whom;
use crate::orphan_rule::OrphanRule;
use crate::reactor::{self, Message, Shared};
use crate::report::{
    How, LeftAlone, LeftAloneReason, MemberReport, Orphan, OrphanFate, SessionReport, SweepParts,
    SweepReport,
};
use crate::session::{Life, SessionId};
use crate::session_options::SessionOptions;
use crate::stop::StopPolicy;
use crate::sys::{self, Pin, ProcessTable};
use crate::system_process::SystemProcess;

const OPERATION: &str = "sweep";

/// The label of the session in which orphans are ended.
const LABEL: &str = "sweep";
/// How long one process may take, to be read and to be judged. It is noticed after at most twice that.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many threads are left behind before the rest is not looked at any more.
const LEFT_BEHIND: usize = 3;
/// How many findings wait while others are being ended.
const AHEAD: usize = 16;
/// At least so many are ended at once, as long as there are descriptors.
const AT_ONCE: usize = 64;

/// A sweep that is to be made.
pub(crate) struct Sweep<'a> {
    shared: &'a Arc<Shared>,
    thread_name: &'a str,
    rule: &'a OrphanRule,
    policy: StopPolicy,
    reason: Reason,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, thread_name: &'a str, rule: &'a OrphanRule) -> Self {
        let policy = rule.policy().unwrap_or(&shared.plan.stop_policy);
        Self {
            shared,
            thread_name,
            rule,
            policy: policy.clone(),
            reason: Reason::Host,
        }
    }

    /// Ends by this policy where the rule has none.
    pub(crate) fn by_default(mut self, policy: Option<&StopPolicy>) -> Self {
        if let (None, Some(policy)) = (self.rule.policy(), policy) {
            self.policy = policy.clone();
        }
        self
    }

    pub(crate) fn on_behalf_of(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Makes it, on this thread.
    pub(crate) fn run(self) -> Result<SweepReport> {
        let began = reactor::now();
        let scan = Arc::new(self.scan()?);
        let mut harvest = Harvest::new(&self);
        let not_looked_at = harvest.bring_in(&scan)?;
        harvest.end_batch()?;
        let mut parts = harvest.parts;
        parts.looked_at = scan.looked_at.load(Ordering::SeqCst);
        parts.not_looked_at = not_looked_at;
        parts.dry_run = self.rule.is_dry_run();
        parts.orphans.sort_by_key(|orphan| orphan.process.pid());
        parts.left_alone.sort_by_key(|left| left.pid);
        parts.took = reactor::now().saturating_duration_since(began);
        Ok(SweepReport::new(parts))
    }

    /// What there is to be gone over, and what is not to be touched.
    fn scan(&self) -> Result<Scan> {
        let shared = self.shared;
        // Whatever is registered after this carries our mark, or is taken in by somebody who knows why.
        let (mut taboo, heirs) = shared.read(OPERATION, |machine, watchlist| {
            // What was given up is nobody's orphan.
            let taboo = &watchlist.pids() | &watchlist.detached();
            (taboo, machine.heirs())
        })?;
        let system = |error| Error::new(ErrorKind::System, OPERATION).with_source(error);
        let table =
            ProcessTable::open().map_err(|error| system(error).with_detail(sys::UNLISTED))?;
        let own = sys::current_pid();
        taboo.insert(1);
        taboo.extend(sys::ancestors());
        let mut listed = Vec::new();
        table.list(&mut listed).map_err(system)?;
        Ok(Scan {
            shared: Arc::clone(shared),
            rule: self.rule.clone(),
            owners: Owners::new(shared, &table, heirs),
            taboo,
            own,
            own_user: sys::own_user(),
            own_args: table.command_line(own),
            pids: listed.iter().map(|listed| listed.pid).collect(),
            looked_at: AtomicUsize::new(0),
            table,
        })
    }
}

/// One that is to be ended.
struct Found {
    pin: Pin,
    process: Arc<SystemProcess>,
    why: Arc<str>,
}

/// What has been found so far.
struct Harvest<'a> {
    sweep: &'a Sweep<'a>,
    /// Held, and not ended yet.
    batch: Vec<Found>,
    at_once: usize,
    parts: SweepParts,
}

/// A thread that scans, as the one that looks on has it.
struct Watched {
    progress: Arc<Progress>,
    findings: Receiver<Finding>,
    feed: Sender<bool>,
}

impl<'a> Harvest<'a> {
    fn new(sweep: &'a Sweep<'a>) -> Self {
        Self {
            sweep,
            batch: Vec::new(),
            // The other half is for the host.
            at_once: (sys::descriptor_limit() / 2).max(AT_ONCE),
            parts: SweepParts::default(),
        }
    }

    /// Has all processes looked at, and ends what is found as often as there are descriptors for no more. Says how many
    /// were not looked at.
    fn bring_in(&mut self, scan: &Arc<Scan>) -> Result<usize> {
        let foster = Foster::by_trial(&scan.shared.facilities, &scan.table, &scan.shared.tried);
        let mut from = 0;
        for _ in 0..LEFT_BEHIND {
            let watched = self.start(scan, &foster, from)?;
            let Some(hung_at) = self.follow(&watched)? else {
                return Ok(0);
            };
            let stage = watched.progress.stage();
            watched.progress.left_behind.store(true, Ordering::SeqCst);
            if let Some(&pid) = scan.pids.get(hung_at) {
                let reason = match stage {
                    Stage::Reading => LeftAloneReason::Hangs,
                    Stage::Asking => LeftAloneReason::RuleBlocked,
                };
                let command_line = Vec::new();
                self.parts.left_alone.push(LeftAlone {
                    pid,
                    command_line,
                    reason,
                });
            }
            from = hung_at + 1;
        }
        Ok(scan.pids.len().saturating_sub(from))
    }

    fn start(&self, scan: &Arc<Scan>, foster: &Foster, from: usize) -> Result<Watched> {
        let (findings, found) = crossbeam_channel::bounded(AHEAD);
        let (feed, fed) = crossbeam_channel::bounded(1);
        let progress = Arc::new(Progress::default());
        progress.at.store(from, Ordering::SeqCst);
        let scanner = Scanner {
            scan: Arc::clone(scan),
            progress: Arc::clone(&progress),
            foster: foster.clone(),
            findings,
            fed,
        };
        std::thread::Builder::new()
            .name(format!("{}-sweep", self.sweep.thread_name))
            .spawn(move || scanner.run(from))
            .map_err(|error| Error::new(ErrorKind::System, OPERATION).with_source(error))?;
        Ok(Watched {
            progress,
            findings: found,
            feed,
        })
    }

    /// Takes in what a thread finds. `Some`: it hangs, on this one of the list.
    fn follow(&mut self, watched: &Watched) -> Result<Option<usize>> {
        let mut seen_at = None;
        loop {
            let finding = match watched.findings.recv_timeout(PATIENCE) {
                Ok(finding) => finding,
                Err(RecvTimeoutError::Timeout) => {
                    let at = watched.progress.at.load(Ordering::SeqCst);
                    if seen_at.replace(at) == Some(at) {
                        return Ok(Some(at));
                    }
                    continue;
                }
                // It panicked, which only the system's oddities can have brought about.
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Some(watched.progress.at.load(Ordering::SeqCst)));
                }
            };
            seen_at = None;
            match finding {
                Finding::Over => return Ok(None),
                Finding::LeftAlone(left) => self.parts.left_alone.push(left),
                Finding::Starved => {
                    let some = !self.batch.is_empty();
                    self.end_batch()?;
                    // It waits for this.
                    let _waits = watched.feed.send(some);
                }
                Finding::Orphan { pin, process, why } => {
                    if self.sweep.rule.is_dry_run() {
                        self.note(process, why, OrphanFate::WouldBeEnded);
                        continue;
                    }
                    self.batch.push(Found { pin, process, why });
                    if self.batch.len() >= self.at_once {
                        self.end_batch()?;
                    }
                }
            }
        }
    }

    fn note(&mut self, process: Arc<SystemProcess>, why: Arc<str>, fate: OrphanFate) {
        self.parts.orphans.push(Orphan { process, why, fate });
    }

    /// Ends those that are held, in a session of their own, and notes what became of each.
    fn end_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let shared = self.sweep.shared;
        let found = |found: &Found| EventKind::OrphanFound(Arc::clone(&found.process));
        shared.announce(batch.iter().map(found).collect())?;
        let (session, life) = self.open()?;
        let ended = self.end_within(session, life, batch);
        shared.own_lives.remove(life);
        ended
    }

    /// A session for them, which nobody else ends.
    fn open(&self) -> Result<(SessionId, Life)> {
        let shared = self.sweep.shared;
        let mut options = SessionOptions::new()
            .label(LABEL)
            // Nothing is started in it.
            .containment(Containment::Leader)
            .stop_policy(self.sweep.policy.clone());
        options.is_the_librarys = true;
        let opened = shared.call(OPERATION, |reply| Message::Open {
            options: Box::new(options),
            inheritance: Inheritance::default(),
            reply,
        })?;
        // It has a number that nobody else has: only the end of everything can refuse it.
        let cell = opened.map_err(|_refused| shared.closed(OPERATION))?;
        Ok((cell.session, cell.life))
    }

    fn end_within(&mut self, session: SessionId, life: Life, batch: Vec<Found>) -> Result<()> {
        let shared = self.sweep.shared;
        let mut taken_in = Vec::new();
        for Found { pin, process, why } in batch {
            let pid = process.pid();
            match birth::take_in(shared, (session, life), pin, process.args().to_vec()) {
                Ok(_registered) => taken_in.push((process, why)),
                Err(error) if error.kind() == ErrorKind::AlreadyRegistered => {
                    self.parts.left_alone.push(LeftAlone {
                        pid,
                        command_line: process.args().to_vec(),
                        reason: LeftAloneReason::Registered,
                    });
                }
                // The registry ends; what was taken in ends with it.
                Err(_) => self.note(process, why, OrphanFate::NotReached),
            }
        }
        let whom = Whom::Life(session, life);
        let ending = Ending::begin_for(shared, whom, None, self.sweep.reason)?;
        let report = match ending.wait() {
            Ok(report) => report,
            // A shutdown was faster: its report has them.
            Err(error) if error.kind() == ErrorKind::SessionEnded => {
                for (process, why) in taken_in {
                    self.note(process, why, OrphanFate::NotReached);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.take_report(&report, taken_in)
    }

    /// What became of those that were taken in.
    fn take_report(
        &mut self,
        report: &SessionReport,
        taken_in: Vec<(Arc<SystemProcess>, Arc<str>)>,
    ) -> Result<()> {
        let members: HashMap<u32, &MemberReport> = report
            .members()
            .iter()
            .map(|member| (member.pid(), member))
            .collect();
        let mut ended = Vec::new();
        for (process, why) in taken_in {
            let fate = match members.get(&process.pid()).map(|member| member.how()) {
                Some(How::At(rung)) => OrphanFate::Ended(rung),
                Some(How::Survived(cause)) => OrphanFate::Survived(cause),
                // It had been seen to exit before the end began.
                Some(How::AlreadyGone) | None => OrphanFate::AlreadyGone,
            };
            if matches!(fate, OrphanFate::Ended(_)) {
                ended.push(EventKind::OrphanEnded(Arc::clone(&process)));
            }
            self.note(process, why, fate);
        }
        self.parts.survivors.extend_from_slice(report.survivors());
        self.parts.sessions.push(report.clone());
        self.sweep.shared.announce(ended)
    }
}

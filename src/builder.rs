//! [`Builder`]: how a registry is set up.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::capabilities::{Capabilities, Capability};
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{self, Ledger};
use crate::limit_mark::LimitMark;
use crate::limits::Limits;
use crate::mark;
use crate::plan::{CgroupPlan, Owner, Plan, Spare};
use crate::reactor::{self, Config};
use crate::recovery::{OwnerFate, Owners};
use crate::registry::{Inner, OnDrop, Registry};
use crate::stop::StopPolicy;
use crate::sys::{self, Facilities, Mask, OwnerIdentity};
use crate::system_process::SystemProcess;

const OPERATION: &str = "build registry";

/// Why nothing can be marked, or written down, as this host's.
const UNKNOWN_TO_PROC: &str =
    "/proc does not show this program: it is missing, hidden, or that of another pid namespace";

/// Sets up a [`Registry`].
///
/// ```
/// use procession::{Limits, Registry, StopPolicy};
///
/// let registry = Registry::builder()
///     .stop_policy(StopPolicy::stdio_server())
///     .limits(Limits::NONE.processes(100))
///     .build()?;
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    stop_policy: StopPolicy,
    containment: Containment,
    exactly: bool,
    limits: Limits,
    ledger: Option<PathBuf>,
    owner_name: Option<String>,
    marker: bool,
    event_capacity: usize,
    kept_reports: usize,
    on_drop: OnDrop,
    thread_name: String,
    limit_mark: bool,
    spare: Option<Spare>,
    cgroup_parent: Option<PathBuf>,
    subreaper: bool,
    mask: Mask,
    unknown_facility: Option<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            stop_policy: StopPolicy::default(),
            containment: Containment::Group,
            exactly: true,
            limits: Limits::NONE,
            ledger: None,
            owner_name: None,
            marker: true,
            event_capacity: 4096,
            kept_reports: 64,
            on_drop: OnDrop::Kill,
            thread_name: "procession".to_owned(),
            limit_mark: true,
            spare: None,
            cgroup_parent: None,
            subreaper: false,
            mask: Mask::default(),
            unknown_facility: None,
        }
    }
}

impl Builder {
    /// How sessions are ended where nothing else is said. Default: [`StopPolicy::graceful`].
    pub fn stop_policy(mut self, policy: StopPolicy) -> Self {
        self.stop_policy = policy;
        self
    }

    /// How processes are contained: this tier, or [`build`](Self::build) fails. Default: [`Containment::Group`].
    pub fn containment(mut self, tier: Containment) -> Self {
        self.containment = tier;
        self.exactly = true;
        self
    }

    /// How processes are contained: the strongest tier up to this one that works here.
    pub fn containment_up_to(mut self, tier: Containment) -> Self {
        self.containment = tier;
        self.exactly = false;
        self
    }

    /// The cgroup below which the cgroups of sessions are made, for [`Containment::Cgroup`]: a directory of a mounted cgroup v2
    /// hierarchy that this program may write to. Default: the cgroup that this program is in. Linux.
    ///
    /// A directory that systemd has delegated (`Delegate=yes`) will do, also for a user without privileges. What a crashed run
    /// has left empty there is removed by the next registry that uses it.
    pub fn cgroup_parent(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cgroup_parent = Some(directory.into());
        self
    }

    /// Says that every child of this program is this registry's, and has the orphans of all descendants come to it. Default:
    /// no. Linux 6.9 and FreeBSD.
    ///
    /// This is what [`Containment::Subreaper`] needs. It makes the program a child subreaper (`prctl(2)`) or a reaper
    /// (`procctl(2)`, FreeBSD), until the registry is dropped; one more thread waits for any child with `waitid(P_ALL)`, and takes away those that nobody holds. So the host
    /// must not start a process by any other way, not by [`std::process::Command`] itself, nor have a library do it: its
    /// exit status would be taken away, and it would be ended with the last session. One registry of a program can have
    /// this at a time.
    pub fn subreaper(mut self, consent: bool) -> Self {
        self.subreaper = consent;
        self
    }

    /// How many processes may be registered at once. Default: [`Limits::NONE`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A file in which is written down what may still live, so that a later run of this program finds it. Default: none.
    ///
    /// The [mark](Self::marker) alone lets [`Registry::recover`] find nearly everything. With a ledger it also knows a
    /// process that has lost its environment by its limit mark, one that was started without any mark, and one that was
    /// [detached](crate::Process::detach) and is to be left alone.
    ///
    /// The file is made if it is not there, and belongs to one registry at a time: a second one, of this process or of
    /// another, is refused. It is never synced to the disk: it matters only until the machine is started anew, and what
    /// was written survives the end of this program without that. A spawn writes to it twice, and an exit once. It stays
    /// small: what is gone is left out when it has grown by a megabyte.
    ///
    /// When a write fails later on, or the file is found to have been removed, replaced or cut off, the registry goes on
    /// without: there is one event, [`NotDurable`](crate::EventKind::NotDurable), and [`Registry::capabilities`] says so.
    pub fn ledger(mut self, path: impl Into<PathBuf>) -> Self {
        self.ledger = Some(path.into());
        self
    }

    /// The name of this program in the mark that its processes carry, at most 64 bytes. Default: the name of the
    /// executable's file.
    pub fn owner_name(mut self, name: impl Into<String>) -> Self {
        self.owner_name = Some(name.into());
        self
    }

    /// Whether processes that are started get the mark: the variable `PROCESSION_MARK` in their environment, which
    /// says whose they are. Default: yes.
    pub fn marker(mut self, on: bool) -> Self {
        self.marker = on;
        self
    }

    /// Whether processes that are started are marked in a resource limit as well. Default: yes. Without the
    /// [`marker`](Self::marker) there is none either.
    ///
    /// The limit is `RLIMIT_LOCKS`, which has limited nothing since Linux 2.4.25. Descendants inherit it whatever they do to
    /// their environment, their group and their descriptors: with it a daemon that has cut every other tie is found. It
    /// shows in `ulimit -x` and `/proc/PID/limits` as a large number. It finds the careless and does not hold the
    /// hostile: a program may set it to something lower.
    ///
    /// Without it descendants that have left their group are looked for in the environment of every process, which takes
    /// several times as long, and reports claim no more than [`Means::Group`](crate::Means::Group).
    pub fn limit_mark(mut self, on: bool) -> Self {
        self.limit_mark = on;
        self
    }

    /// Which descendants are left alone at the end of their session, and by [recovery](Registry::recover): a shared daemon that a build has started
    /// (`gpg-agent`, a build server).
    ///
    /// The predicate is asked on a helper's thread about each descendant that is found, never about what was spawned,
    /// adopted or attached. What it says yes to is among the [`claims`](crate::SessionReport::claims) of the report.
    /// So is that about which it panics. It should not block: the end waits for it. A recovery asks about all that it finds,
    /// but for what the ledger says was spawned, and lists it as [left alone](crate::RecoveryReport::left_alone).
    ///
    /// It is kept as long as the registry is, so it must not own a [`Registry`]: a
    /// [`downgrade`](Registry::downgrade)d one if need be.
    ///
    /// A process that stays in the group of one that was spawned is reached by what is sent to that group all the same:
    /// a daemon leaves it.
    pub fn spare(mut self, which: impl Fn(&SystemProcess) -> bool + Send + Sync + 'static) -> Self {
        self.spare = Some(Spare(Arc::new(which)));
        self
    }

    /// How many events wait for a subscriber that does not read, at least 1. Default: 4096.
    ///
    /// Each costs some 250 bytes: from [`subscribe`](Registry::subscribe) on where they are 65,536 at most, and beyond that
    /// when it waits.
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events;
        self
    }

    /// How many reports are kept for [`last_report`](Registry::last_report). Default: 64.
    pub fn kept_reports(mut self, reports: usize) -> Self {
        self.kept_reports = reports;
        self
    }

    /// What the drop of the last [`Registry`] does. Default: [`OnDrop::Kill`].
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// The name of the reactor's thread. Linux shows its first 15 bytes. Default: `procession`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Treats something that this kernel has as missing. For this crate's own tests.
    #[doc(hidden)]
    pub fn without_facility(mut self, name: &str) -> Self {
        match name {
            "pidfd" => self.mask.pidfd = true,
            "group_signal" => self.mask.group_signal = true,
            "pidfs" => self.mask.pidfs = true,
            "pidfd_info" => self.mask.pidfd_info = true,
            "exit_info" => self.mask.exit_info = true,
            "info_list" => self.mask.info_list = true,
            other => self.unknown_facility = Some(other.to_owned()),
        }
        self
    }

    /// Looks at what this system offers, and starts the reactor's thread.
    ///
    /// # Errors
    ///
    /// * [`InvalidInput`](ErrorKind::InvalidInput): a value is out of its range; the message names it. So is
    ///   [`OnDrop::Detach`] with the [`marker`](Self::marker) on and without a [`ledger`](Self::ledger): a process that
    ///   nobody holds must not carry a mark that says otherwise.
    /// * [`LedgerInUse`](ErrorKind::LedgerInUse): another registry holds the ledger; the pid is its host's.
    /// * [`LedgerUnusable`](ErrorKind::LedgerUnusable): it cannot be read or written, or the file is something else.
    /// * [`Unsupported`](ErrorKind::Unsupported): the tier is not to be had here, or the kernel has no pidfds (before
    ///   Linux 5.4, or refused by a seccomp filter); the message names the call. So is a [`ledger`](Self::ledger) without
    ///   `/proc`, which says who its host is. Without both there are no marks either: see
    ///   [`Capability::LimitMark`].
    /// * [`System`](ErrorKind::System): no descriptor or no thread is to be had (`EMFILE`, `EAGAIN`).
    pub fn build(self) -> Result<Registry> {
        self.validate()?;
        let facilities = sys::probe(self.mask).map_err(|unavailable| {
            Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(format!(
                    "{} is needed, {}",
                    unavailable.call,
                    Facilities::FLOOR
                ))
                .with_source(unavailable.cause())
        })?;
        let name = self.owner_name.clone().unwrap_or_else(executable_name);
        let identity = self.identity(&facilities)?;
        let owner = identity.filter(|_| self.marker).map(|identity| Owner {
            name: name.clone(),
            identity,
        });
        let number = sys::random_u64();
        let limit_mark = match (self.marker, self.limit_mark) {
            (true, true) if owner.is_none() => Err(UNKNOWN_TO_PROC),
            (true, true) => sys::own_limit().and_then(|own| LimitMark::new(own, number)),
            (true, false) => Err("the builder has switched it off"),
            (false, _) => Err("the builder has switched the marker off"),
        };
        let cgroups = CgroupPlan::new(
            self.cgroup_parent.clone(),
            match &owner {
                Some(owner) => Ok(owner.clone()),
                None => sys::own_identity(&facilities)
                    .map(|identity| Owner {
                        name: name.clone(),
                        identity,
                    })
                    .map_err(|error| error.to_string()),
            },
            number,
        );
        let orphans = if self.subreaper {
            facilities.orphans()
        } else {
            Err("it needs the host's consent, Builder::subreaper(true)")
        };
        let subreaper = orphans.ok().map(|()| become_subreaper()).transpose()?;
        let facilities = match &subreaper {
            Some(subreaper) => subreaper.enables(facilities),
            None => facilities,
        };
        let capabilities = capabilities(
            &facilities,
            limit_mark.err(),
            (cgroups.look(), orphans),
            self.ledger.is_some(),
        );
        let config = Config {
            subreaper,
            facilities,
            limits: self.limits,
            kept_reports: self.kept_reports,
            thread_name: self.thread_name,
        };
        let mut plan = Plan {
            stop_policy: self.stop_policy,
            containment: self.containment,
            name: name.clone(),
            ledger: None,
            owner,
            event_capacity: self.event_capacity,
            on_drop: self.on_drop,
            capabilities,
            limit_mark: limit_mark.ok(),
            number,
            spare: self.spare,
            cgroups,
            subreaper: orphans,
            consent: self.subreaper,
        };
        plan.containment = settle_tier(&plan, self.exactly)?;
        if plan.containment == Containment::Cgroup {
            clear_leftovers(&plan, &facilities);
        }
        // Last of all that may be refused: from here on the file says that this registry was there.
        if let (Some(path), Some(identity)) = (&self.ledger, identity) {
            let host = ledger_host(&name, &identity, number, plan.limit_mark);
            plan.ledger = Some(open_ledger(path, host, (identity, facilities))?);
        }
        let (shared, thread) = reactor::start(config, plan).map_err(system)?;
        Ok(Registry(Arc::new(Inner::new(shared, thread))))
    }

    /// Who this host is, for its marks and its ledger. Where `/proc` does not say, nothing can be marked, and nothing that is
    /// marked could be found: a registry does without, and a ledger cannot be had.
    fn identity(&self, facilities: &Facilities) -> Result<Option<OwnerIdentity>> {
        if !self.marker && self.ledger.is_none() {
            return Ok(None);
        }
        let error = match sys::own_identity(facilities) {
            Ok(identity) => return Ok(Some(identity)),
            Err(error) => error,
        };
        if sys::is_starved(&error) {
            return Err(system(error));
        }
        if self.ledger.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(format!("a ledger says who its host is; {UNKNOWN_TO_PROC}"))
                .with_source(error));
        }
        Ok(None)
    }

    fn validate(&self) -> Result<()> {
        let invalid = |detail: String| {
            Err(Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(detail))
        };
        if let Some(name) = &self.unknown_facility {
            return invalid(format!("there is no facility {name:?}"));
        }
        if self.event_capacity == 0 {
            return invalid("an event capacity of 0 would lose every event".to_owned());
        }
        if self.thread_name.contains('\0') {
            return invalid("the thread's name contains a NUL".to_owned());
        }
        if self
            .owner_name
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > mark::MAX_NAME)
        {
            return invalid(format!(
                "the owner's name is to have 1 to {} bytes",
                mark::MAX_NAME
            ));
        }
        if self.on_drop == OnDrop::Detach && self.marker && self.ledger.is_none() {
            return invalid("OnDrop::Detach needs a ledger or marker(false)".to_owned());
        }
        Ok(())
    }
}

/// Has orphans come to this program.
fn become_subreaper() -> Result<sys::Subreaper> {
    let detail = "another registry of this program is its subreaper";
    let taken = || Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(detail);
    sys::Subreaper::new().map_err(system)?.ok_or_else(taken)
}

/// What the ledger says of this registry.
fn ledger_host(
    name: &str,
    identity: &OwnerIdentity,
    registry: u64,
    limit_mark: Option<LimitMark>,
) -> ledger::Host {
    ledger::Host {
        registry,
        name: name.to_owned(),
        boot: identity.boot,
        pid_namespace: identity.pid_namespace,
        pid: identity.pid,
        start: identity.start_ticks,
        inode: identity.inode,
        limit_mark,
    }
}

fn open_ledger(
    path: &Path,
    host: ledger::Host,
    (own, facilities): (OwnerIdentity, Facilities),
) -> Result<Ledger> {
    let clock = ledger::Clock {
        now: reactor::now,
        sleep_until: sys::nap,
    };
    // Looked at anew each time: it is waited for.
    let is_dead =
        |host: &ledger::Host| Owners::new(own, facilities).of_host(host) == OwnerFate::Dead;
    Ledger::open(path, host, is_dead, clock)
}

/// The tier that was asked for, or the strongest below it that works.
fn settle_tier(plan: &Plan, exactly: bool) -> Result<Containment> {
    let works = |tier| -> Result<()> {
        plan.check_tier(tier, OPERATION)?;
        if tier < Containment::Cgroup {
            return Ok(());
        }
        let tried = plan.cgroups.get().map_err(str::to_owned);
        tried
            .and_then(sys::Cgroups::try_out)
            .map_err(|why| Error::new(ErrorKind::Unsupported, OPERATION).with_detail(why))
    };
    let asked = plan.containment;
    if exactly {
        return works(asked).map(|()| asked);
    }
    let below = [
        Containment::Cgroup,
        Containment::Subreaper,
        Containment::Group,
    ];
    let best = below
        .into_iter()
        .find(|&tier| tier <= asked && works(tier).is_ok());
    Ok(best.unwrap_or(Containment::Leader))
}

/// What an earlier run has left empty is in nobody's way: that it cannot be removed is no reason to fail.
pub(crate) fn clear_leftovers(plan: &Plan, facilities: &Facilities) {
    if let Ok(cgroups) = plan.cgroups.get() {
        if let Err(error) = cgroups.clear_leftovers(facilities) {
            log::warn!(target: "procession", "cannot look for cgroups that were left: {error}");
        }
    }
}

fn executable_name() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let mut name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    while name.len() > mark::MAX_NAME {
        name.pop();
    }
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}

fn system(error: std::io::Error) -> Error {
    Error::new(ErrorKind::System, OPERATION).with_source(error)
}

fn capabilities(
    facilities: &Facilities,
    no_limit_mark: Option<&'static str>,
    (cgroups, orphans): (
        std::result::Result<(), String>,
        std::result::Result<(), &'static str>,
    ),
    has_ledger: bool,
) -> Capabilities {
    let kernel = |has: bool, why_not: &'static str| {
        if has {
            Ok(())
        } else {
            Err(Cow::Borrowed(why_not))
        }
    };
    Capabilities::new(vec![
        (Capability::CgroupTier, cgroups.map_err(Cow::Owned)),
        (Capability::SubreaperTier, orphans.map_err(Cow::Borrowed)),
        (
            Capability::GroupSignalAfterReap,
            kernel(facilities.group_signal, Facilities::NO_GROUP_SIGNAL),
        ),
        (
            Capability::LimitMark,
            no_limit_mark.map_or(Ok(()), |why| Err(Cow::Borrowed(why))),
        ),
        (
            Capability::ForeignStatus,
            kernel(facilities.exit_info, Facilities::NO_EXIT_INFO),
        ),
        (
            Capability::FullLaunch,
            Facilities::NO_FULL_LAUNCH.map_or(Ok(()), |why| Err(Cow::Borrowed(why))),
        ),
        (
            Capability::DurableIdentity,
            kernel(has_ledger, "no ledger is kept: see Builder::ledger"),
        ),
    ])
}

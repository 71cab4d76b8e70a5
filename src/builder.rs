//! [`Builder`]: how a registry is set up.

use std::borrow::Cow;
use std::sync::Arc;

use crate::capabilities::{Capabilities, Capability};
use crate::containment::Containment;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::mark;
use crate::plan::{Owner, Plan};
use crate::reactor::{self, Config};
use crate::registry::{Inner, OnDrop, Registry};
use crate::stop::StopPolicy;
use crate::sys::{self, Facilities, Mask};

const OPERATION: &str = "build registry";

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
    owner_name: Option<String>,
    marker: bool,
    event_capacity: usize,
    kept_reports: usize,
    on_drop: OnDrop,
    thread_name: String,
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
            owner_name: None,
            marker: true,
            event_capacity: 4096,
            kept_reports: 64,
            on_drop: OnDrop::Kill,
            thread_name: "procession".to_owned(),
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
    ///
    /// `Leader` and `Group` work today.
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

    /// How many processes may be registered at once. Default: [`Limits::NONE`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
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

    /// How many events wait for a subscriber that does not read, at least 1. Default: 4096.
    ///
    /// The memory is taken at [`subscribe`](Registry::subscribe), some 250 bytes for each.
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
            other => self.unknown_facility = Some(other.to_owned()),
        }
        self
    }

    /// Looks at what this system offers, and starts the reactor's thread.
    ///
    /// # Errors
    ///
    /// * [`InvalidInput`](ErrorKind::InvalidInput): a value is out of its range; the message names it. So is
    ///   [`OnDrop::Detach`] with the [`marker`](Self::marker) on: a process that nobody holds must not carry a mark
    ///   that says otherwise.
    /// * [`Unsupported`](ErrorKind::Unsupported): the tier is not to be had here, or the kernel has no pidfds (before
    ///   Linux 5.4, or refused by a seccomp filter); the message names the call.
    /// * [`System`](ErrorKind::System): no descriptor or no thread is to be had (`EMFILE`, `EAGAIN`).
    pub fn build(self) -> Result<Registry> {
        self.validate()?;
        let facilities = sys::probe(self.mask).map_err(|unavailable| {
            Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(format!(
                    "{} is needed, Linux 5.4 and newer have it",
                    unavailable.call
                ))
                .with_source(unavailable.cause())
        })?;
        let owner = if self.marker {
            Some(self.owner(&facilities)?)
        } else {
            None
        };
        let config = Config {
            facilities,
            limits: self.limits,
            kept_reports: self.kept_reports,
            thread_name: self.thread_name,
        };
        let plan = Plan {
            stop_policy: self.stop_policy,
            containment: self.containment.min(Containment::Group),
            owner,
            event_capacity: self.event_capacity,
            on_drop: self.on_drop,
            capabilities: capabilities(&facilities),
        };
        let (shared, thread) = reactor::start(config, plan).map_err(system)?;
        Ok(Registry(Arc::new(Inner::new(shared, thread))))
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
        if self.on_drop == OnDrop::Detach && self.marker {
            return invalid("OnDrop::Detach needs marker(false)".to_owned());
        }
        if self.exactly && self.containment > Containment::Group {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(format!("the tier {:?} is not there yet", self.containment)));
        }
        Ok(())
    }

    fn owner(&self, facilities: &Facilities) -> Result<Owner> {
        let identity = sys::own_identity(facilities).map_err(system)?;
        let name = self.owner_name.clone().unwrap_or_else(executable_name);
        Ok(Owner { name, identity })
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

fn capabilities(facilities: &Facilities) -> Capabilities {
    let kernel = |has: bool, why_not: &'static str| {
        if has {
            Ok(())
        } else {
            Err(Cow::Borrowed(why_not))
        }
    };
    let later = || Err(Cow::Borrowed("this version of the crate does not have it"));
    Capabilities::new(vec![
        (Capability::CgroupTier, later()),
        (Capability::SubreaperTier, later()),
        (
            Capability::GroupSignalAfterReap,
            kernel(
                facilities.group_signal,
                "PIDFD_SIGNAL_PROCESS_GROUP came with Linux 6.9",
            ),
        ),
        (Capability::LimitMark, later()),
        (
            Capability::ForeignStatus,
            kernel(facilities.exit_info, "PIDFD_INFO_EXIT came with Linux 6.15"),
        ),
        (Capability::DurableIdentity, later()),
    ])
}

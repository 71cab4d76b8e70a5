//! Start processes from a synchronous program, and never leave one behind.

mod birth;
mod builder;
mod capabilities;
mod containment;
mod ending;
mod error;
mod event;
mod exit;
mod info;
mod launch;
mod limits;
mod machine;
mod mark;
mod process;
mod reactor;
mod registry;
mod report;
mod session;
mod signal;
mod spawn_options;
mod stdin;
mod stop;
mod sys;
mod system_process;

pub use crossbeam_channel as channel;

pub use self::builder::Builder;
pub use self::capabilities::{Capabilities, Capability};
pub use self::containment::Containment;
pub use self::ending::Ending;
pub use self::error::{AdoptError, Error, ErrorKind, Result};
pub use self::event::{Event, EventKind, EventMask, Lagged, Origin, Reason, Subscription};
pub use self::exit::{Exit, Status, StatusSource, Usage};
pub use self::info::{ProcessInfo, ProcessState, SessionInfo};
pub use self::launch::Launch;
pub use self::limits::Limits;
pub use self::process::Process;
pub use self::registry::{OnDrop, Registry, WeakRegistry};
pub use self::report::{
    How, Means, MemberReport, Proof, SessionReport, Strength, SurvivalCause, Survivor, Unclean,
};
pub use self::session::{ProcessId, SessionId};
pub use self::signal::Signal;
pub use self::spawn_options::SpawnOptions;
pub use self::stdin::Stdin;
pub use self::stop::{Rung, StopPolicy};
pub use self::system_process::SystemProcess;

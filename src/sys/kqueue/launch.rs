//! Starts a process: `posix_spawn`.
//!
//! What it has no attribute for is refused before anything is started: the alternative, fork and exec, copies the host's
//! page tables and runs code in a child of a program with other threads.

#![expect(
    unsafe_code,
    reason = "rustix has no posix_spawn, and no sets of signals"
)]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ffi::OsStr, ptr};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{WaitOptions, waitpid};

use super::attributes::{Actions, Attributes};
use super::facilities::Facilities;
use super::paths::from_inside;
use super::pin::Pin;
use super::queue::Queue;
use super::refusals::refused;
use crate::sys::orders::{ChildMask, Fault, Grouping, Orders, Step};
use crate::sys::system;
use crate::sys::unix::{kill_unpinned, to_pid};

/// The highest signal that a mask of ours tells of.
const LAST_SIGNAL: c_int = 64;

/// A launch under way. It can be doomed, which is heeded before it begins and when it is over: while it lasts nobody knows
/// the child's number. A launch that hangs, as on a file system whose server is gone, is not ended thereby.
#[derive(Debug)]
pub(crate) struct Unborn {
    doomed: AtomicBool,
}

impl Unborn {
    /// # Errors
    ///
    /// None.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            doomed: AtomicBool::new(false),
        })
    }

    /// Makes it as good as new, for another launch.
    pub(crate) fn renew(&mut self) {
        *self.doomed.get_mut() = false;
    }

    /// Ends the launch as soon as that can be done.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
    }
}

/// Which numbers the child is to have.
#[derive(Debug)]
pub(in crate::sys) struct Wanted {
    pub(in crate::sys) numbers: Vec<c_int>,
}

/// Starts a process, and comes back when it has become the program that was ordered, or when that has failed.
///
/// # Errors
///
/// The step that failed, and its errno. Nothing is left. `Unsupported` (without an errno): it was asked for what
/// `posix_spawn` cannot do, and nothing was tried.
pub(crate) fn launch(
    orders: &Orders,
    unborn: &Unborn,
    _facilities: &Facilities,
) -> Result<Pin, Fault> {
    refuse(orders)?;
    let at = |step| move |error| Fault { step, error };
    // Before there is a child: where there is no descriptor for it there is to be no child either.
    let queue = Queue::new().map_err(at(Step::Clone))?;
    let mut attributes = attributes(orders)?;
    let (actions, _aside) = actions(orders, &mut attributes)?;
    let pid = spawn(orders, &actions, &attributes)?;
    let number = pid.unsigned_abs();
    // The number of a process that was started is one.
    let held = to_pid(number).and_then(|pid| Pin::born(queue, pid));
    let pin = held.map_err(|error| {
        kill_unpinned(number, leads_group(orders.grouping));
        bury(number);
        Fault {
            step: Step::Clone,
            error,
        }
    })?;
    if unborn.doomed.load(Ordering::SeqCst) {
        kill_unpinned(number, leads_group(orders.grouping));
    }
    Ok(pin)
}

fn leads_group(grouping: Grouping) -> bool {
    match grouping {
        Grouping::Own | Grouping::OwnSession => true,
        Grouping::Inherit | Grouping::Join(_) => false,
    }
}

/// Waits for a child that has been killed, and takes its zombie away.
fn bury(child: u32) {
    let Ok(pid) = to_pid(child) else { return };
    // ECHILD: the host reaps all its children.
    let _reaped_or_not_there = waitpid(Some(pid), WaitOptions::empty());
}

/// What `posix_spawn` has no attribute for.
fn refuse(orders: &Orders) -> Result<(), Fault> {
    match refused(orders, system::EXTENSIONS) {
        None => Ok(()),
        Some(step) => Err(Fault {
            step,
            error: unsupported(),
        }),
    }
}

fn unsupported() -> io::Error {
    let text = "posix_spawn cannot do it on this system, and nothing else starts a process here";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

fn attributes(orders: &Orders) -> Result<Attributes, Fault> {
    let at = |step| move |error| Fault { step, error };
    let mut attributes = Attributes::new().map_err(at(Step::Clone))?;
    if orders.reset_ignored {
        let all = all_that_can_be_ignored();
        attributes
            .default_signals(&all)
            .map_err(at(Step::Signals))?;
    }
    let mask = match orders.mask {
        ChildMask::Empty => set_of(0),
        ChildMask::Set(mask) => set_of(mask),
    };
    attributes.mask(&mask).map_err(at(Step::Mask))?;
    match (orders.grouping, system::SET_SESSION) {
        (Grouping::Inherit, _) | (Grouping::OwnSession, None) => {}
        (Grouping::Own, _) => attributes.group(0).map_err(at(Step::Group))?,
        (Grouping::Join(group), _) => attributes.group(group).map_err(at(Step::Group))?,
        (Grouping::OwnSession, Some(flag)) => attributes.flag(flag).map_err(at(Step::Session))?,
    }
    Ok(attributes)
}

/// The actions, and the descriptors that they need until the child has them.
fn actions(orders: &Orders, attributes: &mut Attributes) -> Result<(Actions, Vec<OwnedFd>), Fault> {
    let at = |step| move |error| Fault { step, error };
    let mut actions = Actions::new().map_err(at(Step::Clone))?;
    if let Some(directory) = &orders.directory {
        actions.enter(directory).map_err(at(Step::Directory))?;
    }
    let wanted = Wanted {
        numbers: orders
            .descriptors
            .iter()
            .map(|passed| passed.number)
            .collect(),
    };
    // Above all numbers that something is moved to.
    let clear = wanted.numbers.iter().copied().max().unwrap_or(0).max(2);
    let mut aside = Vec::new();
    for passed in &orders.descriptors {
        let from = passed.from.as_raw_fd();
        // Another one is moved to where it is; or it is where it belongs, and would be closed by exec.
        let in_the_way = wanted.numbers.contains(&from);
        let from = if in_the_way {
            let copy = fcntl_dupfd_cloexec(passed.from.as_fd(), clear.saturating_add(1))
                .map_err(|errno| at(Step::Descriptors)(errno.into()))?;
            let number = copy.as_raw_fd();
            aside.push(copy);
            number
        } else {
            from
        };
        actions
            .duplicate(from, passed.number)
            .map_err(at(Step::Descriptors))?;
    }
    if orders.close_others {
        let flag = actions
            .close_others(&wanted)
            .map_err(at(Step::CloseOthers))?;
        attributes.flag(flag).map_err(at(Step::CloseOthers))?;
    }
    Ok((actions, aside))
}

/// Tries each path, as `execvp` does: on to the next where there is no such program; and "permission denied" is the
/// answer only if nothing better is found.
fn spawn(
    orders: &Orders,
    actions: &Actions,
    attributes: &Attributes,
) -> Result<libc::pid_t, Fault> {
    let argv = pointers(&orders.argv);
    let environment = pointers(&orders.environment);
    let mut denied = false;
    let mut last = libc::ENOENT;
    for program in programs(orders)? {
        let mut pid = 0;
        // SAFETY: the path and all strings end with a NUL, the two lists with a null pointer; actions and attributes are
        // initialised. The strings are only read, whatever the type of the lists says.
        last = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                actions.as_ptr(),
                attributes.as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
            )
        };
        match last {
            0 => return Ok(pid),
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => break,
        }
    }
    let exhausted = matches!(
        last,
        libc::EACCES | libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT
    );
    if denied && exhausted {
        last = libc::EACCES;
    }
    Err(blame(orders, last))
}

/// The paths to be tried, as the child means them in the directory that it starts in.
fn programs(orders: &Orders) -> Result<Vec<CString>, Fault> {
    let Some(directory) = &orders.directory else {
        return Ok(orders.programs.clone());
    };
    let here = || {
        let here = std::env::current_dir().ok()?;
        Some(here.into_os_string().into_vec())
    };
    let path = |program: &CString| {
        let path = from_inside(directory.as_bytes(), program.as_bytes(), here)?;
        // There is no NUL in either of its parts.
        CString::new(path).ok()
    };
    let paths: Option<Vec<CString>> = orders.programs.iter().map(path).collect();
    paths.ok_or_else(|| Fault {
        step: Step::Directory,
        error: io::ErrorKind::NotFound.into(),
    })
}

/// One errno comes back for all steps. Which one it was can be told for the directory at least.
fn blame(orders: &Orders, errno: c_int) -> Fault {
    if let Some(directory) = &orders.directory {
        let path = Path::new(OsStr::from_bytes(directory.as_bytes()));
        let trouble = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => None,
            Ok(_) => Some(io::Error::from_raw_os_error(libc::ENOTDIR)),
            Err(error) => Some(error),
        };
        if let Some(error) = trouble {
            return Fault {
                step: Step::Directory,
                error,
            };
        }
    }
    let step = match errno {
        libc::EAGAIN | libc::ENOMEM => Step::Clone,
        _ => Step::Exec,
    };
    Fault {
        step,
        error: io::Error::from_raw_os_error(errno),
    }
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect()
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: there is room for a set, which the call initialises.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was initialised.
    unsafe { set.assume_init() }
}

fn set_of(mask: u64) -> libc::sigset_t {
    let mut set = empty_set();
    for signal in (1..=LAST_SIGNAL).filter(|signal| mask & bit(*signal) != 0) {
        // EINVAL for a number that is no signal here.
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    set
}

fn all_that_can_be_ignored() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: there is room for a set, which the call initialises.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: it was initialised.
    let mut set = unsafe { set.assume_init() };
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        // SAFETY: the set is initialised.
        unsafe { libc::sigdelset(&mut set, signal) };
    }
    set
}

/// What a parent-death signal would be bound to: launches with one are refused here.
pub(crate) const fn is_first_thread() -> bool {
    false
}

/// The signals that this thread blocks, up to the 64th.
pub(crate) fn signal_mask() -> u64 {
    let mut now = empty_set();
    // SAFETY: there is no new mask, and there is room for the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &mut now) };
    (1..=LAST_SIGNAL)
        // SAFETY: the set is initialised. -1 for a number that is no signal here.
        .filter(|signal| unsafe { libc::sigismember(&now, *signal) } == 1)
        .fold(0, |mask, signal| mask | bit(signal))
}

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

//! How a process becomes a member: started, adopted, attached. On the caller's thread, in the order of the protocol:
//! take a token, bring the process about, pin it, watch it, hand it over.

use std::ffi::OsStr;
use std::io;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::containment::Containment;
use crate::error::{AdoptError, Error, ErrorKind, Result};
use crate::event::Origin;
use crate::exit::{Status, StatusSource};
use crate::launch::{Launch, Setup};
use crate::machine::{Answer, Facts, Machine, Refused, Relation};
use crate::mark::Token;
use crate::process::Process;
use crate::reactor::{
    self, Core, ExitLook, Message, Newborn, NoToken, Outputs, Parts, Shared, Spawning,
};
use crate::registry::{Inner, is_own_or_ancestor, misanswered};
use crate::session::{ProcessId, SessionId};
use crate::signal::Signal;
use crate::spawn_options::SpawnOptions;
use crate::stdin::StdinPipe;
use crate::sys::{self, ChildState, Pin, Target};
use crate::system_process::SystemProcess;

/// Starts a process.
pub(crate) fn spawn(
    inner: &Inner,
    session: SessionId,
    command: &mut impl Launch,
    options: &SpawnOptions,
) -> Result<Process> {
    const OPERATION: &str = "spawn";
    let about = |error: Error, program: &OsStr| error.with_session(session).with_program(program);
    if command.program().is_empty() {
        let error =
            Error::new(ErrorKind::InvalidInput, OPERATION).with_detail("the program is empty");
        return Err(about(error, command.program()));
    }
    let containment = options.containment.unwrap_or(inner.plan.containment);
    if containment > Containment::Group {
        let detail = format!("the tier {containment:?} is not there yet");
        let error = Error::new(ErrorKind::Unsupported, OPERATION).with_detail(detail);
        return Err(about(error, command.program()));
    }
    let shared = &inner.shared;
    // A time that overflows is never over.
    let deadline = options
        .slot_timeout
        .map(|wait| reactor::now().checked_add(wait).unwrap_or_else(far));
    let spawning = enter(shared, session, deadline, OPERATION)
        .map_err(|error| error.with_program(command.program()))?;
    let own_group = containment >= Containment::Group;
    let setup = Setup {
        own_group,
        token: token(inner, &spawning),
    };
    let child = command
        .launch(&setup)
        .map_err(|error| about(launch_error(error), command.program()))?;
    let facts = Facts {
        pid: child.id(),
        inode: None,
        relation: Relation::Child,
        leads_group: own_group,
        origin: Origin::Spawned,
        containment,
        label: options.label.clone(),
        command_line: command.command_line(),
    };
    let held = match hold(shared, child, own_group) {
        Ok(held) => held,
        Err(error) => return Err(about(error, command.program())),
    };
    let core = conceive(shared, &spawning, facts, held);
    give_birth(spawning, core)
}

/// Takes over a child.
#[expect(clippy::result_large_err, reason = "it gives a living child back")]
pub(crate) fn adopt(
    inner: &Inner,
    session: SessionId,
    mut child: Child,
) -> Result<Process, AdoptError> {
    const OPERATION: &str = "adopt";
    let pid = child.id();
    let fail = |error: Error, child: Child| {
        Err(AdoptError::new(
            error.with_session(session).with_pid(pid),
            child,
        ))
    };
    let shared = &inner.shared;
    let spawning = match enter(shared, session, None, OPERATION) {
        Ok(spawning) => spawning,
        Err(error) => return fail(error, child),
    };
    let status = match collect_if_dead(&mut child) {
        Ok(status) => status,
        Err(error) => return fail(error, child),
    };
    let pin = match status {
        Some(_) => None,
        None => match pin_and_watch(shared, pid, spawning.process().0) {
            Ok(pin) => Some(pin),
            Err(error) => return fail(system_error(OPERATION, error), child),
        },
    };
    let facts = Facts {
        pid,
        inode: pin.as_ref().and_then(|pin| pin.identity().inode),
        relation: Relation::Child,
        leads_group: pin.is_some() && sys::leads_group(pid).unwrap_or(false),
        origin: Origin::Adopted,
        containment: inner.plan.containment,
        label: None,
        // Only for people to read; a child that has exited has none any more.
        command_line: sys::command_line(pid).unwrap_or_default().into(),
    };
    let held = Held {
        pin,
        child: Pipes::take(&mut child),
    };
    let core = conceive(shared, &spawning, facts, held);
    if let Some(status) = status {
        let look = ExitLook {
            status,
            source: StatusSource::Waited,
            usage: None,
        };
        core.settle(core.complete(look));
    }
    match offer(spawning, Arc::clone(&core), OPERATION) {
        Ok(process) => Ok(process),
        Err(error) => {
            child.stdin = core.stdin.take();
            let mut outputs = core.outputs();
            child.stdout = outputs.stdout.take();
            child.stderr = outputs.stderr.take();
            drop(outputs);
            fail(error, child)
        }
    }
}

/// Takes in a process that is not ours.
pub(crate) fn attach(
    inner: &Inner,
    session: SessionId,
    pid: u32,
    is_it: impl FnOnce(&SystemProcess) -> bool,
) -> Result<Process> {
    const OPERATION: &str = "attach";
    let fail = |kind: ErrorKind| {
        Error::new(kind, OPERATION)
            .with_session(session)
            .with_pid(pid)
    };
    if is_own_or_ancestor(pid) {
        let detail = "pid 0 and 1, this process and its ancestors cannot be held";
        return Err(fail(ErrorKind::InvalidInput).with_detail(detail));
    }
    let shared = &inner.shared;
    let spawning = enter(shared, session, None, OPERATION).map_err(|error| error.with_pid(pid))?;
    // First the pin, then the look: what is read is about the process that is held.
    let pin = Pin::open(pid, &shared.facilities).map_err(|error| {
        let kind = if sys::is_gone(&error) {
            ErrorKind::NoSuchProcess
        } else {
            ErrorKind::System
        };
        fail(kind).with_source(error)
    })?;
    let exited = |error: io::Error| match pin.is_dead() {
        Ok(true) => fail(ErrorKind::AlreadyExited),
        Ok(false) | Err(_) => fail(ErrorKind::System).with_source(error),
    };
    let read = sys::read_process(pid).map_err(exited)?;
    let seen = SystemProcess {
        pid,
        parent: read.parent,
        args: read.args,
        exe: read.exe,
        user: read.user,
        age: read.age,
        environ: read.environ,
    };
    // Still alive after the reading: its number was its own all the time.
    if pin
        .is_dead()
        .map_err(|error| fail(ErrorKind::System).with_source(error))?
    {
        return Err(fail(ErrorKind::AlreadyExited));
    }
    if !is_it(&seen) {
        return Err(fail(ErrorKind::NotTheProcess));
    }
    watch(shared, &pin, spawning.process().0)
        .map_err(|error| fail(ErrorKind::System).with_source(error))?;
    let facts = Facts {
        pid,
        inode: pin.identity().inode,
        relation: Relation::Stranger,
        leads_group: false,
        origin: Origin::Attached,
        containment: Containment::Leader,
        label: None,
        command_line: seen.args.into(),
    };
    let core = conceive(
        shared,
        &spawning,
        facts,
        Held {
            pin: Some(pin),
            child: Pipes::default(),
        },
    );
    offer(spawning, core, OPERATION)
}

// ---- the steps

/// Takes a token.
fn enter(
    shared: &Shared,
    session: SessionId,
    deadline: Option<Instant>,
    operation: &'static str,
) -> Result<Spawning> {
    if shared.is_forked_copy() {
        let detail = "this is a copy of the registry in a forked child";
        return Err(Error::new(ErrorKind::ReactorGone, operation).with_detail(detail));
    }
    shared
        .gate
        .enter(session, deadline, &shared.mail)
        .map_err(|no| {
            let error = match no {
                NoToken::TimedOut => Error::new(ErrorKind::TimedOut, operation)
                    .with_detail("no slot became free in time"),
                NoToken::Refused(Refused::SessionEnding) => {
                    Error::new(ErrorKind::SessionEnding, operation)
                }
                NoToken::Refused(Refused::Full { limit }) => {
                    Error::new(ErrorKind::LimitReached, operation).with_detail(format!(
                        "{limit} processes are registered, as many as may be"
                    ))
                }
                NoToken::Refused(Refused::SessionFull { limit }) => {
                    Error::new(ErrorKind::LimitReached, operation).with_detail(format!(
                        "{limit} processes are in the session, as many as may be"
                    ))
                }
                NoToken::Refused(Refused::ShutDown) => Error::new(ErrorKind::ShutDown, operation),
            };
            error.with_session(session)
        })
}

/// What is held of a process that was brought about.
struct Held {
    pin: Option<Pin>,
    child: Pipes,
}

/// The ends of its pipes.
#[derive(Default)]
struct Pipes {
    stdin: Option<std::process::ChildStdin>,
    outputs: Outputs,
}

impl Pipes {
    fn take(child: &mut Child) -> Self {
        let outputs = Outputs {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        Self {
            stdin: child.stdin.take(),
            outputs,
        }
    }
}

/// Pins a child that std has started. Without a pin it is killed and reaped: nothing is left of it.
fn hold(shared: &Shared, mut child: Child, own_group: bool) -> Result<Held> {
    match Pin::open(child.id(), &shared.facilities) {
        Ok(pin) => Ok(Held {
            pin: Some(pin),
            child: Pipes::take(&mut child),
        }),
        // With SIGCHLD ignored it can have exited and be gone before it could be pinned.
        Err(error) if sys::is_gone(&error) => Ok(Held {
            pin: None,
            child: Pipes::take(&mut child),
        }),
        Err(error) => {
            sys::kill_unpinned(child.id(), own_group);
            let reaped = child.wait();
            let text = match reaped {
                Ok(_) => "the process could not be pinned, and was killed",
                Err(_) => "the process could not be pinned, and was killed; its status was taken",
            };
            Err(Error::new(ErrorKind::SpawnFailed, "spawn")
                .with_detail(text)
                .with_source(error))
        }
    }
}

fn pin_and_watch(shared: &Shared, pid: u32, key: u64) -> io::Result<Pin> {
    let pin = Pin::open(pid, &shared.facilities)?;
    watch(shared, &pin, key)?;
    Ok(pin)
}

fn watch(shared: &Shared, pin: &Pin, key: u64) -> io::Result<()> {
    shared.watch.add(pin, key)
}

/// Makes the core. A process without a pin is one that is gone, and nobody can say how.
fn conceive(shared: &Arc<Shared>, spawning: &Spawning, mut facts: Facts, held: Held) -> Arc<Core> {
    let gone = held.pin.is_none();
    facts.inode = held.pin.as_ref().and_then(|pin| pin.identity().inode);
    let parts = Parts {
        process: spawning.process(),
        session: spawning.session(),
        life: spawning.life(),
        facts: Arc::new(facts),
        pin: held.pin,
        stdin: StdinPipe::new(held.child.stdin),
        outputs: held.child.outputs,
    };
    let core = Core::new(Arc::clone(shared), parts);
    if gone && core.facts.origin == Origin::Spawned {
        let look = ExitLook {
            status: Status::Unknown,
            source: StatusSource::Unavailable,
            usage: None,
        };
        core.settle(core.complete(look));
    }
    Arc::new(core)
}

/// Hands over a process that was started here. Nobody waits for the reactor.
fn give_birth(spawning: Spawning, core: Arc<Core>) -> Result<Process> {
    const OPERATION: &str = "spawn";
    let shared = Arc::clone(&core.shared);
    let session = core.session;
    let watched = match core.pin() {
        Some(pin) => watch(&shared, &pin, core.process.0),
        None => Ok(()),
    };
    if let Err(error) = watched {
        kill(&core);
        bury(&core, None);
        return Err(Error::new(ErrorKind::SpawnFailed, OPERATION)
            .with_session(session)
            .with_detail("the process could not be watched, and was killed")
            .with_source(error));
    }
    let (sent, doomed) = spawning.hand_over(|slot, doomed| {
        core.occupy(slot);
        let newborn = Newborn {
            core: Arc::clone(&core),
            raced: doomed,
            reply: None,
        };
        (shared.mail.send(Message::Born(newborn)), doomed)
    });
    if sent.is_err() {
        kill(&core);
        bury(&core, None);
        return Err(shared.gone(OPERATION).with_session(session));
    }
    if doomed {
        return Err(Error::new(ErrorKind::SessionEnding, OPERATION)
            .with_session(session)
            .with_detail(
                "its end began while the process was being started; it is ended with the rest",
            ));
    }
    Ok(Process::new(core))
}

/// Offers a process that exists already, and waits to hear under which id it is known.
fn offer(spawning: Spawning, core: Arc<Core>, operation: &'static str) -> Result<Process> {
    let shared = Arc::clone(&core.shared);
    let (reply, answer) = crossbeam_channel::bounded(1);
    let sent = spawning.offer(|slot| {
        core.occupy(slot);
        let newborn = Newborn {
            core: Arc::clone(&core),
            raced: false,
            reply: Some(reply),
        };
        shared.mail.send(Message::Born(newborn)).is_ok()
    });
    match sent {
        None => {
            if let Some(pin) = core.pin() {
                // It is in the poll since its registration a few lines ago.
                drop(shared.watch.remove(&pin));
            }
            Err(Error::new(ErrorKind::SessionEnding, operation).with_session(core.session))
        }
        Some(false) => Err(shared.gone(operation)),
        Some(true) => match answer.recv() {
            Ok(Answer::Registered(Ok(id))) if id == core.process => Ok(Process::new(core)),
            Ok(Answer::Registered(Ok(id))) => known(&shared, id, &core.facts, operation),
            Ok(Answer::Registered(Err(error))) => Err(error),
            Ok(_) => Err(misanswered(operation)),
            Err(_) => Err(shared.gone(operation)),
        },
    }
}

/// The process that is registered under this id.
fn known(
    shared: &Shared,
    id: ProcessId,
    facts: &Facts,
    operation: &'static str,
) -> Result<Process> {
    let (reply, answer) = crossbeam_channel::bounded(1);
    let question = Box::new(move |_: &Machine, watchlist: &reactor::Watchlist, _| {
        // The caller waits, or has gone.
        drop(reply.send(watchlist.get(id).cloned()));
    });
    shared.send(Message::Ask(question), operation)?;
    match answer.recv() {
        Ok(Some(core)) => Ok(Process::new(core)),
        // It has exited between the two answers.
        Ok(None) => Err(Error::new(ErrorKind::AlreadyExited, operation).with_pid(facts.pid)),
        Err(_) => Err(shared.gone(operation)),
    }
}

/// Our mark for what is about to be started.
fn token(inner: &Inner, spawning: &Spawning) -> Option<Token> {
    let owner = inner.plan.owner.as_ref()?;
    Some(Token {
        owner_name: owner.name.clone(),
        pid: owner.identity.pid,
        start: owner.identity.start_ticks,
        inode: owner.identity.inode,
        boot: owner.identity.boot,
        pid_namespace: owner.identity.pid_namespace,
        registry: inner.shared.number,
        life: spawning.life(),
        session: spawning.session(),
    })
}

/// Collects a child that has exited already. `None`: it lives.
///
/// Only std knows whether it has waited for this child before, and it does not tell without waiting: a child that is
/// dead and was not waited for is reaped by the question. So the kernel is asked first, and again afterwards.
fn collect_if_dead(child: &mut Child) -> Result<Option<Status>> {
    const OPERATION: &str = "adopt";
    let pid = child.id();
    let waited_for = || {
        let detail = "it was waited for already, or SIGCHLD is ignored";
        Error::new(ErrorKind::AlreadyExited, OPERATION).with_detail(detail)
    };
    let before = sys::peek_child(pid).map_err(|error| system_error(OPERATION, error))?;
    if before == ChildState::NotOurChild {
        return Err(waited_for());
    }
    let Some(status) = child
        .try_wait()
        .map_err(|error| system_error(OPERATION, error))?
    else {
        return Ok(None);
    };
    match sys::peek_child(pid).map_err(|error| system_error(OPERATION, error))? {
        // The question has reaped it: it is ours to tell.
        ChildState::NotOurChild => Ok(Some(Status::from(status))),
        // std knew; what has this pid now is another child.
        ChildState::Alive | ChildState::Waitable => Err(waited_for()),
    }
}

fn launch_error(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        _ => ErrorKind::SpawnFailed,
    };
    Error::new(kind, "spawn").with_source(error)
}

fn system_error(operation: &'static str, error: io::Error) -> Error {
    Error::new(ErrorKind::System, operation).with_source(error)
}

/// A time that is not reached.
fn far() -> Instant {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    reactor::now()
        .checked_add(century)
        .unwrap_or_else(reactor::now)
}

// ---- without a reactor

/// Kills what nobody watches: the group first, then the process.
pub(crate) fn kill(core: &Core) {
    let Some(pin) = core.pin() else { return };
    let facilities = &core.shared.facilities;
    if core.facts.leads_group {
        let group = Target::Group {
            leader: &pin,
            reaped: false,
        };
        // ESRCH: nobody is in it. Whatever else it is, the process itself comes next.
        drop(sys::send_signal(group, Signal::KILL.as_raw(), facilities));
    }
    // ESRCH: it is gone. EPERM: it runs as somebody else, and there is nothing that could be done about it.
    drop(sys::send_signal(
        Target::Process(&pin),
        Signal::KILL.as_raw(),
        facilities,
    ));
}

/// Waits for the death of what nobody watches, until the deadline, and takes its zombie away.
pub(crate) fn bury(core: &Core, deadline: Option<Instant>) {
    let Some(pin) = core.pin() else { return };
    let dead = sys::sleep_on_alone(&pin, deadline);
    if matches!(dead, Ok(true)) && core.facts.relation == Relation::Child {
        // `false`, or an error: somebody else has taken it away.
        drop(pin.reap());
    }
}

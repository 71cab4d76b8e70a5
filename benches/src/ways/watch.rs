//! Ways to hear of exits on a channel, alone and among many living children.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use async_executor::Executor;
use crossbeam_channel::{Receiver, Sender, unbounded};
use procession::{EventMask, Registry, Subscription};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::process::{PidfdFlags, WaitOptions, pidfd_open, waitpid};

use super::{Sample, unknown};
use crate::kids::{Idlers, Kid, Stamp, pid_of};
use crate::{Outcome, clock, procfs};

/// One way to watch many children from one place.
trait Watch {
    fn watch(&mut self, kid: Kid) -> Outcome<u32>;
    /// Blocks until one of them has exited, and names it.
    fn next_exit(&mut self) -> Outcome<u32>;
}

fn find(name: &str) -> Outcome<Box<dyn Watch>> {
    Ok(match name {
        "procession" => Box::new(Procession::new()?),
        "epoll" => Box::new(Epoll::new()?),
        "tokio" => Box::new(Tokio::new()?),
        "tokio-current" => Box::new(TokioCurrent::new()?),
        "async-process" => Box::new(AsyncProcess::new()?),
        "thread-each" => Box::new(ThreadEach::new()),
        _ => return Err(unknown(name)),
    })
}

/// From the child's last instruction to its exit being received.
pub(super) fn latency(name: &str, living: usize) -> Outcome<Sample> {
    let mut way = find(name)?;
    let idlers = Idlers::new()?;
    for _ in 0..living {
        way.watch(idlers.child()?)?;
    }
    Ok(Box::new(move || {
        // Kept here: when it is dropped, the idle children leave.
        let _idlers = &idlers;
        let (kid, mut stamp) = Stamp::child()?;
        let pid = way.watch(kid)?;
        stamp.go()?;
        let exited = way.next_exit()?;
        let received = clock();
        if exited != pid {
            return Err(format!("{exited} exited instead of {pid}").into());
        }
        Ok(vec![received.saturating_sub(stamp.at()?)])
    }))
}

/// What a watched child costs this process in resident memory: bytes for all of `living`.
pub(super) fn memory(name: &str, living: usize) -> Outcome<Sample> {
    let mut way = find(name)?;
    let idlers = Idlers::new()?;
    for _ in 0..32 {
        way.watch(idlers.child()?)?;
    }
    let before = procfs::own_memory()?;
    for _ in 0..living {
        way.watch(idlers.child()?)?;
    }
    let grown = procfs::own_memory()?.saturating_sub(before);
    Ok(Box::new(move || {
        let _kept = (&idlers, &way);
        Ok(vec![grown])
    }))
}

struct Procession {
    registry: Registry,
    exits: Subscription,
}

impl Procession {
    fn new() -> Outcome<Self> {
        let registry = Registry::new()?;
        let exits = registry.subscribe_to(EventMask::EXITED);
        Ok(Self { registry, exits })
    }
}

impl Watch for Procession {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        Ok(self.registry.spawn(1, &mut kid.command())?.pid())
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        let event = self.exits.receiver().recv()?;
        Ok(event.pid().ok_or("an exit without a pid")?)
    }
}

/// The least that can be done: a thread in epoll, a pidfd each, a channel.
struct Epoll {
    epoll: Arc<OwnedFd>,
    watched: Arc<Mutex<HashMap<u32, OwnedFd>>>,
    exits: Receiver<u32>,
}

impl Epoll {
    fn new() -> Outcome<Self> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let watched = Arc::new(Mutex::new(HashMap::new()));
        let (sender, exits) = unbounded();
        let (shared, table) = (Arc::clone(&epoll), Arc::clone(&watched));
        thread::spawn(move || {
            if let Err(error) = epoll_loop(&shared, &table, &sender) {
                // The sender goes with it, so that the receiver ends the bench.
                eprintln!("the epoll thread failed: {error}");
            }
        });
        Ok(Self {
            epoll,
            watched,
            exits,
        })
    }
}

fn epoll_loop(
    epoll: &OwnedFd,
    watched: &Mutex<HashMap<u32, OwnedFd>>,
    exits: &Sender<u32>,
) -> Outcome<()> {
    let mut ready = Vec::with_capacity(64);
    loop {
        ready.clear();
        epoll::wait(epoll, spare_capacity(&mut ready), None)?;
        for event in &ready {
            let pid = u32::try_from(event.data.u64())?;
            waitpid(Some(pid_of(pid)?), WaitOptions::NOHANG)?;
            watched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&pid);
            if exits.send(pid).is_err() {
                return Ok(());
            }
        }
    }
}

impl Watch for Epoll {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        let pid = kid.command().spawn()?.id();
        let fd = pidfd_open(pid_of(pid)?, PidfdFlags::empty())?;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        epoll::add(
            &*self.epoll,
            &fd,
            epoll::EventData::new_u64(pid.into()),
            epoll::EventFlags::IN,
        )?;
        watched.insert(pid, fd);
        Ok(pid)
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        Ok(self.exits.recv()?)
    }
}

/// The multi-thread runtime with a task a child: the host's thread is outside of it and reads a channel.
struct Tokio {
    runtime: tokio::runtime::Runtime,
    sender: Sender<u32>,
    exits: Receiver<u32>,
}

impl Tokio {
    fn new() -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let (sender, exits) = unbounded();
        Ok(Self {
            runtime,
            sender,
            exits,
        })
    }
}

impl Watch for Tokio {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        let _inside = self.runtime.enter();
        let mut child = tokio::process::Command::from(kid.command()).spawn()?;
        let pid = child.id().ok_or("a child without a pid")?;
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            // A failed wait or a gone receiver leaves the bench waiting, which says it loudly enough.
            if child.wait().await.is_ok() {
                sender.send(pid).unwrap_or_default();
            }
        });
        Ok(pid)
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        Ok(self.exits.recv()?)
    }
}

/// The current-thread runtime: no hop to another thread, but the host's own loop must live in it.
struct TokioCurrent {
    runtime: tokio::runtime::Runtime,
    sender: tokio::sync::mpsc::UnboundedSender<u32>,
    exits: tokio::sync::mpsc::UnboundedReceiver<u32>,
}

impl TokioCurrent {
    fn new() -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, exits) = tokio::sync::mpsc::unbounded_channel();
        Ok(Self {
            runtime,
            sender,
            exits,
        })
    }
}

impl Watch for TokioCurrent {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        let _inside = self.runtime.enter();
        let mut child = tokio::process::Command::from(kid.command()).spawn()?;
        let pid = child.id().ok_or("a child without a pid")?;
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            if child.wait().await.is_ok() {
                sender.send(pid).unwrap_or_default();
            }
        });
        Ok(pid)
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        let exit = self.runtime.block_on(self.exits.recv());
        Ok(exit.ok_or("the channel is closed")?)
    }
}

/// async-process with an executor on a thread of its own and a task a child.
struct AsyncProcess {
    executor: Arc<Executor<'static>>,
    sender: Sender<u32>,
    exits: Receiver<u32>,
}

impl AsyncProcess {
    fn new() -> Outcome<Self> {
        let executor = Arc::new(Executor::new());
        let runner = Arc::clone(&executor);
        thread::spawn(move || {
            futures_lite::future::block_on(runner.run(futures_lite::future::pending::<()>()));
        });
        let (sender, exits) = unbounded();
        Ok(Self {
            executor,
            sender,
            exits,
        })
    }
}

impl Watch for AsyncProcess {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        let mut child = kid.async_command().spawn()?;
        let pid = child.id();
        let sender = self.sender.clone();
        let task = self.executor.spawn(async move {
            if child.status().await.is_ok() {
                sender.send(pid).unwrap_or_default();
            }
        });
        task.detach();
        Ok(pid)
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        Ok(self.exits.recv()?)
    }
}

/// What most programs do by hand: a thread a child, in a blocking wait.
struct ThreadEach {
    sender: Sender<u32>,
    exits: Receiver<u32>,
}

impl ThreadEach {
    fn new() -> Self {
        let (sender, exits) = unbounded();
        Self { sender, exits }
    }
}

impl Watch for ThreadEach {
    fn watch(&mut self, kid: Kid) -> Outcome<u32> {
        let mut child = kid.command().spawn()?;
        let pid = child.id();
        let sender = self.sender.clone();
        thread::Builder::new().spawn(move || {
            if child.wait().is_ok() {
                sender.send(pid).unwrap_or_default();
            }
        })?;
        Ok(pid)
    }

    fn next_exit(&mut self) -> Outcome<u32> {
        Ok(self.exits.recv()?)
    }
}

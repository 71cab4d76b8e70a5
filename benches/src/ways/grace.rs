//! Children that ignore SIGTERM and get a grace of 100 ms: the time over the grace until all are reaped.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use procession::{Registry, Signal, StopPolicy};
use rustix::process::kill_process;

use super::crowd::{processkit_crowd, runtime, tokio_crowd};
use super::{Sample, clean, unknown};
use crate::kids::{Idlers, Roll, pid_of};
use crate::{Outcome, clock};

const GRACE: Duration = Duration::from_millis(100);

pub(super) fn find(name: &str, children: usize) -> Outcome<Sample> {
    match name {
        "one-session" => procession(
            children,
            |_| 1,
            |registry, policy, _| clean(registry.end_session_with(1, policy)?),
        ),
        "many-sessions" => procession(
            children,
            |n| n,
            |registry, policy, children| {
                let endings = (0..children)
                    .map(|n| registry.begin_end_session(n, policy))
                    .collect::<procession::Result<Vec<_>>>()?;
                for ending in endings {
                    clean(ending.wait()?)?;
                }
                Ok(())
            },
        ),
        "many-threads" => procession(children, |n| n, from_threads),
        "by-hand" => by_hand(children, end_by_hand),
        "by-hand-threads" => by_hand(children, end_by_hand_from_threads),
        "tokio" => tokio(children),
        "processkit" => processkit(children),
        _ => Err(unknown(name)),
    }
}

/// Runs `end` against the clock, takes the grace off, and counts who lives when it returns.
fn over_grace(roll: &Roll, end: &mut dyn FnMut() -> Outcome<()>) -> Outcome<Vec<u64>> {
    let start = clock();
    end()?;
    let took = Duration::from_nanos(clock() - start);
    let over = took
        .checked_sub(GRACE)
        .ok_or("it returned before the grace was over")?;
    Ok(vec![u64::try_from(over.as_nanos())?, roll.alive()?])
}

type EndAll = fn(&Registry, &StopPolicy, u64) -> Outcome<()>;

fn procession(children: usize, session_of: fn(u64) -> u64, end: EndAll) -> Outcome<Sample> {
    let registry = Registry::new()?;
    let policy = StopPolicy::new().signal(Signal::TERM, GRACE);
    let children = u64::try_from(children)?;
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let mut roll = Roll::default();
        for n in 0..children {
            let process = registry.spawn(session_of(n), &mut idlers.child()?.command())?;
            roll.add(process.pid())?;
        }
        over_grace(&roll, &mut || end(&registry, &policy, children))
    }))
}

fn from_threads(registry: &Registry, policy: &StopPolicy, children: u64) -> Outcome<()> {
    thread::scope(|scope| {
        let ends: Vec<_> = (0..children)
            .map(|n| scope.spawn(move || registry.end_session_with(n, policy)))
            .collect();
        for end in ends {
            let report = end.join().map_err(|_| "an ending thread panicked")?;
            clean(report?)?;
        }
        Ok(())
    })
}

fn by_hand(children: usize, end: fn(&mut Vec<Child>) -> Outcome<()>) -> Outcome<Sample> {
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let mut roll = Roll::default();
        let mut crowd: Vec<Child> = Vec::new();
        for _ in 0..children {
            let child = idlers.child()?.command().spawn()?;
            roll.add(child.id())?;
            crowd.push(child);
        }
        over_grace(&roll, &mut || end(&mut crowd))
    }))
}

/// What a careful program does without a library: a look every 10 ms, one deadline for all.
fn end_by_hand(crowd: &mut Vec<Child>) -> Outcome<()> {
    let deadline = Instant::now() + GRACE;
    for child in &*crowd {
        kill_process(pid_of(child.id())?, rustix::process::Signal::TERM)?;
    }
    while !crowd.is_empty() && Instant::now() < deadline {
        let mut living = Vec::new();
        for mut child in crowd.drain(..) {
            if child.try_wait()?.is_none() {
                living.push(child);
            }
        }
        *crowd = living;
        let left = deadline.saturating_duration_since(Instant::now());
        thread::sleep(left.min(Duration::from_millis(10)));
    }
    for child in &mut *crowd {
        child.kill()?;
    }
    for child in crowd {
        child.wait()?;
    }
    Ok(())
}

/// The same where each has a thread of its own, which is what such threads cost.
fn end_by_hand_from_threads(crowd: &mut Vec<Child>) -> Outcome<()> {
    thread::scope(|scope| {
        let end = |mut child: Child| -> std::io::Result<()> {
            if let Ok(pid) = pid_of(child.id()) {
                kill_process(pid, rustix::process::Signal::TERM)?;
            }
            thread::sleep(GRACE);
            child.kill()?;
            child.wait().map(drop)
        };
        let ends: Vec<_> = crowd
            .drain(..)
            .map(|child| scope.spawn(move || end(child)))
            .collect();
        for end in ends {
            end.join().map_err(|_| "an ending thread panicked")??;
        }
        Ok(())
    })
}

fn tokio(children: usize) -> Outcome<Sample> {
    let runtime = runtime()?;
    Ok(Box::new(move || {
        let (roll, mut crowd, _idlers) = tokio_crowd(&runtime, children)?;
        over_grace(&roll, &mut || {
            let ends: Vec<_> = crowd
                .drain(..)
                .map(|mut child| {
                    runtime.spawn(async move {
                        if let Some(pid) = child.id().and_then(|pid| pid_of(pid).ok()) {
                            kill_process(pid, rustix::process::Signal::TERM)?;
                        }
                        match tokio::time::timeout(GRACE, child.wait()).await {
                            Ok(exit) => exit.map(|_| ()),
                            Err(_) => child.kill().await,
                        }
                    })
                })
                .collect();
            runtime.block_on(async {
                for end in ends {
                    end.await??;
                }
                Ok(())
            })
        })
    }))
}

fn processkit(children: usize) -> Outcome<Sample> {
    processkit_crowd(children, GRACE, over_grace)
}

//! Hundreds of children that ignore SIGTERM, killed at once: until every one of them is reaped.

use std::process::Child;
use std::time::Duration;

use process_wrap::std::{ChildWrapper, CommandWrap, ProcessGroup};
use procession::{Registry, StopPolicy};

use super::crowd::{processkit_crowd, runtime, tokio_crowd};
use super::{Sample, clean, unknown};
use crate::kids::{Idlers, Roll};
use crate::{Outcome, clock};

pub(super) fn find(name: &str, children: usize) -> Outcome<Sample> {
    match name {
        "all-then-wait" => by_hand(children, |crowd| {
            for child in crowd.iter_mut() {
                child.kill()?;
            }
            for child in crowd {
                child.wait()?;
            }
            Ok(())
        }),
        "one-by-one" => by_hand(children, |crowd| {
            for child in crowd {
                child.kill()?;
                child.wait()?;
            }
            Ok(())
        }),
        "procession" => procession(children),
        "process-wrap" => process_wrap(children),
        "tokio" => tokio(children),
        "processkit" => processkit(children),
        _ => Err(unknown(name)),
    }
}

/// Runs `end` against the clock, and counts who lives when it returns.
fn timed(roll: &Roll, end: &mut dyn FnMut() -> Outcome<()>) -> Outcome<Vec<u64>> {
    let start = clock();
    end()?;
    let took = clock() - start;
    Ok(vec![took, roll.alive()?])
}

fn by_hand(children: usize, end: fn(&mut [Child]) -> Outcome<()>) -> Outcome<Sample> {
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let mut roll = Roll::default();
        let mut crowd = Vec::new();
        for _ in 0..children {
            let child = idlers.child()?.command().spawn()?;
            roll.add(child.id())?;
            crowd.push(child);
        }
        timed(&roll, &mut || end(&mut crowd))
    }))
}

fn procession(children: usize) -> Outcome<Sample> {
    let registry = Registry::new()?;
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let mut roll = Roll::default();
        for _ in 0..children {
            roll.add(registry.spawn(1, &mut idlers.child()?.command())?.pid())?;
        }
        timed(&roll, &mut || {
            clean(registry.end_session_with(1, &StopPolicy::immediate())?)
        })
    }))
}

fn process_wrap(children: usize) -> Outcome<Sample> {
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let mut roll = Roll::default();
        let mut crowd: Vec<Box<dyn ChildWrapper>> = Vec::new();
        for _ in 0..children {
            let child = CommandWrap::from(idlers.child()?.command())
                .wrap(ProcessGroup::leader())
                .spawn()?;
            roll.add(child.id())?;
            crowd.push(child);
        }
        timed(&roll, &mut || {
            for child in &mut crowd {
                child.start_kill()?;
            }
            for child in &mut crowd {
                child.wait()?;
            }
            Ok(())
        })
    }))
}

fn tokio(children: usize) -> Outcome<Sample> {
    let runtime = runtime()?;
    Ok(Box::new(move || {
        let (roll, mut crowd, _idlers) = tokio_crowd(&runtime, children)?;
        timed(&roll, &mut || {
            for child in &mut crowd {
                child.start_kill()?;
            }
            runtime.block_on(async {
                for child in &mut crowd {
                    child.wait().await?;
                }
                Ok(())
            })
        })
    }))
}

/// Its confirmed kill: no grace, and what still lived is in the answer.
fn processkit(children: usize) -> Outcome<Sample> {
    processkit_crowd(children, Duration::ZERO, timed)
}

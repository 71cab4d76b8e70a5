//! Crowds of stubborn children as the peers start them.

use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Runtime};

use super::Sample;
use crate::Outcome;
use crate::kids::{Idlers, Roll};

pub(super) fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Started by tokio. They live as long as what is last.
pub(super) fn tokio_crowd(
    runtime: &Runtime,
    children: usize,
) -> Outcome<(Roll, Vec<Child>, Idlers)> {
    let _inside = runtime.enter();
    let idlers = Idlers::new()?;
    let mut roll = Roll::default();
    let mut crowd = Vec::new();
    for _ in 0..children {
        let child = Command::from(idlers.child()?.command()).spawn()?;
        roll.add(child.id().ok_or("a child without a pid")?)?;
        crowd.push(child);
    }
    Ok((roll, crowd, idlers))
}

/// How an end is timed.
type Timed = fn(&Roll, &mut dyn FnMut() -> Outcome<()>) -> Outcome<Vec<u64>>;

/// Started and ended by processkit, whose confirmed end is what is timed.
pub(super) fn processkit_crowd(children: usize, grace: Duration, timed: Timed) -> Outcome<Sample> {
    let runtime = runtime()?;
    Ok(Box::new(move || {
        let _inside = runtime.enter();
        let idlers = Idlers::new()?;
        let group = processkit::ProcessGroup::new()?;
        let mut roll = Roll::default();
        let mut crowd = Vec::new();
        for _ in 0..children {
            let child = group.spawn(idlers.child()?.command().into())?;
            roll.add(child.id().ok_or("a child without a pid")?)?;
            crowd.push(child);
        }
        let sample = timed(&roll, &mut || {
            runtime.block_on(group.stop(grace, true))?;
            Ok(())
        })?;
        for child in &mut crowd {
            runtime.block_on(child.wait())?;
        }
        Ok(sample)
    }))
}

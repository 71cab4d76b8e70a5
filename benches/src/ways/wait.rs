//! From the child's last instruction to the return of a call that waits for it.

use std::time::Duration;

use process_wrap::std::{CommandWrap, ProcessGroup};
use procession::Registry;
use shared_child::SharedChild;
use wait_timeout::ChildExt;

use super::{Sample, unknown};
use crate::kids::{Kid, Stamp};
use crate::{Outcome, clock};

/// Starts the command, tells it to go, waits, and says when the wait returned.
type Way = Box<dyn FnMut(Kid, &mut Stamp) -> Outcome<u64>>;

pub(super) fn find(name: &str) -> Outcome<Sample> {
    let mut way = way(name)?;
    Ok(Box::new(move || {
        let (kid, mut stamp) = Stamp::child()?;
        let returned = way(kid, &mut stamp)?;
        Ok(vec![returned.saturating_sub(stamp.at()?)])
    }))
}

fn way(name: &str) -> Outcome<Way> {
    match name {
        "waitpid" => Ok(Box::new(|kid, stamp| {
            let mut child = kid.command().spawn()?;
            stamp.go()?;
            child.wait()?;
            Ok(clock())
        })),
        "procession" => procession(),
        "process-wrap" => Ok(Box::new(|kid, stamp| {
            let mut command = CommandWrap::from(kid.command());
            let mut child = command.wrap(ProcessGroup::leader()).spawn()?;
            stamp.go()?;
            child.wait()?;
            Ok(clock())
        })),
        "shared_child" => Ok(Box::new(|kid, stamp| {
            let child = SharedChild::spawn(&mut kid.command())?;
            stamp.go()?;
            child.wait()?;
            Ok(clock())
        })),
        "wait-timeout" => Ok(Box::new(|kid, stamp| {
            let mut child = kid.command().spawn()?;
            stamp.go()?;
            child.wait_timeout(Duration::from_secs(10))?;
            Ok(clock())
        })),
        "subprocess" => Ok(Box::new(|kid, stamp| {
            let job = kid.subprocess().start()?;
            stamp.go()?;
            job.wait()?;
            Ok(clock())
        })),
        "subprocess-timeout" => Ok(Box::new(|kid, stamp| {
            let job = kid.subprocess().start()?;
            stamp.go()?;
            job.wait_timeout(Duration::from_secs(10))?;
            Ok(clock())
        })),
        "tokio" => tokio(),
        "async-process" => Ok(Box::new(|kid, stamp| {
            let mut child = kid.async_command().spawn()?;
            stamp.go()?;
            futures_lite::future::block_on(child.status())?;
            Ok(clock())
        })),
        _ => Err(unknown(name)),
    }
}

fn procession() -> Outcome<Way> {
    let registry = Registry::new()?;
    Ok(Box::new(move |kid, stamp| {
        let process = registry.spawn(1, &mut kid.command())?;
        stamp.go()?;
        process.wait()?;
        Ok(clock())
    }))
}

/// The current-thread runtime: the faster of the two for a single waiter.
fn tokio() -> Outcome<Way> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(Box::new(move |kid, stamp| {
        let _inside = runtime.enter();
        let mut child = tokio::process::Command::from(kid.command()).spawn()?;
        stamp.go()?;
        runtime.block_on(child.wait())?;
        Ok(clock())
    }))
}

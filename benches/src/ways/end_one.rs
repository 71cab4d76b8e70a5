//! One child that obeys SIGTERM: from the request to its confirmed end.

use std::io::Read;

use procession::{Containment, Registry, StopPolicy};
use rustix::process::{Signal, kill_process};

use super::{Sample, clean, unknown};
use crate::kids::{Idlers, Kid, Roll, pid_of};
use crate::{Outcome, clock};

/// Starts the command; the answer ends what was started.
type Way = Box<dyn FnMut(Kid) -> Outcome<(u32, End)>>;
type End = Box<dyn FnOnce() -> Outcome<()>>;

pub(super) fn find(name: &str) -> Outcome<Sample> {
    let mut way = way(name)?;
    let idlers = Idlers::new()?;
    Ok(Box::new(move || {
        let (kid, mut up) = idlers.child_that_says_so()?;
        let (pid, end) = way(kid)?;
        let mut roll = Roll::default();
        roll.add(pid)?;
        up.read_exact(&mut [0; 2])?;
        let start = clock();
        end()?;
        let took = clock() - start;
        Ok(vec![took, roll.alive()?])
    }))
}

fn way(name: &str) -> Outcome<Way> {
    match name {
        "by-hand" => Ok(Box::new(|kid| {
            let mut child = kid.command().spawn()?;
            let pid = child.id();
            let end = move || {
                kill_process(pid_of(pid)?, Signal::TERM)?;
                child.wait()?;
                Ok(())
            };
            Ok((pid, Box::new(end) as End))
        })),
        "leader" => procession(Containment::Leader),
        "group" => procession(Containment::Group),
        _ => Err(unknown(name)),
    }
}

fn procession(tier: Containment) -> Outcome<Way> {
    let registry = Registry::builder().containment(tier).build()?;
    let policy = StopPolicy::graceful();
    Ok(Box::new(move |kid| {
        let pid = registry.spawn(1, &mut kid.command())?.pid();
        let (registry, policy) = (registry.clone(), policy.clone());
        let end = move || clean(registry.end_session_with(1, &policy)?);
        Ok((pid, Box::new(end) as End))
    }))
}

//! A trivial program that leads a session of its own and dies with its parent, from before its start to its known exit.

use std::os::unix::process::CommandExt;
use std::thread;

use process_wrap::std::{CommandWrap, ProcessSession};
use procession::{Containment, Registry, Signal};

use super::{Sample, unknown};
use crate::kids::Kid;
use crate::{Outcome, clock};

pub(super) fn find(name: &str) -> Outcome<Sample> {
    let mut way = way(name)?;
    Ok(Box::new(move || {
        let kid = Kid::quitter()?;
        let start = clock();
        way(kid)?;
        Ok(vec![clock() - start])
    }))
}

type Way = Box<dyn FnMut(Kid) -> Outcome<()>>;

fn way(name: &str) -> Outcome<Way> {
    match name {
        // A group is the most that std does without a fork.
        "std-group" => Ok(Box::new(|kid| {
            kid.command().process_group(0).spawn()?.wait()?;
            Ok(())
        })),
        "procession" => {
            let registry = Registry::new()?;
            Ok(Box::new(move |kid| {
                registry.spawn(1, &mut kid.native_command())?.wait()?;
                Ok(())
            }))
        }
        "procession-session" => {
            let registry = Registry::new()?;
            Ok(Box::new(move |kid| {
                let mut command = kid.native_command();
                command.new_session(true);
                registry.spawn(1, &mut command)?.wait()?;
                Ok(())
            }))
        }
        "procession-session-death-signal" => {
            let registry = Registry::new()?;
            Ok(Box::new(move |kid| {
                let mut command = kid.native_command();
                command.new_session(true).parent_death_signal(Signal::KILL);
                registry.spawn(1, &mut command)?.wait()?;
                Ok(())
            }))
        }
        "procession-all" => {
            let registry = Registry::builder()
                .containment(Containment::Cgroup)
                .build()?;
            Ok(Box::new(move |kid| {
                let mut command = kid.native_command();
                command.new_session(true).parent_death_signal(Signal::KILL);
                registry.spawn(1, &mut command)?.wait()?;
                Ok(())
            }))
        }
        // The others fork for it, and have no parent-death signal.
        "process-wrap-session" => Ok(Box::new(|kid| {
            let mut command = CommandWrap::from(kid.command());
            command.wrap(ProcessSession).spawn()?.wait()?;
            Ok(())
        })),
        "tokio-group" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(Box::new(move |kid| {
                let _inside = runtime.enter();
                let mut command = tokio::process::Command::from(kid.command());
                let mut child = command.process_group(0).spawn()?;
                runtime.block_on(child.wait())?;
                Ok(())
            }))
        }
        _ => Err(unknown(name)),
    }
}

/// So many threads at once, each with a few programs one after the other.
pub(super) fn crowded(name: &str, threads: usize) -> Outcome<Sample> {
    const EACH: usize = 4;
    let registry = Registry::new()?;
    let one: fn(&Registry) -> Outcome<()> = match name {
        "std-group" => |_| {
            let mut command = Kid::quitter()?.command();
            command.process_group(0).spawn()?.wait()?;
            Ok(())
        },
        "procession" => |registry| {
            let mut command = Kid::quitter()?.native_command();
            registry.spawn(1, &mut command)?.wait()?;
            Ok(())
        },
        "procession-session-death-signal" => |registry| {
            let mut command = Kid::quitter()?.native_command();
            command.new_session(true).parent_death_signal(Signal::KILL);
            registry.spawn(1, &mut command)?.wait()?;
            Ok(())
        },
        _ => return Err(unknown(name)),
    };
    Ok(Box::new(move || {
        let start = clock();
        thread::scope(|scope| {
            let run = || (0..EACH).try_for_each(|_| one(&registry).map_err(|e| e.to_string()));
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            all.into_iter()
                .try_for_each(|one| one.join().map_err(|_| "a panic".to_owned())?)
        })?;
        Ok(vec![clock() - start])
    }))
}

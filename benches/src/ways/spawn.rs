//! A trivial program, from before its start to its known exit.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use procession::Registry;

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

fn way(name: &str) -> Outcome<Box<dyn FnMut(Kid) -> Outcome<()>>> {
    match name {
        "std" => Ok(Box::new(|kid| {
            kid.command().spawn()?.wait()?;
            Ok(())
        })),
        // What the library asks of std: what it costs beyond this is its own.
        "std-group-env" => Ok(Box::new(|kid| {
            let mut command = kid.command();
            command.process_group(0).env("PROCESSION_MARK", "1");
            command.spawn()?.wait()?;
            Ok(())
        })),
        "procession" => {
            let registry = Registry::new()?;
            Ok(Box::new(move |kid| {
                registry.spawn(1, &mut kid.command())?.wait()?;
                Ok(())
            }))
        }
        // It writes to it before and after the spawn, and at the exit.
        "procession-ledger" => {
            let file = Scratch::new();
            let registry = Registry::builder().ledger(&file.0).build()?;
            Ok(Box::new(move |kid| {
                let _until_then = &file;
                registry.spawn(1, &mut kid.command())?.wait()?;
                Ok(())
            }))
        }
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(Box::new(move |kid| {
                let _inside = runtime.enter();
                let mut child = tokio::process::Command::from(kid.command()).spawn()?;
                runtime.block_on(child.wait())?;
                Ok(())
            }))
        }
        "async-process" => Ok(Box::new(|kid| {
            let mut child = kid.async_command().spawn()?;
            futures_lite::future::block_on(child.status())?;
            Ok(())
        })),
        _ => Err(unknown(name)),
    }
}

/// A file that is gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("procession-bench-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

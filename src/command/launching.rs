//! Carrying out what a [`Command`] says.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use rustix::io::Errno;

use super::builder::Command;
use crate::containment::Containment;
use crate::launch::{Failure, Launch, Launched, Outlets, Setup, sealed};
use crate::sys::{self, Fault, Orders, Pin, Step, Unborn};

impl Launch for Command {}

impl sealed::Sealed for Command {
    fn program(&self) -> &OsStr {
        &self.program
    }

    fn command_line(&self) -> Arc<[OsString]> {
        std::iter::once(&self.program)
            .chain(&self.args)
            .cloned()
            .collect()
    }

    fn containment(&self) -> Option<Containment> {
        self.containment
    }

    fn rights(&self) -> (u32, Vec<u32>) {
        let (own, mut groups) = sys::own_rights();
        if let Some(said) = &self.groups {
            groups.clone_from(said);
        }
        groups.extend(self.gid);
        (self.uid.unwrap_or(own), groups)
    }

    fn launch(&mut self, setup: &Setup<'_>) -> Result<Launched, Failure> {
        let (orders, ends) = self.orders(setup)?;
        let directory = orders.directory.is_some().then(|| self.directory.clone());
        let unborn = setup
            .cradles
            .take()
            .map_err(|error| Failure::at(Step::Stack.name(), error))?;
        let expected = setup
            .spawning
            .expect(Arc::clone(&unborn))
            .ok_or(Failure::Doomed)?;
        let born = carry_out(orders, &unborn, setup);
        // From here on nobody else can end it but through its pin.
        drop(expected);
        setup.cradles.give_back(unborn);
        match born? {
            // Killed by the end of its session, perhaps: then it is a member of that, since nobody knows what it has started
            // before.
            Ok(pin) => Ok(Launched::Native {
                pin,
                pipes: Outlets {
                    stdin: ends.stdin,
                    stdout: ends.stdout,
                    stderr: ends.stderr,
                },
            }),
            Err(Fault {
                step: Step::Clone,
                error,
            }) if Errno::from_io_error(&error) == Some(Errno::CANCELED) => Err(Failure::Doomed),
            Err(Fault { step, error }) => Err(match (step, directory.flatten()) {
                (Step::Directory, Some(directory)) => {
                    Failure::at(format!("{step} to {directory:?}"), error)
                }
                _ => Failure::at(step.name(), error),
            }),
        }
    }
}

/// The parent-death signal is bound to the thread that launches, which has to be one that stays: the first, or one of ours.
fn carry_out(
    orders: Orders,
    unborn: &Arc<Unborn>,
    setup: &Setup<'_>,
) -> Result<Result<Pin, Fault>, Failure> {
    let facilities = setup.facilities;
    if orders.parent_death_signal.is_none() || sys::is_first_thread() {
        return Ok(sys::launch(&orders, unborn, &facilities));
    }
    let unborn = Arc::clone(unborn);
    setup
        .threads
        .run(move || sys::launch(&orders, &unborn, &facilities))
        .map_err(|error| Failure::at("a launch thread", error))
}

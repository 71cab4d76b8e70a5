//! Who sleeps on a process takes its exit off the reactor's hands.
//!
//! An exit wakes everybody who waits for it at once. Of two threads one would get in the other's way: on the processor, on
//! locks, and in the caches, where it throws out what the host goes on with. So while a thread of the host sleeps on a child
//! and nobody but it wants to hear of the exit, the poll is told to keep quiet about that child; the thread says what it has
//! seen when it is awake, and does not wake the reactor for that. It hears of the exit a sixth sooner for it, on two processors.
//!
//! The reactor [listens](Sleepers::set_listens) whenever an exit concerns anybody else: somebody subscribes to events, a request
//! is being handled or has not been answered, a deadline is ahead. So nothing ever depends on a thread of the host being
//! given a processor, except what nobody waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::machine::IdMap;
use crate::session::ProcessId;
use crate::sys::{Pin, Watch};

/// All who sleep.
#[derive(Debug)]
pub(crate) struct Sleepers {
    watch: Watch,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The reactor wants to hear of every exit itself.
    listens: bool,
    beds: IdMap<ProcessId, Bed>,
}

/// A process that is slept on.
#[derive(Debug)]
struct Bed {
    pin: Arc<Pin>,
    threads: usize,
    /// The poll keeps quiet about it.
    muted: bool,
}

/// One thread sleeps. Dropped, it has woken up and leaves the exit to the reactor.
#[derive(Debug)]
pub(crate) struct Asleep<'a> {
    sleepers: &'a Sleepers,
    process: ProcessId,
    /// It tells the reactor itself, or somebody has.
    told: bool,
}

impl Sleepers {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            watch,
            inner: Mutex::default(),
        }
    }

    /// A thread is going to sleep on this process until it ends, which is watched under its id.
    pub(super) fn lie_down(&self, process: ProcessId, pin: &Arc<Pin>) -> Asleep<'_> {
        let mut inner = self.lock();
        let listens = inner.listens;
        let bed = inner.beds.entry(process).or_insert_with(|| Bed {
            pin: Arc::clone(pin),
            threads: 0,
            muted: false,
        });
        bed.threads += 1;
        if !listens && !bed.muted {
            // ENOENT: the reactor is done with it.
            bed.muted = matches!(self.watch.mute(&bed.pin, process.0), Ok(true));
        }
        Asleep {
            sleepers: self,
            process,
            told: false,
        }
    }

    /// Whether the reactor wants to hear of every exit itself from now on. If so, those that it was not told of are in the
    /// poll when this returns.
    pub(super) fn set_listens(&self, listens: bool) {
        let mut inner = self.lock();
        inner.listens = listens;
        if listens {
            for (process, bed) in &mut inner.beds {
                self.unmute(*process, bed);
            }
        }
    }

    /// If it has ended in the meantime the poll says so now.
    fn unmute(&self, process: ProcessId, bed: &mut Bed) {
        if std::mem::take(&mut bed.muted) {
            // ENOENT: the reactor is done with it.
            drop(self.watch.unmute(&bed.pin, process.0));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two of its fields.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asleep<'_> {
    /// It has seen the exit, and everything about it, and tells the reactor by `tell` if nobody else does.
    ///
    /// Under the lock: a reactor that listens from this moment on has been told, or finds it in the poll, however long this
    /// thread is kept from going on.
    pub(super) fn has_seen(mut self, tell: impl FnOnce()) {
        let mut inner = self.sleepers.lock();
        self.told = true;
        let bed = inner.beds.get_mut(&self.process);
        if bed.is_some_and(|bed| std::mem::take(&mut bed.muted)) {
            tell();
        }
        drop(inner);
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        let mut inner = self.sleepers.lock();
        let Some(bed) = inner.beds.get_mut(&self.process) else {
            debug_assert!(false, "a bed is there as long as somebody is in it");
            return;
        };
        bed.threads -= 1;
        let last = bed.threads == 0;
        if last || !self.told {
            self.sleepers.unmute(self.process, bed);
        }
        // Its pin is closed without the lock.
        let left = last.then(|| inner.beds.remove(&self.process));
        drop(inner);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::reactor::now;
    use crate::sys::{self, Mask, Poller, Ready};

    const PROCESS: ProcessId = ProcessId(7);

    /// A child that ends when it is told to, watched.
    struct Scene {
        poller: Poller,
        sleepers: Sleepers,
        pin: Arc<Pin>,
        child: Mutex<Child>,
    }

    impl Scene {
        fn new() -> Self {
            let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let poller = Poller::new().unwrap();
            let pin = Pin::open(child.id(), &sys::probe(Mask::default()).unwrap()).unwrap();
            poller.watch().add(&pin, PROCESS.0).unwrap();
            Self {
                sleepers: Sleepers::new(poller.watch()),
                poller,
                pin: Arc::new(pin),
                child: Mutex::new(child),
            }
        }

        fn reported(&mut self) -> Vec<Ready> {
            let mut ready = Vec::new();
            self.poller.wait(false, &mut ready).unwrap();
            ready
        }

        /// It is dead and not reaped when this returns.
        fn end(&self) {
            drop(self.child.lock().unwrap().stdin.take());
            let until = now() + Duration::from_secs(30);
            assert!(sys::sleep_on_alone(&self.pin, Some(until)).unwrap());
        }

        fn lie_down(&self) -> Asleep<'_> {
            self.sleepers.lie_down(PROCESS, &self.pin)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let child = self.child.get_mut().unwrap();
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Asserts what the poll says after `act`, in which the child ends. Of no use where the back end cannot mute.
    #[track_caller]
    fn reports(expected: &[Ready], act: impl FnOnce(&Scene)) {
        let mut scene = Scene::new();
        let watch = scene.poller.watch();
        if !watch.mute(&scene.pin, PROCESS.0).unwrap() {
            return;
        }
        watch.unmute(&scene.pin, PROCESS.0).unwrap();
        act(&scene);
        assert_eq!(scene.reported(), expected);
    }

    /// Whether it is for this one to tell the exit.
    fn tells(asleep: Asleep<'_>) -> bool {
        let mut told = false;
        asleep.has_seen(|| told = true);
        told
    }

    const REPORTED: [Ready; 1] = [Ready::Process(PROCESS.0)];

    #[test]
    fn an_exit_is_left_to_one_of_those_who_sleep_on_it() {
        reports(&[], |scene| {
            let first = scene.lie_down();
            let second = scene.lie_down();
            scene.end();
            assert!(tells(second));
            assert!(!tells(first), "one is enough");
        });
    }

    #[test]
    fn what_the_last_one_has_not_seen_is_reported() {
        reports(&REPORTED, |scene| {
            let first = scene.lie_down();
            let second = scene.lie_down();
            drop(first);
            drop(second);
            scene.end();
        });
        reports(&REPORTED, |scene| {
            let asleep = scene.lie_down();
            scene.end();
            drop(asleep);
        });
    }

    /// It has seen that it has ended, and not how.
    #[test]
    fn who_wakes_up_unsure_does_not_leave_it_to_the_others() {
        reports(&REPORTED, |scene| {
            let others = scene.lie_down();
            let unsure = scene.lie_down();
            scene.end();
            drop(unsure);
            assert!(!tells(others));
        });
    }

    #[test]
    fn nothing_is_left_to_who_sleeps_while_the_reactor_listens() {
        reports(&REPORTED, |scene| {
            let asleep = scene.lie_down();
            scene.end();
            scene.sleepers.set_listens(true);
            assert!(!tells(asleep));
        });
        reports(&REPORTED, |scene| {
            scene.sleepers.set_listens(true);
            let asleep = scene.lie_down();
            scene.end();
            assert!(!tells(asleep));
        });
        reports(&[], |scene| {
            scene.sleepers.set_listens(true);
            scene.sleepers.set_listens(false);
            let asleep = scene.lie_down();
            scene.end();
            assert!(tells(asleep));
        });
    }
}

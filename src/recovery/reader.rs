//! Reads what may hang: an environment, a command line.
//!
//! A thread reads, and whoever asks it does not wait for longer than is reasonable. A thread that hangs is left behind; it
//! ends when what it hangs on does.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::machine::IdSet;
use crate::sys;

/// How long one process may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// And every one after so many have hung.
const LESS_PATIENCE: Duration = Duration::from_millis(100);
const HUNG: usize = 3;

type Job = Box<dyn FnOnce() + Send>;

/// What there is to be known does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hangs;

/// One who reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
    /// They are not asked about again.
    hanging: IdSet<u32>,
}

impl Reader {
    /// What `read` finds out about a process.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        pid: u32,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        if self.hanging.contains(&pid) {
            return Err(Hangs);
        }
        let (done, answer) = crossbeam_channel::bounded(1);
        // Whoever asked may have gone.
        self.give(Box::new(move || drop(done.send(read()))));
        let patience = match self.hanging.len() {
            0..HUNG => PATIENCE,
            _ => LESS_PATIENCE,
        };
        answer.recv_timeout(patience).map_err(|_late| {
            self.hanging.insert(pid);
            self.thread = None;
            Hangs
        })
    }

    fn give(&mut self, job: Job) {
        let (jobs, _) = match &mut self.thread {
            Some(thread) => thread,
            none => {
                let (jobs, work) = crossbeam_channel::unbounded::<Job>();
                let thread = std::thread::Builder::new().name("procession-read".into());
                let thread = thread.spawn(move || {
                    // The host's signals are for the host's threads.
                    sys::block_all_signals();
                    work.into_iter().for_each(|job| job());
                });
                match thread {
                    Ok(thread) => none.insert((jobs, thread)),
                    // EAGAIN: there is no thread to be had. It is read here then.
                    Err(_) => return job(),
                }
            }
        };
        // It is there as long as this is: jobs do not panic.
        drop(jobs.send(job));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.thread.take() {
            drop(jobs);
            // One that hangs is not kept here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_is_given_up_and_not_asked_about_again() {
        let mut reader = Reader::default();
        assert_eq!(reader.ask(1, || 7), Ok(7));
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        assert_eq!(reader.ask(2, move || released.recv()), Err(Hangs));
        assert_eq!(reader.ask(3, || 8), Ok(8));
        assert_eq!(reader.ask(2, || 9), Err(Hangs));
        drop(release);
    }
}

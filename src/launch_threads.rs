//! Threads that launch and stay: what is bound to the end of the thread that launched it is bound to these.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::sys;

/// As many as there can be at once. A launch may hang in exec, and the next one is to have a thread all the same.
const MOST: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Starts with no thread. Has one more whenever all are at work, and keeps them until the end.
#[derive(Debug, Default)]
pub(crate) struct LaunchThreads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    jobs: Option<(Sender<Job>, Receiver<Job>)>,
    threads: usize,
    /// Jobs that are not done.
    under_way: Arc<Mutex<usize>>,
    over: bool,
}

impl LaunchThreads {
    /// Does it on one of the threads, and waits for its answer.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is no thread and none can be had; `BrokenPipe` after the end.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = bounded(1);
        let (jobs, under_way) = self.ready()?;
        let done = Arc::clone(&under_way);
        let job = Box::new(move || {
            let result = job();
            // Before the answer: the caller may ask for the next one at once, and this thread is free for it.
            count(&done, |jobs| *jobs -= 1);
            // There is room for it, and the caller waits.
            drop(answer.send(result));
        });
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        jobs.send(job).map_err(|_| broken())?;
        answered.recv().map_err(|_| broken())
    }

    /// Counts a job in, and sees to it that there is a thread for it.
    fn ready(&self) -> io::Result<(Sender<Job>, Arc<Mutex<usize>>)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (sender, receiver) = state.jobs.get_or_insert_with(unbounded).clone();
        let mut enough = false;
        let threads = state.threads;
        count(&state.under_way, |jobs| {
            enough = *jobs < threads || threads >= MOST;
            *jobs += 1;
        });
        if !enough {
            match begin(receiver) {
                Ok(()) => state.threads += 1,
                // The others will get to it.
                Err(_) if threads > 0 => {}
                Err(error) => {
                    count(&state.under_way, |jobs| *jobs -= 1);
                    return Err(error);
                }
            }
        }
        Ok((sender, Arc::clone(&state.under_way)))
    }

    /// Lets the threads go: each ends when what it is doing is done. With `stay` they never do, for the sake of what they
    /// have launched.
    pub(crate) fn end(&self, stay: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.over = true;
        let jobs = state.jobs.take();
        if stay {
            std::mem::forget(jobs);
        }
    }
}

fn count(jobs: &Mutex<usize>, change: impl FnOnce(&mut usize)) {
    change(&mut jobs.lock().unwrap_or_else(PoisonError::into_inner));
}

fn begin(jobs: Receiver<Job>) -> io::Result<()> {
    let work = move || {
        // What is launched has the mask that it is told to have, not this one.
        sys::block_all_signals();
        for job in jobs {
            job();
        }
    };
    thread::Builder::new()
        .name("procession-launch".into())
        .spawn(work)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_hangs_does_not_keep_the_next_from_being_done() {
        let threads = Arc::new(LaunchThreads::default());
        let (go_on, hold) = bounded::<()>(0);
        let (started, running) = bounded(0);
        let hanging = thread::spawn({
            let threads = Arc::clone(&threads);
            move || {
                threads.run(move || {
                    started.send(()).expect("the test listens");
                    hold.recv().expect("the test goes on");
                    1
                })
            }
        });
        running.recv().expect("the first job has begun");
        assert_eq!(threads.run(|| 2).expect("a second thread"), 2);
        go_on.send(()).expect("the first job waits");
        let first = hanging.join().expect("no panic");
        assert_eq!(first.expect("its thread is there"), 1);
        threads.end(false);
        let after = threads.run(|| 3).expect_err("it is over");
        assert_eq!(after.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn one_thread_serves_those_that_come_one_after_the_other() {
        let threads = LaunchThreads::default();
        let ids: Vec<_> = (0..20)
            .map(|_| threads.run(|| thread::current().id()).expect("a thread"))
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
        threads.end(false);
    }
}

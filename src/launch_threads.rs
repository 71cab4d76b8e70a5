//! Threads that launch and stay: what is bound to the end of the thread that launched it is bound to these.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::sys;

/// As many as there can be at once. A launch may hang in exec, and the next one is to have a thread all the same.
const MOST: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Starts with no thread. Has one more whenever all are at work, and keeps them until the end.
///
/// On condition variables and not on channels: whoever waits for one of those gives its processor away some times before it
/// sleeps, and with as many callers as a busy host has that is more work than to sleep.
#[derive(Debug, Default)]
pub(crate) struct LaunchThreads(Arc<Office>);

#[derive(Default)]
struct Office {
    state: Mutex<State>,
    /// There is a job, or none will ever come.
    news: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Promises that are not kept.
    under_way: usize,
    threads: usize,
    over: bool,
    /// The threads are there for ever.
    stay: bool,
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
        let answer = Arc::new(Answer::default());
        let promise = Promise::new(&self.0, &answer);
        let job = Box::new(move || {
            let value = job();
            promise.keep(value);
        });
        self.give_out(job)?;
        answer
            .wait()
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// Sees to it that there is a thread for the job.
    fn give_out(&self, job: Job) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.under_way > state.threads && state.threads < MOST {
            match begin(Arc::clone(&self.0)) {
                Ok(()) => state.threads += 1,
                // The others will get to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.0.news.notify_one();
        Ok(())
    }

    /// Lets the threads go: each ends when there is nothing left to do. With `stay` they never do, for the sake of what they
    /// have launched.
    pub(crate) fn end(&self, stay: bool) {
        let mut state = self.0.lock();
        state.over = true;
        state.stay = stay;
        drop(state);
        self.0.news.notify_all();
    }
}

impl Office {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two of its fields.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.over && !state.stay {
                return None;
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").finish_non_exhaustive()
    }
}

/// What the caller sleeps on.
struct Answer<T> {
    /// `Some(None)`: there will be none.
    given: Mutex<Option<Option<T>>>,
    come: Condvar,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self {
            given: Mutex::new(None),
            come: Condvar::new(),
        }
    }
}

impl<T> Answer<T> {
    fn wait(&self) -> Option<T> {
        let mut given = self.lock();
        loop {
            if let Some(answer) = given.take() {
                return answer;
            }
            given = self
                .come
                .wait(given)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Option<T>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the answer when it is dropped: what it was kept with, or, after a panic, that there is none.
struct Promise<T> {
    office: Arc<Office>,
    answer: Arc<Answer<T>>,
    value: Option<T>,
}

impl<T> Promise<T> {
    fn new(office: &Arc<Office>, answer: &Arc<Answer<T>>) -> Self {
        office.lock().under_way += 1;
        Self {
            office: Arc::clone(office),
            answer: Arc::clone(answer),
            value: None,
        }
    }

    fn keep(mut self, value: T) {
        self.value = Some(value);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        // Before the answer is heard: the caller may ask for the next one at once, and this thread is free for it.
        self.office.lock().under_way -= 1;
        *self.answer.lock() = Some(self.value.take());
        self.answer.come.notify_one();
    }
}

fn begin(office: Arc<Office>) -> io::Result<()> {
    let work = move || {
        // What is launched has the mask that it is told to have, not this one.
        sys::block_all_signals();
        while let Some(job) = office.next() {
            // Its caller hears that there is no answer.
            drop(catch_unwind(AssertUnwindSafe(job)));
        }
    };
    thread::Builder::new()
        .name("procession-launch".into())
        .spawn(work)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

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
    fn a_job_that_panics_has_no_answer_and_takes_no_thread_with_it() {
        let threads = LaunchThreads::default();
        for _ in 0..2 * MOST {
            let none = threads.run(|| panic!("asked for by a test"));
            let none: io::Result<()> = none;
            let error = none.expect_err("there is no answer");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(threads.run(|| 1).expect("a thread"), 1);
        threads.end(false);
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

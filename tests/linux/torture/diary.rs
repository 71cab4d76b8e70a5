//! What each thread did last, for whoever has to find out why a run failed; and whether it still comes back.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::{let_pass, ms, now};

/// So many lines are kept of each thread.
const KEPT: usize = 24;

static ALL: Mutex<Vec<Arc<Diary>>> = Mutex::new(Vec::new());

/// The last operations of one thread.
#[derive(Debug)]
pub(super) struct Diary {
    who: String,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    lines: VecDeque<(Instant, String)>,
    /// An operation that has begun and is not over.
    since: Option<Instant>,
}

impl Diary {
    pub(super) fn begin(who: String) -> Arc<Self> {
        let diary = Arc::new(Self {
            who,
            pages: Mutex::default(),
        });
        all().push(Arc::clone(&diary));
        diary
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is what is done now.
    pub(super) fn does(&self, what: String) {
        let mut pages = self.pages();
        if pages.lines.len() == KEPT {
            pages.lines.pop_front();
        }
        pages.lines.push_back((now(), what));
        pages.since = Some(now());
    }

    /// And this came of it.
    pub(super) fn done(&self, what: &str) {
        let mut pages = self.pages();
        if let Some((_, line)) = pages.lines.back_mut() {
            line.push_str(" -> ");
            line.push_str(what);
        }
    }

    /// Nothing is under way any more.
    pub(super) fn rests(&self) {
        self.pages().since = None;
    }

    pub(super) fn close(&self) {
        all().retain(|other| !std::ptr::eq(&raw const **other, self));
    }
}

fn all() -> std::sync::MutexGuard<'static, Vec<Arc<Diary>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all of them did last, with how long ago that was.
pub(super) fn read_out() -> String {
    let mut text = String::new();
    // The one that fails may be at its own diary.
    let Ok(all) = ALL.try_lock() else {
        return text;
    };
    for diary in all.iter() {
        let _ = writeln!(text, "{}:", diary.who);
        let Ok(pages) = diary.pages.try_lock() else {
            continue;
        };
        for (at, line) in &pages.lines {
            let _ = writeln!(text, "  {:>6} ms ago: {line}", at.elapsed().as_millis());
        }
    }
    text
}

/// Says of whom an operation takes longer than that.
fn who_hangs(limit: Duration) -> Option<String> {
    let all = all();
    let hangs = |diary: &&Arc<Diary>| {
        let since = diary.pages().since;
        since.is_some_and(|since| since.elapsed() > limit)
    };
    all.iter().find(hangs).map(|diary| diary.who.clone())
}

/// Looks until `over` says that it is: a call that does not come back ends the process, after all has been said.
pub(super) fn keep_watch(limit: impl Fn() -> Duration, over: impl Fn() -> bool) {
    while !over() {
        let limit = limit();
        if let Some(who) = who_hangs(limit) {
            panic!("{who} hangs: one call took more than {limit:?}");
        }
        let_pass(ms(20));
    }
}

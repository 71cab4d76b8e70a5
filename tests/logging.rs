//! The host's logger: it may block, panic, or write to a member of a session, and no end waits for it.

mod support;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use procession::{How, Rung, Signal, StopPolicy};

use support::{
    LONG_ENOUGH, Works, clean, close, close_with, eventually, member, ms, pipe, registry, role,
    start, test,
};

fn main() -> ExitCode {
    support::main(
        &[
            test!(a_logger_that_writes_to_a_member_of_the_session_delays_no_kill),
            test!(a_logger_that_blocks_delays_no_end_and_no_spawn),
            test!(a_logger_that_panics_breaks_nothing),
            test!(what_happens_is_logged_with_session_and_pid),
        ],
        &[],
    )
}

fn term_then_kill(grace: Duration) -> StopPolicy {
    StopPolicy::new().signal(Signal::TERM, grace).kill()
}

/// A logger that does what its test says with each record.
struct Logger(Box<dyn Fn(&log::Record<'_>) + Send + Sync>);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        (self.0)(record);
    }

    fn flush(&self) {}
}

fn log_by(record: impl Fn(&log::Record<'_>) + Send + Sync + 'static) {
    log::set_logger(Box::leak(Box::new(Logger(Box::new(record)))))
        .expect("each test has its process, and one logger");
    log::set_max_level(log::LevelFilter::Trace);
}

fn a_logger_that_writes_to_a_member_of_the_session_delays_no_kill() {
    let (reader, writer) = pipe();
    // A pipe of one page, which is full: the next record blocks until its reader reads, or dies.
    support::shrink_pipe(&writer);
    (&writer).write_all(&[b'x'; 4096]).expect("it holds a page");
    let entered = Arc::new(OnceLock::new());
    let output = Arc::new(Mutex::new(Some(writer)));
    let (seen, written_to) = (Arc::clone(&entered), Arc::clone(&output));
    log_by(move |record| {
        let _ = seen.set(());
        if let Some(mut writer) = written_to.lock().expect("no logger panics").as_ref() {
            // The end of the pipe's reader is the end of this logger's output.
            let _ = writer.write_all(record.target().as_bytes());
        }
    });
    let registry = registry();
    let (child, _lines) = start(&registry, 1, role("obedient").stdin(reader));
    eventually("the logger is at work", || entered.get().is_some());
    let report = clean(
        registry
            .end_session_with(1, &term_then_kill(LONG_ENOUGH))
            .works(),
    );
    assert_eq!(
        member(&report, &child).how(),
        How::At(Rung::Signal(Signal::TERM))
    );
    drop(registry);
    output.lock().expect("no logger panics").take();
}

fn a_logger_that_blocks_delays_no_end_and_no_spawn() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    log_by(move |_| {
        // Until the test lets go of the other end.
        let _ = blocked.lock().map(|blocked| blocked.recv());
    });
    let registry = registry();
    for session in 0..20 {
        let (_stubborn, _stubborn_lines) = start(&registry, session, &mut role("ignores-term"));
        let (_obedient, _obedient_lines) = start(&registry, session, &mut role("obedient"));
        close_with(&registry, session, &term_then_kill(ms(20)));
    }
    // More than any queue for records holds: what is lost is counted, not waited for.
    for _ in 0..300 {
        let mut command = std::process::Command::new("true");
        registry
            .spawn(1, &mut command)
            .expect("there is `true`")
            .wait()
            .works();
    }
    let reports = registry.shutdown().works();
    assert!(reports.iter().all(procession::SessionReport::is_clean));
    drop(release);
    drop(registry);
}

fn a_logger_that_panics_breaks_nothing() {
    log_by(|_| panic!("a logger that panics"));
    let registry = registry();
    for session in 0..3 {
        let (_child, _lines) = start(&registry, session, &mut role("obedient"));
        close(&registry, session);
    }
}

fn what_happens_is_logged_with_session_and_pid() {
    let records = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&records);
    log_by(move |record| {
        if record.target() == "procession" {
            written
                .lock()
                .expect("no logger panics")
                .push(record.args().to_string());
        }
    });
    let registry = registry();
    let (child, _lines) = start(&registry, 4711, &mut role("ignores-term"));
    close_with(&registry, 4711, &term_then_kill(ms(20)));
    let logged = |word: &str| {
        let (pid, id) = (child.pid().to_string(), child.id().to_string());
        let records = records.lock().expect("no logger panics");
        let about =
            |text: &&String| text.contains("4711") && text.contains(&pid) && text.contains(&id);
        records
            .iter()
            .filter(about)
            .any(|text| text.to_lowercase().contains(word))
    };
    for word in ["started", "signalled", "escalated", "exited"] {
        assert!(
            support::holds_within(LONG_ENOUGH, || logged(word)),
            "{word:?} is not in {records:?}"
        );
    }
}

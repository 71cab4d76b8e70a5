//! Threads that sleep on a process, on the reactor's end, or on a pipe.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};

use super::support::*;
use crate::sys::*;

fn past() -> Option<std::time::Instant> {
    now().checked_sub(Duration::from_secs(1))
}

fn patience() -> Option<std::time::Instant> {
    Some(now() + PATIENCE)
}

#[test]
fn a_sleeper_wakes_when_the_process_ends() {
    let (_holder, line) = lifeline().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    std::thread::scope(|scope| {
        let sleepers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| sleep_on(&pin, &line, patience()).unwrap()))
            .collect();
        child.hang_up();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), Woken::Process);
        }
    });
    assert_eq!(peek_child(child.pid()).unwrap(), ChildState::Waitable);
}

#[test]
fn a_sleeper_wakes_when_the_reactor_ends_and_later_ones_do_not_sleep() {
    let (holder, line) = lifeline().unwrap();
    let child = Actor::idle();
    let pin = child.pin();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleep_on(&pin, &line, patience()).unwrap());
        drop(holder);
        assert_eq!(sleeper.join().unwrap(), Woken::ReactorGone);
    });
    for _ in 0..3 {
        assert_eq!(sleep_on(&pin, &line, None).unwrap(), Woken::ReactorGone);
    }
}

#[test]
fn a_process_that_ended_wins_over_the_reactors_end_and_both_over_the_deadline() {
    let (holder, line) = lifeline().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::TimedOut);
    drop(holder);
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::ReactorGone);
    child.hang_up();
    until_dead(&pin);
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::Process);
    child.steal_status();
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::Process);
}

#[test]
fn a_sleep_lasts_until_its_deadline_and_a_past_one_is_a_look() {
    let (_holder, line) = lifeline().unwrap();
    let child = Actor::idle();
    let pin = child.pin();
    for micros in [0, 1, 999, 1001, 30_000] {
        let deadline = now() + Duration::from_micros(micros);
        assert_eq!(
            sleep_on(&pin, &line, Some(deadline)).unwrap(),
            Woken::TimedOut
        );
        assert!(now() >= deadline, "{micros} us");
    }
}

#[test]
fn the_furthest_deadline_is_slept_towards() {
    let (holder, line) = lifeline().unwrap();
    let child = Actor::idle();
    let pin = child.pin();
    let far = [1 << 31, 1 << 40, 1 << 62].map(Duration::from_secs);
    std::thread::scope(|scope| {
        let deadlines = far.iter().filter_map(|far| now().checked_add(*far));
        let (pin, line) = (&pin, &line);
        let sleepers: Vec<_> = deadlines
            .map(|at| scope.spawn(move || sleep_on(pin, line, Some(at)).unwrap()))
            .collect();
        drop(holder);
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), Woken::ReactorGone);
        }
    });
}

/// Forks without exec while a lifeline is open. In the child first the holder's copy is dropped, then it holds on to the
/// copy of the pipe until it is ended.
#[test]
#[ignore = "a part, played for other tests"]
fn host_that_forks() {
    if !plays("host_that_forks") {
        return;
    }
    let (holder, line) = lifeline().unwrap();
    let victim = Actor::idle();
    let pin = victim.pin();

    let child = forked(|| drop(holder_copy(&holder)));
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::TimedOut);

    drop(holder);
    assert_eq!(sleep_on(&pin, &line, past()).unwrap(), Woken::ReactorGone);
    let child = Pin::open(child, &facilities()).unwrap();
    assert!(!child.is_dead().unwrap(), "it holds a copy of the pipe");
    send_signal(Target::Process(&child), 9, &facilities()).unwrap();
    until_dead(&child);
    assert!(child.reap().unwrap());
}

/// What drops in a forked child: the same value, by way of its memory's copy.
#[expect(unsafe_code, reason = "the child's copy of a value of the parent")]
fn holder_copy(holder: &LifelineHolder) -> LifelineHolder {
    // SAFETY: only called in a forked child, where the value behind the reference is a copy that nobody drops.
    unsafe { std::ptr::read(holder) }
}

/// Forks; the child does something, says so, and stays until it is ended, or until the parent has ended.
#[expect(unsafe_code, reason = "std does not fork without exec")]
fn forked(act: impl FnOnce()) -> u32 {
    let (done, tell) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (parent, alive) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    // SAFETY: the child below allocates nothing and takes no lock.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        act();
        drop(alive);
        let _told = rustix::io::write(&tell, &[1]);
        let _ended = rustix::io::read(&parent, &mut [0_u8; 1][..]);
        // SAFETY: it ends without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(tell);
    assert_eq!(rustix::io::read(&done, &mut [0_u8; 1][..]).unwrap(), 1);
    // It lasts as long as this process.
    std::mem::forget(alive);
    pid.unsigned_abs()
}

#[test]
fn a_host_that_forks_neither_ends_its_reactor_in_the_child_nor_hides_its_end() {
    Actor::part(module_path!(), "host_that_forks").passed();
}

/// Interrupts its own sleeper as fast as it can.
#[test]
#[ignore = "a part, played for other tests"]
fn host_with_a_signal_handler() {
    if !plays("host_with_a_signal_handler") {
        return;
    }
    catch_usr1();
    let (_holder, line) = lifeline().unwrap();
    let child = Actor::idle();
    let pin = child.pin();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            tell.send(rustix::thread::gettid()).unwrap();
            let deadline = now() + Duration::from_millis(50);
            assert_eq!(
                sleep_on(&pin, &line, Some(deadline)).unwrap(),
                Woken::TimedOut
            );
            assert!(now() >= deadline, "cut short");
        });
        let tid = told.recv().unwrap();
        let mut interrupted = 0;
        while !sleeper.is_finished() {
            interrupt(tid);
            interrupted += 1;
        }
        assert!(interrupted > 10);
        sleeper.join().unwrap();
    });
}

#[expect(unsafe_code, reason = "std sets no signal handlers")]
fn catch_usr1() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeros is a valid sigaction: no flags, and so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing, and the old action is not asked for.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
}

#[expect(unsafe_code, reason = "std sends no signals to threads")]
fn interrupt(thread: rustix::process::Pid) {
    // SAFETY: no memory is involved. ESRCH, after the thread has ended, is as good.
    unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            current_pid(),
            thread.as_raw_nonzero().get(),
            libc::SIGUSR1,
        )
    };
}

#[test]
fn a_sleep_that_signals_interrupt_goes_on_to_its_deadline() {
    Actor::part(module_path!(), "host_with_a_signal_handler").passed();
}

/// A pipe that is full, and takes nothing before somebody reads.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    set_nonblocking(writer.as_fd(), true).unwrap();
    let mut file = std::fs::File::from(writer);
    let full = loop {
        if let Err(error) = file.write(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    (reader, file.into())
}

#[test]
fn a_writer_waits_for_room_in_the_pipe() {
    let (reader, writer) = full_pipe();
    let revocation = Revocation::new().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_writable(writer.as_fd(), &revocation).unwrap());
        std::fs::File::from(reader)
            .read_exact(&mut [0; 65536])
            .unwrap();
        assert_eq!(waiting.join().unwrap(), Writable::Ready);
    });
}

#[test]
fn a_writer_whose_reader_goes_away_is_ready_to_fail() {
    let (reader, writer) = full_pipe();
    let revocation = Revocation::new().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_writable(writer.as_fd(), &revocation).unwrap());
        drop(reader);
        assert_eq!(waiting.join().unwrap(), Writable::Ready);
    });
}

#[test]
fn a_revocation_wakes_every_writer_and_refuses_later_ones() {
    let (reader, writer) = full_pipe();
    let revocation = Revocation::new().unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| wait_writable(writer.as_fd(), &revocation).unwrap()))
            .collect();
        revocation.revoke();
        revocation.revoke();
        for writer in waiting {
            assert_eq!(writer.join().unwrap(), Writable::Revoked);
        }
    });
    drop(reader);
    assert_eq!(
        wait_writable(writer.as_fd(), &revocation).unwrap(),
        Writable::Revoked
    );
}

#[test]
fn a_pipe_can_be_set_to_block_again() {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    for on in [true, false, true] {
        set_nonblocking(reader.as_fd(), on).unwrap();
        let flags = rustix::fs::fcntl_getfl(&reader).unwrap();
        assert_eq!(flags.contains(rustix::fs::OFlags::NONBLOCK), on);
    }
}

#[test]
fn a_thread_that_blocks_signals_keeps_those_of_its_own_faults() {
    std::thread::spawn(|| {
        block_all_signals();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let blocked = u64::from_str_radix(blocked.unwrap().trim(), 16).unwrap();
        let is_blocked = |signal: i32| blocked & (1 << (signal - 1)) != 0;
        for signal in [1, 2, 3, 10, 13, 14, 15, 17, 20, 34, 64] {
            assert!(is_blocked(signal), "{signal}");
        }
        for signal in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGSYS,
        ] {
            assert!(!is_blocked(signal), "{signal}");
        }
    })
    .join()
    .unwrap();
}

/// Opens and drops everything that owns a descriptor, and counts.
#[test]
#[ignore = "a part, played for other tests"]
fn host_that_counts_its_descriptors() {
    if !plays("host_that_counts_its_descriptors") {
        return;
    }
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut child = Actor::idle();
    let before = count();
    for _ in 0..3 {
        let facilities = facilities();
        let mut poller = Poller::new().unwrap();
        let (holder, line) = lifeline().unwrap();
        let revocation = Revocation::new().unwrap();
        let pin = child.pin();
        poller.watch().add(&pin, 1).unwrap();
        poller.wait(false, &mut Vec::new()).unwrap();
        own_identity(&facilities).unwrap();
        read_process(child.pid()).unwrap();
        is_ancestor(1).unwrap();
        drop((poller, holder, line, revocation, pin));
    }
    assert_eq!(count(), before);
    child.hang_up();
    child.steal_status();
}

#[test]
fn what_is_dropped_leaves_no_descriptor() {
    Actor::part(module_path!(), "host_that_counts_its_descriptors").passed();
}

//! The poll that the reactor sleeps in.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::support::*;
use crate::exit::Status;
use crate::sys::linux::poller::Poller;
use crate::sys::*;

/// Waits for what comes, but not for ever: then the mailbox is what came.
fn wait(poller: &mut Poller) -> Vec<Ready> {
    let mut ready = Vec::new();
    let waker = poller.waker();
    let (done, come) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if come.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                waker.wake().unwrap();
            }
        });
        assert!(!poller.wait(true, &mut ready).unwrap());
        drop(done);
    });
    ready
}

fn look(poller: &mut Poller) -> Vec<Ready> {
    let mut ready = Vec::new();
    assert!(!poller.wait(false, &mut ready).unwrap());
    ready
}

#[test]
fn an_exit_is_reported_once_under_its_key() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    poller.watch().add(&pin, 42).unwrap();
    assert_eq!(look(&mut poller), []);
    child.hang_up();
    assert_eq!(wait(&mut poller), [Ready::Process(42)]);
    assert_eq!(look(&mut poller), [], "edge-triggered");
    poller.watch().remove(&pin).unwrap();
}

#[test]
fn a_muted_end_is_reported_when_it_is_unmuted_and_not_before() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    let watch = poller.watch();
    watch.add(&pin, 42).unwrap();
    assert!(watch.mute(&pin, 42).unwrap());
    child.hang_up();
    until_dead(&pin);
    assert_eq!(look(&mut poller), []);
    watch.unmute(&pin, 42).unwrap();
    assert_eq!(wait(&mut poller), [Ready::Process(42)]);
    assert_eq!(look(&mut poller), [], "edge-triggered");
    watch.remove(&pin).unwrap();
    assert!(watch.mute(&pin, 42).is_err(), "it is not watched any more");
}

#[test]
fn who_is_unmuted_in_time_is_reported_as_ever() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    let watch = poller.watch();
    watch.add(&pin, 42).unwrap();
    watch.mute(&pin, 42).unwrap();
    watch.unmute(&pin, 42).unwrap();
    assert_eq!(look(&mut poller), []);
    child.hang_up();
    assert_eq!(wait(&mut poller), [Ready::Process(42)]);
}

#[test]
fn a_process_that_ended_before_it_was_watched_is_reported() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    until_dead(&pin);
    poller.watch().add(&pin, 0).unwrap();
    assert_eq!(wait(&mut poller), [Ready::Process(0)]);
}

#[test]
fn a_process_that_was_reaped_before_it_was_watched_is_reported() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    child.steal_status();
    poller.watch().add(&pin, 0).unwrap();
    assert_eq!(wait(&mut poller), [Ready::Process(0)]);
}

/// So a stranger's zombie needs no second look before it was reaped: the reap tells.
#[test]
fn a_reap_by_somebody_else_is_reported_once_more() {
    if !facilities().exit_info {
        return;
    }
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::shell("read line; exit 4");
    let pin = child.pin();
    poller.watch().add(&pin, 7).unwrap();
    child.hang_up();
    assert_eq!(wait(&mut poller), [Ready::Process(7)]);
    child.steal_status();
    assert_eq!(wait(&mut poller), [Ready::Process(7)]);
    let look = pin.look(Relation::Stranger, &facilities()).unwrap();
    assert!(
        matches!(
            look,
            Look::Exited {
                status: Status::Code(4),
                ..
            }
        ),
        "{look:?}"
    );
}

#[test]
fn what_was_removed_is_not_reported() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    poller.watch().add(&pin, 1).unwrap();
    child.hang_up();
    until_dead(&pin);
    poller.watch().remove(&pin).unwrap();
    assert_eq!(look(&mut poller), []);
    let error = poller.watch().remove(&pin).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_pin_is_watched_once() {
    let poller = Poller::new().unwrap();
    let child = Actor::idle();
    let pin = child.pin();
    poller.watch().add(&pin, 1).unwrap();
    let error = poller.watch().add(&pin, 2).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
}

#[test]
fn the_keys_of_timer_and_mailbox_are_refused() {
    let poller = Poller::new().unwrap();
    let child = Actor::idle();
    for taken in [u64::MAX, u64::MAX - 1] {
        let error = poller.watch().add(&child.pin(), taken).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_process_that_another_thread_adds_wakes_a_wait_under_way() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    child.hang_up();
    until_dead(&pin);
    let watch = poller.watch();
    std::thread::scope(|scope| {
        scope.spawn(|| watch.add(&pin, 3).unwrap());
        assert_eq!(wait(&mut poller), [Ready::Process(3)]);
    });
}

#[test]
fn many_wakes_before_one_wait_are_one_report() {
    let mut poller = Poller::new().unwrap();
    for _ in 0..1000 {
        poller.waker().wake().unwrap();
    }
    assert_eq!(wait(&mut poller), [Ready::Mailbox]);
    assert_eq!(look(&mut poller), []);
    poller.waker().wake().unwrap();
    assert_eq!(wait(&mut poller), [Ready::Mailbox]);
}

#[test]
fn a_wake_up_that_may_wait_comes_by_itself_once_for_each_time() {
    let mut poller = Poller::new().unwrap();
    for _ in 0..3 {
        let began = now();
        poller
            .waker()
            .wake_within(Duration::from_millis(1))
            .unwrap();
        poller
            .waker()
            .wake_within(Duration::from_millis(1))
            .unwrap();
        assert_eq!(wait(&mut poller), [Ready::Mailbox]);
        assert!(began.elapsed() < PATIENCE, "it was woken by the watchdog");
        assert_eq!(look(&mut poller), []);
    }
    poller
        .waker()
        .wake_within(Duration::from_millis(1))
        .unwrap();
    poller.waker().cancel_later();
    let mut ready = Vec::new();
    poller.rest(Duration::from_millis(20), &mut ready).unwrap();
    assert_eq!(ready, []);
}

#[test]
fn a_rest_is_over_in_its_time_or_when_something_comes() {
    let mut poller = Poller::new().unwrap();
    let mut ready = Vec::new();
    poller.rest(Duration::from_millis(1), &mut ready).unwrap();
    assert_eq!(ready, []);
    poller.waker().wake().unwrap();
    let began = now();
    poller.rest(PATIENCE, &mut ready).unwrap();
    assert_eq!(ready, [Ready::Mailbox]);
    assert!(began.elapsed() < PATIENCE, "it was not woken");
    // The timer is armed again after it has fired in a rest.
    for _ in 0..2 {
        let now = now();
        poller.arm(Some(now), now).unwrap();
        ready.clear();
        poller.rest(PATIENCE, &mut ready).unwrap();
        assert_eq!(ready, [Ready::Timer]);
    }
}

#[test]
fn a_full_batch_says_that_there_may_be_more_and_nothing_is_lost() {
    let mut poller = Poller::with_batch(4).unwrap();
    let mut child = Actor::idle();
    let pins: Vec<Pin> = (0..10).map(|_| child.pin()).collect();
    for (key, pin) in (0..).zip(&pins) {
        poller.watch().add(pin, key).unwrap();
    }
    child.hang_up();
    pins.iter().for_each(until_dead);

    let mut ready = Vec::new();
    let mut waits = 0;
    while poller.wait(false, &mut ready).unwrap() {
        waits += 1;
        assert!(waits < 10, "it never ends: {ready:?}");
    }
    let mut keys: Vec<u64> = (0..10).collect();
    keys.retain(|key| !ready.contains(&Ready::Process(*key)));
    assert_eq!(keys, [], "lost");
    assert_eq!(ready.len(), 10);
    assert_eq!(waits, 2);
}

#[test]
fn a_deadline_that_has_passed_or_is_now_fires_at_once() {
    let mut poller = Poller::new().unwrap();
    let at = now();
    for deadline in [at, at - Duration::from_secs(1)] {
        poller.arm(Some(deadline), at).unwrap();
        assert_eq!(wait(&mut poller), [Ready::Timer]);
        assert_eq!(look(&mut poller), [], "once");
    }
}

#[test]
fn a_timer_does_not_fire_before_its_deadline() {
    let mut poller = Poller::new().unwrap();
    for micros in [1, 100, 900, 1100, 5000, 20_000] {
        let deadline = now() + Duration::from_micros(micros);
        poller.arm(Some(deadline), now()).unwrap();
        assert_eq!(wait(&mut poller), [Ready::Timer]);
        assert!(now() >= deadline);
    }
}

#[test]
fn the_same_deadline_can_be_armed_again_after_it_has_fired() {
    let mut poller = Poller::new().unwrap();
    let at = now();
    for _ in 0..3 {
        poller.arm(Some(at), at).unwrap();
        poller.arm(Some(at), at).unwrap();
        assert_eq!(wait(&mut poller), [Ready::Timer]);
    }
}

#[test]
fn what_a_timer_was_armed_to_before_is_forgotten() {
    let mut poller = Poller::new().unwrap();
    let at = now();
    let past = at - Duration::from_secs(1);

    poller.arm(Some(past), at).unwrap();
    poller.arm(Some(at + PATIENCE), at).unwrap();
    assert_eq!(look(&mut poller), [], "postponed although it was due");

    poller.arm(Some(past), at).unwrap();
    poller.arm(None, at).unwrap();
    assert_eq!(look(&mut poller), [], "disarmed although it was due");

    poller.arm(Some(at + PATIENCE), at).unwrap();
    poller.arm(Some(past), at).unwrap();
    assert_eq!(wait(&mut poller), [Ready::Timer], "brought forward");
}

#[test]
fn the_furthest_deadlines_are_armed_and_do_not_fire() {
    let mut poller = Poller::new().unwrap();
    let at = now();
    for ahead in far_durations() {
        let Some(deadline) = at.checked_add(ahead) else {
            continue;
        };
        poller.arm(Some(deadline), at).unwrap();
        assert_eq!(look(&mut poller), [], "{ahead:?}");
    }
}

/// Where arithmetic of milliseconds, nanoseconds or seconds in 31, 32, 63 or 64 bits ends.
fn far_durations() -> impl Iterator<Item = Duration> {
    let millis = [31, 32].map(|bits| Duration::from_millis(1 << bits));
    let nanos = [
        Duration::from_nanos(i64::MAX.unsigned_abs()),
        Duration::from_nanos(u64::MAX),
    ];
    let seconds = [31, 32, 40, 53, 62].map(|bits| Duration::from_secs(1 << bits));
    millis.into_iter().chain(nanos).chain(seconds)
}

#[test]
fn exit_timer_and_mailbox_come_together() {
    let mut poller = Poller::new().unwrap();
    let mut child = Actor::idle();
    let pin = child.pin();
    poller.watch().add(&pin, 5).unwrap();
    child.hang_up();
    until_dead(&pin);
    poller.waker().wake().unwrap();
    let at: Instant = now();
    poller.arm(Some(at + Duration::from_nanos(1)), at).unwrap();

    let mut ready = Vec::new();
    eventually("all three are ready", || {
        poller.wait(false, &mut ready).unwrap();
        (ready.len() == 3).then_some(())
    });
    for expected in [Ready::Process(5), Ready::Timer, Ready::Mailbox] {
        assert!(ready.contains(&expected), "{ready:?}");
    }
}

//! The rest of what a thread does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use procession::{
    Command, ErrorKind, EventMask, Exit, How, Origin, SessionId, SessionOptions, Signal,
    SpawnOptions, StopPolicy,
};

use super::model::{Known, harsh, is_shared};
use super::programs::{Held, Kind, Where, bit, look_at, start, start_alone};
use super::worker::{Life, Worker, is_over};
use crate::support::{LONG_ENOUGH, Pinned, ms, now};

impl Worker<'_> {
    /// One of those that are known of a session.
    fn anybody(&mut self, number: u64) -> Option<Arc<Known>> {
        let all = self.scene.model.of(number);
        (!all.is_empty()).then(|| Arc::clone(self.chance.of(&all)))
    }

    pub(super) fn attach(&mut self, number: u64) {
        let deaf = self.chance.one_in(2);
        let pid = self.scene.nursery.bear(deaf);
        self.diary.does(format!("attach {pid} to {number}"));
        let registry = self.scene.registry;
        // It is not ours, and lives until it is killed: its number is its own.
        let pinned = Pinned::open(pid).ok();
        if self.chance.one_in(4) {
            match registry.attach(number, pid, |_| false) {
                Ok(process) => panic!("it is not the process, and was attached: {process:?}"),
                Err(error) if error.kind() == ErrorKind::NotTheProcess => {}
                Err(error) => self.refused(number, &error),
            }
        }
        let attached = registry.attach(number, pid, |process| process.pid() == pid);
        let process = match attached {
            Ok(process) => process,
            Err(error) => {
                self.refused(number, &error);
                let raw = i32::try_from(pid)
                    .ok()
                    .and_then(rustix::process::Pid::from_raw);
                let raw = raw.expect("a pid");
                rustix::process::kill_process(raw, rustix::process::Signal::KILL)
                    .expect("it lives");
                return;
            }
        };
        let held = Held {
            pinned,
            ready: true,
            ..Held::default()
        };
        let known = self.enter(number, process, Kind::Attached(deaf), held, 0);
        assert_eq!(known.process.origin(), Origin::Attached);
        if is_shared(number) || !known.has_to_live() {
            return;
        }
        self.diary.does(format!("attach {pid} to {number} again"));
        match registry.attach(number, pid, |_| true) {
            Ok(process) => assert_eq!(process.id(), known.process.id()),
            Err(error) => self.refused(number, &error),
        }
        let other = self.own[0] + 100;
        match registry.attach(other, pid, |_| true) {
            Ok(process) => panic!("it is in two sessions: {process:?}"),
            Err(error) if error.kind() == ErrorKind::AlreadyRegistered => {}
            Err(error) => self.refused(number, &error),
        }
    }

    pub(super) fn adopt(&mut self, number: u64) {
        if !self.scene.model.world.may_adopt() {
            return;
        }
        let kinds = [Kind::Exits(7), Kind::Obedient, Kind::Reader];
        let kind = *self.chance.of(&kinds);
        let Ok(child) = start_alone(kind) else {
            assert!(
                self.scene.model.world.few_descriptors,
                "it cannot be started"
            );
            return;
        };
        self.diary
            .does(format!("adopt {kind:?} {} into {number}", child.id()));
        match self.scene.registry.adopt(number, child) {
            Ok(process) => {
                let mut held = Held::default();
                look_at(&process, kind, &mut held);
                self.enter(number, process, kind, held, 0);
            }
            Err(error) => {
                let (error, mut child) = error.into_parts();
                let stolen = self.scene.model.world.thief && kind == Kind::Exits(7);
                let gone = is_over(&error) || error.kind() == ErrorKind::System;
                if !(stolen && gone) {
                    self.refused(number, &error);
                }
                if kind != Kind::Exits(7) {
                    child.kill().expect("it lives");
                }
                // Somebody else may have waited for it.
                let _ = child.wait();
            }
        }
    }

    /// What cannot be started is named, and nothing is left of it: the counts at the end say so.
    pub(super) fn spawn_nothing(&mut self, number: u64) {
        self.diary.does(format!("spawn nothing in {number}"));
        let registry = self.scene.registry;
        let spawned = if self.chance.one_in(2) {
            registry.spawn(number, &mut Command::new("/nonexistent/program"))
        } else {
            registry.spawn(
                number,
                &mut std::process::Command::new("/nonexistent/program"),
            )
        };
        match spawned {
            Ok(process) => panic!("there is no such program: {process:?}"),
            Err(error) if error.kind() == ErrorKind::SpawnFailed => {}
            Err(error) => self.refused(number, &error),
        }
    }

    pub(super) fn signal(&mut self, number: u64) {
        let Some(known) = self.anybody(number) else {
            return;
        };
        // One that is stopped may be waited for by nobody: it goes on at once.
        let all = [
            Signal::TERM,
            Signal::HUP,
            Signal::KILL,
            Signal::WINCH,
            Signal::STOP,
        ];
        let signal = *self.chance.of(&all);
        self.diary.does(format!(
            "send {signal} to {} of {number}",
            known.process.id()
        ));
        let lived = known.has_to_live() && !is_shared(number);
        if signal != Signal::WINCH && signal != Signal::STOP {
            known.may_have_got(bit(signal));
        }
        let mut sent = known.process.signal(signal);
        if signal == Signal::STOP {
            sent = sent.and(known.process.signal(Signal::CONT));
        }
        match sent {
            Ok(()) => {}
            Err(error) => {
                self.diary.done(&format!("{error}"));
                assert!(is_over(&error), "{error:?}");
                assert!(!lived || known.is_detached(), "it lives: {error} {known:?}");
            }
        }
    }

    pub(super) fn signal_session(&mut self, number: u64) {
        let signal = *self.chance.of(&[Signal::TERM, Signal::WINCH, Signal::HUP]);
        self.diary.does(format!("send {signal} to all of {number}"));
        if signal != Signal::WINCH {
            self.scene.model.sends(number, bit(signal));
        }
        if let Err(error) = self.scene.registry.signal_session(number, signal) {
            let over = matches!(
                error.kind(),
                ErrorKind::SessionEnded | ErrorKind::SessionEnding
            );
            assert!(over, "{error:?}");
        }
    }

    pub(super) fn stop(&mut self, number: u64) {
        let Some(known) = self.anybody(number) else {
            return;
        };
        let policy = self.any_policy();
        self.diary.does(format!(
            "stop {} of {number} by {policy}",
            known.process.id()
        ));
        if !known.is_detached() {
            known.may_have_got(harsh());
        }
        let began = now();
        match known.process.stop(&policy) {
            Ok(report) => {
                assert!(
                    began.elapsed() < policy.longest() + LONG_ENOUGH,
                    "{report:?}"
                );
                assert_eq!(report.process(), known.process.id());
                if !matches!(report.how(), How::Survived(_)) {
                    known.assert_dead("it was stopped");
                    let exit = report.exit().expect("it did not survive");
                    self.scene.model.judge(&known, exit);
                }
            }
            Err(error) => assert!(
                known.is_detached() && is_over(&error),
                "{error:?} {known:?}"
            ),
        }
    }

    pub(super) fn wait(&mut self, number: u64) {
        let Some(known) = self.anybody(number) else {
            return;
        };
        if known.is_detached() {
            return;
        }
        let process = &known.process;
        let short = self.chance.up_to(15);
        let how = self.chance.below(6);
        self.diary.does(format!(
            "wait for {} of {number}, {how}, {short:?}",
            process.id()
        ));
        let lived = known.has_to_live() && !is_shared(number);
        let began = now();
        let in_vain = |exit: &Option<Exit>, time: Duration| {
            assert!(exit.is_some() || began.elapsed() >= time, "back too early");
        };
        let exit = match how {
            0 => process.try_wait(),
            1 => process
                .wait_timeout(short)
                .inspect(|exit| in_vain(exit, short)),
            2 => process
                .wait_deadline(now() + short)
                .inspect(|exit| in_vain(exit, short)),
            // One in the past is a look.
            3 => process.wait_deadline(began),
            4 => thread::scope(|scope| {
                let waiters: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| process.wait_timeout(short)))
                    .collect();
                let exits = waiters
                    .into_iter()
                    .map(|one| one.join().expect("it did not panic"));
                let exits: Vec<_> = exits
                    .map(|exit| exit.expect("the registry works"))
                    .collect();
                for exit in exits.iter().flatten() {
                    self.scene.model.judge(&known, exit);
                }
                Ok(exits.into_iter().flatten().next())
            }),
            _ => {
                if let Some(stdin) = process.stdin() {
                    stdin.close();
                }
                if known.kind.may_leave() {
                    process.wait().map(Some)
                } else {
                    Ok(None)
                }
            }
        };
        let exit = exit.expect("the registry works");
        self.diary
            .done(if exit.is_some() { "exited" } else { "not yet" });
        if let Some(exit) = exit {
            assert!(!lived, "nothing was done to it: {exit:?} {known:?}");
            known.assert_dead("its exit was told");
            self.scene.model.judge(&known, &exit);
        }
    }

    /// A number that lives cannot be opened; one that does not can.
    pub(super) fn open(&mut self, number: u64) {
        self.resolve(number);
        let mut options = SessionOptions::new().id(number).label("opened");
        // The others would not know of it.
        let most = (self.chance.one_in(3) && !is_shared(number)).then_some(2);
        if let Some(most) = most {
            options = options.max_processes(most);
        }
        // What ends by itself ends while nobody looks: only where it can be told who was in it.
        let empty = self.scene.model.of(number).is_empty();
        let limited = self.chance.one_in(4) && empty && !is_shared(number);
        if limited {
            // Nobody reads its report.
            self.scene.model.lingers(number);
            options = options.time_limit(self.chance.up_to(60));
        }
        self.diary
            .does(format!("open {number}, most {most:?}, limited {limited}"));
        match self.scene.registry.open_session(options) {
            Ok(_) if is_shared(number) => {}
            Ok(session) => {
                assert_eq!(session.id().as_u64(), number);
                let life = Life {
                    handle: Some(session),
                    most,
                    limited,
                    ending: None,
                };
                if let Some(before) = self.lives.insert(number, life) {
                    assert!(
                        before.limited || before.handle.is_none(),
                        "opened, and lived"
                    );
                    self.old.extend(before.handle);
                }
            }
            Err(error) => {
                self.diary.done(&format!("{:?}", error.kind()));
                let lives = matches!(
                    error.kind(),
                    ErrorKind::SessionInUse | ErrorKind::SessionEnding
                );
                assert!(lives || self.may_be_refused(number, &error), "{error:?}");
            }
        }
    }

    /// A session without a number of ours, which ends where its guard is dropped.
    pub(super) fn guard(&mut self) {
        self.diary.does("a guard".to_owned());
        let options = SessionOptions::new().stop_policy(self.any_policy());
        let session = match self.scene.registry.open_session(options) {
            Ok(session) => session,
            Err(error) => return self.refused(0, &error),
        };
        let number = session.id().as_u64();
        for _ in 0..self.chance.below(3) {
            let kind = *self
                .chance
                .of(&[Kind::Obedient, Kind::Deaf, Kind::Exits(3)]);
            let native = self.chance.one_in(2);
            match start(kind, native, Where::Handle(&session), &SpawnOptions::new()) {
                Some(Ok((process, held))) => {
                    self.enter(number, process, kind, held, 0);
                }
                Some(Err(error)) => self.refused(number, &error),
                None => {}
            }
        }
        let before = self.before_the_end(number);
        self.diary.does(format!("drop the guard of {number}"));
        let began = now();
        drop(session.clone().end_on_drop());
        let report = session.report().expect("the registry works");
        let report = report.expect("it was ended");
        self.came(
            number,
            &before,
            &report,
            began.elapsed(),
            &StopPolicy::immediate(),
        );
        if !report.is_clean() {
            drop(self.scene.registry.end_session(number));
        }
    }

    pub(super) fn use_an_old_handle(&mut self) {
        let Some(session) = self.old.last().cloned() else {
            return;
        };
        self.diary
            .does(format!("use an old handle of {}", session.id()));
        let error = session
            .spawn(std::process::Command::new("/bin/true").arg("x"))
            .expect_err("it is over, whoever has its number");
        let over = matches!(
            error.kind(),
            ErrorKind::SessionEnded | ErrorKind::SessionEnding
        );
        assert!(over, "{error:?}");
        let report = session.report().expect("the registry works");
        assert!(report.is_some(), "it is over");
    }

    /// Whoever subscribes and does not read delays nobody.
    pub(super) fn subscribe(&mut self) {
        self.diary.does("subscribe".to_owned());
        let masks = [EventMask::all(), EventMask::EXITED, EventMask::SESSIONS];
        let mask = *self.chance.of(&masks);
        self.unread.push(self.scene.registry.subscribe_to(mask));
        if self.unread.len() > 3 {
            drop(self.unread.remove(0));
        }
    }

    pub(super) fn look(&mut self, number: u64) {
        self.diary.does(format!("look at {number}"));
        let registry = self.scene.registry;
        let before = self.scene.model.of(number);
        let have_to: Vec<_> = before
            .iter()
            .filter(|known| known.has_to_live() && !known.is_detached())
            .collect();
        let listed = registry
            .session_processes(number)
            .expect("the registry works");
        if !is_shared(number) {
            for known in &have_to {
                let is_it = |info: &procession::ProcessInfo| info.id == known.process.id();
                assert!(
                    listed.iter().any(is_it),
                    "it lives, and is not listed: {known:?}\n{listed:?}"
                );
            }
            // A spawn that has raced an end is refused, and its child is there until it is ended with the rest.
            let ends = self.lives.get(&number).is_some_and(Life::ends);
            for info in &listed {
                let is_it = |known: &Arc<Known>| known.process.id() == info.id;
                let known = info.origin == Origin::Found || before.iter().any(is_it);
                assert!(known || ends, "nobody started it: {info:?}");
            }
            let sessions = registry.sessions().expect("the registry works");
            let session = sessions.iter().find(|info| info.id.as_u64() == number);
            assert!(
                session.is_some() || have_to.is_empty(),
                "it has members: {number}"
            );
        }
        if let Some(handle) = self
            .lives
            .get(&number)
            .and_then(|life| life.handle.as_ref())
        {
            match handle.wait_empty_timeout(ms(1)) {
                Ok(empty) => assert!(!empty || have_to.is_empty(), "it is not empty"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::SessionEnded, "{error:?}"),
            }
        }
        let all = registry.processes().expect("the registry works");
        if let Some(info) = all.first() {
            // It may have gone meanwhile.
            let _ = registry.process(info.id).expect("the registry works");
        }
        assert!(!registry.capabilities().to_string().is_empty());
        if let Some(report) = registry.last_report(number).expect("the registry works") {
            assert_eq!(report.session().as_u64(), number);
        }
    }

    pub(super) fn detach(&mut self) {
        let number = self.own[2];
        self.resolve(number);
        let world = &self.scene.model.world;
        let Some(known) = self.anybody(number) else {
            return;
        };
        let attached = known.process.origin() == Origin::Attached;
        // Its status may be taken by somebody else, and then its number by anybody.
        let ours = world.ledger && !world.thief && !known.kind.has_descendants();
        let may_be = !known.is_detached() && known.is_pinned() && known.has_to_live();
        if !may_be || !(attached || ours) {
            return;
        }
        self.diary.does(format!("detach {}", known.process.id()));
        match known.process.detach() {
            Ok(()) => known.detached.store(true, Ordering::SeqCst),
            Err(error) => {
                let enclosed = error.kind() == ErrorKind::Unsupported;
                self.diary.done(&format!("{error}"));
                let full = world.few_descriptors && error.kind() == ErrorKind::System;
                assert!(enclosed || full || is_over(&error), "{error:?}");
                assert!(
                    !is_over(&error) || !known.has_to_live(),
                    "it lives: {error:?}"
                );
            }
        }
    }

    /// Ends one's own sessions, and nobody else's.
    pub(super) fn retain(&mut self) {
        let own = self.own;
        let before = own.map(|number| self.before_the_end(number));
        self.diary.does(format!("retain all but {own:?}"));
        let began = now();
        let keep = |session: SessionId| !own.contains(&session.as_u64());
        let registry = self.scene.registry;
        let reports = registry.retain_sessions(keep).expect("the registry works");
        for report in reports {
            let number = report.session().as_u64();
            let index = own.iter().position(|&one| one == number);
            let index = index.expect("it is not to be kept");
            self.came(
                number,
                &before[index],
                &report,
                began.elapsed(),
                registry.stop_policy(),
            );
            self.over(number);
        }
    }
}

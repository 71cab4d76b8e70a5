//! A leader and a hundred descendants that ignore SIGTERM, ended at once; and what else is to be noticed meanwhile.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use process_wrap::std::{CommandWrap, ProcessGroup};
use procession::{Containment, EventMask, Proof, Registry, StopPolicy, Strength};
use rlimit::Resource;
use rustix::process::{Signal, kill_process_group};

use super::{Sample, clean, unknown};
use crate::kids::{DESCENDANTS, Idlers, Kid, Roll, Stamp, pid_of};
use crate::{Outcome, clock};

/// How the descendants are grouped, and by whom they are ended.
pub(super) fn find(name: &str) -> Outcome<Sample> {
    match name {
        "killpg" => by_hand(false),
        "killpg-each" => by_hand(true),
        "process-wrap" => process_wrap(),
        "processkit" => processkit(),
        "group" => procession(Containment::Group, false, by_its_command),
        "group-half" => procession(Containment::Group, true, by_its_command),
        "group-std" => procession(Containment::Group, false, by_std),
        "cgroup" => procession(Containment::Cgroup, false, by_its_command),
        "cgroup-half" => procession(Containment::Cgroup, true, by_its_command),
        "cgroup-std" => procession(Containment::Cgroup, false, by_std),
        "cgroup-contained" => contained(),
        "cgroup.kill" => cgroup_kill(),
        "bare-look" => bare_look(),
        "look" => look(by_its_command),
        "look-std" => look(by_std),
        _ => Err(unknown(name)),
    }
}

/// Reads who is there, the leader among them, until all are.
fn call(roll: &mut Roll, said: PipeReader) -> Outcome<()> {
    let mut lines = BufReader::new(said).lines();
    for _ in 0..=DESCENDANTS {
        let line = lines.next().ok_or("a descendant is missing")??;
        roll.add(line.parse()?)?;
    }
    Ok(())
}

/// Runs `end` against the clock, counts who lives when it returns, and tells how long before that the last one died.
fn timed(roll: Roll, end: impl FnOnce() -> Outcome<()>) -> Outcome<Vec<u64>> {
    let roll = Arc::new(roll);
    let watched = Arc::clone(&roll);
    let (tell, told) = crossbeam_channel::bounded(1);
    let watcher = thread::spawn(move || {
        // Before the clock starts: a thread is not started in no time.
        tell.send(())?;
        watched.await_dead()?;
        Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(clock())
    });
    told.recv()?;
    let start = clock();
    end()?;
    let over = clock();
    let alive = roll.alive()?;
    let last = watcher.join().map_err(|_| "the watcher panicked")?;
    let last = last.map_err(|error| error.to_string())?;
    Ok(vec![over - start, alive, over.saturating_sub(last)])
}

/// What a program does that knows the group, or everybody: the least that it takes.
fn by_hand(half: bool) -> Outcome<Sample> {
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(half)?;
        let mut leader = kid.command().process_group(0).spawn()?;
        let group = pid_of(leader.id())?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        let everybody = roll.held_again()?;
        timed(roll, || {
            kill_process_group(group, Signal::KILL)?;
            if half {
                everybody.kill()?;
            }
            leader.wait()?;
            Ok(everybody.await_dead()?)
        })
    }))
}

fn process_wrap() -> Outcome<Sample> {
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(false)?;
        let mut leader = CommandWrap::from(kid.command())
            .wrap(ProcessGroup::leader())
            .spawn()?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        timed(roll, || Ok(leader.kill()?))
    }))
}

/// In a cgroup of its own where there may be one, else in a group.
fn processkit() -> Outcome<Sample> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    Ok(Box::new(move || {
        let _inside = runtime.enter();
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(false)?;
        let group = processkit::ProcessGroup::new()?;
        let mut leader = group.spawn(kid.command().into())?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        let sample = timed(roll, || {
            runtime.block_on(group.stop(Duration::ZERO, true))?;
            Ok(())
        })?;
        runtime.block_on(leader.wait())?;
        Ok(sample)
    }))
}

/// The set-up of a registry for this tier.
fn registry(tier: Containment) -> procession::Result<Registry> {
    Registry::builder().containment(tier).build()
}

/// Whether this tier is to be had here.
pub fn has(tier: Containment) -> bool {
    registry(tier).is_ok()
}

type Launch = fn(&Registry, Kid) -> Outcome<()>;

/// Marked from its birth, as all that it starts.
fn by_its_command(registry: &Registry, kid: Kid) -> Outcome<()> {
    registry.spawn(1, &mut kid.native_command())?;
    Ok(())
}

/// Marked a moment after its birth: what it has started before that is looked for by the environment.
fn by_std(registry: &Registry, kid: Kid) -> Outcome<()> {
    registry.spawn(1, &mut kid.command())?;
    Ok(())
}

fn procession(tier: Containment, half: bool, launch: Launch) -> Outcome<Sample> {
    let registry = registry(tier)?;
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(half)?;
        launch(&registry, kid)?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        timed(roll, || {
            clean(registry.end_session_with(1, &StopPolicy::immediate())?)
        })
    }))
}

/// The same of who was born in the cgroup, and cannot leave it: it runs as another user.
fn contained() -> Outcome<Sample> {
    const NOBODY: u32 = 65534;
    let registry = registry(Containment::Cgroup)?;
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(false)?;
        let mut command = kid.native_command();
        registry.spawn(1, command.uid(NOBODY).gid(NOBODY).groups([]))?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        timed(roll, || {
            let report = registry.end_session_with(1, &StopPolicy::immediate())?;
            let proven = Strength::Proven(Proof::CgroupEmpty);
            if *report.strength() != proven {
                return Err(format!("{} is all that is claimed", report.strength()).into());
            }
            clean(report)
        })
    }))
}

/// The bare `cgroup.kill`, where there is a cgroup (version 2) that we may make others in.
fn cgroup_kill() -> Outcome<Sample> {
    let mount = cgroup_mount().ok_or("no cgroup v2 here")?;
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(false)?;
        let leaf = Leaf::new(&mount)?;
        let mut leader = leaf.enter(kid)?;
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        let everybody = roll.held_again()?;
        timed(roll, || {
            fs::write(leaf.0.join("cgroup.kill"), "1")?;
            leader.wait()?;
            Ok(everybody.await_dead()?)
        })
    }))
}

/// A cgroup for one sample.
struct Leaf(PathBuf);

impl Leaf {
    fn new(mount: &Path) -> Outcome<Self> {
        let path = mount.join(format!("procession-bench-{}", clock()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// By a shell, which moves itself before there are others to move.
    fn enter(&self, kid: Kid) -> Outcome<Child> {
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        Ok(kid
            .command_by(script, self.0.join("cgroup.procs"))
            .spawn()?)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Zombies keep it busy until pid 1 has seen to them.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn cgroup_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// One pass over the machine, for a session in which somebody lives.
fn look(launch: Launch) -> Outcome<Sample> {
    let registry = Registry::new()?;
    let idlers = Idlers::new()?;
    launch(&registry, idlers.child()?)?;
    let session = registry.session(1)?.ok_or("no session")?;
    Ok(Box::new(move || {
        let _open = (&idlers, &registry);
        let start = clock();
        session.members()?;
        Ok(vec![clock() - start])
    }))
}

/// The least that such a pass has to read: who is there, and of each the limit that holds the mark.
fn bare_look() -> Outcome<Sample> {
    Ok(Box::new(move || {
        let start = clock();
        let mut marked = 0;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let (mut soft, mut hard) = (0, 0);
            // One that is gone by now is none of those that are looked for.
            let read = rlimit::prlimit(pid, Resource::LOCKS, None, Some((&mut soft, &mut hard)));
            marked += u64::from(read.is_ok() && soft != rlimit::INFINITY);
        }
        std::hint::black_box(marked);
        Ok(vec![clock() - start])
    }))
}

/// How late the exits of another session are told while the tree is ended: the latest of them.
pub(super) fn stall(name: &str) -> Outcome<Sample> {
    /// One after the other, over about the time that an end takes.
    const OTHERS: usize = 12;
    const APART: Duration = Duration::from_millis(2);
    let ended_by_us = match name {
        "group" => true,
        // As many die at the same time, and this registry has nothing to do with it.
        "killpg" => false,
        _ => return Err(unknown(name)),
    };
    let registry = Registry::new()?;
    let events = registry.subscribe_to(EventMask::EXITED);
    Ok(Box::new(move || {
        let idlers = Idlers::new()?;
        let (kid, said) = idlers.tree(true)?;
        let mut by_hand = None;
        if ended_by_us {
            registry.spawn(1, &mut kid.command())?;
        } else {
            by_hand = Some(kid.command().process_group(0).spawn()?);
        }
        let mut roll = Roll::default();
        call(&mut roll, said)?;
        let mut stamps = Vec::new();
        for _ in 0..OTHERS {
            let (kid, stamp) = Stamp::child()?;
            let process = registry.spawn(2, &mut kid.command())?;
            stamps.push((process.id(), stamp));
        }
        let (registry, roll) = (registry.clone(), &roll);
        let latest = thread::scope(|scope| {
            let end = scope.spawn(move || {
                if let Some(leader) = &mut by_hand {
                    let group = pid_of(leader.id()).ok()?;
                    kill_process_group(group, Signal::KILL).ok()?;
                    roll.kill().ok()?;
                    leader.wait().ok()?;
                    return Some(());
                }
                let report = registry.end_session_with(1, &StopPolicy::immediate());
                clean(report.ok()?).ok()
            });
            let latest = latest(stamps, APART, || {
                let event = events.receiver().recv()?;
                Ok((event.process(), clock()))
            });
            let ended = end.join().ok().flatten();
            ended.ok_or("the tree was not ended")?;
            latest
        })?;
        Ok(vec![latest, roll.alive()?])
    }))
}

/// Lets them go one after the other, and says how much later than the child's own last word the latest was told.
fn latest(
    stamps: Vec<(procession::ProcessId, Stamp)>,
    apart: Duration,
    mut next: impl FnMut() -> Outcome<(Option<procession::ProcessId>, u64)>,
) -> Outcome<u64> {
    let others: Vec<_> = stamps.iter().map(|(process, _)| *process).collect();
    let mut waiting = stamps;
    let (told_of, told) = crossbeam_channel::unbounded();
    let goes = thread::scope(|scope| {
        let going = scope.spawn(|| {
            for (_, stamp) in &mut waiting {
                stamp.go().ok()?;
                thread::sleep(apart);
            }
            Some(())
        });
        let mut heard = 0;
        while heard < others.len() {
            let (process, at) = next()?;
            if let Some(process) = process.filter(|process| others.contains(process)) {
                heard += 1;
                told_of.send((process, at))?;
            }
        }
        let gone = going.join().ok().flatten();
        gone.ok_or("a child could not be told to go")?;
        Ok::<_, Box<dyn std::error::Error>>(told.try_iter().collect::<Vec<_>>())
    })?;
    let mut latest = 0;
    for (process, stamp) in waiting {
        let left = stamp.at()?;
        let told = goes.iter().find(|(of, _)| *of == process);
        let (_, told) = told.ok_or("an exit was not told")?;
        latest = latest.max(told.saturating_sub(left));
    }
    Ok(latest)
}

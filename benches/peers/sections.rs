//! One function a section: what is measured, which table is printed, what of it is a target.

use std::time::Duration;

use benches::kids::Idlers;
use benches::stats::Samples;
use benches::table::{Table, Target, micros, millis};
use benches::ways::sweep::find_psutil;
use benches::ways::tree::has;
use benches::worker::{Measured, Spec, Worker, measure};
use benches::{Outcome, procfs};
use procession::Containment;

use super::Run;

pub(super) fn medians(ours: &Samples, peer: &Samples) -> f64 {
    ours.median() / peer.median()
}

pub(super) fn times(what: &'static str, found: f64, limit: f64) -> Target {
    Target {
        what,
        found,
        limit,
        unit: "x",
    }
}

pub(super) fn milliseconds(what: &'static str, nanos: f64, limit: f64) -> Target {
    Target {
        what,
        found: nanos / 1e6,
        limit,
        unit: " ms",
    }
}

pub(super) fn alive(what: &'static str, measured: &Measured, ours: &[usize]) -> Target {
    let found = ours.iter().map(|&way| measured.extra[way]).sum::<u64>() as f64;
    Target {
        what,
        found,
        limit: 0.0,
        unit: "",
    }
}

pub(super) fn wait(run: &Run) -> Outcome<Vec<Target>> {
    println!("wait: the child's last instruction to the return of the call that waits for it");
    let specs = [
        "wait/waitpid",
        "wait/procession",
        "wait/process-wrap",
        "wait/shared_child",
        "wait/wait-timeout",
        "wait/subprocess",
        "wait/subprocess-timeout",
        "wait/tokio",
        "wait/async-process",
    ]
    .map(Spec::of);
    let measured = measure(&specs, 400 * run.rounds, run.child)?;
    run.show("exit to `wait()`", &specs, &measured, 0, micros);
    let [waitpid, ours, ..] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![times(
        "exit to wait(), over waitpid",
        medians(ours, waitpid),
        1.15,
    )])
}

pub(super) fn event(run: &Run) -> Outcome<Vec<Target>> {
    println!("event: the child's last instruction to its exit on the host's channel");
    let specs = [
        "event/epoll",
        "event/procession",
        "event/tokio",
        "event/async-process",
        "event/tokio-current",
        "event/thread-each",
    ]
    .map(Spec::of);
    let measured = measure(&specs, 400 * run.rounds, run.child)?;
    run.show("exit to the event", &specs, &measured, 0, micros);
    let [epoll, ours, tokio, async_process, ..] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times(
            "exit to event, over epoll + channel",
            medians(ours, epoll),
            1.1,
        ),
        times(
            "exit to event, over tokio + channel",
            medians(ours, tokio),
            1.0,
        ),
        times(
            "exit to event, over async-process",
            medians(ours, async_process),
            1.0,
        ),
    ])
}

pub(super) fn crowd(run: &Run) -> Outcome<Vec<Target>> {
    const CROWD: usize = 1500;
    println!("crowd: the same among {CROWD} living children");
    let specs = [
        Spec::among("event/epoll", CROWD),
        Spec::among("event/procession", CROWD),
        Spec::among("event/tokio", CROWD),
        Spec::among("event/async-process", CROWD),
        Spec::of("event/procession"),
    ];
    let measured = measure(&specs, 300 * run.rounds, run.child)?;
    run.show("the same among 1,500", &specs, &measured, 0, micros);
    let [epoll, ours, tokio, async_process, alone] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    let mut targets = vec![
        times(
            "among 1,500, over epoll + channel",
            medians(ours, epoll),
            1.1,
        ),
        times(
            "among 1,500, over tokio + channel",
            medians(ours, tokio),
            1.0,
        ),
        times(
            "among 1,500, over async-process",
            medians(ours, async_process),
            1.0,
        ),
        times(
            "among 1,500, p99 over p99 with one",
            ours.p99() / alone.p99(),
            1.5,
        ),
    ];
    targets.extend(idle(run)?);
    Ok(targets)
}

/// What a thousand children cost while nothing happens.
fn idle(run: &Run) -> Outcome<Vec<Target>> {
    const CHILDREN: usize = 1000;
    const WATCHED: Duration = Duration::from_secs(10);
    println!("idle: {CHILDREN} living children, ten seconds in which nothing happens");
    let ways = [
        "crowd/procession",
        "crowd/epoll",
        "crowd/tokio",
        "crowd/async-process",
        "crowd/thread-each",
    ];
    let mut workers = ways
        .iter()
        .map(|way| Worker::start(&Spec::among(way, CHILDREN), run.child))
        .collect::<Outcome<Vec<_>>>()?;
    let grown = workers
        .iter_mut()
        .map(Worker::sample)
        .collect::<Outcome<Vec<_>>>()?;
    let look = |workers: &[Worker]| {
        workers
            .iter()
            .map(|worker| procfs::threads_and_switches(worker.pid()))
            .collect::<Outcome<Vec<_>>>()
    };
    let before = look(&workers)?;
    std::thread::sleep(WATCHED);
    let after = look(&workers)?;
    for worker in workers {
        worker.end()?;
    }

    let mut table = Table::new(&[
        "way",
        "threads beside the host's",
        "wake-ups in 10 s",
        "KiB a child",
    ]);
    let mut targets = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        let threads = after[index].0 - 1;
        let wake_ups = after[index].1.saturating_sub(before[index].1);
        let kib = grown[index].first().copied().unwrap_or(0) as f64 / 1024.0 / CHILDREN as f64;
        table.row(vec![
            way.rsplit_once('/').map_or("", |(_, way)| way).to_owned(),
            threads.to_string(),
            wake_ups.to_string(),
            format!("{kib:.2}"),
        ]);
        if index == 0 {
            targets = vec![
                Target {
                    what: "idle: wake-ups in 10 s",
                    found: wake_ups as f64,
                    limit: 0.0,
                    unit: "",
                },
                Target {
                    what: "idle: threads",
                    found: threads as f64,
                    limit: 1.0,
                    unit: "",
                },
                Target {
                    what: "idle: memory a child",
                    found: kib,
                    limit: 1.0,
                    unit: " KiB",
                },
            ];
        }
    }
    println!("{table}");
    Ok(targets)
}

pub(super) fn kill(run: &Run) -> Outcome<Vec<Target>> {
    const CHILDREN: usize = 500;
    println!(
        "kill: {CHILDREN} children that ignore SIGTERM, from the request until all are reaped"
    );
    let specs = [
        "stubborn/kill/all-then-wait",
        "stubborn/kill/procession",
        "stubborn/kill/process-wrap",
        "stubborn/kill/tokio",
        "stubborn/kill/processkit",
        "stubborn/kill/one-by-one",
    ]
    .map(|way| Spec::among(way, CHILDREN));
    let measured = measure(&specs, 5 * run.rounds, run.child)?;
    run.show("500 stubborn, killed at once", &specs, &measured, 0, millis);
    let [by_hand, ours, ..] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times(
            "500 at once, over kill all, then wait",
            medians(ours, by_hand),
            1.2,
        ),
        alive("500 at once, left alive at return", &measured, &[1]),
    ])
}

pub(super) fn grace(run: &Run) -> Outcome<Vec<Target>> {
    const CHILDREN: usize = 155;
    println!("grace: {CHILDREN} children that ignore SIGTERM, time over the grace of 100 ms");
    let specs = [
        "stubborn/grace/by-hand",
        "stubborn/grace/one-session",
        "stubborn/grace/many-sessions",
        "stubborn/grace/many-threads",
        "stubborn/grace/by-hand-threads",
        "stubborn/grace/tokio",
        "stubborn/grace/processkit",
    ]
    .map(|way| Spec::among(way, CHILDREN));
    let measured = measure(&specs, 6 * run.rounds, run.child)?;
    run.show(
        "155 stubborn, time over a grace of 100 ms",
        &specs,
        &measured,
        0,
        millis,
    );
    let [_, one, sessions, threads, ..] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        milliseconds(
            "155 in one session, over the grace, worst",
            one.worst(),
            20.0,
        ),
        milliseconds(
            "155 sessions, over the grace, worst",
            sessions.worst(),
            20.0,
        ),
        milliseconds("155 threads, over the grace, worst", threads.worst(), 20.0),
        alive("155, left alive at return", &measured, &[1, 2, 3]),
    ])
}

pub(super) fn spawn(run: &Run) -> Outcome<Vec<Target>> {
    println!("spawn: a trivial program, from before its start to its known exit");
    let of = |way, mebibytes| Spec {
        way,
        children: 0,
        mebibytes,
    };
    let specs = [
        of("spawn/std", 0),
        of("spawn/procession", 0),
        of("spawn/tokio", 0),
        of("spawn/async-process", 0),
        of("spawn/std", 2048),
        of("spawn/procession", 2048),
        of("spawn/std-group-env", 0),
        of("spawn/procession-ledger", 0),
    ];
    let measured = measure(&specs, 800 * run.rounds, run.child)?;
    run.show("spawn and wait", &specs, &measured, 0, micros);
    let [std, ours, _, _, std_large, ours_large, _, with_ledger] = measured.samples.as_slice()
    else {
        return Err("no samples".into());
    };
    Ok(vec![
        times("spawn and wait, over std", medians(ours, std), 1.05),
        times(
            "spawn and wait with a ledger, over without",
            medians(with_ledger, ours),
            1.05,
        ),
        times(
            "spawn and wait at 2 GiB, over std at 2 GiB",
            medians(ours_large, std_large),
            1.05,
        ),
        times(
            "spawn and wait at 2 GiB, over itself at 0",
            medians(ours_large, ours),
            1.05,
        ),
    ])
}

pub(super) fn launch(run: &Run) -> Outcome<Vec<Target>> {
    const LARGE: usize = 2048;
    println!("launch: a trivial program, natively, from before its start to its known exit");
    let of = |way, mebibytes| Spec {
        way,
        children: 0,
        mebibytes,
    };
    let specs = [
        of("launch/std-group", 0),
        of("launch/procession", 0),
        of("launch/procession-session", 0),
        of("launch/procession-session-death-signal", 0),
        of("launch/process-wrap-session", 0),
        of("launch/tokio-group", 0),
        of("launch/std-group", LARGE),
        of("launch/procession", LARGE),
        of("launch/procession-session", LARGE),
        of("launch/procession-session-death-signal", LARGE),
        of("launch/tokio-group", LARGE),
    ];
    let measured = measure(&specs, 600 * run.rounds, run.child)?;
    run.show("native launch and wait", &specs, &measured, 0, micros);
    let [
        std,
        plain,
        session,
        all,
        ..,
        large_std,
        large_plain,
        large_session,
        large_all,
        _,
    ] = measured.samples.as_slice()
    else {
        return Err("no samples".into());
    };
    // It forks, which takes a while in a large host: a few are enough.
    let forks = [of("launch/process-wrap-session", LARGE)];
    let forked = measure(&forks, 10 * run.rounds, run.child)?;
    run.show("fork in a host of 2 GiB", &forks, &forked, 0, micros);
    let mut targets = vec![
        times("launch and wait, over std", medians(plain, std), 1.05),
        times("with a session, over std", medians(session, std), 1.05),
        times("and a death signal, over std", medians(all, std), 1.05),
        times(
            "at 2 GiB, over std there",
            medians(large_plain, large_std),
            1.05,
        ),
        times(
            "at 2 GiB, over itself at 0",
            medians(large_plain, plain),
            1.2,
        ),
        times(
            "with all at 2 GiB, over itself at 0",
            medians(large_all, all),
            1.2,
        ),
        times(
            "with a session at 2 GiB, over itself at 0",
            medians(large_session, session),
            1.2,
        ),
    ];
    if has(Containment::Cgroup) {
        println!("launch: the same with a session, a death signal and a cgroup");
        let specs = [of("launch/std-group", 0), of("launch/procession-all", 0)];
        let measured = measure(&specs, 600 * run.rounds, run.child)?;
        run.show("the same in a cgroup", &specs, &measured, 0, micros);
        if let [std, all] = measured.samples.as_slice() {
            let name = "with all of it and a cgroup, over std";
            targets.push(times(name, medians(all, std), 1.05));
        }
    }
    targets.extend(threads(run)?);
    Ok(targets)
}

fn threads(run: &Run) -> Outcome<Vec<Target>> {
    const THREADS: usize = 64;
    println!("threads: {THREADS} threads at once, each with four programs one after the other");
    let specs = [
        "threads/std-group",
        "threads/procession",
        "threads/procession-session-death-signal",
    ]
    .map(|way| Spec::among(way, THREADS));
    let measured = measure(&specs, 20 * run.rounds, run.child)?;
    run.show(
        "64 threads, four launches each",
        &specs,
        &measured,
        0,
        millis,
    );
    let [std, plain, all] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times("64 threads, over std", medians(plain, std), 1.0),
        times("64 threads with all, over std", medians(all, std), 1.0),
    ])
}

pub(super) fn one(run: &Run) -> Outcome<Vec<Target>> {
    println!("one: an obedient child, from SIGTERM to its confirmed end");
    let specs = ["one/by-hand", "one/leader", "one/group"].map(Spec::of);
    let measured = measure(&specs, 300 * run.rounds, run.child)?;
    run.show("one obedient child, ended", &specs, &measured, 0, micros);
    let [by_hand, leader, _] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![milliseconds(
        "end_session under Leader, more than by hand",
        leader.median() - by_hand.median(),
        0.3,
    )])
}

pub(super) fn sweep(run: &Run) -> Outcome<Vec<Target>> {
    const PROCESSES: usize = 5000;
    println!("sweep: once over {PROCESSES} processes, for a rule that matches none of them");
    // Theirs is what the ways look at: nobody of them has to start its own.
    let idlers = Idlers::new()?;
    let mut crowd = Vec::new();
    for _ in 0..PROCESSES {
        crowd.push(idlers.child_of(run.child)?.command().spawn()?);
    }
    let mut specs = [
        "sweep/read-stat",
        "sweep/procession-reparented",
        "sweep/read-all",
        "sweep/procession-all",
        "sweep/ps",
        "sweep/sysinfo",
    ]
    .map(|way| Spec::among(way, PROCESSES))
    .to_vec();
    // Not every machine has it.
    let psutil = find_psutil();
    if psutil.is_ok() {
        specs.push(Spec::among("sweep/psutil", PROCESSES));
    }
    let measured = measure(&specs, 8 * run.rounds, run.child);
    drop(idlers);
    for mut child in crowd {
        child.wait()?;
    }
    let measured = measured?;
    run.show("sweep over 5,000", &specs, &measured, 2, millis);
    if let Err(why) = psutil {
        println!("psutil: skipped, {why}\n");
    }
    let [stat, reparented, all, ours, ps, sysinfo, psutil @ ..] = measured.samples.as_slice()
    else {
        return Err("no samples".into());
    };
    let mut targets = vec![
        times(
            "a sweep of the reparented, over reading what it needs",
            medians(reparented, stat),
            1.3,
        ),
        times(
            "a sweep of all, over reading what it needs",
            medians(ours, all),
            1.3,
        ),
        times("a sweep of all, over ps", medians(ours, ps), 1.0),
        times("a sweep of all, over sysinfo", medians(ours, sysinfo), 1.0),
    ];
    let psutil = psutil.iter();
    targets.extend(psutil.map(|psutil| {
        let over = medians(ours, psutil);
        times("a sweep of all, over psutil", over, 1.0)
    }));
    Ok(targets)
}

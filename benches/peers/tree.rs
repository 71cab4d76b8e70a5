//! The section of the whole tree: a leader and a hundred stubborn descendants.

use std::process::{Child, Command};

use benches::Outcome;
use benches::kids::{CHILD, DESCENDANTS, Idlers};
use benches::table::{Table, Target, micros, millis};
use benches::ways::tree::has;
use benches::worker::{Measured, Spec, measure};
use procession::Containment;

use super::Run;
use super::sections::{alive, medians, milliseconds, times};

/// Processes of the machine that have nothing to do with it.
const BYSTANDERS: usize = 5000;
/// Two passes over so many may take so long: an end waits for one that began after the last death and in which nobody was
/// born, else for two.
const TWO_PASSES_MS: f64 = 22.0;

pub(super) fn tree(run: &Run) -> Outcome<Vec<Target>> {
    let mut targets = alone(run)?;
    targets.extend(in_cgroups(run)?);
    targets.extend(stall(run, "alone")?);
    let crowd = Bystanders::start(run)?;
    targets.extend(among(run)?);
    targets.extend(stall(run, "among 5,000")?);
    crowd.end()?;
    Ok(targets)
}

fn alone(run: &Run) -> Outcome<Vec<Target>> {
    println!(
        "tree: a leader and {DESCENDANTS} descendants that ignore SIGTERM, from the request until all are dead"
    );
    let specs = [
        "stubborn/tree/killpg",
        "stubborn/tree/group",
        "stubborn/tree/process-wrap",
        "stubborn/tree/killpg-each",
        "stubborn/tree/group-half",
        "stubborn/tree/processkit",
        "stubborn/tree/group-std",
    ]
    .map(Spec::of);
    let measured = measure(&specs, 25 * run.rounds, run.child)?;
    run.show("a tree of 100, killed", &specs, &measured, 0, micros);
    print_beyond(&specs, &measured);
    let [killpg, group, _, each, half, ..] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times(
            "tree under Group, over killpg and wait",
            medians(group, killpg),
            1.3,
        ),
        times(
            "half in own sessions, over killing each",
            medians(half, each),
            1.3,
        ),
        alive("tree, left alive at return", &measured, &[1, 4, 6]),
    ])
}

fn in_cgroups(run: &Run) -> Outcome<Vec<Target>> {
    if !has(Containment::Cgroup) {
        println!("tree: the tier Cgroup is not to be had here: its part is left out\n");
        return Ok(Vec::new());
    }
    println!("tree: the same in a cgroup of its own");
    let specs = [
        "stubborn/tree/cgroup.kill",
        "stubborn/tree/cgroup",
        "stubborn/tree/cgroup-half",
        "stubborn/tree/cgroup-contained",
        "stubborn/tree/cgroup-std",
    ]
    .map(Spec::of);
    let measured = measure(&specs, 25 * run.rounds, run.child)?;
    run.show("the same in a cgroup", &specs, &measured, 0, micros);
    print_beyond(&specs, &measured);
    let [bare, cgroup, half, contained, _] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times(
            "tree under Cgroup, over cgroup.kill and wait",
            medians(cgroup, bare),
            1.3,
        ),
        times(
            "half in own sessions, over the same",
            medians(half, bare),
            1.3,
        ),
        times(
            "of who cannot leave the cgroup, over the same",
            medians(contained, bare),
            1.3,
        ),
        alive(
            "tree under Cgroup, left alive at return",
            &measured,
            &[1, 2, 3, 4],
        ),
    ])
}

fn among(run: &Run) -> Outcome<Vec<Target>> {
    println!("tree: the same among {BYSTANDERS} processes that have nothing to do with it");
    let mut specs = [
        "stubborn/tree/killpg",
        "stubborn/tree/group",
        "stubborn/tree/group-half",
        "stubborn/tree/group-std",
    ]
    .map(Spec::of)
    .to_vec();
    if has(Containment::Cgroup) {
        specs.push(Spec::of("stubborn/tree/cgroup.kill"));
        specs.push(Spec::of("stubborn/tree/cgroup"));
        specs.push(Spec::of("stubborn/tree/cgroup-contained"));
    }
    let measured = measure(&specs, 12 * run.rounds, run.child)?;
    run.show("a tree of 100 among 5,000", &specs, &measured, 0, millis);
    print_beyond(&specs, &measured);
    let mut targets = looks(run)?;
    targets.extend([
        milliseconds(
            "among 5,000: return after the last death",
            measured.third[1].median(),
            TWO_PASSES_MS,
        ),
        milliseconds(
            "the same, half in own sessions",
            measured.third[2].median(),
            TWO_PASSES_MS,
        ),
        alive("among 5,000, left alive at return", &measured, &[1, 2, 3]),
    ]);
    if let [_, _, _, _, bare, cgroup, contained] = measured.samples.as_slice() {
        targets.push(times(
            "among 5,000 under Cgroup, over cgroup.kill",
            medians(cgroup, bare),
            1.3,
        ));
        targets.push(times(
            "of who cannot leave the cgroup, over the same",
            medians(contained, bare),
            1.3,
        ));
    }
    Ok(targets)
}

/// One pass over all of them, beside the least that it has to read.
fn looks(run: &Run) -> Outcome<Vec<Target>> {
    println!("look: once over the {BYSTANDERS}, for a session in which somebody lives");
    let specs = [
        "stubborn/tree/bare-look",
        "stubborn/tree/look",
        "stubborn/tree/look-std",
    ]
    .map(Spec::of);
    let measured = measure(&specs, 12 * run.rounds, run.child)?;
    run.show("a look over 5,000", &specs, &measured, 0, millis);
    let [bare, look, std] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    Ok(vec![
        times(
            "among 5,000: a look, over the bare reading",
            medians(look, bare),
            1.3,
        ),
        times("the same after a launch by std", medians(std, bare), 1.3),
    ])
}

/// How long after the last death each way returned.
fn print_beyond(specs: &[Spec], measured: &Measured) {
    let mut table = Table::new(&["return after the last death", "median", "worst"]);
    for (spec, beyond) in specs.iter().zip(&measured.third) {
        if !beyond.is_empty() {
            let way = spec.way.rsplit_once('/').map_or("", |(_, way)| way);
            table.row(vec![
                way.to_owned(),
                micros(beyond.median()),
                micros(beyond.worst()),
            ]);
        }
    }
    println!("{table}");
}

fn stall(run: &Run, where_: &'static str) -> Outcome<Vec<Target>> {
    println!(
        "stall, {where_}: the latest told of twelve exits of another session while such a tree is ended"
    );
    let specs = ["stubborn/stall/killpg", "stubborn/stall/group"].map(Spec::of);
    let measured = measure(&specs, 12 * run.rounds, run.child)?;
    run.show("stall", &specs, &measured, 0, micros);
    let [bare, ours] = measured.samples.as_slice() else {
        return Err("no samples".into());
    };
    // What the machine itself is late by, with as many deaths at a time, is not the reactor's.
    let what = match where_ {
        "alone" => "stall: latest exit, more than beside killpg",
        _ => "stall among 5,000: the same",
    };
    Ok(vec![milliseconds(what, ours.median() - bare.median(), 1.0)])
}

/// They live until their input ends.
struct Bystanders(Vec<Child>, Idlers);

impl Bystanders {
    fn start(run: &Run) -> Outcome<Self> {
        println!("tree: starting {BYSTANDERS} more processes\n");
        let idlers = Idlers::new()?;
        let mut all = Self(Vec::with_capacity(BYSTANDERS), idlers);
        for _ in 0..BYSTANDERS {
            let mut command = Command::new(run.child);
            command
                .arg("idle")
                .stdin(all.1.input()?)
                .stdout(std::process::Stdio::null());
            all.0.push(command.env(CHILD, run.child).spawn()?);
        }
        Ok(all)
    }

    /// The whole crowd is there until here.
    fn end(self) -> Outcome<()> {
        let Self(mut all, idlers) = self;
        for child in &mut all {
            if let Some(status) = child.try_wait()? {
                return Err(format!("a bystander ended with {status}").into());
            }
        }
        drop(idlers);
        for mut child in all {
            child.wait()?;
        }
        Ok(())
    }
}

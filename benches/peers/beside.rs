//! What each section found, for the table at the end: the library and its peers, as ratios to the same thing done by hand.

use std::fmt::Write as _;

use benches::stats::Samples;
use benches::table::{Table, ratio};
use benches::worker::{Measured, Spec};

use super::Run;

/// The ways of the library; all others are its peers'.
const OURS: [&str; 15] = [
    "procession",
    "one-session",
    "many-sessions",
    "many-threads",
    "leader",
    "group",
    "group-half",
    "cgroup",
    "cgroup-half",
    "cgroup-contained",
    "group-std",
    "cgroup-std",
    "look",
    "look-std",
    "procession-all",
];

/// One measure.
#[derive(Debug)]
pub(super) struct Beside {
    what: &'static str,
    base: String,
    ours: String,
    peers: String,
}

impl Run {
    /// Prints the ways of a section beside each other, the ratios to the way at `base`, and keeps them.
    pub(super) fn show(
        &self,
        what: &'static str,
        specs: &[Spec],
        measured: &Measured,
        base: usize,
        unit: fn(f64) -> String,
    ) {
        let against = &measured.samples[base];
        let mut table = Table::new(&["way", "median", "p99", "ratio", "ratio p99", "left alive"]);
        let (mut ours, mut peers) = (String::new(), String::new());
        for (index, (spec, samples)) in specs.iter().zip(&measured.samples).enumerate() {
            let left = measured.extra[index];
            table.row(row(spec, samples, against, (left, unit)));
            if index != base {
                let found = if is_ours(spec) { &mut ours } else { &mut peers };
                add(found, spec, samples.median() / against.median(), left);
            }
        }
        println!("{table}");
        if specs.len() == 1 {
            return;
        }
        self.beside.borrow_mut().push(Beside {
            what,
            base: name(&specs[base]),
            ours,
            peers,
        });
    }

    /// Everything in one table, in Markdown: it goes into the README as it is.
    pub(super) fn all_beside(&self) -> String {
        let mut text =
            String::from("| measured | over | here | beside it |\n| --- | --- | --- | --- |\n");
        for row in self.beside.borrow().iter() {
            let Beside {
                what,
                base,
                ours,
                peers,
            } = row;
            // Writing to a string cannot fail.
            let _ok = writeln!(text, "| {what} | {base} | {ours} | {peers} |");
        }
        text
    }
}

fn row(
    spec: &Spec,
    samples: &Samples,
    against: &Samples,
    (left, unit): (u64, fn(f64) -> String),
) -> Vec<String> {
    vec![
        name(spec),
        unit(samples.median()),
        unit(samples.p99()),
        ratio(samples.median() / against.median()),
        ratio(samples.p99() / against.p99()),
        left.to_string(),
    ]
}

/// A way that returned while somebody lived does not do what it is measured for, and is shown as such.
fn add(text: &mut String, spec: &Spec, found: f64, left: u64) {
    if !text.is_empty() {
        text.push_str(", ");
    }
    // Writing to a string cannot fail.
    let _ok = match left {
        0 => write!(text, "{} {found:.2}", name(spec)),
        left => write!(
            text,
            "{} {found:.2} (**{left} alive at its return**)",
            name(spec)
        ),
    };
}

fn is_ours(spec: &Spec) -> bool {
    let way = way(spec);
    OURS.contains(&way) || way.starts_with("procession-")
}

fn way(spec: &Spec) -> &'static str {
    spec.way.rsplit_once('/').map_or(spec.way, |(_, way)| way)
}

fn name(spec: &Spec) -> String {
    let mut name = way(spec).to_owned();
    if spec.children > 0 {
        name += &format!(", {} children", spec.children);
    }
    if spec.mebibytes > 0 {
        name += &format!(", host of {} MiB", spec.mebibytes);
    }
    name
}

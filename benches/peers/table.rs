//! Every target that the project set itself, beside what a user would pick instead, in one run.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml --bench peers            # everything, about four minutes
//! cargo bench --manifest-path benches/Cargo.toml --bench peers -- spawn   # one section
//! ```
//!
//! `ROUNDS=4 cargo bench ...` takes four times as many samples. The section `scale` draws `benches/latency.svg`.

mod beside;
mod plot;
mod sections;
mod tree;

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::Instant;

use benches::table::{Target, targets};
use benches::{Outcome, worker};

/// How often, and with which child.
struct Run {
    rounds: usize,
    child: &'static str,
    beside: RefCell<Vec<beside::Beside>>,
}

type Section = fn(&Run) -> Outcome<Vec<Target>>;

const SECTIONS: [(&str, Section); 11] = [
    ("wait", sections::wait),
    ("event", sections::event),
    ("crowd", sections::crowd),
    ("kill", sections::kill),
    ("grace", sections::grace),
    ("spawn", sections::spawn),
    ("launch", sections::launch),
    ("one", sections::one),
    ("tree", tree::tree),
    ("sweep", sections::sweep),
    ("scale", plot::scale),
];

fn main() -> ExitCode {
    match worker::run_if_worker().and_then(|was_worker| if was_worker { Ok(()) } else { bench() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Outcome<()> {
    // Cargo adds flags of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let run = Run {
        rounds: std::env::var("ROUNDS").map_or(Ok(1), |rounds| rounds.parse())?,
        child: env!("CARGO_BIN_EXE_child"),
        beside: RefCell::default(),
    };
    let start = Instant::now();
    let mut found = Vec::new();
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            found.extend(section(&run)?);
        }
    }
    println!("all of it, as ratios of medians\n\n{}", run.all_beside());
    println!("{}", targets(&found));
    let met = found.iter().filter(|target| target.is_met()).count();
    println!(
        "{met} of {} targets met, in {:.0} s",
        found.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

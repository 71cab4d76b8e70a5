//! The measured ways, by name: `SECTION/WAY`.

mod crowd;
mod end_one;
mod grace;
mod kill_all;
mod launch;
mod spawn;
pub mod sweep;
pub mod tree;
mod wait;
mod watch;

use procession::SessionReport;

use crate::Outcome;

/// Takes one sample: the time in nanoseconds first, then whatever the section counts.
pub type Sample = Box<dyn FnMut() -> Outcome<Vec<u64>>>;

/// Sets a way up among `children` others, or for `children` of its own.
pub fn find(name: &str, children: usize) -> Outcome<Sample> {
    let (section, way) = name.rsplit_once('/').ok_or("a way is SECTION/WAY")?;
    match section {
        "wait" => wait::find(way),
        "event" => watch::latency(way, children),
        "crowd" => watch::memory(way, children),
        "spawn" => spawn::find(way),
        "launch" => launch::find(way),
        "threads" => launch::crowded(way, children),
        "one" => end_one::find(way),
        "sweep" => sweep::find(way, children),
        "stubborn/kill" => kill_all::find(way, children),
        "stubborn/tree" => tree::find(way),
        "stubborn/stall" => tree::stall(way),
        "stubborn/grace" => grace::find(way, children),
        _ => Err(unknown(section)),
    }
}

/// A survivor would be a way that does not do what it is measured for.
fn clean(report: SessionReport) -> Outcome<()> {
    report.into_clean().map(drop)?;
    Ok(())
}

fn unknown(name: &str) -> Box<dyn std::error::Error> {
    format!("there is no {name}").into()
}

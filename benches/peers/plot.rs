//! How late an exit is heard of, against the number of other children that live: a table, and the plot of the README.

use benches::Outcome;
use benches::table::{Table, Target, micros};
use benches::worker::{Spec, measure};
use plotters::prelude::*;

use super::Run;

const LIVING: [usize; 7] = [1, 25, 100, 250, 500, 1000, 1500];
const WAYS: [&str; 5] = [
    "event/procession",
    "event/epoll",
    "event/tokio",
    "event/async-process",
    "event/thread-each",
];
/// Colours that can be told apart without seeing all of them.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/latency.svg");

/// For each way the medians in microseconds, in the order of `LIVING`.
type Lines = Vec<(&'static str, Vec<f64>)>;

pub(super) fn scale(run: &Run) -> Outcome<Vec<Target>> {
    println!("scale: an exit on the host's channel, among more and more living children, medians");
    let mut lines: Lines = WAYS.map(|way| (name(way), Vec::new())).into();
    for living in LIVING {
        let specs = WAYS.map(|way| Spec::among(way, living));
        let measured = measure(&specs, 100 * run.rounds, run.child)?;
        for ((_, line), samples) in lines.iter_mut().zip(&measured.samples) {
            line.push(samples.median() / 1e3);
        }
    }
    let mut table = Table::new(&[
        "living",
        "procession",
        "epoll",
        "tokio",
        "async-process",
        "thread-each",
    ]);
    for (index, living) in LIVING.iter().enumerate() {
        let mut row = vec![living.to_string()];
        row.extend(lines.iter().map(|(_, line)| micros(line[index] * 1e3)));
        table.row(row);
    }
    println!("{table}");
    draw(&lines)?;
    println!("  drawn in {FILE}\n");
    Ok(Vec::new())
}

fn draw(lines: &Lines) -> Outcome<()> {
    let root = SVGBackend::new(FILE, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let highest = lines
        .iter()
        .flat_map(|(_, line)| line)
        .copied()
        .fold(0.0, f64::max);
    let last = LIVING.last().copied().unwrap_or(1);
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "exit of a child to the host's channel, median",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0..last, 0.0..highest * 1.15)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("other children that live")
        .y_desc("microseconds")
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for ((name, line), colour) in lines.iter().zip(COLOURS) {
        let style = colour.stroke_width(if *name == "procession" { 3 } else { 2 });
        let points = LIVING.iter().copied().zip(line.iter().copied());
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

fn name(way: &'static str) -> &'static str {
    way.rsplit_once('/').map_or(way, |(_, name)| name)
}

//! What a person reads: one table for each section, and the targets at the end.

use std::fmt;

/// A table whose first column is text and whose others are numbers.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A number that the project set itself, beside what came out.
#[derive(Debug)]
pub struct Target {
    pub what: &'static str,
    pub found: f64,
    pub limit: f64,
    pub unit: &'static str,
}

impl Target {
    pub fn is_met(&self) -> bool {
        self.found <= self.limit
    }
}

/// The targets of all sections, in one table.
pub fn targets(all: &[Target]) -> Table {
    let mut table = Table::new(&["target", "found", "at most", ""]);
    for target in all {
        let verdict = if target.is_met() { "met" } else { "MISSED" };
        table.row(vec![
            target.what.to_owned(),
            format!("{:.2}{}", target.found, target.unit),
            format!("{}{}", target.limit, target.unit),
            verdict.to_owned(),
        ]);
    }
    table
}

pub fn micros(nanos: f64) -> String {
    format!("{:.0} us", nanos / 1e3)
}

pub fn millis(nanos: f64) -> String {
    format!("{:.1} ms", nanos / 1e6)
}

pub fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

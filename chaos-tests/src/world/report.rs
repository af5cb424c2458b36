//! What was measured, as a table for people and as JSON for programs.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
use std::fmt;

/// All that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How long what went from one region to another took, in ms.
    pub delay_ms: f64,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One figure, and the value that is wanted.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which of the measurements it belongs to.
    pub figure: &'static str,
    /// What it is.
    pub what: String,
    /// Its value; none if it was not measured.
    pub value: Option<f64>,
    /// What the value counts.
    pub unit: &'static str,
    /// The most that it should be; none if it is shown for comparison.
    pub wanted_max: Option<f64>,
    /// Whether it is no more than that.
    pub holds: Option<bool>,
    /// How it was measured, or why it was not.
    pub note: String,
}

impl Row {
    /// A figure that is shown for comparison.
    pub fn new(figure: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { figure, what: what.into(), value: Some(value), unit, wanted_max: None, holds: None, note: String::new() }
    }

    /// A figure that cannot be measured yet.
    pub fn not_yet(figure: &'static str, what: impl Into<String>, unit: &'static str, why: impl Into<String>) -> Self {
        Self { value: None, note: format!("not yet: {}", why.into()), ..Self::new(figure, what, 0.0, unit) }
    }

    /// Says the most that it should be.
    #[must_use]
    pub fn wanted(self, wanted_max: f64) -> Self {
        Self { wanted_max: Some(wanted_max), holds: self.value.map(|value| value <= wanted_max), ..self }
    }

    /// Says how it was measured.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn shown(&self, value: Option<f64>) -> String {
        let value = value.map(|value| if value == value.trunc() { format!("{value}") } else { format!("{value:.2}") });
        value.map_or_else(|| "-".to_owned(), |value| format!("{value} {}", self.unit).trim_end().to_owned())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.shown(self.value))?;
        if let Some(wanted) = self.wanted_max {
            write!(out, ", wanted at most {}", self.shown(Some(wanted)))?;
        }
        if self.note.is_empty() { Ok(()) } else { write!(out, " ({})", self.note) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(["figure", "value", "wanted at most", "holds", "note"]);
        for row in &self.rows {
            let holds = row.holds.map_or("", |holds| if holds { "yes" } else { "no" });
            let wanted = row.wanted_max.map_or_else(String::new, |wanted| row.shown(Some(wanted)));
            table.add_row([row.what.clone(), row.shown(row.value), wanted, holds.to_owned(), row.note.clone()]);
        }
        let numbers = table.column_iter_mut().skip(1).take(2);
        numbers.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        writeln!(out, "Three regions of three nodes, {:.0} ms from each other one way\n\n{table}", self.delay_ms)
    }
}

/// The value that `part` of them do not exceed; they are sorted here.
pub(super) fn at(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * part) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_with_what_is_wanted() {
        let row = Row::new("lag", "lag p99", 12.345, "ms").wanted(20.0);
        assert_eq!(row.to_string(), "lag p99: 12.35 ms, wanted at most 20 ms");
        assert_eq!((row.holds, row.clone().wanted(10.0).holds), (Some(true), Some(false)));
        let missing = Row::not_yet("lost", "takeover", "s", "nobody takes over").wanted(20.0);
        assert_eq!(missing.holds, None);
        let report = Report { delay_ms: 80.0, rows: vec![row, missing] }.to_string();
        assert!(report.contains("12.35 ms") && report.contains("not yet: nobody takes over"), "{report}");
    }

    #[test]
    fn parts_of_values_are_found_and_none_of_none() {
        let mut values = vec![3.0, 1.0, 2.0, 4.0, 5.0];
        assert_eq!(
            (at(&mut values, 0.5), at(&mut values, 0.99), at(&mut values, 1.0)),
            (Some(3.0), Some(4.0), Some(5.0))
        );
        assert_eq!(at(&mut [], 0.5), None);
    }
}

//! Tables that can be read as they are and are Markdown besides.

use std::fmt;

#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<T: AsRef<str>>(head: &[T]) -> Table {
        let head = head.iter().map(|text| text.as_ref().to_owned()).collect();
        Table { rows: vec![head] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        // Text begins on the left, figures end on the right.
        let is_text = |column: usize| {
            let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
            column == 0
                || cells.any(|cell| !cell.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
        };
        for (number, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                if is_text(column) {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let end = if is_text(column) { "-" } else { ":" };
                    write!(f, "|{}{end}", "-".repeat(width + 1))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// A figure with about three digits.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 1e7 => format!("{:.1}M", value / 1e6),
        Some(value) if value.abs() >= 1e5 => format!("{:.1}k", value / 1e3),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 0.095 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// A value beside the most it should be: `0.412 (0.45) met`.
pub fn against(value: Option<f64>, goal: f64, judged: bool) -> String {
    let limit = if goal < 10.0 {
        format!("{goal:.2}")
    } else {
        format!("{goal:.0}")
    };
    match value {
        None => format!("- ({limit})"),
        Some(value) => {
            let mark = match (judged, value <= goal) {
                (false, _) => "",
                (true, true) => " met",
                (true, false) => " MISSED",
            };
            // A ratio to three places, so that it can be told from its goal.
            let value = if goal < 10.0 {
                format!("{value:.3}")
            } else {
                figure(Some(value))
            };
            format!("{value} ({limit}){mark}")
        }
    }
}

//! What people see: pure functions from answers and a moment to text.

pub mod access;
pub mod account;
pub mod arrivals;
pub mod ca;
pub mod compliance;
pub mod device;
pub mod human;
pub mod identity;
pub mod json;
pub mod model;
pub mod policy;
pub mod program;
pub mod report;
pub mod retention;
pub mod rollout;
pub mod sink;
pub mod tenant;
#[cfg(test)]
pub mod tests;
pub mod trust;
pub mod witness;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use time::OffsetDateTime;

/// How a view is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub now: OffsetDateTime,
    /// Columns to stay within; None when nobody looks at a terminal.
    pub width: Option<u16>,
}

/// A table without lines: head in capitals, two spaces between columns. `>` before a head aligns
/// its column to the right.
pub fn table<const N: usize>(
    style: Style,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(head.map(|name| name.trim_start_matches('>')));
    for row in rows {
        table.add_row(row.map(|cell| cell.replace('\n', " ")));
    }
    for (index, name) in head.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    match style.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    trimmed(&table.to_string())
}

/// Names and values, a line each, values aligned.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    trimmed(&lines.join("\n"))
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// `uploading  [#####.....]  50 %  49.0 of 98.0 MiB  11.2 MiB/s, 4s left`
pub fn progress_line(label: &str, done: u64, total: u64, elapsed_s: f64) -> String {
    const CELLS: u64 = 24;
    let done = done.min(total);
    let filled = (done * CELLS).checked_div(total).unwrap_or(CELLS) as usize;
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(CELLS as usize - filled));
    let rate = if elapsed_s > 0.0 { done as f64 / elapsed_s } else { 0.0 };
    let mut line = format!(
        "{label}  [{bar}] {percent:>3} %  {} of {}",
        human::bytes(done),
        human::bytes(total)
    );
    if rate >= 1.0 {
        line.push_str(&format!("  {}/s", human::bytes(rate as u64)));
        if done < total {
            line.push_str(&format!(
                ", {} left",
                human::span(((total - done) as f64 / rate) as u64)
            ));
        }
    }
    line
}

//! A sweep on the terminal, and as JSON.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tests::statistics::{Estimate, median};

use super::figure::{Row, Sweep, percentile};

/// With fewer values there is no 99th of a hundred worth to be told.
const MANY: usize = 20;

/// One line per row, one column per size.
pub(super) fn print(sweep: &Sweep) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let mut heading = vec![sweep.of.to_owned(), "unit".to_owned()];
    heading.extend(sweep.sizes.iter().map(|size| grouped(*size)));
    heading.extend(["n", "last to first", "target"].map(str::to_owned));
    table.set_header(heading);
    table.add_rows(sweep.rows.iter().map(line));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    for note in &sweep.notes {
        println!("{note}");
    }
}

fn line(row: &Row) -> Vec<String> {
    let many = row.values.iter().any(|values| values.len() >= MANY);
    let unit = if many { format!("{} p50 / p99", row.unit) } else { row.unit.to_owned() };
    let mut line = vec![row.what.clone(), unit];
    line.extend(row.values.iter().map(|values| cell(values, many)));
    let mut counts: Vec<usize> = row.values.iter().map(Vec::len).filter(|count| *count > 0).collect();
    counts.dedup();
    line.push(counts.iter().map(ToString::to_string).collect::<Vec<_>>().join("/"));
    line.extend([row.slope().map_or_else(String::new, slope), target(row)]);
    line
}

fn cell(values: &[f64], many: bool) -> String {
    let Some(middle) = median(values) else { return String::new() };
    match percentile(values, 99).filter(|_| many) {
        Some(p99) => format!("{} / {}", number(middle), number(p99)),
        None => number(middle),
    }
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn slope(Estimate { median, low, high }: Estimate) -> String {
    if low < high { format!("{median:+.1} % [{low:+.1}, {high:+.1}]") } else { format!("{median:+.1} %") }
}

fn target(row: &Row) -> String {
    let Some(bar) = row.bar else { return String::new() };
    let Some(value) = row.judged() else { return "not measured".to_owned() };
    let verdict = if value <= bar.limit() { "met" } else { "MISSED" };
    let doubt = if row.is_in_doubt() { "?" } else { "" };
    format!("{} <= {}: {verdict}{doubt}", bar.of(), bar.limit())
}

/// 10000 as `10 000`.
fn grouped(number: u32) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{} {:03}", grouped(number / 1000), number % 1000)
}

/// The whole of it, with every single value.
pub(super) fn document(sweep: &Sweep) -> Value {
    let rows: Vec<Value> = sweep.rows.iter().map(|row| result(row, &sweep.sizes)).collect();
    json!({ "of": sweep.of, "sizes": sweep.sizes, "rows": rows, "notes": sweep.notes })
}

fn result(row: &Row, sizes: &[u32]) -> Value {
    let cells = sizes.iter().zip(&row.values).filter(|(_, values)| !values.is_empty());
    let cell = |(size, values): (&u32, &Vec<f64>)| {
        json!({
            "size": size,
            "n": values.len(),
            "median": median(values),
            "p99": percentile(values, 99).filter(|_| values.len() >= MANY),
            "values": values,
        })
    };
    let slope = row
        .slope()
        .map(|Estimate { median, low, high }| json!({ "median": median, "low": low, "high": high }));
    let target = row.bar.map(|bar| {
        let value = row.judged();
        let met = value.map(|value| value <= bar.limit());
        json!({ "of": bar.of(), "at_most": bar.limit(), "measured": value, "met": met, "in_doubt": row.is_in_doubt() })
    });
    json!({
        "what": row.what,
        "unit": row.unit,
        "at": cells.map(cell).collect::<Vec<_>>(),
        "percent_last_to_first": slope,
        "target": target,
    })
}

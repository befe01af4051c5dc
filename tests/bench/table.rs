//! The tables on the terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use tests::statistics::Estimate;

use crate::options::{ArmName, Family, Scenario};
use crate::plan::Plan;
use crate::summary::{Cell, Row};
use crate::unit::interval;
use crate::word::word;

/// Whom netdp is compared with.
const COMPARED: [ArmName; 3] = [ArmName::Veth, ArmName::Uplink, ArmName::Docker];

/// What a line begins with.
const BEGIN: [&str; 3] = ["scenario", "family", "kind"];

/// One line per scenario, family and kind, one column per arm, and netdp's ratios.
pub(crate) fn table(plan: &Plan, rows: &[Row]) -> Table {
    let arms = plan.arms.iter().copied().filter(|arm| arm.variant().is_none() && has(rows, *arm));
    let arms: Vec<ArmName> = arms.collect();
    let compared: Vec<ArmName> = COMPARED.into_iter().filter(|arm| arms.contains(arm)).collect();
    let mut heading = BEGIN.map(str::to_owned).to_vec();
    heading.extend(arms.iter().map(word));
    heading.extend(compared.iter().map(|arm| format!("netdp vs {}", word(arm))));
    let mut lines = Vec::new();
    for row in rows.iter().filter(|row| arms.iter().any(|arm| !arm.is_wire() && row.cell(*arm).is_some())) {
        let mut line = begin(row);
        let shown = |cell: &Cell| row.kind.unit().shown(cell.median);
        line.extend(arms.iter().map(|arm| row.cell(*arm).map_or_else(String::new, shown)));
        line.extend(compared.iter().map(|arm| ratio(row.netdp_to.get(arm).copied())));
        lines.push(((row.scenario, row.family), line));
    }
    filled(heading, lines, BEGIN.len())
}

/// netdp otherwise than usual: one line for each number, beside the same arms and netdp itself. Nothing when there is none.
pub(crate) fn variants(rows: &[Row]) -> Option<Table> {
    let mut heading = BEGIN.map(str::to_owned).to_vec();
    heading.push("arm".to_owned());
    heading.push("median".to_owned());
    heading.extend(COMPARED.iter().map(|arm| format!("vs {}", word(arm))));
    heading.push("netdp vs this".to_owned());
    let mut lines = Vec::new();
    for row in rows {
        for cell in row.cells.iter().filter(|cell| cell.arm.variant().is_some()) {
            let mut line = begin(row);
            line.extend([word(&cell.arm), row.kind.unit().shown(cell.median)]);
            line.extend([cell.of_veth, cell.of_uplink, cell.of_docker].map(ratio));
            line.push(ratio(row.netdp_to.get(&cell.arm).copied()));
            lines.push(((row.scenario, row.family), line));
        }
    }
    (!lines.is_empty()).then(|| filled(heading, lines, BEGIN.len() + 1))
}

fn has(rows: &[Row], arm: ArmName) -> bool {
    rows.iter().any(|row| row.cell(arm).is_some())
}

fn begin(row: &Row) -> Vec<String> {
    let kind = format!("{} ({})", word(&row.kind), row.kind.unit().label());
    vec![word(&row.scenario), format!("IPv{}", word(&row.family)), kind]
}

fn ratio(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(String::new, |Estimate { median, low, high }| interval(median, low, high))
}

/// A scenario and a family that are as in the line above are not said again. So many columns are words, the rest numbers.
fn filled(heading: Vec<String>, lines: Vec<((Scenario, Family), Vec<String>)>, words: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    let mut above = None;
    for (of, mut line) in lines {
        if above.is_some_and(|(scenario, _)| scenario == of.0) {
            line[0].clear();
        }
        if above == Some(of) {
            line[1].clear();
        }
        above = Some(of);
        table.add_row(line);
    }
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

//! The table on the terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use tests::statistics::Estimate;

use crate::options::{ArmName, Family, Kind, Scenario};
use crate::plan::Plan;
use crate::summary::Row;
use crate::word::word;

/// Whom netdp is compared with, beside itself without a mechanism.
const COMPARED: [ArmName; 3] = [ArmName::Veth, ArmName::Uplink, ArmName::Docker];

/// One line per scenario, family and kind, one column per arm, and netdp's ratios.
pub(crate) fn table(plan: &Plan, rows: &[Row]) -> Table {
    let arms: Vec<ArmName> = plan.arms.iter().copied().filter(|arm| has(rows, *arm)).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let mut heading = ["scenario", "family", "kind"].map(str::to_owned).to_vec();
    heading.extend(arms.iter().map(|arm| in_lines(*arm)));
    let is_compared = |arm: &ArmName| COMPARED.contains(arm) || arm.without().is_some();
    let compared: Vec<ArmName> = arms.iter().copied().filter(is_compared).collect();
    heading.extend(compared.iter().map(|arm| ratio_to(*arm)));
    table.set_header(heading);
    let mut last = None;
    for row in rows {
        table.add_row(line(row, &arms, &compared, last));
        last = Some((row.scenario, row.family));
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn has(rows: &[Row], arm: ArmName) -> bool {
    rows.iter().any(|row| row.cell(arm).is_some())
}

/// The name of an arm; a long one in lines, because a column is as wide as its heading.
fn in_lines(arm: ArmName) -> String {
    arm.without().map_or_else(|| word(&arm), |mechanism| format!("netdp-\nwithout-\n{mechanism}"))
}

/// The heading of netdp's ratio to an arm.
fn ratio_to(arm: ArmName) -> String {
    let without = |mechanism| format!("netdp /\nnetdp-without-\n{mechanism}");
    arm.without().map_or_else(|| format!("netdp / {}", word(&arm)), without)
}

/// What is as in the line above is not said again.
fn line(row: &Row, arms: &[ArmName], compared: &[ArmName], above: Option<(Scenario, Family)>) -> Vec<String> {
    let scenario = above.is_none_or(|(scenario, _)| scenario != row.scenario).then(|| word(&row.scenario));
    let family = (above != Some((row.scenario, row.family))).then(|| format!("IPv{}", word(&row.family)));
    let mut line = vec![scenario.unwrap_or_default(), family.unwrap_or_default()];
    line.push(format!(
        "{} {}",
        word(&row.kind),
        if row.kind.is_on_one_processor() { "k/s" } else { "Gbit/s" }
    ));
    let value = |arm: &ArmName| row.cell(*arm).map_or_else(String::new, |cell| value(row.kind, cell.median));
    line.extend(arms.iter().map(value));
    let ratio = |arm: &ArmName| row.netdp_to.get(arm).copied().map_or_else(String::new, interval);
    line.extend(compared.iter().map(ratio));
    line
}

/// Thousands per second, or Gbit/s.
fn value(kind: Kind, value: f64) -> String {
    if kind.is_on_one_processor() { format!("{:.1}", value / 1000.0) } else { format!("{value:.1}") }
}

/// A ratio and its 95 % confidence interval; what was measured once has none.
fn interval(Estimate { median, low, high }: Estimate) -> String {
    if low < high { format!("{median:.2} [{low:.2}, {high:.2}]") } else { format!("{median:.2}") }
}

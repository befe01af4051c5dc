//! results.json: every number that was measured, and what came of it.

use serde_json::{Map, Value, json};
use tests::statistics::Estimate;

use crate::counter::Growth;
use crate::report::Report;
use crate::rounds::Samples;
use crate::summary::{Cell, Row};
use crate::word::word;

/// The whole of it.
pub(crate) fn document(report: &Report) -> Value {
    let Report { machine, plan, rows, samples, remarks } = report;
    let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(what, text)| json!({ "what": what, "text": text })).collect()
    };
    json!({
        "command": command(),
        "complete": !samples.lost_any(),
        "machine": machine.document(),
        "rounds": plan.rounds,
        "seconds": plan.length.time.as_secs_f64(),
        "notes": pairs(&remarks.notes),
        "left_out": pairs(&remarks.left_out),
        "results": rows.iter().map(|row| result(row, samples)).collect::<Vec<_>>(),
    })
}

/// What somebody types to get the same, without where it goes.
fn command() -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => (),
            "--output" => drop(arguments.next()),
            other if other.starts_with("--output=") => (),
            _ => words.push(argument),
        }
    }
    words.join(" ")
}

fn result(row: &Row, samples: &Samples) -> Value {
    let cells: Vec<Value> = row.cells.iter().map(|cell| measured(row, cell, samples)).collect();
    json!({
        "scenario": word(&row.scenario),
        "family": word(&row.family),
        "kind": word(&row.kind),
        "unit": row.kind.unit().name(),
        "better": if row.kind.unit().is_better_lower() { "lower" } else { "higher" },
        "ratios": if row.kind.unit().is_better_lower() { "other / this" } else { "this / other" },
        "arms": cells,
        "netdp_to": row.netdp_to.iter().map(|(arm, share)| (word(arm), estimate(*share))).collect::<Map<_, _>>(),
    })
}

fn measured(row: &Row, cell: &Cell, samples: &Samples) -> Value {
    let proofs = samples.get((row.traffic(), cell.arm)).unwrap_or_default().iter();
    json!({
        "arm": word(&cell.arm),
        "median": cell.median,
        "of_veth": cell.of_veth.map(estimate),
        "of_uplink": cell.of_uplink.map(estimate),
        "of_docker": cell.of_docker.map(estimate),
        "values": cell.values,
        "details": proofs.clone().map(|sample| details(&sample.details)).collect::<Vec<Value>>(),
        "proofs": proofs.map(|sample| sample.proof.iter().map(growth).collect()).collect::<Vec<Value>>(),
    })
}

fn details(details: &[(&str, f64)]) -> Value {
    details.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn growth(Growth { counter, packets, carries }: &Growth) -> Value {
    json!({ "counter": counter.to_string(), "grew": packets, "must": if *carries { "carry" } else { "not see" } })
}

fn estimate(Estimate { median, low, high }: Estimate) -> Value {
    json!({ "median": median, "low": low, "high": high })
}

//! `--scale`: what more ports, containers, flows and networks cost netdp.
//!
//! Each sweep has hosts of its own, one per size, which stand side by side; what is compared is measured on all of them in turn,
//! round by round. A sweep that fails is left out by name, and the others stand.

mod clock;
mod containers;
mod effort;
mod figure;
mod flows;
mod networks;
mod ports;
mod publish;
mod resource;
mod show;
mod turn;
mod way;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::ending::Ending;
use crate::failed;
use crate::interrupt;
use crate::machine::Machine;
use crate::measure::attempt;
use crate::options::Options;
use crate::tool;

use effort::Effort;
use figure::Sweep;

const RESULTS: &str = "scale.json";

/// One sweep: its name, and what measures it.
type Measuring = (&'static str, fn(&Effort) -> Result<Sweep, Ending>);

const SWEEPS: [Measuring; 5] = [
    ("published ports", ports::sweep),
    ("containers", containers::sweep),
    ("flows", flows::sweep),
    ("networks", networks::sweep),
    ("ports of one container", publish::sweep),
];

/// Measures all sweeps, and only then reports.
pub(crate) fn run(options: &Options, output: &Path) -> Result<ExitCode, Ending> {
    let lacks = tool::lacking_for_scale();
    if !lacks.is_empty() {
        return Err(Ending::Lacking(format!("not installed: {}; run: cargo xtask setup", lacks.join(", "))));
    }
    let results = output.join(RESULTS);
    // Of another run, most often there is none.
    let _ = fs::remove_file(&results);
    let machine = Machine::this();
    eprintln!("{}", machine.line());
    let warning = machine.warning();
    if let Some(warning) = &warning {
        eprintln!("{warning}");
    }
    let effort = Effort::of(options);
    let (mut sweeps, mut left_out) = (Vec::new(), Vec::new());
    for (name, sweep) in SWEEPS {
        match measure(&effort, name, sweep)? {
            Ok(sweep) => sweeps.push(sweep),
            Err(why) => {
                eprintln!("left out: {name}: {why}");
                left_out.push((name, why));
            }
        }
    }
    sweeps.iter().for_each(show::print);
    println!("{}; {}", machine.line(), effort.line());
    if let Some(warning) = &warning {
        println!("machine: {warning}");
    }
    for (name, why) in &left_out {
        println!("left out: {name} did not come to its end: {why}");
    }
    let document = json!({
        "machine": machine.document(),
        "rounds": effort.rounds,
        "seconds": effort.length.time.as_secs_f64(),
        "sweeps": sweeps.iter().map(show::document).collect::<Vec<_>>(),
        "left_out": left_out.iter().map(|(what, why)| json!({ "what": what, "text": why })).collect::<Vec<_>>(),
    });
    fs::write(&results, format!("{document:#}\n")).map_err(|error| failed(&results, &error))?;
    println!("{}", results.display());
    Ok(if left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A failure of one sweep is no failure of the others; an interrupt ends all.
fn measure(
    effort: &Effort,
    name: &str,
    sweep: impl FnOnce(&Effort) -> Result<Sweep, Ending>,
) -> Result<Result<Sweep, String>, Ending> {
    if interrupt::came() {
        return Err(Ending::Interrupted);
    }
    eprintln!("sweep: {name}");
    let ended = attempt(|| sweep(effort));
    match ended {
        Ok(Ok(sweep)) => Ok(Ok(sweep)),
        // Whoever is interrupted may fail for it.
        _ if interrupt::came() => Err(Ending::Interrupted),
        Ok(Err(ending)) => Ok(Err(ending.to_string())),
        Err(why) => Ok(Err(why)),
    }
}

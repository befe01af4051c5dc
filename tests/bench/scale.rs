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

use serde_json::{Value, json};

use crate::arena::heart;
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

/// What a run came to.
struct Report {
    machine: Machine,
    effort: Effort,
    sweeps: Vec<Sweep>,
    /// Sweeps that did not come to their end, and why.
    left_out: Vec<(&'static str, String)>,
}

/// Measures all sweeps, and only then reports.
pub(crate) fn run(options: &Options, output: &Path) -> Result<ExitCode, Ending> {
    let lacks = tool::lacking_for_scale();
    if !lacks.is_empty() {
        return Err(Ending::Lacking(format!("not installed: {}; run: cargo xtask setup", lacks.join(", "))));
    }
    let results = output.join(RESULTS);
    // Of another run, most often there is none.
    let _ = fs::remove_file(&results);
    let report = Report::measure(Machine::this(), Effort::of(options))?;
    report.print();
    fs::write(&results, format!("{:#}\n", report.document())).map_err(|error| failed(&results, &error))?;
    println!("{}", results.display());
    Ok(if report.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    fn measure(machine: Machine, effort: Effort) -> Result<Self, Ending> {
        eprintln!("{}", machine.line());
        if let Some(warning) = machine.warning() {
            eprintln!("{warning}");
        }
        let mut report = Self { machine, effort, sweeps: Vec::new(), left_out: Vec::new() };
        for (name, sweep) in SWEEPS {
            match measure(&report.effort, name, sweep)? {
                Ok(sweep) => report.sweeps.push(sweep),
                Err(why) => {
                    eprintln!("left out: {name}: {why}");
                    report.left_out.push((name, heart(&why)));
                }
            }
        }
        Ok(report)
    }

    fn print(&self) {
        for sweep in &self.sweeps {
            show::print(sweep);
        }
        println!("{}; {}", self.machine.line(), self.effort.line());
        if let Some(warning) = self.machine.warning() {
            println!("machine: {warning}");
        }
        for (name, why) in &self.left_out {
            println!("left out: {name} did not come to its end: {why}");
        }
    }

    fn document(&self) -> Value {
        let left_out = self.left_out.iter().map(|(what, why)| json!({ "what": what, "text": why }));
        json!({
            "machine": self.machine.document(),
            "rounds": self.effort.rounds,
            "seconds": self.effort.length.time.as_secs_f64(),
            "sweeps": self.sweeps.iter().map(show::document).collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }
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

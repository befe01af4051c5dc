//! `--micro`: what a packet of every class costs in the program that sees it, without any network around it.
//!
//! The kernel runs a program many times by `BPF_PROG_TEST_RUN`, but always with the same frame, which after the first run is
//! translated already. So what it is given to run is a program of our own ([`runner`]), which restores the frame and then
//! calls the program under test as a tail call. What that costs with a program that does nothing is measured beside each
//! batch, and taken off.

mod class;
mod dropping;
mod family;
#[path = "../datapath/fixture.rs"]
#[expect(dead_code, unused_imports, reason = "it is of the datapath tests, which have more use for it")]
mod fixture;
mod generator;
mod helper;
mod object;
mod program;
mod receiver;
mod runner;
mod stack;
mod steady;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use tests::processor::on_processor;

use crate::ending::Ending;
use crate::failed;
use crate::interrupt;
use crate::machine::Machine;

const RESULTS: &str = "micro.json";
/// The processor that all of it runs on: the second, for the first has most of the interrupts.
const PROCESSOR: usize = 1;

/// Batches of each thing, and those before them that only warm up.
const BATCHES: usize = 15;
const QUICK_BATCHES: usize = 5;
const WARM_UP: usize = 1;

/// Measures, and reports only then.
pub(crate) fn run(output: &Path, quick: bool) -> Result<ExitCode, Ending> {
    let results = output.join(RESULTS);
    // Most often there is none.
    let _ = fs::remove_file(&results);
    let machine = Machine::this();
    eprintln!("{}", machine.line());
    if let Some(warning) = machine.warning() {
        eprintln!("{warning}");
    }
    let (classes, programs) = on_processor(PROCESSOR, || steady::measure(quick))?;
    let helpers = on_processor(PROCESSOR, || helper::measure(quick))?;
    let dropping = on_processor(PROCESSOR, || dropping::measure(quick))?;
    if interrupt::came() {
        return Err(Ending::Interrupted);
    }
    println!("{}\n", table::programs(&programs));
    println!("{}\n", table::classes(&classes));
    println!("{}\n", table::helpers(&helpers));
    println!("{}", dropping.table());
    println!("{}", dropping.summary());
    println!("{}", machine.line());
    machine.warning().iter().for_each(|warning| println!("{warning}"));
    let document = json!({
        "machine": machine.document(),
        "programs": programs.iter().map(program::Size::document).collect::<Vec<_>>(),
        "dropping": dropping.document(),
        "helpers": helpers.iter().map(helper::Measured::document).collect::<Vec<_>>(),
        "classes": classes.iter().map(steady::Measured::document).collect::<Vec<_>>(),
    });
    fs::write(&results, format!("{document:#}\n")).map_err(|error| failed(&results, &error))?;
    println!("{}", results.display());
    Ok(ExitCode::SUCCESS)
}

/// The routers outside have been spoken to before, as they have when packets flow.
fn meet_neighbours(machine: &tests::program::Machine) {
    let neighbours = "ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent\n\
                      ip neigh replace 2001:db8:10::1 lladdr 02:00:00:00:00:01 dev up0 nud permanent";
    machine.ns().sh(neighbours).done();
}

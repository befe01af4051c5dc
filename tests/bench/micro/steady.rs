//! Measures the classes, batch by batch.

use std::net::{Ipv4Addr, Ipv6Addr};

use netdp_common::names;
use serde_json::{Value, json};
use tests::program::{Machine, NEXT, xdp_context};
use tests::statistics::median;

use super::class::{self, Class};
use super::family::Family;
use super::fixture::WorldOf;
use super::program::Size;
use super::runner::{Again, Given, Hook, Kind, Runner};
use super::{BATCHES, QUICK_BATCHES, WARM_UP, meet_neighbours};
use crate::ending::Ending;
use crate::interrupt;

/// Runs of a batch.
const RUNS: u32 = 100_000;
/// And of one in which each is a flow of its own: as many as one container may have half open, and some less.
const FLOWS: u32 = 8_000;

/// A class, and what was measured of it.
pub(crate) struct Measured {
    pub(crate) class: Class,
    pub(crate) family: &'static str,
    /// Nanoseconds per run, by batch: the way to the program alone, and with the program.
    pub(crate) batches: Vec<(f64, f64)>,
}

impl Measured {
    /// Of the program alone: the median of what the two of a batch differ by.
    pub(crate) fn median(&self) -> f64 {
        let differences: Vec<f64> = self.batches.iter().map(|(way, all)| all - way).collect();
        median(&differences).unwrap()
    }

    /// And the least: what the best batch came to, less the least that the way took.
    pub(crate) fn least(&self) -> f64 {
        let least = |of: fn(&(f64, f64)) -> f64| self.batches.iter().map(of).fold(f64::INFINITY, f64::min);
        least(|batch| batch.1) - self.way()
    }

    /// The least that the way to the program took.
    pub(crate) fn way(&self) -> f64 {
        self.batches.iter().map(|batch| batch.0).fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn document(&self) -> Value {
        let Class { way, carries, program, .. } = &self.class;
        json!({
            "program": program,
            "class": way,
            "carries": carries,
            "family": self.family,
            "frame": self.class.frame.len(),
            "ns_median": self.median(),
            "ns_least": self.least(),
            "ns_harness": self.way(),
            "batches": self.batches.iter().map(|(way, all)| json!({ "harness": way, "with_program": all })).collect::<Vec<_>>(),
        })
    }
}

/// All classes of both families, and the programs' sizes.
pub(crate) fn measure(quick: bool) -> Result<(Vec<Measured>, Vec<Size>), Ending> {
    let batches = if quick { QUICK_BATCHES } else { BATCHES };
    let mut runner = Runner::new()?;
    let (mut classes, sizes) = of_family::<Ipv4Addr>(&mut runner, batches)?;
    classes.extend(of_family::<Ipv6Addr>(&mut runner, batches)?.0);
    Ok((classes, sizes))
}

fn of_family<A: Family>(runner: &mut Runner, batches: usize) -> Result<(Vec<Measured>, Vec<Size>), Ending> {
    let mut world = WorldOf::<A>::on(Machine::full_size(), 0);
    meet_neighbours(&world.machine);
    let mut done = Vec::new();
    for class in class::steady(&mut world) {
        done.push(one::<A>(runner, &mut world.machine, class, batches)?);
    }
    for class in class::first(&world) {
        done.push(one::<A>(runner, &mut world.machine, class, batches)?);
    }
    Ok((done, super::program::sizes(&mut world.machine)))
}

fn one<A: Family>(
    runner: &mut Runner,
    machine: &mut Machine,
    class: Class,
    batches: usize,
) -> Result<Measured, Ending> {
    if interrupt::came() {
        return Err(Ending::Interrupted);
    }
    eprintln!("{} {} {} {}", class.program, class.way, class.carries, A::NAME);
    let batches = batches_of(runner, machine, &class, batches);
    Ok(Measured { class, family: A::NAME, batches })
}

fn batches_of(runner: &mut Runner, machine: &mut Machine, class: &Class, batches: usize) -> Vec<(f64, f64)> {
    let alone = alone(machine, class);
    let given = given(machine, class);
    runner.aim(given.hook, machine.loaded(class.program).fd().unwrap());
    let times = if class.again == Again::Same { RUNS } else { FLOWS };
    let batch = || {
        let way = runner.run_nothing(machine.ns(), &given, times);
        assert_eq!(given.hook.verdict(way.returned), Some(NEXT), "the tail call did not happen");
        let before = counted(machine, class);
        let ran = runner.run(machine.ns(), &given, times);
        let counted = counted(machine, class) - before;
        proved(class, given.hook.verdict(ran.returned), counted, times);
        match class.again {
            Again::Same => assert_eq!(ran.bytes, alone, "not what one run alone makes of it"),
            Again::Another { .. } => machine.forget_flows(),
        }
        (way.ns, ran.ns)
    };
    std::iter::repeat_with(batch).take(batches + WARM_UP).skip(WARM_UP).collect()
}

fn given<'a>(machine: &Machine, class: &'a Class) -> Given<'a> {
    let is_own = class.frame[..6] == machine.mac(class.interface).0;
    let hook = if class.program == names::PREFILTER { Hook::Xdp } else { Hook::Classifier };
    let context = match hook {
        Hook::Classifier => machine.context(class.interface).map(|bytes| bytes.to_vec()),
        Hook::Xdp => Some(xdp_context(machine.ifindex(class.interface), class.frame.len()).to_vec()),
    };
    let kind = if is_own { Kind::Host } else { Kind::OtherHost };
    Given { hook, frame: &class.frame, context, kind, again: class.again }
}

/// What becomes of the frame in one run.
fn alone(machine: &mut Machine, class: &Class) -> Vec<u8> {
    let outcome = machine.run(class.program, class.interface, &class.frame);
    assert_eq!(outcome.verdict, class.verdict, "{} {}: {outcome:?}", class.way, class.carries);
    if class.again != Again::Same {
        machine.forget_flows();
    }
    outcome.bytes
}

/// Every run took the class's way, and was counted as what it is.
fn proved(class: &Class, verdict: Option<i32>, counted: u64, times: u32) {
    let what = format!("{} {}", class.way, class.carries);
    assert_eq!(verdict, Some(class.verdict), "{what}: verdict");
    let expected = if class.reason.is_some() { times.into() } else { 0 };
    assert_eq!(counted, expected, "{what}: packets counted as {:?}", class.reason);
}

/// Packets that were counted as the class is; of one that is not counted, those that were counted at all.
fn counted(machine: &Machine, class: &Class) -> u64 {
    let counts = machine.counts();
    match class.reason {
        Some(reason) => counts[&reason.number()].packets,
        None => counts.values().map(|count| count.packets).sum(),
    }
}

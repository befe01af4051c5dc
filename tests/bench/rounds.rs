//! The rounds: every arm in turn for each line of the table, in an order that alternates, so that whatever else the machine does
//! falls on all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::arena::{Arena, Standing};
use crate::arm::Arm;
use crate::counter::Growth;
use crate::ending::Ending;
use crate::interrupt;
use crate::measure::{self, Failure, Measured};
use crate::options::{ArmName, Family, Kind, Scenario};
use crate::plan::{Plan, Traffic};
use crate::word::word;

/// What is measured once per round.
pub(crate) type Key = (Traffic, ArmName);

/// One measurement and its proof.
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) proof: Vec<Growth>,
    /// What else is worth being kept, by name.
    pub(crate) details: Vec<(&'static str, f64)>,
}

/// The samples of each key, one per round.
#[derive(Default)]
pub(crate) struct Samples {
    of: BTreeMap<Key, Vec<Sample>>,
    /// What is not measured any more.
    lost: BTreeSet<Key>,
    /// Whether any of that is the fault of what was measured.
    is_broken: bool,
}

impl Samples {
    /// Those of a key, when all rounds have one.
    pub(crate) fn get(&self, key: Key) -> Option<&[Sample]> {
        self.of.get(&key).map(Vec::as_slice)
    }

    /// Whether something did not work in the middle of the run; that the machine was too busy is no such thing.
    pub(crate) fn lost_any(&self) -> bool {
        self.is_broken
    }

    fn lose(&mut self, key: Key) {
        let measurement = |(traffic, arm): Key| (of_measurement(traffic), arm);
        self.of.retain(|other, _| measurement(*other) != measurement(key));
        self.lost.insert(key);
    }
}

fn of_measurement(traffic: Traffic) -> Traffic {
    Traffic { kind: traffic.kind.measurement(), ..traffic }
}

/// Measures all of it.
pub(crate) fn run(arena: &mut Arena, plan: &Plan) -> Result<Samples, Ending> {
    let mut samples = Samples::default();
    tell_refused(arena, plan);
    let mut keys = keys(arena, plan);
    let steps = keys.len() * usize::from(plan.rounds);
    let kinds = keys.iter().map(|(traffic, _)| traffic.kind);
    eprintln!("{}", announcement(keys.len(), plan.rounds, plan.estimate(kinds)));
    let progress = progress(steps);
    for round in 0..plan.rounds {
        if progress.is_hidden() {
            eprintln!("round {} of {}", round + 1, plan.rounds);
        }
        for key in &keys {
            if interrupt::came() {
                return Err(Ending::Interrupted);
            }
            step(arena, plan, *key, &mut samples, &progress)?;
        }
        reverse_arms(&mut keys);
    }
    progress.finish_and_clear();
    Ok(samples)
}

/// How much there is to do.
fn announcement(measurements: usize, rounds: u16, time: Duration) -> String {
    let seconds = time.as_secs();
    let time =
        if seconds < 90 { format!("{seconds} seconds") } else { format!("{} minutes", seconds.div_ceil(60)) };
    format!("{measurements} measurements in each of {rounds} rounds: about {time}")
}

/// Line by line of the table, the arms that carry it; of kinds that are measured together, the first.
fn keys(arena: &Arena, plan: &Plan) -> Vec<Key> {
    let of_line = |traffic: Traffic| {
        let planned = arena.arms.iter().filter(move |standing| plan.measures(traffic, standing.name));
        let arms = planned.filter(move |standing| carries(standing.arm.as_ref(), traffic));
        arms.map(move |standing| (traffic, standing.name))
    };
    let mut lines: Vec<Traffic> = plan.traffic().collect();
    lines.dedup_by_key(|traffic| of_measurement(*traffic));
    lines.into_iter().flat_map(of_line).collect()
}

fn carries(arm: &dyn Arm, traffic: Traffic) -> bool {
    arm.way(traffic.scenario, traffic.family).is_some() && arm.refuses(traffic).is_none()
}

/// Says what the arms do not carry although they have a way for it; once, when it is so for every kind.
fn tell_refused(arena: &mut Arena, plan: &Plan) {
    let ways = plan.traffic().map(|traffic| (traffic.scenario, traffic.family));
    let ways: BTreeSet<(Scenario, Family)> = ways.collect();
    let refused = |(scenario, family)| {
        arena.arms.iter().flat_map(move |standing| refused(standing, plan, scenario, family))
    };
    let all: Vec<(String, &str)> = ways.into_iter().flat_map(refused).collect();
    for (what, why) in all {
        arena.leave_out(what, why);
    }
}

fn refused(
    standing: &Standing,
    plan: &Plan,
    scenario: Scenario,
    family: Family,
) -> Vec<(String, &'static str)> {
    let Standing { name, arm, .. } = standing;
    if arm.way(scenario, family).is_none() {
        return Vec::new();
    }
    let key = |kind: &Kind| (Traffic { scenario, family, kind: *kind }, *name);
    let why = |key: Key| arm.refuses(key.0).map(|why| (described(key), why));
    let planned: Vec<Key> = plan.kinds.iter().map(key).filter(|key| plan.measures(key.0, key.1)).collect();
    let kinds: Vec<(String, &str)> = planned.iter().copied().filter_map(why).collect();
    match kinds.first() {
        Some((_, why)) if kinds.len() == planned.len() && kinds.iter().all(|(_, other)| other == why) => {
            vec![(format!("{}, IPv{}, {}", word(&scenario), word(&family), word(name)), why)]
        }
        _ => kinds,
    }
}

fn described((Traffic { scenario, family, kind }, name): Key) -> String {
    format!("{}, IPv{}, {}, {}", word(&scenario), word(&family), word(&kind), word(&name))
}

fn reverse_arms(keys: &mut [Key]) {
    for same in keys.chunk_by_mut(|a, b| a.0 == b.0) {
        same.reverse();
    }
}

fn step(
    arena: &mut Arena,
    plan: &Plan,
    key: Key,
    samples: &mut Samples,
    progress: &ProgressBar,
) -> Result<(), Ending> {
    let what = described(key);
    progress.set_message(what.clone());
    progress.inc(1);
    if samples.lost.contains(&key) {
        return Ok(());
    }
    match measure(arena, plan, key) {
        Ok(measured) => {
            for (key, sample) in measured {
                samples.of.entry(key).or_default().push(sample);
            }
        }
        Err(_) if interrupt::came() => return Err(Ending::Interrupted),
        Err(Failure::Unproved(why)) => return Err(Ending::Failed(format!("{what}: {why}"))),
        Err(Failure::Disturbed(why)) => {
            samples.lose(key);
            progress.suspend(|| arena.leave_out(what, &why));
        }
        Err(Failure::Broken(why)) => {
            samples.lose(key);
            samples.is_broken = true;
            progress.suspend(|| arena.leave_out(what, &why));
        }
    }
    Ok(())
}

/// A sample of each kind that is asked for and was measured with this one.
fn measure(arena: &Arena, plan: &Plan, (traffic, name): Key) -> Result<Vec<(Key, Sample)>, Failure> {
    let nothing = || Failure::Broken("the arm does not carry it".to_owned());
    let arm = arena.arm(name).ok_or_else(nothing)?;
    let way = arm.way(traffic.scenario, traffic.family).ok_or_else(nothing)?;
    let (Measured { value, others, details, .. }, proof) =
        measure::once(arm, &way, traffic.kind, plan.length)?;
    let values = std::iter::once((traffic.kind.measurement(), value)).chain(others);
    let wanted = values.filter(|(kind, _)| plan.kinds.contains(kind));
    let sample = |value| Sample { value, proof: proof.clone(), details: details.clone() };
    Ok(wanted.map(|(kind, value)| ((Traffic { kind, ..traffic }, name), sample(value))).collect())
}

fn progress(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}");
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

//! The rounds: every arm in turn for each scenario and kind, in an order that alternates, so that whatever else the machine does
//! falls on all of them.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{ProgressBar, ProgressStyle};

use crate::arena::Arena;
use crate::counter::Growth;
use crate::ending::Ending;
use crate::interrupt;
use crate::measure::{self, Failure};
use crate::options::{ArmName, Kind, Scenario};
use crate::plan::Plan;
use crate::word::word;

/// What is measured once per round.
pub(crate) type Key = (Scenario, Kind, ArmName);

/// One measurement and its proof.
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) proof: Vec<Growth>,
}

/// The samples of each key, one per round.
#[derive(Default)]
pub(crate) struct Samples {
    of: BTreeMap<Key, Vec<Sample>>,
    broken: BTreeSet<Key>,
}

impl Samples {
    /// Those of a key, when all rounds have one.
    pub(crate) fn get(&self, key: Key) -> Option<&[Sample]> {
        self.of.get(&key).map(Vec::as_slice)
    }

    /// Whether something did not work in the middle of the run.
    pub(crate) fn lost_any(&self) -> bool {
        !self.broken.is_empty()
    }

    fn lose(&mut self, key: Key) {
        self.of.remove(&key);
        self.broken.insert(key);
    }
}

/// Measures all of it.
pub(crate) fn run(arena: &mut Arena, plan: &Plan) -> Result<Samples, Ending> {
    let mut samples = Samples::default();
    let mut keys = keys(arena, plan);
    keys.retain(|key| is_carried(arena, *key));
    let progress = progress(keys.len() * usize::from(plan.rounds));
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

/// Scenario by scenario and kind by kind, the arms that carry it.
fn keys(arena: &Arena, plan: &Plan) -> Vec<Key> {
    let pairs =
        plan.scenarios.iter().flat_map(|scenario| plan.kinds.iter().map(move |kind| (*scenario, *kind)));
    let carried = |(scenario, kind)| {
        let arms = arena.arms.iter().filter(move |standing| standing.arm.way(scenario).is_some());
        arms.map(move |standing| (scenario, kind, standing.name))
    };
    pairs.flat_map(carried).collect()
}

/// Says why not.
fn is_carried(arena: &mut Arena, key: Key) -> bool {
    let (scenario, kind, name) = key;
    let why = arena.arm(name).and_then(|arm| arm.refuses(scenario, kind));
    if let Some(why) = why {
        arena.leave_out(described(key), why);
    }
    why.is_none()
}

fn described((scenario, kind, name): Key) -> String {
    format!("{}, {}, {}", word(&scenario), word(&kind), word(&name))
}

fn reverse_arms(keys: &mut [Key]) {
    for same in keys.chunk_by_mut(|a, b| (a.0, a.1) == (b.0, b.1)) {
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
    if samples.broken.contains(&key) {
        return Ok(());
    }
    match measure(arena, plan, key) {
        Ok(sample) => samples.of.entry(key).or_default().push(sample),
        Err(_) if interrupt::came() => return Err(Ending::Interrupted),
        Err(Failure::Unproved(why)) => return Err(Ending::Failed(format!("{what}: {why}"))),
        Err(Failure::Broken(why)) => {
            samples.lose(key);
            progress.suspend(|| arena.leave_out(what, &why));
        }
    }
    Ok(())
}

fn measure(arena: &Arena, plan: &Plan, (scenario, kind, name): Key) -> Result<Sample, Failure> {
    let nothing = || Failure::Broken("the arm does not carry it".to_owned());
    let arm = arena.arm(name).ok_or_else(nothing)?;
    let way = arm.way(scenario).ok_or_else(nothing)?;
    let (value, proof) = measure::once(arm, &way, kind, plan.length)?;
    Ok(Sample { value, proof })
}

fn progress(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}");
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

//! What the samples say: medians, and ratios of what was measured in the same round.

use std::collections::BTreeMap;

use tests::statistics::{Estimate, median};

use crate::options::{ArmName, Family, Kind, Scenario};
use crate::plan::{Plan, Traffic};
use crate::rounds::{Sample, Samples};

/// Any number would do; one that stays gives the same interval for the same samples.
const SEED: u64 = 4787;

/// One scenario, family and kind over all arms.
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    pub(crate) cells: Vec<Cell>,
    /// How many times as good netdp is as each other arm.
    pub(crate) netdp_to: BTreeMap<ArmName, Estimate>,
}

/// One arm of a row.
pub(crate) struct Cell {
    pub(crate) arm: ArmName,
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
    /// How many times as good it is as the bare pair; where lower is better, the pair's share of this.
    pub(crate) of_veth: Option<Estimate>,
    /// As the host's uplink, where the way takes it.
    pub(crate) of_uplink: Option<Estimate>,
    /// As Docker.
    pub(crate) of_docker: Option<Estimate>,
}

impl Row {
    /// What was measured.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { scenario: self.scenario, family: self.family, kind: self.kind }
    }

    /// An arm's cell, when it was measured.
    pub(crate) fn cell(&self, arm: ArmName) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.arm == arm)
    }

    /// The wire that is as long as the ways of the other arms.
    pub(crate) fn wire(&self) -> ArmName {
        if self.scenario.goes_outside() { ArmName::Uplink } else { ArmName::Veth }
    }

    /// A cell's share of that wire.
    pub(crate) fn share(&self, cell: &Cell) -> Option<Estimate> {
        if self.wire() == ArmName::Uplink { cell.of_uplink } else { cell.of_veth }
    }
}

/// All rows that have a number.
pub(crate) fn rows(plan: &Plan, samples: &Samples) -> Vec<Row> {
    let rows = plan.traffic().map(|traffic| row(plan, samples, traffic));
    rows.filter(|row| row.cells.iter().any(|cell| !cell.arm.is_wire())).collect()
}

fn row(plan: &Plan, samples: &Samples, traffic: Traffic) -> Row {
    let values = |arm| samples.get((traffic, arm)).map(values);
    let Traffic { scenario, family, kind } = traffic;
    let [veth, uplink, docker] = [ArmName::Veth, ArmName::Uplink, ArmName::Docker].map(values);
    let cell = |arm: &ArmName| {
        let values = values(*arm)?;
        let than = |other: &Option<Vec<f64>>| other.as_ref().and_then(|other| paired(kind, &values, other));
        let (of_veth, of_uplink, of_docker) = (than(&veth), than(&uplink), than(&docker));
        Some(Cell { arm: *arm, median: median(&values)?, of_veth, of_uplink, of_docker, values })
    };
    let netdp = values(ArmName::Netdp);
    let netdp_to = |arm: &ArmName| Some((*arm, paired(kind, netdp.as_ref()?, &values(*arm)?)?));
    let others = plan.arms.iter().filter(|arm| **arm != ArmName::Netdp);
    Row {
        scenario,
        family,
        kind,
        cells: plan.arms.iter().filter_map(cell).collect(),
        netdp_to: others.filter_map(netdp_to).collect(),
    }
}

fn values(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.value).collect()
}

/// How many times as good one is as the other. Both have one value per round.
fn paired(kind: Kind, of: &[f64], to: &[f64]) -> Option<Estimate> {
    let (of, to) = if kind.unit().is_better_lower() { (to, of) } else { (of, to) };
    let pairs: Vec<(f64, f64)> = of.iter().copied().zip(to.iter().copied()).collect();
    Estimate::of_ratios(&pairs, SEED)
}

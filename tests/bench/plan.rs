//! What a run is made of, from the words of the command line.

use std::time::Duration;

use clap::ValueEnum;

use crate::measure::Length;
use crate::options::{ArmName, Family, Kind, Options, Scenario};

/// The arms, scenarios, families and kinds of a run, and how long and often each is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) arms: Vec<ArmName>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) families: Vec<Family>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: u16,
    pub(crate) length: Length,
}

/// What one line of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traffic {
    pub(crate) scenario: Scenario,
    pub(crate) family: Family,
    pub(crate) kind: Kind,
}

const QUICK_ARMS: [ArmName; 5] =
    [ArmName::Veth, ArmName::Uplink, ArmName::Nft, ArmName::Docker, ArmName::Netdp];
const QUICK_KINDS: [Kind; 3] = [Kind::TcpRr, Kind::TcpCrr, Kind::TcpStream];
const QUICK_ROUNDS: u16 = 3;
const ROUNDS: u16 = 5;
const FULL_ROUNDS: u16 = 15;

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let families = if options.quick { &[Family::Four][..] } else { Family::value_variants() };
        let kinds = if options.quick { &QUICK_KINDS[..] } else { Kind::value_variants() };
        let rounds = match (options.quick, options.full) {
            (true, _) => QUICK_ROUNDS,
            (_, true) => FULL_ROUNDS,
            _ => ROUNDS,
        };
        let scenarios = named_or(&options.scenarios, Scenario::value_variants());
        Self {
            arms: with_wires(named_or(&options.arms, &arms(options)), &scenarios),
            scenarios,
            families: named_or(&options.families, families),
            kinds: named_or(&options.kinds, kinds),
            rounds: options.rounds.unwrap_or(rounds),
            length: if options.quick { Length::brief() } else { Length::usual() },
        }
    }
}

impl Plan {
    /// The lines of the table, in its order.
    pub(crate) fn traffic(&self) -> impl Iterator<Item = Traffic> {
        self.scenarios.iter().flat_map(|scenario| self.of_scenario(*scenario))
    }

    fn of_scenario(&self, scenario: Scenario) -> impl Iterator<Item = Traffic> {
        let of_family =
            move |family| self.kinds.iter().map(move |kind| Traffic { scenario, family, kind: *kind });
        self.families.iter().copied().flat_map(of_family)
    }
}

impl Length {
    fn brief() -> Self {
        Self { warm_up: Duration::from_millis(50), time: Duration::from_millis(250) }
    }

    fn usual() -> Self {
        Self { warm_up: Duration::from_millis(200), time: Duration::from_secs(1) }
    }
}

/// Those of which none was named.
fn arms(options: &Options) -> Vec<ArmName> {
    if options.quick {
        return QUICK_ARMS.to_vec();
    }
    let all = ArmName::value_variants().iter().copied();
    all.filter(|arm| options.full || arm.without().is_none()).collect()
}

/// The wires that the scenarios are compared with, whether they were named or not.
fn with_wires(mut arms: Vec<ArmName>, scenarios: &[Scenario]) -> Vec<ArmName> {
    arms.retain(|arm| !arm.is_wire());
    if scenarios.iter().any(|scenario| scenario.goes_outside()) {
        arms.insert(0, ArmName::Uplink);
    }
    arms.insert(0, ArmName::Veth);
    arms
}

/// What was named, each once and in the order of the table; or else all of these.
fn named_or<T: Copy + Ord>(named: &[T], all: &[T]) -> Vec<T> {
    let mut these = if named.is_empty() { all.to_vec() } else { named.to_vec() };
    these.sort();
    these.dedup();
    these
}

//! What a run is made of, from the words of the command line.

use std::time::Duration;

use clap::ValueEnum;

use crate::measure::Length;
use crate::options::{ArmName, Family, Kind, Options, Scenario};
use crate::word::word;

/// The arms, scenarios, families and kinds of a run, and how long and often each is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) arms: Vec<ArmName>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) families: Vec<Family>,
    pub(crate) kinds: Vec<Kind>,
    /// Whether less is measured than the arms carry.
    is_thinned: bool,
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

/// What is compared first, and where: every kind is measured there, and in a run of which nothing was named the kinds that refine
/// the main ones nowhere else.
const MAIN_ARMS: [ArmName; 4] = [ArmName::Veth, ArmName::Uplink, ArmName::Docker, ArmName::Netdp];
const MAIN_SCENARIOS: [Scenario; 3] =
    [Scenario::ContainerToContainer, Scenario::ContainerToOutside, Scenario::OutsideToPublished];
/// Quick runs have these.
const QUICK_ARMS: [ArmName; 5] =
    [ArmName::Veth, ArmName::Uplink, ArmName::Nft, ArmName::Docker, ArmName::Netdp];
/// The kinds that the others refine.
pub(crate) const MAIN_KINDS: [Kind; 4] = [Kind::TcpRr, Kind::UdpRr, Kind::TcpCrr, Kind::TcpStream];
const QUICK_KINDS: [Kind; 3] = [Kind::TcpRr, Kind::TcpCrr, Kind::TcpStream];
const QUICK_ROUNDS: u16 = 3;
const ROUNDS: u16 = 5;
const FULL_ROUNDS: u16 = 10;

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
        let is_named = !(options.arms.is_empty() && options.families.is_empty() && options.kinds.is_empty());
        Self {
            arms: with_wires(named_or(&options.arms, &arms(options)), &scenarios),
            scenarios,
            families: named_or(&options.families, families),
            kinds: named_or(&options.kinds, kinds),
            is_thinned: !options.quick && !is_named,
            rounds: options.rounds.unwrap_or(rounds),
            length: if options.quick { Length::brief() } else { Length::usual() },
        }
    }

    /// Whether this is measured in an arm that carries it: a run of which nothing was named would otherwise take hours.
    pub(crate) fn measures(&self, traffic: Traffic, arm: ArmName) -> bool {
        let Traffic { scenario, family, kind } = traffic;
        if !self.is_thinned {
            return true;
        }
        match (family, arm.variant()) {
            (Family::Four, Some(variant)) => {
                variant.scenarios().contains(&scenario) && variant.kinds().contains(&kind)
            }
            (Family::Four, None) => {
                let is_main = MAIN_ARMS.contains(&arm) && MAIN_SCENARIOS.contains(&scenario);
                is_main || MAIN_KINDS.contains(&kind)
            }
            (Family::Six, _) => MAIN_ARMS.contains(&arm) && MAIN_KINDS.contains(&kind),
        }
    }

    /// What a reader must know of that.
    pub(crate) fn note(&self) -> Option<String> {
        if !self.is_thinned {
            return None;
        }
        let of_variant = |arm: &ArmName| {
            let variant = arm.variant()?;
            let (kinds, scenarios) = (words(variant.kinds()), words(variant.scenarios()));
            Some(format!(" {}: IPv4, {kinds} in {scenarios}, where it can differ.", word(arm)))
        };
        Some(format!(
            "{} everywhere in IPv4, and in IPv6 in {}; the other kinds in these arms, in IPv4 and in {}.{} Whatever is \
             named by --arms, --family or --kinds is measured in full",
            words(&MAIN_KINDS),
            words(&MAIN_ARMS),
            words(&MAIN_SCENARIOS),
            self.arms.iter().filter_map(of_variant).collect::<String>(),
        ))
    }

    /// How long all rounds of measurements of these kinds take, about.
    pub(crate) fn estimate(&self, kinds: impl Iterator<Item = Kind>) -> Duration {
        kinds.map(|kind| kind.takes(self.length)).sum::<Duration>() * u32::from(self.rounds)
    }

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
    pub(crate) fn brief() -> Self {
        Self { warm_up: Duration::from_millis(50), time: Duration::from_millis(250) }
    }

    fn usual() -> Self {
        Self { warm_up: Duration::from_millis(75), time: Duration::from_millis(250) }
    }
}

/// Those of which none was named.
fn arms(options: &Options) -> Vec<ArmName> {
    if options.quick {
        return QUICK_ARMS.to_vec();
    }
    let all = ArmName::value_variants().iter().copied();
    all.filter(|arm| options.full || arm.variant().is_none()).collect()
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

fn words<T: ValueEnum>(values: &[T]) -> String {
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What was named, each once and in the order of the table; or else all of these.
fn named_or<T: Copy + Ord>(named: &[T], all: &[T]) -> Vec<T> {
    let mut these = if named.is_empty() { all.to_vec() } else { named.to_vec() };
    these.sort();
    these.dedup();
    these
}

//! How fast packets are dropped: by netdp's prefilter, by nftables and by iptables, in turn and round by round.

use std::thread;
use std::time::{Duration, Instant};

use comfy_table::Table;
use serde_json::{Value, json};
use tests::packet::Packet;
use tests::statistics::{Estimate, median};
use tests::topology::Bed;

use super::fixture::{ROUTER_MAC, ipv4::REMOTE};
use super::generator::{Generator, RUN};
use super::receiver::{Means, Receiver};
use super::table;
use crate::ending::Ending;
use crate::interrupt;

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Runs of one measurement, whose median it is.
const RUNS: usize = 25;
const QUICK_RUNS: usize = 15;
/// Share of the frames that must have been dropped by whom they are measured with: what is lost before costs him nothing.
const DROPPED: f64 = 0.99;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Resampling is by this seed.
const SEED: u64 = 1;

/// What was measured: nanoseconds per frame, by round.
pub(crate) struct Dropping {
    /// To make them alone.
    made: Vec<f64>,
    /// To make them, to send them, and to drop them by each means.
    dropped: Vec<(Means, Vec<f64>)>,
}

/// Builds the hosts, measures, and takes them away.
pub(crate) fn measure(quick: bool) -> Result<Dropping, Ending> {
    let (rounds, runs) = if quick { (QUICK_ROUNDS, QUICK_RUNS) } else { (ROUNDS, RUNS) };
    let mut generator = Generator::new()?;
    let bed = Bed::new();
    let receivers = Means::ALL.map(|means| Receiver::build(&bed, means, &mut generator));
    let mut dropping =
        Dropping { made: Vec::new(), dropped: Means::ALL.map(|means| (means, Vec::new())).into() };
    for round in 0..=rounds {
        if interrupt::came() {
            return Err(Ending::Interrupted);
        }
        eprintln!("dropping: round {round} of {rounds}");
        let made = median(&generator.send(&bed.outside.ns, None, &frame(&receivers[0]), runs)).unwrap();
        // In alternating order; and the first round only warms up.
        let order: Vec<usize> = if round % 2 == 0 {
            (0..receivers.len()).collect()
        } else {
            (0..receivers.len()).rev().collect()
        };
        for at in order {
            let took = one(&bed, &mut generator, &receivers[at], runs)?;
            if round > 0 {
                dropping.dropped[at].1.push(took);
            }
        }
        if round > 0 {
            dropping.made.push(made);
        }
    }
    Ok(dropping)
}

fn frame(receiver: &Receiver) -> Vec<u8> {
    let packet = Packet::udp((REMOTE, 5000), (receiver.address(), 53)).link(ROUTER_MAC, receiver.mac());
    packet.with(|packet| packet.payload = vec![7; 18]).build()
}

fn one(bed: &Bed, generator: &mut Generator, receiver: &Receiver, runs: usize) -> Result<f64, Ending> {
    let (before, frame) = (receiver.dropped(), frame(receiver));
    let took = generator.send(&bed.outside.ns, Some(receiver.by), &frame, runs);
    let frames = f64::from(RUN) * count(runs as u64);
    let least = frames * DROPPED;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dropped = count(receiver.dropped() - before);
        if dropped >= least {
            return Ok(median(&took).unwrap());
        }
        if Instant::now() > deadline {
            let name = receiver.means.name();
            let text = format!("{name}: of {frames} frames it has dropped {dropped} only");
            return Err(Ending::Failed(text));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(packets: u64) -> f64 {
    packets as f64
}

impl Dropping {
    /// The nanoseconds of a means: of the whole, without the making of the frames, and of the drop alone, which is what there is
    /// beyond a program that drops everything.
    fn of(&self, means: Means) -> [Vec<f64>; 3] {
        let its = |means| &self.dropped.iter().find(|(its, _)| *its == means).unwrap().1;
        let less = |less: &[f64]| its(means).iter().zip(less).map(|(all, less)| all - less).collect();
        [its(means).clone(), less(&self.made), less(its(Means::Bare))]
    }

    /// How much less the prefilter takes than a means, of each of these.
    fn ratios(&self, means: Means) -> Vec<Estimate> {
        let pairs = self.of(means).into_iter().zip(self.of(Means::Prefilter));
        let pairs = pairs.map(|(its, own)| its.into_iter().zip(own).collect::<Vec<_>>());
        pairs.map(|pairs| Estimate::of_ratios(&pairs, SEED).unwrap()).collect()
    }

    pub(crate) fn table(&self) -> Table {
        let heading = [
            "dropped by",
            "Mpackets/s",
            "ns",
            "- generator",
            "- bare XDP",
            "to prefilter",
            "- generator",
            "- bare XDP",
        ];
        let mut table = table::table(&heading, 1);
        for (means, all) in &self.dropped {
            let ns = self.of(*means).map(|ns| format!("{:.0}", median(&ns).unwrap()));
            let rate = format!("{:.2}", 1e3 / median(all).unwrap());
            let ratios = self.ratios(*means).into_iter().map(interval);
            let is_other = matches!(means, Means::Netdev | Means::Raw);
            let ratios = ratios.filter(|_| is_other);
            table.add_row([means.name().to_owned(), rate].into_iter().chain(ns).chain(ratios));
        }
        table
    }

    /// What the table is to be read with.
    pub(crate) fn summary(&self) -> String {
        format!(
            "generator, veth and receiver share one processor; to make a frame takes {:.0} ns of it. \
             {} rounds, median of paired ratios [95 % confidence interval]",
            median(&self.made).unwrap(),
            self.made.len()
        )
    }

    pub(crate) fn document(&self) -> Value {
        let row = |(means, all): &(Means, Vec<f64>)| {
            let ratios: Vec<Value> = self.ratios(*means).into_iter().map(estimate).collect();
            let [_, net, alone] = self.of(*means);
            json!({
                "dropped_by": means.name(),
                "ns": all,
                "ns_median": median(all),
                "ns_without_generator": median(&net),
                "ns_beyond_bare_xdp": median(&alone),
                "to_prefilter": { "whole": ratios[0], "without_generator": ratios[1], "beyond_bare_xdp": ratios[2] },
            })
        };
        json!({ "generator_ns": self.made, "means": self.dropped.iter().map(row).collect::<Vec<_>>() })
    }
}

fn estimate(Estimate { median, low, high }: Estimate) -> Value {
    json!({ "median": median, "low": low, "high": high })
}

fn interval(Estimate { median, low, high }: Estimate) -> String {
    format!("{median:.2} [{low:.2}, {high:.2}]")
}

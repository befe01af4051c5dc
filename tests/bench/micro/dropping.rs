//! How fast packets are dropped: by netdp's prefilter, by nftables and by iptables, in turn and round by round.

use std::thread;
use std::time::{Duration, Instant};

use comfy_table::Table;
use serde_json::{Value, json};
use tests::packet::Packet;
use tests::statistics::{Estimate, median};
use tests::topology::Bed;

use super::fixture::{ROUTER_MAC, ipv4::REMOTE};
use super::generator::Generator;
use super::receiver::{Means, Receiver};
use super::table;
use crate::ending::Ending;
use crate::interrupt;

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Frames of one measurement.
const FRAMES: u32 = 400_000;
const QUICK_FRAMES: u32 = 100_000;
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
    let (rounds, frames) = if quick { (QUICK_ROUNDS, QUICK_FRAMES) } else { (ROUNDS, FRAMES) };
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
        let made = per_frame(generator.send(&bed.outside.ns, None, &frame(&receivers[0]), frames), frames);
        // In alternating order; and the first round only warms up.
        let order: Vec<usize> = if round % 2 == 0 {
            (0..receivers.len()).collect()
        } else {
            (0..receivers.len()).rev().collect()
        };
        for at in order {
            let took = one(&bed, &mut generator, &receivers[at], frames)?;
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

fn one(bed: &Bed, generator: &mut Generator, receiver: &Receiver, frames: u32) -> Result<f64, Ending> {
    let (before, frame) = (receiver.dropped(), frame(receiver));
    let took = generator.send(&bed.outside.ns, Some(receiver.by), &frame, frames);
    let least = f64::from(frames) * DROPPED;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dropped = count(receiver.dropped() - before);
        if dropped >= least {
            return Ok(per_frame(took, frames));
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

fn per_frame(took: Duration, frames: u32) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(frames)
}

impl Dropping {
    /// The nanoseconds of a means, and those without what making the frames takes.
    fn of(&self, means: Means) -> (Vec<f64>, Vec<f64>) {
        let (_, all) = self.dropped.iter().find(|(its, _)| *its == means).unwrap();
        let net = all.iter().zip(&self.made).map(|(all, made)| all - made).collect();
        (all.clone(), net)
    }

    /// How much faster the prefilter is than a means: packets per second of the whole, and of the receiver alone.
    fn ratios(&self, means: Means) -> [Estimate; 2] {
        let (its, own) = (self.of(means), self.of(Means::Prefilter));
        let pairs =
            |its: &[f64], own: &[f64]| its.iter().copied().zip(own.iter().copied()).collect::<Vec<_>>();
        [pairs(&its.0, &own.0), pairs(&its.1, &own.1)].map(|pairs| Estimate::of_ratios(&pairs, SEED).unwrap())
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = table::table(
            &[
                "dropped by",
                "Mpackets/s",
                "ns median",
                "ns least",
                "without generator",
                "prefilter is",
                "of receiver",
            ],
            1,
        );
        for (means, all) in &self.dropped {
            let (middle, net) = (median(all).unwrap(), median(&self.of(*means).1).unwrap());
            let ratios = self.ratios(*means).map(|ratio| interval(*means, ratio));
            let numbers = [
                format!("{:.2}", 1e3 / middle),
                format!("{middle:.0}"),
                format!("{:.0}", least(all)),
                format!("{net:.0}"),
            ];
            table.add_row([means.name().to_owned()].into_iter().chain(numbers).chain(ratios));
        }
        table
    }

    /// What the table is to be read with.
    pub(crate) fn summary(&self) -> String {
        format!(
            "generator, sender and receiver share one processor; to make a frame takes {:.0} ns alone. \
             {} rounds, median of paired ratios [95 % confidence interval]",
            median(&self.made).unwrap(),
            self.made.len()
        )
    }

    pub(crate) fn document(&self) -> Value {
        let row = |(means, all): &(Means, Vec<f64>)| {
            let [whole, receiver] = self.ratios(*means).map(estimate);
            let net = self.of(*means).1;
            json!({
                "dropped_by": means.name(),
                "ns": all,
                "ns_median": median(all),
                "ns_without_generator": median(&net),
                "prefilter_is_faster_by": { "of_the_whole": whole, "of_the_receiver": receiver },
            })
        };
        json!({ "generator_ns": self.made, "means": self.dropped.iter().map(row).collect::<Vec<_>>() })
    }
}

fn estimate(Estimate { median, low, high }: Estimate) -> Value {
    json!({ "median": median, "low": low, "high": high })
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn interval(means: Means, Estimate { median, low, high }: Estimate) -> String {
    if means == Means::Prefilter { String::new() } else { format!("{median:.2} [{low:.2}, {high:.2}]") }
}

//! Proof of path: counters of the kernel, of the rules and of netdp that show which way the packets took.

use std::fmt;
use std::fs;

use serde_json::Value;
use tests::namespace::Namespace;

use crate::arm::{Arm, Place, Way};

/// Share of the packets which there must have been that must be counted: counters are read shortly before and after.
const COUNTED: f64 = 0.95;
/// And at most this share may be counted where none should pass: a neighbour's question is no traffic of ours.
const STRAY: f64 = 0.01;

/// Something that counts packets, both directions together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The interfaces whose names begin so.
    Interfaces(Place, &'static str),
    /// What the host's IP stack has forwarded, of both families.
    Forwarded,
    /// The named counters of the tables `bench`, in the chains that every forwarded packet passes, of both families.
    Nftables,
    /// The first rule of iptables' FORWARD chain, and of ip6tables'.
    Iptables,
    /// What netdp let through for these reasons.
    Netdp(&'static [&'static str]),
}

impl Counter {
    /// Where it counts.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Interfaces(place, _) => *place,
            _ => Place::Host,
        }
    }

    /// Its value in a namespace. That of netdp only the arm itself can ask for.
    pub(crate) fn read(&self, ns: &Namespace) -> u64 {
        match self {
            Self::Interfaces(_, prefix) => ns.enter(|| interfaces(prefix)),
            Self::Forwarded => ns.enter(forwarded),
            Self::Nftables => nftables(&ns.sh("nft -j list counters").json()),
            Self::Iptables => {
                iptables(&ns.out("iptables-save -c -t filter")).expect("dockerd made a FORWARD rule")
                    + iptables(&ns.out("ip6tables-save -c -t filter")).unwrap_or(0)
            }
            Self::Netdp(_) => panic!("only netdp's own arm has this counter"),
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interfaces(place, prefix) => write!(f, "packets at {prefix} of {place:?}"),
            Self::Forwarded => write!(f, "packets forwarded by the kernel"),
            Self::Nftables => write!(f, "packets in the forward chain of nftables"),
            Self::Iptables => write!(f, "packets in the FORWARD chain of iptables"),
            Self::Netdp(reasons) => write!(f, "packets that netdp counts as {}", reasons.join(", ")),
        }
    }
}

fn interfaces(prefix: &str) -> u64 {
    // thread-self: /proc/net is that of the process.
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let rows = table.lines().filter_map(|line| line.trim().split_once(':'));
    rows.filter(|(name, _)| name.starts_with(prefix)).map(|(_, numbers)| received_and_sent(numbers)).sum()
}

/// Packets are the second of the eight columns of each direction.
fn received_and_sent(numbers: &str) -> u64 {
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers[1] + numbers[9]
}

fn forwarded() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("Ip:")).map(|line| line.split(' ').collect()).collect();
    let column = rows[0].iter().position(|name| *name == "ForwDatagrams").unwrap();
    rows[1][column].parse::<u64>().unwrap() + forwarded6()
}

fn forwarded6() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let row = table.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).unwrap();
    row.trim().parse().unwrap()
}

fn nftables(listed: &Value) -> u64 {
    let counters = listed["nftables"].as_array().unwrap().iter().map(|object| &object["counter"]);
    let ours = counters.filter(|counter| counter["table"] == "bench");
    ours.filter_map(|counter| counter["packets"].as_u64()).sum()
}

/// `[packets:bytes] -A FORWARD ...`.
fn iptables(saved: &str) -> Option<u64> {
    let rule = saved.lines().find(|line| line.contains(" -A FORWARD "))?;
    rule.trim_start_matches('[').split_once(':')?.0.parse().ok()
}

/// What one counter did during one measurement.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    pub(crate) counter: Counter,
    pub(crate) packets: u64,
    /// Whether it had to grow, or to stand still.
    pub(crate) carries: bool,
}

/// The counters of a way before a measurement.
pub(crate) struct Watch<'a> {
    arm: &'a dyn Arm,
    before: Vec<(&'a Counter, bool, u64)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(arm: &'a dyn Arm, way: &'a Way) -> Self {
        let grows = way.grows.iter().map(|counter| (counter, true));
        let still = way.still.iter().map(|counter| (counter, false));
        let read = |(counter, carries)| (counter, carries, arm.count(counter));
        Self { arm, before: grows.chain(still).map(read).collect() }
    }

    /// How each has grown; an error when that does not fit to so many packets, at least, on this way.
    pub(crate) fn end(self, packets: u64) -> Result<Vec<Growth>, String> {
        let growth = |(counter, carries, before): &(&Counter, bool, u64)| Growth {
            counter: (*counter).clone(),
            packets: self.arm.count(counter) - before,
            carries: *carries,
        };
        let growths: Vec<Growth> = self.before.iter().map(growth).collect();
        match growths.iter().find(|growth| !growth.fits(packets)) {
            Some(growth) => Err(growth.complaint(packets)),
            None => Ok(growths),
        }
    }
}

impl Growth {
    #[expect(clippy::cast_precision_loss, reason = "a share, of numbers far below 2^52")]
    fn fits(&self, packets: u64) -> bool {
        let share = self.packets as f64 / packets.max(1) as f64;
        if self.carries { packets > 0 && share >= COUNTED } else { share <= STRAY }
    }

    fn complaint(&self, packets: u64) -> String {
        let Self { counter, packets: counted, carries } = self;
        let should = if *carries { "all of them" } else { "none of them" };
        format!(
            "the packets did not take the way that is claimed: of {packets} or more, {should} should be \
             among the {counter}, which grew by {counted}"
        )
    }
}

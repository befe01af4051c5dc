//! Hosts that drop what comes from one prefix, each by other means.

use serde_json::Value;
use tests::topology::{Bed, Host, UPLINK};

use super::generator::Generator;

/// Who is refused.
pub(crate) const REFUSED: &str = "198.51.100.0/24";

/// By what means a host drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// An XDP program that drops everything: what the way there costs.
    Bare,
    /// The deny list of netdp, whose prefilter runs in the driver.
    Prefilter,
    /// A rule of nftables at the ingress of the interface.
    Netdev,
    /// A rule in iptables' table raw.
    Raw,
}

impl Means {
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Prefilter, Self::Netdev, Self::Raw];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "XDP, drops everything",
            Self::Prefilter => "netdp's prefilter",
            Self::Netdev => "nftables, netdev ingress",
            Self::Raw => "iptables, table raw",
        }
    }

    /// The name of its host, and of the interface that leads there.
    fn host(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Prefilter => "prefilter",
            Self::Netdev => "netdev",
            Self::Raw => "raw",
        }
    }
}

/// A host that drops.
pub(crate) struct Receiver {
    pub(crate) means: Means,
    host: Host,
    /// The interface outside that leads to it.
    pub(crate) by: u32,
    mac: [u8; 6],
}

impl Receiver {
    pub(crate) fn build(bed: &Bed, means: Means, generator: &mut Generator) -> Self {
        let host = bed.unwatched_host(means.host());
        match means {
            Means::Bare => generator.drop_at(&host.ns, UPLINK),
            Means::Prefilter => {
                host.netdp(&["up", "--once", "--prefilter", "native"]).done();
                host.netdp(&["deny", "add", REFUSED]).done();
            }
            Means::Netdev => {
                let hook = format!("type filter hook ingress device {UPLINK} priority -500");
                let rule = format!("ip saddr {REFUSED} counter drop");
                let table = format!("table netdev bench {{ chain ingress {{ {hook}; {rule}; }}; }}");
                take_frames(&host);
                host.ns.sh(&format!("nft '{table}'")).done();
            }
            Means::Raw => {
                take_frames(&host);
                host.ns.sh(&format!("iptables -w -t raw -A PREROUTING -s {REFUSED} -j DROP")).done();
            }
        }
        let (_, by) = link(&bed.outside.ns.sh(&format!("ip -j link show {}", means.host())).json());
        let (mac, _) = link(&host.ns.sh(&format!("ip -j link show {UPLINK}")).json());
        Self { means, host, by, mac }
    }

    /// Where frames for it go.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    pub(crate) fn address(&self) -> std::net::Ipv4Addr {
        self.host.address
    }

    /// How many packets it has dropped, by the count of what drops them.
    pub(crate) fn dropped(&self) -> u64 {
        match self.means {
            Means::Bare => received(&self.host.ns.sh(&format!("ethtool -S {UPLINK}")).ok().stdout),
            Means::Prefilter => denied(&self.host.json(&["drops"])),
            Means::Netdev => counter(&self.host.ns.sh("nft -j list table netdev bench").json()),
            Means::Raw => rule(&self.host.ns.sh("iptables -w -t raw -vnxL PREROUTING").ok().stdout),
        }
    }
}

/// A veth takes frames that are no socket buffers yet if it has NAPI, which it has with XDP or GRO.
fn take_frames(host: &Host) {
    host.ns.sh(&format!("ethtool -K {UPLINK} gro on")).done();
}

fn link(listed: &Value) -> ([u8; 6], u32) {
    let address = listed[0]["address"].as_str().unwrap();
    let bytes: Vec<u8> = address.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    (bytes.try_into().unwrap(), listed[0]["ifindex"].as_u64().unwrap().try_into().unwrap())
}

/// What XDP has dropped, of all queues.
fn received(statistics: &str) -> u64 {
    let rows = statistics.lines().filter_map(|line| line.trim().split_once("_xdp_drops: "));
    rows.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

fn denied(drops: &Value) -> u64 {
    let row = drops.as_array().unwrap().iter().find(|row| row["reason"] == "denied");
    row.map_or(0, |row| row["packets"].as_u64().unwrap())
}

fn counter(listed: &Value) -> u64 {
    let rules = listed["nftables"].as_array().unwrap().iter();
    let expressions = rules.filter_map(|object| object["rule"]["expr"].as_array()).flatten();
    expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).sum()
}

/// The first column of the rule.
fn rule(listed: &str) -> u64 {
    let line = listed.lines().find(|line| line.contains(" DROP ")).expect("the rule that drops");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

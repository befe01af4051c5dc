//! Where the database and the kernel differ, worked out from both: what `netdp check --deep` tells. Nothing is read or changed
//! here.
//!
//! The plan from what is to what should be is empty where they agree; each of its steps is a difference. Beside it there is
//! what no step is about, because it is the operator's or the container's to change: an address too many, a link of another
//! size, and the interfaces inside the namespaces.

mod database;
mod inside;
mod row;
mod step;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

pub use database::twice;
pub use inside::{Expected, Interface, inside};

use crate::desired::{BridgeLink, Desired, Veth};
use crate::model::{Endpoint, Network};
use crate::plan::{Change, LinkFacts, Observed};

/// One thing in which they differ.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Difference {
    /// In which way.
    pub kind: Kind,
    /// The thing, in words: `address 172.17.0.1/16 of netdp0`.
    pub what: String,
    /// Whose it is: `endpoint web`, `network blue`; empty for the host's.
    pub owner: String,
    /// How it is and how it should be, where that is not said yet.
    pub detail: String,
}

/// The ways of being different.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// It should be there and is not.
    Missing,
    /// It is there and should not be.
    Surplus,
    /// It is there and is otherwise.
    Differs,
    /// Two have what only one can have.
    Twice,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Differs => "differs",
            Self::Twice => "twice",
        }
    }
}

/// A value as it is and as it should be.
fn otherwise(is: impl fmt::Display, should: impl fmt::Display) -> String {
    format!("is {is}, should be {should}")
}

/// Who has which link.
#[derive(Debug, Default)]
pub struct Owners {
    by_link: BTreeMap<String, String>,
    by_number: BTreeMap<u32, String>,
}

impl Owners {
    /// By the names that the database knows and the numbers that the kernel has given.
    pub fn new(networks: &[Network], endpoints: &[Endpoint], observed: &Observed) -> Self {
        let bridges = networks.iter().filter_map(|network| {
            Some((network.bridge()?.device.clone(), format!("network {}", network.name)))
        });
        let veths = endpoints.iter().flat_map(|endpoint| {
            let owner = format!("endpoint {}", endpoint.name);
            endpoint.attachments.iter().map(move |attachment| (attachment.veth(), owner.clone()))
        });
        let numbers = observed.links.iter().map(|(name, facts)| (facts.index, name.clone()));
        Self { by_link: bridges.chain(veths).collect(), by_number: numbers.collect() }
    }

    fn of(&self, link: &str) -> String {
        self.by_link.get(link).cloned().unwrap_or_default()
    }

    /// Its name, or its number when the kernel has none of that number.
    fn name(&self, number: u32) -> String {
        let gone = || format!("interface number {number}, which is gone");
        self.by_number.get(&number).cloned().unwrap_or_else(gone)
    }

    fn of_number(&self, number: u32) -> String {
        self.by_number.get(&number).map(|link| self.of(link)).unwrap_or_default()
    }
}

/// Where the host's side differs. `plan` is that from `observed` to `desired`.
pub fn host(desired: &Desired, observed: &Observed, plan: &[Change], owners: &Owners) -> Vec<Difference> {
    let mut differences = step::differences(desired, observed, plan, owners);
    for (name, bridge) in &desired.bridges {
        let Some(facts) = observed.links.get(name) else { continue };
        differences.extend(surplus_addresses(name, bridge, facts, observed, owners));
    }
    for (name, veth) in &desired.veths {
        let Some(facts) = observed.links.get(name) else { continue };
        differences.extend(veth_differences(name, veth, facts, owners));
    }
    differences
}

fn surplus_addresses(
    name: &str,
    bridge: &BridgeLink,
    facts: &LinkFacts,
    observed: &Observed,
    owners: &Owners,
) -> Vec<Difference> {
    let its = observed.addresses.iter().filter(|(index, _)| *index == facts.index).map(|(_, net)| net);
    let surplus = its.filter(|net| !bridge.addresses.contains(net) && !is_of_the_link(net));
    surplus.map(|net| surplus_address(name, *net, owners.of(name))).collect()
}

fn surplus_address(link: &str, net: IpNet, owner: String) -> Difference {
    let what = format!("address {net} of {link}");
    Difference { kind: Kind::Surplus, what, owner, detail: String::new() }
}

/// An address that an interface gives itself (RFC 4291, 2.5.6).
fn is_of_the_link(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn veth_differences(name: &str, veth: &Veth, facts: &LinkFacts, owners: &Owners) -> Vec<Difference> {
    let differs = |what: &str, detail: String| Difference {
        kind: Kind::Differs,
        what: format!("{what} of {name}"),
        owner: owners.of(name),
        detail,
    };
    let mtu = (facts.mtu != veth.mtu).then(|| differs("MTU", otherwise(facts.mtu, veth.mtu)));
    let mac = (facts.mac != veth.host_mac).then(|| differs("MAC", otherwise(facts.mac, veth.host_mac)));
    mtu.into_iter().chain(mac).collect()
}

#[cfg(test)]
mod tests;

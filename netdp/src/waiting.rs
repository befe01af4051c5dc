//! What networks wait for: interfaces of the host that are missing, down or somebody else's must not keep the rest from being
//! served. Each is told once, and again when it has been well meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::model::{Network, vlan_of};
use crate::plan::{LinkFacts, Observed};

/// What was told last in this process.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Warns of what was not found the last time.
pub(crate) fn tell(found: BTreeSet<String>) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    for notice in found.difference(&told) {
        tracing::warn!("{notice}");
    }
    *told = found;
}

/// Why nothing of a network can be made now, if so.
pub(crate) fn waits(network: &Network, observed: &Observed) -> Option<String> {
    lacks_parent(network, observed).or_else(|| is_displaced(network, observed))
}

/// A VLAN is made with the next interface on it.
fn lacks_parent(network: &Network, observed: &Observed) -> Option<String> {
    let borrowed = network.bridge().filter(|bridge| bridge.borrowed.is_some()).map(|bridge| &bridge.device);
    let parent = network.lan().map(|lan| &lan.parent).or(borrowed)?;
    let lacks = !observed.links.contains_key(parent);
    lacks.then(|| format!("network {} waits for the interface {parent}, which is not there", network.name))
}

/// Not the bridge of the default network: that one is the operator's to make room for, before anything begins.
fn is_displaced(network: &Network, observed: &Observed) -> Option<String> {
    let own = network.bridge().filter(|bridge| bridge.borrowed.is_none() && !network.premade())?;
    let displaced = observed.is_foreign(&own.device);
    displaced.then(|| {
        format!(
            "network {} waits: there is an interface {} that netdp did not make",
            network.name, own.device
        )
    })
}

/// Why a network that is there reaches nobody on its LAN, if so: a bridge goes on without its port, by which its containers
/// still reach one another.
pub(crate) fn is_off_lan(network: &Network, observed: &Observed) -> Option<String> {
    let parent = network.parent()?;
    let why = match observed.links.get(parent) {
        None => lacks_base(parent, observed)?,
        Some(facts) => is_unfit(network, facts, observed)
            .map(str::to_owned)
            .or_else(|| is_down(parent, facts, observed))?,
    };
    Some(format!("network {} is on no LAN: the interface {parent} {why}", network.name))
}

/// A VLAN is made where what it is one of is up.
fn lacks_base(parent: &str, observed: &Observed) -> Option<String> {
    let Some((base, _)) = vlan_of(parent) else { return Some("is not there".to_owned()) };
    match observed.links.get(base) {
        None => Some(format!("is not there, nor is {base}, which it is a VLAN of")),
        Some(facts) if !facts.up => Some(format!("is not there, and {base}, which it is a VLAN of, is down")),
        Some(_) => None,
    }
}

fn is_unfit(network: &Network, facts: &LinkFacts, observed: &Observed) -> Option<&'static str> {
    let bridge = network.bridge()?;
    match facts.controller {
        Some(_) if facts.controller == observed.number(&bridge.device) => None,
        Some(_) => Some("is a port of another bridge"),
        None if observed.carries_addresses(facts.index) => Some("has addresses of this host"),
        None => None,
    }
}

/// A VLAN of netdp's own is brought up, unless what it is one of is down.
fn is_down(parent: &str, facts: &LinkFacts, observed: &Observed) -> Option<String> {
    if facts.up {
        return None;
    }
    let base = vlan_of(parent).map(|(base, _)| base).filter(|_| facts.ours());
    match base {
        Some(base) if observed.links.get(base).is_some_and(|facts| facts.up) => None,
        Some(base) => Some(format!("is down with {base}, which it is a VLAN of")),
        None => Some("is down".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Driver, Mac};
    use crate::names::Id;

    fn network(parent: &str) -> Network {
        let mut bridge = crate::fake::bridge(1);
        bridge.parent = Some(parent.to_owned());
        Network {
            number: 1,
            id: Id::stored("1".repeat(64)),
            name: "lan".parse().unwrap(),
            created: 0,
            driver: Driver::Bridge(bridge),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn observed(links: &[(&str, bool, Option<u32>)]) -> Observed {
        let mut observed = Observed::default();
        for (index, (name, up, controller)) in (1..).zip(links) {
            let alias = (name.contains('.') || name.starts_with("br-")).then(|| "netdp:network:1".to_owned());
            let facts =
                LinkFacts { index, alias, mac: Mac([2; 6]), mtu: 1500, up: *up, controller: *controller };
            observed.links.insert((*name).to_owned(), facts);
        }
        observed
    }

    #[test]
    fn what_a_network_is_on_no_lan_for_is_told() {
        for (parent, links, said) in [
            ("eth1", &[][..], Some("eth1 is not there")),
            ("eth1", &[("eth1", false, None)], Some("eth1 is down")),
            ("eth1", &[("br-1", true, None), ("eth1", false, Some(1))], Some("eth1 is down")),
            ("eth1", &[("br-1", true, None), ("eth1", true, Some(1))], None),
            (
                "eth1",
                &[("br-1", true, None), ("eth1", true, Some(9))],
                Some("eth1 is a port of another bridge"),
            ),
            ("eth1.20", &[], Some("eth1.20 is not there, nor is eth1, ")),
            (
                "eth1.20",
                &[("eth1", false, None)],
                Some("eth1.20 is not there, and eth1, which it is a VLAN of, is down"),
            ),
            ("eth1.20", &[("eth1", true, None)], None),
            ("eth1.20", &[("eth1", true, None), ("eth1.20", false, None)], None),
            (
                "eth1.20",
                &[("eth1", false, None), ("eth1.20", false, None)],
                Some("eth1.20 is down with eth1"),
            ),
        ] {
            let told = is_off_lan(&network(parent), &observed(links));
            match said {
                Some(said) => {
                    assert!(told.as_ref().is_some_and(|told| told.contains(said)), "{links:?}: {told:?}");
                }
                None => assert_eq!(told, None, "{links:?}"),
            }
        }
    }
}

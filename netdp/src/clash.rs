//! Subnets of networks that overlap with what the host has got later, as when a VPN is set up. Pure.

use std::collections::BTreeSet;

use crate::host::pools;
use crate::ipam::Taken;
use crate::model::Network;

/// Addresses that the host has, and by which interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Occupied {
    /// Name of the interface; empty where there is none.
    pub link: String,
    /// The addresses, and whose they are in words.
    pub taken: Taken,
}

/// One line for each network and route that overlap: some of the addresses are reached there or here, not both. What is on a
/// LAN shares its addresses with it on purpose.
pub fn warnings(networks: &[Network], occupied: &[Occupied]) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    for network in networks {
        let Some(bridge) = network.bridge().filter(|bridge| bridge.parent.is_none()) else { continue };
        for other in occupied.iter().filter(|other| bridge.borrowed.is_none() || other.link != bridge.device)
        {
            let Taken { net, by } = &other.taken;
            let overlapping = bridge.pools().filter(|pool| pools::overlap(&pool.subnet, net));
            warnings.extend(overlapping.map(|pool| {
                format!("network {}: its subnet {} overlaps {net} of {by}", network.name, pool.subnet)
            }));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ipam;
    use crate::model::{Borrowed, Bridge, Driver};
    use crate::names::Id;

    fn network(borrowed: bool) -> Network {
        let request =
            ipam::Request { subnet: Some("10.1.0.0/16".parse().unwrap()), ..ipam::Request::default() };
        let bridge = Bridge {
            pool4: Some(ipam::choose(&request, ipam::Default::Docker, &[]).unwrap()),
            borrowed: borrowed.then(|| Borrowed { addresses: Vec::new() }),
            ..crate::fake::bridge(1)
        };
        Network {
            number: 1,
            id: Id::stored(format!("{:064x}", 1)),
            name: "blue".parse().unwrap(),
            created: 0,
            driver: Driver::Bridge(bridge),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn occupied(link: &str, net: &str) -> Occupied {
        let taken = Taken { net: net.parse().unwrap(), by: format!("a route of this host ({link})") };
        Occupied { link: link.to_owned(), taken }
    }

    #[test]
    fn what_overlaps_is_told_whichever_is_the_larger() {
        for (net, overlaps) in [("10.1.7.0/24", true), ("10.0.0.0/8", true), ("10.2.0.0/16", false)] {
            let warnings = warnings(&[network(false)], &[occupied("wg0", net)]);
            assert_eq!(!warnings.is_empty(), overlaps, "{net}");
        }
        let said = warnings(&[network(false)], &[occupied("wg0", "10.1.7.0/24")]);
        let line = "network blue: its subnet 10.1.0.0/16 overlaps 10.1.7.0/24 of a route of this host (wg0)";
        assert_eq!(said.into_iter().collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn what_a_used_bridge_has_itself_is_no_clash() {
        let own = occupied("br-1", "10.1.0.0/16");
        assert!(warnings(&[network(true)], std::slice::from_ref(&own)).is_empty());
        assert_eq!(warnings(&[network(true)], &[own, occupied("wg0", "10.1.0.0/16")]).len(), 1);
    }
}

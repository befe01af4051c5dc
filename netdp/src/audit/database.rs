//! What the database itself must not have: two endpoints with one address in a network, or with one port of
//! the host.

use std::collections::BTreeMap;

use super::{Difference, Kind};
use crate::model::{Endpoint, Network};

/// What more than one attachment has. The schema forbids most of it; this says so instead of relying on it.
pub fn twice(networks: &[Network], endpoints: &[Endpoint]) -> Vec<Difference> {
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for endpoint in endpoints {
        for attachment in &endpoint.attachments {
            let network = networks.iter().find(|network| network.number == attachment.network);
            let network = network.map_or("a network that is not there", |network| network.name.as_str());
            let mut hold = |what: String| holders.entry(what).or_default().push(endpoint.name.to_string());
            for address in attachment.addresses() {
                hold(format!("address {address} in network {network}"));
            }
            for port in attachment.ports.iter().filter(|port| port.host_port.is_some()) {
                hold(format!("port {}/{}", port.host_side(), port.protocol));
            }
        }
    }
    let several = holders.into_iter().filter(|(_, names)| names.len() > 1);
    several.map(|(what, names)| difference(what, &names)).collect()
}

fn difference(what: String, names: &[String]) -> Difference {
    Difference {
        kind: Kind::Twice,
        what,
        owner: String::new(),
        detail: format!("had by {}", names.join(", ")),
    }
}

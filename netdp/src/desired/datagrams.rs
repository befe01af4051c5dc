//! Where published UDP ports lead in an endpoint of several networks: to its way out. A server that has not bound an address
//! answers from the one that the kernel chooses for the way back, and by no other would the answer be one.

use super::{Desired, Row, backend, gateway_mode, port_key};
use crate::model::{Attachment, Bridge, Endpoint, Network, Protocol, PublishedPort};
use crate::ways::Ways;

/// An interface with the bridge that it is at.
type Place<'a> = (&'a Bridge, &'a Attachment);

impl Desired {
    /// Has the UDP ports of an endpoint lead to where its answers come from, as far as that interface is asked for.
    pub fn lead_datagrams(&mut self, endpoint: &Endpoint, networks: &[Network]) {
        let places = places(endpoint, networks);
        if places.len() < 2 {
            return;
        }
        let ways = Ways::of(endpoint, networks);
        for (bridge, attachment) in &places {
            let leads_on = |port: &&PublishedPort| {
                port.protocol == Protocol::Udp && !gateway_mode::is_at_container(bridge, attachment, port)
            };
            for port in attachment.ports.iter().filter(leads_on) {
                let Some(way) = way_out(&ways, &places, port) else { continue };
                if way.1.id == attachment.id {
                    continue;
                }
                if let Some(own) = row((bridge, attachment), port) {
                    self.rows.remove(&own);
                }
                if self.veths.contains_key(&way.1.veth()) {
                    self.rows.extend(row(way, port));
                }
            }
        }
    }
}

fn places<'a>(endpoint: &'a Endpoint, networks: &'a [Network]) -> Vec<Place<'a>> {
    let place = |attachment: &'a Attachment| {
        let network = networks.iter().find(|network| network.number == attachment.network)?;
        Some((network.bridge()?, attachment))
    };
    endpoint.attachments.iter().filter_map(place).collect()
}

/// The interface by which the answers leave, if it can have the port.
fn way_out<'a>(ways: &Ways, places: &[Place<'a>], port: &PublishedPort) -> Option<Place<'a>> {
    let mut exits = ways.exits.iter().filter_map(|exit| {
        let (bridge, attachment) = places.iter().find(|(_, it)| it.ifname == exit.ifname)?;
        let address = attachment.behind(port.host_address)?;
        let leads_out = exit.gateways.iter().any(|(source, _)| *source == address);
        leads_out.then_some((*bridge, *attachment))
    });
    exits.next()
}

fn row((bridge, attachment): Place<'_>, port: &PublishedPort) -> Option<Row> {
    let rest = backend(bridge, attachment, port)?;
    Some(Row::Port { veth: attachment.veth(), key: port_key(port)?, rest })
}

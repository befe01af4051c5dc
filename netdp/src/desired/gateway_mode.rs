//! How containers are reached at their own addresses, where the network's gateway mode says so, or where direct routing is
//! allowed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netdp_common::{Backend, Port, PortKey, SourceKey, port_flags};

use super::{Row, wire};
use crate::datapath::Entry;
use crate::model::{Attachment, Bridge, GatewayMode, PublishedPort};

/// Whether a published port is a port of the container's own address, and none of the host's.
pub(super) fn is_at_container(bridge: &Bridge, attachment: &Attachment, port: &PublishedPort) -> bool {
    let address = attachment.behind(port.host_address);
    address.is_some_and(|address| bridge.gateway_mode_like(address) == GatewayMode::Routed)
}

/// What stands beside the addresses of a container that are reached from beyond its network; nothing leads into an internal
/// one.
pub(super) fn rows(bridge: &Bridge, attachment: &Attachment) -> Vec<Row> {
    if bridge.internal {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for address in attachment.addresses() {
        match bridge.gateway_mode_like(address) {
            GatewayMode::Isolated => {}
            GatewayMode::Nat => rows.extend(direct(bridge, attachment, address)),
            GatewayMode::NatUnprotected => {
                rows.extend(beside(bridge, attachment, address, port_flags::UNPROTECTED));
            }
            GatewayMode::Routed => {
                rows.extend(beside(bridge, attachment, address, port_flags::ROUTED));
                rows.extend(ports(bridge, attachment, address, |_| true));
            }
        }
    }
    rows
}

/// Published ports are reached from everywhere, or by trusted interfaces; not those that are published on loopback, which are
/// for the host alone.
fn direct(bridge: &Bridge, attachment: &Attachment, address: IpAddr) -> Vec<Row> {
    let is_asked = !bridge.allows_direct_routing;
    if is_asked && bridge.trusted.is_empty() {
        return Vec::new();
    }
    let flags = port_flags::DIRECT | if is_asked { port_flags::FILTERED } else { 0 };
    let mut rows = ports(bridge, attachment, address, |port| !port.host_address.is_loopback());
    rows.extend(beside(bridge, attachment, address, flags));
    if is_asked {
        let trusted =
            |interface: &String| Row::Trusted { interface: interface.clone(), container: address.into() };
        rows.extend(bridge.trusted.iter().map(trusted));
    }
    rows
}

fn beside(bridge: &Bridge, attachment: &Attachment, address: IpAddr, flags: u16) -> Option<Row> {
    row(bridge, attachment, address, PortKey::beside(address.into()), flags)
}

/// Published ports, by their numbers inside. Who has published one twice lets in whom either is for.
fn ports(
    bridge: &Bridge,
    attachment: &Attachment,
    address: IpAddr,
    which: impl Fn(&PublishedPort) -> bool,
) -> Vec<Row> {
    let mut open = BTreeMap::<PortKey, Option<Vec<SourceKey>>>::new();
    let leads_here = |port: &&PublishedPort| attachment.behind(port.host_address) == Some(address);
    for port in attachment.ports.iter().filter(leads_here).filter(|port| which(port)) {
        let key = PortKey::new(address.into(), Port::new(port.container_port), port.protocol.number());
        let sources = open.entry(key).or_insert_with(|| Some(Vec::new()));
        match sources {
            Some(sources) if !port.sources.is_everybody() => sources.extend(port.sources.keys(key)),
            _ => *sources = None,
        }
    }
    let rows = open.into_iter().flat_map(|(key, sources)| {
        let flags = if sources.is_some() { port_flags::FILTERED } else { 0 };
        let sources = sources.into_iter().flatten().map(|source| Row::Plain(Entry::Source(source)));
        row(bridge, attachment, address, key, flags).into_iter().chain(sources)
    });
    rows.collect()
}

fn row(bridge: &Bridge, attachment: &Attachment, address: IpAddr, key: PortKey, flags: u16) -> Option<Row> {
    let rest = Backend {
        addr: address.into(),
        gateway: super::neighbour_of(bridge, attachment, address)?,
        ifindex: 0,
        port: key.port,
        mac: wire(attachment.mac),
        gateway_mac: wire(bridge.mac),
        flags,
    };
    Some(Row::Port { veth: attachment.veth(), key, rest })
}

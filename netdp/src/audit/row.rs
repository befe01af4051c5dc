//! Rows of the maps in words.

use ipnet::IpNet;
use netdp_common::deny::MAPPED_BITS;
use netdp_common::uplink::FIRST;
use netdp_common::{Addr, PortKey, subnet};

use super::Owners;
use crate::datapath::Entry;

/// What the row is about.
pub(super) fn name(entry: &Entry, owners: &Owners) -> String {
    match entry {
        Entry::Link(number, _) => format!("row of what {} may send", owners.name(*number)),
        Entry::Endpoint(key, _) => format!("row of address {} in network number {}", key.addr, key.network),
        Entry::Port(key, _) => format!("row of port {}", port(key)),
        Entry::Source(key) => {
            let source = key.source;
            if let Some(number) = source.ifindex() {
                let container = source.port.addr;
                return format!("row of interface {}, by which {container} is reached", owners.name(number));
            }
            format!("row of source {} of port {}", prefix(key.prefix_len, source.addr), port(&source.port))
        }
        Entry::Subnet(key, row) => {
            let (number, subnet) = (subnet::network(*row), prefix(key.prefix_len, key.addr));
            format!("row of subnet {subnet} of network number {number}")
        }
        Entry::Excluded(key) => {
            let to = key.destination;
            format!(
                "row of prefix {} that network number {} reaches untranslated",
                prefix(key.prefix_len, to.addr),
                to.network
            )
        }
        Entry::Uplink(FIRST, _) => "row of the first uplink".to_owned(),
        Entry::Uplink(number, _) => format!("row of uplink {}", owners.name(*number)),
        Entry::HostAddr(address, _) => format!("row of the host's address {address}"),
        Entry::Denied(key) => format!("row of the denied prefix {}", prefix(key.prefix_len, key.addr)),
        Entry::Wire(_) => "row of what is taken from the wire".to_owned(),
        Entry::Timer(number, _) => format!("row number {number} of the settings"),
    }
}

/// Whose it is, by the link that it leads to.
pub(super) fn owner(entry: &Entry, owners: &Owners) -> String {
    match entry {
        Entry::Link(number, _) => owners.of_number(*number),
        Entry::Endpoint(_, endpoint) => owners.of_number(endpoint.ifindex),
        Entry::Port(_, backend) => owners.of_number(backend.ifindex),
        Entry::Source(_)
        | Entry::Subnet(..)
        | Entry::Excluded(_)
        | Entry::Uplink(..)
        | Entry::HostAddr(..)
        | Entry::Denied(_)
        | Entry::Wire(_)
        | Entry::Timer(..) => String::new(),
    }
}

fn port(key: &PortKey) -> String {
    let protocol = match key.proto {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    };
    format!("{}/{protocol}", std::net::SocketAddr::new(key.addr.ip(), key.port.get()))
}

/// In the form of the maps an IPv4 prefix is one of the mapped addresses.
fn prefix(length: u32, addr: Addr) -> String {
    let address = addr.ip();
    let length = if address.is_ipv4() { length.saturating_sub(MAPPED_BITS) } else { length };
    let net = u8::try_from(length).ok().and_then(|length| IpNet::new(address, length).ok());
    net.map_or_else(|| format!("{address}/{length}"), |net| net.to_string())
}

//! What the kernel should have, worked out from the model alone: links, hooks, sysctls and rows of the maps.
//!
//! Links are called by name here and their numbers are put in when a row is compared or written: a link that
//! is still to be made has no number yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netdp_common::uplink::FIRST;
use netdp_common::{Addr, Backend, EndpointKey, Port, PortKey, SubnetKey, link_flags};

use crate::datapath::{Entry, Hook};
use crate::model::{Attachment, Bridge, Endpoint, Host, Mac, Netns, Network, PublishedPort};

/// Name of the loopback interface in every namespace.
const LOOPBACK: &str = "lo";
/// Bits by which an IPv4 prefix is longer in the 128-bit form of the maps.
const MAPPED_BITS: u32 = 96;

/// Everything that should be there, or the part of it that one command is about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Desired {
    /// Settings of the host by their path under `/proc/sys`; their first values are remembered.
    pub host_sysctls: BTreeMap<String, String>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeLink>,
    /// Veth pairs by the name of their end on the host.
    pub veths: BTreeMap<String, Veth>,
    /// Programs by hook and name of the interface.
    pub hooks: BTreeSet<(Hook, String)>,
    /// Rows of the maps.
    pub rows: BTreeSet<Row>,
    /// Published ports are kept from the host's other programs.
    pub binds: bool,
}

/// A bridge device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BridgeLink {
    /// Whose it is: `netdp:network:<id>`.
    pub alias: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The gateway's address with the subnet's prefix length.
    pub address: Ipv4Net,
    /// Its settings by their path under `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
}

/// A veth pair, one end of which is a port of a bridge and the other an interface of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Veth {
    /// Whose it is: `netdp:endpoint:<id of the attachment>`.
    pub alias: String,
    /// MAC of the end on the host.
    pub host_mac: Mac,
    /// MTU of both ends in bytes.
    pub mtu: u32,
    /// Name of the bridge.
    pub bridge: String,
    /// The end in the container.
    pub inside: Inside,
}

/// The end of a veth pair that is in a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inside {
    /// The container's network namespace.
    pub netns: Netns,
    /// Name of the interface.
    pub ifname: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its address with the subnet's prefix length.
    pub address: Ipv4Net,
    /// The default route, unless the container has one already; none in an internal network.
    pub gateway: Option<Ipv4Addr>,
}

/// One row of a map, with links by name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Row {
    /// What a container may send by its veth.
    Link {
        /// The end on the host.
        veth: String,
        /// The network's bridge.
        bridge: String,
        /// All that is known without the numbers of the two.
        rest: netdp_common::Link,
    },
    /// Where an address of a network is reached.
    Endpoint {
        /// The end on the host.
        veth: String,
        /// Address and network.
        key: EndpointKey,
        /// MAC inside.
        mac: Mac,
    },
    /// Where a published port leads.
    Port {
        /// The end on the host.
        veth: String,
        /// Address, port and protocol on the host.
        key: PortKey,
        /// All that is known without the number of the veth.
        rest: Backend,
    },
    /// A row without links: subnets, uplinks, addresses of the host, and what is found that nobody wants.
    Plain(Entry),
}

/// What tells one row of a map from another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RowKey {
    /// Number of a veth.
    Link(u32),
    /// Address and network.
    Endpoint(EndpointKey),
    /// Address, port and protocol.
    Port(PortKey),
    /// Network address and length of its prefix.
    Subnet(SubnetKey),
    /// Number of an uplink.
    Uplink(u32),
    /// An address of the host.
    HostAddr(Addr),
}

impl RowKey {
    /// The key of an entry.
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Link(ifindex, _) => Self::Link(*ifindex),
            Entry::Endpoint(key, _) => Self::Endpoint(*key),
            Entry::Port(key, _) => Self::Port(*key),
            Entry::Subnet(key, _) => Self::Subnet(*key),
            Entry::Uplink(ifindex, _) => Self::Uplink(*ifindex),
            Entry::HostAddr(address) => Self::HostAddr(*address),
        }
    }
}

impl Row {
    /// Names of the links that it is about.
    pub fn links(&self) -> Vec<&str> {
        match self {
            Self::Link { veth, bridge, .. } => vec![veth, bridge],
            Self::Endpoint { veth, .. } | Self::Port { veth, .. } => vec![veth],
            Self::Plain(_) => Vec::new(),
        }
    }

    /// The row as the map has it; none as long as one of its links is not there.
    pub fn entry(&self, number: impl Fn(&str) -> Option<u32>) -> Option<Entry> {
        match self {
            Self::Link { veth, bridge, rest } => {
                let bridge = number(bridge)?;
                Some(Entry::Link(number(veth)?, netdp_common::Link { bridge, ..*rest }))
            }
            Self::Endpoint { veth, key, mac } => {
                let endpoint =
                    netdp_common::Endpoint { ifindex: number(veth)?, mac: wire(*mac), pad: [0; 2] };
                Some(Entry::Endpoint(*key, endpoint))
            }
            Self::Port { veth, key, rest } => {
                Some(Entry::Port(*key, Backend { ifindex: number(veth)?, ..*rest }))
            }
            Self::Plain(entry) => Some(entry.clone()),
        }
    }
}

fn wire(mac: Mac) -> netdp_common::Mac {
    netdp_common::Mac(mac.0)
}

/// Alias of a network's bridge.
pub fn bridge_alias(network: &Network) -> String {
    format!("netdp:network:{}", network.id)
}

/// Alias of the host's end of an attachment's veth pair.
pub fn veth_alias(attachment: &Attachment) -> String {
    format!("netdp:endpoint:{}", attachment.id)
}

impl Desired {
    /// Adds what the host itself needs: the uplinks with their guard, `lo`, and the host's addresses.
    pub fn add_host(&mut self, host: &Host) {
        self.host_sysctls.extend(host_sysctls());
        self.hooks.insert((Hook::FromHost, LOOPBACK.to_owned()));
        for uplink in &host.uplinks {
            self.hooks.insert((Hook::ToUplink, uplink.name.clone()));
            self.hooks.insert((Hook::FromUplink, uplink.name.clone()));
            let addr4 = uplink.address.map_or(Addr::UNSPECIFIED, Addr::from);
            let ifindex = uplink.ifindex;
            let row = netdp_common::Uplink { addr4, addr6: Addr::UNSPECIFIED, ifindex, pad: 0 };
            if uplink.ifindex == host.uplinks[0].ifindex {
                self.rows.insert(Row::Plain(Entry::Uplink(FIRST, row)));
            }
            self.rows.insert(Row::Plain(Entry::Uplink(ifindex, row)));
        }
        self.rows.extend(host.addresses.iter().map(|address| host_address(*address)));
        self.binds = true;
    }

    /// Adds a network; one without a bridge needs nothing.
    pub fn add_network(&mut self, network: &Network) {
        let Some(bridge) = network.bridge() else { return };
        let key = SubnetKey {
            prefix_len: MAPPED_BITS + u32::from(bridge.pool.subnet.prefix_len()),
            addr: bridge.pool.subnet.network().into(),
        };
        self.rows.insert(Row::Plain(Entry::Subnet(key, network.number)));
        self.rows.insert(host_address(bridge.pool.gateway));
        let link = BridgeLink {
            alias: bridge_alias(network),
            mac: bridge.mac,
            mtu: bridge.mtu,
            address: bridge.pool.gateway_net(),
            sysctls: bridge_sysctls(&bridge.device),
        };
        self.hooks.insert((Hook::ToBridge, bridge.device.clone()));
        self.bridges.insert(bridge.device.clone(), link);
    }

    /// Adds one interface of an endpoint with its ports.
    pub fn add_attachment(&mut self, network: &Network, endpoint: &Endpoint, attachment: &Attachment) {
        let Some(bridge) = network.bridge() else { return };
        let veth = attachment.veth();
        self.hooks.insert((Hook::FromContainer, veth.clone()));
        self.rows.insert(Row::Link {
            veth: veth.clone(),
            bridge: bridge.device.clone(),
            rest: link_row(network.number, bridge, attachment),
        });
        let key = EndpointKey { addr: attachment.address.into(), network: network.number };
        self.rows.insert(Row::Endpoint { veth: veth.clone(), key, mac: attachment.mac });
        for port in &attachment.ports {
            let rest = backend(bridge, attachment, port);
            self.rows.insert(Row::Port { veth: veth.clone(), key: port_key(port), rest });
        }
        self.veths.insert(veth, pair(bridge, endpoint, attachment));
    }
}

fn host_address(address: Ipv4Addr) -> Row {
    Row::Plain(Entry::HostAddr(address.into()))
}

/// Without them the reply of a container to a process of the host would be a martian. On `lo` only.
pub fn host_sysctls() -> BTreeMap<String, String> {
    ["route_localnet", "accept_local"]
        .into_iter()
        .map(|key| (format!("net/ipv4/conf/{LOOPBACK}/{key}"), "1".to_owned()))
        .collect()
}

/// `forwarding` is what the FIB look-up of the programs and the slow path ask for, on our own interface only.
/// Redirects would tell containers of ways around the datapath, and IPv6 is not moved yet.
pub fn bridge_sysctls(device: &str) -> BTreeMap<String, String> {
    [("ipv4", "forwarding", "1"), ("ipv4", "send_redirects", "0"), ("ipv6", "disable_ipv6", "1")]
        .into_iter()
        .map(|(family, key, value)| (format!("net/{family}/conf/{device}/{key}"), value.to_owned()))
        .collect()
}

fn link_row(network: u32, bridge: &Bridge, attachment: &Attachment) -> netdp_common::Link {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    netdp_common::Link {
        addr4: attachment.address.into(),
        addr6: Addr::UNSPECIFIED,
        gateway4: bridge.pool.gateway.into(),
        gateway6: Addr::UNSPECIFIED,
        network,
        bridge: 0,
        flags: flag(bridge.internal, link_flags::INTERNAL)
            | flag(!bridge.icc, link_flags::NO_ICC)
            | flag(!bridge.masquerade, link_flags::NO_MASQUERADE),
        mac: wire(attachment.mac),
        gateway_mac: wire(bridge.mac),
    }
}

fn port_key(port: &PublishedPort) -> PortKey {
    PortKey::new(port.host_address.into(), Port::new(port.host_port), port.protocol.number())
}

fn backend(bridge: &Bridge, attachment: &Attachment, port: &PublishedPort) -> Backend {
    Backend {
        addr: attachment.address.into(),
        gateway: bridge.pool.gateway.into(),
        ifindex: 0,
        port: Port::new(port.container_port),
        mac: wire(attachment.mac),
        gateway_mac: wire(bridge.mac),
        pad: [0; 2],
    }
}

fn pair(bridge: &Bridge, endpoint: &Endpoint, attachment: &Attachment) -> Veth {
    let inside = Inside {
        netns: endpoint.netns.clone(),
        ifname: attachment.ifname.clone(),
        mac: attachment.mac,
        address: Ipv4Net::new_assert(attachment.address, bridge.pool.subnet.prefix_len()),
        gateway: (!bridge.internal).then_some(bridge.pool.gateway),
    };
    Veth {
        alias: veth_alias(attachment),
        host_mac: host_mac(attachment),
        mtu: bridge.mtu,
        bridge: bridge.device.clone(),
        inside,
    }
}

/// MAC of the end on the host: nobody talks to it, but a bridge's ports must differ, so it comes from the
/// address too.
fn host_mac(attachment: &Attachment) -> Mac {
    let [a, b, c, d] = attachment.address.octets();
    Mac([0x06, 0x42, a, b, c, d])
}

//! What the kernel should have, worked out from the model alone: links, hooks, sysctls and rows of the maps.
//!
//! Links are called by name here and their numbers are put in when a row is compared or written: a link that
//! is still to be made has no number yet.

mod datagrams;
mod gateway_mode;
mod lan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netdp_common::Limit;
use netdp_common::deny::MAPPED_BITS;
use netdp_common::prefilter::flags;
use netdp_common::uplink::{FIRST, LASTING, PASSING};
use netdp_common::{
    Addr, Backend, Destination, DestinationKey, EndpointKey, Port, PortKey, SourceKey, State, SubnetKey,
    link_flags, port_flags, settings, subnet,
};

use crate::datapath::{Entry, Hook};
use crate::endpoint_sysctl;
use crate::model::{
    Attachment, Bridge, Endpoint, GatewayMode, Host, Lease, Mac, Netns, Network, NetworkRoute, Prefilter,
    PublishedPort, Uplink, v4, v6,
};
use crate::ways::Ways;

pub use lan::{LanLink, VlanLink};

/// Name of the loopback interface in every namespace.
const LOOPBACK: &str = "lo";

/// Everything that should be there, or the part of it that one command is about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Desired {
    /// Settings of the host by their path under `/proc/sys`; their first values are remembered.
    pub host_sysctls: BTreeMap<String, String>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeLink>,
    /// Veth pairs by the name of their end on the host.
    pub veths: BTreeMap<String, Veth>,
    /// Interfaces on a LAN by alias.
    pub lans: BTreeMap<String, LanLink>,
    /// VLANs of interfaces of the host by name; those that are there are taken as they are.
    pub vlans: BTreeMap<String, VlanLink>,
    /// Programs by hook and name of the interface.
    pub hooks: BTreeSet<(Hook, String)>,
    /// The prefilter by name of the uplink.
    pub prefilters: BTreeMap<String, Prefilter>,
    /// Rows of the maps.
    pub rows: BTreeSet<Row>,
    /// Published ports are kept from the host's other programs.
    pub binds: bool,
    /// The ways out of namespaces that get one more interface.
    pub ways: Vec<Ways>,
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
    /// The gateways' addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Its settings by their path under `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// It is somebody else's: it is neither made nor removed, and gets back what it had.
    pub borrowed: bool,
    /// An interface of the host that is a port of it, and is free again when it goes.
    pub port: Option<String>,
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
    /// It is kept apart from the bridge's other ports.
    pub isolated: bool,
    /// Others than containers are on the bridge, and are told of the addresses.
    pub on_lan: bool,
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
    /// Its addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Seconds since 1970 when the IPv4 address is lent no longer; none is never.
    pub until: Option<u64>,
    /// Settings that were asked for, by their path under `/proc/sys`.
    pub sysctls: Vec<(String, String)>,
    /// Routes beside the default one.
    pub routes: Vec<NetworkRoute>,
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
    /// An interface of the host by which a container's address is reached; no row as long as it is not there.
    Trusted {
        /// Its name.
        interface: String,
        /// The container's address.
        container: Addr,
    },
    /// A row without links: sources of ports, subnets, uplinks, addresses of the host, and what is found that nobody wants.
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
    /// A published port and a prefix that may use it.
    Source(SourceKey),
    /// Network address and length of its prefix.
    Subnet(SubnetKey),
    /// Number of an uplink.
    Uplink(u32),
    /// An address of the host.
    HostAddr(Addr),
    /// A prefix that a network reaches untranslated.
    Excluded(DestinationKey),
    /// A prefix of the deny list.
    Denied(SubnetKey),
    /// What is taken from the wire.
    Wire,
    /// Number of a flow's state.
    Timer(u32),
}

impl RowKey {
    /// The key of an entry.
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Link(ifindex, _) => Self::Link(*ifindex),
            Entry::Endpoint(key, _) => Self::Endpoint(*key),
            Entry::Port(key, _) => Self::Port(*key),
            Entry::Source(key) => Self::Source(*key),
            Entry::Subnet(key, _) => Self::Subnet(*key),
            Entry::Uplink(ifindex, _) => Self::Uplink(*ifindex),
            Entry::HostAddr(address, _) => Self::HostAddr(*address),
            Entry::Excluded(key) => Self::Excluded(*key),
            Entry::Denied(key) => Self::Denied(*key),
            Entry::Wire(_) => Self::Wire,
            Entry::Timer(number, _) => Self::Timer(*number),
        }
    }
}

impl Row {
    /// Names of the links that it is about.
    pub fn links(&self) -> Vec<&str> {
        match self {
            Self::Link { veth, bridge, .. } => vec![veth, bridge],
            Self::Endpoint { veth, .. } | Self::Port { veth, .. } => vec![veth],
            Self::Trusted { interface, .. } => vec![interface],
            Self::Plain(_) => Vec::new(),
        }
    }

    /// The interface that it is about, where that is nobody's to make.
    pub fn trusted(&self) -> Option<&String> {
        match self {
            Self::Trusted { interface, .. } => Some(interface),
            Self::Link { .. } | Self::Endpoint { .. } | Self::Port { .. } | Self::Plain(_) => None,
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
            Self::Trusted { interface, container } => {
                Some(Entry::Source(SourceKey::interface(*container, number(interface)?)))
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
    /// Adds a timer that is set to so many seconds.
    pub fn add_timer(&mut self, state: State, seconds: u32) {
        self.rows.insert(Row::Plain(Entry::Timer(state.number().into(), settings::row(seconds))));
    }

    /// Adds a limit that is set. That of the table is its size, which no row tells.
    pub fn add_limit(&mut self, limit: Limit, value: u32) {
        if limit != Limit::Table {
            self.rows.insert(Row::Plain(Entry::Timer(limit.row(), Limit::to_row(value))));
        }
    }

    /// Adds what the host itself needs: the uplinks with their guard, `lo`, and the host's addresses.
    pub fn add_host(&mut self, host: &Host) {
        self.host_sysctls.extend(host_sysctls());
        self.hooks.insert((Hook::FromHost, LOOPBACK.to_owned()));
        for uplink in &host.uplinks {
            self.hooks.insert((Hook::ToUplink, uplink.name.clone()));
            self.hooks.insert((Hook::FromUplink, uplink.name.clone()));
            self.rows.insert(Row::Plain(Entry::Uplink(uplink.ifindex, uplink_row(uplink))));
        }
        self.rows.extend(first_uplink(host).map(|row| Row::Plain(Entry::Uplink(FIRST, row))));
        let value = |address: &IpAddr| if host.passing.contains(address) { PASSING } else { LASTING };
        let row = |address: &IpAddr| Row::Plain(Entry::HostAddr((*address).into(), value(address)));
        self.rows.extend(host.addresses.iter().map(row));
        self.prefilters.clone_from(&host.prefilters);
        if host.accepts_local {
            self.rows.insert(Row::Plain(Entry::Wire(flags::ACCEPT_LOCAL)));
        }
        self.binds = true;
    }

    /// Whether it has a link of that name on the host.
    pub fn has_link(&self, name: &str) -> bool {
        self.veths.contains_key(name) || self.bridges.contains_key(name) || self.vlans.contains_key(name)
    }

    /// The interfaces in containers.
    pub fn insides(&self) -> impl Iterator<Item = &Inside> {
        let veths = self.veths.values().map(|veth| &veth.inside);
        veths.chain(self.lans.values().map(|lan| &lan.inside))
    }

    /// Adds a prefix of the deny list.
    pub fn add_denied(&mut self, prefix: IpNet) {
        self.rows.insert(Row::Plain(Entry::Denied(subnet_key(prefix))));
    }

    /// Adds a network; one without a bridge needs nothing.
    pub fn add_network(&mut self, network: &Network) {
        if let Some(lan) = network.lan() {
            return self.add_parent(network, &lan.parent);
        }
        let Some(bridge) = network.bridge() else { return };
        // On a LAN the subnet is that of others too, and each container has a row of its own.
        for pool in bridge.pools().filter(|_| !bridge.is_on_lan()) {
            self.rows.insert(Row::Plain(Entry::Subnet(subnet_key(pool.subnet), network.number)));
        }
        if let Some(parent) = &bridge.parent {
            self.add_parent(network, parent);
        }
        self.rows.extend(bridge.own_addresses().map(|net| host_address(net.addr())));
        for prefix in &bridge.masquerade_exclude {
            self.rows.insert(Row::Plain(Entry::Excluded(destination_key(network.number, *prefix))));
        }
        let speaks_ipv6 = bridge.gateways().any(|gateway| gateway.is_ipv6());
        if speaks_ipv6 {
            self.rows.insert(host_address(bridge.mac.link_local().into()));
        }
        // A prefilter hears containers too on a bridge that leads out, and cannot tell that they are let pass.
        if bridge.borrowed.is_some() {
            self.prefilters.remove(&bridge.device);
        }
        let link = BridgeLink {
            alias: bridge_alias(network),
            mac: bridge.mac,
            mtu: bridge.mtu,
            addresses: bridge.own_addresses().collect(),
            sysctls: match (&bridge.borrowed, &bridge.parent) {
                (Some(_), _) => borrowed_sysctls(&bridge.device, bridge),
                (None, Some(_)) => silent_sysctls(&bridge.device),
                (None, None) => bridge_sysctls(&bridge.device, speaks_ipv6),
            },
            borrowed: bridge.borrowed.is_some(),
            port: bridge.parent.clone(),
        };
        self.hooks.insert((Hook::ToBridge, bridge.device.clone()));
        self.bridges.insert(bridge.device.clone(), link);
    }

    /// Adds one interface of an endpoint with its ports.
    pub fn add_attachment(&mut self, network: &Network, endpoint: &Endpoint, attachment: &Attachment) {
        if let Some(lan) = network.lan() {
            return self.add_on_lan((network, lan), endpoint, attachment);
        }
        let Some(bridge) = network.bridge() else { return };
        let veth = attachment.veth();
        self.hooks.insert((Hook::FromContainer, veth.clone()));
        self.rows.insert(Row::Link {
            veth: veth.clone(),
            bridge: bridge.device.clone(),
            rest: link_row(network.number, bridge, attachment),
        });
        for address in attachment.addresses() {
            let key = EndpointKey { addr: address.into(), network: network.number };
            self.rows.insert(Row::Endpoint { veth: veth.clone(), key, mac: attachment.mac });
        }
        if bridge.is_on_lan() {
            let row = |address: IpAddr| {
                Row::Plain(Entry::Subnet(subnet_key(address.into()), network.number | subnet::ON_LAN))
            };
            self.rows.extend(attachment.addresses().map(row));
        }
        if attachment.addr6.is_some() {
            let key = EndpointKey { addr: attachment.mac.link_local().into(), network: network.number };
            self.rows.insert(Row::Endpoint { veth: veth.clone(), key, mac: attachment.mac });
        }
        self.rows.extend(gateway_mode::rows(bridge, attachment));
        let at_host = |port: &&PublishedPort| !gateway_mode::is_at_container(bridge, attachment, port);
        for port in attachment.ports.iter().filter(at_host) {
            let (Some(rest), Some(key)) = (backend(bridge, attachment, port), port_key(port)) else {
                continue;
            };
            self.rows.insert(Row::Port { veth: veth.clone(), key, rest });
            self.rows.extend(port.sources.keys(key).map(|source| Row::Plain(Entry::Source(source))));
        }
        self.veths.insert(veth, pair((network, bridge), endpoint, attachment));
    }
}

fn uplink_row(uplink: &Uplink) -> netdp_common::Uplink {
    netdp_common::Uplink {
        addr4: addr(uplink.addr4),
        addr6: addr(uplink.addr6),
        ifindex: uplink.ifindex,
        pad: 0,
    }
}

/// Where the kernel may not be asked, what belongs into a tunnel must not leave by an uplink instead.
fn first_uplink(host: &Host) -> Option<netdp_common::Uplink> {
    let mut row = uplink_row(host.uplinks.first()?);
    if host.other_ways.v4 {
        row.addr4 = Addr::UNSPECIFIED;
    }
    if host.other_ways.v6 {
        row.addr6 = Addr::UNSPECIFIED;
    }
    let leads_out = (row.addr4, row.addr6) != (Addr::UNSPECIFIED, Addr::UNSPECIFIED);
    leads_out.then_some(row)
}

/// One that is not there is unspecified.
fn addr(address: Option<impl Into<IpAddr>>) -> Addr {
    address.map_or(Addr::UNSPECIFIED, |address| address.into().into())
}

/// A prefix in the form of the maps.
fn subnet_key(subnet: IpNet) -> SubnetKey {
    let mapped = match subnet {
        IpNet::V4(_) => MAPPED_BITS,
        IpNet::V6(_) => 0,
    };
    SubnetKey { prefix_len: mapped + u32::from(subnet.prefix_len()), addr: subnet.network().into() }
}

fn destination_key(network: u32, prefix: IpNet) -> DestinationKey {
    let SubnetKey { prefix_len, addr } = subnet_key(prefix);
    DestinationKey { prefix_len, destination: Destination { network, addr } }
}

/// One of our own.
fn host_address(address: IpAddr) -> Row {
    Row::Plain(Entry::HostAddr(address.into(), LASTING))
}

/// Without them the reply of a container to a process of the host would be a martian. On `lo` only.
pub fn host_sysctls() -> BTreeMap<String, String> {
    ["route_localnet", "accept_local"]
        .into_iter()
        .map(|key| (format!("net/ipv4/conf/{LOOPBACK}/{key}"), "1".to_owned()))
        .collect()
}

/// Settings of a bridge in IPv4. `forwarding` is what the FIB look-up of the programs and the slow path ask for, on our
/// own interface only. Redirects would tell containers of ways around the datapath.
const BRIDGE4: [(&str, &str); 2] = [("forwarding", "1"), ("send_redirects", "0")];
/// The same in IPv6, where the slow path (no route, or one that prohibits) asks for `force_forwarding` too, or else for a
/// setting of all interfaces with which the uplinks would heed no router advertisements any more (`force_forwarding`:
/// kernel 6.17). The
/// link-local address is that of the MAC (`addr_gen_mode` 0) and in use at once (`accept_dad` 0): nobody else may have it.
const BRIDGE6: [(&str, &str); 7] = [
    ("disable_ipv6", "0"),
    ("forwarding", "1"),
    ("force_forwarding", "1"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
    ("accept_dad", "0"),
    ("addr_gen_mode", "0"),
];
/// Settings of an interface in a container of a network with IPv6 addresses.
const INSIDE6: [(&str, &str); 5] = [
    ("disable_ipv6", "0"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
    ("accept_dad", "0"),
    ("addr_gen_mode", "0"),
];
/// A network without IPv6 addresses has no IPv6 at all.
const WITHOUT_IPV6: [(&str, &str); 1] = [("disable_ipv6", "1")];

/// Settings of a bridge by their path under `/proc/sys`.
pub fn bridge_sysctls(device: &str, ipv6: bool) -> BTreeMap<String, String> {
    let settings6 = if ipv6 { &BRIDGE6[..] } else { &WITHOUT_IPV6 };
    let settings = [("ipv4", &BRIDGE4[..]), ("ipv6", settings6)];
    let path = |family: &str, key: &str| format!("net/{family}/conf/{device}/{key}");
    let pairs = |(family, settings): (&'static str, &'static [(&str, &str)])| {
        settings.iter().map(move |(key, value)| (path(family, key), (*value).to_owned()))
    };
    settings.into_iter().flat_map(pairs).collect()
}

/// Settings without which a bridge of somebody else's forwards nothing; all others stay as they are, and these too where
/// another router forwards.
fn borrowed_sysctls(device: &str, bridge: &Bridge) -> BTreeMap<String, String> {
    let path = |family: &str, key: &str| (format!("net/{family}/conf/{device}/{key}"), "1".to_owned());
    let settings4 = [path("ipv4", "forwarding")];
    let settings6 = ["forwarding", "force_forwarding"].map(|key| path("ipv6", key));
    let has_router4 = bridge.ways_out().any(|gateway| gateway.is_ipv4() && bridge.is_router(gateway));
    let forwards6 = bridge.gateways().any(|gateway| gateway.is_ipv6());
    let settings4 = settings4.into_iter().filter(|_| !has_router4);
    settings4.chain(settings6.into_iter().filter(|_| forwards6)).collect()
}

/// Settings of a bridge by which containers are on a LAN where the host is not: it says nothing there, and routes nothing.
pub fn silent_sysctls(device: &str) -> BTreeMap<String, String> {
    let settings = [("ipv4", "forwarding", "0"), ("ipv4", "arp_ignore", "1"), ("ipv6", "disable_ipv6", "1")];
    let pair = |(family, key, value): (&str, &str, &str)| {
        (format!("net/{family}/conf/{device}/{key}"), value.to_owned())
    };
    settings.into_iter().map(pair).collect()
}

/// Settings of an interface in a container. In IPv6 it has the addresses that it is given and no others but the one of its
/// MAC, and they are in use at once; what was asked for comes after that.
pub fn inside_sysctls(inside: &Inside) -> Vec<(String, String)> {
    let ipv6 = inside.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
    let settings = if ipv6 { &INSIDE6[..] } else { &WITHOUT_IPV6 };
    let path = |key: &str| format!("net/ipv6/conf/{}/{key}", inside.ifname);
    settings.iter().map(|(key, value)| (path(key), (*value).to_owned())).collect()
}

fn link_row(network: u32, bridge: &Bridge, attachment: &Attachment) -> netdp_common::Link {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    netdp_common::Link {
        addr4: addr(attachment.addr4),
        addr6: addr(attachment.addr6),
        gateway4: addr(bridge.ways_out().chain(attachment.lent_gateway()).find_map(v4)),
        gateway6: addr(bridge.ways_out().find_map(v6)),
        snat4: addr(bridge.snat4),
        snat6: addr(bridge.snat6),
        network,
        bridge: 0,
        flags: flag(bridge.internal, link_flags::INTERNAL)
            | flag(!bridge.icc, link_flags::NO_ICC)
            | flag(!bridge.masquerade, link_flags::NO_MASQUERADE)
            | flag(bridge.maps_by_remote(), link_flags::DEPENDENT_MAPPING)
            | flag(bridge.lets_everybody_in(), link_flags::OPEN_FILTER)
            | flag(!bridge.masquerade_exclude.is_empty(), link_flags::EXCLUDES)
            | flag(bridge.gateway_mode4 == GatewayMode::Routed, link_flags::ROUTED4)
            | flag(bridge.gateway_mode6 == GatewayMode::Routed, link_flags::ROUTED6)
            | flag(bridge.is_on_lan(), link_flags::LAN)
            | flag(bridge.parent.is_some(), link_flags::NO_GATEWAY)
            | flag(bridge.dhcp, link_flags::NO_DHCP),
        mac: wire(attachment.mac),
        gateway_mac: wire(bridge.mac),
    }
}

/// None without a port of the host.
fn port_key(port: &PublishedPort) -> Option<PortKey> {
    Some(PortKey::new(port.host_address.into(), Port::new(port.host_port?), port.protocol.number()))
}

/// None when the endpoint has no address that the host's leads to, which a port is not published without.
fn backend(bridge: &Bridge, attachment: &Attachment, port: &PublishedPort) -> Option<Backend> {
    let address = attachment.behind(port.host_address)?;
    Some(Backend {
        addr: address.into(),
        gateway: neighbour_of(bridge, attachment, address)?,
        ifindex: 0,
        port: Port::new(port.container_port),
        mac: wire(attachment.mac),
        gateway_mac: wire(bridge.mac),
        flags: flags(port),
    })
}

/// Somebody else of a container's subnet, in whose name it is spoken to where the client cannot be shown.
fn neighbour_of(bridge: &Bridge, attachment: &Attachment, address: IpAddr) -> Option<Addr> {
    let gateway = bridge.pool_like(address).and_then(|pool| pool.gateway);
    gateway.or(attachment.lent_neighbour()).map(Addr::from)
}

fn flags(port: &PublishedPort) -> u16 {
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    flag(!port.sources.is_everybody(), port_flags::FILTERED)
        | flag(port.host_address.is_unspecified(), port_flags::EVERY_ADDRESS)
}

fn inside(network: &Network, endpoint: &Endpoint, attachment: &Attachment) -> Inside {
    Inside {
        netns: endpoint.netns.clone(),
        ifname: attachment.ifname.clone(),
        mac: attachment.mac,
        addresses: attachment.addresses().filter_map(|address| network.net_of(attachment, address)).collect(),
        until: attachment.lease.as_ref().and_then(Lease::ends),
        sysctls: asked_sysctls(attachment),
        routes: network.routes().iter().chain(lent_routes(attachment)).copied().collect(),
    }
}

fn lent_routes(attachment: &Attachment) -> &[NetworkRoute] {
    attachment.lease.as_ref().map_or(&[], |lease| &lease.routes)
}

fn asked_sysctls(attachment: &Attachment) -> Vec<(String, String)> {
    let path = |kept: &str| endpoint_sysctl::path_of(kept, &attachment.ifname);
    attachment.options.sysctls.iter().map(|(kept, value)| (path(kept), value.clone())).collect()
}

fn pair((network, bridge): (&Network, &Bridge), endpoint: &Endpoint, attachment: &Attachment) -> Veth {
    Veth {
        alias: veth_alias(attachment),
        host_mac: host_mac(network, attachment),
        mtu: attachment
            .lease
            .as_ref()
            .and_then(|lease| lease.mtu)
            .map_or(bridge.mtu, |mtu| mtu.min(bridge.mtu)),
        bridge: bridge.device.clone(),
        isolated: !bridge.icc,
        on_lan: bridge.is_on_lan(),
        inside: inside(network, endpoint, attachment),
    }
}

/// MAC of the end on the host: nobody talks to it, but a bridge's ports must differ, so it comes from the address too. Where
/// that is lent and another one may follow it, it comes from the MAC inside, and differs from that.
fn host_mac(network: &Network, attachment: &Attachment) -> Mac {
    let [.., a, b, c, d] = match (attachment.addr4, attachment.addr6) {
        (Some(address), _) if !network.is_by_dhcp() => address.to_ipv6_mapped().octets(),
        (None, Some(address)) => address.octets(),
        (Some(_) | None, _) => return beside(attachment.mac),
    };
    Mac([0x06, 0x42, a, b, c, d])
}

/// Another MAC than this one, and for each of many another one.
fn beside(Mac(mut bytes): Mac) -> Mac {
    bytes[0] = (bytes[0] | 2) ^ 4;
    Mac(bytes)
}

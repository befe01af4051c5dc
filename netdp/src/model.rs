//! What an operator wants, as plain data: networks, endpoints and their published ports, and what the host
//! is.
//!
//! Nothing here reads or changes anything. The store keeps these values, `plan` compares them with what the
//! kernel has, and `output` prints them.

mod borrowed;
mod endpoint;
mod host;
mod lan;
mod lease;
mod mac;
mod on_lan;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{Id, Name};

pub use borrowed::Borrowed;
pub use endpoint::{
    Attachment, AttachmentOptions, Endpoint, EndpointOptions, Netns, Protocol, PublishedPort, Resolver,
};
pub use host::{AddressPool, Host, Mechanism, OtherWays, Prefilter, Uplink};
pub use lan::{IpvlanMode, Lan, LanMode, MacvlanMode};
pub use lease::{Lease, Phase};
pub use mac::Mac;
pub use on_lan::vlan_of;
pub use route::NetworkRoute;

/// Name of the network that the first `up` makes.
pub const DEFAULT_NETWORK: &str = "bridge";
/// Names that no network is made under: those of the networks that are always there, and Docker's other word for the first.
pub const PREMADE: [&str; 4] = [DEFAULT_NETWORK, "host", "none", "default"];
/// Device of that network.
pub const DEFAULT_BRIDGE: &str = "netdp0";
/// MTU of a bridge when neither the operator nor an uplink says one.
pub const DEFAULT_MTU: u32 = 1500;

/// A network that endpoints join.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Network {
    /// The network's number in the datapath's maps; from 1, never used twice.
    pub number: u32,
    /// 64 hexadecimal digits.
    pub id: Id,
    /// Unique on this host.
    pub name: Name,
    /// Seconds since 1970 when it was created.
    pub created: u64,
    /// What kind of network it is, with what that kind needs.
    pub driver: Driver,
    /// `-o` options as the operator gave them.
    pub options: BTreeMap<String, String>,
    /// Labels as the operator gave them.
    pub labels: BTreeMap<String, String>,
}

/// Options of networks that are made without them (`default-network-opts`): keys and values by the name of the driver.
pub type NetworkOptions = BTreeMap<String, Vec<(String, String)>>;

/// The kinds of network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Driver {
    /// A bridge device with a subnet of its own.
    Bridge(Bridge),
    /// Interfaces on one of the host's, with a subnet of the LAN.
    Lan(Lan),
    /// The host's own network namespace; listed so that it has a name.
    Host,
    /// No network at all; listed so that it has a name.
    Null,
}

impl Driver {
    /// Docker's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Lan(lan) => lan.mode.driver(),
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// What a bridge network has beyond its name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bridge {
    /// Name of the bridge device.
    pub device: String,
    /// The device's MAC, fixed when the network is created: a bridge would else take over that of its ports.
    pub mac: Mac,
    /// MTU in bytes: what the operator asked for, else that of the first uplink when the network was created.
    pub mtu: u32,
    /// Its IPv4 addresses, if it has any.
    #[serde(alias = "pool")]
    pub pool4: Option<Pool>,
    /// Its IPv6 addresses, if it has any.
    #[serde(default)]
    pub pool6: Option<Pool>,
    /// No way in or out but from the host itself.
    pub internal: bool,
    /// Endpoints of the network may talk to each other.
    pub icc: bool,
    /// Packets that leave get the uplink's address.
    pub masquerade: bool,
    /// How containers are reached from beyond the network in IPv4.
    #[serde(default)]
    pub gateway_mode4: GatewayMode,
    /// The same in IPv6.
    #[serde(default)]
    pub gateway_mode6: GatewayMode,
    /// Interfaces of the host by which containers' published ports are reached at their own addresses.
    #[serde(default)]
    pub trusted: BTreeSet<String>,
    /// The same by every way, which is a setting of the host.
    #[serde(skip)]
    pub allows_direct_routing: bool,
    /// The address of the host that they get instead of what the route prefers.
    #[serde(default)]
    pub snat4: Option<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(default)]
    pub snat6: Option<Ipv6Addr>,
    /// Destinations that see the containers' own addresses.
    #[serde(default)]
    pub masquerade_exclude: BTreeSet<IpNet>,
    /// Whether UDP endpoints have one outside endpoint towards everybody, or one per remote; none is as the host's
    /// default says.
    #[serde(default)]
    pub udp_mapping: Option<Dependence>,
    /// Who may send to a UDP endpoint that has an outside one: everybody, or whom it has sent to.
    #[serde(default)]
    pub udp_filtering: Option<Dependence>,
    /// Servers that are asked for names that no network knows; none is those of the host.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Where `-p 8080:80` listens: an address of the host, `::` for all of its IPv6 addresses, or 0.0.0.0 for all
    /// addresses of the families that the endpoint has.
    pub host_binding: IpAddr,
    /// The device is somebody else's.
    #[serde(default)]
    pub borrowed: Option<Borrowed>,
    /// The interface of the host by which the device is on a LAN; `eth1.20` is VLAN 20 of `eth1`.
    #[serde(default)]
    pub parent: Option<String>,
    /// A DHCP server of that LAN gives the IPv4 addresses.
    #[serde(default)]
    pub dhcp: bool,
    /// The device gets no IPv4 address.
    #[serde(default)]
    pub inhibit_ipv4: bool,
    /// Routes that containers get beside the default one.
    #[serde(default)]
    pub routes: Vec<NetworkRoute>,
}

/// How the containers of a network are reached from beyond it in one family.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// By published ports of the host.
    #[default]
    Nat,
    /// By these, and by any port of their own addresses.
    NatUnprotected,
    /// By published ports of their own addresses, which they keep when they send.
    Routed,
    /// Not even by the host, which has no address in the network.
    Isolated,
}

impl GatewayMode {
    /// Every mode.
    const ALL: [Self; 4] = [Self::Nat, Self::NatUnprotected, Self::Routed, Self::Isolated];

    /// Docker's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::NatUnprotected => "nat-unprotected",
            Self::Routed => "routed",
            Self::Isolated => "isolated",
        }
    }

    /// The mode of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What the mapping or the filter of UDP depends on (RFC 4787, 4.1 and 5).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// On the inside endpoint alone.
    EndpointIndependent,
    /// On the remote address and port too.
    AddressAndPortDependent,
}

impl Dependence {
    /// Every choice.
    const ALL: [Self; 2] = [Self::EndpointIndependent, Self::AddressAndPortDependent];

    /// The name that users give, by RFC 4787, 4.1 and 5.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }

    /// The choice of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

/// What the host has for networks that do not say it themselves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Defaults {
    /// [`Bridge::udp_mapping`].
    pub udp_mapping: Option<Dependence>,
    /// [`Bridge::udp_filtering`].
    pub udp_filtering: Option<Dependence>,
}

impl Defaults {
    /// Their names, which are those of the options of a network.
    pub const NAMES: [&str; 2] = ["udp-mapping", "udp-filtering"];

    /// Takes over one that is set; a name or value that this version does not know has no effect.
    pub fn set(&mut self, name: &str, value: &str) {
        match name {
            "udp-mapping" => self.udp_mapping = Dependence::named(value),
            "udp-filtering" => self.udp_filtering = Dependence::named(value),
            _ => {}
        }
    }

    /// Name, value, and what that is when nobody has set it.
    pub fn rows(&self) -> [(&'static str, &'static str, &'static str); 2] {
        let [mapping, filtering] = Self::NAMES;
        let row = |name, set: Option<Dependence>, first: Dependence| {
            (name, set.unwrap_or(first).name(), first.name())
        };
        [
            row(mapping, self.udp_mapping, Dependence::EndpointIndependent),
            row(filtering, self.udp_filtering, Dependence::AddressAndPortDependent),
        ]
    }

    /// Says for a network what it does not say itself.
    pub fn complete(&self, network: &mut Network) {
        if let Driver::Bridge(bridge) = &mut network.driver {
            bridge.udp_mapping = bridge.udp_mapping.or(self.udp_mapping);
            bridge.udp_filtering = bridge.udp_filtering.or(self.udp_filtering);
        }
    }
}

impl Bridge {
    /// Its addresses, IPv4 first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pool4.iter().chain(&self.pool6)
    }

    /// The addresses that the device is given, with the lengths of their subnets' prefixes: not those that it has by itself.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpNet> {
        let theirs = self.borrowed.as_ref().map_or(&[][..], |borrowed| &borrowed.addresses);
        let gateways = self.gateways().filter_map(|gateway| Some(self.pool_like(gateway)?.net_of(gateway)));
        let wanted = gateways.filter(|net| !(self.inhibit_ipv4 && net.addr().is_ipv4()));
        wanted.filter(|net| theirs.iter().all(|other| other.addr() != net.addr()))
    }

    /// The sources of what is masqueraded that it has itself, IPv4 first.
    pub fn snat_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.snat4.map(IpAddr::V4).into_iter().chain(self.snat6.map(IpAddr::V6))
    }

    /// [`Bridge::udp_mapping`], where nobody has said it.
    pub fn maps_by_remote(&self) -> bool {
        self.udp_mapping.unwrap_or(Dependence::EndpointIndependent) == Dependence::AddressAndPortDependent
    }

    /// [`Bridge::udp_filtering`], where nobody has said it.
    pub fn lets_everybody_in(&self) -> bool {
        self.udp_filtering.unwrap_or(Dependence::AddressAndPortDependent) == Dependence::EndpointIndependent
    }

    /// Its addresses of the family that an address is of.
    pub fn pool_like(&self, address: IpAddr) -> Option<&Pool> {
        if address.is_ipv4() { self.pool4.as_ref() } else { self.pool6.as_ref() }
    }

    /// Its mode in the family that an address is of.
    pub fn gateway_mode_like(&self, address: IpAddr) -> GatewayMode {
        if address.is_ipv4() { self.gateway_mode4 } else { self.gateway_mode6 }
    }

    /// The addresses that containers know the bridge by, IPv4 first; none in a family whose mode is isolated, or that has
    /// another router.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.ways_out().filter(|gateway| !self.is_router(*gateway))
    }

    /// The same with routers on the LAN.
    pub fn ways_out(&self) -> impl Iterator<Item = IpAddr> {
        let gateways = self.pools().filter_map(|pool| pool.gateway);
        gateways.filter(|gateway| self.gateway_mode_like(*gateway) != GatewayMode::Isolated)
    }
}

/// The addresses of a bridge network in one family.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pool {
    /// The subnet, host bits zero.
    pub subnet: IpNet,
    /// The bridge's own address, and none where nobody needs it: where the host is not in the network.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Addresses are chosen from here when there are any, lowest first.
    #[serde(default, alias = "range", deserialize_with = "one_or_several")]
    pub ranges: Vec<IpNet>,
    /// Addresses that are never given out, by the name they are kept for.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// Earlier versions knew one range at most.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ranges {
        Several(Vec<IpNet>),
        One(Option<IpNet>),
    }
    Ok(match Ranges::deserialize(from)? {
        Ranges::Several(ranges) => ranges,
        Ranges::One(range) => range.into_iter().collect(),
    })
}

impl Pool {
    /// An address of the subnet with its prefix length, as an interface carries it.
    pub fn net_of(&self, address: IpAddr) -> IpNet {
        IpNet::new_assert(address, self.subnet.prefix_len())
    }
}

impl Network {
    /// The bridge of a bridge network.
    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.driver {
            Driver::Bridge(bridge) => Some(bridge),
            Driver::Lan(_) | Driver::Host | Driver::Null => None,
        }
    }

    /// The bridge, if nobody chose its MTU, so that it is that of the first uplink.
    pub fn follows_uplink(&self) -> Option<&Bridge> {
        let chosen =
            ["mtu", "com.docker.network.driver.mtu"].iter().any(|key| self.options.contains_key(*key));
        self.bridge().filter(|bridge| !chosen && bridge.borrowed.is_none() && bridge.parent.is_none())
    }

    /// What a network on a LAN has.
    pub fn lan(&self) -> Option<&Lan> {
        match &self.driver {
            Driver::Lan(lan) => Some(lan),
            Driver::Bridge(_) | Driver::Host | Driver::Null => None,
        }
    }

    /// Its IPv4 addresses, if it has any.
    pub fn pool4(&self) -> Option<&Pool> {
        match &self.driver {
            Driver::Bridge(bridge) => bridge.pool4.as_ref(),
            Driver::Lan(lan) => lan.pool4.as_ref(),
            Driver::Host | Driver::Null => None,
        }
    }

    /// Its IPv6 addresses, if it has any.
    pub fn pool6(&self) -> Option<&Pool> {
        match &self.driver {
            Driver::Bridge(bridge) => bridge.pool6.as_ref(),
            Driver::Lan(lan) => lan.pool6.as_ref(),
            Driver::Host | Driver::Null => None,
        }
    }

    /// Its addresses, IPv4 first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pool4().into_iter().chain(self.pool6())
    }

    /// Its addresses of the family that an address is of.
    pub fn pool_like(&self, address: IpAddr) -> Option<&Pool> {
        if address.is_ipv4() { self.pool4() } else { self.pool6() }
    }

    /// Whether a DHCP server of the LAN gives the IPv4 addresses.
    pub fn is_by_dhcp(&self) -> bool {
        self.lan().is_some_and(|lan| lan.dhcp) || self.bridge().is_some_and(|bridge| bridge.dhcp)
    }

    /// Whether its endpoints have IPv4 addresses.
    pub fn has_ipv4(&self) -> bool {
        self.pool4().is_some() || self.is_by_dhcp()
    }

    /// Its gateways as one of its interfaces knows them, IPv4 first; none where nothing leads out of it.
    pub fn gateways(&self, attachment: &Attachment) -> impl Iterator<Item = IpAddr> {
        let own = self.pools().filter_map(|pool| pool.gateway);
        own.chain(attachment.lent_gateway()).filter(|_| !self.is_internal())
    }

    /// An address of one of its interfaces with the length of its subnet's prefix.
    pub fn net_of(&self, attachment: &Attachment, address: IpAddr) -> Option<IpNet> {
        let lent = attachment.lease.as_ref().map(Lease::net).filter(|net| net.addr() == address);
        lent.or_else(|| self.pool_like(address).map(|pool| pool.net_of(address)))
    }

    /// Routes that its containers get beside the default one.
    pub fn routes(&self) -> &[NetworkRoute] {
        match &self.driver {
            Driver::Bridge(bridge) => &bridge.routes,
            Driver::Lan(lan) => &lan.routes,
            Driver::Host | Driver::Null => &[],
        }
    }

    /// What names of interfaces in its containers begin with.
    pub fn ifname_prefix(&self) -> &str {
        let keys = ["ifname-prefix", "com.docker.network.container_iface_prefix"];
        keys.iter().find_map(|key| self.options.get(*key)).map_or("eth", String::as_str)
    }

    /// Whether its endpoints have no way out.
    pub fn is_internal(&self) -> bool {
        match &self.driver {
            Driver::Bridge(bridge) => bridge.internal,
            Driver::Lan(lan) => lan.internal,
            Driver::Host | Driver::Null => false,
        }
    }

    /// Whether endpoints can be attached to it.
    pub fn is_attachable(&self) -> bool {
        matches!(self.driver, Driver::Bridge(_) | Driver::Lan(_))
    }

    /// Whether `up` made it, so that nobody removes it.
    pub fn premade(&self) -> bool {
        matches!(self.driver, Driver::Host | Driver::Null) || self.name.as_str() == DEFAULT_NETWORK
    }
}

/// The address, if it is an IPv4 one.
pub fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The address, if it is an IPv6 one.
pub fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

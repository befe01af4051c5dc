//! What an operator wants, as plain data: networks, endpoints and their published ports, and what the host
//! is.
//!
//! Nothing here reads or changes anything. The store keeps these values, `plan` compares them with what the
//! kernel has, and `output` prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use netdp_common::without;
use serde::{Deserialize, Serialize};

use crate::datapath::XdpMode;
use crate::names::{Id, Name};
use crate::sources::Sources;

/// Name of the network that the first `up` makes.
pub const DEFAULT_NETWORK: &str = "bridge";
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

/// The kinds of network.
#[expect(clippy::large_enum_variant, reason = "a host has few networks, and most of them are bridges")]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Driver {
    /// A bridge device with a subnet of its own.
    Bridge(Bridge),
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
    /// Where `-p 8080:80` listens: an address of the host, `::` for all of its IPv6 addresses, or 0.0.0.0 for all
    /// addresses of the families that the endpoint has.
    pub host_binding: IpAddr,
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
}

/// The addresses of a bridge network in one family.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pool {
    /// The subnet, host bits zero.
    pub subnet: IpNet,
    /// The bridge's own address.
    pub gateway: IpAddr,
    /// Addresses are chosen from here when it is given.
    pub range: Option<IpNet>,
    /// Addresses that are never given out, by the name they are kept for.
    pub reserved: BTreeMap<String, IpAddr>,
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
            Driver::Host | Driver::Null => None,
        }
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

/// A network namespace that is joined to one or more networks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: Id,
    /// Unique on this host.
    pub name: Name,
    /// Seconds since 1970 when it was first attached.
    pub created: u64,
    /// Its network namespace.
    pub netns: Netns,
    /// Its interfaces, in the order in which they were made.
    pub attachments: Vec<Attachment>,
}

/// Which network namespace an endpoint lives in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Netns {
    /// Where it can be opened.
    pub path: PathBuf,
    /// Device number of the namespace file.
    pub device: u64,
    /// Inode number of the namespace file; with `device` it says whether two paths are one namespace.
    pub inode: u64,
}

/// One interface of an endpoint, in one network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attachment {
    /// 64 hexadecimal digits; Docker's `EndpointID`.
    pub id: Id,
    /// Number of the network.
    pub network: u32,
    /// Its address in the network's IPv4 subnet.
    pub addr4: Option<Ipv4Addr>,
    /// Its address in the network's IPv6 subnet.
    pub addr6: Option<Ipv6Addr>,
    /// MAC of the interface inside.
    pub mac: Mac,
    /// Name of the interface inside.
    pub ifname: String,
    /// Ports of the host that lead to it.
    pub ports: Vec<PublishedPort>,
}

impl Attachment {
    /// Name of the veth's end on the host: an interface name holds 15 bytes, so ten digits of the id.
    pub fn veth(&self) -> String {
        format!("nd{}", self.id.short(10))
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addr4.map(IpAddr::V4).into_iter().chain(self.addr6.map(IpAddr::V6))
    }

    /// Its address that a port of the host leads to: one of the family of the host's address, and for an IPv6 address
    /// of the host the IPv4 one when the endpoint has no other.
    pub fn behind(&self, host_address: IpAddr) -> Option<IpAddr> {
        let addr4 = self.addr4.map(IpAddr::V4);
        if host_address.is_ipv4() { addr4 } else { self.addr6.map(IpAddr::V6).or(addr4) }
    }
}

/// A port of the host that leads to a port of an endpoint.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the host, or 0.0.0.0 or `::` for all of them of that family.
    pub host_address: IpAddr,
    /// The port on the host.
    pub host_port: u16,
    /// The port inside.
    pub container_port: u16,
    /// Who may use it.
    #[serde(default)]
    pub sources: Sources,
}

impl PublishedPort {
    /// Address and port of the host.
    pub fn host_side(&self) -> SocketAddr {
        SocketAddr::new(self.host_address, self.host_port)
    }
}

/// A transport protocol that ports can be published for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(format!("invalid protocol {text:?}: tcp, udp and sctp are known")),
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Docker's scheme: `02:42` and the four bytes of the address, so that an address always has the same
    /// MAC.
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that an interface of this MAC gives itself on its link (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [vendor0, vendor1, vendor2, last @ ..] = self.0;
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..13].copy_from_slice(&[vendor0 ^ 2, vendor1, vendor2, 0xff, 0xfe]);
        octets[13..].copy_from_slice(&last);
        octets.into()
    }

    /// A unicast MAC of the locally administered range from six random bytes.
    pub fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        netdp_common::Mac(self.0).fmt(f)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid MAC address {text:?}: write six bytes as in 02:42:ac:11:00:02");
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !parts.iter().all(two_digits) {
            return Err(invalid());
        }
        let bytes: Vec<u8> = parts.iter().filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
        let mac = Self(bytes.try_into().map_err(|_| invalid())?);
        if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            return Err(format!("invalid MAC address {text:?}: it is not that of a single interface"));
        }
        Ok(mac)
    }
}

/// An interface that leads out of the host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Uplink {
    /// Its index on this host.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The address that masqueraded IPv4 packets get; without one none can be masqueraded over it.
    pub addr4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub addr6: Option<Ipv6Addr>,
}

/// Whether packets leave by an interface that is neither an uplink nor netdp's own, by family.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OtherWays {
    /// IPv4 packets.
    pub v4: bool,
    /// IPv6 packets.
    pub v6: bool,
}

/// What the host itself has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// The interfaces that lead out, in the order of preference.
    pub uplinks: Vec<Uplink>,
    /// All addresses of the host's interfaces, those of our bridges left out.
    pub addresses: BTreeSet<IpAddr>,
    /// Those of them that it gives up soon.
    pub passing: BTreeSet<IpAddr>,
    /// Whether something that is no uplink leads on from this host too: a tunnel, or another interface.
    pub other_ways: OtherWays,
    /// The uplinks that are to have the prefilter, by name, and in which mode.
    pub prefilters: BTreeMap<String, Prefilter>,
    /// The host takes packets with its own addresses as their source from outside (`accept_local`).
    pub accepts_local: bool,
}

/// What the programs can do without ([`netdp_common::without`]).
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Mechanism {
    /// Handing packets to a container past its veth.
    RedirectPeer,
    /// Keeping what the routing table has said for a moment.
    KeptRoutes,
}

impl Mechanism {
    /// All of these, as the programs know them.
    pub fn mask(mechanisms: &[Self]) -> u32 {
        mechanisms.iter().fold(0, |mask, mechanism| mask | mechanism.flag())
    }

    const fn flag(self) -> u32 {
        match self {
            Self::RedirectPeer => without::REDIRECT_PEER,
            Self::KeptRoutes => without::KEPT_WAYS,
        }
    }
}

/// Where the prefilter is to run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Prefilter {
    /// In the driver, else in the kernel; not on a veth, whose other end would lose its segmentation offload.
    #[default]
    Auto,
    /// In the driver only, on a veth too.
    Native,
    /// In the kernel.
    Generic,
    /// Nowhere.
    Off,
}

impl Prefilter {
    /// Every choice.
    const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Generic, Self::Off];

    /// The name that users give.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }

    /// The modes that are tried on an interface of this kind (`IFLA_INFO_KIND`; a physical one has none), in this order.
    ///
    /// While one end of a veth pair has XDP, whatever the other end sends comes in single segments (`veth_xdp_set` takes
    /// `NETIF_F_GSO_SOFTWARE` from it). Generic XDP would copy each large segment into one piece instead.
    pub fn modes(self, kind: Option<&str>) -> &'static [XdpMode] {
        match self {
            Self::Auto if kind == Some("veth") => &[],
            Self::Auto => &[XdpMode::Native, XdpMode::Generic],
            Self::Native => &[XdpMode::Native],
            Self::Generic => &[XdpMode::Generic],
            Self::Off => &[],
        }
    }

    /// Whether an attachment in this mode is what is wanted.
    pub fn accepts(self, mode: XdpMode) -> bool {
        self.modes(None).contains(&mode)
    }
}

impl From<XdpMode> for Prefilter {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
        }
    }
}

impl fmt::Display for Prefilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Prefilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choice = Self::ALL.into_iter().find(|choice| choice.name() == text);
        choice.ok_or_else(|| format!("invalid mode of the prefilter {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_read_and_print() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac, Mac::of_address(Ipv4Addr::new(172, 17, 0, 2)));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for bad in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("+2:42:ac:11:00:02".parse::<Mac>().is_err());
    }

    #[test]
    fn a_mac_says_the_link_local_address() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        let mac: Mac = "fe:ff:12:34:56:78".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::fcff:12ff:fe34:5678");
    }

    #[test]
    fn a_random_mac_is_local_and_unicast() {
        assert_eq!(Mac::local([0xff; 6]).0[0] & 3, 2);
        assert_eq!(Mac::local([0; 6]).0[0] & 3, 2);
    }
}

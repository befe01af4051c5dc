//! Endpoints: a network namespace, its interfaces, and the ports of the host that lead to it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Lease, Mac};
use crate::names::{Id, Name};
use crate::sources::Sources;

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
    /// What it was asked to have beyond its interfaces.
    pub options: EndpointOptions,
    /// Its interfaces, in the order in which they were made.
    pub attachments: Vec<Attachment>,
}

/// What an endpoint was asked to have beyond its interfaces. Kept as JSON: a field that an older database lacks has its
/// default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct EndpointOptions {
    /// The name that it calls itself; its networks know it by this name too.
    pub hostname: Option<String>,
    /// Ports that it offers, which `-P` publishes.
    pub exposed: Vec<(u16, Protocol)>,
    /// Labels as the operator gave them.
    pub labels: BTreeMap<String, String>,
    /// How names are resolved for it.
    pub resolver: Resolver,
    /// Names that it alone knows (`--add-host`), with an address each: lines of its `/etc/hosts` where netdp has made that,
    /// and known to the resolver in any case.
    pub extra_hosts: Vec<(String, IpAddr)>,
}

/// How names are resolved for an endpoint, where that is not as its networks and the host say.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Resolver {
    /// Servers that are asked for names that no network knows (`--dns`); none is those of the host.
    pub servers: Vec<IpAddr>,
    /// Domains that are searched (`--dns-search`).
    pub search: Vec<String>,
    /// Options of `resolv.conf` (`--dns-opt`).
    pub options: Vec<String>,
}

impl Resolver {
    /// With what holds for the whole host where this does not say it itself.
    #[must_use]
    pub fn or(&self, host: &Self) -> Self {
        fn first<T: Clone>(own: &[T], host: &[T]) -> Vec<T> {
            if own.is_empty() { host.to_vec() } else { own.to_vec() }
        }
        Self {
            servers: first(&self.servers, &host.servers),
            search: first(&self.search, &host.search),
            options: first(&self.options, &host.options),
        }
    }
}

/// What an interface was asked to have beyond addresses and ports. Kept as JSON, like [`EndpointOptions`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AttachmentOptions {
    /// Names by which the network knows the endpoint, beyond its own.
    pub aliases: Vec<String>,
    /// Names by which this endpoint knows others of the network (`--link`): name or alias, and the other endpoint's name.
    pub links: Vec<(String, String)>,
    /// Of several interfaces that of the highest number has the default route; among equals the first network by name.
    pub gw_priority: i32,
    /// Settings of the interface by their path under `/proc/sys`, with `IFNAME` for its name.
    pub sysctls: Vec<(String, String)>,
}

impl AttachmentOptions {
    /// Whether a setting that was asked for switches IPv6 off.
    pub fn is_without_ipv6(&self) -> bool {
        let last = self.sysctls.iter().rev().find(|(path, _)| path == "net/ipv6/conf/IFNAME/disable_ipv6");
        last.is_some_and(|(_, value)| value != "0")
    }
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
    /// What it was asked to have beyond addresses and ports.
    pub options: AttachmentOptions,
    /// Ports of the host that lead to it.
    pub ports: Vec<PublishedPort>,
    /// How a DHCP server has lent it its IPv4 address.
    #[serde(default)]
    pub lease: Option<Lease>,
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

    /// Its address of the family that another one is of.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses().find(|address| address.is_ipv4() == other.is_ipv4())
    }

    /// Its address that a port of the host leads to: one of the family of the host's address, and for an IPv6 address
    /// of the host the IPv4 one when the endpoint has no other.
    pub fn behind(&self, host_address: IpAddr) -> Option<IpAddr> {
        let addr4 = self.addr4.map(IpAddr::V4);
        if host_address.is_ipv4() { addr4 } else { self.addr6.map(IpAddr::V6).or(addr4) }
    }

    /// With some IPv4 address where a DHCP server gives one, also while it has lent none: for questions about families.
    #[must_use]
    pub fn as_lent(&self, network: &super::Network) -> Self {
        let addr4 = self.addr4.or_else(|| network.is_by_dhcp().then_some(Ipv4Addr::UNSPECIFIED));
        Self { addr4, ..self.clone() }
    }

    /// The router that a DHCP server has named.
    pub fn lent_gateway(&self) -> Option<IpAddr> {
        self.lease.as_ref()?.gateway.map(IpAddr::V4)
    }

    /// Somebody else on the LAN of an address that is lent: the router, and where the server names none, the server.
    pub fn lent_neighbour(&self) -> Option<IpAddr> {
        let server = self.lease.as_ref().map(|lease| IpAddr::V4(lease.server));
        self.lent_gateway().or(server)
    }
}

/// A port of the host that leads to a port of an endpoint, or a port that others may use at the endpoint's own address.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the host, or 0.0.0.0 or `::` for all of them of that family.
    pub host_address: IpAddr,
    /// The port on the host; none where the endpoint is reached at its own address (gateway mode `routed`).
    pub host_port: Option<u16>,
    /// The port inside.
    pub container_port: u16,
    /// Who may use it.
    #[serde(default)]
    pub sources: Sources,
}

impl PublishedPort {
    /// Address and port of the host; without a port the text ends behind the colon, as Docker prints it.
    pub fn host_side(&self) -> String {
        match (self.host_port, self.host_address) {
            (Some(port), address) => SocketAddr::new(address, port).to_string(),
            (None, IpAddr::V4(address)) => format!("{address}:"),
            (None, IpAddr::V6(address)) => format!("[{address}]:"),
        }
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
            _ => Err(format!("invalid proto: {text}: tcp, udp and sctp are known")),
        }
    }
}

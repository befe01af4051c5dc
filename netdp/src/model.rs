//! What an operator wants, as plain data: networks, endpoints and their published ports, and what the host
//! is.
//!
//! Nothing here reads or changes anything. The store keeps these values, `plan` compares them with what the
//! kernel has, and `output` prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::names::{Id, Name};

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
    /// Its addresses.
    pub pool: Pool,
    /// No way in or out but from the host itself.
    pub internal: bool,
    /// Endpoints of the network may talk to each other.
    pub icc: bool,
    /// Packets that leave get the uplink's address.
    pub masquerade: bool,
    /// Where `-p 8080:80` listens: an address of the host, or 0.0.0.0 for all of them.
    pub host_binding: Ipv4Addr,
}

/// The addresses of a bridge network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pool {
    /// The subnet, host bits zero.
    pub subnet: Ipv4Net,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Addresses are chosen from here when it is given.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given out, by the name they are kept for.
    pub reserved: BTreeMap<String, Ipv4Addr>,
}

impl Pool {
    /// The gateway's address with the subnet's prefix length, as the bridge carries it.
    pub fn gateway_net(&self) -> Ipv4Net {
        Ipv4Net::new_assert(self.gateway, self.subnet.prefix_len())
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
    /// Its address in the network's subnet.
    pub address: Ipv4Addr,
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
}

/// A port of the host that leads to a port of an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the host, or 0.0.0.0 for all of them.
    pub host_address: Ipv4Addr,
    /// The port on the host.
    pub host_port: u16,
    /// The port inside.
    pub container_port: u16,
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
    /// The address that masqueraded packets get; without one nothing can be masqueraded over it.
    pub address: Option<Ipv4Addr>,
}

/// What the host itself has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// The interfaces that lead out, in the order of preference.
    pub uplinks: Vec<Uplink>,
    /// All IPv4 addresses of the host's interfaces, those of our bridges left out.
    pub addresses: BTreeSet<Ipv4Addr>,
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
    fn a_random_mac_is_local_and_unicast() {
        assert_eq!(Mac::local([0xff; 6]).0[0] & 3, 2);
        assert_eq!(Mac::local([0; 6]).0[0] & 3, 2);
    }
}

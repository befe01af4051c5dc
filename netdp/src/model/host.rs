//! What the host is and has, and how the programs are to run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use netdp_common::without;
use serde::{Deserialize, Serialize};

use super::Mac;
use crate::datapath::XdpMode;

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

/// Addresses that subnets of new networks are taken from (`default-address-pools`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AddressPool {
    /// All of them.
    pub base: IpNet,
    /// Length of a subnet's prefix.
    pub size: u8,
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

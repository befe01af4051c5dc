//! Networks whose endpoints are on a LAN by themselves: each has an interface of its own on one of the host's.

use serde::{Deserialize, Serialize};

use super::{NetworkRoute, Pool, vlan_of};

/// What a macvlan or ipvlan network has beyond its name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lan {
    /// The interface of the host that is on the LAN; `eth1.20` is VLAN 20 of `eth1`.
    pub parent: String,
    /// How its interfaces share the parent.
    pub mode: LanMode,
    /// MTU in bytes; none is the parent's.
    pub mtu: Option<u32>,
    /// Its IPv4 addresses, if it has any.
    pub pool4: Option<Pool>,
    /// Its IPv6 addresses, if it has any.
    pub pool6: Option<Pool>,
    /// Endpoints get no default route.
    pub internal: bool,
    /// Routes that containers get beside the default one.
    #[serde(default)]
    pub routes: Vec<NetworkRoute>,
    /// A DHCP server of the LAN gives the IPv4 addresses.
    #[serde(default)]
    pub dhcp: bool,
}

impl Lan {
    /// The interface and the number of the VLAN that the parent is, if it is written as one.
    pub fn vlan(&self) -> Option<(&str, u16)> {
        vlan_of(&self.parent)
    }
}

/// How the interfaces of a LAN network share their parent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanMode {
    /// By a MAC each.
    Macvlan(MacvlanMode),
    /// By an address each, with the parent's MAC.
    Ipvlan(IpvlanMode),
}

impl LanMode {
    /// Docker's word for the driver, which is the kernel's for the interface.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        }
    }
}

/// Who hears whom among the interfaces of one parent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    /// All of them.
    Bridge,
    /// None.
    Private,
    /// Those whose frames a switch beyond the parent sends back.
    Vepa,
    /// There is one only, which has the parent to itself.
    Passthru,
}

/// What of the parent's stack packets pass.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpvlanMode {
    /// Its link only.
    L2,
    /// Its routing too; no broadcast.
    L3,
    /// Its routing and its filter.
    L3s,
}

//! Addresses, one of each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tests::topology::{self, Host};

use crate::options::Family;

/// Who can be asked in both families.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    four: Ipv4Addr,
    six: Ipv6Addr,
}

/// What a process of the host calls its own host.
pub(super) const LOOPBACK: Addresses = Addresses::new(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
/// The neighbour of every host.
pub(super) const OUTSIDE: Addresses = Addresses::new(topology::OUTSIDE, topology::OUTSIDE6);

impl Addresses {
    pub(super) const fn new(four: Ipv4Addr, six: Ipv6Addr) -> Self {
        Self { four, six }
    }

    /// Those of a host at its uplink.
    pub(super) fn of_host(host: &Host) -> Self {
        Self::new(host.address, host.address6)
    }

    /// The one of this family.
    pub(super) fn of(self, family: Family) -> IpAddr {
        match family {
            Family::Four => self.four.into(),
            Family::Six => self.six.into(),
        }
    }
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::Four, Self::Six];

    /// How many bits of an address say in which network of the bench it is.
    pub(super) fn prefix(self) -> u8 {
        match self {
            Self::Four => 16,
            Self::Six => 64,
        }
    }

    /// nftables' word for it.
    pub(super) fn in_rules(self) -> &'static str {
        match self {
            Self::Four => "ip",
            Self::Six => "ip6",
        }
    }

    /// The sysctl that lets a host forward it.
    pub(super) fn forwarding(self) -> &'static str {
        match self {
            Self::Four => "net/ipv4/ip_forward",
            Self::Six => "net/ipv6/conf/all/forwarding",
        }
    }
}

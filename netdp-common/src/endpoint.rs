//! Who may send on which veth, and where a container address is reached.

use crate::addr::{Addr, Mac};
use crate::assert_size;

/// Flags of a [`Link`].
pub mod link_flags {
    /// The network is internal: nothing leaves it, nothing enters it.
    pub const INTERNAL: u32 = 1;
    /// Containers of the network may not talk to one another.
    pub const NO_ICC: u32 = 2;
    /// What leaves is not masqueraded: it does not leave.
    pub const NO_MASQUERADE: u32 = 4;
    /// UDP has a mapping per remote, not one for all (RFC 4787, 4.1).
    pub const DEPENDENT_MAPPING: u32 = 8;
    /// Everybody may send to a UDP endpoint that has a mapping, not only whom it has sent to (RFC 4787, 5).
    pub const OPEN_FILTER: u32 = 16;
    /// The network has destinations that are reached untranslated ([`crate::Destination`]).
    pub const EXCLUDES: u32 = 32;
    /// In IPv4 the network is routed: its addresses are known outside, and what leaves keeps them.
    pub const ROUTED4: u32 = 64;
    /// The same in IPv6.
    pub const ROUTED6: u32 = 128;
    /// The network's bridge is on a LAN: its ports lead to machines that are no containers of this host, and the containers speak
    /// with them by themselves.
    pub const LAN: u32 = 256;
    /// The bridge is nobody's way out: the LAN's router is the only gateway, and the host itself is not there.
    pub const NO_GATEWAY: u32 = 512;
    /// Its addresses are asked for by the host: what a container says to a DHCP server could give a neighbour's address back, or
    /// take all that there are.
    pub const NO_DHCP: u32 = 1024;
}

/// What a container may send, by the `ifindex` of its host-side veth (map `LINKS`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Link {
    /// The only IPv4 source address that may come in.
    pub addr4: Addr,
    /// The only IPv6 source address that may come in; [`Addr::UNSPECIFIED`] when the network has none.
    pub addr6: Addr,
    /// The network's gateway, an address of the host.
    pub gateway4: Addr,
    /// The same for IPv6.
    pub gateway6: Addr,
    /// The source of what is masqueraded, an address of the host; [`Addr::UNSPECIFIED`] when the route is to choose.
    pub snat4: Addr,
    /// The same for IPv6.
    pub snat6: Addr,
    /// Id of the network, unique on this host.
    pub network: u32,
    /// `ifindex` of the network's bridge: routes are looked up as if the packet came in there.
    pub bridge: u32,
    /// [`link_flags`].
    pub flags: u32,
    /// The only source MAC that may come in.
    pub mac: Mac,
    /// MAC of the bridge: source of what we hand to the container.
    pub gateway_mac: Mac,
}
assert_size!(Link, 120);

impl Link {
    /// The network's own source for what is masqueraded in a family.
    #[inline(always)]
    pub const fn snat(&self, v4: bool) -> Addr {
        if v4 { self.snat4 } else { self.snat6 }
    }

    /// Whether a network with these flags is routed in a family.
    #[inline(always)]
    pub const fn is_routed_by(flags: u32, v4: bool) -> bool {
        flags & if v4 { link_flags::ROUTED4 } else { link_flags::ROUTED6 } != 0
    }

    /// Whether the packets of its network leave as they are, in a family.
    #[inline(always)]
    pub const fn is_routed(&self, v4: bool) -> bool {
        Self::is_routed_by(self.flags, v4)
    }

    /// The network's gateway in a family.
    #[inline(always)]
    pub const fn gateway(&self, v4: bool) -> Addr {
        if v4 { self.gateway4 } else { self.gateway6 }
    }
}

/// Key of the map `ENDPOINTS`: an address is looked up inside its network only.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointKey {
    /// The container's address.
    pub addr: Addr,
    /// Id of the network.
    pub network: u32,
}
assert_size!(EndpointKey, 20);

/// Where an endpoint is reached (map `ENDPOINTS`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// `ifindex` of the host-side veth.
    pub ifindex: u32,
    /// MAC inside the container.
    pub mac: Mac,
    /// Zero.
    pub pad: [u8; 2],
}
assert_size!(Endpoint, 12);

/// Key of the map `SUBNETS`, a longest-prefix trie: all container subnets of this host.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubnetKey {
    /// Length of the prefix in bits of the 128-bit form: an IPv4 `/16` is 112.
    pub prefix_len: u32,
    /// The network address.
    pub addr: Addr,
}
assert_size!(SubnetKey, 20);

/// Values of the map `SUBNETS`: the number of a network.
pub mod subnet {
    /// Beside the number: an address of a network on a LAN. It is found on the wire, and may come in by an uplink.
    pub const ON_LAN: u32 = 1 << 31;

    /// The number.
    #[inline(always)]
    pub const fn network(value: u32) -> u32 {
        value & !ON_LAN
    }
}

//! Published ports.

use crate::addr::{Addr, Mac, Port};
use crate::{assert_size, proto};

/// Key of the map `PORTS`: what the outside connects to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortKey {
    /// The host address that the port is bound to, or [`Addr::ANY4`] / [`Addr::UNSPECIFIED`] for all.
    pub addr: Addr,
    /// The published port.
    pub port: Port,
    /// [`crate::proto`].
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}
assert_size!(PortKey, 20);

impl PortKey {
    /// A key with its padding in place.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Port, proto: u8) -> Self {
        Self { addr, port, proto, pad: 0 }
    }

    /// The row beside a container's address that says how that is reached from beyond its network. A container whose
    /// address is reached by nobody has none.
    #[inline(always)]
    pub const fn beside(container: Addr) -> Self {
        Self::new(container, Port::NONE, proto::NONE)
    }
}

/// Flags of a [`Backend`].
pub mod port_flags {
    /// Not for everybody: a source must be in `SOURCES`; beside a container's address, the interface that the packet comes
    /// in by ([`crate::Source::interface`]).
    pub const FILTERED: u16 = 1;
    /// The row stands for every address of the host.
    pub const EVERY_ADDRESS: u16 = 2;
    /// Beside a container's address ([`super::PortKey::beside`]): it is reached by ICMP, and at its published ports, for which
    /// there are rows of that address.
    pub const ROUTED: u16 = 4;
    /// Beside a container's address: it is reached by everything.
    pub const UNPROTECTED: u16 = 8;
    /// Beside a container's address: its published ports, for which there are rows of that address, are reached there. What
    /// it sends is masqueraded all the same.
    pub const DIRECT: u16 = 16;
}

/// Where a published port leads (map `PORTS`): all that the first packet of a flow needs, in one look-up.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Backend {
    /// The container's address.
    pub addr: Addr,
    /// The gateway of the container's network: the source that it sees for flows from the host itself.
    pub gateway: Addr,
    /// `ifindex` of the container's host-side veth.
    pub ifindex: u32,
    /// The container's port.
    pub port: Port,
    /// MAC inside the container.
    pub mac: Mac,
    /// MAC of the bridge: source of what we hand to the container.
    pub gateway_mac: Mac,
    /// [`port_flags`].
    pub flags: u16,
}
assert_size!(Backend, 52);

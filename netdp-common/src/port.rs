//! Published ports.

use crate::addr::{Addr, Mac, Port};
use crate::assert_size;

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
}

/// Flags of a [`Backend`].
pub mod port_flags {
    /// Not for everybody: a source must be in `SOURCES`.
    pub const FILTERED: u16 = 1;
    /// The row stands for every address of the host.
    pub const EVERY_ADDRESS: u16 = 2;
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

//! Interfaces towards the outside.

use crate::addr::Addr;
use crate::assert_size;

/// Key of the row that repeats the first uplink: where new flows go when the kernel may not be asked for a route,
/// because somebody has switched forwarding off on our bridge too (writing `net.ipv4.ip_forward` does).
pub const FIRST: u32 = 0;

/// Value of an address in the map `HOST_ADDRS`: what is masqueraded may get it.
pub const LASTING: u32 = 1;
/// The same of an address that the host gives up soon (RFC 8981; RFC 4862, 5.5.4): a flow may last longer.
pub const PASSING: u32 = 2;

/// What leaves by an uplink carries its address (map `UPLINKS`, by `ifindex`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Uplink {
    /// Source of masqueraded IPv4 packets; [`Addr::UNSPECIFIED`] when the uplink has no IPv4 address.
    pub addr4: Addr,
    /// The same for IPv6.
    pub addr6: Addr,
    /// The uplink's own `ifindex`.
    pub ifindex: u32,
    /// Zero.
    pub pad: u32,
}
assert_size!(Uplink, 40);

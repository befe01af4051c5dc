//! Interfaces towards the outside.

use crate::addr::Addr;
use crate::assert_size;

/// What leaves by an uplink carries its address (map `UPLINKS`, by `ifindex`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Uplink {
    /// Source of masqueraded IPv4 packets; [`Addr::UNSPECIFIED`] when the uplink has no IPv4 address.
    pub addr4: Addr,
    /// The same for IPv6.
    pub addr6: Addr,
}
assert_size!(Uplink, 32);

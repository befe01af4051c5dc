//! Both families, each with what the classes need of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::fixture::{Stations, ipv4, ipv6};

/// The stations of a family, and where the transport header begins.
pub(crate) trait Family: Stations {
    const NAME: &'static str;
    const C2: Self;
    const LOCALHOST: Self;
    /// Whom the prefilter refuses.
    const DENIED: Self;
    const L4: u32;
}

impl Family for Ipv4Addr {
    const NAME: &'static str = "IPv4";
    const C2: Self = ipv4::C2;
    const DENIED: Self = ipv4::ANOTHER_REMOTE;
    const LOCALHOST: Self = Self::LOCALHOST;
    const L4: u32 = 34;
}

impl Family for Ipv6Addr {
    const NAME: &'static str = "IPv6";
    const C2: Self = ipv6::C2;
    const DENIED: Self = ipv6::ANOTHER_REMOTE;
    const LOCALHOST: Self = Self::LOCALHOST;
    const L4: u32 = 54;
}

//! The family of a packet, by the type of its addresses.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdp_common::Addr;

/// An address of either family.
pub trait Address: Copy + Debug + Eq + Into<Addr> {
    /// The address, whichever family it is of.
    fn ip(self) -> IpAddr;

    /// The source of a packet that begins with its IP header.
    fn sender(packet: &[u8]) -> Self;

    /// Length of the IP header that a packet begins with; without extension headers.
    fn header_len(packet: &[u8]) -> usize;
}

impl Address for Ipv4Addr {
    fn ip(self) -> IpAddr {
        self.into()
    }

    fn sender(packet: &[u8]) -> Self {
        let octets: [u8; 4] = packet[12..16].try_into().unwrap();
        octets.into()
    }

    fn header_len(packet: &[u8]) -> usize {
        usize::from(packet[0] & 0x0f) * 4
    }
}

impl Address for Ipv6Addr {
    fn ip(self) -> IpAddr {
        self.into()
    }

    fn sender(packet: &[u8]) -> Self {
        let octets: [u8; 16] = packet[8..24].try_into().unwrap();
        octets.into()
    }

    fn header_len(_: &[u8]) -> usize {
        40
    }
}

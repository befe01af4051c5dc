//! Addresses, ports and MACs as they stand on the wire.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::assert_size;

/// The third word of an IPv4-mapped address (RFC 4291, 2.5.5.2), in network order.
const V4_MAPPED: u32 = 0x0000_ffff_u32.to_be();

/// An IPv4 or IPv6 address, one form for both: four words in network byte order, IPv4 as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(pub [u32; 4]);
assert_size!(Addr, 16);

impl Addr {
    /// `0.0.0.0`: in a [`crate::PortKey`], every IPv4 address of the host.
    pub const ANY4: Self = Self::from_v4_be(0);
    /// `::`: in a [`crate::PortKey`], every IPv6 address of the host; elsewhere "none".
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// From an IPv4 address as it is read from a header (network order).
    #[inline(always)]
    pub const fn from_v4_be(v4: u32) -> Self {
        Self([0, 0, V4_MAPPED, v4])
    }

    /// The last word: of an IPv4 address, the whole of it, in network order.
    #[inline(always)]
    pub const fn v4_be(self) -> u32 {
        self.0[3]
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == V4_MAPPED
    }

    /// Whether this is in 127.0.0.0/8.
    #[inline(always)]
    pub const fn is_loopback4(self) -> bool {
        self.is_v4() && u32::from_be(self.0[3]) >> 24 == 127
    }

    /// Whether this is an IPv4 multicast address (224.0.0.0/4) or the limited broadcast.
    #[inline(always)]
    pub const fn is_group4(self) -> bool {
        let v4 = u32::from_be(self.0[3]);
        self.is_v4() && (v4 >> 28 == 0xe || v4 == u32::MAX)
    }

    /// The address in the form of the standard library.
    pub const fn ip(self) -> IpAddr {
        let [a, b, c, d] = self.0;
        if self.is_v4() {
            return IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(d)));
        }
        let words = [u32::from_be(a), u32::from_be(b), u32::from_be(c), u32::from_be(d)];
        let high = ((words[0] as u64) << 32) | words[1] as u64;
        let low = ((words[2] as u64) << 32) | words[3] as u64;
        IpAddr::V6(Ipv6Addr::from_bits(((high as u128) << 64) | low as u128))
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(v4: Ipv4Addr) -> Self {
        Self::from_v4_be(v4.to_bits().to_be())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(v6: Ipv6Addr) -> Self {
        let octets = v6.octets();
        let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

/// A TCP or UDP port, or the identifier of an ICMP echo, in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Port {
    /// No port.
    pub const NONE: Self = Self(0);

    /// From a number in host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

/// An Ethernet address, first byte of the wire first.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether the group bit is set: broadcast or multicast (IEEE 802.3, 3.2.3).
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_in_and_out() {
        for text in ["172.17.0.2", "0.0.0.0", "255.255.255.255", "fd00::1:2", "::1", "::"] {
            let ip: IpAddr = text.parse().expect("address");
            assert_eq!(Addr::from(ip).ip(), ip);
        }
    }

    #[test]
    fn ipv4_words_are_in_network_order() {
        let addr = Addr::from(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(addr.v4_be().to_ne_bytes(), [10, 1, 2, 3]);
        assert!(addr.is_v4() && !Addr::from(Ipv6Addr::LOCALHOST).is_v4());
    }

    #[test]
    fn a_mac_is_printed_as_everywhere() {
        assert_eq!(Mac([2, 0x42, 0xac, 0x11, 0, 3]).to_string(), "02:42:ac:11:00:03");
    }

    #[test]
    fn loopback_and_group_are_told_from_the_rest() {
        assert!(Addr::from(Ipv4Addr::new(127, 3, 0, 1)).is_loopback4());
        assert!(!Addr::from(Ipv4Addr::new(128, 0, 0, 1)).is_loopback4());
        assert!(Addr::from(Ipv4Addr::new(224, 0, 0, 1)).is_group4());
        assert!(Addr::from(Ipv4Addr::BROADCAST).is_group4());
        assert!(!Addr::from(Ipv4Addr::new(223, 255, 255, 255)).is_group4());
        assert!(!Addr::from(Ipv4Addr::new(240, 0, 0, 9)).is_group4(), "class E is unicast");
    }
}

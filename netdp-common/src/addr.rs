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
    /// 255.255.255.255: everybody on the link.
    pub const BROADCAST4: Self = Self::from_v4_be(u32::MAX);
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

    /// Every address of this one's family: what a port is published on that is published on all of the host's.
    #[must_use]
    #[inline(always)]
    pub const fn any(self) -> Self {
        if self.is_v4() { Self::ANY4 } else { Self::UNSPECIFIED }
    }

    /// Whether no packet may carry this from one host to another: 127.0.0.0/8 (RFC 1122, 3.2.1.3) or `::1`.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        let [a, b, c, d] = self.0;
        if self.is_v4() {
            return u32::from_be(d) >> 24 == 127;
        }
        a | b | c == 0 && d == 1_u32.to_be()
    }

    /// Whether this is for more than one receiver: 224.0.0.0/4, the limited broadcast, or `ff00::/8`.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        let v4 = u32::from_be(self.0[3]);
        if self.is_v4() {
            return v4 >> 28 == 0xe || v4 == u32::MAX;
        }
        u32::from_be(self.0[0]) >> 24 == 0xff
    }

    /// Whether no packet that was sent over a link can be from this address (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2 to 2.7):
    /// 0.0.0.0/8, 127.0.0.0/8, 240.0.0.0/4, and the IPv6 ones of the same meaning.
    #[inline(always)]
    pub const fn is_martian(self) -> bool {
        let first = u32::from_be(self.0[3]) >> 24;
        if self.is_v4() {
            return first == 0 || first == 127 || first >= 224;
        }
        self.is_loopback() || self.is_group() || self.is_unspecified()
    }

    /// Whether this is `::` or `0.0.0.0`.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | d == 0 && (c == 0 || self.is_v4())
    }

    /// Whether this is in `fe80::/64`, the addresses of one link (RFC 4291, 2.5.6).
    #[inline(always)]
    pub const fn is_link_local(self) -> bool {
        self.0[0] == 0xfe80_0000_u32.to_be() && self.0[1] == 0
    }

    /// The link-local address that an interface with this MAC gives itself (RFC 4291, appendix A).
    #[inline(always)]
    pub const fn link_local(mac: Mac) -> Self {
        let mac = mac.0;
        let high = u32::from_ne_bytes([mac[0] ^ 2, mac[1], mac[2], 0xff]);
        let low = u32::from_ne_bytes([0xfe, mac[3], mac[4], mac[5]]);
        Self([0xfe80_0000_u32.to_be(), 0, high, low])
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
        let of = |text: &str| Addr::from(text.parse::<IpAddr>().expect("address"));
        for text in ["127.3.0.1", "::1"] {
            assert!(of(text).is_loopback(), "{text}");
        }
        for text in ["128.0.0.1", "::2", "::", "::ffff:0:1", "1::1", "0.0.0.1"] {
            assert!(!of(text).is_loopback(), "{text}");
        }
        for text in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
            assert!(of(text).is_group(), "{text}");
        }
        for text in ["223.255.255.255", "240.0.0.9", "fe80::1", "fd00::1"] {
            assert!(!of(text).is_group(), "{text}");
        }
    }

    #[test]
    fn martians_are_told_from_the_rest() {
        let of = |text: &str| Addr::from(text.parse::<IpAddr>().expect("address"));
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            assert!(of(text).is_martian(), "{text}");
        }
        for text in ["::", "::1", "ff02::1"] {
            assert!(of(text).is_martian(), "{text}");
        }
        for text in ["1.0.0.1", "223.255.255.255", "fe80::1", "2001:db8::1"] {
            assert!(!of(text).is_martian(), "{text}");
        }
        assert!(of("0.0.0.0").is_unspecified() && of("::").is_unspecified() && !of("::1").is_unspecified());
    }

    #[test]
    fn link_local_address_is_made_of_the_mac() {
        let mac = Mac([0x02, 0x42, 0xac, 0x11, 0x00, 0x03]);
        assert_eq!(Addr::link_local(mac).to_string(), "fe80::42:acff:fe11:3");
        assert!(Addr::link_local(mac).is_link_local());
        let other: IpAddr = "fe80:0:0:1::1".parse().expect("address");
        assert!(!Addr::from(other).is_link_local());
    }
}

//! The IPv6 header (RFC 8200), and what of it is believed.

use crate::addr::Addr;
use crate::assert_size;
use crate::reason::Reason;

/// The header as it stands on the wire: multi-byte fields are in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Header {
    /// Version in the high four bits, traffic class, flow label.
    pub version_be: u32,
    /// Bytes after this header; zero in a BIG TCP packet.
    pub payload_len_be: u16,
    /// What follows: an extension header or the transport protocol.
    pub next: u8,
    /// Time to live.
    pub hop_limit: u8,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
}
assert_size!(Ipv6Header, 40);

/// Length of the header in bytes.
pub const LEN: u32 = 40;

/// Extension headers (RFC 8200, 4; numbers of the IANA registry "IPv6 Extension Header Types").
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Nothing follows.
    pub const NONE: u8 = 59;
}

/// How many extension headers are walked: RFC 8200, 4.1 lists five in their order, one of them twice. A packet with more
/// is refused, so that nobody hides a transport header behind a long chain.
pub const MAX_EXTENSIONS: u32 = 6;

impl Ipv6Header {
    /// Whether the header fits a packet of this length (from the first byte of this header on).
    #[inline(always)]
    pub const fn check(&self, packet_len: u32) -> Result<(), Reason> {
        let payload = u16::from_be(self.payload_len_be) as u32;
        if u32::from_be(self.version_be) >> 28 != 6 || packet_len < LEN || LEN + payload > packet_len {
            return Err(Reason::Malformed);
        }
        Ok(())
    }
}

/// One extension header's first eight bytes, which all of them have.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// What follows it, in the low byte of memory; its length in units of eight bytes without the first eight, in the high
    /// one. Of a fragment header that byte is reserved.
    pub next_len: [u8; 2],
    /// Of a fragment header: offset and the flag "more fragments", network order.
    pub fragment_be: u16,
    /// Of a fragment header: the identification.
    pub id_be: u32,
}
assert_size!(Extension, 8);

impl Extension {
    /// Whether this kind of header is walked over.
    #[inline(always)]
    pub const fn is(next: u8) -> bool {
        matches!(
            next,
            extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION
        )
    }

    /// Length in bytes, when it is of this kind.
    #[inline(always)]
    pub const fn len(&self, kind: u8) -> u32 {
        if kind == extension::FRAGMENT { 8 } else { (self.next_len[1] as u32 + 1) * 8 }
    }

    /// Of a routing header: how many addresses it has still to go to.
    #[inline(always)]
    pub const fn segments_left(&self) -> u8 {
        let [_, left] = self.fragment_be.to_ne_bytes();
        left
    }

    /// Whether the packet is a part of a datagram. An "atomic" fragment is whole (RFC 6946).
    #[inline(always)]
    pub const fn is_part(&self) -> bool {
        u16::from_be(self.fragment_be) & 0xfff9 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, payload: u16) -> Ipv6Header {
        let none = Addr::UNSPECIFIED;
        let (version_be, payload_len_be) = ((version << 28).to_be(), payload.to_be());
        Ipv6Header { version_be, payload_len_be, next: 6, hop_limit: 64, src: none, dst: none }
    }

    #[test]
    fn header_is_believed_only_when_it_fits() {
        assert_eq!(header(6, 20).check(60), Ok(()));
        assert_eq!(header(6, 0).check(100_000), Ok(()), "BIG TCP");
        assert_eq!(header(6, 20).check(70), Ok(()), "padding of the frame");
        for (version, payload, packet) in [(4, 20, 60), (6, 21, 60), (6, 0, 39), (7, 0, 40)] {
            assert_eq!(header(version, payload).check(packet), Err(Reason::Malformed), "{version} {payload}");
        }
    }

    #[test]
    fn lengths_of_extensions_are_in_units_of_eight_bytes() {
        let extension = |len| Extension { next_len: [6, len], fragment_be: 0, id_be: 0 };
        assert_eq!(extension(0).len(extension::HOP_BY_HOP), 8);
        assert_eq!(extension(2).len(extension::DESTINATION), 24);
        assert_eq!(extension(255).len(extension::FRAGMENT), 8);
        assert!(Extension::is(extension::ROUTING) && !Extension::is(extension::NONE) && !Extension::is(6));
    }

    #[test]
    fn atomic_fragment_is_whole() {
        for (field, part) in [(0x0000, false), (0x0001, true), (0x0008, true), (0x0006, false)] {
            let fragment = Extension { next_len: [6, 0], fragment_be: u16::to_be(field), id_be: 0 };
            assert_eq!(fragment.is_part(), part, "{field:x}");
        }
    }
}

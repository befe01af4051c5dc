//! The IPv4 header (RFC 791), and what of it is believed.

use crate::addr::Addr;
use crate::assert_size;
use crate::reason::Reason;

/// The fixed part of the header as it stands on the wire: multi-byte fields are in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header {
    /// Version in the high, header length in words in the low four bits.
    pub version_ihl: u8,
    /// Differentiated services and congestion notification.
    pub tos: u8,
    /// Total length; zero in a BIG TCP packet.
    pub total_len_be: u16,
    /// Identification.
    pub id_be: u16,
    /// Flags and fragment offset.
    pub fragment_be: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum.
    pub check: u16,
    /// Source address.
    pub src_be: u32,
    /// Destination address.
    pub dst_be: u32,
}
assert_size!(Ipv4Header, 20);

/// "Don't fragment" in host order.
const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" or an offset: part of a datagram, in host order.
const FRAGMENT_MASK: u16 = 0x3fff;
/// The offset alone, in host order.
const OFFSET_MASK: u16 = 0x1fff;

impl Ipv4Header {
    /// Length of the header with its options in bytes, checked against the length of the packet
    /// (from the first byte of this header on).
    #[inline(always)]
    pub const fn header_len(&self, packet_len: u32) -> Result<u32, Reason> {
        let len = (self.version_ihl & 0xf) as u32 * 4;
        if self.version_ihl >> 4 != 4 || len < 20 || len > packet_len {
            return Err(Reason::Malformed);
        }
        // Zero is a BIG TCP packet, whose length is that of the skb (kernel 6.3, b1a78b9b9886).
        let total = u16::from_be(self.total_len_be) as u32;
        if total != 0 && (total < len || total > packet_len) {
            return Err(Reason::Malformed);
        }
        Ok(len)
    }

    /// Whether this is a part of a datagram: its ports may be missing.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        u16::from_be(self.fragment_be) & FRAGMENT_MASK != 0
    }

    /// Whether another part of the datagram goes before this one: its ports are missing.
    #[inline(always)]
    pub const fn is_later_part(&self) -> bool {
        u16::from_be(self.fragment_be) & OFFSET_MASK != 0
    }

    /// Whether routers may not cut the packet in pieces.
    #[inline(always)]
    pub const fn dont_fragment(&self) -> bool {
        u16::from_be(self.fragment_be) & DONT_FRAGMENT != 0
    }

    /// Source address.
    #[inline(always)]
    pub const fn src(&self) -> Addr {
        Addr::from_v4_be(self.src_be)
    }

    /// Destination address.
    #[inline(always)]
    pub const fn dst(&self) -> Addr {
        Addr::from_v4_be(self.dst_be)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version_ihl: u8, total_len: u16) -> Ipv4Header {
        Ipv4Header {
            version_ihl,
            tos: 0,
            total_len_be: total_len.to_be(),
            id_be: 0,
            fragment_be: 0,
            ttl: 64,
            proto: 6,
            check: 0,
            src_be: 0,
            dst_be: 0,
        }
    }

    #[test]
    fn a_header_is_believed_only_when_it_fits() {
        assert_eq!(header(0x45, 40).header_len(40), Ok(20));
        assert_eq!(header(0x46, 40).header_len(60), Ok(24));
        assert_eq!(header(0x45, 0).header_len(100_000), Ok(20), "BIG TCP");
        for (version_ihl, total, packet) in
            [(0x65, 40, 40), (0x44, 40, 40), (0x4f, 60, 40), (0x45, 41, 40), (0x45, 19, 40), (0x45, 0, 10)]
        {
            let result = header(version_ihl, total).header_len(packet);
            assert_eq!(result, Err(Reason::Malformed), "{version_ihl:x} {total} {packet}");
        }
    }

    #[test]
    fn first_middle_and_last_fragments_are_fragments_and_df_is_not() {
        for (field, fragment) in [(0x2000, true), (0x2001, true), (0x0001, true), (0x4000, false), (0, false)]
        {
            let header = Ipv4Header { fragment_be: u16::to_be(field), ..header(0x45, 20) };
            assert_eq!(header.is_fragment(), fragment, "{field:x}");
            assert_eq!(header.dont_fragment(), field == 0x4000, "{field:x}");
            assert_eq!(header.is_later_part(), field & 1 != 0, "{field:x}");
        }
    }
}

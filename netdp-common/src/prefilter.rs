//! What headers from the wire may say: the part of the prefilter that needs nothing but the packet.

use crate::ipv4::Ipv4Header;
use crate::ipv6::{Extension, Ipv6Header, extension};
use crate::proto;
use crate::reason::Reason;

/// Flags of the map `WIRE`.
pub mod flags {
    /// The host takes packets that come from outside with its own address as their source (`accept_local`, of all or of
    /// one uplink): two of its interfaces may be joined by a cable, or a router may send back what is meant for a
    /// public address.
    pub const ACCEPT_LOCAL: u32 = 1;
}

/// Bytes of the options that an IPv4 header can have at most.
pub const MAX_OPTIONS: u32 = 40;

/// Options of IPv4 (IANA registry "IP Option Numbers").
mod option {
    /// Nothing follows.
    pub(super) const END: u8 = 0;
    /// One byte of padding.
    pub(super) const NOP: u8 = 1;
    /// Loose source and record route (RFC 791, 3.1).
    pub(super) const LSRR: u8 = 131;
    /// Strict source and record route (RFC 791, 3.1).
    pub(super) const SSRR: u8 = 137;
}

/// ICMP for IPv6 (RFC 4443).
const ICMPV6: u8 = 58;
/// Types of neighbour discovery (RFC 4861, 4): router solicitation to redirect.
const NEIGHBOUR_DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;
/// What neighbour discovery arrives with: no router has passed it on (RFC 4861, 6.1 and 7.1).
const FROM_THE_LINK: u8 = 255;
/// The routing header that lets a sender choose the way (RFC 5095 takes it back).
const ROUTING_TYPE_0: u8 = 0;

/// Length of an IPv4 packet in bytes, its header included, by a header whose own length fits.
///
/// A total length of zero is for packets that are longer than the field can say. GRO makes those before generic XDP sees
/// them; in a short one it is a lie.
#[inline(always)]
pub const fn length4(header: &Ipv4Header, packet_len: u32) -> Result<u32, Reason> {
    match u16::from_be(header.total_len_be) as u32 {
        0 if packet_len <= u16::MAX as u32 => Err(Reason::Malformed),
        0 => Ok(packet_len),
        total => Ok(total),
    }
}

/// Length of an IPv6 packet in bytes, its header included. Without a payload length it is a jumbogram (RFC 2675), or
/// nothing follows the header.
#[inline(always)]
pub const fn length6(header: &Ipv6Header, packet_len: u32) -> u32 {
    match u16::from_be(header.payload_len_be) as u32 {
        0 => packet_len,
        payload => crate::ipv6::LEN + payload,
    }
}

/// Bytes that an option takes, by its kind, its length field and the room that the header has left; zero when it is the
/// last.
#[inline(always)]
pub const fn option_len(kind: u8, len: u8, room: u32) -> Result<u32, Reason> {
    match kind {
        option::END => Ok(0),
        option::NOP => Ok(1),
        option::LSRR | option::SSRR => Err(Reason::SourceRouted),
        _ if len < 2 || len as u32 > room => Err(Reason::Malformed),
        _ => Ok(len as u32),
    }
}

/// Whether an extension header of this kind makes its packet go by stations of the sender's choice. Also when none is
/// left to visit: the reply would be sent the same way.
#[inline(always)]
pub const fn is_source_route(kind: u8, header: &Extension) -> bool {
    let [routing_type, _] = header.fragment_be.to_ne_bytes();
    kind == extension::ROUTING && routing_type == ROUTING_TYPE_0
}

/// Whether a packet of this protocol is too short for the header of its protocol: `room` bytes follow those of IP.
#[inline(always)]
pub const fn is_cut(protocol: u8, room: u32) -> bool {
    match protocol {
        proto::TCP => room < 20,
        proto::UDP | proto::ICMP => room < 8,
        // RFC 4443, 2.1: type, code and checksum; what follows differs.
        ICMPV6 => room < 4,
        _ => false,
    }
}

/// Whether this may be neighbour discovery, without which no packet finds its way: by protocol, ICMP type and hop limit.
/// It is never refused for its source: duplicate address detection is about one's own address.
#[inline(always)]
pub fn is_neighbour_discovery(protocol: u8, kind: u8, hop_limit: u8) -> bool {
    protocol == ICMPV6 && hop_limit == FROM_THE_LINK && NEIGHBOUR_DISCOVERY.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(total: u16) -> Ipv4Header {
        Ipv4Header {
            version_ihl: 0x45,
            tos: 0,
            total_len_be: total.to_be(),
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
    fn no_total_length_is_believed_of_long_packets_only() {
        assert_eq!(length4(&ipv4(40), 60), Ok(40));
        assert_eq!(length4(&ipv4(0), 60), Err(Reason::Malformed));
        assert_eq!(length4(&ipv4(0), 65_535), Err(Reason::Malformed));
        assert_eq!(length4(&ipv4(0), 65_536), Ok(65_536), "BIG TCP");
    }

    #[test]
    fn options_are_walked_by_their_lengths() {
        assert_eq!(option_len(option::END, 9, 0), Ok(0));
        assert_eq!(option_len(option::NOP, 0, 1), Ok(1));
        assert_eq!(option_len(7, 7, 8), Ok(7), "record route");
        for (kind, len, room) in [(7, 0, 8), (7, 1, 8), (68, 9, 8), (148, 4, 1)] {
            assert_eq!(option_len(kind, len, room), Err(Reason::Malformed), "{kind} {len} {room}");
        }
        for kind in [option::LSRR, option::SSRR] {
            assert_eq!(option_len(kind, 0, 0), Err(Reason::SourceRouted));
        }
    }

    #[test]
    fn routing_header_of_type_0_alone_is_a_source_route() {
        let header = |kind: u8, left: u8| Extension {
            next_len: [6, 2],
            fragment_be: u16::from_ne_bytes([kind, left]),
            id_be: 0,
        };
        assert!(is_source_route(extension::ROUTING, &header(0, 1)));
        assert!(is_source_route(extension::ROUTING, &header(0, 0)));
        assert!(!is_source_route(extension::ROUTING, &header(4, 1)), "segment routing");
        assert!(!is_source_route(extension::DESTINATION, &header(0, 1)));
    }

    #[test]
    fn transport_headers_have_their_shortest_length() {
        for (protocol, shortest) in [(proto::TCP, 20), (proto::UDP, 8), (proto::ICMP, 8), (ICMPV6, 4)] {
            assert!(is_cut(protocol, shortest - 1) && !is_cut(protocol, shortest), "{protocol}");
        }
        assert!(!is_cut(47, 0), "not known here");
    }

    #[test]
    fn neighbour_discovery_comes_from_the_link_itself() {
        assert!(is_neighbour_discovery(ICMPV6, 133, 255) && is_neighbour_discovery(ICMPV6, 137, 255));
        for (protocol, kind, hop_limit) in [(ICMPV6, 135, 254), (ICMPV6, 128, 255), (17, 135, 255)] {
            assert!(!is_neighbour_discovery(protocol, kind, hop_limit), "{protocol} {kind} {hop_limit}");
        }
    }
}

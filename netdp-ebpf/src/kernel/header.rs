//! Writes Ethernet and IP headers, and the ports behind them.
//!
//! What is written to a frame goes by a helper ([`Packet::write`]), and one call costs more than all the bytes of the headers
//! together: the usual packet is written at once.

use netdp_common::{Addr, Flow, Mac, csum, ipv6};

use super::access::Packet;
use super::parse::{ETH_LEN, Tuple};

/// Offset of the TTL in the frame: from there on, TTL, protocol, checksum and both addresses are neighbours.
const TTL: u32 = ETH_LEN + 8;
/// Offset of the EtherType.
const ETHERTYPE: u32 = 12;
/// Length of an IPv4 header without options.
const IPV4_LEN: u32 = 20;
/// Offset of the next header's number, which the hop limit and both addresses follow.
const NEXT_HEADER: u32 = ETH_LEN + 6;
/// TTL, protocol, checksum, source and destination of an IPv4 header, as on the wire.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4Tail {
    ttl_proto: u16,
    check: u16,
    src: u32,
    dst: u32,
}

/// Next header, hop limit, source and destination of an IPv6 header, as on the wire.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Ipv6Tail {
    next_hop_limit: u16,
    src: Addr,
    dst: Addr,
}

/// From the TTL to the ports, of an IPv4 packet without options.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4Ports {
    tail: Ipv4Tail,
    ports: [u16; 2],
}

/// From the next header's number to the ports, of an IPv6 packet without extension headers.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Ipv6Ports {
    tail: Ipv6Tail,
    ports: [u16; 2],
}

/// The same from the beginning of the frame; in between are `N` words that stay: EtherType, and how the IP header begins.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Whole<const N: usize, P> {
    macs: [Mac; 2],
    between: [u16; N],
    ports: P,
}

/// What changes beside the tuple.
#[repr(u32)]
#[derive(Clone, Copy)]
pub(super) enum Hop {
    /// The stack has routed, or will route, the packet itself.
    None,
    /// The packet changes hands on this host, without a router between: the flow's MACs.
    Local,
    /// A router passes it on to a neighbour that is found later: TTL.
    Routed,
    /// A router passes it on to the container: TTL, and the flow's MACs.
    RoutedToEndpoint,
}

impl Hop {
    #[inline(always)]
    pub(super) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Local,
            2 => Self::Routed,
            _ => Self::RoutedToEndpoint,
        }
    }
}

impl Hop {
    /// Whether the frame is for the flow's container.
    #[inline(always)]
    const fn is_delivery(self) -> bool {
        matches!(self, Self::Local | Self::RoutedToEndpoint)
    }

    /// Routers that the packet passes.
    #[inline(always)]
    const fn count(self) -> u8 {
        match self {
            Self::None | Self::Local => 0,
            Self::Routed | Self::RoutedToEndpoint => 1,
        }
    }
}

/// The Ethernet and IP headers, and the ports.
#[inline(always)]
pub(super) fn write_with_ports(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Option<()> {
    let ports = [flow.sport.0, flow.dport.0];
    if flow.dst.is_v4() && tuple.l4 == ETH_LEN + IPV4_LEN {
        let ports = Ipv4Ports { tail: ipv4(packet, &flow.src, &flow.dst, hop)?, ports };
        return whole::<5, _>(packet, TTL, ports, flow, hop);
    }
    if !flow.dst.is_v4() && tuple.l4 == ETH_LEN + ipv6::LEN {
        let ports = Ipv6Ports { tail: ipv6(packet, &flow.src, &flow.dst, hop)?, ports };
        return whole::<4, _>(packet, NEXT_HEADER, ports, flow, hop);
    }
    packet.write(tuple.l4, &ports)?;
    write(packet, &flow.src, &flow.dst, flow, hop)
}

/// `at` is where `ports` begins.
#[inline(always)]
fn whole<const N: usize, P: Copy>(packet: &Packet, at: u32, ports: P, flow: &Flow, hop: Hop) -> Option<()> {
    if !hop.is_delivery() {
        return packet.write(at, &ports);
    }
    packet.write(0, &Whole::<N, P> { macs: *flow.macs(), between: packet.read(ETHERTYPE)?, ports })
}

/// The Ethernet and IP headers.
#[inline(always)]
pub(super) fn write(packet: &Packet, src: &Addr, dst: &Addr, flow: &Flow, hop: Hop) -> Option<()> {
    if hop.is_delivery() {
        packet.write(0, flow.macs())?;
    }
    if dst.is_v4() {
        packet.write(TTL, &ipv4(packet, src, dst, hop)?)
    } else {
        packet.write(NEXT_HEADER, &ipv6(packet, src, dst, hop)?)
    }
}

#[inline(always)]
fn ipv4(packet: &Packet, src: &Addr, dst: &Addr, hop: Hop) -> Option<Ipv4Tail> {
    let mut tail: Ipv4Tail = packet.read(TTL)?;
    let ttl_proto = shorten::<0>(tail.ttl_proto, hop.count());
    tail.check = csum::replace32(tail.check, tail.src, src.v4_be());
    tail.check = csum::replace32(tail.check, tail.dst, dst.v4_be());
    tail.check = csum::replace16(tail.check, tail.ttl_proto, ttl_proto);
    (tail.ttl_proto, tail.src, tail.dst) = (ttl_proto, src.v4_be(), dst.v4_be());
    Some(tail)
}

#[inline(always)]
fn ipv6(packet: &Packet, src: &Addr, dst: &Addr, hop: Hop) -> Option<Ipv6Tail> {
    let next_hop_limit = shorten::<1>(packet.read(NEXT_HEADER)?, hop.count());
    Some(Ipv6Tail { next_hop_limit, src: *src, dst: *dst })
}

/// Two bytes of a header, of which the one at `AT` is the time to live.
#[inline(always)]
fn shorten<const AT: usize>(word: u16, hops: u8) -> u16 {
    let mut bytes = word.to_ne_bytes();
    bytes[AT] = bytes[AT].wrapping_sub(hops);
    u16::from_ne_bytes(bytes)
}

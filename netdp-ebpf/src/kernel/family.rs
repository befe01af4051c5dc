//! A packet of one family becomes one of the other (RFC 7915): a client has IPv6, and the container IPv4 only.
//!
//! The kernel moves the bytes; the header is made anew, with the addresses that it will have. Options and extension headers
//! have no counterpart, and who translates them away does not tell the receiver: such packets are refused.

use aya_ebpf::helpers::bpf_skb_change_proto;
use netdp_common::ipv4::Ipv4Header;
use netdp_common::ipv6::{self, Ipv6Header};
use netdp_common::{Flow, Reason, csum, proto};

use super::access::Packet;
use super::parse::{ETH_LEN, Tuple, ethertype};

/// Length of an IPv4 header without options.
const IPV4_LEN: u32 = 20;
/// Offset of the EtherType in the frame.
const ETHERTYPE: u32 = 12;
/// "Don't fragment": IPv6 routers do not cut, so nobody may on this side either (RFC 7915, 5.1).
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();

/// Gives the packet the header of the family of the flow's addresses. Its ports and transport checksum are the flow's
/// already; the sums of both families' pseudo-headers differ by the addresses alone.
#[inline(always)]
pub(super) fn change(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    if !matches!(tuple.key.proto, proto::TCP | proto::UDP) {
        return Err(Reason::FamilyMismatch);
    }
    if flow.dst.is_v4() { to_ipv4(packet, tuple, flow) } else { to_ipv6(packet, tuple, flow) }
}

#[inline(never)]
fn to_ipv4(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    if tuple.l4 != ETH_LEN + ipv6::LEN {
        return Err(Reason::FamilyMismatch);
    }
    convert(packet, ethertype::IPV4)?;
    let len = tuple.end - ETH_LEN - ipv6::LEN + IPV4_LEN;
    let mut header = Ipv4Header {
        version_ihl: 0x45,
        tos: 0,
        // Zero is BIG TCP, whose length does not fit.
        total_len_be: if len > 0xffff { 0 } else { (len as u16).to_be() },
        id_be: 0,
        fragment_be: DONT_FRAGMENT,
        ttl: tuple.ttl,
        proto: tuple.key.proto,
        check: 0,
        src_be: flow.src.v4_be(),
        dst_be: flow.dst.v4_be(),
    };
    header.check = checksum(&header);
    packet.write(ETH_LEN, &header).ok_or(Reason::RewriteFailed)
}

#[inline(never)]
fn to_ipv6(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    if tuple.l4 != ETH_LEN + IPV4_LEN || tuple.fragment {
        return Err(Reason::FamilyMismatch);
    }
    convert(packet, ethertype::IPV6)?;
    let len = tuple.end - tuple.l4;
    let header = Ipv6Header {
        version_be: (6_u32 << 28).to_be(),
        payload_len_be: if len > 0xffff { 0 } else { (len as u16).to_be() },
        next: tuple.key.proto,
        hop_limit: tuple.ttl,
        src: flow.src,
        dst: flow.dst,
    };
    packet.write(ETH_LEN, &header).ok_or(Reason::RewriteFailed)
}

/// Moves the bytes, and says in the frame what follows.
#[inline(always)]
fn convert(packet: &Packet, ethertype: u16) -> Result<(), Reason> {
    // SAFETY: the helper takes the context as it is, and a protocol in network order; no pointer into the frame is held.
    match unsafe { bpf_skb_change_proto(packet.skb(), ethertype, 0) } {
        0 => packet.write(ETHERTYPE, &ethertype).ok_or(Reason::RewriteFailed),
        _ => Err(Reason::FamilyMismatch),
    }
}

/// The sum of a header whose checksum is zero.
#[inline(always)]
pub(super) fn checksum(header: &Ipv4Header) -> u16 {
    // From the sum of nothing on, word after word.
    let first = u32::from_ne_bytes([header.version_ihl, header.tos, 0, 0]);
    let lengths = u32::from(header.total_len_be) << 16 | first;
    let check = csum::replace32(0xffff, 0, lengths);
    let check = csum::replace32(check, 0, u32::from(header.id_be) | u32::from(header.fragment_be) << 16);
    let check = csum::replace32(check, 0, u32::from_ne_bytes([header.ttl, header.proto, 0, 0]));
    let check = csum::replace32(check, 0, header.src_be);
    csum::replace32(check, 0, header.dst_be)
}

//! Applies the rewrite of a flow to the bytes of a packet.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::bpf_l4_csum_replace;
use netdp_common::csum;
use netdp_common::{Flow, Reason, proto};

use super::access::Packet;
use super::parse::{ETH_LEN, Tuple, icmp_type};

/// Offset of the TTL in the frame: from there on, TTL, protocol, checksum and both addresses are neighbours.
const TTL: u32 = ETH_LEN + 8;

/// TTL, protocol, checksum, source and destination of an IPv4 header, as on the wire.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4Tail {
    ttl_proto: u16,
    check: u16,
    src: u32,
    dst: u32,
}

/// What changes beside the tuple.
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

/// Rewrites addresses and ports to those of the flow, with all checksums.
///
/// The transport checksum goes through the kernel's helper, which knows whether the sum is complete or still to be
/// made by the device; the IPv4 header's own sum is always complete and is updated in place.
#[inline(never)]
pub(super) fn rewrite(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Result<(), Reason> {
    match tuple.key.proto {
        proto::TCP => ports(packet, tuple, flow, 16, 0)?,
        proto::UDP => ports(packet, tuple, flow, 6, u64::from(BPF_F_MARK_MANGLED_0))?,
        _ => echo_id(packet, tuple, flow)?,
    }
    header(packet, flow.src.v4_be(), flow.dst.v4_be(), flow, hop).ok_or(Reason::RewriteFailed)
}

/// TCP and UDP: the pseudo-header's addresses, and the ports where they change.
#[inline(always)]
fn ports(packet: &Packet, tuple: &Tuple, flow: &Flow, check: u32, flags: u64) -> Result<(), Reason> {
    let key = &tuple.key;
    let addresses = csum::add(
        csum::diff32(key.src.v4_be(), flow.src.v4_be()),
        csum::diff32(key.dst.v4_be(), flow.dst.v4_be()),
    );
    let pseudo = flags | u64::from(BPF_F_PSEUDO_HDR);
    replace(packet, tuple.l4 + check, 0, u64::from(addresses), pseudo)?;
    let (from, to) = ([key.sport.0, key.dport.0], [flow.sport.0, flow.dport.0]);
    if from == to {
        return Ok(());
    }
    replace(packet, tuple.l4 + check, word(from), word(to), flags | 4)?;
    packet.write(tuple.l4, &to).ok_or(Reason::RewriteFailed)
}

/// ICMP echo: no pseudo-header; the identifier is the source of a request and the destination of a reply.
#[inline(always)]
fn echo_id(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    let (from, to) = match tuple.flags {
        icmp_type::ECHO_REQUEST => (tuple.key.sport.0, flow.sport.0),
        _ => (tuple.key.dport.0, flow.dport.0),
    };
    if from == to {
        return Ok(());
    }
    replace(packet, tuple.l4 + 2, u64::from(from), u64::from(to), 2)?;
    packet.write(tuple.l4 + 4, &to).ok_or(Reason::RewriteFailed)
}

/// Two ports as the 32-bit word that they are in memory.
#[inline(always)]
pub(super) fn word(ports: [u16; 2]) -> u64 {
    u64::from(ports[0]) | u64::from(ports[1]) << 16
}

/// Changes a transport checksum; `flags` as the helper takes them.
#[inline(always)]
pub(super) fn replace(packet: &Packet, offset: u32, from: u64, to: u64, flags: u64) -> Result<(), Reason> {
    // SAFETY: the helper checks offset and context itself; no pointer into the frame is held across it.
    match unsafe { bpf_l4_csum_replace(packet.skb(), offset, from, to, flags) } {
        0 => Ok(()),
        _ => Err(Reason::RewriteFailed),
    }
}

/// The Ethernet and IPv4 headers; addresses in network order.
#[inline(always)]
pub(super) fn header(packet: &Packet, src: u32, dst: u32, flow: &Flow, hop: Hop) -> Option<()> {
    let mut tail: Ipv4Tail = packet.read(TTL)?;
    tail.check = csum::replace32(tail.check, tail.src, src);
    tail.check = csum::replace32(tail.check, tail.dst, dst);
    (tail.src, tail.dst) = (src, dst);
    match hop {
        Hop::None => {}
        Hop::Local => packet.write(0, flow.macs())?,
        Hop::Routed => decrement_ttl(&mut tail),
        Hop::RoutedToEndpoint => {
            decrement_ttl(&mut tail);
            packet.write(0, flow.macs())?;
        }
    }
    packet.write(TTL, &tail)
}

#[inline(always)]
fn decrement_ttl(tail: &mut Ipv4Tail) {
    let [ttl, proto] = tail.ttl_proto.to_ne_bytes();
    let next = u16::from_ne_bytes([ttl.wrapping_sub(1), proto]);
    tail.check = csum::replace16(tail.check, tail.ttl_proto, next);
    tail.ttl_proto = next;
}

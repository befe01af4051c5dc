//! Applies the rewrite of a flow to the bytes of a packet.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{bpf_l4_csum_replace, bpf_loop};
use netdp_common::crc32c::{self, Change};
use netdp_common::{Addr, Flow, Reason, csum, proto};

use super::access::Packet;
use super::call;
use super::family;
use super::parse::{self, ETH_LEN, Tuple};
use super::scratch;

/// Offset of the TTL in the frame: from there on, TTL, protocol, checksum and both addresses are neighbours.
const TTL: u32 = ETH_LEN + 8;
/// Offset of the next header's number, which the hop limit and both addresses follow.
const NEXT_HEADER: u32 = ETH_LEN + 6;
/// Tells `bpf_l4_csum_replace` that no header checksum makes up for the address (kernel 6.16, ead7f9b8de65). Older kernels
/// refuse it, and without it spoil what a network card has summed: the receiver sums again.
const BPF_F_IPV6: u64 = 1 << 7;

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
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Local,
            2 => Self::Routed,
            _ => Self::RoutedToEndpoint,
        }
    }
}

/// Rewrites addresses and ports to those of the flow, with all checksums.
///
/// The transport checksum goes through the kernel's helper, which knows whether the sum is complete or still to be
/// made by the device; the IPv4 header's own sum is always complete and is updated in place.
#[inline(always)]
pub(super) fn rewrite(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Result<(), Reason> {
    call::outcome(nat_rewrite(packet.skb(), tuple, flow, hop as u32))
}

/// [`rewrite`], as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_rewrite(skb: *mut __sk_buff, tuple: *const Tuple, flow: *const Flow, hop: u32) -> u32 {
    if tuple.is_null() || flow.is_null() {
        return Reason::RewriteFailed.number();
    }
    // SAFETY: both are references of `rewrite`.
    let (tuple, flow) = unsafe { (&*tuple, &*flow) };
    call::failed(everything(&Packet::of(skb), tuple, flow, Hop::from_number(hop)))
}

#[inline(always)]
fn everything(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Result<(), Reason> {
    match tuple.key.proto {
        proto::TCP => ports(packet, tuple, flow, 16, 0)?,
        proto::UDP => ports(packet, tuple, flow, 6, u64::from(BPF_F_MARK_MANGLED_0))?,
        proto::UDPLITE => ports(packet, tuple, flow, 6, 0)?,
        proto::SCTP => sctp_ports(packet, tuple, flow)?,
        proto::ICMP | proto::ICMPV6 => identifier(packet, tuple, flow)?,
        // No checksum of theirs covers the addresses.
        _ => {}
    }
    if tuple.key.dst.is_v4() != flow.dst.is_v4() {
        family::change(packet, tuple, flow)?;
    }
    header(packet, &flow.src, &flow.dst, flow, hop).ok_or(Reason::RewriteFailed)
}

/// TCP and UDP: the pseudo-header's addresses, and the ports where they change.
#[inline(always)]
fn ports(packet: &Packet, tuple: &Tuple, flow: &Flow, check: u32, flags: u64) -> Result<(), Reason> {
    let key = &tuple.key;
    pseudo_header(packet, tuple.l4 + check, (&key.src, &key.dst), (&flow.src, &flow.dst), flags)?;
    let (from, to) = ([key.sport.0, key.dport.0], [flow.sport.0, flow.dport.0]);
    if from == to {
        return Ok(());
    }
    replace(packet, tuple.l4 + check, word(from), word(to), flags | 4)?;
    packet.write(tuple.l4, &to).ok_or(Reason::RewriteFailed)
}

/// Source and destination.
type Addresses<'a> = (&'a Addr, &'a Addr);

/// Changes the addresses that a transport checksum covers.
#[inline(always)]
pub(super) fn pseudo_header(
    packet: &Packet,
    check: u32,
    from: Addresses<'_>,
    to: Addresses<'_>,
    flags: u64,
) -> Result<(), Reason> {
    let changed = u64::from(csum::add(csum::diff_addr(*from.0, *to.0), csum::diff_addr(*from.1, *to.1)));
    let flags = flags | u64::from(BPF_F_PSEUDO_HDR);
    if to.1.is_v4() {
        return replace(packet, check, 0, changed, flags);
    }
    replace(packet, check, 0, changed, flags | BPF_F_IPV6)
        .or_else(|_| replace(packet, check, 0, changed, flags))
}

/// SCTP: no pseudo-header. A checksum of zero is one that the device, or the stack on its way there, is still to make.
#[inline(never)]
fn sctp_ports(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    let (from, to) = ([tuple.key.sport.0, tuple.key.dport.0], [flow.sport.0, flow.dport.0]);
    if from == to {
        return Ok(());
    }
    packet.write(tuple.l4, &to).ok_or(Reason::RewriteFailed)?;
    let check: [u16; 2] = packet.read(tuple.l4 + 8).ok_or(Reason::RewriteFailed)?;
    if check == [0, 0] {
        return Ok(());
    }
    let check = u32::from(check[0]) | u32::from(check[1]) << 16;
    *scratch::change().ok_or(Reason::RewriteFailed)? =
        Change::new(word(from) as u32, word(to) as u32, tuple.end - tuple.l4 - 4);
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(crc32c::STEPS, change_step as *mut c_void, null_mut(), 0) };
    let change = scratch::change().ok_or(Reason::RewriteFailed)?;
    packet.write(tuple.l4 + 8, &change.apply(check)).ok_or(Reason::RewriteFailed)
}

/// By a loop of the kernel, on what stands in a map: the verifier walks through a step or two, and not through all.
unsafe extern "C" fn change_step(_step: u32, _context: *mut c_void) -> i64 {
    let Some(change) = scratch::change() else { return 1 };
    change.step();
    0
}

/// ICMP queries: the identifier is the source of a request and the destination of a reply. ICMPv6 has a pseudo-header.
#[inline(always)]
fn identifier(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<(), Reason> {
    let (key, check) = (&tuple.key, tuple.l4 + 2);
    if key.proto == proto::ICMPV6 {
        pseudo_header(packet, check, (&key.src, &key.dst), (&flow.src, &flow.dst), 0)?;
    }
    let (from, to) = if parse::is_request(tuple) { (key.sport, flow.sport) } else { (key.dport, flow.dport) };
    if from == to {
        return Ok(());
    }
    replace(packet, check, u64::from(from.0), u64::from(to.0), 2)?;
    packet.write(tuple.l4 + 4, &to.0).ok_or(Reason::RewriteFailed)
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

/// The Ethernet and IP headers.
#[inline(always)]
pub(super) fn header(packet: &Packet, src: &Addr, dst: &Addr, flow: &Flow, hop: Hop) -> Option<()> {
    let hops = match hop {
        Hop::None | Hop::Local => 0,
        Hop::Routed | Hop::RoutedToEndpoint => 1,
    };
    match hop {
        Hop::None | Hop::Routed => {}
        Hop::Local | Hop::RoutedToEndpoint => packet.write(0, flow.macs())?,
    }
    if dst.is_v4() { ipv4(packet, src, dst, hops) } else { ipv6(packet, src, dst, hops) }
}

#[inline(always)]
fn ipv4(packet: &Packet, src: &Addr, dst: &Addr, hops: u8) -> Option<()> {
    let mut tail: Ipv4Tail = packet.read(TTL)?;
    let ttl_proto = shorten::<0>(tail.ttl_proto, hops);
    tail.check = csum::replace32(tail.check, tail.src, src.v4_be());
    tail.check = csum::replace32(tail.check, tail.dst, dst.v4_be());
    tail.check = csum::replace16(tail.check, tail.ttl_proto, ttl_proto);
    (tail.ttl_proto, tail.src, tail.dst) = (ttl_proto, src.v4_be(), dst.v4_be());
    packet.write(TTL, &tail)
}

#[inline(always)]
fn ipv6(packet: &Packet, src: &Addr, dst: &Addr, hops: u8) -> Option<()> {
    let next_hop_limit = shorten::<1>(packet.read(NEXT_HEADER)?, hops);
    packet.write(NEXT_HEADER, &Ipv6Tail { next_hop_limit, src: *src, dst: *dst })
}

/// Two bytes of a header, of which the one at `AT` is the time to live.
#[inline(always)]
fn shorten<const AT: usize>(word: u16, hops: u8) -> u16 {
    let mut bytes = word.to_ne_bytes();
    bytes[AT] = bytes[AT].wrapping_sub(hops);
    u16::from_ne_bytes(bytes)
}

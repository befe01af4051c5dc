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
use super::header::{self, Hop};
use super::parse::{self, Tuple};
use super::scratch;

/// Tells `bpf_l4_csum_replace` that no header checksum makes up for the address (kernel 6.16, ead7f9b8de65). Older kernels
/// refuse it, and without it spoil what a network card has summed: the receiver sums again.
const BPF_F_IPV6: u64 = 1 << 7;

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
        proto::TCP => return ports(packet, tuple, flow, hop, (16, 0)),
        proto::UDP => return ports(packet, tuple, flow, hop, (6, u64::from(BPF_F_MARK_MANGLED_0))),
        proto::UDPLITE => return ports(packet, tuple, flow, hop, (6, 0)),
        proto::SCTP => sctp_ports(packet, tuple, flow)?,
        proto::ICMP | proto::ICMPV6 => identifier(packet, tuple, flow)?,
        // No checksum of theirs covers the addresses.
        _ => {}
    }
    if tuple.key.dst.is_v4() != flow.dst.is_v4() {
        return Err(Reason::FamilyMismatch);
    }
    header::write(packet, &flow.src, &flow.dst, flow, hop).ok_or(Reason::RewriteFailed)
}

/// TCP and UDP. `check` is where the transport checksum stands in their header, and how it is changed.
#[inline(always)]
fn ports(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop, check: (u32, u64)) -> Result<(), Reason> {
    let (key, (check, flags)) = (&tuple.key, check);
    pseudo_header(packet, tuple.l4 + check, (&key.src, &key.dst), (&flow.src, &flow.dst), flags)?;
    let (from, to) = ([key.sport.0, key.dport.0], [flow.sport.0, flow.dport.0]);
    if from != to {
        replace(packet, tuple.l4 + check, word(from), word(to), flags | 4)?;
    }
    if key.dst.is_v4() == flow.dst.is_v4() {
        return header::write_with_ports(packet, tuple, flow, hop).ok_or(Reason::RewriteFailed);
    }
    packet.write(tuple.l4, &to).ok_or(Reason::RewriteFailed)?;
    family::change(packet, tuple, flow)?;
    header::write(packet, &flow.src, &flow.dst, flow, hop).ok_or(Reason::RewriteFailed)
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

//! ICMP errors about packets of our flows: the packet inside is translated back to what its sender had sent
//! (RFC 5508, 4.1 and 4.2). An error never refreshes, changes or ends a flow (REQ-6), and one about TCP has to be about
//! bytes that are on their way (RFC 5927).

use aya_ebpf::bindings::__sk_buff;
use netdp_common::ipv4::Ipv4Header;
use netdp_common::ipv6::{self, Extension, Ipv6Header};
use netdp_common::tracker;
use netdp_common::{Addr, Exit, Flow, FlowKey, Port, Reason, Zone, csum, proto};

use super::access::Packet;
use super::call;
use super::conntrack;
use super::forward::{self, Action};
use super::header::{self, Hop};
use super::maps::FLOWS;
use super::nat;
use super::parse::{self, Tuple, icmp_type};
use super::scratch;
use super::sum;

/// Bytes of an ICMP header.
const ICMP_LEN: u32 = 8;
/// Offset of the sequence number in a TCP header.
const SEQUENCE: u32 = 4;
/// Offset of the addresses in an IPv6 header.
const IPV6_ADDRESSES: u32 = 8;

/// The packet that an error is about. In a map: it is found by one call and translated by another.
#[repr(C)]
pub(super) struct Inner {
    /// Its tuple, as it was sent on; the zone is that of its answers.
    key: FlowKey,
    /// The tuple of its answers, which names the flow.
    flow: FlowKey,
    /// The key of its own direction.
    twin: FlowKey,
    /// Offset of its IP header from the Ethernet header of the error.
    at: u32,
    /// Offset of its transport header.
    l4: u32,
}

/// Translates an error and sends it where the flow's packets of this direction go; [`Reason::IcmpUnrelated`] when the
/// packet inside is of no flow of ours.
#[inline(always)]
pub(super) fn error(packet: &Packet, tuple: &Tuple, zone: Zone) -> Result<Action, Reason> {
    // One call after the other: the stack of a chain of calls is 512 bytes in all.
    call::outcome(icmp_find(packet.skb(), tuple, u32::from(zone.0)))?;
    call::outcome(icmp_judge(packet.skb(), tuple))?;
    call::decision(icmp_deliver(packet.skb(), tuple))
}

/// Finds the packet inside, and its flow.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_find(skb: *mut __sk_buff, tuple: *const Tuple, zone: u32) -> u32 {
    // SAFETY: it is the reference of `error`.
    let tuple = (!tuple.is_null()).then(|| unsafe { &*tuple });
    let packet = Packet::of(skb);
    let found = tuple.and_then(|tuple| find(&packet, tuple, Zone(zone as u8)));
    call::failed(found.ok_or(Reason::IcmpUnrelated).and_then(|flow| in_sequence(&packet, flow)))
}

#[inline(always)]
fn find(packet: &Packet, tuple: &Tuple, zone: Zone) -> Option<&'static Flow> {
    let inner = scratch::inner()?;
    inner.at = tuple.l4 + ICMP_LEN;
    (inner.l4, inner.key.proto) =
        if tuple.key.proto == proto::ICMP { header4(packet, inner.at)? } else { header6(packet, inner.at)? };
    [inner.key.sport, inner.key.dport] = ports(packet, inner)?;
    (inner.key.src, inner.key.dst) = addresses(packet, tuple, inner.at)?;
    (inner.key.zone, inner.key.pad) = (zone, 0);
    // The error comes from where the packet inside was going: it belongs to the other direction.
    inner.flow = inner.key.reversed(zone);
    // A container speaks of what it has received itself, and not of its neighbours' flows.
    if zone == Zone::CONTAINER && inner.flow.src != tuple.key.src {
        return None;
    }
    let flow = conntrack::peek(&inner.flow)?;
    (flow.dst.is_v4() == inner.flow.dst.is_v4()).then_some(flow)
}

/// Whether the packet inside was sent, and may still be answered by an error, as far as its protocol tells. `flow` is the
/// entry of its answers.
#[inline(always)]
fn in_sequence(packet: &Packet, flow: &Flow) -> Result<(), Reason> {
    let inner = scratch::inner().ok_or(Reason::IcmpUnrelated)?;
    if inner.key.proto != proto::TCP {
        return Ok(());
    }
    let seq = u32::from_be(packet.load(inner.l4 + SEQUENCE).ok_or(Reason::IcmpUnrelated)?);
    inner.twin = flow.twin_key(&inner.flow);
    let Some(twin) = FLOWS.get_ptr(&inner.twin) else { return Ok(()) };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    let own = unsafe { (*twin).numbers };
    if tracker::is_on_its_way(seq, own, flow.numbers) { Ok(()) } else { Err(Reason::IcmpSequence) }
}

/// Whether the message, and in IPv4 the header of the packet inside, are as they were sent (REQ-3 and 3a). Who forwards a
/// message with a new checksum would vouch for it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_judge(skb: *mut __sk_buff, tuple: *const Tuple) -> u32 {
    // SAFETY: it is the reference of `error`.
    let tuple = (!tuple.is_null()).then(|| unsafe { &*tuple });
    let judged = tuple.and_then(|tuple| judge(&Packet::of(skb), tuple));
    call::failed(judged.ok_or(Reason::IcmpBadChecksum))
}

#[inline(always)]
fn judge(packet: &Packet, tuple: &Tuple) -> Option<()> {
    let Tuple { key, l4, end, .. } = tuple;
    let inner = scratch::inner()?;
    if key.proto == proto::ICMP {
        is_right(sum::of(packet, inner.at, inner.l4, 0))?;
        return is_right(sum::of(packet, *l4, *end, 0));
    }
    let pseudo = csum::pseudo_header6(key.src, key.dst, end.wrapping_sub(*l4), key.proto);
    is_right(sum::of(packet, *l4, *end, pseudo))
}

#[inline(always)]
fn is_right(sum: Option<u16>) -> Option<()> {
    (sum? == 0xffff).then_some(())
}

/// Translates the message, and sends it where the flow that was found leads.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_deliver(skb: *mut __sk_buff, tuple: *const Tuple) -> u32 {
    if tuple.is_null() {
        return call::decided(Err(Reason::IcmpUnrelated));
    }
    // SAFETY: it is the reference of `error`.
    let tuple = unsafe { &*tuple };
    let flow = scratch::inner().and_then(|inner| FLOWS.get_ptr(&inner.flow));
    let Some(flow) = flow else { return call::decided(Err(Reason::IcmpUnrelated)) };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    call::decided(deliver(&Packet::of(skb), tuple, unsafe { &*flow }))
}

/// Whether a message of this type carries the packet that it is about.
#[inline(always)]
pub(super) fn is_error(tuple: &Tuple) -> bool {
    match tuple.key.proto {
        proto::ICMP => matches!(
            tuple.flags,
            icmp_type::UNREACHABLE | icmp_type::TIME_EXCEEDED | icmp_type::PARAMETER_PROBLEM
        ),
        // Unreachable, too big, time exceeded, parameter problem.
        proto::ICMPV6 => {
            matches!(tuple.flags, icmp_type::V6_UNREACHABLE..=icmp_type::V6_PARAMETER_PROBLEM)
        }
        _ => false,
    }
}

/// Where the transport header of an IPv4 packet that begins at `at` stands, and which it is.
#[inline(always)]
fn header4(packet: &Packet, at: u32) -> Option<(u32, u8)> {
    let header: Ipv4Header = packet.load(at)?;
    let len = u32::from(header.version_ihl & 0xf) * 4;
    if header.version_ihl >> 4 != 4 || len < 20 || header.is_later_part() {
        return None;
    }
    Some((at + len, header.proto))
}

#[inline(always)]
fn header6(packet: &Packet, at: u32) -> Option<(u32, u8)> {
    let header: Ipv6Header = packet.load(at)?;
    if u32::from_be(header.version_be) >> 28 != 6 {
        return None;
    }
    let l4 = at + ipv6::LEN;
    if !Extension::is(header.next) {
        return Some((l4, header.next));
    }
    let (l4, proto, part) = parse::extensions(packet, l4, header.next).ok()?;
    if part { None } else { Some((l4, proto)) }
}

/// Source and destination of the packet inside.
#[inline(always)]
fn addresses(packet: &Packet, tuple: &Tuple, at: u32) -> Option<(Addr, Addr)> {
    if tuple.key.proto == proto::ICMP {
        let header: Ipv4Header = packet.load(at)?;
        return Some((header.src(), header.dst()));
    }
    let [src, dst]: [Addr; 2] = packet.load(at + IPV6_ADDRESSES)?;
    Some((src, dst))
}

#[inline(always)]
fn ports(packet: &Packet, inner: &Inner) -> Option<[Port; 2]> {
    match inner.key.proto {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => {
            // Eight bytes are the least that an error has to quote (RFC 792).
            let words: [u16; 4] = packet.load(inner.l4)?;
            Some([Port(words[0]), Port(words[1])])
        }
        proto::ICMP | proto::ICMPV6 => {
            let (source, destination, _) = parse::icmp(packet.load(inner.l4)?, inner.key.proto).ok()?;
            Some([source, destination])
        }
        _ => Some([Port::NONE; 2]),
    }
}

#[inline(always)]
fn deliver(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<Action, Reason> {
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    match flow.exit {
        Exit::ENDPOINT => {
            rewrite(packet, tuple, flow, Hop::RoutedToEndpoint)?;
            forward::peer(packet, flow.ifindex, Action::IcmpError)
        }
        Exit::UPLINK => {
            rewrite(packet, tuple, flow, Hop::Routed)?;
            packet.mark_translated();
            forward::neighbour(flow.ifindex, Action::IcmpError)
        }
        Exit::LOOPBACK => {
            rewrite(packet, tuple, flow, Hop::Local)?;
            forward::loopback(flow.ifindex, Action::IcmpError)
        }
        _ => Err(Reason::IcmpUnrelated),
    }
}

/// Outer and inner addresses, inner ports, and all checksums.
#[inline(always)]
fn rewrite(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Result<(), Reason> {
    let inner = &*scratch::inner().ok_or(Reason::RewriteFailed)?;
    inner_transport(packet, tuple, inner, flow)?;
    // A router on the way keeps its address; the flow's other end, and whatever is behind us, takes the flow's.
    let keeps = flow.exit == Exit::ENDPOINT && tuple.key.src != inner.key.dst;
    let source = if keeps { tuple.key.src } else { flow.src };
    if tuple.key.proto == proto::ICMP {
        inner_header4(packet, inner, flow).ok_or(Reason::RewriteFailed)?;
    } else {
        inner_header6(packet, tuple, inner, flow, &source)?;
    }
    header::write(packet, &source, &flow.dst, flow, hop).ok_or(Reason::RewriteFailed)
}

/// The inner header's own sum makes up for its addresses, so that of the message changes by the ports alone.
#[inline(always)]
fn inner_header4(packet: &Packet, inner: &Inner, flow: &Flow) -> Option<()> {
    let mut header: Ipv4Header = packet.load(inner.at)?;
    let (src, dst) = (flow.dst.v4_be(), flow.src.v4_be());
    header.check = csum::replace32(header.check, header.src_be, src);
    header.check = csum::replace32(header.check, header.dst_be, dst);
    (header.src_be, header.dst_be) = (src, dst);
    packet.write(inner.at, &header)
}

/// The sum of an ICMPv6 message covers its pseudo-header, with the outer addresses, and the inner ones.
#[inline(always)]
fn inner_header6(
    packet: &Packet,
    tuple: &Tuple,
    inner: &Inner,
    flow: &Flow,
    source: &Addr,
) -> Result<(), Reason> {
    let check = tuple.l4 + 2;
    let at = inner.at + IPV6_ADDRESSES;
    let key = &inner.key;
    nat::replace(packet, check, 0, u64::from(addresses_changed(key, flow)), 0)?;
    packet.write(at, &flow.dst).ok_or(Reason::RewriteFailed)?;
    packet.write(at + 16, &flow.src).ok_or(Reason::RewriteFailed)?;
    nat::pseudo_header(packet, check, (&tuple.key.src, &tuple.key.dst), (source, &flow.dst), 0)
}

/// Ports or identifier, and the checksum that covers them.
#[inline(always)]
fn inner_transport(packet: &Packet, tuple: &Tuple, inner: &Inner, flow: &Flow) -> Result<(), Reason> {
    let FlowKey { sport, dport, proto, .. } = inner.key;
    let check = tuple.l4 + 2;
    let (from, to) = match proto {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => {
            let (from, to) = ([sport.0, dport.0], [flow.dport.0, flow.sport.0]);
            packet.write(inner.l4, &to).ok_or(Reason::RewriteFailed)?;
            (nat::word(from), nat::word(to))
        }
        proto::ICMP | proto::ICMPV6 => {
            // The identifier of a query; that of a request stands as its source, of a reply as its destination.
            let (from, to) = if dport == Port::NONE { (sport, flow.dport) } else { (dport, flow.sport) };
            packet.write(inner.l4 + 4, &to.0).ok_or(Reason::RewriteFailed)?;
            (u64::from(from.0), u64::from(to.0))
        }
        _ => return Ok(()),
    };
    nat::replace(packet, check, from, to, 4)?;
    inner_checksum(packet, tuple, inner, flow, csum::diff32(from as u32, to as u32))
}

/// Puts the checksum of the packet inside right, as far as it was, when so much of it is quoted; whether it was right is nobody's
/// to judge (REQ-3c). `ports` is what has changed behind the addresses.
#[inline(always)]
fn inner_checksum(
    packet: &Packet,
    tuple: &Tuple,
    inner: &Inner,
    flow: &Flow,
    ports: u32,
) -> Result<(), Reason> {
    let key = &inner.key;
    let offset = match key.proto {
        proto::TCP => 16,
        proto::UDP | proto::UDPLITE => 6,
        proto::ICMP | proto::ICMPV6 => 2,
        _ => return Ok(()),
    };
    let (at, may_be_none) = (inner.l4 + offset, offset == 6);
    let old = packet.load::<u16>(at).filter(|_| at + 2 <= tuple.end);
    let Some(old) = old.filter(|old| *old != 0 || !may_be_none) else { return Ok(()) };
    let changed =
        if key.proto == proto::ICMP { ports } else { csum::add(ports, addresses_changed(key, flow)) };
    let mut new = !csum::fold(csum::add(u32::from(!old), u32::from(csum::fold(changed))));
    if new == 0 && may_be_none {
        new = 0xffff;
    }
    nat::replace(packet, tuple.l4 + 2, u64::from(old), u64::from(new), 2)?;
    packet.write(at, &new).ok_or(Reason::RewriteFailed)
}

/// What the translation of the addresses of the packet inside changes in a sum over them.
#[inline(always)]
fn addresses_changed(key: &FlowKey, flow: &Flow) -> u32 {
    csum::add(csum::diff_addr(key.src, flow.dst), csum::diff_addr(key.dst, flow.src))
}

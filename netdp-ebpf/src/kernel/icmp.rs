//! ICMP errors about packets of our flows: the packet inside is translated back to what its sender had sent
//! (RFC 5508, 4.1 and 4.2). An error never refreshes, changes or ends a flow (REQ-6).

use netdp_common::ipv4::Ipv4Header;
use netdp_common::{Exit, Flow, FlowKey, Port, Reason, Zone, csum, proto};

use super::access::Packet;
use super::conntrack;
use super::forward::{self, Action};
use super::nat::{self, Hop};
use super::parse::{self, Tuple, icmp_type};

/// Bytes of an ICMP header.
const ICMP_LEN: u32 = 8;

/// Where the packet that an error is about stands in the frame.
#[derive(Clone, Copy)]
struct Inner {
    /// Offset of its IPv4 header from the Ethernet header of the error.
    at: u32,
    /// Offset of its transport header.
    l4: u32,
    proto: u8,
}

/// Translates an error and sends it where the flow's packets of this direction go; [`Reason::IcmpUnrelated`] when the
/// packet inside is of no flow of ours.
#[inline(always)]
pub(super) fn error(packet: &Packet, tuple: &Tuple, zone: Zone) -> Result<Action, Reason> {
    // Two calls, one after the other: the stack of a chain of calls is 512 bytes in all.
    let flow = find(packet, tuple, zone).ok_or(Reason::IcmpUnrelated)?;
    deliver(packet, tuple, flow)
}

/// The flow of the packet inside.
#[inline(never)]
fn find(packet: &Packet, tuple: &Tuple, zone: Zone) -> Option<&'static Flow> {
    let inner = inner(packet, tuple)?;
    // The error comes from where the packet inside was going: it belongs to the other direction.
    let key = key(packet, inner)?.reversed(zone);
    // A container speaks of what it has received itself, and not of its neighbours' flows.
    if zone == Zone::CONTAINER && key.src != tuple.key.src {
        return None;
    }
    conntrack::peek(&key)
}

/// Whether a message of this type carries the packet that it is about.
#[inline(always)]
pub(super) fn is_error(tuple: &Tuple) -> bool {
    tuple.key.proto == proto::ICMP
        && matches!(
            tuple.flags,
            icmp_type::UNREACHABLE | icmp_type::TIME_EXCEEDED | icmp_type::PARAMETER_PROBLEM
        )
}

#[inline(always)]
fn inner(packet: &Packet, tuple: &Tuple) -> Option<Inner> {
    let at = tuple.l4 + ICMP_LEN;
    packet.linearise(at + 60 + 8);
    let header: Ipv4Header = packet.read(at)?;
    let len = u32::from(header.version_ihl & 0xf) * 4;
    if header.version_ihl >> 4 != 4 || len < 20 || header.is_fragment() {
        return None;
    }
    Some(Inner { at, l4: at + len, proto: header.proto })
}

/// The tuple of the packet inside; its zone is set by the caller.
#[inline(always)]
fn key(packet: &Packet, inner: Inner) -> Option<FlowKey> {
    let header: Ipv4Header = packet.read(inner.at)?;
    let [sport, dport] = ports(packet, inner)?;
    let (src, dst, proto) = (header.src(), header.dst(), inner.proto);
    Some(FlowKey { src, dst, sport, dport, proto, zone: Zone(0), pad: 0 })
}

#[inline(always)]
fn ports(packet: &Packet, inner: Inner) -> Option<[Port; 2]> {
    match inner.proto {
        proto::TCP | proto::UDP => {
            let words: [u16; 2] = packet.read(inner.l4)?;
            Some([Port(words[0]), Port(words[1])])
        }
        proto::ICMP => {
            let (source, destination, _) = parse::icmp(packet, inner.l4).ok()?;
            Some([source, destination])
        }
        _ => None,
    }
}

#[inline(never)]
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
            forward::neighbour(flow.ifindex, None, Action::IcmpError)
        }
        Exit::LOOPBACK => {
            rewrite(packet, tuple, flow, Hop::Local)?;
            forward::loopback(flow.ifindex, Action::IcmpError)
        }
        _ => Err(Reason::IcmpUnrelated),
    }
}

/// Outer and inner addresses, inner ports, and both checksums. The inner header's own sum makes up for its
/// addresses, so that of the message changes by the ports alone. The inner transport checksum stays: it may not be
/// there, and nobody verifies it (REQ-3c).
#[inline(always)]
fn rewrite(packet: &Packet, tuple: &Tuple, flow: &Flow, hop: Hop) -> Result<(), Reason> {
    let inner = inner(packet, tuple).ok_or(Reason::RewriteFailed)?;
    rewrite_ports(packet, tuple, inner, flow)?;
    let mut header: Ipv4Header = packet.read(inner.at).ok_or(Reason::RewriteFailed)?;
    let sent_to = header.dst_be;
    let (src, dst) = (flow.dst.v4_be(), flow.src.v4_be());
    header.check = csum::replace32(header.check, header.src_be, src);
    header.check = csum::replace32(header.check, header.dst_be, dst);
    (header.src_be, header.dst_be) = (src, dst);
    packet.write(inner.at, &header).ok_or(Reason::RewriteFailed)?;
    // A router on the way keeps its address; the flow's other end, and whatever is behind us, takes the flow's.
    let reporter = tuple.key.src.v4_be();
    let keeps = flow.exit == Exit::ENDPOINT && reporter != sent_to;
    let outer_src = if keeps { reporter } else { flow.src.v4_be() };
    nat::header(packet, outer_src, flow.dst.v4_be(), flow, hop).ok_or(Reason::RewriteFailed)
}

#[inline(always)]
fn rewrite_ports(packet: &Packet, tuple: &Tuple, inner: Inner, flow: &Flow) -> Result<(), Reason> {
    let [sport, dport] = ports(packet, inner).ok_or(Reason::RewriteFailed)?;
    let check = tuple.l4 + 2;
    if inner.proto != proto::ICMP {
        let (from, to) = ([sport.0, dport.0], [flow.dport.0, flow.sport.0]);
        nat::replace(packet, check, nat::word(from), nat::word(to), 4)?;
        return packet.write(inner.l4, &to).ok_or(Reason::RewriteFailed);
    }
    // The identifier of an echo; that of a request stands as its source, of a reply as its destination.
    let (from, to) = if dport == Port::NONE { (sport, flow.dport) } else { (dport, flow.sport) };
    nat::replace(packet, check, u64::from(from.0), u64::from(to.0), 2)?;
    packet.write(inner.l4 + 4, &to.0).ok_or(Reason::RewriteFailed)
}

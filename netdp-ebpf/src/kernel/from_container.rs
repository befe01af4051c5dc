//! Everything that a container sends.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::ipv4::Ipv4Header;
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{Addr, Backend, EndpointKey, Exit, Flow, Link, Reason, Zone, link_flags, uplink};

use super::access::Packet;
use super::conntrack;
use super::forward::{self, Action, Route};
use super::icmp;
use super::maps::{ENDPOINTS, HOST_ADDRS, LINKS, SUBNETS, UPLINKS};
use super::parse::{self, ArpHeader, ETH_LEN, EthHeader, Tuple, ethertype};
use super::sockets;

/// Who sends: the veth and what may come in by it.
type Sender = (u32, &'static Link);

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let ifindex = packet.ifindex();
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let link = unsafe { LINKS.get(ifindex) }.ok_or(Reason::UnknownEndpoint)?;
    let eth = parse::ethernet(packet)?;
    if eth.src != link.mac {
        return Err(Reason::SpoofedMac);
    }
    if packet.has_vlan_tag() {
        return Err(Reason::VlanTag);
    }
    match eth.ethertype {
        ethertype::IPV4 => ipv4(packet, &eth, (ifindex, link), tuple),
        ethertype::ARP => arp(packet, link),
        ethertype::IPV6 => Err(Reason::Ipv6Disabled),
        _ => Err(Reason::UnknownL3),
    }
}

/// The bridge answers; but nobody claims another's address (0.0.0.0 is a probe, RFC 5227, 2.1.1).
#[inline(always)]
fn arp(packet: &Packet, link: &Link) -> Result<Action, Reason> {
    let arp: ArpHeader = packet.read(ETH_LEN).ok_or(Reason::Malformed)?;
    let [high, low] = arp.sender_ip;
    let sender = u32::from(high) | u32::from(low) << 16;
    if arp.sender_mac != link.mac || (sender != link.addr4.v4_be() && sender != 0) {
        return Err(Reason::SpoofedArp);
    }
    Ok(Action::SlowPath)
}

#[inline(always)]
fn ipv4(packet: &Packet, eth: &EthHeader, from: Sender, tuple: &mut Tuple) -> Result<Action, Reason> {
    let header = parse::ipv4(packet, tuple)?;
    let (link, dst) = (from.1, tuple.key.dst);
    if tuple.key.src != link.addr4 {
        return Err(Reason::SpoofedIp);
    }
    // By the IP address, not by the MAC: a unicast packet in a broadcast frame would be everybody's on the bridge.
    if dst.is_group4() {
        return to_group(link);
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if let Some(neighbour) = unsafe { ENDPOINTS.get(EndpointKey { addr: dst, network: link.network }) } {
        if link.flags & link_flags::NO_ICC != 0 {
            return Err(Reason::IccDisabled);
        }
        if eth.dst != neighbour.mac {
            packet.write(0, &[neighbour.mac, link.gateway_mac]).ok_or(Reason::Malformed)?;
        }
        return forward::peer(packet, neighbour.ifindex, Action::Local);
    }
    if dst.is_loopback4() {
        return Err(Reason::LoopbackFromContainer);
    }
    if eth.dst != link.gateway_mac {
        return past_gateway(eth, link, &dst);
    }
    beyond_network(packet, &header, from, tuple)
}

/// Not to the gateway and to no endpoint: the broadcast of the own network, or a frame that the bridge would hand to
/// somebody whom the packet is not for.
#[inline(always)]
fn past_gateway(eth: &EthHeader, link: &Link, dst: &Addr) -> Result<Action, Reason> {
    match SUBNETS.get(Key::new(128, *dst)) {
        Some(network) if *network == link.network && eth.dst.is_group() && *dst != link.gateway4 => {
            to_group(link)
        }
        Some(network) if *network != link.network => Err(Reason::InterNetwork),
        _ => Err(Reason::WrongMac),
    }
}

/// To everybody who listens, which the bridge knows; it would reach the neighbours.
#[inline(always)]
fn to_group(link: &Link) -> Result<Action, Reason> {
    if link.flags & link_flags::NO_ICC != 0 { Err(Reason::IccDisabled) } else { Ok(Action::SlowPath) }
}

/// To the host, to another network or to the outside.
#[inline(always)]
fn beyond_network(
    packet: &Packet,
    header: &Ipv4Header,
    from: Sender,
    tuple: &mut Tuple,
) -> Result<Action, Reason> {
    if let Err(reason) = parse::transport(packet, header, Zone::CONTAINER, tuple) {
        return untracked(packet, tuple, from.1, reason);
    }
    if let Some(flow) = conntrack::follow(packet, tuple) {
        // SAFETY: the kernel keeps the value in place while the program runs.
        return deliver(packet, tuple, unsafe { &*flow }, from.1);
    }
    // One call after the other, not one inside the other: the stack of a chain of calls is 512 bytes in all.
    let mut next = first(packet, tuple, from)?;
    if let First::Outside = next {
        next = masquerade(packet, tuple, from)?;
    }
    if let First::SlowPath = next {
        return Ok(Action::SlowPath);
    }
    conntrack::begin_translated(packet)?;
    let flow = conntrack::follow(packet, tuple).ok_or(Reason::CtInvalid)?;
    // SAFETY: as above.
    deliver(packet, tuple, unsafe { &*flow }, from.1)
}

#[inline(always)]
fn deliver(packet: &Packet, tuple: &Tuple, flow: &Flow, link: &Link) -> Result<Action, Reason> {
    match flow.exit {
        Exit::UPLINK => forward::to_uplink(packet, tuple, flow, link.bridge),
        Exit::ENDPOINT => forward::to_endpoint(packet, tuple, flow),
        Exit::LOOPBACK => forward::to_loopback(packet, tuple, flow),
        _ => Err(Reason::CtInvalid),
    }
}

/// A packet without a tuple: an ICMP error, or something that only the host itself can do something with.
#[inline(always)]
fn untracked(packet: &Packet, tuple: &Tuple, link: &Link, reason: Reason) -> Result<Action, Reason> {
    if reason == Reason::Malformed {
        return Err(reason);
    }
    let mut reason = reason;
    if reason == Reason::UnknownL4 && icmp::is_error(tuple) {
        let decision = icmp::error(packet, tuple, Zone::CONTAINER);
        // About a packet of the host's own, perhaps: that is looked at below.
        let Err(Reason::IcmpUnrelated) = decision else { return decision };
        reason = Reason::IcmpUnrelated;
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&tuple.key.dst) }.is_none() {
        return Err(reason);
    }
    to_host(tuple.key.dst, link).map(|_| Action::SlowPath)
}

/// To the host's own stack. An internal network reaches the gateway and nothing else.
#[inline(always)]
fn to_host(dst: Addr, link: &Link) -> Result<First, Reason> {
    if link.flags & link_flags::INTERNAL != 0 && dst != link.gateway4 {
        return Err(Reason::InternalNetwork);
    }
    Ok(First::SlowPath)
}

/// What becomes of the first packet of a tuple.
enum First {
    /// No flow: the bridge or the host's stack goes on with it.
    SlowPath,
    /// To the outside: a flow is to be prepared.
    Outside,
    /// A flow is prepared: it is to be begun, and the packet follows it.
    Prepared,
}

#[inline(never)]
fn first(packet: &Packet, tuple: &Tuple, from: Sender) -> Result<First, Reason> {
    let (key, link) = (&tuple.key, from.1);
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&key.dst) }.is_some() {
        return match sockets::published(key.dst, key.dport, key.proto) {
            Some(backend) if link.flags & link_flags::INTERNAL == 0 => hairpin(packet, tuple, from, backend),
            _ => to_host(key.dst, link),
        };
    }
    match SUBNETS.get(Key::new(128, key.dst)) {
        // Nobody has that address: ARP finds out.
        Some(network) if *network == link.network => Ok(First::SlowPath),
        Some(_) => Err(Reason::InterNetwork),
        None if link.flags & link_flags::INTERNAL != 0 => Err(Reason::InternalNetwork),
        None if link.flags & link_flags::NO_MASQUERADE != 0 => Err(Reason::MasqueradeOff),
        None => Ok(First::Outside),
    }
}

/// To a published port of this host: the receiver sees the address that the sender was told to use, so that its
/// replies come back through us (RFC 4787, REQ-9).
#[inline(always)]
fn hairpin(packet: &Packet, tuple: &Tuple, from: Sender, backend: &Backend) -> Result<First, Reason> {
    let Some(state) = tracker::first(tuple.key.proto, tuple.flags, false) else {
        // A reply to a connection that a process of the host has opened from that port.
        return Ok(First::SlowPath);
    };
    if sockets::socket(packet.skb(), &tuple.key) {
        return Ok(First::SlowPath);
    }
    let back = Delivery::link(from.0, from.1);
    let new = conntrack::prepare()?;
    *new = NewFlow::publish(tuple.key, tuple.key.dst, backend, back, state, conntrack::now());
    Ok(First::Prepared)
}

#[inline(never)]
fn masquerade(packet: &Packet, tuple: &Tuple, from: Sender) -> Result<First, Reason> {
    let state = tracker::first(tuple.key.proto, tuple.flags, true).ok_or(Reason::CtInvalid)?;
    if tuple.ttl <= 1 {
        return Ok(First::SlowPath);
    }
    let ifindex = match forward::route(packet, tuple, from.1.bridge, &tuple.key.dst) {
        Route::Via(ifindex, _) => ifindex,
        Route::Stack => return Ok(First::SlowPath),
        Route::Refused(reason) => return Err(reason),
        Route::Disabled => uplink::FIRST,
    };
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let uplink = unsafe { UPLINKS.get(ifindex) }.ok_or(Reason::NoUplink)?;
    if !uplink.addr4.is_v4() {
        return Err(Reason::NoUplink);
    }
    let new = conntrack::prepare()?;
    *new = NewFlow::masquerade(tuple.key, from, (uplink.ifindex, uplink.addr4), state, conntrack::now());
    Ok(First::Prepared)
}

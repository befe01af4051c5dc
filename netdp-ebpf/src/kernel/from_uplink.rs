//! Everything that the outside sends to the host.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{Addr, Backend, Reason, Zone, proto};

use super::access::Packet;
use super::conntrack;
use super::forward::{self, Action};
use super::icmp;
use super::maps::{HOST_ADDRS, SUBNETS};
use super::parse::{self, Tuple, ethertype};
use super::sockets;

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    // A tagged frame is for the VLAN's own interface, which is an uplink of its own or none.
    if eth.ethertype != ethertype::IPV4 || !packet.is_for_host() || packet.has_vlan_tag() {
        return Ok(Action::NotOurs);
    }
    // What is malformed is not ours to judge: the host's stack drops it, and cannot route it to a container.
    let Ok(header) = parse::ipv4(packet, tuple) else { return Ok(Action::NotOurs) };
    if let Err(reason) = parse::transport(packet, &header, Zone::UPLINK, tuple) {
        return untracked(packet, tuple, reason);
    }
    if let Some(flow) = conntrack::follow(packet, tuple) {
        // SAFETY: the kernel keeps the value in place while the program runs.
        return forward::to_endpoint(packet, tuple, unsafe { &*flow });
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&tuple.key.dst) }.is_none() || tuple.key.dst.is_loopback4() {
        return passing(tuple.key.dst);
    }
    match sockets::published(tuple.key.dst, tuple.key.dport, tuple.key.proto) {
        Some(backend) => publish(packet, tuple, backend),
        None => Ok(Action::NotOurs),
    }
}

/// A packet without a tuple: an ICMP error about a flow of ours, or none of our business.
#[inline(always)]
fn untracked(packet: &Packet, tuple: &Tuple, reason: Reason) -> Result<Action, Reason> {
    if reason == Reason::UnknownL4 && icmp::is_error(tuple) {
        match icmp::error(packet, tuple, Zone::UPLINK) {
            Err(Reason::IcmpUnrelated) => {}
            decision => return decision,
        }
    }
    passing(tuple.key.dst)
}

/// Neither a flow of ours nor for the host: it may be routed anywhere but to a container.
#[inline(always)]
fn passing(dst: Addr) -> Result<Action, Reason> {
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if SUBNETS.get(Key::new(128, dst)).is_none() || unsafe { HOST_ADDRS.get(&dst) }.is_some() {
        return Ok(Action::NotOurs);
    }
    Err(Reason::DirectRouting)
}

/// The first packet to a published port.
#[inline(always)]
fn publish(packet: &Packet, tuple: &Tuple, backend: &Backend) -> Result<Action, Reason> {
    // The host may have opened a connection from that very port: mid-stream TCP and its UDP are its own.
    let Some(state) = tracker::first(tuple.key.proto, tuple.flags, false) else {
        return Ok(Action::NotOurs);
    };
    if tuple.key.proto == proto::UDP && sockets::socket(packet.skb(), &tuple.key) {
        return Ok(Action::NotOurs);
    }
    if SUBNETS.get(Key::new(128, tuple.key.src)).is_some() {
        return Err(Reason::SpoofedIp);
    }
    let back = Delivery::uplink(packet.ifindex());
    let new = conntrack::prepare()?;
    *new = NewFlow::publish(tuple.key, tuple.key.src, backend, back, state, conntrack::now());
    conntrack::begin(packet)?;
    let flow = conntrack::follow(packet, tuple).ok_or(Reason::CtInvalid)?;
    // SAFETY: the kernel keeps the value in place while the program runs.
    forward::to_endpoint(packet, tuple, unsafe { &*flow })
}

//! Everything that the outside sends to the host.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::fragments::LIMIT_UPLINK;
use netdp_common::policy::{self, Origin, Rule, Target};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{Addr, Backend, PortKey, Reason, State, Zone, proto, subnet};

use super::access::Packet;
use super::clock;
use super::conntrack;
use super::deny;
use super::direct;
use super::forward::{self, Action};
use super::fragments::{self, Part};
use super::icmp;
use super::mapping::{self, Admission};
use super::maps::{HOST_ADDRS, PORTS, SUBNETS};
use super::neighbour;
use super::parse::{self, Tuple};
use super::{sockets, sound, source, unasked};

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    // A bridge that leads out has containers' frames for the host too, and these are judged.
    if packet.is_watched() {
        return Ok(Action::NotOurs);
    }
    // A tagged frame is for the VLAN's own interface, which is an uplink of its own or none. VLAN 0 is none: the kernel
    // takes such a tag, which only gives a priority, for nothing.
    if !parse::is_ip(eth.ethertype) || packet.vlan() != 0 {
        return Ok(Action::NotOurs);
    }
    // What is malformed is not ours to judge: the host's stack drops it, and cannot route it to a container.
    // But it walks longer chains of extension headers than we do; the addresses stand before them.
    let network = parse::network(packet, eth.ethertype, tuple);
    if !matches!(network, Ok(()) | Err(Reason::ExtensionHeaders)) || sound::header(packet, tuple).is_err() {
        return Ok(Action::NotOurs);
    }
    // Where no prefilter runs; of what is for many too, as there.
    if deny::refused(tuple.key.src) && !neighbour::is_from_link(packet, tuple) {
        return Err(Reason::Denied);
    }
    if !packet.is_for_host() {
        if !packet.is_sorted() {
            return Ok(Action::NotOurs);
        }
        packet.mark_for_receiver();
    }
    if network.is_err() {
        return passing(tuple.key.dst);
    }
    let mut followed = None;
    if tuple.fragment {
        if !packet.is_sorted() {
            return unsorted(packet, tuple);
        }
        if let Part::Later = fragments::part(packet, tuple, Zone::UPLINK) {
            followed = conntrack::followed(tuple);
        }
        if followed.is_none() && !tuple.is_first {
            return passing(tuple.key.dst);
        }
    }
    let flow = match followed {
        Some(flow) => flow,
        None => {
            if let Err(reason) = parse::transport(packet, Zone::UPLINK, tuple) {
                return untracked(packet, tuple, reason);
            }
            match conntrack::follow(packet, tuple) {
                Some(flow) => flow,
                None => match new(packet, tuple)? {
                    Action::Published => conntrack::follow(packet, tuple).ok_or(Reason::CtInvalid)?,
                    other => return Ok(other),
                },
            }
        }
    };
    // SAFETY: the kernel keeps the value in place while the program runs.
    forward::to_endpoint(packet, tuple, unsafe { &*flow })
}

/// A fragment as it has arrived. Where it cannot be put in order, it is the host's, whose own stack does that for its own.
#[inline(always)]
fn unsorted(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    let dst = tuple.key.dst;
    if is_containers(tuple.key.src) {
        return Err(Reason::SpoofedIp);
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let is_ours = unsafe { HOST_ADDRS.get(&dst).is_some() || PORTS.get(PortKey::beside(dst)).is_some() };
    if tuple.ttl <= 1 || !is_ours || dst.is_loopback() {
        return passing(dst);
    }
    fragments::sort(packet, LIMIT_UPLINK).or_else(|_| passing(dst))
}

/// Nobody outside has a container's address: whatever answers would answer to the container. But for those on a LAN, which may
/// come by its router.
#[inline(always)]
fn is_containers(src: Addr) -> bool {
    SUBNETS.get(Key::new(128, src)).is_some_and(|row| *row & subnet::ON_LAN == 0)
}

/// A packet of no flow: [`Action::Published`] when one was begun.
#[inline(always)]
fn new(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    if is_containers(tuple.key.src) {
        return Err(Reason::SpoofedIp);
    }
    let (dst, is_loopback) = (tuple.key.dst, tuple.key.dst.is_loopback());
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if !is_loopback && unsafe { HOST_ADDRS.get(&dst) }.is_none() {
        return to_container(packet, tuple);
    }
    let backend = sockets::published(dst, tuple.key.dport, tuple.key.proto);
    let rule = decided(dst, Target::of_port(is_loopback, backend.is_some()))?;
    match backend {
        Some(backend) if matches!(rule, Rule::Published) => publish(packet, tuple, backend),
        // The stack takes no loopback address from a link.
        _ if is_loopback => Ok(Action::NotOurs),
        _ if tuple.key.proto == proto::TCP => unasked::judge(packet, tuple),
        _ => admit(packet, tuple),
    }
}

/// The rule for a packet of the outside, if that lets it pass.
#[inline(always)]
fn decided(dst: Addr, target: Target) -> Result<Rule, Reason> {
    let rule = policy::decide(Origin::Outside, 0, target, dst.is_v4());
    rule.verdict()?;
    Ok(rule)
}

/// Perhaps to a container at its own address: [`Action::Published`] when it may be reached there.
#[inline(always)]
fn to_container(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    if SUBNETS.get(Key::new(128, tuple.key.dst)).is_none() {
        return Ok(Action::NotOurs);
    }
    let ingress = packet.ifindex();
    direct::prepare(tuple, (Origin::Outside, 0, ingress), &Delivery::uplink(ingress))?;
    conntrack::begin_as_it_is()?;
    Ok(Action::Published)
}

/// To a port that nobody has published: perhaps one that a container is seen by.
#[inline(always)]
fn admit(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    let Admission::Prepared = mapping::admit(packet, tuple)? else { return Ok(Action::NotOurs) };
    conntrack::begin_as_it_is()?;
    Ok(Action::Published)
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
    let is_container = SUBNETS.get(Key::new(128, dst)).is_some() && unsafe { HOST_ADDRS.get(&dst) }.is_none();
    decided(dst, Target::of_address(is_container)).map(|_| Action::NotOurs)
}

/// The first packet to a published port.
#[inline(always)]
fn publish(packet: &Packet, tuple: &Tuple, backend: &Backend) -> Result<Action, Reason> {
    let Some(state) = tracker::first(tuple.key.proto, tuple.flags, true) else {
        return Ok(Action::NotOurs);
    };
    // The host may have opened a connection from that very port: mid-stream TCP and its UDP are its own. Nobody's is a
    // connection of before the datapath lost its state.
    if state != State::TcpSynSent && sockets::socket(packet.skb(), &tuple.key) {
        return Ok(Action::NotOurs);
    }
    if tuple.key.src.is_martian() {
        return Err(Reason::SpoofedIp);
    }
    decided(tuple.key.dst, source::target(Target::Published, &tuple.key, backend))?;
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let (now, back) = (clock::now(), Delivery::uplink(packet.ifindex()));
    let new = conntrack::prepare()?;
    if backend.addr.is_v4() == tuple.key.src.is_v4() {
        *new = NewFlow::publish(tuple.key, tuple.key.src, backend, back, state, now);
        conntrack::begin(packet)?;
    } else {
        // Between families the container sees its gateway, for it cannot have the client's address.
        *new = NewFlow::publish(tuple.key, backend.gateway, backend, back, state, now);
        conntrack::begin_translated(packet)?;
    }
    Ok(Action::Published)
}

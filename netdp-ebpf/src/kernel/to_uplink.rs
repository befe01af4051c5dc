//! What is about to leave by an uplink: the guard. No container address passes it untranslated.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::ipv4::Ipv4Header;
use netdp_common::{Exit, Reason, Zone, proto, tracker};

use super::access::Packet;
use super::conntrack;
use super::forward::Action;
use super::maps::{HOST_ADDRS, SUBNETS, UPLINKS};
use super::nat::{self, Hop};
use super::parse::{self, Tuple, ethertype, icmp_type};

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    if packet.is_translated() {
        return Ok(Action::NotOurs);
    }
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    if eth.ethertype != ethertype::IPV4 {
        return Ok(Action::NotOurs);
    }
    let Ok(header) = parse::ipv4(packet, tuple) else { return Ok(Action::NotOurs) };
    let src = tuple.key.src;
    // SAFETY: the controller replaces entries whole, and the maps are not preallocated.
    unsafe {
        if UPLINKS.get(packet.ifindex()).is_some_and(|uplink| uplink.addr4 == src) {
            return own(packet, &header, tuple);
        }
        if SUBNETS.get(Key::new(128, src)).is_none() || HOST_ADDRS.get(&src).is_some() {
            return Ok(Action::NotOurs);
        }
    }
    slow_path(packet, &header, tuple)
}

/// The host's own traffic, which passes. Where it begins something from a port that a masqueraded flow has to the same
/// remote, the flow gives way: the host comes first, and the container is given another port.
#[inline(always)]
fn own(packet: &Packet, header: &Ipv4Header, tuple: &mut Tuple) -> Result<Action, Reason> {
    if parse::transport(packet, header, Zone::UPLINK, tuple).is_err() {
        return Ok(Action::NotOurs);
    }
    let begins = match tuple.key.proto {
        proto::ICMP => tuple.flags == icmp_type::ECHO_REQUEST,
        proto => tracker::first(proto, tuple.flags, false).is_some(),
    };
    if begins {
        conntrack::give_way(&tuple.key.reversed(Zone::UPLINK));
    }
    Ok(Action::NotOurs)
}

/// A container's packet that the host's stack has routed: translated when its flow is known, else dropped.
#[inline(always)]
fn slow_path(packet: &Packet, header: &Ipv4Header, tuple: &mut Tuple) -> Result<Action, Reason> {
    parse::transport(packet, header, Zone::CONTAINER, tuple).map_err(|_| Reason::Unmasqueraded)?;
    let flow = conntrack::follow(packet, tuple).ok_or(Reason::Unmasqueraded)?;
    // SAFETY: the kernel keeps the value in place while the program runs.
    let flow = unsafe { &*flow };
    if flow.exit != Exit::UPLINK {
        return Err(Reason::Unmasqueraded);
    }
    nat::rewrite(packet, tuple, flow, Hop::None)?;
    Ok(Action::Translated)
}

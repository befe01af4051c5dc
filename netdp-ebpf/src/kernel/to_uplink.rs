//! What is about to leave by an uplink: the guard. No container address passes it untranslated.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::{Exit, Reason, Zone, mapping::is_by_address, proto, tracker};

use super::access::Packet;
use super::conntrack;
use super::forward::Action;
use super::fragments::{self, Part};
use super::header::Hop;
use super::mapping;
use super::maps::{HOST_ADDRS, SUBNETS};
use super::nat;
use super::parse::{self, Tuple};

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    let network = parse::network(packet, eth.ethertype, tuple);
    // The stack walks longer chains of extension headers than we do; the addresses stand before them.
    if !matches!(network, Ok(()) | Err(Reason::ExtensionHeaders)) {
        return Ok(Action::NotOurs);
    }
    let src = tuple.key.src;
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    unsafe {
        if HOST_ADDRS.get(&src).is_some() {
            return own(packet, tuple);
        }
    }
    if SUBNETS.get(Key::new(128, src)).is_none() {
        return Ok(Action::NotOurs);
    }
    network.map_err(|_| Reason::Unmasqueraded)?;
    slow_path(packet, tuple)
}

/// The host's own traffic, which passes. Where it begins something from a port that a masqueraded flow has to the same
/// remote, the flow gives way: the host comes first, and the container is given another port. Where there is none to give, the
/// remote is the host's as long as it speaks to it.
#[inline(always)]
fn own(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    if parse::transport(packet, Zone::UPLINK, tuple).is_err() {
        return Ok(Action::NotOurs);
    }
    let begins = match tuple.key.proto {
        proto::ICMP | proto::ICMPV6 => parse::is_request(tuple),
        proto => tracker::first(proto, tuple.flags, false).is_some(),
    };
    if begins {
        conntrack::give_way(&tuple.key.reversed(Zone::UPLINK));
        if is_by_address(tuple.key.proto) {
            mapping::hold_for_host(&tuple.key);
        }
    }
    Ok(Action::NotOurs)
}

/// A container's packet that the host's stack has routed: translated when its flow is known, else dropped.
#[inline(always)]
fn slow_path(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let mut followed = None;
    // The stack cuts in order.
    if tuple.fragment
        && let Part::Later = fragments::part(packet, tuple, Zone::CONTAINER)
    {
        followed = conntrack::followed(tuple);
    }
    let flow = match followed {
        Some(flow) => flow,
        None => {
            parse::transport(packet, Zone::CONTAINER, tuple).map_err(|_| Reason::Unmasqueraded)?;
            conntrack::follow(packet, tuple).ok_or(Reason::Unmasqueraded)?
        }
    };
    // SAFETY: the kernel keeps the value in place while the program runs.
    let flow = unsafe { &*flow };
    if flow.exit != Exit::UPLINK {
        return Err(Reason::Unmasqueraded);
    }
    nat::rewrite(packet, tuple, flow, Hop::None)?;
    Ok(Action::Translated)
}

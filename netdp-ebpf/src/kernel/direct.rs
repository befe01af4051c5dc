//! Containers that are reached at their own addresses from beyond their network, where its gateway mode says so: `routed`,
//! `nat-unprotected`; or where direct routing is allowed, to everybody or by trusted interfaces. Such a flow is tracked like any
//! other, so that its replies pass, and nothing of it is translated.

use netdp_common::policy::{self, Origin, Rule, Target};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{FlowKey, PortKey, Reason, port_flags};

use super::clock;
use super::conntrack;
use super::maps::PORTS;
use super::parse::Tuple;
use super::source;

/// What a container's address is to somebody who is not of its network, in a packet that has come in by this interface.
#[inline(always)]
fn target(key: &FlowKey, ingress: u32) -> Target {
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    unsafe {
        match PORTS.get(PortKey::beside(key.dst)) {
            None => Target::Container,
            Some(beside) => {
                let is_published = PORTS.get(PortKey::new(key.dst, key.dport, key.proto)).is_some();
                let is_asked = beside.flags & port_flags::FILTERED != 0;
                let is_trusted = is_asked && source::is_trusted(&key.dst, ingress);
                Target::of_container(beside.flags, is_trusted, key.proto, is_published)
            }
        }
    }
}

/// Prepares the flow of a first packet to a container's address, if that may be reached. `sender` are the flags of the network
/// of a container that sends it, and `ingress` the interface by which the packet has come to the host: the bridge of that
/// network, or an uplink.
#[inline(never)]
pub(super) fn prepare(
    tuple: &Tuple,
    (origin, sender, ingress): (Origin, u32, u32),
    back: &Delivery,
) -> Result<(), Reason> {
    let key = &tuple.key;
    let (target, v4) = (target(key, ingress), key.dst.is_v4());
    let rule = policy::decide(origin, sender, target, v4);
    rule.verdict()?;
    let state = tracker::first(key.proto, tuple.flags, true).ok_or(Reason::CtInvalid)?;
    if key.src.is_martian() {
        return Err(Reason::SpoofedIp);
    }
    if let Rule::RoutedPort | Rule::DirectPort = rule {
        // SAFETY: as above.
        let port = unsafe { PORTS.get(PortKey::new(key.dst, key.dport, key.proto)) };
        let target = source::target(target, key, port.ok_or(Reason::Unpublished)?);
        policy::decide(origin, sender, target, v4).verdict()?;
    }
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    // SAFETY: as above.
    let to = unsafe { PORTS.get(PortKey::beside(key.dst)) }.ok_or(Reason::DirectRouting)?;
    *conntrack::prepare()? = NewFlow::direct(*key, to, *back, state, clock::now());
    Ok(())
}

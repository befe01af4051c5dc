//! Containers that are reached at their own addresses from beyond their network, where its gateway mode says so: `routed`,
//! `nat-unprotected`. Such a flow is tracked like any other, so that its replies pass, and nothing of it is translated.

use netdp_common::policy::{self, Origin, Rule, Target};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{FlowKey, PortKey, Reason};

use super::clock;
use super::conntrack;
use super::maps::PORTS;
use super::parse::Tuple;
use super::source;

/// What a container's address is to somebody who is not of its network.
#[inline(always)]
fn target(key: &FlowKey) -> Target {
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    unsafe {
        match PORTS.get(PortKey::beside(key.dst)) {
            None => Target::Container,
            Some(beside) => {
                let is_published = PORTS.get(PortKey::new(key.dst, key.dport, key.proto)).is_some();
                Target::of_container(beside.flags, key.proto, is_published)
            }
        }
    }
}

/// Prepares the flow of a first packet to a container's address, if that may be reached. `sender` are the flags of the network
/// of a container that sends it.
#[inline(never)]
pub(super) fn prepare(tuple: &Tuple, origin: Origin, sender: u32, back: &Delivery) -> Result<(), Reason> {
    let key = &tuple.key;
    let rule = policy::decide(origin, sender, target(key), key.dst.is_v4());
    rule.verdict()?;
    let state = tracker::first(key.proto, tuple.flags, true).ok_or(Reason::CtInvalid)?;
    if key.src.is_martian() {
        return Err(Reason::SpoofedIp);
    }
    if let Rule::RoutedPort = rule {
        // SAFETY: as above.
        let port = unsafe { PORTS.get(PortKey::new(key.dst, key.dport, key.proto)) };
        source::check(key, port.ok_or(Reason::Unpublished)?)?;
    }
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    // SAFETY: as above.
    let to = unsafe { PORTS.get(PortKey::beside(key.dst)) }.ok_or(Reason::DirectRouting)?;
    *conntrack::prepare()? = NewFlow::direct(*key, to, *back, state, clock::now());
    Ok(())
}

//! Processes of the host that talk to a published port on a local address: without a proxy, at the egress of `lo`.

use netdp_common::policy::{self, Origin, Rule, Target};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{Backend, Reason, Zone, proto};

use super::access::Packet;
use super::clock;
use super::conntrack;
use super::forward::{self, Action};
use super::parse::{self, Tuple};
use super::sockets;

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    if parse::network(packet, eth.ethertype, tuple).is_err() {
        return Ok(Action::NotOurs);
    }
    if !matches!(tuple.key.proto, proto::TCP | proto::UDP | proto::SCTP) {
        return Ok(Action::NotOurs);
    }
    if parse::transport(packet, Zone::HOST, tuple).is_err() {
        return Ok(Action::NotOurs);
    }
    let flow = match conntrack::follow(packet, tuple) {
        Some(flow) => flow,
        None => match new(packet, tuple)? {
            Action::Published => conntrack::follow(packet, tuple).ok_or(Reason::CtInvalid)?,
            other => return Ok(other),
        },
    };
    // SAFETY: the kernel keeps the value in place while the program runs.
    forward::to_endpoint(packet, tuple, unsafe { &*flow })
}

/// A packet of no flow: [`Action::Published`] when one was begun.
#[inline(always)]
fn new(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    // Mid-stream TCP without a flow is the host's own: no look-up for it.
    if tracker::first(tuple.key.proto, tuple.flags, false).is_none() {
        return Ok(Action::NotOurs);
    }
    let dst = tuple.key.dst;
    let backend = sockets::published(dst, tuple.key.dport, tuple.key.proto);
    let target = Target::of_port(dst.is_loopback(), backend.is_some());
    let rule = policy::decide(Origin::Host, 0, target, dst.is_v4());
    rule.verdict()?;
    match backend {
        Some(backend) if matches!(rule, Rule::Published) => publish(packet, tuple, backend),
        _ => Ok(Action::NotOurs),
    }
}

/// The first packet to a published port: the container sees its gateway, which is where its replies go. The port's
/// sources are not looked up, as the rules do not ask them of the host, which reaches the container's own address anyway.
#[inline(always)]
fn publish(packet: &Packet, tuple: &Tuple, backend: &Backend) -> Result<Action, Reason> {
    if tuple.key.proto == proto::UDP && sockets::socket(packet.skb(), &tuple.key) {
        return Ok(Action::NotOurs);
    }
    let state = tracker::first(tuple.key.proto, tuple.flags, false).ok_or(Reason::CtInvalid)?;
    let back = Delivery::loopback(packet.ifindex());
    let new = conntrack::prepare()?;
    *new = NewFlow::publish(tuple.key, backend.gateway, backend, back, state, clock::now());
    conntrack::begin_translated(packet)?;
    Ok(Action::Published)
}

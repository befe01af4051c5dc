//! What the host's stack is about to send to a network: the guard of the containers. The host itself reaches them, also
//! those of an internal network; what it has merely routed, from whichever interface, does not. Who may reach a container
//! from beyond does so by a published port, and that way does not lead through here.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::Reason;
use netdp_common::policy::{self, Origin, Target};

use super::access::Packet;
use super::forward::Action;
use super::maps::SUBNETS;
use super::parse::{self, Tuple};

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let origin = if packet.came_from_stack() { Origin::Host } else { Origin::Outside };
    // Who reaches any container is asked nothing.
    if policy::decide(origin, 0, Target::of_address(true), true).verdict().is_ok() {
        return Ok(Action::NotOurs);
    }
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    // The stack walks longer chains of extension headers than we do; the addresses stand before them.
    if !matches!(parse::network(packet, eth.ethertype, tuple), Ok(()) | Err(Reason::ExtensionHeaders)) {
        return Ok(Action::NotOurs);
    }
    let dst = tuple.key.dst;
    let target = Target::of_address(SUBNETS.get(Key::new(128, dst)).is_some());
    policy::decide(origin, 0, target, dst.is_v4()).verdict()?;
    Ok(Action::NotOurs)
}

//! What the host's stack is about to send to a network: the guard of the containers. The host itself reaches them, also
//! those of an internal network; what it has merely routed, from whichever interface, does not. Who may reach a container
//! from beyond does so by a published port, and that way does not lead through here.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::Reason;

use super::access::Packet;
use super::forward::Action;
use super::maps::SUBNETS;
use super::parse::{self, Tuple};

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    if packet.came_from_stack() {
        return Ok(Action::NotOurs);
    }
    let Ok(eth) = parse::ethernet(packet) else { return Ok(Action::NotOurs) };
    // The stack walks longer chains of extension headers than we do; the addresses stand before them.
    if !matches!(parse::network(packet, eth.ethertype, tuple), Ok(()) | Err(Reason::ExtensionHeaders)) {
        return Ok(Action::NotOurs);
    }
    match SUBNETS.get(Key::new(128, tuple.key.dst)) {
        Some(_) => Err(Reason::DirectRouting),
        None => Ok(Action::NotOurs),
    }
}

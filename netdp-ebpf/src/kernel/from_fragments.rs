//! What comes back from the namespace where fragments are put in order: it goes once more where it had come from.

use netdp_common::fragments::FROM;
use netdp_common::{Reason, csum};

use super::access::Packet;
use super::forward::{self, Action};
use super::fragments;
use super::maps::{LINKS, UPLINKS};
use super::parse::{self, ETH_LEN, Tuple};

/// Offset of the TTL in the frame, and of the hop limit.
const TTL: u32 = ETH_LEN + 8;
const HOP_LIMIT: u32 = ETH_LEN + 7;

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let eth = parse::ethernet(packet)?;
    let ifindex: u32 = packet.read(FROM).ok_or(Reason::Malformed)?;
    // What the stack there says of itself.
    if ifindex == 0 || !parse::is_ip(eth.ethertype) {
        return Ok(Action::NotOurs);
    }
    parse::network(packet, eth.ethertype, tuple)?;
    // SAFETY: the controller replaces entries whole, and the maps are not preallocated.
    unsafe {
        match LINKS.get(ifindex) {
            Some(link) => packet.write(0, &[link.gateway_mac, link.mac]).ok_or(Reason::Malformed)?,
            None if UPLINKS.get(ifindex).is_none() => return Err(Reason::Fragment),
            None => {}
        }
    }
    lengthen(packet, eth.ethertype).ok_or(Reason::RewriteFailed)?;
    fragments::credit(ifindex, packet.len());
    packet.mark_sorted();
    forward::again(ifindex)
}

/// Takes back what the router in that namespace has taken from the time to live.
#[inline(always)]
fn lengthen(packet: &Packet, ethertype: u16) -> Option<()> {
    if ethertype == parse::ethertype::IPV6 {
        let limit: u8 = packet.read(HOP_LIMIT)?;
        return packet.write(HOP_LIMIT, &limit.wrapping_add(1));
    }
    let [word, check]: [u16; 2] = packet.read(TTL)?;
    let [ttl, proto] = word.to_ne_bytes();
    let longer = u16::from_ne_bytes([ttl.wrapping_add(1), proto]);
    packet.write(TTL, &[longer, csum::replace16(check, word, longer)])
}

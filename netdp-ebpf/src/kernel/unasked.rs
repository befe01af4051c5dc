//! A SYN from outside that nobody asked for, to a port that a container is seen by (RFC 5382, REQ-4).
//!
//! It is not answered at once: the container may be about to send its own, as both ends of a connection do that is opened
//! through two NATs. Then the sender's next SYN meets that flow. The packet is not kept: its sender sends it again, and what
//! comes later than the silence is left to the host's stack, which answers that nobody listens.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use netdp_common::tracker;
use netdp_common::{Reason, mapping};

use super::access::Packet;
use super::clock;
use super::conntrack::BPF_ANY;
use super::forward::Action;
use super::maps::UNASKED;
use super::parse::Tuple;
use super::sockets;

/// Judges a packet of TCP for the host that belongs to no flow.
#[inline(never)]
pub(super) fn judge(packet: &Packet, tuple: &Tuple) -> Result<Action, Reason> {
    let key = &tuple.key;
    if !tracker::begins(tuple.flags)
        || !super::mapping::is_held(key.dport, clock::now())
        || sockets::socket(packet.skb(), key)
    {
        return Ok(Action::NotOurs);
    }
    // SAFETY: the helper takes nothing and reads a clock.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if let Some(first) = UNASKED.get_ptr(key) {
        // SAFETY: the kernel keeps the value in place while the program runs; it is read only. A row that is evicted
        // meanwhile may be another one's, which is then silent for longer.
        let waited = now.wrapping_sub(unsafe { *first });
        if mapping::is_still_silent(waited) {
            return Err(Reason::UnaskedSyn);
        }
        if mapping::is_answered(waited) {
            return Ok(Action::NotOurs);
        }
    }
    // What cannot be remembered is not answered.
    let _ = UNASKED.insert(key, &now, BPF_ANY);
    Err(Reason::UnaskedSyn)
}

//! The largest segment that an end of a TCP connection announces (RFC 9293, 3.7.1) is held to what fits the way out.
//!
//! A container knows the MTU of its own link. Where the way beyond the uplink takes less (a tunnel, PPPoE), the remote would send
//! what does not fit, and be told so by an ICMP error that many networks drop: the connection would hang with the first full segment.

use aya_ebpf::bindings::__sk_buff;
use netdp_common::tracker::tcp_flags::SYN;
use netdp_common::{Reason, proto};

use super::access::Packet;
use super::call;
use super::nat;
use super::parse::Tuple;

/// TCP without options, and where its checksum and the length of its header stand in it.
const TCP_LEN: u32 = 20;
const TCP_CHECK: u32 = 16;
const TCP_OFFSET: u32 = 12;
/// Numbers of options (RFC 9293, 3.2).
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;
/// So many options are looked at. All known stacks put the segment size first; who hides it behind nine others keeps it.
const OPTIONS: u32 = 10;
/// A way with less takes no IP (RFC 791), and its MTU was not told.
const SMALLEST_MTU: u32 = 68;

/// Whether the packet announces what its sender takes.
#[inline(always)]
pub(super) fn is_announced(tuple: &Tuple) -> bool {
    tuple.key.proto == proto::TCP && tuple.flags & SYN != 0
}

/// Lowers what is announced to what a way of this MTU takes.
#[inline(always)]
pub(super) fn hold(packet: &Packet, tuple: &Tuple, mtu: u32) -> Result<(), Reason> {
    // Options are not counted (RFC 6691).
    let headers = if tuple.key.dst.is_v4() { 20 } else { 40 } + TCP_LEN;
    if mtu < SMALLEST_MTU {
        return Ok(());
    }
    call::outcome(tcp_mss(packet.skb(), tuple.l4, mtu - headers))
}

/// [`hold`], as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tcp_mss(skb: *mut __sk_buff, l4: u32, largest: u32) -> u32 {
    call::failed(lower(&Packet::of(skb), l4, largest))
}

/// Options that make no sense are the receiver's to judge.
#[inline(always)]
fn lower(packet: &Packet, l4: u32, largest: u32) -> Result<(), Reason> {
    let Some(words) = packet.load::<u8>(l4 + TCP_OFFSET) else { return Ok(()) };
    let end = l4 + u32::from(words >> 4) * 4;
    let mut at = l4 + TCP_LEN;
    for _ in 0..OPTIONS {
        if at + u32::from(MSS_LEN) > end {
            return Ok(());
        }
        let Some([kind, len, high, low]) = packet.load::<[u8; 4]>(at) else { return Ok(()) };
        at += match (kind, len) {
            (END, _) => return Ok(()),
            (NOP, _) => 1,
            (MSS, MSS_LEN) => return set(packet, l4, at, (u16::from_be_bytes([high, low]), largest)),
            (_, 0 | 1) => return Ok(()),
            _ => u32::from(len),
        };
    }
    Ok(())
}

/// `announced` is the size, and the largest that fits.
#[inline(always)]
fn set(packet: &Packet, l4: u32, at: u32, announced: (u16, u32)) -> Result<(), Reason> {
    let (size, largest) = announced;
    if u32::from(size) <= largest {
        return Ok(());
    }
    let (from, to) = (size.to_be(), (largest as u16).to_be());
    // Behind an odd number of bytes the checksum has the halves of the word the other way round (RFC 1071, 2).
    let is_odd = (at - l4) & 1 == 1;
    let (before, after) = if is_odd { (from.swap_bytes(), to.swap_bytes()) } else { (from, to) };
    nat::replace(packet, l4 + TCP_CHECK, u64::from(before), u64::from(after), 2)?;
    packet.write(at + 2, &to).ok_or(Reason::RewriteFailed)
}

//! Fragments: only the first one has ports, and it need not come first.
//!
//! So the kernel puts them in order: in a namespace of its own a datagram is put together, as its receiver would, and cut
//! again as it was. What overlaps ends there. The fragments come back by [`super::from_fragments`], one after the other,
//! go once more where they came from, and follow the first one by the identification that they share.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use netdp_common::fragments::{Pending, macs, window};
use netdp_common::ipv6::Extension;
use netdp_common::{FlowKey, Reason, Zone, proto};

use super::access::Packet;
use super::call;
use super::conntrack::BPF_ANY;
use super::forward::{self, Action};
use super::maps::{FRAGMENTS, PENDING, SORTER};
use super::parse::{self, ETH_LEN, Tuple};
use super::scratch;

/// What a fragment is. Without payloads, as [`Action`].
#[repr(u32)]
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Of a datagram that nothing is known of.
    Unknown,
    /// The first one: it has ports.
    First,
    /// One of the others; the tuple has the ports of the first.
    Later,
}

/// Bits of the offset in an IPv4 header.
const OFFSET4: u16 = 0x1fff;
/// The same in a fragment header of IPv6.
const OFFSET6: u16 = 0xfff8;

/// Tells what a fragment is, that came in by `zone`, in order. The first one is remembered.
#[inline(always)]
pub(super) fn part(packet: &Packet, tuple: &mut Tuple, zone: Zone) -> Part {
    let number = match zone {
        Zone::CONTAINER => 0,
        _ => 1,
    };
    match fragment_part(packet.skb(), tuple, number) {
        1 => Part::First,
        2 => Part::Later,
        _ => Part::Unknown,
    }
}

/// [`part`], as a call that is verified once. `is_outside` is zero for a container's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fragment_part(skb: *mut __sk_buff, tuple: *mut Tuple, is_outside: u32) -> u32 {
    if tuple.is_null() {
        return Part::Unknown as u32;
    }
    let zone = if is_outside == 0 { Zone::CONTAINER } else { Zone::UPLINK };
    // SAFETY: it is the reference of `part`, and nobody else's until this returns.
    part_of(&Packet::of(skb), unsafe { &mut *tuple }, zone) as u32
}

#[inline(always)]
fn part_of(packet: &Packet, tuple: &mut Tuple, zone: Zone) -> Part {
    let Some((id, is_first)) = place(packet, tuple) else { return Part::Unknown };
    let mut datagram = FlowKey { zone, pad: 0, ..tuple.key };
    datagram.name_datagram(id);
    if is_first {
        return first(packet, tuple, zone, &datagram);
    }
    // SAFETY: it is copied at once; that the entry is another's by then is as likely as that its name was.
    let Some(key) = (unsafe { FRAGMENTS.get(&datagram) }) else { return Part::Unknown };
    tuple.key = *key;
    Part::Later
}

/// A checksum of SCTP covers all of the datagram, and changes with the ports by how much follows them: not known here.
#[inline(always)]
fn first(packet: &Packet, tuple: &mut Tuple, zone: Zone, datagram: &FlowKey) -> Part {
    tuple.is_first = tuple.key.proto != proto::SCTP && !parse::hides_transport(tuple);
    if parse::transport(packet, zone, tuple).is_err() {
        tuple.is_first = false;
        return Part::Unknown;
    }
    let Some(Tuple { key, .. }) = scratch::known() else { return Part::Unknown };
    // Never full; the others are dropped when it fails.
    let _ = FRAGMENTS.insert(datagram, key, BPF_ANY);
    Part::First
}

/// The identification of a fragment's datagram, and whether it begins it.
#[inline(always)]
fn place(packet: &Packet, tuple: &Tuple) -> Option<(u32, bool)> {
    if tuple.key.dst.is_v4() {
        let [id, offset]: [u16; 2] = packet.load(ETH_LEN + 4)?;
        return Some((u32::from(id), u16::from_be(offset) & OFFSET4 == 0));
    }
    let header: Extension = packet.load(tuple.l4 - 8)?;
    Some((header.id_be, u16::from_be(header.fragment_be) & OFFSET6 == 0))
}

/// Has a fragment put in order. `limit` is how much may wait of what its interface has sent.
#[inline(always)]
pub(super) fn sort(packet: &Packet, limit: u32) -> Result<Action, Reason> {
    call::decision(fragment_sort(packet.skb(), limit))
}

/// [`sort`], as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fragment_sort(skb: *mut __sk_buff, limit: u32) -> u32 {
    call::decided(send(&Packet::of(skb), limit))
}

#[inline(always)]
fn send(packet: &Packet, limit: u32) -> Result<Action, Reason> {
    let sorter = SORTER.get(0).copied().unwrap_or(0);
    if sorter == 0 {
        return Err(Reason::Fragment);
    }
    let ifindex = packet.ifindex();
    // SAFETY: the helper takes nothing and reads a clock.
    let now = window(unsafe { bpf_ktime_get_coarse_ns() });
    // Two CPUs may count one for two: a bound, not a bill.
    let pending = pending(ifindex).plus(packet.len(), now, limit).ok_or(Reason::FragmentLimit)?;
    let _ = PENDING.insert(ifindex, pending, BPF_ANY);
    packet.write(0, &macs(ifindex)).ok_or(Reason::Malformed)?;
    forward::to_sorter(sorter)
}

/// Takes note of what has come back.
#[inline(always)]
pub(super) fn credit(ifindex: u32, len: u32) {
    let _ = PENDING.insert(ifindex, pending(ifindex).minus(len), BPF_ANY);
}

#[inline(always)]
fn pending(ifindex: u32) -> Pending {
    // SAFETY: it is copied at once; whatever it is by then, it is a number of bytes.
    unsafe { PENDING.get(ifindex) }.copied().unwrap_or(Pending::NONE)
}

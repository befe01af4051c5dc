//! ICMP errors of our own: who has sent a packet that goes no further is told why. The packet becomes the answer: it is cut
//! to what is quoted, headers are set before it, and it goes out by the interface that it came in by.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_REDIRECT};
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail};
use netdp_common::answer::{self, Answer};
use netdp_common::ipv4::Ipv4Header;
use netdp_common::ipv6::{self, Extension, Ipv6Header};
use netdp_common::{Addr, Reason, Zone, csum, proto};

use super::access::Packet;
use super::conntrack::BPF_ANY;
use super::family;
use super::maps::{ANSWERED, HOST_ADDRS, LINKS};
use super::parse::{ETH_LEN, EthHeader, Tuple};
use super::scratch;
use super::sum;

/// Length of an IPv4 header without options, and of an ICMP header.
const IPV4_LEN: u32 = 20;
const ICMP_LEN: u32 = 8;
/// Hops that an answer may make, as of every packet that a host begins.
const HOPS: u8 = 64;
/// Precedence "internetwork control" (RFC 1812, 4.3.2.5), as IPv4's and as IPv6's header has it.
const CONTROL: u8 = 0xc0;
/// "Don't fragment": an answer is one piece, and needs no identification then (RFC 6864, 4.1).
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// The offset of a fragment in the field of an IPv4 header and of an IPv6 fragment header, in host order.
const OFFSET4: u16 = 0x1fff;
const OFFSET6: u16 = 0xfff8;

/// What follows the IP header of an answer.
#[repr(C)]
#[derive(Clone, Copy)]
struct IcmpHeader {
    kind: [u8; 2],
    check: u16,
    /// Of "too big" the MTU, in network order.
    rest: u32,
}

/// Tells the sender of a packet that is dropped for this reason, if there is something to tell: then the packet has been
/// redirected, and what becomes of it is returned.
#[inline(always)]
pub(super) fn give(packet: &Packet, reason: Reason) -> Option<Answer> {
    let answer = Answer::to(reason)?;
    (answer_make(packet.skb(), answer as u32) == GIVEN).then_some(answer)
}

const NOT_GIVEN: u32 = 0;
const GIVEN: u32 = 1;

/// Makes the answer of this number, as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer_make(skb: *mut __sk_buff, number: u32) -> u32 {
    let answer = match number {
        0 => Answer::TimeExceeded,
        1 => Answer::TooBig,
        _ => Answer::Prohibited,
    };
    if make(&Packet::of(skb), answer).is_some() { GIVEN } else { NOT_GIVEN }
}

#[inline(always)]
fn make(packet: &Packet, answer: Answer) -> Option<()> {
    let tuple = scratch::known()?;
    let eth: EthHeader = packet.load(0)?;
    let rest = rest(tuple, answer)?;
    may_be_answered(packet, tuple, &eth)?;
    let source = source(packet, tuple, answer)?;
    within_limit(packet.ifindex())?;
    let quoted = quote(packet, tuple)?;
    packet.write(0, &EthHeader { dst: eth.src, src: eth.dst, ethertype: eth.ethertype })?;
    let header = IcmpHeader { kind: answer.kind(source.is_v4()), check: 0, rest };
    write(packet, (source, &tuple.key.src), quoted + ICMP_LEN, header)?;
    // SAFETY: the helper takes numbers.
    let code = unsafe { bpf_redirect(packet.ifindex(), 0) };
    (code == i64::from(TC_ACT_REDIRECT)).then_some(())
}

/// The last word of the ICMP header. Too big is only what its sender has forbidden to cut, or nobody may.
#[inline(always)]
fn rest(tuple: &Tuple, answer: Answer) -> Option<u32> {
    let Answer::TooBig = answer else { return Some(0) };
    let mtu = scratch::answer()?.mtu();
    if !tuple.dont_fragment || mtu == 0 {
        return None;
    }
    let (mtu, smallest) = (u32::from(mtu), answer::smallest_mtu(tuple.key.dst.is_v4()));
    Some(if mtu < smallest { smallest } else { mtu }.to_be())
}

/// Whether it is a packet that may be answered (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)).
#[inline(always)]
fn may_be_answered(packet: &Packet, tuple: &Tuple, eth: &EthHeader) -> Option<()> {
    let key = &tuple.key;
    let is_error = proto::is_icmp(key.proto) && answer::is_error(key.proto == proto::ICMP, tuple.flags);
    let is_for_many = key.dst.is_group() || eth.dst.is_group();
    if is_error || is_for_many || key.src.is_martian() || is_later_fragment(packet, tuple)? {
        return None;
    }
    // Of a super-packet nobody knows how many its sender has sent.
    (key.zone != Zone::UPLINK || packet.gso_size() == 0).then_some(())
}

#[inline(always)]
fn is_later_fragment(packet: &Packet, tuple: &Tuple) -> Option<bool> {
    if !tuple.fragment {
        return Some(false);
    }
    if tuple.key.dst.is_v4() {
        let header: Ipv4Header = packet.load(ETH_LEN)?;
        return Some(u16::from_be(header.fragment_be) & OFFSET4 != 0);
    }
    // Behind the fragment header the walk over extension headers ends.
    let header: Extension = packet.load(tuple.l4.wrapping_sub(size_of::<Extension>() as u32))?;
    Some(u16::from_be(header.fragment_be) & OFFSET6 != 0)
}

/// Who answers: to a container its gateway; to the outside the address that was written to, which is the host's. That the
/// host has no room is none of the outside's business.
#[inline(always)]
fn source<'a>(packet: &Packet, tuple: &'a Tuple, answer: Answer) -> Option<&'a Addr> {
    // SAFETY: the controller replaces entries whole, and the maps are not preallocated.
    unsafe {
        if let Some(link) = LINKS.get(packet.ifindex()) {
            return Some(if tuple.key.dst.is_v4() { &link.gateway4 } else { &link.gateway6 });
        }
        let is_ours = HOST_ADDRS.get(&tuple.key.dst).is_some();
        (is_ours && answer.is_routine()).then_some(&tuple.key.dst)
    }
}

/// Takes a token of the interface. Two processors that do so at once may take one for two.
#[inline(always)]
fn within_limit(ifindex: u32) -> Option<()> {
    // SAFETY: the helper takes nothing and reads a clock.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let Some(full) = ANSWERED.get_ptr_mut(&ifindex) else {
        return ANSWERED.insert(&ifindex, &answer::spend(0, now)?, BPF_ANY).ok();
    };
    // SAFETY: the kernel keeps the value in place while the program runs; it is an aligned u64.
    unsafe { *full = answer::spend(*full, now)? };
    Some(())
}

/// Cuts the packet to what is quoted of it, makes room for the headers before it, and says how much that is.
#[inline(always)]
fn quote(packet: &Packet, tuple: &Tuple) -> Option<u32> {
    let is_v4 = tuple.key.dst.is_v4();
    let room = ICMP_LEN + if is_v4 { IPV4_LEN } else { ipv6::LEN };
    let (datagram, most) = (tuple.end.wrapping_sub(ETH_LEN), answer::longest(is_v4) - room);
    let quoted = if datagram < most { datagram } else { most };
    // SAFETY: the helpers take the context as it is, and numbers; no pointer into the frame is held. Zero is success.
    let failed = unsafe {
        bpf_skb_change_tail(packet.skb(), ETH_LEN + quoted, 0) != 0
            || bpf_skb_adjust_room(packet.skb(), room as i32, BPF_ADJ_ROOM_MAC, 0) != 0
    };
    (!failed).then_some(quoted)
}

/// Writes the headers, and then the checksum over all that follows that of IP, which is `len` bytes.
#[inline(always)]
fn write(packet: &Packet, (src, dst): (&Addr, &Addr), len: u32, header: IcmpHeader) -> Option<()> {
    let mut header = header;
    let (l4, pseudo) = if src.is_v4() {
        write_ipv4(packet, src, dst, len)?;
        (ETH_LEN + IPV4_LEN, 0)
    } else {
        write_ipv6(packet, src, dst, len)?;
        (ETH_LEN + ipv6::LEN, csum::pseudo_header6(*src, *dst, len, proto::ICMPV6))
    };
    packet.write(l4, &header)?;
    header.check = !sum::of(packet, l4, l4 + len, pseudo)?;
    packet.write(l4, &header)
}

#[inline(always)]
fn write_ipv4(packet: &Packet, src: &Addr, dst: &Addr, len: u32) -> Option<()> {
    let mut header = Ipv4Header {
        version_ihl: 0x45,
        tos: CONTROL,
        total_len_be: ((IPV4_LEN + len) as u16).to_be(),
        id_be: 0,
        fragment_be: DONT_FRAGMENT,
        ttl: HOPS,
        proto: proto::ICMP,
        check: 0,
        src_be: src.v4_be(),
        dst_be: dst.v4_be(),
    };
    header.check = family::checksum(&header);
    packet.write(ETH_LEN, &header)
}

#[inline(always)]
fn write_ipv6(packet: &Packet, src: &Addr, dst: &Addr, len: u32) -> Option<()> {
    let header = Ipv6Header {
        version_be: (6 << 28 | u32::from(CONTROL) << 20).to_be(),
        payload_len_be: (len as u16).to_be(),
        next: proto::ICMPV6,
        hop_limit: HOPS,
        src: *src,
        dst: *dst,
    };
    packet.write(ETH_LEN, &header)
}

//! From headers to the tuple that names a flow.

use netdp_common::ipv4::Ipv4Header;
use netdp_common::ipv6::{self, Extension, Ipv6Header};
use netdp_common::tracker::{self, Segment};
use netdp_common::{FlowKey, Mac, Port, Reason, Zone, proto};

use super::access::Packet;

/// Length of an Ethernet header: where the network header begins.
pub(super) const ETH_LEN: u32 = 14;

/// EtherTypes (IEEE 802 numbers), as they stand in [`EthHeader`].
pub(super) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800_u16.to_be();
    pub(crate) const ARP: u16 = 0x0806_u16.to_be();
    pub(crate) const IPV6: u16 = 0x86dd_u16.to_be();
}

/// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861) messages.
pub(super) mod icmp_type {
    pub(crate) const ECHO_REPLY: u8 = 0;
    pub(crate) const UNREACHABLE: u8 = 3;
    pub(crate) const REDIRECT: u8 = 5;
    pub(crate) const ECHO_REQUEST: u8 = 8;
    pub(crate) const TIME_EXCEEDED: u8 = 11;
    pub(crate) const PARAMETER_PROBLEM: u8 = 12;
    pub(crate) const TIMESTAMP: u8 = 13;
    pub(crate) const TIMESTAMP_REPLY: u8 = 14;

    pub(crate) const V6_UNREACHABLE: u8 = 1;
    pub(crate) const V6_PARAMETER_PROBLEM: u8 = 4;
    pub(crate) const V6_ECHO_REQUEST: u8 = 128;
    pub(crate) const V6_ECHO_REPLY: u8 = 129;
    pub(crate) const V6_ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(crate) const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(crate) const V6_REDIRECT: u8 = 137;
}

/// Where a transport header may begin at most: what lies behind it must be within reach of [`Packet::read`].
const LAST_L4: u32 = 0x100;

/// Ethernet header (IEEE 802.3), as on the wire.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct EthHeader {
    pub(super) dst: Mac,
    pub(super) src: Mac,
    pub(super) ethertype: u16,
}

/// ARP for IPv4 over Ethernet (RFC 826): what a sender claims.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ArpHeader {
    pub(super) hardware_protocol_lengths_operation: [u16; 4],
    pub(super) sender_mac: Mac,
    pub(super) sender_ip: [u16; 2],
    pub(super) target_mac: Mac,
    pub(super) target_ip: [u16; 2],
}

impl ArpHeader {
    /// Operation "request".
    const REQUEST: u16 = 1_u16.to_be();

    #[inline(always)]
    pub(super) fn is_request(&self) -> bool {
        let [.., operation] = self.hardware_protocol_lengths_operation;
        operation == Self::REQUEST
    }

    /// Whom it asks for, or whom it answers, in network order.
    #[inline(always)]
    pub(super) fn target(&self) -> u32 {
        let [high, low] = self.target_ip;
        u32::from(high) | u32::from(low) << 16
    }
}

/// The tuple of a packet, as far as it is known: one per run, filled as headers are read.
#[repr(C)]
pub(super) struct Tuple {
    pub(super) key: FlowKey,
    /// Offset of the transport header from the Ethernet header.
    pub(super) l4: u32,
    /// Offset of the first byte behind the datagram; a short frame is padded.
    pub(super) end: u32,
    /// TCP: the flags. ICMP: the type.
    pub(super) flags: u8,
    pub(super) ttl: u8,
    /// IPv6: always, as its routers do not cut.
    pub(super) dont_fragment: bool,
    /// A part of a datagram: its ports may be missing.
    pub(super) fragment: bool,
    /// A fragment that begins its datagram, and is followed by the others: its ports may be read.
    pub(super) is_first: bool,
}

impl Tuple {
    /// Before any header was read.
    pub(super) const UNKNOWN: Self = Self {
        key: FlowKey::NONE,
        l4: 0,
        end: 0,
        flags: 0,
        ttl: 0,
        dont_fragment: false,
        fragment: false,
        is_first: false,
    };
}

/// Has what stands in the tuple be read from there. The compiler would go on with what it has in registers, and the
/// verifier with all that it knows of it: every header that may come first, times every one that may follow.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn settle(tuple: &mut Tuple) {
    let place: *mut Tuple = tuple;
    // SAFETY: a move to itself, which the kernel's line table needs, changes nothing; the compiler has to believe that the
    // tuple was written to.
    unsafe { core::arch::asm!("{0} = {0}", in(reg) place, options(nostack, preserves_flags)) };
}

/// On a host, where this file is fuzzed, there is no verifier.
#[cfg(not(target_arch = "bpf"))]
fn settle(_tuple: &mut Tuple) {}

#[inline(always)]
pub(super) fn ethernet(packet: &Packet) -> Result<EthHeader, Reason> {
    packet.read(0).ok_or(Reason::Malformed)
}

/// Whether an IP header follows an Ethernet header of this type.
#[inline(always)]
pub(super) fn is_ip(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::IPV4 | ethertype::IPV6)
}

/// Reads the network header, and notes its part of the tuple.
#[inline(always)]
pub(super) fn network(packet: &Packet, ethertype: u16, tuple: &mut Tuple) -> Result<(), Reason> {
    match ethertype {
        ethertype::IPV4 => ipv4(packet, tuple)?,
        ethertype::IPV6 => ipv6(packet, tuple)?,
        _ => return Err(Reason::UnknownL3),
    }
    settle(tuple);
    Ok(())
}

#[inline(always)]
fn ipv4(packet: &Packet, tuple: &mut Tuple) -> Result<(), Reason> {
    let header: Ipv4Header = packet.read(ETH_LEN).ok_or(Reason::Malformed)?;
    let len = header.header_len(packet.len() - ETH_LEN)?;
    tuple.key.src = header.src();
    tuple.key.dst = header.dst();
    tuple.key.proto = header.proto;
    tuple.ttl = header.ttl;
    tuple.dont_fragment = header.dont_fragment();
    tuple.fragment = header.is_fragment();
    tuple.l4 = ETH_LEN + len;
    tuple.end = end(packet, u32::from(u16::from_be(header.total_len_be)), 0);
    if len > 20 {
        packet.linearise(tuple.l4 + 8);
    }
    Ok(())
}

#[inline(always)]
fn ipv6(packet: &Packet, tuple: &mut Tuple) -> Result<(), Reason> {
    packet.linearise(ETH_LEN + ipv6::LEN + 8);
    let header: Ipv6Header = packet.read(ETH_LEN).ok_or(Reason::Malformed)?;
    header.check(packet.len() - ETH_LEN)?;
    tuple.key.src = header.src;
    tuple.key.dst = header.dst;
    tuple.key.proto = header.next;
    tuple.ttl = header.hop_limit;
    tuple.dont_fragment = true;
    tuple.l4 = ETH_LEN + ipv6::LEN;
    tuple.end = end(packet, u32::from(u16::from_be(header.payload_len_be)), ipv6::LEN);
    if Extension::is(header.next) {
        let (l4, next, part) = extensions(packet, tuple.l4, header.next)?;
        (tuple.l4, tuple.key.proto, tuple.fragment) = (l4, next, part);
    }
    Ok(())
}

/// Offset behind the datagram of a header that gives this length, and does not count `more`; zero is BIG TCP.
#[inline(always)]
fn end(packet: &Packet, len: u32, more: u32) -> u32 {
    if len == 0 { packet.len() } else { ETH_LEN + more + len }
}

/// Walks the extension headers that begin at `at` with one of the kind `next`; gives where the transport header begins,
/// its protocol, and whether the packet is a part of a datagram. Nothing is known of what follows a fragment header.
#[inline(always)]
pub(super) fn extensions(packet: &Packet, at: u32, next: u8) -> Result<(u32, u8, bool), Reason> {
    let walked = walk(packet, at, next);
    if walked == 0 {
        return Err(Reason::ExtensionHeaders);
    }
    Ok((walked & 0xffff, (walked >> 16) as u8, walked >> 24 != 0))
}

/// [`extensions`] in one register: half of a larger result would be memory that the verifier has not seen written.
/// Zero when there is no transport header within reach, or the packet is to be sent on to somebody else than its destination
/// (RFC 5095).
#[inline(never)]
fn walk(packet: &Packet, at: u32, next: u8) -> u32 {
    let (mut at, mut next) = (at, next);
    for _ in 0..=ipv6::MAX_EXTENSIONS {
        if !Extension::is(next) {
            return at | u32::from(next) << 16;
        }
        let Some(extension) = packet.load::<Extension>(at) else { return 0 };
        let [following, _] = extension.next_len;
        if next == ipv6::extension::ROUTING && extension.segments_left() != 0 {
            return 0;
        }
        at += extension.len(next);
        if at > LAST_L4 {
            return 0;
        }
        if next == ipv6::extension::FRAGMENT && extension.is_part() {
            return at | u32::from(following) << 16 | 1 << 24;
        }
        next = following;
    }
    0
}

/// Whether another extension header follows the fragment header of IPv6, and who knows what that one. In IPv4 their numbers are
/// protocols like any other.
#[inline(always)]
pub(super) fn hides_transport(tuple: &Tuple) -> bool {
    tuple.fragment && !tuple.key.dst.is_v4() && Extension::is(tuple.key.proto)
}

/// Reads the transport header: from here on the tuple of a packet that comes in from `zone` is whole.
#[inline(always)]
pub(super) fn transport(packet: &Packet, zone: Zone, tuple: &mut Tuple) -> Result<(), Reason> {
    if tuple.fragment && !tuple.is_first {
        return Err(Reason::Fragment);
    }
    let (sport, dport, flags) = match tuple.key.proto {
        proto::TCP => tcp(packet, tuple)?,
        proto::UDP | proto::UDPLITE => udp(packet, tuple)?,
        proto::SCTP => sctp(packet, tuple)?,
        proto::ICMP | proto::ICMPV6 => {
            // The type is known also when it is none that names a flow.
            let [kind, _]: [u8; 2] = packet.read(tuple.l4).ok_or(Reason::Malformed)?;
            tuple.flags = kind;
            has(tuple, 8)?;
            icmp(packet.read(tuple.l4).ok_or(Reason::Malformed)?, tuple.key.proto)?
        }
        // Others are known by their addresses alone.
        _ => (Port::NONE, Port::NONE, 0),
    };
    (tuple.key.sport, tuple.key.dport, tuple.key.zone, tuple.flags) = (sport, dport, zone, flags);
    settle(tuple);
    Ok(())
}

/// Whether the datagram has a transport header of this length; the frame may be longer.
#[inline(always)]
fn has(tuple: &Tuple, len: u32) -> Result<(), Reason> {
    if tuple.l4 + len > tuple.end { Err(Reason::Malformed) } else { Ok(()) }
}

#[inline(always)]
fn tcp(packet: &Packet, tuple: &Tuple) -> Result<(Port, Port, u8), Reason> {
    packet.linearise(tuple.l4 + 20);
    has(tuple, 20)?;
    let words: [u16; 10] = packet.read(tuple.l4).ok_or(Reason::Malformed)?;
    let [offset, flags] = words[6].to_ne_bytes();
    let len = u32::from(offset >> 4) * 4;
    if len < 20 || !tracker::is_sensible(flags) {
        return Err(Reason::Malformed);
    }
    has(tuple, len)?;
    Ok((Port(words[0]), Port(words[1]), flags))
}

/// The numbers of a TCP packet whose tuple is known. Read when they are asked for.
/// `None` when the header claims to be longer than the packet, or shorter
/// than itself: its receiver drops it, and here it says nothing.
#[inline(always)]
pub(super) fn segment(packet: &Packet, tuple: &Tuple) -> Option<Segment> {
    let words: [u16; 7] = packet.read(tuple.l4)?;
    let [length, _] = words[6].to_ne_bytes();
    let header = u32::from(length >> 4) * 4;
    let payload = tuple.l4 + header;
    if header < 20 || payload > tuple.end {
        return None;
    }
    let number = |high: u16, low: u16| u32::from(u16::from_be(high)) << 16 | u32::from(u16::from_be(low));
    Some(Segment {
        seq: number(words[2], words[3]),
        ack: number(words[4], words[5]),
        len: tuple.end - payload,
    })
}

/// UDP and UDP-Lite, whose length field is something else (RFC 3828, 3.1).
#[inline(always)]
fn udp(packet: &Packet, tuple: &Tuple) -> Result<(Port, Port, u8), Reason> {
    has(tuple, 8)?;
    let words: [u16; 4] = packet.read(tuple.l4).ok_or(Reason::Malformed)?;
    let len = u32::from(u16::from_be(words[2]));
    let is_long = tuple.l4 + len > tuple.end && !tuple.fragment;
    if tuple.key.proto == proto::UDP && packet.gso_size() == 0 && (len < 8 || is_long) {
        return Err(Reason::Malformed);
    }
    Ok((Port(words[0]), Port(words[1]), 0))
}

/// The type of the first chunk (RFC 9260, 3.2) stands where TCP has its flags.
#[inline(always)]
fn sctp(packet: &Packet, tuple: &Tuple) -> Result<(Port, Port, u8), Reason> {
    has(tuple, 16)?;
    // Of a GSO frame, what follows the first twelve bytes are whole segments, and is not to be pulled.
    if packet.gso_size() == 0 {
        packet.linearise(tuple.l4 + 16);
    }
    let words: [u16; 2] = packet.read(tuple.l4).ok_or(Reason::Malformed)?;
    let chunk = packet.read::<[u8; 2]>(tuple.l4 + 12).map_or(0, |[kind, _]| kind);
    Ok((Port(words[0]), Port(words[1]), chunk))
}

/// Queries only: requests have their identifier as source, replies as destination ([`FlowKey`]).
#[inline(always)]
pub(super) fn icmp(words: [u16; 4], proto: u8) -> Result<(Port, Port, u8), Reason> {
    let [kind, _] = words[0].to_ne_bytes();
    match (proto, kind) {
        (proto::ICMP, icmp_type::ECHO_REQUEST | icmp_type::TIMESTAMP)
        | (proto::ICMPV6, icmp_type::V6_ECHO_REQUEST) => Ok((Port(words[2]), Port::NONE, kind)),
        (proto::ICMP, icmp_type::ECHO_REPLY | icmp_type::TIMESTAMP_REPLY)
        | (proto::ICMPV6, icmp_type::V6_ECHO_REPLY) => Ok((Port::NONE, Port(words[2]), kind)),
        _ => Err(Reason::UnknownL4),
    }
}

/// Whether an ICMP message of this type asks for something that a reply will answer.
#[inline(always)]
pub(super) fn is_request(tuple: &Tuple) -> bool {
    tuple.key.dport == Port::NONE
}

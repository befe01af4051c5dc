//! From headers to the tuple that names a flow.

use netdp_common::ipv4::Ipv4Header;
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

/// ICMP types (RFC 792).
pub(super) mod icmp_type {
    pub(crate) const ECHO_REPLY: u8 = 0;
    pub(crate) const UNREACHABLE: u8 = 3;
    pub(crate) const ECHO_REQUEST: u8 = 8;
    pub(crate) const TIME_EXCEEDED: u8 = 11;
    pub(crate) const PARAMETER_PROBLEM: u8 = 12;
}

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

/// The tuple of a packet, as far as it is known: one per run, filled as headers are read.
pub(super) struct Tuple {
    pub(super) key: FlowKey,
    /// Offset of the transport header from the Ethernet header.
    pub(super) l4: u32,
    /// TCP: the flags. ICMP: the type.
    pub(super) flags: u8,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
}

impl Tuple {
    /// Before any header was read.
    pub(super) const UNKNOWN: Self =
        Self { key: FlowKey::NONE, l4: 0, flags: 0, ttl: 0, dont_fragment: false };
}

#[inline(always)]
pub(super) fn ethernet(packet: &Packet) -> Result<EthHeader, Reason> {
    packet.read(0).ok_or(Reason::Malformed)
}

/// Reads the IPv4 header, and notes its part of the tuple.
#[inline(always)]
pub(super) fn ipv4(packet: &Packet, tuple: &mut Tuple) -> Result<Ipv4Header, Reason> {
    let header: Ipv4Header = packet.read(ETH_LEN).ok_or(Reason::Malformed)?;
    let len = header.header_len(packet.len() - ETH_LEN)?;
    tuple.key.src = header.src();
    tuple.key.dst = header.dst();
    tuple.key.proto = header.proto;
    tuple.ttl = header.ttl;
    tuple.dont_fragment = header.dont_fragment();
    tuple.l4 = ETH_LEN + len;
    if len > 20 {
        packet.linearise(tuple.l4 + 20);
    }
    Ok(header)
}

/// Reads the transport header: from here on the tuple of a packet that comes in from `zone` is whole.
#[inline(always)]
pub(super) fn transport(
    packet: &Packet,
    header: &Ipv4Header,
    zone: Zone,
    tuple: &mut Tuple,
) -> Result<(), Reason> {
    if header.is_fragment() {
        return Err(Reason::Fragment);
    }
    let (sport, dport, flags) = match header.proto {
        proto::TCP => tcp(packet, tuple.l4)?,
        proto::UDP => udp(packet, tuple.l4)?,
        proto::ICMP => {
            // The type is known also when it is none that names a flow.
            let [kind, _]: [u8; 2] = packet.read(tuple.l4).ok_or(Reason::Malformed)?;
            tuple.flags = kind;
            icmp(packet, tuple.l4)?
        }
        _ => return Err(Reason::UnknownL4),
    };
    (tuple.key.sport, tuple.key.dport, tuple.key.zone, tuple.flags) = (sport, dport, zone, flags);
    Ok(())
}

#[inline(always)]
fn tcp(packet: &Packet, l4: u32) -> Result<(Port, Port, u8), Reason> {
    let words: [u16; 10] = packet.read(l4).ok_or(Reason::Malformed)?;
    let [_, flags] = words[6].to_ne_bytes();
    Ok((Port(words[0]), Port(words[1]), flags))
}

#[inline(always)]
fn udp(packet: &Packet, l4: u32) -> Result<(Port, Port, u8), Reason> {
    let words: [u16; 4] = packet.read(l4).ok_or(Reason::Malformed)?;
    Ok((Port(words[0]), Port(words[1]), 0))
}

/// Echo only: requests have their identifier as source, replies as destination ([`FlowKey`]).
#[inline(always)]
pub(super) fn icmp(packet: &Packet, l4: u32) -> Result<(Port, Port, u8), Reason> {
    let words: [u16; 4] = packet.read(l4).ok_or(Reason::Malformed)?;
    let [kind, _] = words[0].to_ne_bytes();
    match kind {
        icmp_type::ECHO_REQUEST => Ok((Port(words[2]), Port::NONE, kind)),
        icmp_type::ECHO_REPLY => Ok((Port::NONE, Port(words[2]), kind)),
        _ => Err(Reason::UnknownL4),
    }
}

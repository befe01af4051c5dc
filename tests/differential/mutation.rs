//! One way to make a right frame wrong, or strange; the same to both beds' frames.

use std::net::Ipv4Addr;

use tests::packet::{TCP, UDP};

use crate::frame::{self, IP, fix_ip, fix_transport, get16, header_length, put16};
use crate::random::Random;

#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Truncated(usize),
    Version(u8),
    HeaderLength(u8),
    TotalLength(i16),
    IpChecksum,
    TransportChecksum,
    NoUdpChecksum,
    UdpLength(i16),
    TcpOffset(u8),
    Ttl(u8),
    Protocol(u8),
    Source(Ipv4Addr),
    Destination(Ipv4Addr),
    FragmentField(u16),
    TypeOfService(u8),
    Padding(usize),
    Options(&'static str, &'static [u8]),
    DestinationMac([u8; 6]),
    EtherType(u16),
    Flipped(usize),
}

/// IP options (RFC 791, 3.1), each a multiple of four bytes.
const OPTIONS: [(&str, &[u8]); 10] = [
    ("no operation", &[1, 1, 1, 1]),
    ("end of list", &[0, 0, 0, 0]),
    ("router alert", &[0x94, 4, 0, 0]),
    ("record route", &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("timestamp", &[0x44, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("loose source route", &[0x83, 7, 4, 198, 51, 100, 9, 0]),
    ("strict source route", &[0x89, 7, 4, 198, 51, 100, 9, 0]),
    ("unknown option", &[0x9e, 4, 1, 2]),
    ("option of length zero", &[0x94, 0, 0, 0]),
    ("option past the end", &[0x94, 40, 0, 0]),
];

const SOURCES: [Ipv4Addr; 8] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(172, 17, 0, 3),
    Ipv4Addr::new(172, 17, 255, 255),
    Ipv4Addr::new(203, 0, 113, 255),
];

const DESTINATIONS: [Ipv4Addr; 7] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(172, 17, 255, 255),
    Ipv4Addr::new(203, 0, 113, 255),
];

impl Mutation {
    pub(crate) fn any(random: &mut Random, length: usize) -> Self {
        let small = |random: &mut Random| i16::try_from(random.below(40)).unwrap() - 20;
        match random.below(20) {
            0 => Self::Truncated(14 + random.below(length - 14)),
            1 => Self::Version(random.pick(&[0, 5, 6, 15])),
            2 => Self::HeaderLength(random.u8() & 0xf),
            3 => Self::TotalLength(small(random)),
            4 => Self::IpChecksum,
            5 => Self::TransportChecksum,
            6 => Self::NoUdpChecksum,
            7 => Self::UdpLength(small(random)),
            8 => Self::TcpOffset(random.u8() & 0xf),
            9 => Self::Ttl(random.pick(&[0, 1, 2, 255])),
            10 => Self::Protocol(random.pick(&[0, 2, 4, 41, 47, 50, 51, 132, 253, 255])),
            11 => Self::Source(random.pick(&SOURCES)),
            12 => Self::Destination(random.pick(&DESTINATIONS)),
            13 => Self::FragmentField(random.pick(&[0x8000, 0xc000, 0x2000, 0x1fff, 0x0001, 0x4001, 0x6000])),
            14 => Self::TypeOfService(random.u8()),
            15 => Self::Padding(1 + random.below(30)),
            16 => {
                let (name, bytes) = random.pick(&OPTIONS);
                Self::Options(name, bytes)
            }
            17 => Self::DestinationMac(random.pick(&[[2, 9, 9, 9, 9, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]])),
            18 => Self::EtherType(random.pick(&[0x0000, 0x86dd, 0x0600, 0x88cc])),
            _ => Self::Flipped((14 + random.below(length - 14)) * 8 + random.below(8)),
        }
    }

    pub(crate) fn label(&self) -> String {
        match self {
            Self::Truncated(at) if *at < IP + 20 => "truncated in the IP header".to_owned(),
            Self::Truncated(_) => "truncated behind the IP header".to_owned(),
            Self::Version(version) => format!("IP version {version}"),
            Self::HeaderLength(words) if *words < 5 => "IP header length below 20".to_owned(),
            Self::HeaderLength(_) => "IP header length changed".to_owned(),
            Self::TotalLength(by) if *by < 0 => "total length too small".to_owned(),
            Self::TotalLength(_) => "total length too large".to_owned(),
            Self::IpChecksum => "IP checksum wrong".to_owned(),
            Self::TransportChecksum => "transport checksum wrong".to_owned(),
            Self::NoUdpChecksum => "no UDP checksum".to_owned(),
            Self::UdpLength(by) if *by < 0 => "UDP length too small".to_owned(),
            Self::UdpLength(_) => "UDP length too large".to_owned(),
            Self::TcpOffset(words) if *words < 5 => "TCP data offset below 5".to_owned(),
            Self::TcpOffset(_) => "TCP data offset changed".to_owned(),
            Self::Ttl(ttl) => format!("TTL {ttl}"),
            Self::Protocol(proto) => format!("protocol {proto}"),
            Self::Source(address) => format!("source {address}"),
            Self::Destination(address) => format!("destination {address}"),
            Self::FragmentField(field) => format!("fragment field {field:04x}"),
            Self::TypeOfService(_) => "type of service".to_owned(),
            Self::Padding(_) => "padding".to_owned(),
            Self::Options(name, _) => (*name).to_owned(),
            Self::DestinationMac(mac) => format!("destination MAC {mac:02x?}"),
            Self::EtherType(kind) => format!("EtherType {kind:04x}"),
            Self::Flipped(bit) if bit / 8 < IP + 20 => "bit flipped in the IP header".to_owned(),
            Self::Flipped(_) => "bit flipped behind the IP header".to_owned(),
        }
    }

    pub(crate) fn apply(&self, frame: &mut Vec<u8>) {
        let l4 = IP + header_length(frame, IP).unwrap_or(20);
        let proto = frame[IP + 9];
        match *self {
            Self::Truncated(at) => frame.truncate(at),
            Self::Version(version) => frame[IP] = frame[IP] & 0xf | version << 4,
            Self::HeaderLength(words) => frame[IP] = frame[IP] & 0xf0 | words,
            Self::TotalLength(by) => add16(frame, IP + 2, by),
            Self::IpChecksum => return frame[IP + 10] ^= 0x40,
            Self::TransportChecksum => return wrong_sum(frame, l4),
            Self::NoUdpChecksum if proto == UDP => return put16(frame, l4 + 6, 0),
            Self::UdpLength(by) if proto == UDP => return add16(frame, l4 + 4, by),
            Self::TcpOffset(words) if proto == TCP => {
                frame[l4 + 12] = frame[l4 + 12] & 0xf | words << 4;
                return fix_transport(frame);
            }
            Self::NoUdpChecksum | Self::UdpLength(_) | Self::TcpOffset(_) => return,
            Self::Ttl(ttl) => frame[IP + 8] = ttl,
            Self::Protocol(proto) => frame[IP + 9] = proto,
            Self::Source(address) => return readdress(frame, IP + 12, address),
            Self::Destination(address) => return readdress(frame, IP + 16, address),
            Self::FragmentField(field) => put16(frame, IP + 6, field),
            Self::TypeOfService(value) => frame[IP + 1] = value,
            Self::Padding(length) => return frame.extend(vec![0xee; length]),
            Self::Options(_, options) => insert_options(frame, options),
            Self::DestinationMac(mac) => return frame[..6].copy_from_slice(&mac),
            Self::EtherType(kind) => return put16(frame, 12, kind),
            Self::Flipped(bit) => return frame[bit / 8] ^= 1 << (bit % 8),
        }
        fix_ip(frame);
    }
}

fn add16(frame: &mut [u8], at: usize, by: i16) {
    if let Some(value) = get16(frame, at) {
        put16(frame, at, value.wrapping_add_signed(by));
    }
}

fn wrong_sum(frame: &mut [u8], l4: usize) {
    let at = frame::check_at(frame[IP + 9]).map(|at| l4 + at);
    if let Some(at) = at.filter(|at| at + 2 <= frame.len()) {
        frame[at] ^= 0x20;
    }
}

fn readdress(frame: &mut [u8], at: usize, address: Ipv4Addr) {
    frame[at..at + 4].copy_from_slice(&address.octets());
    fix_transport(frame);
    fix_ip(frame);
}

pub(crate) fn insert_options(frame: &mut Vec<u8>, options: &[u8]) {
    let words = u8::try_from(options.len() / 4).unwrap();
    frame.splice(IP + 20..IP + 20, options.iter().copied());
    frame[IP] += words;
    add16(frame, IP + 2, i16::from(words) * 4);
    fix_ip(frame);
}

//! Builds frames, takes them apart, and prints how two differ.
//!
//! A [`Packet`] is the description with public fields; [`Packet::build`] computes lengths and checksums, or
//! writes the wrong ones that the description asks for. The expected result of a program is the same
//! description with some fields changed, built again.

mod address;
mod checksum;
mod layers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use address::Address;
pub use checksum::{Offloaded, judge, sum};
pub use layers::{Layer, difference, layers};

/// Link-layer address.
pub type Mac = [u8; 6];

/// FIN, a TCP flag.
pub const FIN: u8 = 0x01;
/// SYN, a TCP flag.
pub const SYN: u8 = 0x02;
/// RST, a TCP flag.
pub const RST: u8 = 0x04;
/// ACK, a TCP flag.
pub const ACK: u8 = 0x10;

/// IP protocol numbers as they stand in the header.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP of IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// UDP-Lite.
pub const UDPLITE: u8 = 136;

/// IPv6 extension headers by their number: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Routing.
pub const ROUTING: u8 = 43;
/// Fragment.
pub const FRAGMENT: u8 = 44;
/// Destination options.
pub const DESTINATION: u8 = 60;

/// One IPv4 or IPv6 frame, described; its family is that of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<A = Ipv4Addr> {
    /// Destination MAC.
    pub to_mac: Mac,
    /// Source MAC.
    pub from_mac: Mac,
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment; IPv6 has no such flag.
    pub dont_fragment: bool,
    /// More fragments follow. In IPv6 a fragment header says so, the last of the extension headers.
    pub more_fragments: bool,
    /// Fragment offset in units of 8 bytes; the same.
    pub fragment_offset: u16,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: number and bytes, of which the first is overwritten with the number of what follows.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What IP carries.
    pub carries: Carries,
    /// Bytes after the transport header.
    pub payload: Vec<u8>,
    /// What the header claims against the truth.
    pub lies: Lies,
}

/// Header fields that are to be wrong; `None` and `false` mean: as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lies {
    /// IP version instead of the true one.
    pub version: Option<u8>,
    /// Header length in 32-bit words instead of the true one.
    pub header_words: Option<u8>,
    /// Total length, or payload length of IPv6, instead of the true one.
    pub total_length: Option<u16>,
    /// The IP checksum is off by one.
    pub ip_checksum: bool,
    /// The transport checksum is off by one.
    pub transport_checksum: bool,
}

/// The transport header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// TCP with its flags, sequence and acknowledgement number.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Flag bits.
        flags: u8,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
    },
    /// UDP; without a checksum when asked for.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// False writes 0, which means: not computed.
        checksum: bool,
    },
    /// UDP-Lite (RFC 3828), whose checksum covers as many bytes as it says; zero are all.
    UdpLite {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Bytes that the checksum covers.
        coverage: u16,
    },
    /// SCTP with the type of its first chunk; the payload is what follows the four bytes of the chunk's header.
    Sctp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Chunk type.
        chunk: u8,
        /// False writes 0, which the device is still to replace.
        checksum: bool,
    },
    /// ICMP timestamp (RFC 792), which IPv6 has not.
    Timestamp {
        /// Request, or else reply.
        request: bool,
        /// Identifier, which takes the place of a port.
        id: u16,
    },
    /// ICMP echo.
    Echo {
        /// Request, or else reply.
        request: bool,
        /// Identifier, which takes the place of a port.
        id: u16,
        /// Sequence number.
        seq: u16,
    },
    /// ICMP error; the payload is the packet that it is about, from its IP header on.
    Error {
        /// 3 unreachable, 11 time exceeded, ...
        kind: u8,
        /// Meaning within the type.
        code: u8,
    },
    /// ICMP error "fragmentation needed" or "packet too big"; the payload is the packet.
    TooBig {
        /// MTU of the next link.
        mtu: u16,
    },
    /// Any other ICMP message; the payload is what follows the eight bytes of its header.
    Message {
        /// Type.
        kind: u8,
        /// What stands behind the checksum.
        rest: [u8; 4],
    },
    /// Another protocol; the payload is all it has.
    Other(u8),
}

impl<A: Address> Packet<A> {
    /// A packet with TTL 64, DF set and a payload of 8 bytes.
    pub fn new(src: A, dst: A, carries: Carries) -> Self {
        Self {
            to_mac: [0; 6],
            from_mac: [0; 6],
            src,
            dst,
            tos: 0,
            ttl: 64,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            carries,
            payload: b"12345678".to_vec(),
            lies: Lies::default(),
        }
    }

    /// TCP with the given flags.
    pub fn tcp(src: (A, u16), dst: (A, u16), flags: u8) -> Self {
        let ack = if flags & ACK == 0 { 0 } else { 0x0102_0304 };
        let carries = Carries::Tcp { sport: src.1, dport: dst.1, flags, seq: 0x1000_0000, ack };
        let mut packet = Self::new(src.0, dst.0, carries);
        if flags & (SYN | RST) != 0 {
            packet.payload.clear();
        }
        packet
    }

    /// UDP.
    pub fn udp(src: (A, u16), dst: (A, u16)) -> Self {
        Self::new(src.0, dst.0, Carries::Udp { sport: src.1, dport: dst.1, checksum: true })
    }

    /// ICMP echo request.
    pub fn ping(src: A, dst: A, id: u16) -> Self {
        Self::new(src, dst, Carries::Echo { request: true, id, seq: 1 })
    }

    /// ICMP echo reply.
    pub fn pong(src: A, dst: A, id: u16) -> Self {
        Self::new(src, dst, Carries::Echo { request: false, id, seq: 1 })
    }

    /// SCTP whose first chunk is of this type.
    pub fn sctp(src: (A, u16), dst: (A, u16), chunk: u8) -> Self {
        Self::new(src.0, dst.0, Carries::Sctp { sport: src.1, dport: dst.1, chunk, checksum: true })
    }

    /// ICMP error from `src` about a frame, of which it quotes the IP header and this many bytes behind it.
    pub fn error(src: A, kind: (u8, u8), about: &[u8], quoted: usize) -> Self {
        let end = (14 + A::header_len(&about[14..]) + quoted).min(about.len());
        let mut packet =
            Self::new(src, A::sender(&about[14..]), Carries::Error { kind: kind.0, code: kind.1 });
        packet.payload = about[14..end].to_vec();
        packet
    }

    /// The same between these two stations of the link.
    #[must_use]
    pub fn link(mut self, from: Mac, to: Mac) -> Self {
        (self.from_mac, self.to_mac) = (from, to);
        self
    }

    /// The same with changes made by `edit`.
    #[must_use]
    pub fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// Sets the source port, or the identifier of an echo.
    pub fn set_sport(&mut self, port: u16) {
        match &mut self.carries {
            Carries::Tcp { sport, .. }
            | Carries::Udp { sport, .. }
            | Carries::UdpLite { sport, .. }
            | Carries::Sctp { sport, .. } => *sport = port,
            Carries::Echo { id, .. } | Carries::Timestamp { id, .. } => *id = port,
            Carries::Error { .. } | Carries::TooBig { .. } | Carries::Message { .. } | Carries::Other(_) => {}
        }
    }

    /// Sets the destination port, or the identifier of an echo.
    pub fn set_dport(&mut self, port: u16) {
        match &mut self.carries {
            Carries::Tcp { dport, .. }
            | Carries::Udp { dport, .. }
            | Carries::UdpLite { dport, .. }
            | Carries::Sctp { dport, .. } => *dport = port,
            Carries::Echo { id, .. } | Carries::Timestamp { id, .. } => *id = port,
            Carries::Error { .. } | Carries::TooBig { .. } | Carries::Message { .. } | Carries::Other(_) => {}
        }
    }

    /// Sets sequence and acknowledgement number of a TCP segment, and the length of its payload.
    pub fn set_numbers(&mut self, number: u32, acknowledged: u32, len: usize) {
        if let Carries::Tcp { seq, ack, .. } = &mut self.carries {
            (*seq, *ack) = (number, acknowledged);
            self.payload = vec![7; len];
        }
    }

    /// The frame, from the destination MAC to the last byte of the payload.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let (ethertype, header) = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ([0x08, 0x00], self.ipv4_header(src, dst, transport.len())),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ([0x86, 0xdd], self.ipv6_header(src, dst, transport.len())),
            _ => panic!("addresses of two families: {self:?}"),
        };
        let mut frame = [&self.to_mac[..], &self.from_mac[..], &ethertype].concat();
        frame.extend(header);
        frame.extend(transport);
        frame
    }

    /// The protocol number for the IP header.
    pub fn protocol(&self) -> u8 {
        match self.carries {
            Carries::Tcp { .. } => TCP,
            Carries::Udp { .. } => UDP,
            Carries::UdpLite { .. } => UDPLITE,
            Carries::Sctp { .. } => SCTP,
            Carries::Echo { .. }
            | Carries::Error { .. }
            | Carries::TooBig { .. }
            | Carries::Message { .. }
                if self.is_ipv6() =>
            {
                ICMPV6
            }
            Carries::Echo { .. }
            | Carries::Error { .. }
            | Carries::TooBig { .. }
            | Carries::Message { .. }
            | Carries::Timestamp { .. } => ICMP,
            Carries::Other(number) => number,
        }
    }

    fn is_ipv6(&self) -> bool {
        self.src.ip().is_ipv6()
    }

    fn ipv4_header(&self, src: Ipv4Addr, dst: Ipv4Addr, transport: usize) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = self.lies.header_words.unwrap_or(u8::try_from(length / 4).unwrap());
        let total = self.lies.total_length.unwrap_or(u16::try_from(length + transport).unwrap());
        let fragment = u16::from(self.dont_fragment) << 14
            | u16::from(self.more_fragments) << 13
            | self.fragment_offset & 0x1fff;
        let mut header = vec![self.lies.version.unwrap_or(4) << 4 | words & 0x0f, self.tos];
        header.extend(total.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(src.octets());
        header.extend(dst.octets());
        header.extend(&self.options);
        let checksum = !sum(&header, 0) ^ u16::from(self.lies.ip_checksum);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn ipv6_header(&self, src: Ipv6Addr, dst: Ipv6Addr, transport: usize) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if self.more_fragments || self.fragment_offset != 0 {
            let [high, low] = (self.fragment_offset << 3 | u16::from(self.more_fragments)).to_be_bytes();
            extensions.push((FRAGMENT, vec![0, 0, high, low, 0, 0, 0x12, 0x34]));
        }
        let mut next = self.protocol();
        let mut chain = Vec::new();
        for (kind, mut bytes) in extensions.into_iter().rev() {
            bytes[0] = next;
            chain = [bytes, chain].concat();
            next = kind;
        }
        let payload = self.lies.total_length.unwrap_or(u16::try_from(chain.len() + transport).unwrap());
        let mut header = vec![self.lies.version.unwrap_or(6) << 4 | self.tos >> 4, self.tos << 4, 0, 0];
        header.extend(payload.to_be_bytes());
        header.extend([next, self.ttl]);
        header.extend(src.octets());
        header.extend(dst.octets());
        header.extend(chain);
        header
    }

    fn transport(&self) -> Vec<u8> {
        let (mut bytes, checksum_at) = self.transport_header();
        bytes.extend(&self.payload);
        let Some(at) = checksum_at else { return bytes };
        if let Carries::Sctp { .. } = self.carries {
            let value = checksum::crc32c(&bytes) ^ u32::from(self.lies.transport_checksum);
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            return bytes;
        }
        let covered = match self.carries {
            Carries::UdpLite { coverage, .. } if coverage != 0 => usize::from(coverage),
            _ => bytes.len(),
        };
        let mut value = !sum(&bytes[..covered], self.pseudo_sum(bytes.len()));
        if value == 0 && matches!(self.protocol(), UDP | UDPLITE) {
            // RFC 768: a computed zero is sent as all ones, because zero means not computed.
            value = 0xffff;
        }
        value ^= u16::from(self.lies.transport_checksum);
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    /// What a transport checksum covers beside the transport's own bytes.
    fn pseudo_sum(&self, len: usize) -> u32 {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) if self.protocol() == ICMP => 0,
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_sum(src, dst, self.protocol(), len),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_sum6(src, dst, self.protocol(), len),
            _ => panic!("addresses of two families: {self:?}"),
        }
    }

    /// The header with its checksum still zero, and where that checksum stands if there is to be one.
    fn transport_header(&self) -> (Vec<u8>, Option<usize>) {
        match self.carries {
            Carries::Tcp { sport, dport, flags, seq, ack } => {
                let mut header = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
                header.extend(seq.to_be_bytes());
                header.extend(ack.to_be_bytes());
                header.extend([5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                (header, Some(16))
            }
            Carries::Udp { sport, dport, checksum } => {
                let length = u16::try_from(8 + self.payload.len()).unwrap();
                (words([sport, dport, length, 0]), checksum.then_some(6))
            }
            Carries::UdpLite { sport, dport, coverage } => (words([sport, dport, coverage, 0]), Some(6)),
            Carries::Sctp { sport, dport, chunk, checksum } => {
                let [high, low] = u16::try_from(4 + self.payload.len()).unwrap().to_be_bytes();
                let mut header = words([sport, dport, 0x1234, 0x5678, 0, 0]);
                header.extend([chunk, 0, high, low]);
                (header, checksum.then_some(8))
            }
            Carries::Echo { request, id, seq } => {
                let kind = match (self.is_ipv6(), request) {
                    (false, true) => 8,
                    (false, false) => 0,
                    (true, true) => 128,
                    (true, false) => 129,
                };
                (words([kind << 8, 0, id, seq]), Some(2))
            }
            Carries::Timestamp { request, id } => {
                (words([if request { 13 << 8 } else { 14 << 8 }, 0, id, 1]), Some(2))
            }
            Carries::Error { kind, code } => (vec![kind, code, 0, 0, 0, 0, 0, 0], Some(2)),
            Carries::TooBig { mtu } => {
                (words([if self.is_ipv6() { 2 << 8 } else { 3 << 8 | 4 }, 0, 0, mtu]), Some(2))
            }
            Carries::Message { kind, rest } => ([&[kind, 0, 0, 0], &rest[..]].concat(), Some(2)),
            Carries::Other(_) => (Vec::new(), None),
        }
    }
}

/// Words in network order.
fn words<const N: usize>(words: [u16; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// An ARP request for `wanted`, as a station with this MAC and address sends it.
pub fn arp_request(mac: Mac, address: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac[..], &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]].concat();
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(wanted.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn every_built_packet_is_judged_right() {
        let packets =
            [Packet::tcp((A, 1), (B, 80), SYN), Packet::udp((A, 5), (B, 53)), Packet::ping(A, B, 7)];
        for packet in packets {
            judge(&packet.build(), Offloaded::No).unwrap();
        }
    }

    #[test]
    fn a_known_ipv6_packet_has_the_known_bytes() {
        let packet = Packet::udp((Ipv6Addr::LOCALHOST, 1), (Ipv6Addr::LOCALHOST, 2));
        let whole = packet.clone().with(|p| p.payload = b"hi".to_vec()).build();
        assert_eq!(whole[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, UDP, 64]);
        judge(&whole, Offloaded::No).unwrap();
        let part = packet.with(|p| (p.more_fragments, p.fragment_offset) = (true, 2)).build();
        assert_eq!(part[18..21], [0, 24, FRAGMENT]);
        assert_eq!(part[54..62], [UDP, 0, 0, 17, 0, 0, 0x12, 0x34]);
    }

    #[test]
    fn an_sctp_packet_has_the_known_sum() {
        // RFC 3720, B.4: the sum of 32 zero bytes stands as aa 36 91 8a.
        assert_eq!(checksum::crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        let frame = Packet::sctp((A, 5), (B, 6), 1).build();
        assert_ne!(frame[42..46], [0; 4]);
    }

    #[test]
    fn a_lie_about_either_checksum_is_found() {
        let packet = Packet::tcp((A, 1), (B, 80), ACK);
        let wrong_ip = packet.clone().with(|p| p.lies.ip_checksum = true).build();
        let wrong_tcp = packet.with(|p| p.lies.transport_checksum = true).build();
        assert!(judge(&wrong_ip, Offloaded::No).unwrap_err().contains("IP"));
        assert!(judge(&wrong_tcp, Offloaded::No).unwrap_err().contains("TCP"));
    }

    #[test]
    fn a_known_packet_has_the_known_bytes() {
        // Header 45 00 00 1d 12 34 40 00 40 11 .. .. 7f 00 00 01 7f 00 00 01, summed by hand.
        let packet = Packet::new(
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::LOCALHOST,
            Carries::Udp { sport: 40000, dport: 9, checksum: true },
        )
        .with(|p| {
            p.payload = b"a".to_vec();
            p.id = 0x1234;
        });
        let frame = packet.build();
        assert_eq!(frame.len(), 14 + 20 + 8 + 1);
        assert_eq!(frame[24..26], [0x2a, 0x9a]);
    }

    #[test]
    fn a_difference_names_layer_and_field() {
        let packet = Packet::udp((A, 5), (B, 53));
        let text = difference(&packet.build(), &packet.with(|p| p.ttl = 63).build()).unwrap();
        assert!(text.contains("ip.ttl: 64, got 63"), "{text}");
    }
}

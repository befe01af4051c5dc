//! Builds frames, takes them apart, and prints how two differ.
//!
//! A [`Packet`] is the description with public fields; [`Packet::build`] computes lengths and checksums, or
//! writes the wrong ones that the description asks for. The expected result of a program is the same
//! description with some fields changed, built again.

mod checksum;
mod layers;

use std::net::Ipv4Addr;

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

/// One IPv4 frame, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Destination MAC.
    pub to_mac: Mac,
    /// Source MAC.
    pub from_mac: Mac,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Fragment offset in units of 8 bytes.
    pub fragment_offset: u16,
    /// IP options, a multiple of 4 bytes.
    pub options: Vec<u8>,
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
    /// IP version instead of 4.
    pub version: Option<u8>,
    /// Header length in 32-bit words instead of the true one.
    pub header_words: Option<u8>,
    /// Total length instead of the true one.
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
    /// Another protocol; the payload is all it has.
    Other(u8),
}

impl Carries {
    /// The protocol number for the IP header.
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => TCP,
            Self::Udp { .. } => UDP,
            Self::Echo { .. } | Self::Error { .. } => ICMP,
            Self::Other(number) => *number,
        }
    }
}

impl Packet {
    /// A packet with TTL 64, DF set and a payload of 8 bytes.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, carries: Carries) -> Self {
        Self {
            to_mac: [0; 6],
            from_mac: [0; 6],
            src,
            dst,
            ttl: 64,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            carries,
            payload: b"12345678".to_vec(),
            lies: Lies::default(),
        }
    }

    /// TCP with the given flags.
    pub fn tcp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> Self {
        let ack = if flags & ACK == 0 { 0 } else { 0x0102_0304 };
        let carries = Carries::Tcp { sport: src.1, dport: dst.1, flags, seq: 0x1000_0000, ack };
        let mut packet = Self::new(src.0, dst.0, carries);
        if flags & (SYN | RST) != 0 {
            packet.payload.clear();
        }
        packet
    }

    /// UDP.
    pub fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Self {
        Self::new(src.0, dst.0, Carries::Udp { sport: src.1, dport: dst.1, checksum: true })
    }

    /// ICMP echo request.
    pub fn ping(src: Ipv4Addr, dst: Ipv4Addr, id: u16) -> Self {
        Self::new(src, dst, Carries::Echo { request: true, id, seq: 1 })
    }

    /// ICMP echo reply.
    pub fn pong(src: Ipv4Addr, dst: Ipv4Addr, id: u16) -> Self {
        Self::new(src, dst, Carries::Echo { request: false, id, seq: 1 })
    }

    /// ICMP error from `src` about a frame, of which it quotes the IP header and this many bytes behind it.
    pub fn error(src: Ipv4Addr, kind: (u8, u8), about: &[u8], quoted: usize) -> Self {
        let header = usize::from(about[14] & 0x0f) * 4;
        let sender = Ipv4Addr::new(about[26], about[27], about[28], about[29]);
        let end = (14 + header + quoted).min(about.len());
        let mut packet = Self::new(src, sender, Carries::Error { kind: kind.0, code: kind.1 });
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
            Carries::Tcp { sport, .. } | Carries::Udp { sport, .. } => *sport = port,
            Carries::Echo { id, .. } => *id = port,
            Carries::Error { .. } | Carries::Other(_) => {}
        }
    }

    /// Sets the destination port, or the identifier of an echo.
    pub fn set_dport(&mut self, port: u16) {
        match &mut self.carries {
            Carries::Tcp { dport, .. } | Carries::Udp { dport, .. } => *dport = port,
            Carries::Echo { id, .. } => *id = port,
            Carries::Error { .. } | Carries::Other(_) => {}
        }
    }

    /// The frame, from the destination MAC to the last byte of the payload.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut frame = [&self.to_mac[..], &self.from_mac[..], &[0x08, 0x00]].concat();
        frame.extend(self.ip_header(transport.len()));
        frame.extend(transport);
        frame
    }

    fn ip_header(&self, transport: usize) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = self.lies.header_words.unwrap_or(u8::try_from(length / 4).unwrap());
        let total = self.lies.total_length.unwrap_or(u16::try_from(length + transport).unwrap());
        let fragment = u16::from(self.dont_fragment) << 14
            | u16::from(self.more_fragments) << 13
            | self.fragment_offset & 0x1fff;
        let mut header = vec![self.lies.version.unwrap_or(4) << 4 | words & 0x0f, 0];
        header.extend(total.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([self.ttl, self.carries.protocol(), 0, 0]);
        header.extend(self.src.octets());
        header.extend(self.dst.octets());
        header.extend(&self.options);
        let checksum = !sum(&header, 0) ^ u16::from(self.lies.ip_checksum);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn transport(&self) -> Vec<u8> {
        let (mut bytes, checksum_at) = self.transport_header();
        bytes.extend(&self.payload);
        let Some(at) = checksum_at else { return bytes };
        let pseudo = match self.carries.protocol() {
            ICMP => 0,
            protocol => checksum::pseudo_sum(self.src, self.dst, protocol, bytes.len()),
        };
        let mut value = !sum(&bytes, pseudo);
        if value == 0 && self.carries.protocol() == UDP {
            // RFC 768: a computed zero is sent as all ones, because zero means not computed.
            value = 0xffff;
        }
        value ^= u16::from(self.lies.transport_checksum);
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        bytes
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
                let words = [sport, dport, length, 0];
                (words.iter().flat_map(|word| word.to_be_bytes()).collect(), checksum.then_some(6))
            }
            Carries::Echo { request, id, seq } => {
                let words = [u16::from(request) << 11, 0, id, seq];
                (words.iter().flat_map(|word| word.to_be_bytes()).collect(), Some(2))
            }
            Carries::Error { kind, code } => (vec![kind, code, 0, 0, 0, 0, 0, 0], Some(2)),
            Carries::Other(_) => (Vec::new(), None),
        }
    }
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

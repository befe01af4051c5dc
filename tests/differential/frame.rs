//! Frames by the byte: built right, to be made wrong afterwards. Shares nothing with what it tests.

use std::net::Ipv4Addr;

use tests::packet::{ACK, ICMP, RST, TCP, UDP, sum};

use crate::beds::Mac;

/// Where the IP header begins.
pub(crate) const IP: usize = 14;

/// Protocol, source and destination; of an echo, the identifier stands where its sender's port would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tuple {
    pub(crate) proto: u8,
    pub(crate) src: (Ipv4Addr, u16),
    pub(crate) dst: (Ipv4Addr, u16),
}

impl Tuple {
    pub(crate) fn reversed(self) -> Self {
        Self { proto: self.proto, src: self.dst, dst: self.src }
    }
}

/// An IPv4 packet before it is bytes.
#[derive(Debug, Clone)]
pub(crate) struct Ipv4 {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) proto: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and offset, as in the header.
    pub(crate) fragment: u16,
    pub(crate) payload: Vec<u8>,
}

/// The flags of `Ipv4::fragment`.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;

impl Ipv4 {
    pub(crate) fn build(&self, (from, to): (Mac, Mac)) -> Vec<u8> {
        let mut frame = [&to[..], &from[..], &[8, 0, 0x45, 0]].concat();
        frame.extend(u16::try_from(20 + self.payload.len()).unwrap().to_be_bytes());
        frame.extend(self.id.to_be_bytes());
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([self.ttl, self.proto, 0, 0]);
        frame.extend(self.src.octets());
        frame.extend(self.dst.octets());
        fix_ip(&mut frame);
        frame.extend(&self.payload);
        frame
    }
}

/// What a TCP segment says beside its ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// The window that every segment advertises; without scaling.
const WINDOW: u16 = 64_240;

pub(crate) fn tcp(tuple: Tuple, segment: &Segment) -> Vec<u8> {
    let mut bytes = [tuple.src.1.to_be_bytes(), tuple.dst.1.to_be_bytes()].concat();
    bytes.extend(segment.seq.to_be_bytes());
    bytes.extend(segment.ack.to_be_bytes());
    let words = u8::try_from(5 + segment.options.len() / 4).unwrap();
    bytes.extend([words << 4, segment.flags]);
    bytes.extend(WINDOW.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&segment.options);
    bytes.extend(&segment.payload);
    summed(tuple, bytes, 16)
}

pub(crate) fn udp(tuple: Tuple, payload: &[u8], checksum: bool) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let words = [tuple.src.1, tuple.dst.1, length, 0];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(payload);
    if checksum { summed(tuple, bytes, 6) } else { bytes }
}

pub(crate) fn echo(request: bool, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let [[a, b], [c, d]] = [id.to_be_bytes(), seq.to_be_bytes()];
    icmp((u8::from(request) * 8, 0), [a, b, c, d], payload)
}

pub(crate) fn icmp(kind: (u8, u8), rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[kind.0, kind.1, 0, 0][..], &rest, payload].concat();
    let check = !sum(&bytes, 0);
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

fn summed(tuple: Tuple, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let check = transport_sum(tuple.proto, (tuple.src.0, tuple.dst.0), &bytes);
    bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// The checksum of a segment whose own field is zero; zero itself is sent as all ones (RFC 768).
fn transport_sum(proto: u8, between: (Ipv4Addr, Ipv4Addr), segment: &[u8]) -> u16 {
    let mut pseudo = [between.0.octets(), between.1.octets()].concat();
    pseudo.extend([0, proto]);
    pseudo.extend(u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes());
    match !sum(segment, u32::from(sum(&pseudo, 0))) {
        0 if proto == UDP => 0xffff,
        check => check,
    }
}

/// The length that the IP header says it has, if the frame has as much.
pub(crate) fn header_length(frame: &[u8], ip: usize) -> Option<usize> {
    let length = usize::from(frame.get(ip)? & 0xf) * 4;
    (length >= 20 && frame.len() >= ip + length).then_some(length)
}

/// Makes the IP header's checksum right.
pub(crate) fn fix_ip(frame: &mut [u8]) {
    let Some(length) = header_length(frame, IP) else { return };
    frame[IP + 10..IP + 12].fill(0);
    let check = !sum(&frame[IP..IP + length], 0);
    put16(frame, IP + 10, check);
}

/// Makes the transport checksum right, of what is whole.
pub(crate) fn fix_transport(frame: &mut [u8]) {
    let Some(length) = header_length(frame, IP) else { return };
    let (proto, l4) = (frame[IP + 9], IP + length);
    let Some(at) = check_at(proto).map(|at| l4 + at).filter(|at| at + 2 <= frame.len()) else { return };
    put16(frame, at, 0);
    let check = match proto {
        ICMP => !sum(&frame[l4..], 0),
        _ => transport_sum(proto, (address(frame, IP + 12), address(frame, IP + 16)), &frame[l4..]),
    };
    put16(frame, at, check);
}

/// Where the checksum stands in a transport header.
pub(crate) fn check_at(proto: u8) -> Option<usize> {
    match proto {
        TCP => Some(16),
        UDP => Some(6),
        ICMP => Some(2),
        _ => None,
    }
}

pub(crate) fn get16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

pub(crate) fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

pub(crate) fn is_ipv4(frame: &[u8]) -> bool {
    get16(frame, 12) == Some(0x0800) && header_length(frame, IP).is_some()
}

pub(crate) fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// The tuple of the packet whose IP header is at `ip`: of a whole one or a first fragment.
pub(crate) fn tuple_at(frame: &[u8], ip: usize) -> Option<Tuple> {
    let l4 = ip + header_length(frame, ip)?;
    if get16(frame, ip + 6)? & 0x1fff != 0 {
        return None;
    }
    let proto = frame[ip + 9];
    let (sport, dport) = match proto {
        ICMP => match *frame.get(l4)? {
            8 => (get16(frame, l4 + 4)?, 0),
            0 => (0, get16(frame, l4 + 4)?),
            _ => return None,
        },
        // Junk of another protocol may have been TCP or UDP before.
        _ => (get16(frame, l4)?, get16(frame, l4 + 2)?),
    };
    Some(Tuple { proto, src: (address(frame, ip + 12), sport), dst: (address(frame, ip + 16), dport) })
}

pub(crate) fn tuple(frame: &[u8]) -> Option<Tuple> {
    is_ipv4(frame).then(|| tuple_at(frame, IP)).flatten()
}

fn get32(frame: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(get16(frame, at)?) << 16 | u32::from(get16(frame, at + 2)?))
}

/// The acknowledgment of a TCP segment that has one and is no reset.
pub(crate) fn acknowledgment(frame: &[u8]) -> Option<u32> {
    let l4 = IP + header_length(frame, IP)?;
    let flags = (frame[IP + 9] == TCP).then_some(*frame.get(l4 + 13)?)?;
    if flags & (ACK | RST) == ACK { get32(frame, l4 + 8) } else { None }
}

/// The sequence number of the TCP segment inside an ICMP error.
pub(crate) fn quoted_sequence(error: &[u8]) -> Option<u32> {
    let inner = IP + header_length(error, IP)? + 8;
    get32(error, inner + header_length(error, inner)? + 4)
}

pub(crate) fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

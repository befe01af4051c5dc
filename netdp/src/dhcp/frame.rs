//! Ethernet frames that carry DHCP: there is no address yet that a socket of the kernel could be bound to. Pure.

use std::net::Ipv4Addr;

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};

use crate::model::Mac;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_UDP: u8 = 17;
/// Hops that a frame may go: a server may be behind routers.
const TTL: u8 = 64;
/// More fragments, and where in the packet a fragment belongs (RFC 791, 3.1).
const FRAGMENT: u16 = 0x3fff;

/// From whom and to whom a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Way {
    pub(super) from: (Mac, Ipv4Addr),
    pub(super) to: (Mac, Ipv4Addr),
}

/// What a server has sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Received<'a> {
    /// Who sent it over the last link.
    pub(super) mac: Mac,
    pub(super) payload: &'a [u8],
}

/// A frame from the client's port to the server's.
pub(super) fn encode(way: Way, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| u16::try_from(header + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let (source, destination) = (way.from.1.octets(), way.to.1.octets());
    let mut frame = Vec::with_capacity(ETHERNET + IPV4 + UDP + payload.len());
    frame.extend(way.to.0.0);
    frame.extend(way.from.0.0);
    frame.extend(ETHERTYPE_IPV4);
    frame.extend([0x45, 0]);
    frame.extend(length(IPV4 + UDP));
    frame.extend([0, 0, 0, 0, TTL, PROTOCOL_UDP, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    let header = sum(&frame[ETHERNET..], 0);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header.to_be_bytes());
    let udp = frame.len();
    frame.extend(CLIENT_PORT.to_be_bytes());
    frame.extend(SERVER_PORT.to_be_bytes());
    frame.extend(length(UDP));
    frame.extend([0, 0]);
    frame.extend(payload);
    let mut pseudo = [source, destination].concat();
    pseudo.extend([0, PROTOCOL_UDP]);
    pseudo.extend(length(UDP));
    // A sum of zero would say that there is none (RFC 768).
    let checksum = match sum(&frame[udp..], partial(&pseudo)) {
        0 => u16::MAX,
        sum => sum,
    };
    frame[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The message in a frame from a server's port to a client's; none in anything else, or in one that is cut off. The sum of
/// UDP is not looked at: where the kernel leaves it to hardware it is not there yet.
pub(super) fn decode(frame: &[u8]) -> Option<Received<'_>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let mac = Mac(ethernet.get(6..12)?.try_into().ok()?);
    let version = *packet.first()?;
    let header = usize::from(version & 0xf) * 4;
    if ethernet[12..] != ETHERTYPE_IPV4 || version >> 4 != 4 || header < IPV4 {
        return None;
    }
    let packet = packet.get(..usize::from(word(packet, 2)?))?;
    let (ip, datagram) = packet.split_at_checked(header)?;
    if sum(ip, 0) != 0 || *ip.get(9)? != PROTOCOL_UDP || word(ip, 6)? & FRAGMENT != 0 {
        return None;
    }
    let datagram = datagram.get(..usize::from(word(datagram, 4)?))?;
    let ports = (word(datagram, 0)?, word(datagram, 2)?);
    (ports == (SERVER_PORT, CLIENT_PORT)).then_some(Received { mac, payload: datagram.get(UDP..)? })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn partial(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The Internet checksum (RFC 1071).
fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = before + partial(bytes);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way {
        from: (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::UNSPECIFIED),
        to: (Mac([0xff; 6]), Ipv4Addr::BROADCAST),
    };

    /// As a server would send it: the ports the other way round.
    fn from_server(payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(WAY, payload);
        let ports = ETHERNET + IPV4;
        frame[ports..ports + 4].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    /// The header's sum after a change of it.
    fn summed(mut frame: Vec<u8>) -> Vec<u8> {
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&[0, 0]);
        let header = sum(&frame[ETHERNET..ETHERNET + IPV4], 0);
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header.to_be_bytes());
        frame
    }

    #[test]
    fn a_frame_has_right_sums() {
        for payload in [&b"odd"[..], b"even", b""] {
            let frame = encode(WAY, payload);
            let ip = &frame[ETHERNET..];
            assert_eq!(sum(&ip[..IPV4], 0), 0);
            let length = u16::try_from(UDP + payload.len()).unwrap().to_be_bytes();
            let pseudo = [&ip[12..20], &[0, PROTOCOL_UDP][..], &length[..]].concat();
            assert_eq!(sum(&ip[IPV4..], partial(&pseudo)), 0);
        }
    }

    #[test]
    fn what_a_server_sends_is_taken_without_the_padding_of_the_link() {
        let frame = [from_server(b"lease"), vec![0; 13]].concat();
        assert_eq!(decode(&frame), Some(Received { mac: WAY.from.0, payload: b"lease" }));
    }

    #[test]
    fn what_is_something_else_is_not_taken() {
        let whole = from_server(b"lease");
        let with = |at: usize, byte: u8| {
            let mut frame = whole.clone();
            frame[at] = byte;
            summed(frame)
        };
        assert!(decode(&with(ETHERNET + 1, 0x10)).is_some(), "the change itself does no harm");
        for (at, byte, what) in [
            (12, 0x86, "another protocol"),
            (ETHERNET, 0x65, "another version"),
            (ETHERNET, 0x44, "a header that is too short"),
            (ETHERNET, 0x4f, "a header beyond the end"),
            (ETHERNET + 6, 0x20, "a first fragment"),
            (ETHERNET + 7, 1, "a later fragment"),
            (ETHERNET + 9, 6, "TCP"),
            (ETHERNET + IPV4 + 1, 68, "another client's question"),
            (ETHERNET + IPV4 + 3, 67, "to a server"),
            (ETHERNET + IPV4 + 5, 7, "a datagram shorter than its header"),
            (ETHERNET + IPV4 + 4, 1, "a datagram beyond the end"),
            (ETHERNET + 2, 0xff, "a packet beyond the end"),
        ] {
            assert_eq!(decode(&with(at, byte)), None, "{what}");
        }
        let mut frame = whole.clone();
        frame[ETHERNET + 8] ^= 1;
        assert_eq!(decode(&frame), None, "a header with another sum");
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "cut off after {length} bytes");
        }
    }
}

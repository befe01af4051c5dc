//! The Internet checksum, in full: it shares no code with what it judges.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{ICMP, SCTP, TCP, UDP};

/// Whether the transport checksum is still to be completed by the sending device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloaded {
    /// It stands complete in the frame.
    No,
    /// The field holds the sum of the pseudo header, which the device adds the rest to.
    Yes,
}

/// Ones' complement sum of big-endian 16-bit words, an odd last byte padded with zero, on top of `start`.
pub fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut total = u64::from(start);
    for pair in bytes.chunks(2) {
        total += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap()
}

pub(super) fn pseudo_sum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: usize) -> u32 {
    let mut header = [src.octets(), dst.octets()].concat();
    header.extend([0, protocol]);
    header.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    u32::from(sum(&header, 0))
}

pub(super) fn pseudo_sum6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, length: usize) -> u32 {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    u32::from(sum(&[&src.octets()[..], &dst.octets(), &length, &[0, 0, 0, protocol]].concat(), 0))
}

/// `CRC32c` (RFC 9260, appendix A), bit after bit; the sum of SCTP, which stands in the packet with its low byte first.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// `ICMPv6` in the field of the next header (RFC 4443).
const ICMP6: u8 = 58;
/// Length of the IPv6 header in bytes (RFC 8200, 3).
const HEADER6: usize = 40;

/// Says what is wrong with the checksums of an Ethernet frame; what is not whole IPv4 or IPv6, and IPv6 with extension
/// headers, is not judged.
pub fn judge(frame: &[u8], offloaded: Offloaded) -> Result<(), String> {
    match (frame.get(12..14), frame.get(14..)) {
        (Some([0x08, 0x00]), Some(packet)) => judge4(packet, offloaded),
        (Some([0x86, 0xdd]), Some(packet)) => judge6(packet, offloaded),
        _ => Ok(()),
    }
}

fn judge4(packet: &[u8], offloaded: Offloaded) -> Result<(), String> {
    let Some(header) = packet.get(..usize::from(packet.first().map_or(0, |first| first & 0x0f)) * 4) else {
        return Ok(());
    };
    if header.len() < 20 {
        return Ok(());
    }
    if sum(header, 0) != 0xffff {
        return Err(format!("IP checksum is wrong: sum {:04x}", sum(header, 0)));
    }
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let end = usize::from(u16::from_be_bytes([header[2], header[3]])).clamp(header.len(), packet.len());
    if is_fragment {
        return Ok(());
    }
    let segment = &packet[header.len()..end];
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let pseudo = pseudo_sum(address(12), address(16), header[9], segment.len());
    match header[9] {
        TCP => judge_transport("TCP", 16, pseudo, segment, offloaded),
        UDP if segment.get(6..8) == Some(&[0, 0]) => Ok(()),
        UDP => judge_transport("UDP", 6, pseudo, segment, offloaded),
        ICMP => judge_transport("ICMP", 2, 0, segment, offloaded),
        SCTP => judge_sctp(segment, offloaded),
        _ => Ok(()),
    }
}

/// Unlike in IPv4, a datagram needs a checksum, and ICMP has the pseudo header in its own (RFC 8200, 8.1).
fn judge6(packet: &[u8], offloaded: Offloaded) -> Result<(), String> {
    let Some((header, rest)) = packet.split_at_checked(HEADER6) else { return Ok(()) };
    // A GSO frame of more than 64 KiB says 0.
    let length = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 => rest.len(),
        length => length.min(rest.len()),
    };
    let segment = &rest[..length];
    let pseudo =
        [&header[8..], &u32::try_from(length).unwrap().to_be_bytes(), &[0, 0, 0, header[6]]].concat();
    let pseudo = u32::from(sum(&pseudo, 0));
    match header[6] {
        TCP => judge_transport("TCP", 16, pseudo, segment, offloaded),
        UDP => judge_transport("UDP", 6, pseudo, segment, offloaded),
        ICMP6 => judge_transport("ICMPv6", 2, pseudo, segment, offloaded),
        SCTP => judge_sctp(segment, offloaded),
        _ => Ok(()),
    }
}

/// Zero is one that is still to be made. Of several segments in one frame, each has its own, which is made later.
fn judge_sctp(segment: &[u8], offloaded: Offloaded) -> Result<(), String> {
    let Some(field) = segment.get(8..12) else { return Ok(()) };
    if field == [0; 4] && offloaded == Offloaded::Yes {
        return Ok(());
    }
    let whole = [&segment[..8], &[0; 4], &segment[12..]].concat();
    if field == crc32c(&whole).to_le_bytes() {
        Ok(())
    } else {
        Err(format!("SCTP checksum {field:02x?} is wrong"))
    }
}

fn judge_transport(
    name: &str,
    at: usize,
    start: u32,
    segment: &[u8],
    offloaded: Offloaded,
) -> Result<(), String> {
    let Some(field) = segment.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])) else {
        return Ok(());
    };
    let right = match offloaded {
        Offloaded::No => sum(segment, start) == 0xffff,
        Offloaded::Yes => u32::from(field) == start,
    };
    if right {
        Ok(())
    } else {
        Err(format!("{name} checksum {field:04x} is wrong (offloaded: {offloaded:?})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from `2001:db8::1` port 1 to `2001:db8::2` port 2 with the two bytes `hi`.
    fn datagram(checksum: u16) -> Vec<u8> {
        let mut frame = [&[0; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, UDP, 64]].concat();
        for last in [1, 2] {
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        frame.extend([0, 1, 0, 2, 0, 10]);
        frame.extend(checksum.to_be_bytes());
        frame.extend(*b"hi");
        frame
    }

    #[test]
    fn an_sctp_packet_is_judged_by_its_whole_sum() {
        let packet: crate::packet::Packet =
            crate::packet::Packet::sctp((Ipv4Addr::LOCALHOST, 1), (Ipv4Addr::LOCALHOST, 2), 1);
        let mut frame = packet.build();
        assert_eq!(judge(&frame, Offloaded::No), Ok(()));
        frame[34 + 3] ^= 1;
        assert!(judge(&frame, Offloaded::No).is_err() && judge(&frame, Offloaded::Yes).is_err());
        frame[34 + 8..34 + 12].fill(0);
        assert!(judge(&frame, Offloaded::No).is_err() && judge(&frame, Offloaded::Yes).is_ok());
    }

    #[test]
    fn an_ipv6_datagram_is_judged_with_its_pseudo_header() {
        // By hand: 2001 0db8 0001, 2001 0db8 0002, 000a and 0011 make 5b90, which with 0001 0002 000a 6869 makes c406.
        let right = !0xc406_u16;
        let sums: Vec<u16> =
            (0..=u16::MAX).filter(|sum| judge(&datagram(*sum), Offloaded::No).is_ok()).collect();
        assert_eq!(sums, [right]);
        assert!(judge(&datagram(0), Offloaded::No).is_err(), "none is not allowed");
        assert!(judge(&datagram(0x5b90), Offloaded::Yes).is_ok());
    }
}

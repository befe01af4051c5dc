//! The Internet checksum, in full: it shares no code with what it judges.

use std::net::Ipv4Addr;

use super::{ICMP, TCP, UDP};

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

/// Says what is wrong with the checksums of an Ethernet frame; what is not whole IPv4 is not judged.
pub fn judge(frame: &[u8], offloaded: Offloaded) -> Result<(), String> {
    let Some(packet) = frame.get(14..).filter(|_| frame[12..14] == [0x08, 0x00]) else { return Ok(()) };
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
    if is_fragment { Ok(()) } else { judge_transport(header, &packet[header.len()..end], offloaded) }
}

fn judge_transport(header: &[u8], segment: &[u8], offloaded: Offloaded) -> Result<(), String> {
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let protocol = header[9];
    let pseudo = pseudo_sum(address(12), address(16), protocol, segment.len());
    let (name, at, start) = match protocol {
        TCP => ("TCP", 16, pseudo),
        UDP => ("UDP", 6, pseudo),
        ICMP => ("ICMP", 2, 0),
        _ => return Ok(()),
    };
    let Some(field) = segment.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])) else {
        return Ok(());
    };
    if protocol == UDP && field == 0 {
        return Ok(());
    }
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

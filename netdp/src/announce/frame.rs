//! Frames that tell a LAN who has an address from now on. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// To everybody.
const BROADCAST: [u8; 6] = [0xff; 6];
/// To all nodes of IPv6 (RFC 2464, 7), and their address (RFC 4291, 2.7.1).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ARP: [u8; 2] = 0x0806_u16.to_be_bytes();
const IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
/// Ethernet, IPv4, lengths of their addresses, request (RFC 826).
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ICMPV6: u8 = 58;
/// Discovery is believed only when no router can have passed it on (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;
/// Neighbour advertisement (RFC 4861, 4.4): type, code, checksum, and the flag that what was known before no longer holds.
const ADVERTISEMENT: [u8; 8] = [136, 0, 0, 0, 0x20, 0, 0, 0];
/// Where the checksum stands in it.
const CHECKSUM: usize = 2;
/// Option "target link-layer address", eight bytes long.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];

/// The frame by which `mac` announces that an address is its own: an ARP announcement (RFC 5227, 2.3), or an unsolicited
/// neighbour advertisement (RFC 4861, 7.2.6).
pub(super) fn announcement(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

fn arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let own = address.octets();
    let header = [&BROADCAST[..], &mac, &ARP].concat();
    [&header[..], &ARP_REQUEST, &mac, &own, &[0; 6], &own].concat()
}

fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let own = address.octets();
    let mut message = [&ADVERTISEMENT[..], &own, &TARGET_LINK_LAYER, &mac].concat();
    let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
    let pseudo_header = [&own[..], &ALL_NODES.octets(), &[0, 0, 0, length, 0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[pseudo_header, message.clone()].concat());
    message[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    let header = [&ALL_NODES_MAC[..], &mac, &IPV6, &[0x60, 0, 0, 0, 0, length, ICMPV6, HOP_LIMIT]].concat();
    [&header[..], &own, &ALL_NODES.octets(), &message].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0x42, 192, 0, 2, 7];

    #[test]
    fn an_ipv4_address_is_announced_to_everybody_by_a_request_for_itself() {
        let frame = announcement(MAC, IpAddr::from([192, 0, 2, 7]));
        let expected = [
            &[0xff; 6][..],
            &MAC,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &MAC,
            &[192, 0, 2, 7],
            &[0; 6],
            &[192, 0, 2, 7],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn an_ipv6_address_is_advertised_to_all_nodes_and_overrides_what_they_know() {
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let frame = announcement(MAC, address.into());
        assert_eq!((&frame[..6], &frame[12..14]), (&[0x33, 0x33, 0, 0, 0, 1][..], &[0x86, 0xdd][..]));
        assert_eq!((frame.len(), frame[19], frame[20], frame[21]), (86, 32, 58, 255));
        assert_eq!((frame[54], frame[58]), (136, 0x20));
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[78..], [&[2, 1][..], &MAC].concat());
        // A sum over everything, with the checksum in place, is of all ones.
        let pseudo_header = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo_header[..], &frame[54..]].concat()), 0);
    }

    #[test]
    fn the_checksum_folds_more_than_once() {
        assert_eq!(checksum(&[0xff; 4]), 0);
        assert_eq!(checksum(&[0xff, 0xff, 0, 1]), 0xfffe);
        assert_eq!(checksum(&[]), 0xffff);
    }
}

//! Packets that name their own way (S9).

use std::net::Ipv4Addr;

use tests::packet::{Packet, SYN};

use crate::lan::{Lan, PUBLISHED};
use crate::wire::{REMOTE, Station};

/// A datagram and a SYN with a loose source route, and with a strict one, by way of another address.
fn routed(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), by: Ipv4Addr) -> Vec<Packet> {
    let option = |kind: u8| [&[kind, 7, 4][..], &by.octets(), &[0]].concat();
    let packets = [Packet::udp(from, to), Packet::tcp(from, to, SYN)];
    let with = |kind| packets.clone().map(|packet| packet.with(|p| p.options = option(kind)));
    [0x83, 0x89].into_iter().flat_map(with).collect()
}

#[test]
fn source_routed_packets_from_outside_reach_no_published_port() {
    let lan = Lan::with_prefilter();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    for packet in routed((REMOTE, 6666), (lan.host.address, PUBLISHED), lan.c2.address) {
        outside.send(&packet);
    }
    c1.refuses("a source-routed packet", |ip| ip.sport() == 6666);
}

#[test]
fn source_routed_packets_of_a_container_do_not_leave() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    for packet in routed((lan.c1.address, 6666), (REMOTE, 53), lan.c2.address) {
        c1.send(&packet);
    }
    outside.refuses("a source-routed packet", |ip| ip.dport() == 53);
}

//! One container takes what it can get: the others, and the host, notice nothing (R1, R14, S15, RFC 6888 REQ-11).

use std::net::Ipv4Addr;

use tests::packet::{Packet, SYN};
use tests::server::{Server, assert_served};
use tests::topology::Container;

use crate::lan::{Lan, Peer, REMOTES};
use crate::tcp::{assert_carries, connection};
use crate::wire::{REMOTE, Sender};

/// More flows than the table has room for.
const FLOOD: u32 = 140_000;

/// The container sends the first packet of so many flows.
pub(crate) fn flood(
    lan: &Lan,
    container: &Container,
    packet: impl Fn((Ipv4Addr, u16), (Ipv4Addr, u16)) -> Packet,
) {
    let sender = Sender::container(lan, container);
    for n in 0..FLOOD {
        let port = u16::try_from(1024 + n % 60_000).unwrap();
        let to = Ipv4Addr::from(u32::from(REMOTE) + n / 60_000);
        sender.send(&sender.frame(&packet((container.address, port), (to, 9))));
    }
}

#[test]
fn container_that_fills_the_table_takes_nothing_from_established_flows_nor_from_the_host() {
    let lan = Lan::new();
    let _servers = [Server::start(&lan.bed.outside.ns, 81), Server::start(&lan.host.ns, 82)];
    let (inside, outside, _) = connection(&lan);
    // The flood takes minutes where the processor is emulated. And not a resolver: its answers make room sooner.
    lan.host.netdp(&["timers", "set", "replied=3600"]).done();
    let (peer, remote) = (Peer::inside(&lan.c1, 7000), lan.remote(REMOTES[1], 5300));
    let seen = peer.seen_by(&remote);
    remote.send(seen, "answer");
    peer.hears();
    flood(&lan, &lan.c2, Packet::udp);
    assert_carries(&inside, &outside, b"established");
    assert_carries(&outside, &inside, b"established");
    remote.send(seen, "still there");
    assert_eq!(peer.hears().0, "still there");
    assert_eq!(peer.seen_by(&remote), seen);
    assert_served(&lan.host.ns, (REMOTES[0], 81), "outside");
    assert_served(&lan.bed.outside.ns, (lan.host.address, 82), "h1");
}

#[test]
fn syn_flood_of_a_container_takes_nothing_from_established_flows_nor_from_the_host() {
    let lan = Lan::new();
    let _servers = [Server::start(&lan.bed.outside.ns, 81), Server::start(&lan.host.ns, 82)];
    let (inside, outside, _) = connection(&lan);
    flood(&lan, &lan.c2, |from, to| Packet::tcp(from, to, SYN));
    assert_carries(&outside, &inside, b"established");
    assert_carries(&inside, &outside, b"established");
    assert_served(&lan.host.ns, (REMOTES[0], 81), "outside");
    assert_served(&lan.bed.outside.ns, (lan.host.address, 82), "h1");
}

#[test]
fn flood_of_fragments_leaves_other_traffic_untouched() {
    let lan = Lan::new();
    let _server = Server::start(&lan.bed.outside.ns, 81);
    let (inside, outside, _) = connection(&lan);
    for container in [&lan.c1, &lan.c2] {
        let sender = Sender::container(&lan, container);
        for id in 0..20_000 {
            let whole = Packet::udp((container.address, 6000), (REMOTES[0], 9));
            let first = whole.with(|p| (p.id, p.dont_fragment, p.more_fragments) = (id, false, true));
            sender.send(&sender.frame(&first));
        }
    }
    assert_carries(&inside, &outside, b"established");
    assert_carries(&outside, &inside, b"established");
    for container in [&lan.c1, &lan.c2] {
        assert_served(&container.ns, (REMOTES[0], 81), "outside");
    }
    assert_served(&lan.host.ns, (REMOTES[0], 81), "outside");
}

#[test]
fn flood_of_fragments_from_outside_leaves_other_traffic_untouched() {
    let lan = Lan::new();
    let _servers = [Server::start(&lan.bed.outside.ns, 81), Server::start(&lan.c1.ns, 80)];
    let (inside, outside, _) = connection(&lan);
    let sender = Sender::outside(&lan);
    for n in 0..40_000_u32 {
        let from = (Ipv4Addr::from(u32::from(REMOTE) + n / 10_000), 6000);
        let whole = Packet::udp(from, (lan.host.address, crate::lan::PUBLISHED));
        let id = u16::try_from(n).unwrap();
        let first = whole.with(|p| (p.id, p.dont_fragment, p.more_fragments) = (id, false, true));
        sender.send(&sender.frame(&first));
    }
    assert_carries(&inside, &outside, b"established");
    assert_carries(&outside, &inside, b"established");
    assert_served(&lan.bed.outside.ns, (lan.host.address, crate::lan::PUBLISHED), "c1");
    assert_served(&lan.c2.ns, (REMOTES[0], 81), "outside");
}

//! Fragments, in every order, both ways, and packets that become fragments on the way (RFC 4787 REQ-13a and 14, S17).

use std::net::Ipv4Addr;

use tests::packet::{Packet, UDP};
use tests::topology::UPLINK;

use crate::lan::{Lan, PUBLISHED, Peer, REMOTES};
use crate::wire::{REMOTE, Sender, Station};

/// Bytes of a datagram that takes three fragments.
const LONG: usize = 4000;

fn long_text(seed: usize) -> String {
    (0..LONG).map(|n| char::from(b'a' + u8::try_from((n / 7 + n + seed) % 26).unwrap())).collect()
}

/// The datagram in fragments of 1480 bytes, in order.
fn fragments(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), text: &str, id: u16) -> Vec<Packet> {
    let whole = Packet::udp(from, to).with(|p| p.payload = text.as_bytes().to_vec()).build();
    let parts = whole[34..].chunks(1480).enumerate();
    let last = whole[34..].len().div_ceil(1480) - 1;
    let part = |(n, bytes): (usize, &[u8])| {
        Packet::new(from.0, to.0, tests::packet::Carries::Other(UDP)).with(|p| {
            (p.id, p.dont_fragment, p.more_fragments) = (id, false, n != last);
            p.fragment_offset = u16::try_from(n * 185).unwrap();
            p.payload = bytes.to_vec();
        })
    };
    parts.map(part).collect()
}

fn send_all<'a>(station: &Station, packets: impl IntoIterator<Item = &'a Packet>) {
    for packet in packets {
        station.send(packet);
    }
}

#[test]
fn datagram_in_fragments_arrives_whole_both_ways() {
    let lan = Lan::dual();
    for family in lan.families() {
        let (inside, remote) = (family.inside(&lan.c1, 5000), lan.remote(family.remotes[0], 53));
        inside.send(remote.local(), &long_text(1));
        let (text, from) = remote.hears();
        assert!(text == long_text(1) && from.ip() == family.host);
        remote.send(from, &long_text(2));
        let (text, from) = inside.hears();
        assert!(text == long_text(2) && from == remote.local());
    }
}

#[test]
fn datagram_in_fragments_reaches_a_published_port_and_its_answer_comes_back() {
    let lan = Lan::dual();
    for family in lan.families() {
        let (inside, remote) = (family.inside(&lan.c1, 80), lan.remote(family.remotes[0], 53));
        remote.send((family.host, PUBLISHED), &long_text(3));
        let (text, from) = inside.hears();
        assert!(text == long_text(3) && from == remote.local());
        inside.send(from, &long_text(4));
        let (text, from) = remote.hears();
        assert!(text == long_text(4) && from == (family.host, PUBLISHED).into());
    }
}

/// A container to the port that its neighbour has published on the host, and to one of the host itself.
#[test]
fn datagram_in_fragments_reaches_the_host_and_what_is_published_there() {
    let lan = Lan::new();
    let (server, service) = (Peer::inside(&lan.c1, 80), Peer::at(&lan.host.ns, lan.host.address, 9000));
    let client = Peer::inside(&lan.c2, 5000);
    client.send((lan.host.address, 9000), &long_text(5));
    assert!(service.hears().0 == long_text(5));
    client.send((lan.host.address, PUBLISHED), &long_text(6));
    let (text, from) = server.hears();
    assert!(text == long_text(6));
    server.send(from, &long_text(7));
    assert!(client.hears() == (long_text(7), (lan.host.address, PUBLISHED).into()));
}

/// Every order of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn fragments_of_a_container_arrive_in_any_order() {
    let lan = Lan::new();
    let (c1, remote) = (Station::container(&lan, &lan.c1), lan.remote(REMOTES[0], 53));
    for (n, order) in ORDERS.into_iter().enumerate() {
        let id = u16::try_from(n).unwrap() + 100;
        let parts = fragments((lan.c1.address, 5000), (REMOTES[0], 53), &long_text(n), id);
        send_all(&c1, order.map(|at| &parts[at]));
        let (text, from) = remote.hears();
        assert!(text == long_text(n) && from.ip() == lan.host.address, "order {order:?}");
    }
}

#[test]
fn fragments_from_outside_arrive_in_any_order() {
    let lan = Lan::new();
    let (inside, outside) = (Peer::inside(&lan.c1, 80), Station::outside(&lan));
    for (n, order) in ORDERS.into_iter().enumerate() {
        let id = u16::try_from(n).unwrap() + 100;
        let parts = fragments((REMOTE, 5000), (lan.host.address, PUBLISHED), &long_text(n), id);
        send_all(&outside, order.map(|at| &parts[at]));
        let (text, from) = inside.hears();
        assert!(text == long_text(n) && from == (REMOTE, 5000).into(), "order {order:?}");
    }
}

#[test]
fn fragments_for_the_host_itself_are_its_own() {
    let lan = Lan::new();
    let (service, outside) = (Peer::at(&lan.host.ns, lan.host.address, 9000), Station::outside(&lan));
    for (n, order) in ORDERS.into_iter().enumerate() {
        let id = u16::try_from(n).unwrap() + 100;
        let parts = fragments((REMOTE, 5000), (lan.host.address, 9000), &long_text(n), id);
        send_all(&outside, order.map(|at| &parts[at]));
        assert_eq!(service.hears(), (long_text(n), (REMOTE, 5000).into()), "order {order:?}");
    }
}

#[test]
fn fragment_that_comes_twice_does_no_harm() {
    let lan = Lan::new();
    let (inside, outside) = (Peer::inside(&lan.c1, 80), Station::outside(&lan));
    let parts = fragments((REMOTE, 5000), (lan.host.address, PUBLISHED), &long_text(5), 200);
    send_all(&outside, [0, 1, 1, 0, 2].map(|at: usize| &parts[at]));
    assert_eq!(inside.hears().0, long_text(5));
}

#[test]
fn fragments_that_overlap_or_hide_the_ports_arrive_nowhere_and_whole_ones_do() {
    let lan = Lan::new();
    let (inside, outside) = (Peer::inside(&lan.c1, 80), Station::outside(&lan));
    let to = (lan.host.address, PUBLISHED);
    let mut overlapping = fragments((REMOTE, 5000), to, &long_text(6), 300);
    overlapping[1].fragment_offset -= 1;
    send_all(&outside, &overlapping);
    // The first has eight bytes, which is the UDP header alone; less than that no fragment but the last can have.
    let mut tiny = fragments((REMOTE, 5000), to, "12345678", 301);
    tiny[0].payload.truncate(4);
    tiny[0].more_fragments = true;
    send_all(&outside, &tiny);
    inside.hears_nothing();
    send_all(&outside, &fragments((REMOTE, 5000), to, &long_text(7), 302));
    assert_eq!(inside.hears().0, long_text(7));
}

/// More first fragments than one container may have waiting, and more memory than all of them may have by default.
#[test]
fn flood_of_fragments_of_a_container_leaves_those_of_its_neighbour_alone() {
    let lan = Lan::new();
    let (neighbour, remote) = (Peer::inside(&lan.c2, 5000), lan.remote(REMOTES[0], 53));
    let sender = Sender::container(&lan, &lan.c1);
    for id in 0..20_000 {
        let parts = fragments((lan.c1.address, 6000), (REMOTES[1], 9), &long_text(9), id);
        sender.send(&sender.frame(&parts[0]));
    }
    neighbour.send(remote.local(), &long_text(9));
    assert!(remote.hears().0 == long_text(9));
    let drops = lan.host.json(&["status"])["drops"].to_string();
    assert!(drops.contains("fragment_limit"), "{drops}");
}

/// A packet of 1428 bytes that may be cut leaves by so many fragments, in order and each within the MTU, and arrives.
fn assert_cut(lan: &Lan, mtu: u16, count: usize) {
    let (c1, outside) = (Station::container(lan, &lan.c1), Station::outside(lan));
    let remote = lan.remote(REMOTES[0], 53);
    let text = &long_text(8)[..1400];
    let packet = Packet::udp((lan.c1.address, 5000), (REMOTES[0], 53));
    c1.send(&packet.with(|p| (p.dont_fragment, p.payload) = (false, text.as_bytes().to_vec())));
    let (heard, from) = remote.hears();
    assert!(heard == text && from.ip() == lan.host.address);
    let fragments: Vec<_> = outside.arrived().into_iter().filter(|ip| ip.protocol == UDP).collect();
    let parts: Vec<_> = fragments.iter().map(|ip| ip.fragment).collect();
    assert_eq!(parts.len(), count, "{parts:?}");
    assert!(parts.is_sorted_by_key(|(_, offset)| *offset) && parts[0] == (true, 0), "{parts:?}");
    assert!(fragments.iter().all(|ip| 20 + ip.body.len() <= usize::from(mtu)), "{parts:?}");
}

#[test]
fn packet_that_may_be_fragmented_leaves_a_narrow_uplink_in_fragments_in_order() {
    let lan = Lan::new();
    lan.host.ns.sh(&format!("ip link set {UPLINK} mtu 1300")).done();
    lan.bed.outside.ns.sh("ip link set h1 mtu 1300").done();
    assert_cut(&lan, 1300, 2);
}

/// As after an ICMP error that asked for less than the host believes anybody (`net.ipv4.route.min_pmtu`, 552).
#[test]
fn packet_that_may_be_fragmented_is_cut_for_a_path_that_is_narrower_than_its_links() {
    let lan = Lan::new();
    lan.host.ns.sh(&format!("ip route add {} dev {UPLINK} mtu lock 552", REMOTES[0])).done();
    assert_cut(&lan, 552, 3);
}

//! Mappings that do not depend on whom the inside talks to, also where another container is in the way (RFC 4787 REQ-1, 3
//! and 11, RFC 5382 REQ-1, RFC 5508 REQ-1a), and what is built on them.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use tests::server::{Server, ask_stream};

use crate::lan::{Lan, Peer, REMOTES, connect_from};
use crate::mapping::outside_id;
use crate::wire::{OTHER, REMOTE, Station};

#[test]
fn udp_endpoint_is_seen_as_one_although_another_container_has_its_port_towards_one_remote() {
    let lan = Lan::new();
    let [first, second, _] = REMOTES.map(|address| lan.remote(address, 53));
    let (rival, inside) = (Peer::inside(&lan.c2, 5000), Peer::inside(&lan.c1, 5000));
    rival.seen_by(&first);
    let by_second = inside.seen_by(&second);
    assert_eq!(inside.seen_by(&first), by_second);
    assert_eq!(inside.seen_by(&second), by_second, "a later remote moves no mapping");
}

#[test]
fn two_udp_endpoints_share_no_outside_one_even_towards_different_remotes() {
    let lan = Lan::new();
    let [first, second, _] = REMOTES.map(|address| lan.remote(address, 53));
    let (one, two) = (Peer::inside(&lan.c1, 5000), Peer::inside(&lan.c2, 5000));
    assert_ne!(one.seen_by(&first), two.seen_by(&second));
}

#[test]
fn mapping_is_endpoint_independent_also_when_another_container_has_many_ports() {
    let lan = Lan::new();
    let [first, second, third] = REMOTES.map(|address| lan.remote(address, 53));
    let ports = 41_000..41_050;
    let rivals: Vec<Peer> = ports.clone().map(|port| Peer::inside(&lan.c2, port)).collect();
    for rival in &rivals {
        rival.seen_by(&first);
    }
    for inside in ports.map(|port| Peer::inside(&lan.c1, port)) {
        let seen: BTreeSet<_> =
            [&second, &first, &third].iter().map(|remote| inside.seen_by(remote)).collect();
        assert_eq!(seen.len(), 1, "{} is seen as {seen:?}", inside.local());
    }
}

#[test]
fn identifier_is_seen_as_one_although_another_container_has_it_towards_one_remote() {
    let lan = Lan::new();
    let (one, two) = (Station::container(&lan, &lan.c1), Station::container(&lan, &lan.c2));
    let outside = Station::outside(&lan);
    outside_id(&two, &outside, lan.c2.address, REMOTE, 77);
    let by_other = outside_id(&one, &outside, lan.c1.address, OTHER, 77);
    assert_eq!(outside_id(&one, &outside, lan.c1.address, REMOTE, 77), by_other);
}

#[test]
fn tcp_endpoint_is_seen_as_one_although_another_container_has_its_port_towards_one_remote() {
    let lan = Lan::new();
    let _servers = REMOTES.map(|remote| Server::start_at(&lan.bed.outside.ns, (remote, 80).into()));
    let [first, second, _] = REMOTES.map(|remote| SocketAddrV4::new(remote, 80));
    let _rival = connect_from(&lan.c2.ns, 5000, first).unwrap();
    let streams = [first, second].map(|to| connect_from(&lan.c1.ns, 5000, to).unwrap());
    let [by_first, by_second] = streams.each_ref().map(|stream| ask_stream(stream).unwrap().seen);
    assert_eq!(by_first, by_second);
}

#[test]
fn udp_filter_of_a_network_lets_every_remote_in_when_it_is_told_to() {
    let lan = Lan::new();
    let option = "udp-filtering=endpoint-independent";
    lan.host.netdp(&["network", "create", "-o", option, "open"]).done();
    let c3 = lan.bed.container(&lan.host, "c3", &["--network", "open"]);
    let inside = Peer::inside(&c3, 5000);
    let seen = inside.seen_by(&lan.remote(REMOTES[0], 53));
    let other = lan.remote(REMOTES[1], 99);
    other.send(seen, "unasked");
    assert_eq!(inside.hears(), ("unasked".to_owned(), other.local()));
}

#[test]
fn defaults_of_the_host_hold_at_once_where_a_network_says_nothing_itself() {
    let lan = Lan::new();
    let option = "udp-filtering=address-and-port-dependent";
    lan.host.netdp(&["network", "create", "-o", option, "closed"]).done();
    let c3 = lan.bed.container(&lan.host, "c3", &["--network", "closed"]);
    lan.host.netdp(&["defaults", "set", "udp-filtering=endpoint-independent"]).done();
    let (remote, other) = (lan.remote(REMOTES[0], 53), lan.remote(REMOTES[1], 99));
    let (inside, closed) = (Peer::inside(&lan.c1, 5000), Peer::inside(&c3, 5001));
    other.send(inside.seen_by(&remote), "unasked");
    assert_eq!(inside.hears(), ("unasked".to_owned(), other.local()));
    other.send(closed.seen_by(&remote), "unasked");
    closed.hears_nothing();
    lan.host.netdp(&["defaults", "set", "udp-mapping=address-and-port-dependent"]).done();
    let rival = Peer::inside(&lan.c2, 6000);
    rival.seen_by(&remote);
    let inside = Peer::inside(&lan.c1, 6000);
    let seen = [&remote, &other].map(|remote| inside.seen_by(remote).port());
    assert!(seen[0] != 6000 && seen[1] == 6000, "{seen:?}");
}

#[test]
fn two_mapped_udp_endpoints_reach_one_another_by_their_outside_ones() {
    let lan = Lan::new();
    let remote = lan.remote(REMOTES[0], 53);
    let (one, two) = (Peer::inside(&lan.c1, 5000), Peer::inside(&lan.c2, 6000));
    let (as_one, as_two) = (one.seen_by(&remote), two.seen_by(&remote));
    one.send(as_two, "opens the filter");
    two.send(as_one, "from two");
    assert_eq!(one.hears(), ("from two".to_owned(), as_two));
    one.send(as_two, "from one");
    // The first packet came before the filter was open for it, so it may be missing.
    assert_eq!(two.hears().1, as_one);
}

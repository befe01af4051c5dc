//! Which outside address and port an inside one gets (RFC 4787 section 4, RFC 5382 section 4).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use tests::packet::Packet;
use tests::server::{Server, ask_stream};
use tests::topology::UPLINK;

use crate::lan::{Lan, Peer, REMOTES, connect_from};
use crate::wire::{OTHER, REMOTE, Station};

#[test]
fn udp_endpoint_is_seen_as_one_by_every_remote_and_port() {
    let lan = Lan::dual();
    for family in lan.families() {
        let [one, two, three] = family.remotes;
        let remotes =
            [(one, 53), (one, 54), (two, 53), (three, 53)].map(|(address, port)| lan.remote(address, port));
        let inside = family.inside(&lan.c1, 5000);
        let seen: BTreeSet<SocketAddr> = remotes.iter().map(|remote| inside.seen_by(remote)).collect();
        assert_eq!(seen, BTreeSet::from([SocketAddr::from((family.host, 5000))]));
    }
}

#[test]
fn two_udp_endpoints_share_no_outside_one_towards_one_remote_and_each_gets_its_answers() {
    let lan = Lan::dual();
    for (family, port) in
        lan.families().iter().flat_map(|family| [777, 5000, 65_535].map(|port| (family, port)))
    {
        let remote = lan.remote(family.remotes[0], 53);
        let (one, two) = (family.inside(&lan.c1, port), family.inside(&lan.c2, port));
        let (as_one, as_two) = (one.seen_by(&remote), two.seen_by(&remote));
        assert_ne!(as_one, as_two);
        remote.send(as_one, "to one");
        remote.send(as_two, "to two");
        assert_eq!((one.hears().0, two.hears().0), ("to one".to_owned(), "to two".to_owned()));
        one.hears_nothing();
    }
}

#[test]
fn port_that_is_taken_is_replaced_by_one_of_its_class() {
    let lan = Lan::dual();
    let ports = [1, 600, 1023, 1024, 40_000, 65_535];
    for family in lan.families() {
        let remote = lan.remote(family.remotes[0], 53);
        // All of them first: what is chosen instead of one may be any other.
        for port in ports {
            assert_eq!(family.inside(&lan.c1, port).seen_by(&remote).port(), port);
        }
        for port in ports {
            let other = family.inside(&lan.c2, port).seen_by(&remote).port();
            assert!(!ports.contains(&other) && (other < 1024) == (port < 1024), "{other} instead of {port}");
        }
    }
}

#[test]
fn container_keeps_one_of_several_outside_addresses_for_every_protocol() {
    let lan = Lan::new();
    lan.host.ns.sh(&format!("ip address add 203.0.113.200/24 dev {UPLINK}")).done();
    lan.host.ns.sh(&format!("ip address add 203.0.113.201/24 dev {UPLINK}")).done();
    lan.host.up_once();
    let (c1, outside) = (Station::listening(&lan, &lan.c1), Station::outside(&lan));
    let _servers = REMOTES.map(|remote| Server::start_at(&lan.bed.outside.ns, (remote, 80).into()));
    let mut seen = BTreeSet::new();
    for (remote, id) in REMOTES.iter().zip(60..) {
        let stream = connect_from(&lan.c1.ns, 0, SocketAddrV4::new(*remote, 80)).unwrap();
        seen.insert(ask_stream(&stream).unwrap().seen.ip());
        seen.insert(Peer::inside(&lan.c1, 0).seen_by(&lan.remote(*remote, 53)).ip());
        c1.send(&Packet::ping(lan.c1.address, REMOTE, id));
        let ping = outside.awaits("a ping", |ip| ip.kind() == Some((8, 0)) && ip.id() == id);
        seen.insert(IpAddr::from(ping.src));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn tcp_endpoint_is_seen_as_one_by_every_remote() {
    let lan = Lan::dual();
    for family in lan.families() {
        let remotes = family.remotes.map(|remote| SocketAddr::new(remote, 80));
        let _servers = remotes.map(|remote| Server::start_at(&lan.bed.outside.ns, remote));
        let streams = remotes.map(|remote| connect_from(&lan.c1.ns, 5000, remote).unwrap());
        let seen = streams.each_ref().map(|stream| ask_stream(stream).unwrap().seen);
        assert_eq!(seen, [SocketAddr::from((family.host, 5000)); 3]);
    }
}

#[test]
fn two_tcp_connections_share_no_outside_port_towards_one_remote() {
    let lan = Lan::dual();
    for family in lan.families() {
        let to = SocketAddr::new(family.remotes[0], 80);
        let _server = Server::start_at(&lan.bed.outside.ns, to);
        let streams = [&lan.c1, &lan.c2].map(|container| connect_from(&container.ns, 5000, to).unwrap());
        let [one, two] = streams.each_ref().map(|stream| ask_stream(stream).unwrap().seen);
        assert!(one != two && one.ip() == two.ip(), "{one} {two}");
    }
}

/// Sends an echo request from each container, and gives the identifier that the remote saw.
pub(crate) fn outside_id(station: &Station, outside: &Station, from: Ipv4Addr, to: Ipv4Addr, id: u16) -> u16 {
    let text = format!("{from}-{to}-{id}");
    station.send(&Packet::ping(from, to, id).with(|packet| packet.payload = text.clone().into_bytes()));
    outside.awaits("the request", |ip| ip.dst == to && ip.has(text.as_bytes())).id()
}

#[test]
fn two_containers_with_one_identifier_each_get_their_answers() {
    let lan = Lan::new();
    let (one, two) = (Station::container(&lan, &lan.c1), Station::container(&lan, &lan.c2));
    let outside = Station::outside(&lan);
    let as_one = outside_id(&one, &outside, lan.c1.address, REMOTE, 77);
    let as_two = outside_id(&two, &outside, lan.c2.address, REMOTE, 77);
    assert_ne!(as_one, as_two);
    for (station, id, text) in [(&one, as_one, b"to one"), (&two, as_two, b"to two")] {
        outside
            .send(&Packet::pong(REMOTE, lan.host.address, id).with(|packet| packet.payload = text.to_vec()));
        let answer = station.awaits("the answer", |ip| ip.kind() == Some((0, 0)));
        assert!(answer.id() == 77 && answer.has(text), "{answer:?}");
    }
}

#[test]
fn identifier_is_seen_as_one_by_every_remote() {
    let lan = Lan::new();
    let (one, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let seen = [REMOTE, OTHER].map(|remote| outside_id(&one, &outside, lan.c1.address, remote, 77));
    assert_eq!(seen, [77, 77]);
}

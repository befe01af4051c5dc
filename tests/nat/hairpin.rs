//! Containers that meet by the host's outside address (RFC 4787 section 6, RFC 5382 section 7.1, RFC 5508 section 4.4).

use std::io::ErrorKind;
use std::net::SocketAddr;

use tests::server::{Server, ask_stream, ask_udp};

use crate::lan::{Lan, PUBLISHED, connect_from};
use crate::wire::Station;

#[test]
fn published_port_sees_the_outside_endpoint_of_a_neighbour_for_udp() {
    let lan = Lan::dual();
    for family in lan.families() {
        let (inside, remote) = (family.inside(&lan.c1, 80), lan.remote(family.remotes[0], 53));
        let neighbour = family.inside(&lan.c2, 7000);
        let outside = neighbour.seen_by(&remote);
        let published = SocketAddr::from((family.host, PUBLISHED));
        neighbour.send(published, "hello");
        let (text, from) = inside.hears();
        assert_eq!((text.as_str(), from), ("hello", outside));
        inside.send(from, "answer");
        assert_eq!(neighbour.hears(), ("answer".to_owned(), published));
    }
}

#[test]
fn published_port_sees_the_outside_endpoint_of_a_neighbour_for_tcp() {
    let lan = Lan::dual();
    for family in lan.families() {
        let remote = SocketAddr::new(family.remotes[0], 80);
        let _servers = [family.server(&lan.c1, 80), Server::start_at(&lan.bed.outside.ns, remote)];
        let to = [SocketAddr::new(family.host, PUBLISHED), remote];
        let streams = to.map(|to| connect_from(&lan.c2.ns, 7000, to).unwrap());
        let [inside, outside] = streams.each_ref().map(|stream| ask_stream(stream).unwrap());
        assert_eq!((inside.name.as_str(), inside.seen.ip()), ("c1", family.host));
        assert_eq!(inside.seen, outside.seen);
    }
}

#[test]
fn closed_port_behind_a_published_one_is_reported_to_a_neighbour_by_the_outside_address() {
    let lan = Lan::new();
    let c2 = Station::listening(&lan, &lan.c2);
    let error = ask_udp(&lan.c2.ns, 7000, (lan.host.address, PUBLISHED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let error = c2.awaits("the error", |ip| ip.kind() == Some((3, 3)));
    let inner = error.inner();
    assert_eq!((error.src, error.dst), (lan.host.address, lan.c2.address));
    assert_eq!((inner.src, inner.sport()), (lan.c2.address, 7000));
    assert_eq!((inner.dst, inner.dport()), (lan.host.address, PUBLISHED));
    assert!(inner.header_sum);
}

#[test]
fn query_to_the_outside_address_is_answered_by_it() {
    let lan = Lan::new();
    let c2 = Station::listening(&lan, &lan.c2);
    lan.c2.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 2 {}", lan.host.address)).done();
    c2.awaits("the answer", |ip| ip.kind() == Some((0, 0)) && ip.src == lan.host.address);
}

//! Whom a mapping lets in (RFC 4787 section 5, RFC 5382 section 4.3 and 5).

use std::net::{SocketAddr, SocketAddrV4};

use tests::packet::{ACK, Packet, RST, SYN, TCP};

use crate::lan::{Lan, PUBLISHED};
use crate::wire::{OTHER, REMOTE, Station};

#[test]
fn udp_from_another_address_or_port_does_not_reach_a_mapping() {
    let lan = Lan::dual();
    for family in lan.families() {
        let [address, other, _] = family.remotes;
        let (remote, inside) = (lan.remote(address, 53), family.inside(&lan.c1, 5000));
        let seen = inside.seen_by(&remote);
        for (address, port) in [(other, 53), (address, 54), (other, 54)] {
            lan.remote(address, port).send(seen, "unasked");
        }
        inside.hears_nothing();
        remote.send(seen, "asked");
        assert_eq!(inside.hears(), ("asked".to_owned(), remote.local()));
    }
}

/// A SYN of the container has made a mapping of port 5000 towards [`REMOTE`].
pub(crate) fn tcp_mapping(lan: &Lan) -> (Station, Station, SocketAddr) {
    let (c1, outside) = (Station::container(lan, &lan.c1), Station::outside(lan));
    c1.send(&Packet::tcp((lan.c1.address, 5000), (REMOTE, 80), SYN));
    let syn = outside.awaits("the SYN", |ip| ip.dst == REMOTE && ip.protocol == TCP);
    let seen = SocketAddr::from(SocketAddrV4::new(syn.src, syn.sport()));
    (c1, outside, seen)
}

#[test]
fn tcp_from_another_address_or_port_does_not_reach_a_mapping() {
    let lan = Lan::new();
    let (c1, outside, seen) = tcp_mapping(&lan);
    let to = (lan.host.address, seen.port());
    for from in [(OTHER, 80), (REMOTE, 81)] {
        for flags in [SYN, SYN | ACK, ACK, RST] {
            outside.send(&Packet::tcp(from, to, flags));
        }
    }
    c1.refuses("unasked", |ip| ip.protocol == TCP);
    outside.send(&Packet::tcp((REMOTE, 80), to, SYN | ACK));
    c1.awaits("the answer", |ip| ip.src == REMOTE && ip.flags() == SYN | ACK);
}

#[test]
fn published_port_lets_every_remote_in() {
    let lan = Lan::dual();
    for family in lan.families() {
        let inside = family.inside(&lan.c1, 80);
        for address in family.remotes {
            let remote = lan.remote(address, 99);
            remote.send((family.host, PUBLISHED), "hello");
            let (text, from) = inside.hears();
            assert_eq!((text.as_str(), from), ("hello", remote.local()));
            inside.send(from, "answer");
            assert_eq!(remote.hears().1, SocketAddr::from((family.host, PUBLISHED)));
        }
    }
}

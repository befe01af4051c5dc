//! Destinations that a network's masquerade leaves out (RFC 6888 REQ-6).

use std::net::{IpAddr, SocketAddr};

use tests::packet::UDP;
use tests::topology::Container;

use crate::lan::{Lan, Peer, REMOTES};
use crate::wire::{REMOTE, ROUTER, Station};

#[test]
fn destination_that_is_excluded_is_not_translated_and_others_are() {
    let lan = Lan::new();
    // A subnet that may leave: the guard of the uplinks knows private addresses only.
    let options = ["--subnet", "198.19.0.0/24", "-o", "masquerade-exclude=198.51.100.0/24"];
    lan.host.netdp(&[&["network", "create"], &options[..], &["routed"]].concat()).done();
    let c3 = lan.bed.container(&lan.host, "c3", &["--network", "routed"]);
    let outside = Station::outside(&lan);
    for (to, seen_as) in [(REMOTE, c3.address), (ROUTER, lan.host.address)] {
        let send = format!("echo hello >/dev/udp/{to}/53");
        c3.ns.sh(&format!("bash -c '{send}'")).done();
        let packet = outside.awaits("the packet", |ip| ip.dst == to && ip.protocol == UDP);
        assert_eq!(packet.src, seen_as, "{to}");
    }
}

/// A container whose network reaches the first of the remotes untranslated, and the way back to it.
fn routed(lan: &Lan) -> Container {
    let subnets = ["--ipv6", "--subnet", "198.19.0.0/24", "--subnet", "2001:db8:19::/64"];
    let exclude = ["-o", "masquerade-exclude=203.0.113.1", "-o", "masquerade-exclude=2001:db8:113::1"];
    lan.host.netdp(&[&["network", "create"], &subnets[..], &exclude, &["routed"]].concat()).done();
    let back = [
        format!("ip route add 198.19.0.0/24 via {}", lan.host.address),
        format!("ip -6 route add 2001:db8:19::/64 via {}", lan.host.address6),
    ];
    lan.bed.outside.ns.sh(&back.join(" && ")).done();
    lan.bed.container(&lan.host, "c3", &["--network", "routed"])
}

#[test]
fn replies_of_an_excluded_destination_come_in_and_nothing_unasked_does() {
    let lan = Lan::dual();
    let c3 = routed(&lan);
    let addresses = [IpAddr::from(c3.address), c3.address6.unwrap().into()];
    for (family, own) in lan.families().iter().zip(addresses) {
        let (inside, remote) = (family.inside(&c3, 5000), lan.remote(family.remotes[0], 53));
        let other = lan.remote(family.remotes[1], 53);
        let as_itself = SocketAddr::from((own, 5000));
        other.send(as_itself, "unasked");
        inside.hears_nothing();
        assert_eq!(inside.seen_by(&remote), as_itself);
        remote.send(as_itself, "answer");
        assert_eq!(inside.hears(), ("answer".to_owned(), remote.local()));
        let stranger = lan.remote(family.remotes[0], 54);
        for unasked in [&stranger, &other] {
            unasked.send(as_itself, "unasked");
            inside.hears_nothing();
        }
        assert_eq!(inside.seen_by(&other), (family.host, 5000).into());
    }
}

#[test]
fn other_networks_masquerade_towards_what_one_has_excluded() {
    let lan = Lan::dual();
    let _c3 = routed(&lan);
    for family in lan.families() {
        let inside = family.inside(&lan.c1, 5000);
        assert_eq!(inside.seen_by(&lan.remote(family.remotes[0], 53)), (family.host, 5000).into());
    }
    lan.host.netdp(&["detach", "c3"]).done();
    lan.host.netdp(&["network", "rm", "routed"]).done();
    let create = ["network", "create", "--subnet", "10.8.0.0/24", "later"];
    lan.host.netdp(&create).done();
    let c4 = lan.bed.container(&lan.host, "c4", &["--network", "later"]);
    let seen = Peer::inside(&c4, 5001).seen_by(&lan.remote(REMOTES[0], 53));
    assert_eq!(seen.ip(), IpAddr::from(lan.host.address));
}

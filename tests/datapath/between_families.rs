//! A client with IPv6, and a container with IPv4 only (RFC 7915).

use std::net::{Ipv4Addr, Ipv6Addr};

use netdp_common::{Addr, Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, DESTINATION, Packet, SYN};
use tests::program::{DROP, REDIRECT};

use crate::fixture::ipv6::{HOST, REMOTE};
use crate::fixture::{C1, DNS, GATEWAY, WEB, World};

/// IPv4 ports of `C1` that IPv6 leads to as well.
fn world() -> World {
    let mut world = World::new();
    world.publish(Addr::UNSPECIFIED, WEB, proto::TCP);
    world.publish(Addr::UNSPECIFIED, DNS, proto::UDP);
    world.publish(Addr::UNSPECIFIED, (9000, 9000), proto::SCTP);
    world
}

/// The packet with addresses of IPv4, as the container gets it: no identification, and not to be cut.
fn translated(world: &World, sent: &Packet<Ipv6Addr>, port: u16) -> Packet<Ipv4Addr> {
    let packet = Packet::new(GATEWAY, C1, sent.carries.clone()).with(|p| {
        p.payload.clone_from(&sent.payload);
        (p.ttl, p.id) = (sent.ttl - 1, 0);
        p.set_dport(port);
    });
    world.to_c1(packet)
}

/// The answer with addresses of IPv6, as the client gets it.
fn answered(sent: &Packet<Ipv4Addr>, port: u16) -> Packet<Ipv6Addr> {
    let packet = Packet::new(HOST, REMOTE, sent.carries.clone()).with(|p| {
        p.payload.clone_from(&sent.payload);
        p.ttl = sent.ttl - 1;
        p.set_sport(port);
    });
    packet.link(sent.from_mac, sent.to_mac)
}

fn gets(outcome: &tests::program::Outcome, bytes: &[u8]) {
    let difference = tests::packet::difference(bytes, &outcome.bytes);
    assert_eq!((outcome.verdict, difference), (REDIRECT, None));
}

#[test]
fn connection_from_ipv6_is_served_by_ipv4() {
    let mut world = world();
    let client = |flags| Packet::tcp((REMOTE, 5000), (HOST, WEB.0), flags);
    let server = |flags| Packet::tcp((C1, WEB.1), (GATEWAY, 5000), flags);
    for len in [0, 1, 8, 1000, 1201] {
        let flags = if len == 0 { SYN } else { ACK };
        let there = world.as_outside(client(flags).with(|p| p.payload = vec![7; len]));
        let got = translated(&world, &there, WEB.1);
        gets(&world.outside_sends(&there), &got.build());
        let flags = if len == 0 { SYN | ACK } else { ACK };
        let back = world.as_c1(server(flags).with(|p| p.payload = vec![9; len]));
        gets(&world.container_sends(&back), &answered(&back, WEB.0).build());
    }
}

#[test]
fn datagram_from_ipv6_is_served_by_ipv4() {
    let mut world = world();
    for len in [0, 1, 8, 1001] {
        let there = Packet::udp((REMOTE, 5000), (HOST, DNS.0)).with(|p| p.payload = vec![7; len]);
        let there = world.as_outside(there);
        let got = translated(&world, &there, DNS.1);
        gets(&world.outside_sends(&there), &got.build());
        let back = Packet::udp((C1, DNS.1), (GATEWAY, 5000)).with(|p| p.payload = vec![9; len]);
        let back = world.as_c1(back);
        gets(&world.container_sends(&back), &answered(&back, DNS.0).build());
    }
}

#[test]
fn what_ipv4_cannot_say_is_refused() {
    let mut world = world();
    let sctp = world.as_outside(Packet::sctp((REMOTE, 5000), (HOST, 9000), 1));
    let outcome = world.outside_sends(&sctp);
    assert_eq!(outcome.verdict, DROP);
    assert!(outcome.change.counts.contains_key(&Reason::FamilyMismatch.number()), "{outcome:?}");
    let mut chain = world.as_outside(Packet::tcp((REMOTE, 5001), (HOST, WEB.0), SYN));
    chain.extensions = vec![(DESTINATION, vec![0, 0, 1, 4, 0, 0, 0, 0])];
    let outcome = world.outside_sends(&chain);
    assert_eq!(outcome.verdict, DROP);
    assert!(outcome.change.counts.contains_key(&Reason::FamilyMismatch.number()), "{outcome:?}");
}

#[test]
fn header_options_of_an_answer_are_refused() {
    let mut world = world();
    let there = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, DNS.0)));
    assert_eq!(world.outside_sends(&there).verdict, REDIRECT);
    let mut back = world.as_c1(Packet::udp((C1, DNS.1), (GATEWAY, 5000)));
    back.options = vec![1, 1, 1, 0];
    let outcome = world.container_sends(&back);
    assert_eq!(outcome.verdict, DROP);
    assert!(outcome.change.counts.contains_key(&Reason::FamilyMismatch.number()), "{outcome:?}");
}

#[test]
fn error_about_such_a_flow_is_not_translated() {
    let mut world = world();
    let there = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, DNS.0)));
    assert_eq!(world.outside_sends(&there).verdict, REDIRECT);
    let received = Packet::udp((GATEWAY, 5000), (C1, DNS.1));
    let error = world.as_c1(Packet::error(C1, (3, 3), &received.build(), 8));
    Expect::slow_path().of(&world.machine.run(names::FROM_CONTAINER, "c1", &error.build()));
}

//! Reasons that only an odd machine makes, and that there is a test of each.

use netdp_common::{Link, Reason, names};
use tests::expect::Expect;
use tests::packet::Carries;

use crate::fixture::ipv4::{Packet, ROUTER, TIME_EXCEEDED};
use crate::fixture::{C1, DNS, GATEWAY, HOST, REMOTE, World};

/// Where drops are declared.
const TESTS: [&str; 29] = [
    include_str!("answer.rs"),
    include_str!("between_families.rs"),
    include_str!("direct.rs"),
    include_str!("discovery.rs"),
    include_str!("extension_headers.rs"),
    include_str!("forged.rs"),
    include_str!("fragments.rs"),
    include_str!("from_container.rs"),
    include_str!("from_host.rs"),
    include_str!("from_uplink.rs"),
    include_str!("hairpin.rs"),
    include_str!("icmp_error.rs"),
    include_str!("ipv4_only.rs"),
    include_str!("malformed.rs"),
    include_str!("mapping.rs"),
    include_str!("masquerade.rs"),
    include_str!("outgoing.rs"),
    include_str!("prefilter.rs"),
    include_str!("protocols.rs"),
    include_str!("quota.rs"),
    include_str!("reasons.rs"),
    include_str!("rogue.rs"),
    include_str!("source.rs"),
    include_str!("table.rs"),
    include_str!("to_bridge.rs"),
    include_str!("to_uplink.rs"),
    include_str!("unasked.rs"),
    include_str!("../system/isolation.rs"),
    include_str!("../system/source.rs"),
];

/// Helpers fail so only when the kernel has no memory, or is another one than it says.
const NOT_MADE: [Reason; 2] = [Reason::RewriteFailed, Reason::RedirectFailed];

#[test]
fn every_drop_has_a_test_that_makes_it() {
    for reason in Reason::ALL.iter().filter(|reason| reason.is_drop() && !NOT_MADE.contains(reason)) {
        let (name, text) = (format!("Reason::{reason:?}"), format!("\"{}\"", reason.name()));
        let is_made = TESTS.iter().any(|test| {
            let ends = |at: usize| !test[at + name.len()..].starts_with(char::is_alphanumeric);
            test.contains(&text) || test.match_indices(&name).any(|(at, _)| ends(at))
        });
        assert!(is_made, "no test makes {name}");
    }
}

#[test]
fn redirect_of_a_container_is_refused() {
    let mut world = World::new();
    for dst in [REMOTE, GATEWAY] {
        let carries = Carries::Message { kind: 5, rest: [203, 0, 113, 9] };
        let packet = world.as_c1(Packet::new(C1, dst, carries));
        Expect::dropped(Reason::IcmpRedirect).of(&world.container_sends(&packet));
    }
}

#[test]
fn error_of_a_container_about_nothing_is_refused() {
    let mut world = World::new();
    let received = Packet::udp((REMOTE, 5000), (C1, 53)).build();
    let error = world.as_c1(Packet::error(C1, TIME_EXCEEDED, &received, 8));
    Expect::dropped(Reason::IcmpUnrelated).of(&world.container_sends(&error));
    let elsewhere = world.as_c1(Packet::error(C1, TIME_EXCEEDED, &received, 8).with(|p| p.dst = ROUTER));
    Expect::dropped(Reason::IcmpUnrelated).of(&world.container_sends(&elsewhere));
}

#[test]
fn datagram_of_loopback_that_is_too_big_for_the_veth_is_refused() {
    let mut world = World::new();
    let big = Packet::udp((HOST, 5000), (HOST, DNS.0)).with(|p| p.payload = vec![7; 2000]);
    let outcome = world.host_sends(&big);
    assert_eq!((outcome.verdict, &outcome.bytes), (tests::program::DROP, &outcome.given));
    assert!(outcome.change.counts.contains_key(&Reason::FragNeeded.number()), "{outcome:?}");
}

#[test]
fn network_whose_bridge_is_gone_does_not_leave() {
    let mut world = World::new();
    let link = Link { bridge: 9999, ..world.machine.link("c1") };
    let ifindex = world.machine.ifindex("c1");
    world.machine.put_endpoint(link, ifindex);
    let packet = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &packet.build());
    Expect::dropped(Reason::NoFib).of(&outcome);
}

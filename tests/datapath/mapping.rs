//! The outside endpoints that containers are seen by (RFC 4787, REQ-1, 3 and 8; RFC 5382, REQ-1; RFC 5508, REQ-1).

use std::net::Ipv4Addr;

use netdp_common::mapping::QUERY_SILENCE;
use netdp_common::timers::State;
use netdp_common::{Addr, Flow, FlowKey, Link, Reason, Zone, link_flags, names, proto};
use tests::expect::Expect;
use tests::packet::{Packet, SYN};
use tests::program::{DROP, Outcome, REDIRECT, now_ticks};
use tests::server::Server;

use crate::fixture::{C1, C2, D1, HOST, REMOTE, World, counted, kept, key, mac};

/// Another remote than `REMOTE`.
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

type Sent = fn((Ipv4Addr, u16), Ipv4Addr) -> Packet;

fn udp(from: (Ipv4Addr, u16), to: Ipv4Addr) -> Packet {
    Packet::udp(from, (to, 443))
}

fn tcp(from: (Ipv4Addr, u16), to: Ipv4Addr) -> Packet {
    Packet::tcp(from, (to, 443), SYN)
}

fn ping(from: (Ipv4Addr, u16), to: Ipv4Addr) -> Packet {
    Packet::ping(from.0, to, from.1)
}

/// The port, or identifier, that a container of network 1 is seen by when it begins a flow.
fn seen(world: &mut World, kind: Sent, from: (Ipv4Addr, u16), to: Ipv4Addr) -> u16 {
    let packet = kind(from, to).link(mac(from.0), world.bridge_mac());
    let interface = if from.0 == C1 { "c1" } else { "c2" };
    let outcome = world.machine.run(names::FROM_CONTAINER, interface, &packet.build());
    let mut replies = outcome.change.flows.keys().filter(|key: &&FlowKey| key.zone == Zone::UPLINK);
    replies.next().unwrap_or_else(|| panic!("no flow was begun: {outcome:?}")).dport.get()
}

#[test]
fn endpoint_whose_port_is_taken_has_one_other_port_towards_everybody() {
    for kind in [udp, ping] as [Sent; 2] {
        let mut world = World::new();
        assert_eq!(seen(&mut world, kind, (C2, 5000), REMOTE), 5000);
        let port = seen(&mut world, kind, (C1, 5000), OTHER);
        assert_ne!(port, 5000, "another container has it, if towards another remote");
        assert_eq!(seen(&mut world, kind, (C1, 5000), REMOTE), port);
        assert_eq!(seen(&mut world, kind, (C2, 5000), OTHER), 5000);
        assert_ne!(seen(&mut world, kind, (C2, port), OTHER), port, "nor has another one this one's");
    }
}

#[test]
fn connections_share_a_port_towards_different_remotes_and_prefer_the_one_that_they_have() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, tcp, (C2, 5000), REMOTE), 5000);
    let port = seen(&mut world, tcp, (C1, 5000), REMOTE);
    assert_ne!(port, 5000);
    assert_eq!(seen(&mut world, tcp, (C1, 5000), OTHER), port);
    assert_eq!(seen(&mut world, tcp, (C2, 5000), OTHER), 5000);
}

#[test]
fn network_that_is_told_so_has_a_mapping_per_remote() {
    let mut world = World::with_flags(link_flags::DEPENDENT_MAPPING);
    assert_eq!(seen(&mut world, udp, (C2, 5000), REMOTE), 5000);
    assert_eq!(seen(&mut world, udp, (C1, 5000), OTHER), 5000);
    assert_ne!(seen(&mut world, udp, (C1, 5000), REMOTE), 5000);
}

#[test]
fn host_that_takes_the_port_of_a_mapping_gets_it() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, udp, (C1, 6000), REMOTE), 6000);
    let _server = Server::start(world.machine.ns(), 6000);
    let port = seen(&mut world, udp, (C1, 6000), OTHER);
    assert_ne!(port, 6000);
    let third = Ipv4Addr::new(198, 51, 100, 9);
    assert_eq!(seen(&mut world, udp, (C1, 6000), third), port, "the new one is the mapping now");
}

#[test]
fn stranger_reaches_a_mapping_only_where_the_filter_is_open() {
    for flags in [0, link_flags::OPEN_FILTER] {
        let mut world = World::with_flags(flags);
        assert_eq!(seen(&mut world, udp, (C1, 5000), REMOTE), 5000);
        let packet = world.as_outside(Packet::udp((OTHER, 99), (HOST, 5000)));
        let outcome = world.outside_sends(&packet);
        if flags == 0 {
            Expect::untouched().of(&outcome);
            continue;
        }
        let got = world.to_c1(packet.clone()).with(|p| {
            p.dst = C1;
            p.ttl -= 1;
        });
        let there = key((OTHER, 99), (HOST, 5000), proto::UDP, Zone::UPLINK);
        let back = key((C1, 5000), (OTHER, 99), proto::UDP, Zone::CONTAINER);
        let [_, (_, mut reply)] = world.published(proto::UDP, 99, (5000, 5000), State::UdpUnreplied);
        reply.dst = Addr::from(OTHER);
        let entry = world.entry((OTHER, 99), (C1, 5000), State::UdpUnreplied);
        let entry = Flow { twin_zone: Zone::CONTAINER, ..entry };
        Expect::redirected(Reason::Published)
            .packet(got.build())
            .flow(there, counted(entry, &packet))
            .flow(back, reply)
            .of(&outcome);
    }
}

#[test]
fn open_filter_lets_nothing_in_but_udp_to_a_mapping_from_somebody_who_can_be() {
    let mut world = World::with_flags(link_flags::OPEN_FILTER);
    assert_eq!(seen(&mut world, udp, (C1, 5000), REMOTE), 5000);
    for packet in [Packet::udp((OTHER, 99), (HOST, 5001)), Packet::tcp((OTHER, 99), (HOST, 5000), SYN)] {
        let packet = world.as_outside(packet);
        Expect::untouched().of(&world.outside_sends(&packet));
    }
    let martian = world.as_outside(Packet::udp((Ipv4Addr::LOCALHOST, 99), (HOST, 5000)));
    Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&martian));
    let container = world.as_outside(Packet::udp((D1, 99), (HOST, 5000)));
    Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&container));
    let mut cut = world.as_outside(Packet::udp((OTHER, 99), (HOST, 5000))).build();
    cut.truncate(14 + 20 + 4);
    let outcome = world.machine.run(names::FROM_UPLINK, "up0", &cut);
    assert!(outcome.change.flows.is_empty(), "{outcome:?}");
}

#[test]
fn host_socket_comes_before_an_open_filter() {
    let mut world = World::with_flags(link_flags::OPEN_FILTER);
    assert_eq!(seen(&mut world, udp, (C1, 6000), REMOTE), 6000);
    let _server = Server::start(world.machine.ns(), 6000);
    let packet = world.as_outside(Packet::udp((OTHER, 99), (HOST, 6000)));
    Expect::untouched().of(&world.outside_sends(&packet));
}

#[test]
fn query_makes_room_after_ten_ticks_and_other_udp_does_not() {
    for (remote, kept_by_other) in [(53, false), (54, true)] {
        let mut world = World::new();
        let [there, back] = world.masqueraded(proto::UDP, kept(40_000, remote), State::UdpReplied);
        let seen = now_ticks().wrapping_sub(QUERY_SILENCE + 2);
        let of_c2 = key((C2, 40_000), (REMOTE, remote), proto::UDP, Zone::CONTAINER);
        world.seed([
            (of_c2, Flow { seen, ..there.1 }),
            (back.0, Flow { seen, dst: Addr::from(C2), ..back.1 }),
        ]);
        let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, remote)));
        let outcome = world.container_sends(&packet);
        let begun = outcome.change.flows[&there.0].expect("a flow");
        assert_eq!(begun.sport.get() != 40_000, kept_by_other, "{outcome:?}");
    }
}

/// A packet of one container to the outside endpoint of another, or of itself.
fn meets(world: &mut World, from: (Ipv4Addr, u16), port: u16) -> Outcome {
    let packet = Packet::udp(from, (HOST, port)).link(mac(from.0), world.bridge_mac());
    let interface = if from.0 == C1 { "c1" } else { "c2" };
    world.machine.run(names::FROM_CONTAINER, interface, &packet.build())
}

#[test]
fn two_endpoints_meet_by_their_outside_ones_once_both_have_sent() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, udp, (C2, 5000), REMOTE), 5000);
    let port = seen(&mut world, udp, (C1, 5000), REMOTE);
    assert_ne!(port, 5000);
    let first = meets(&mut world, (C1, 5000), 5000);
    assert_eq!((first.verdict, first.change.flows.len()), (DROP, 2), "{first:?}");
    assert!(first.change.counts.contains_key(&Reason::UdpFiltered.number()));
    for (from, to, inside, outside) in [(C2, port, C1, 5000), (C1, 5000, C2, port)] {
        let outcome = meets(&mut world, (from, 5000), to);
        let packet = Packet::udp((HOST, outside), (inside, 5000)).with(|p| p.ttl = 63);
        let got = packet.link(world.bridge_mac(), mac(inside));
        assert_eq!(outcome.verdict, REDIRECT, "{outcome:?}");
        assert_eq!(tests::packet::difference(&got.build(), &outcome.bytes), None);
    }
}

#[test]
fn open_filter_lets_a_neighbour_in_that_was_not_sent_to_and_gives_it_a_mapping() {
    let mut world = World::with_flags(link_flags::OPEN_FILTER);
    assert_eq!(seen(&mut world, udp, (C2, 5000), REMOTE), 5000);
    let outcome = meets(&mut world, (C1, 6000), 5000);
    let packet = Packet::udp((HOST, 6000), (C2, 5000)).with(|p| p.ttl = 63);
    assert_eq!(outcome.bytes, packet.link(world.bridge_mac(), mac(C2)).build(), "{outcome:?}");
    assert_eq!(seen(&mut world, udp, (C1, 6000), REMOTE), 6000);
}

#[test]
fn endpoint_meets_itself() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, udp, (C1, 5000), REMOTE), 5000);
    let outcome = meets(&mut world, (C1, 5000), 5000);
    let packet = Packet::udp((HOST, 5000), (C1, 5000)).with(|p| p.ttl = 63);
    assert_eq!(outcome.bytes, packet.link(world.bridge_mac(), mac(C1)).build(), "{outcome:?}");
}

#[test]
fn nobody_is_met_at_an_endpoint_that_nobody_has_and_none_of_a_network_that_nobody_sees_meets() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, udp, (C2, 5000), REMOTE), 5000);
    Expect::slow_path().of(&meets(&mut world, (C1, 5000), 5001));
    let tcp = world.as_c1(Packet::tcp((C1, 5000), (HOST, 5000), SYN));
    Expect::slow_path().of(&world.container_sends(&tcp));
    let mut cut = world.as_c1(Packet::udp((C1, 5000), (HOST, 5000))).build();
    cut.truncate(14 + 20 + 4);
    let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &cut);
    assert_eq!((outcome.verdict, outcome.change.flows.len()), (DROP, 0), "{outcome:?}");
    let (ifindex, link) = (world.machine.ifindex("c1"), world.machine.link("c1"));
    let hidden = Link { flags: link_flags::NO_MASQUERADE, ..link };
    world.machine.put_endpoint(hidden, ifindex);
    Expect::slow_path().of(&meets(&mut world, (C1, 5000), 5000));
}

#[test]
fn socket_of_the_host_is_met_before_a_mapping() {
    let mut world = World::new();
    assert_eq!(seen(&mut world, udp, (C2, 6000), REMOTE), 6000);
    let _server = Server::start(world.machine.ns(), 6000);
    Expect::slow_path().of(&meets(&mut world, (C1, 5000), 6000));
}

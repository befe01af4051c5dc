//! As whom a container goes out: by the network's own source, or as itself to destinations that are left out; and what it may
//! not speak because the host does.

use std::net::IpAddr;

use netdp_common::timers::State;
use netdp_common::{Addr, Destination, DestinationKey, Flow, Reason, Zone, link_flags, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, SYN};

use super::stations::{
    ANOTHER_HOST, ANOTHER_REMOTE, C1, C2, GATEWAY, HOST, Ip, PROHIBITED, Packet, REMOTE, World,
};
use crate::fixture::{ROUTER_MAC, counted, error, kept, key, mac};

/// Number of GRE.
const GRE: u8 = 47;

/// Network 1 goes out as `ANOTHER_HOST`.
fn with_source() -> World {
    let mut world = World::new();
    let (ifindex, mut link) = (world.machine.ifindex("c1"), world.machine.link("c1"));
    match IpAddr::from(ANOTHER_HOST) {
        IpAddr::V4(address) => link.snat4 = address.into(),
        IpAddr::V6(address) => link.snat6 = address.into(),
    }
    world.machine.put_endpoint(link, ifindex);
    world
}

/// Network 1 reaches `REMOTE` untranslated, and network 2 `ANOTHER_REMOTE`.
fn with_excluded() -> World {
    let mut world = World::with_flags(link_flags::EXCLUDES);
    for (network, addr) in [(1, REMOTE), (2, ANOTHER_REMOTE)] {
        let destination = Destination { network, addr: Addr::from(addr) };
        world.machine.put_excluded(DestinationKey { prefix_len: 128, destination });
    }
    world
}

#[test]
fn network_with_a_source_of_its_own_goes_out_by_it_and_hears_the_replies() {
    let mut world = with_source();
    world.machine.put_host_addr(ANOTHER_HOST);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let [(there, flow), (back, reply)] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpUnreplied);
    let flow = Flow { src: Addr::from(ANOTHER_HOST), ..flow };
    let back = netdp_common::FlowKey { dst: Addr::from(ANOTHER_HOST), ..back };
    let sent = packet.clone().with(|p| (p.src, p.ttl) = (ANOTHER_HOST, 63));
    Expect::redirected(Reason::Masqueraded)
        .packet(sent.build())
        .flow(there, counted(flow, &packet))
        .flow(back, reply)
        .of(&world.container_sends(&packet));
    let answer = world.as_outside(Packet::udp((REMOTE, 53), (ANOTHER_HOST, 40_000)));
    let outcome = world.outside_sends(&answer);
    assert_eq!(outcome.verdict, tests::program::REDIRECT, "{outcome:?}");
    let got = world.to_c1(answer).with(|p| (p.dst, p.ttl) = (C1, 63));
    assert_eq!(outcome.bytes, got.build());
}

#[test]
fn source_that_is_no_address_of_the_host_now_is_used_no_more_and_no_other_instead() {
    let mut world = with_source();
    for packet in [
        Packet::udp((C1, 40_000), (REMOTE, 53)),
        Packet::tcp((C1, 40_000), (REMOTE, 443), SYN),
        Packet::ping(C1, REMOTE, 7),
        Packet::new(C1, REMOTE, Carries::Other(GRE)),
    ] {
        let packet = world.as_c1(packet);
        Expect::dropped(Reason::SnatIpGone).of(&world.container_sends(&packet));
    }
}

#[test]
fn flow_of_the_networks_source_gives_way_to_the_host() {
    let mut world = with_source();
    world.machine.put_host_addr(ANOTHER_HOST);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let begun = world.container_sends(&packet);
    let keys: Vec<_> = begun.change.flows.keys().copied().collect();
    assert_eq!(keys.len(), 2);
    let of_host = Packet::udp((ANOTHER_HOST, 40_000), (REMOTE, 53)).link([2, 0, 0, 0, 0, 2], ROUTER_MAC);
    let outcome = world.uplink_sends(&of_host);
    Expect::untouched().forgotten(keys[0]).forgotten(keys[1]).of(&outcome);
}

#[test]
fn excluded_destination_sees_the_container_itself_and_its_replies_come_in() {
    let mut world = with_excluded();
    for (packet, protocol, state) in [
        (Packet::udp((C1, 40_000), (REMOTE, 53)), proto::UDP, State::UdpUnreplied),
        (Packet::tcp((C1, 40_000), (REMOTE, 53), SYN), proto::TCP, State::TcpSynSent),
    ] {
        let packet = world.as_c1(packet);
        let [(there, flow), (back, reply)] = world.masqueraded(protocol, kept(40_000, 53), state);
        let flow = Flow { src: Addr::from(C1), ..flow };
        let back = netdp_common::FlowKey { dst: Addr::from(C1), ..back };
        let sent = packet.clone().with(|p| p.ttl = 63);
        Expect::redirected(Reason::Masqueraded)
            .packet(sent.build())
            .flow(there, counted(flow, &packet))
            .flow(back, reply)
            .of(&world.container_sends(&packet));
    }
    let answer = world.as_outside(Packet::udp((REMOTE, 53), (C1, 40_000)));
    let outcome = world.outside_sends(&answer);
    let got = world.to_c1(answer).with(|p| p.ttl = 63);
    assert_eq!((outcome.verdict, &outcome.bytes), (tests::program::REDIRECT, &got.build()), "{outcome:?}");
}

#[test]
fn what_an_excluded_destination_was_not_asked_for_does_not_come_in() {
    let mut world = with_excluded();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    world.container_sends(&packet);
    for packet in [
        Packet::udp((REMOTE, 54), (C1, 40_000)),
        Packet::udp((REMOTE, 53), (C1, 40_001)),
        Packet::udp((ANOTHER_REMOTE, 53), (C1, 40_000)),
        Packet::tcp((REMOTE, 53), (C1, 40_000), SYN),
        Packet::ping(REMOTE, C1, 7),
    ] {
        let packet = world.as_outside(packet);
        Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&packet));
    }
}

#[test]
fn destination_of_another_network_is_masqueraded() {
    let mut world = with_excluded();
    let packet = world.as_c1(Packet::udp((C1, 5001), (ANOTHER_REMOTE, 53)));
    let outcome = world.container_sends(&packet);
    let sent = packet.with(|p| (p.src, p.ttl) = (HOST, 63));
    assert_eq!(outcome.bytes, sent.build());
}

#[test]
fn guard_passes_untranslated_what_has_such_a_flow_and_nothing_else() {
    let mut world = with_excluded();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    world.container_sends(&packet);
    let leaving = |packet: Packet| packet.link([2, 0, 0, 0, 0, 2], ROUTER_MAC);
    let known = leaving(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let outcome = world.uplink_sends(&known);
    assert_eq!((outcome.verdict, &outcome.bytes), (tests::program::NEXT, &outcome.given));
    for packet in [
        Packet::udp((C1, 40_001), (REMOTE, 53)),
        Packet::udp((C2, 40_000), (REMOTE, 53)),
        Packet::tcp((C1, 40_000), (REMOTE, 53), ACK),
    ] {
        Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&leaving(packet)));
    }
}

#[test]
fn what_begins_nothing_and_what_is_cut_does_not_leave_to_an_excluded_destination_either() {
    let mut world = with_excluded();
    let reset = world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), tests::packet::RST));
    Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&reset));
    let mut cut = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53))).build();
    cut.truncate(super::stations::L4 + 4);
    let outcome = world.machine.run(netdp_common::names::FROM_CONTAINER, "c1", &cut);
    assert_eq!(outcome.verdict, tests::program::DROP);
    assert!(outcome.change.flows.is_empty(), "{outcome:?}");
}

fn gre(from: Ip, to: Ip) -> Packet {
    Packet::new(from, to, Carries::Other(GRE)).with(|p| p.payload = vec![0; 16])
}

#[test]
fn tunnel_of_the_host_ends_that_of_a_container_and_keeps_the_remote() {
    let mut world = World::new();
    let of_c1 = world.as_c1(gre(C1, REMOTE));
    let begun = world.container_sends(&of_c1);
    let keys: Vec<_> = begun.change.flows.keys().copied().collect();
    assert_eq!(keys.len(), 2, "{begun:?}");
    let of_host = gre(HOST, REMOTE).link([2, 0, 0, 0, 0, 2], ROUTER_MAC);
    Expect::untouched().forgotten(keys[0]).forgotten(keys[1]).of(&world.uplink_sends(&of_host));
    Expect::untouched().of(&world.uplink_sends(&of_host));
    Expect::dropped(Reason::HeldByHost).of(&world.container_sends(&of_c1));
    let answer = world.as_outside(gre(REMOTE, HOST));
    Expect::untouched().of(&world.outside_sends(&answer));
    let elsewhere = world.as_c1(gre(C1, ANOTHER_REMOTE));
    assert_eq!(world.container_sends(&elsewhere).verdict, tests::program::REDIRECT);
    let other = world.as_c1(gre(C1, REMOTE)).with(|p| p.carries = Carries::Other(50));
    assert_eq!(world.container_sends(&other).verdict, tests::program::REDIRECT, "ESP is not GRE");
    let datagram = world.as_c1(Packet::udp((C1, 5000), (REMOTE, 53)));
    assert_eq!(world.container_sends(&datagram).verdict, tests::program::REDIRECT);
}

#[test]
fn containers_may_have_tunnels_where_the_host_has_none() {
    let mut world = World::new();
    let first = world.as_c1(gre(C1, REMOTE));
    assert_eq!(world.container_sends(&first).verdict, tests::program::REDIRECT);
    let second = gre(C2, REMOTE).link(mac(C2), world.bridge_mac());
    let outcome = world.machine.run(netdp_common::names::FROM_CONTAINER, "c2", &second.build());
    Expect::redirected(Reason::NatPortExhausted).packet(error(&second, GATEWAY, PROHIBITED)).of(&outcome);
    let back = key((REMOTE, 0), (HOST, 0), GRE, Zone::UPLINK);
    assert!(world.machine.flows().contains_key(&back));
}

//! What a container sends: who it may be, and where it may go.

use netdp_common::{Reason, link_flags, names};
use tests::expect::Expect;
use tests::packet::{ACK, SYN};

use super::stations::{C1, C2, D1, GATEWAY, HOST, LOCALHOST, Packet, REMOTE, UNSPECIFIED, World};
use crate::fixture::mac;

const ANOTHER: [u8; 6] = [2, 0x42, 9, 9, 9, 9];

fn to_neighbour() -> Packet {
    Packet::udp((C1, 4000), (C2, 4001)).link(mac(C1), mac(C2))
}

#[test]
fn same_network_is_handed_over_unchanged() {
    let mut world = World::new();
    for packet in [
        to_neighbour(),
        Packet::tcp((C1, 4000), (C2, 80), SYN).link(mac(C1), mac(C2)),
        Packet::tcp((C1, 4000), (C2, 80), ACK).link(mac(C1), mac(C2)),
        Packet::ping(C1, C2, 5).link(mac(C1), mac(C2)),
        to_neighbour().with(|p| p.ttl = 1),
        to_neighbour().with(|p| p.options = vec![1, 1, 1, 0]),
        to_neighbour().with(|p| p.more_fragments = true),
        to_neighbour().with(|p| p.fragment_offset = 100),
        Packet::new(C1, C2, tests::packet::Carries::Other(132)).link(mac(C1), mac(C2)),
    ] {
        let outcome = world.container_sends(&packet);
        Expect::redirected(Reason::Local).of(&outcome);
    }
}

#[test]
fn same_network_by_way_of_the_gateway_gets_the_neighbours_mac() {
    let mut world = World::new();
    let packet = world.as_c1(to_neighbour());
    let outcome = world.container_sends(&packet);
    let handed = packet.link(world.bridge_mac(), mac(C2)).build();
    Expect::redirected(Reason::Local).packet(handed).of(&outcome);
}

#[test]
fn spoofed_mac_is_dropped() {
    let mut world = World::new();
    let outcome = world.container_sends(&to_neighbour().link(ANOTHER, mac(C2)));
    Expect::dropped(Reason::SpoofedMac).of(&outcome);
}

#[test]
fn spoofed_source_address_is_dropped_wherever_it_goes() {
    let mut world = World::new();
    for src in [C2, D1, GATEWAY, REMOTE, UNSPECIFIED, LOCALHOST] {
        for dst in [C2, REMOTE, GATEWAY] {
            let packet = world.as_c1(Packet::udp((src, 4000), (dst, 4001)));
            Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&packet));
        }
    }
}

#[test]
fn another_network_is_closed() {
    let mut world = World::new();
    for packet in
        [Packet::tcp((C1, 4000), (D1, 80), SYN), Packet::udp((C1, 4000), (D1, 53)), Packet::ping(C1, D1, 1)]
    {
        let packet = world.as_c1(packet);
        Expect::dropped(Reason::InterNetwork).of(&world.container_sends(&packet));
    }
}

#[test]
fn network_without_icc_is_closed_to_its_own() {
    let mut world = World::with_flags(link_flags::NO_ICC);
    Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&to_neighbour()));
}

#[test]
fn internal_network_reaches_its_own_and_its_gateway_only() {
    let mut world = World::with_flags(link_flags::INTERNAL);
    Expect::redirected(Reason::Local).of(&world.container_sends(&to_neighbour()));
    let gateway = world.as_c1(Packet::ping(C1, GATEWAY, 1));
    Expect::slow_path().of(&world.container_sends(&gateway));
    let outside = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    Expect::dropped(Reason::InternalNetwork).of(&world.container_sends(&outside));
    let host = world.as_c1(Packet::udp((C1, 4000), (HOST, 53)));
    Expect::dropped(Reason::InternalNetwork).of(&world.container_sends(&host));
}

#[test]
fn network_without_masquerade_does_not_leave() {
    let mut world = World::with_flags(link_flags::NO_MASQUERADE);
    let packet = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    Expect::dropped(Reason::MasqueradeOff).of(&world.container_sends(&packet));
}

#[test]
fn unicast_in_a_broadcast_frame_reaches_nobody_but_its_address() {
    let packet = Packet::udp((C1, 4000), (C2, 53)).link(mac(C1), [0xff; 6]);
    let mut world = World::new();
    let got = packet.clone().link(world.bridge_mac(), mac(C2));
    Expect::redirected(Reason::Local).packet(got.build()).of(&world.container_sends(&packet));
    let mut closed = World::with_flags(link_flags::NO_ICC);
    Expect::dropped(Reason::IccDisabled).of(&closed.container_sends(&packet));
    let other = Packet::udp((C1, 4000), (D1, 53)).link(mac(C1), [0xff; 6]);
    Expect::dropped(Reason::InterNetwork).of(&world.container_sends(&other));
}

#[test]
fn frame_past_the_gateway_goes_nowhere() {
    let mut world = World::new();
    for dst in [GATEWAY, HOST, REMOTE] {
        for to in [mac(C2), [0xff; 6], ANOTHER] {
            let packet = Packet::udp((C1, 4000), (dst, 53)).link(mac(C1), to);
            let outcome = world.container_sends(&packet);
            Expect::dropped(Reason::WrongMac).of(&outcome);
        }
    }
}

#[test]
fn loopback_publication_is_no_way_for_a_container() {
    let mut world = World::new();
    world.publish(LOCALHOST.into(), (9090, 80), netdp_common::proto::TCP);
    let packet = world.as_c1(Packet::tcp((C1, 4000), (LOCALHOST, 9090), SYN));
    Expect::dropped(Reason::LoopbackFromContainer).of(&world.container_sends(&packet));
}

#[test]
fn host_itself_is_reached_by_the_slow_path() {
    let mut world = World::new();
    for dst in [GATEWAY, HOST] {
        for packet in [Packet::ping(C1, dst, 1), Packet::tcp((C1, 4000), (dst, 22), SYN)] {
            let packet = world.as_c1(packet);
            Expect::slow_path().of(&world.container_sends(&packet));
        }
    }
}

#[test]
fn loopback_addresses_do_not_come_from_a_container() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::tcp((C1, 4000), (LOCALHOST, 22), SYN));
    Expect::dropped(Reason::LoopbackFromContainer).of(&world.container_sends(&packet));
}

#[test]
fn veth_without_an_endpoint_sends_nothing() {
    let mut world = World::new();
    let outcome = world.machine.run(names::FROM_CONTAINER, "br1", &to_neighbour().build());
    Expect::dropped(Reason::UnknownEndpoint).of(&outcome);
}

//! A network whose bridge is on a LAN: its containers speak with the machines there by themselves, as themselves only.

use netdp_common::{Reason, link_flags, proto, subnet, timers::State};
use tests::expect::Expect;
use tests::packet::{ACK, SYN};

use super::stations::{C1, C2, D1, HOST, LOCALHOST, Packet, REMOTE, UNUSED, World};
use crate::fixture::{WEB, mac};

/// A machine on the LAN, or its router.
const MACHINE: [u8; 6] = [2, 0x11, 0x22, 0x33, 0x44, 0x55];

fn to_machine(packet: Packet) -> Packet {
    packet.link(mac(C1), MACHINE)
}

fn on_lan() -> World {
    World::with_flags(link_flags::LAN)
}

#[test]
fn machines_and_what_is_behind_their_router_are_reached_untranslated() {
    for flags in [0, link_flags::NO_ICC, link_flags::NO_MASQUERADE] {
        let mut world = World::with_flags(link_flags::LAN | flags);
        for dst in [UNUSED, REMOTE, HOST] {
            for packet in [
                Packet::ping(C1, dst, 1),
                Packet::udp((C1, 4000), (dst, 53)),
                Packet::tcp((C1, 4000), (dst, 80), SYN),
                Packet::tcp((C1, 80), (dst, 4000), SYN | ACK),
                Packet::udp((C1, 4000), (dst, 53)).with(|p| p.fragment_offset = 100),
            ] {
                Expect::slow_path().of(&world.container_sends(&to_machine(packet)));
            }
        }
    }
}

#[test]
fn who_is_on_a_lan_speaks_as_nobody_else() {
    let mut world = on_lan();
    for src in [C2, UNUSED, REMOTE, HOST, D1] {
        let packet = to_machine(Packet::tcp((src, 4000), (UNUSED, 80), SYN));
        Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&packet));
    }
    let packet = Packet::udp((C1, 4000), (UNUSED, 53)).link(MACHINE, mac(C2));
    Expect::dropped(Reason::SpoofedMac).of(&world.container_sends(&packet));
}

#[test]
fn rules_between_containers_hold_on_a_lan_too() {
    let mut world = on_lan();
    let neighbour = Packet::udp((C1, 4000), (C2, 4001)).link(mac(C1), mac(C2));
    Expect::redirected(Reason::Local).of(&world.container_sends(&neighbour));
    let other = to_machine(Packet::udp((C1, 4000), (D1, 4001)));
    Expect::dropped(Reason::InterNetwork).of(&world.container_sends(&other));
    let loopback = to_machine(Packet::udp((C1, 4000), (LOCALHOST, 4001)));
    Expect::dropped(Reason::LoopbackFromContainer).of(&world.container_sends(&loopback));
    let mut apart = World::with_flags(link_flags::LAN | link_flags::NO_ICC);
    for packet in [neighbour.clone(), to_machine(neighbour.clone())] {
        Expect::dropped(Reason::IccDisabled).of(&apart.container_sends(&packet));
    }
    let mut internal = World::with_flags(link_flags::LAN | link_flags::INTERNAL);
    let packet = to_machine(Packet::udp((C1, 4000), (UNUSED, 53)));
    Expect::dropped(Reason::InternalNetwork).of(&internal.container_sends(&packet));
}

#[test]
fn without_a_lan_a_frame_for_a_machine_goes_nowhere() {
    let mut world = World::new();
    let packet = to_machine(Packet::udp((C1, 4000), (UNUSED, 53)));
    Expect::dropped(Reason::WrongMac).of(&world.container_sends(&packet));
}

#[test]
fn reply_of_a_published_port_finds_its_flow_whatever_router_it_is_sent_to() {
    let mut world = on_lan();
    world.seed(world.published(proto::TCP, 40_000, WEB, State::TcpEstablished));
    let packet = to_machine(Packet::tcp((C1, WEB.1), (REMOTE, 40_000), ACK));
    let outcome = world.container_sends(&packet);
    assert_eq!(outcome.verdict, tests::program::REDIRECT, "{outcome:?}");
    let sent = packet.with(|p| {
        (p.src, p.ttl) = (HOST, 63);
        p.set_sport(WEB.0);
    });
    assert_eq!(outcome.bytes[14..], sent.build()[14..]);
    // Of a client that speaks to the container itself nothing is known, and nothing is changed.
    let direct = to_machine(Packet::tcp((C1, WEB.1), (REMOTE, 40_001), ACK));
    Expect::slow_path().of(&world.container_sends(&direct));
}

#[test]
fn container_on_a_lan_may_come_by_an_uplink_and_one_of_another_network_may_not() {
    let mut world = on_lan();
    world.machine.put_subnet_of(UNUSED.into(), 128, 1 | subnet::ON_LAN);
    let [by_router, of_another] =
        [UNUSED, D1].map(|src| world.as_outside(Packet::tcp((src, 4000), (HOST, WEB.0), SYN)));
    let outcome = world.outside_sends(&by_router);
    assert_eq!(outcome.verdict, tests::program::REDIRECT, "{outcome:?}");
    Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&of_another));
}

#[test]
fn bridge_that_is_no_gateway_leads_nowhere_but_back_to_who_has_come_by_a_published_port() {
    let mut world = World::with_flags(link_flags::LAN | link_flags::NO_GATEWAY);
    world.seed(world.published(proto::TCP, 40_000, WEB, State::TcpEstablished));
    let outcome = world.container_sends(&world.as_c1(Packet::tcp((C1, WEB.1), (REMOTE, 40_000), ACK)));
    assert_eq!(outcome.verdict, tests::program::REDIRECT, "{outcome:?}");
    for packet in [
        Packet::tcp((C1, 4000), (REMOTE, 80), SYN),
        Packet::udp((C1, 4000), (HOST, 53)),
        Packet::udp((C1, 4000), (REMOTE, 53)).with(|p| p.more_fragments = true),
        Packet::ping(C1, REMOTE, 1),
    ] {
        Expect::dropped(Reason::WrongMac).of(&world.container_sends(&world.as_c1(packet)));
    }
    Expect::slow_path().of(&world.container_sends(&to_machine(Packet::ping(C1, REMOTE, 1))));
    let mut gateway = on_lan();
    let first = gateway.as_c1(Packet::tcp((C1, 4000), (REMOTE, 80), SYN));
    assert_eq!(gateway.container_sends(&first).verdict, tests::program::REDIRECT);
}

#[test]
fn frame_that_is_no_ip_packet_is_refused_on_a_lan_too() {
    let mut world = on_lan();
    let mut frame = to_machine(Packet::udp((C1, 4000), (UNUSED, 53))).build();
    frame[14] = 0x10;
    let outcome = world.machine.run(netdp_common::names::FROM_CONTAINER, "c1", &frame);
    Expect::dropped(Reason::Malformed).of(&outcome);
}

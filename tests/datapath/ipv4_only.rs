//! What IPv4 has and IPv6 has not: ARP, broadcast, options, a header of a length of its own.

use std::net::Ipv4Addr;

use netdp_common::timers::State;
use netdp_common::{Reason, link_flags, names, proto};
use tests::expect::Expect;
use tests::packet::{Carries, Packet, SYN, arp_request, difference};
use tests::program::NEXT;

use crate::fixture::ipv4::{ROUTER, TIME_EXCEEDED, UNUSED};
use crate::fixture::{C1, C2, GATEWAY, HOST, REMOTE, ROUTER_MAC, World, counted, kept, mac};

const ANOTHER: [u8; 6] = [2, 0x42, 9, 9, 9, 9];

#[test]
fn own_arp_takes_the_slow_path_and_a_probe_too() {
    let mut world = World::new();
    for (sender, target) in [(C1, C2), (Ipv4Addr::UNSPECIFIED, C1)] {
        let frame = arp_request(mac(C1), sender, target);
        Expect::slow_path().of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
    }
}

#[test]
fn arp_that_claims_another_address_or_mac_is_dropped() {
    let mut world = World::new();
    // To probe for another's address would deny it to that one.
    for claimed in [C2, GATEWAY, REMOTE, Ipv4Addr::UNSPECIFIED] {
        let frame = arp_request(mac(C1), claimed, C2);
        Expect::dropped(Reason::SpoofedArp).of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
    }
    let mut frame = arp_request(mac(C1), C1, C2);
    frame[22..28].copy_from_slice(&ANOTHER);
    Expect::dropped(Reason::SpoofedArp).of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
}

/// A container on a LAN whose containers are kept apart.
fn on_lan() -> World {
    World::with_flags(link_flags::LAN | link_flags::NO_ICC)
}

#[test]
fn machines_on_a_lan_are_asked_for_and_containers_that_are_kept_apart_are_not() {
    let mut world = on_lan();
    for (wanted, expected) in [
        (UNUSED, Expect::slow_path()),
        (REMOTE, Expect::slow_path()),
        (GATEWAY, Expect::slow_path()),
        (C1, Expect::slow_path()),
        (C2, Expect::dropped(Reason::IccDisabled)),
    ] {
        let frame = arp_request(mac(C1), C1, wanted);
        expected.of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
    }
    let claim = arp_request(mac(C1), UNUSED, UNUSED);
    Expect::dropped(Reason::SpoofedArp).of(&world.machine.run(names::FROM_CONTAINER, "c1", &claim));
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 251)] {
        let packet = Packet::udp((C1, 4000), (dst, 5353)).link(mac(C1), [0xff; 6]);
        Expect::slow_path().of(&world.container_sends(&packet));
        let offer = Packet::udp((C1, 67), (dst, 68)).link(mac(C1), [0xff; 6]);
        Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&offer));
    }
}

#[test]
fn who_has_no_address_yet_asks_for_one_on_a_lan_only() {
    let nobody = Ipv4Addr::UNSPECIFIED;
    let to = |dst, ports: (u16, u16)| Packet::udp((nobody, ports.0), (dst, ports.1)).link(mac(C1), [0xff; 6]);
    let of = |asker: [u8; 6]| {
        let message = [&[0; 28][..], &asker, &[0; 10]].concat();
        to(Ipv4Addr::BROADCAST, (68, 67)).with(|p| p.payload = message.clone())
    };
    let asks = of(mac(C1));
    let mut world = on_lan();
    Expect::slow_path().of(&world.container_sends(&asks));
    Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&of(ANOTHER)));
    let cut = to(Ipv4Addr::BROADCAST, (68, 67));
    Expect::dropped(Reason::Malformed).of(&world.container_sends(&cut));
    for packet in [
        to(Ipv4Addr::BROADCAST, (67, 68)),
        to(Ipv4Addr::BROADCAST, (68, 53)),
        to(UNUSED, (68, 67)),
        asks.clone().with(|p| p.more_fragments = true),
        Packet::tcp((nobody, 68), (Ipv4Addr::BROADCAST, 67), SYN).link(mac(C1), [0xff; 6]),
    ] {
        Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&packet));
    }
    let mut world = World::new();
    Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&asks));
}

/// Or it could give back what a neighbour has.
#[test]
fn who_has_an_address_that_the_host_has_asked_for_says_nothing_to_servers() {
    let mut world = World::with_flags(link_flags::LAN | link_flags::NO_GATEWAY | link_flags::NO_DHCP);
    let message = [&[0; 28][..], &mac(C1), &[0; 10]].concat();
    let says = |from, dst, to| {
        Packet::udp((from, 68), (dst, 67)).link(mac(C1), to).with(|p| p.payload = message.clone())
    };
    let (nobody, everybody) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    for packet in [
        says(C1, UNUSED, ROUTER_MAC),
        says(C1, everybody, [0xff; 6]),
        says(nobody, everybody, [0xff; 6]),
        says(C1, UNUSED, ROUTER_MAC).with(|p| p.more_fragments = true),
        says(C1, UNUSED, ROUTER_MAC).with(|p| p.options = vec![1; 40]),
    ] {
        Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&packet));
    }
    for packet in [
        says(C1, UNUSED, ROUTER_MAC).with(|p| p.set_dport(53)),
        says(C1, UNUSED, ROUTER_MAC).with(|p| p.fragment_offset = 100),
        Packet::tcp((C1, 68), (UNUSED, 67), SYN).link(mac(C1), ROUTER_MAC),
    ] {
        Expect::slow_path().of(&world.container_sends(&packet));
    }
    let mut spoilt = says(C1, UNUSED, ROUTER_MAC).build();
    spoilt[14] = 0x10;
    let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &spoilt);
    Expect::dropped(Reason::Malformed).of(&outcome);
}

#[test]
fn group_addresses_and_unused_ones_take_the_slow_path() {
    let mut world = World::new();
    let broadcast = [0xff; 6];
    for (dst, to) in [
        (Ipv4Addr::BROADCAST, broadcast),
        (Ipv4Addr::new(172, 17, 255, 255), broadcast),
        (Ipv4Addr::new(224, 0, 0, 251), [1, 0, 0x5e, 0, 0, 0xfb]),
        (Ipv4Addr::new(172, 17, 9, 9), world.bridge_mac()),
    ] {
        let packet = Packet::udp((C1, 4000), (dst, 5353)).link(mac(C1), to);
        Expect::slow_path().of(&world.container_sends(&packet));
    }
}

#[test]
fn network_without_icc_has_no_broadcast_either() {
    let mut world = World::with_flags(link_flags::NO_ICC);
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(172, 17, 255, 255), Ipv4Addr::new(224, 0, 0, 251)] {
        let packet = Packet::udp((C1, 4000), (dst, 5353)).link(mac(C1), [0xff; 6]);
        Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&packet));
    }
}

#[test]
fn ipv6_and_other_ethertypes_are_dropped() {
    let mut world = World::new().without_ipv6();
    for (kind, reason) in [([0x86, 0xdd], Reason::Ipv6Disabled), ([0x88, 0xcc], Reason::UnknownL3)] {
        // The kernel runs no program on a frame that is shorter than the header that its type promises.
        let mut frame = Packet::udp((C1, 4000), (C2, 4001))
            .link(mac(C1), mac(C2))
            .with(|p| p.payload = vec![0; 40])
            .build();
        frame[12..14].copy_from_slice(&kind);
        Expect::dropped(reason).of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
    }
}

#[test]
fn header_options_are_kept() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.options = vec![1, 1, 1, 0]));
    let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, p.ttl - 1));
    assert_eq!(world.container_sends(&packet).bytes, sent.build());
}

#[test]
fn arp_of_another_mac_is_dropped() {
    let mut world = World::new();
    let frame = arp_request(ANOTHER, C1, C2);
    Expect::dropped(Reason::SpoofedMac).of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
}

#[test]
fn every_address_of_loopback_is_refused() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::tcp((C1, 4000), (Ipv4Addr::new(127, 9, 9, 9), 22), SYN));
    Expect::dropped(Reason::LoopbackFromContainer).of(&world.container_sends(&packet));
}

#[test]
fn arp_passes_the_programs_of_the_host() {
    let mut world = World::new();
    let router = Ipv4Addr::new(203, 0, 113, 1);
    for (program, interface, frame) in [
        (names::FROM_UPLINK, "up0", arp_request(ROUTER_MAC, router, HOST)),
        (names::TO_UPLINK, "up0", arp_request(ROUTER_MAC, HOST, router)),
        (names::TO_BRIDGE, "br0", arp_request(mac(GATEWAY), GATEWAY, C1)),
    ] {
        Expect::untouched().of(&world.machine.run(program, interface, &frame));
    }
}

#[test]
fn ethertype_that_lies_about_the_version_is_left_alone() {
    let mut world = World::new();
    let mut ipv6 = Packet::ping(REMOTE, HOST, 1).with(|p| p.payload = vec![0; 40]).build();
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    Expect::untouched().of(&world.machine.run(names::FROM_UPLINK, "up0", &ipv6));
}

#[test]
fn header_that_is_shorter_than_itself_is_left_to_the_host() {
    let mut world = World::new();
    let short = world.to_c1(Packet::udp((REMOTE, 4000), (C1, 53))).with(|p| p.lies.header_words = Some(4));
    let ingress = world.machine.ifindex("up0");
    let outcome = world.machine.run_routed(names::TO_BRIDGE, ingress, "br0", &short.build());
    Expect::untouched().of(&outcome);
}

#[test]
fn error_that_quotes_such_a_header_is_not_translated() {
    let mut world = World::new();
    world.seed(world.masqueraded(proto::UDP, kept(4000, 53), State::UdpReplied));
    let inside = Packet::udp((HOST, 4000), (REMOTE, 53));
    let mut error = Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 8);
    error.payload[0] = 0x42;
    let error = world.as_outside(error);
    Expect::untouched().of(&world.outside_sends(&error));
}

#[test]
fn timestamp_is_masqueraded_by_its_identifier() {
    let mut world = World::new();
    let timestamp = |src, dst, request| Packet::new(src, dst, Carries::Timestamp { request, id: 77 });
    let packet = world.as_c1(timestamp(C1, REMOTE, true));
    let [there, back] = world.masqueraded(proto::ICMP, kept(77, 0), State::Icmp);
    Expect::redirected(Reason::Masqueraded)
        .packet(packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63)).build())
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&world.container_sends(&packet));
    let reply = world.as_outside(timestamp(REMOTE, HOST, false));
    Expect::redirected(Reason::Reply)
        .packet(world.to_c1(reply.clone()).with(|p| (p.dst, p.ttl) = (C1, 63)).build())
        .flow(back.0, counted(back.1, &reply))
        .of(&world.outside_sends(&reply));
    let stray = world.as_c1(timestamp(C1, REMOTE, false).with(|p| p.set_sport(78)));
    Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&stray));
}

/// Fragments that the stack has cut, and those of a neighbour.
#[test]
fn protocol_whose_number_ipv6_has_for_a_header_is_one_like_any_other() {
    for protocol in [0, 43, 44, 60] {
        let mut world = World::new();
        world.seed(world.masqueraded(protocol, kept(0, 0), State::GenericReplied));
        let part = |to, offset| {
            Packet::new(C1, to, Carries::Other(protocol)).with(|p| {
                (p.fragment_offset, p.more_fragments) = (offset, offset == 0);
                (p.dont_fragment, p.payload) = (false, vec![7; 16]);
            })
        };
        for offset in [0, 2] {
            let leaving = part(REMOTE, offset).link(mac(GATEWAY), ROUTER_MAC);
            let outcome = world.uplink_sends(&leaving);
            let difference = difference(&leaving.with(|p| p.src = HOST).build(), &outcome.bytes);
            assert_eq!((outcome.verdict, difference), (NEXT, None), "protocol {protocol}");
            let local = part(C2, offset).link(mac(C1), mac(C2));
            Expect::redirected(Reason::Local).of(&world.container_sends(&local));
        }
    }
}
